//! Everything the engine remembers. It is the fold of all recorded changes and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::history::RouteHistory;
use super::ledger::{Attempts, Ledger};
use super::orphan;
use super::owed;
use super::pairs;
use super::stops;
use crate::model::digest::Digest;
use crate::model::incident::{Incident, IncidentId, IncidentKey, Phase};
use crate::model::pause::Pause;
use crate::model::reason::Reason;
use crate::model::signal::Signal;
use crate::model::storm::{Breaker, Domain, Storm};
use crate::model::subject::Subject;
use crate::model::verdict::Verdict;

/// The engine's memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Id of the journal, the prefix of incident ids.
    pub journal: String,
    /// Incidents opened so far.
    pub opened: u64,
    /// Open incidents, and the newest ended ones.
    pub incidents: BTreeMap<IncidentId, Arc<Incident>>,
    /// The open incident of each key.
    #[serde(with = "pairs")]
    pub(super) open: BTreeMap<IncidentKey, IncidentId>,
    /// How the last incident of each key ended.
    #[serde(with = "pairs")]
    pub(super) ended: BTreeMap<IncidentKey, LastEnd>,
    /// How many of them were left when the old ones were forgotten last.
    #[serde(default)]
    pub(super) ended_kept: usize,
    /// Acts, for limits and cooldowns.
    pub(super) ledger: Ledger,
    /// Attempts per key.
    #[serde(with = "pairs")]
    pub(super) attempts: BTreeMap<IncidentKey, Attempts>,
    /// Routes with their revisions.
    #[serde(with = "pairs")]
    pub routes: BTreeMap<Subject, RouteHistory>,
    /// Rules in force.
    pub rules: Option<Digest>,
    /// When the wall clock jumped, until the next tick.
    pub(super) clock_jumped: Option<Timestamp>,
    /// Nothing new is started.
    pub draining: bool,
    /// Nothing new is started: the journal's disk is full.
    #[serde(default)]
    pub full: bool,
    /// Control planes that are down: what depends on them is explained by it.
    #[serde(default, with = "pairs")]
    pub(super) down: BTreeMap<Subject, Down>,
    /// When something was taken back last, for their pace.
    #[serde(default)]
    pub(super) restored_at: Option<Timestamp>,
    /// Held plans to be gated again at once, because what held them may be over.
    pub(super) regate: BTreeSet<IncidentId>,
    /// What operators hold.
    #[serde(default)]
    pub pauses: Vec<Pause>,
    /// Storms, and those that have hardly calmed.
    #[serde(default)]
    pub storms: Vec<Storm>,
    /// Breakers that count failures, or are open.
    #[serde(default)]
    pub breakers: Vec<Breaker>,
    /// Seconds by which the wall clock was set forward since the start of the run: windows are about it.
    #[serde(default)]
    pub(super) skew_s: i64,
    /// Marks of sheds that no open case accounts for.
    #[serde(default, with = "pairs")]
    pub(super) marks: BTreeMap<Subject, orphan::Known>,
    /// Ill subjects, and by how many keys each is; derived, see [`State::weigh`].
    #[serde(skip)]
    ill: BTreeMap<Subject, u32>,
    /// The ill subject of each key that has one; derived like it.
    #[serde(skip)]
    ill_of: BTreeMap<IncidentKey, Subject>,
    /// Cases that have something to take back; derived, see [`State::index`]. Few, where open ones may be many.
    #[serde(skip)]
    pub(super) owed: BTreeSet<IncidentId>,
    /// When each open incident wants to be looked at, ordered by time; derived, see [`State::index`].
    #[serde(skip)]
    wakes: BTreeSet<(Timestamp, IncidentId)>,
    /// The entry of each incident in `wakes`.
    #[serde(skip)]
    wake_of: BTreeMap<IncidentId, Timestamp>,
    /// Ended incidents in memory by the time of their end; derived, see [`State::keep_newest`].
    #[serde(skip)]
    over: BTreeSet<(Timestamp, IncidentId)>,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LastEnd {
    pub(super) incident: IncidentId,
    pub(super) phase: Phase,
    pub(super) at: Timestamp,
    /// What it was about, where that is not the owner that its key names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<Subject>,
    /// What it was about vanished since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) vanished: bool,
}

impl LastEnd {
    /// Whether a case that ended so leaves its subject as ill as it was. A measured recovery does not, whatever
    /// is still said, nor does one whose subject went.
    fn leaves_ill(&self) -> bool {
        !self.vanished && matches!(self.phase, Phase::Escalated | Phase::Suppressed | Phase::Expired)
    }
}

/// A control plane that is down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Down {
    /// The incident that tells of it.
    pub(super) incident: IncidentId,
    /// Who says so.
    pub(super) sources: BTreeSet<SmolStr>,
}

impl Down {
    pub(super) fn of(incident: &IncidentId) -> Self {
        Self { incident: incident.clone(), sources: BTreeSet::new() }
    }
}

