//! Orphan: limits that an agent left on an object, of which no case of this journal knows.
//!
//! Its own agent may be gone, or its journal. Two minutes after the mark expires a case is opened here, and the
//! limits are taken back, but only where the policies let load be shed by itself: whoever does not trust us to
//! lower limits there has not trusted us to write there at all. Otherwise people are told, and reminded.
//! What a case of this journal left, although it is over, is taken back whatever the policies say.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::act;
use super::apply::opened_case;
use super::case::Case;
use super::deadlines::{ORPHANED, UNDO_PAUSE_MAX};
use super::owed;
use super::state::State;
use crate::model::action::Action;
use crate::model::change::Change;
use crate::model::incident::{IncidentId, IncidentKey, Phase};
use crate::model::mark::Marked;
use crate::model::plan::{Outcome, Plan};
use crate::model::reason::Reason;
use crate::model::signal::{Severity, Signal, SignalState, Symptom};
use crate::model::subject::Subject;
use crate::model::verdict::Mode;
use crate::rules::{Act, Rules, Ruling};

/// Who says so: the mark that our watch saw.
const SOURCE: &str = "mark";

/// A mark that no open case of ours accounts for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    pub(super) marked: Marked,
    pub(super) seen_at: Timestamp,
}

/// The watch saw a mark. Those of open cases are no news.
pub(super) fn seen(state: &State, marked: &Marked) -> Vec<Change> {
    let same = state.marks.get(&marked.subject).is_some_and(|known| known.marked == *marked);
    if same || is_accounted_for(state, marked) {
        return Vec::new();
    }
    vec![Change::MarkSeen { marked: marked.clone() }]
}

/// The watch saw that a mark is gone.
pub(super) fn gone(state: &State, rules: &Rules, at: Timestamp, subject: &Subject) -> Vec<Change> {
    let mut changes = Vec::new();
    if state.marks.contains_key(subject) {
        changes.push(Change::MarkGone { subject: subject.clone() });
    }
    // One that is being taken back hears of it by its own answer.
    let waiting = state.open_for(&key(subject)).filter(|case| case.phase == Phase::Holding);
    let case = waiting.and_then(|case| Case::of(state, rules, at, &case.id));
    changes.extend(case.into_iter().flat_map(|case| case.end(Phase::Resolved, Reason::SignalResolved)));
    changes
}

/// Opens the case of the first mark that is due: one at a time, because each gets its own number.
pub(super) fn tick(state: &State, rules: &Rules, at: Timestamp) -> Vec<Change> {
    let due = || state.marks.values().filter(|known| waits(state, known));
    let first = due().filter(|known| due_at(state, known) <= at).min_by_key(|known| due_at(state, known));
    first.filter(|_| is_steady(state)).map_or_else(Vec::new, |known| open(state, rules, at, &known.marked))
}

/// When the tick has something to do.
pub(super) fn next_wake(state: &State) -> Option<Timestamp> {
    let waiting = state.marks.values().filter(|known| is_steady(state) && waits(state, known));
    waiting.map(|known| due_at(state, known)).min()
}

/// Nothing is begun at the end of a process, nor while nobody knows the time.
fn is_steady(state: &State) -> bool {
    !state.draining && state.clock_jumped.is_none()
}

fn waits(state: &State, known: &Known) -> bool {
    !is_accounted_for(state, &known.marked) && state.open_for(&key(&known.marked.subject)).is_none()
}

fn is_accounted_for(state: &State, marked: &Marked) -> bool {
    let case = state.incidents.get(&IncidentId(marked.incident.as_str().into()));
    case.is_some_and(|case| !case.phase.is_end())
}

/// Engine time at which it is late. Of a mark that nobody can read only the time is known at which it was seen.
fn due_at(state: &State, known: &Known) -> Timestamp {
    let skew = SignedDuration::from_secs(state.skew_s);
    let expires = known.marked.expires.map(|wall| wall.saturating_sub(skew).unwrap_or(wall));
    expires.unwrap_or(known.seen_at).saturating_add(ORPHANED).unwrap_or(Timestamp::MAX)
}

fn key(subject: &Subject) -> IncidentKey {
    IncidentKey { family: Symptom::limits_orphaned().family().into(), owner: subject.clone(), member: None }
}

