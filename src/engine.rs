//! The verbs: from an event to the changes it causes.
//!
//! Three functions and no others touch the state: [`decide`] looks, [`apply`] remembers, [`effects`]
//! asks. None of them reads a clock, draws a random number, does I/O or fails: refusals are values.
//! That is what makes a journal replayable and a restart safe.
//!
//! Reading order: `state`, `case`, `correlate`, `select`, `plan`, `refusals`, `gate`, `act`, `verify`.

mod abort;
mod act;
mod apply;
mod approve;
mod case;
mod cause;
mod charges;
mod correlate;
mod deadlines;
mod effects;
mod expiry;
pub mod explain;
pub mod gate;
mod hear;
mod history;
mod late;
mod ledger;
mod orphan;
mod owed;
mod pairs;
mod plan;
mod refusals;
mod select;
mod standing;
mod state;
mod stops;
mod tick;
mod verify;

#[cfg(test)]
mod tests;

pub use apply::apply;
pub use effects::effects;
pub use history::RouteHistory;
pub use state::State;

use crate::model::change::Change;
use crate::model::event::{Event, EventKind};
use crate::rules::Rules;
use case::Case;

/// What the event changes. Never panics, never waits; an event that is late, doubled or about nothing
/// known changes nothing.
#[must_use]
pub fn decide(state: &State, rules: &Rules, event: &Event) -> Vec<Change> {
    let mut changes = decided(state, rules, event);
    stops::heed(state, rules, event.at, &mut changes);
    changes
}

fn decided(state: &State, rules: &Rules, event: &Event) -> Vec<Change> {
    let at = event.at;
    let case = |id| Case::of(state, rules, at, id);
    match &event.kind {
        EventKind::Started { journal, .. } => tick::started(state, rules, at, journal),
        EventKind::RulesLoaded { .. } => {
            let mut changes = stops::reloaded(state, rules);
            changes.push(Change::RulesInForce { digest: rules.digest });
            changes
        }
        EventKind::Signal { signal } => correlate::signal(state, rules, at, signal),
        EventKind::Inspected { incident, inspection, findings } => {
            case(incident).map(|case| plan::inspected(case, *inspection, findings)).unwrap_or_default()
        }
        EventKind::Rehearsed { incident, plan, rehearsal } => {
            case(incident).map(|case| plan::rehearsed(case, plan, rehearsal)).unwrap_or_default()
        }
        EventKind::Executed { incident, plan, step, direction, run, outcome } => case(incident)
            .filter(|case| case.incident.runs() == *run)
            .map(|case| act::executed(case, plan, *step, *direction, outcome))
            .unwrap_or_default(),
        EventKind::Probed { incident, probe, reading } => {
            case(incident).map(|case| verify::probed(case, *probe, reading)).unwrap_or_default()
        }
        EventKind::Notified { incident, step, outcome } => {
            case(incident).map(|case| act::notified(case, *step, outcome)).unwrap_or_default()
        }
        EventKind::Voted { incident, plan, by, vote, comment } => {
            case(incident).map(|case| approve::voted(case, plan, by, *vote, comment)).unwrap_or_default()
        }
        EventKind::RevisionSeen { revision } => history::seen(state, revision),
        EventKind::RevisionProven { revision } => history::proven(state, at, revision),
        EventKind::RouteGone { subject } => history::gone(state, rules, at, subject),
        EventKind::MarkSeen { marked } => orphan::seen(state, marked),
        EventKind::MarkGone { subject } => orphan::gone(state, rules, at, subject),
        EventKind::SubjectGone { subject } => history::end_waiting(state, rules, at, subject),
        EventKind::ClockJumped { seconds } => vec![Change::ClockJumped { seconds: *seconds }],
        EventKind::JournalFull if !state.full => vec![Change::JournalFull],
        EventKind::JournalRoom if state.full => vec![Change::JournalRoom],
        EventKind::JournalFull | EventKind::JournalRoom => Vec::new(),
        EventKind::Drain => {
            if state.draining {
                Vec::new()
            } else {
                vec![Change::Draining]
            }
        }
        EventKind::Tick => tick::tick(state, rules, at),
        EventKind::Paused { reach, by, reason, for_s } => stops::paused(at, reach, (by, reason), *for_s),
        EventKind::Resumed { reach, by } => stops::resumed(state, reach, by),
        EventKind::Aborted { incident, by, comment, in_force } => {
            case(incident).map(|case| abort::one(case, (by, comment, *in_force))).unwrap_or_default()
        }
        EventKind::AbortedAll { reach, by, comment, in_force } => {
            abort::all(state, rules, at, reach, (by, comment, *in_force))
        }
    }
}