impl State {
    /// Restores a snapshot.
    ///
    /// # Errors
    /// The bytes are not a state of this version; the journal is then folded from its start.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, String> {
        let mut state: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let ids: Vec<IncidentId> = state.incidents.keys().cloned().collect();
        ids.iter().for_each(|id| state.index(id));
        let over = state.incidents.values().filter(|case| case.phase.is_end());
        state.over = over.map(|case| (case.phase_since, case.id.clone())).collect();
        state.count_ill();
        Ok(state)
    }

    /// The state as bytes, to be folded upon instead of the whole journal.
    ///
    /// # Errors
    /// Never in practice: every field serialises.
    pub fn to_snapshot(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|error| error.to_string())
    }

    /// When the engine wants a tick at the latest; `None` while nothing waits.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        if !self.regate.is_empty() {
            return Some(Timestamp::MIN);
        }
        let jump = self.clock_jumped.map(|at| at.saturating_add(SignedDuration::from_secs(1)));
        let first = self.wakes.first().map(|(at, _)| *at);
        let all = [jump.and_then(Result::ok), first, stops::next_wake(self), orphan::next_wake(self)];
        all.into_iter().flatten().min()
    }

    /// Open incidents that want to be looked at by `now`, in the order of their ids.
    pub(super) fn woken(&self, now: Timestamp) -> BTreeSet<IncidentId> {
        self.wakes
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, id)| id.clone())
            .chain(self.regate.iter().cloned())
            .collect()
    }

    /// The same without the last case of this signal, so that one can ask what would be done about it now,
    /// by a run that has started: the journal of one that was stopped ends with its drain.
    #[must_use]
    pub fn as_if_new(mut self, signal: &Signal) -> Self {
        let key = super::correlate::key(signal);
        self.open.remove(&key);
        self.ended.remove(&key);
        self.draining = false;
        self.full = false;
        self.skew_s = 0;
        self.count_ill();
        self
    }

    /// Distinct subjects of this domain that are ill.
    pub(super) fn ill(&self, domain: &Domain) -> u64 {
        let namespace = domain.namespace.as_deref();
        let first = Subject::new(&domain.group, &domain.kind, namespace.unwrap_or_default(), "");
        let within = self.ill.range(first..).take_while(|(subject, _)| {
            subject.group == domain.group
                && subject.kind == domain.kind
                && namespace.is_none_or(|name| subject.namespace == name)
        });
        u64::try_from(within.count()).unwrap_or(u64::MAX)
    }

    /// All subjects that are ill, in the order of their names.
    pub fn ill_subjects(&self) -> impl Iterator<Item = &Subject> {
        self.ill.keys()
    }

    /// Brings up to date whether the subject of a key is ill. Called after every change that may say so.
    pub(super) fn weigh(&mut self, key: &IncidentKey) {
        let is = self.ill_subject(key);
        if self.ill_of.get(key) == is {
            return;
        }
        let is = is.cloned();
        if let Some(was) = self.ill_of.remove(key)
            && let Some(keys) = self.ill.get_mut(&was)
        {
            *keys -= 1;
            if *keys == 0 {
                self.ill.remove(&was);
            }
        }
        if let Some(subject) = is {
            *self.ill.entry(subject.clone()).or_default() += 1;
            self.ill_of.insert(key.clone(), subject);
        }
    }

    /// The subject of a key, if it is ill: a case of it is open, or its last one ended without a recovery and a
    /// source that fired has not said otherwise. That nobody does anything more about it makes nothing well.
    fn ill_subject<'a>(&'a self, key: &'a IncidentKey) -> Option<&'a Subject> {
        if let Some(open) = self.open_for(key) {
            return Some(&open.subject);
        }
        let end = self.ended.get(key).filter(|end| end.leaves_ill())?;
        let fires = self.attempts.get(key).is_some_and(|known| !known.firing.is_empty());
        fires.then(|| end.subject.as_ref().unwrap_or(&key.owner))
    }

    /// Whether a subject is ill by a case that is over.
    pub(super) fn is_left_ill(&self, subject: &Subject) -> bool {
        let left = |key: &IncidentKey| !self.open.contains_key(key);
        self.ill.contains_key(subject) && self.ill_of.iter().any(|(key, of)| of == subject && left(key))
    }

    /// A subject vanished: what its last cases left is over.
    pub(super) fn vanished(&mut self, subject: &Subject) {
        let keys: Vec<IncidentKey> =
            self.ill_of.iter().filter(|(_, of)| *of == subject).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.ended.get_mut(&key).into_iter().for_each(|end| end.vanished = true);
            self.weigh(&key);
        }
    }

    /// Counts all anew.
    pub(super) fn count_ill(&mut self) {
        self.ill.clear();
        self.ill_of.clear();
        let keys: BTreeSet<IncidentKey> = self.open.keys().chain(self.ended.keys()).cloned().collect();
        keys.iter().for_each(|key| self.weigh(key));
    }

    /// The breaker of a policy for a playbook.
    pub(super) fn breaker(&self, policy: &str, playbook: &str) -> Option<&Breaker> {
        self.breakers.iter().find(|known| known.policy == policy && known.playbook == playbook)
    }

    /// Keys that a source said to be ill and has not said otherwise, whether their cases are open or over.
    pub fn fired_by<'s>(&'s self, source: &'s str) -> impl Iterator<Item = &'s IncidentKey> {
        self.attempts.iter().filter(move |(_, known)| known.firing.contains(source)).map(|(key, _)| key)
    }

    /// How many incidents are not over.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Incidents that are not over, oldest first.
    pub fn open_incidents(&self) -> impl Iterator<Item = &Incident> {
        let mut ids: Vec<&IncidentId> = self.open.values().collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.incidents.get(id).map(Arc::as_ref))
    }

    /// An incident, to be changed. One that somebody is being told of right now is copied first.
    pub(super) fn case_mut(&mut self, id: &IncidentId) -> Option<&mut Incident> {
        self.incidents.get_mut(id).map(Arc::make_mut)
    }

    /// The open incident of a key.
    pub(super) fn open_for(&self, key: &IncidentKey) -> Option<&Incident> {
        self.open.get(key).and_then(|id| self.incidents.get(id).map(Arc::as_ref))
    }

    /// Incidents that hold a claim on their target.
    pub(super) fn acting(&self) -> impl Iterator<Item = &Incident> {
        self.open
            .values()
            .filter_map(|id| self.incidents.get(id).map(Arc::as_ref))
            .filter(|incident| acts(incident))
    }

    /// An incident ended: the oldest beyond so many leave memory. By time, because a case that was opened
    /// early may end late; and by an index, or a storm would cost its size squared.
    pub(super) fn keep_newest(&mut self, ended: &IncidentId, kept: usize) {
        let Some(case) = self.incidents.get(ended) else { return };
        self.over.insert((case.phase_since, ended.clone()));
        if self.incidents.len() <= self.open.len() + kept {
            return;
        }
        // On the incident of a storm people will be told of its end.
        let told = |id: &IncidentId| self.storms.iter().any(|storm| storm.incident == *id);
        let first = self.over.iter().find(|(_, id)| !told(id)).cloned();
        if let Some(first) = first {
            self.over.remove(&first);
            self.incidents.remove(&first.1);
        }
    }

    /// A case that was over is open again.
    pub(super) fn reopen(&mut self, id: &IncidentId) {
        let Some(case) = self.incidents.get(id).cloned() else { return };
        self.over.remove(&(case.phase_since, id.clone()));
        self.open.insert(case.key.clone(), id.clone());
        self.weigh(&case.key);
    }

    /// Brings what is derived of one incident up to date. Called after every change of it.
    pub(super) fn index(&mut self, id: &IncidentId) {
        if self.incidents.get(id).is_some_and(|case| owed::is_owed(case)) {
            self.owed.insert(id.clone());
        } else {
            self.owed.remove(id);
        }
        let wake = self.incidents.get(id).and_then(|case| wake(case));
        if self.wake_of.get(id).copied() == wake {
            return;
        }
        if let Some(at) = self.wake_of.remove(id) {
            self.wakes.remove(&(at, id.clone()));
        }
        if let Some(at) = wake {
            self.wakes.insert((at, id.clone()));
            self.wake_of.insert(id.clone(), at);
        }
    }
}