fn open(state: &State, rules: &Rules, at: Timestamp, marked: &Marked) -> Vec<Change> {
    let Marked { subject, uid, labels, incident: of, expires, was } = marked.clone();
    let signal = Signal {
        symptom: Symptom::limits_orphaned(),
        subject: subject.clone(),
        state: SignalState::Firing,
        severity: Severity::Warning,
        value: None,
        labels: labels.into(),
        at,
        source: SOURCE.into(),
        alert: None,
        owner: None,
        depends_on: None,
    };
    let incident = IncidentId::new(&state.journal, state.opened + 1);
    let (key, candidates) = (key(&subject), Vec::new());
    let opened = Change::Opened {
        incident: incident.clone(),
        key,
        signal: Box::new(signal),
        candidates,
        deadline: at,
    };
    let Some(case) = opened_case(state, at, &opened) else { return Vec::new() };
    let mut case = Case { state, rules, at, incident: Arc::new(case), changes: vec![opened] };
    let restore = Action::Restore { target: subject, uid, host: String::new(), was, of: Some(of.clone()) };
    let plan = Plan { playbook: String::new(), steps: vec![restore], recover: None };
    case.push(Change::Planned { incident: incident.clone(), plan, deadline: at });
    case.note(Reason::Orphaned { incident: of, expires });
    // From there it goes as with all that expires: one after the other.
    case.push(Change::RestoreDelayed { incident, until: at });
    case.changes
}

/// Its turn has come: it is done, if it may be.
pub(super) fn take_back(mut case: Case<'_>) -> Vec<Change> {
    match forbidden(&case) {
        None => {
            act::start(&mut case, 0);
            case.changes
        }
        Some(why) => {
            owed::delay(&mut case, UNDO_PAUSE_MAX);
            owed::tell(&mut case, format!("nothing is written: {why}"));
            case.changes
        }
    }
}

/// The write ended.
pub(super) fn ended(case: Case<'_>, outcome: &Outcome) -> Vec<Change> {
    match outcome {
        Outcome::Done { .. } => case.end(Phase::Resolved, Reason::Undone),
        Outcome::AlreadyDone | Outcome::Moot { .. } => case.end(Phase::Resolved, Reason::SignalResolved),
        Outcome::Stale { why } | Outcome::Failed { why } | Outcome::Unknown { why } => {
            owed::again(case, why.clone())
        }
    }
}

/// Why the policies do not let us write there now; `None` where they do, or are not asked.
fn forbidden(case: &Case<'_>) -> Option<String> {
    let Some(Action::Restore { target, of, .. }) = case.running() else { return None };
    let ours = format!("{}-", case.state.journal);
    if of.is_some_and(|of| of.starts_with(&ours)) {
        return None;
    }
    if case.rules.max_mode == Some(Mode::Observe) {
        return Some("the agent runs in mode observe".to_owned());
    }
    let paused = |name: &str| {
        let mut pauses = case.state.pauses.iter();
        pauses.any(|pause| case.at < pause.until && pause.reach.reaches(name, &target))
    };
    let now = case.at.saturating_add(SignedDuration::from_secs(case.state.skew_s)).unwrap_or(case.at);
    let mut why = None;
    for playbook in case.rules.playbooks.iter() {
        let (name, actions) = (playbook.name.as_str(), vec!["shed_load"]);
        let act = Act { playbook: name, actions, target: &target, labels: &case.incident.labels };
        let said = if paused(name) {
            Some("acts there are paused".to_owned())
        } else {
            says_no(&case.rules.policies.ruling(&act, now), now)
        };
        let said = said?;
        why.get_or_insert(said);
    }
    Some(why.unwrap_or_else(|| "no playbook is loaded".to_owned()))
}

/// Why load may not be shed there by itself.
fn says_no(ruling: &Ruling, now: Timestamp) -> Option<String> {
    if let Some(by) = &ruling.excluded_by {
        return Some(format!("policy {by} excludes it"));
    }
    if !ruling.in_scope {
        return Some("no policy covers it".to_owned());
    }
    if ruling.mode != Mode::Enforce {
        return Some(format!("the mode there is {} by {}", ruling.mode, ruling.mode_from));
    }
    if let Some(rule) = &ruling.approval {
        return Some(format!("policy {} wants an approval there", rule.policy));
    }
    let closed = ruling.windows.iter().find_map(|table| table.closed(now))?;
    Some(format!("policy {} closes now: {}", closed.policy, closed.window))
}

/// Folds what is known of marks. A run begins with none: the watch lists them all.
#[expect(clippy::wildcard_enum_match_arm, reason = "three changes tell of marks")]
pub(super) fn fold(state: &mut State, at: Timestamp, change: &Change) {
    match change {
        Change::MarkSeen { marked } => {
            let known = Known { marked: marked.clone(), seen_at: at };
            state.marks.insert(marked.subject.clone(), known);
        }
        Change::MarkGone { subject } => {
            state.marks.remove(subject);
        }
        Change::JournalNamed { .. } => state.marks.clear(),
        _ => {}
    }
}
