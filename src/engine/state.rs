//! Everything the engine remembers. It is the fold of all recorded changes and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::history::RouteHistory;
use super::ledger::{Attempts, Ledger};
use super::pairs;
use crate::model::digest::Digest;
use crate::model::incident::{Incident, IncidentId, IncidentKey, Phase};
use crate::model::reason::Reason;
use crate::model::signal::Signal;
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
    pub incidents: BTreeMap<IncidentId, Incident>,
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
    /// Held plans to be gated again at once, because what held them may be over.
    pub(super) regate: BTreeSet<IncidentId>,
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
        match (jump.and_then(Result::ok), first) {
            (Some(jump), Some(first)) => Some(jump.min(first)),
            (jump, first) => jump.or(first),
        }
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
        self
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
        ids.into_iter().filter_map(|id| self.incidents.get(id))
    }

    /// The open incident of a key.
    pub(super) fn open_for(&self, key: &IncidentKey) -> Option<&Incident> {
        self.open.get(key).and_then(|id| self.incidents.get(id))
    }

    /// Incidents that hold a claim on their target.
    pub(super) fn acting(&self) -> impl Iterator<Item = &Incident> {
        self.open.values().filter_map(|id| self.incidents.get(id)).filter(|incident| acts(incident))
    }

    /// An incident ended: the oldest beyond so many leave memory. By time, because a case that was opened
    /// early may end late; and by an index, or a storm would cost its size squared.
    pub(super) fn keep_newest(&mut self, ended: &IncidentId, kept: usize) {
        let Some(case) = self.incidents.get(ended) else { return };
        self.over.insert((case.phase_since, ended.clone()));
        if self.incidents.len() > self.open.len() + kept
            && let Some((_, first)) = self.over.pop_first()
        {
            self.incidents.remove(&first);
        }
    }

    /// Brings the wake index of one incident up to date. Called after every change of it.
    pub(super) fn index(&mut self, id: &IncidentId) {
        let wake = self.incidents.get(id).and_then(wake);
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

/// Whether a case holds a claim on its target.
pub(super) fn acts(incident: &Incident) -> bool {
    incident.phase.is_acting() && incident.plan.as_ref().is_some_and(|plan| plan.writes())
}

/// Whether a hold may end when another case stops acting, the rules change or the clock settles.
pub(super) fn waits_for_others(incident: &Incident) -> bool {
    incident.phase == Phase::Planned
        && incident.holds().iter().any(|hold| {
            matches!(
                hold.reason,
                Reason::Claimed { .. } | Reason::ConcurrentReached { .. } | Reason::ClockJumped
            )
        })
}
