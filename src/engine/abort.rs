//! Abort: an operator stops a case, in any phase. What waits ends; a step that runs is let finish, because
//! nobody can call it back. Nothing forward is done any more. What is in force then stays, with its obligations,
//! unless the operator wants it undone: a rollback in the middle of its success must not bring the bad revision
//! back because nobody was asked. They may also say so later.

use jiff::Timestamp;

use super::act;
use super::case::Case;
use super::state::State;
use crate::model::change::Change;
use crate::model::event::InForce;
use crate::model::incident::Phase;
use crate::model::pause::Reach;
use crate::model::plan::{Direction, Plan};
use crate::model::reason::Reason;
use crate::rules::Rules;

/// Who stops, their words, and what they want done with what is in force.
pub(super) type By<'a> = (&'a str, &'a str, Option<InForce>);

/// An operator stops one case, or says later what is to become of what it did.
pub(super) fn one(mut case: Case<'_>, (by, comment, in_force): By<'_>) -> Vec<Change> {
    let in_force = in_force.unwrap_or_default();
    let reason = Reason::Aborted { by: by.to_owned(), comment: comment.to_owned(), in_force };
    if case.incident.is_aborted() {
        return again(case, reason, in_force);
    }
    match case.incident.phase {
        Phase::Executing => {
            case.note(reason);
            case.changes
        }
        // It is being taken back, and the last try may still arrive: the next one comes by itself.
        Phase::Holding if is_under_way(&case) => {
            case.note(reason);
            case.changes
        }
        Phase::Soaking | Phase::Probing | Phase::Holding if in_force == InForce::Undo => {
            case.note(reason);
            act::take_back(case)
        }
        // Limits of another agent are left to people from now on.
        Phase::Holding if case.incident.is_orphan() => case.end(Phase::Suppressed, reason),
        // It expires as it would have, and ends then.
        Phase::Holding => {
            case.note(reason);
            case.changes
        }
        Phase::Open
        | Phase::Inspecting
        | Phase::Planned
        | Phase::AwaitingApproval
        | Phase::Soaking
        | Phase::Probing => case.end(Phase::Suppressed, reason),
        Phase::Resolved | Phase::Escalated | Phase::Suppressed | Phase::Expired | Phase::Gone => Vec::new(),
    }
}

/// A case that was stopped already: what was kept may still be undone, also when the case is over.
fn again(mut case: Case<'_>, reason: Reason, in_force: InForce) -> Vec<Change> {
    if in_force == InForce::Keep || case.incident.in_force().is_none() {
        return Vec::new();
    }
    let phase = case.incident.phase;
    if phase.is_end() {
        if is_taken(&case) {
            return Vec::new();
        }
        let incident = case.id();
        case.push(Change::Reopened { incident });
    }
    if is_under_way(&case) {
        return Vec::new();
    }
    let runs = phase == Phase::Executing && case.incident.direction == Direction::Forward;
    if runs && case.incident.wanted() == Some(InForce::Undo) {
        return Vec::new();
    }
    case.note(reason);
    if runs { case.changes } else { act::take_back(case) }
}

/// Whether a try to take it back has failed and the next one waits for its time.
fn is_under_way(case: &Case<'_>) -> bool {
    case.incident.phase == Phase::Holding && case.incident.undo_tries > 0 && !case.incident.is_orphan()
}

/// Whether another case has taken the place of this one, or acts on its target.
fn is_taken(case: &Case<'_>) -> bool {
    let targets =
        |plan: &Plan| plan.steps.iter().filter_map(|step| step.target()).cloned().collect::<Vec<_>>();
    let own = case.incident.plan.as_ref().map(targets).unwrap_or_default();
    let mut acting = case.state.acting().filter_map(|other| other.plan.as_ref()).flat_map(targets);
    case.state.open_for(&case.incident.key).is_some() || acting.any(|target| own.contains(&target))
}

/// An operator stops every open case within a reach.
pub(super) fn all(state: &State, rules: &Rules, at: Timestamp, reach: &Reach, by: By<'_>) -> Vec<Change> {
    let reached = state.open_incidents().filter(|case| {
        let playbook = case.plan.as_ref().map(|plan: &Plan| plan.playbook.as_str());
        reach.reaches(playbook.unwrap_or_default(), &case.subject)
    });
    let cases = reached.filter_map(|case| Case::of(state, rules, at, &case.id));
    cases.flat_map(|case| one(case, by)).collect()
}

/// The step that ran when the case was stopped has ended: what it did is kept or undone, as was wanted.
pub(super) fn follow(case: Case<'_>) -> Vec<Change> {
    match case.incident.wanted().unwrap_or_default() {
        InForce::Keep => end(case),
        InForce::Undo => act::take_back(case),
    }
}

/// The end of an aborted case; its reason was noted when it was aborted.
pub(super) fn end(case: Case<'_>) -> Vec<Change> {
    let reason = case
        .incident
        .reasons
        .iter()
        .rev()
        .find_map(|timed| matches!(timed.reason, Reason::Aborted { .. }).then(|| timed.reason.clone()));
    let unknown =
        || Reason::Aborted { by: String::new(), comment: String::new(), in_force: InForce::default() };
    case.end(Phase::Suppressed, reason.unwrap_or_else(unknown))
}