/// When an incident wants to be looked at: its deadline, or what comes before it.
fn wake(incident: &Incident) -> Option<Timestamp> {
    if incident.phase.is_end() {
        return None;
    }
    let hold = match (&incident.phase, &incident.verdict) {
        // All holds must be over, so the last of those that end by themselves counts. What waits for an
        // event is still waited for then, but a dry run that could not be tried is tried again.
        (Phase::Planned, Some(Verdict::Hold { holds })) => holds.iter().filter_map(|hold| hold.until).max(),
        _ => None,
    };
    [incident.deadline, incident.inspect_at, incident.probe_at, hold].into_iter().flatten().min()
}

/// Whether a case holds a claim on its target. Limits that another agent left, and that wait for their turn or
/// for people, are no act of ours and take up no room.
pub(super) fn acts(incident: &Incident) -> bool {
    let waits = incident.phase == Phase::Holding && incident.is_orphan();
    !waits && incident.phase.is_acting() && incident.plan.as_ref().is_some_and(|plan| plan.writes())
}

/// Whether a hold may end when another case stops acting, the clock settles, or a pause, storm or breaker is
/// over.
pub(super) fn waits_for_others(incident: &Incident) -> bool {
    incident.phase == Phase::Planned
        && incident.holds().iter().any(|hold| {
            matches!(
                hold.reason,
                Reason::Claimed { .. }
                    | Reason::ConcurrentReached { .. }
                    | Reason::ClockJumped
                    | Reason::JournalFull
                    | Reason::Paused { .. }
                    | Reason::Storm { .. }
                    | Reason::AfterStorm { .. }
                    | Reason::TrialRuns { .. }
            )
        })
}
