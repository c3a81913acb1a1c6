//! Abort: an operator stops a case, in any phase. What waits ends; a step that runs is let finish, because
//! nobody can call it back, and is then taken back where it can be. Nothing forward is done any more.

use jiff::Timestamp;

use super::act;
use super::case::Case;
use super::state::State;
use crate::model::change::Change;
use crate::model::incident::Phase;
use crate::model::pause::Reach;
use crate::model::plan::Plan;
use crate::model::reason::Reason;
use crate::rules::Rules;

/// An operator stops one case.
pub(super) fn one(mut case: Case<'_>, by: &str, comment: &str) -> Vec<Change> {
    if case.incident.is_aborted() || case.incident.phase.is_end() {
        return Vec::new();
    }
    let reason = Reason::Aborted { by: by.to_owned(), comment: comment.to_owned() };
    match case.incident.phase {
        Phase::Executing => {
            case.note(reason);
            case.changes
        }
        Phase::Soaking | Phase::Probing | Phase::Holding => {
            case.note(reason);
            act::take_back(case)
        }
        Phase::Open
        | Phase::Inspecting
        | Phase::Planned
        | Phase::AwaitingApproval
        | Phase::Resolved
        | Phase::Escalated
        | Phase::Suppressed
        | Phase::Expired
        | Phase::Gone => case.end(Phase::Suppressed, reason),
    }
}

/// An operator stops every open case within a reach.
pub(super) fn all(
    state: &State,
    rules: &Rules,
    at: Timestamp,
    reach: &Reach,
    (by, comment): (&str, &str),
) -> Vec<Change> {
    let reached = state.open_incidents().filter(|case| {
        let playbook = case.plan.as_ref().map(|plan: &Plan| plan.playbook.as_str());
        reach.reaches(playbook.unwrap_or_default(), &case.subject)
    });
    let cases = reached.filter_map(|case| Case::of(state, rules, at, &case.id));
    cases.flat_map(|case| one(case, by, comment)).collect()
}

/// The end of an aborted case; its reason was noted when it was aborted.
pub(super) fn end(case: Case<'_>) -> Vec<Change> {
    let reason = case
        .incident
        .reasons
        .iter()
        .rev()
        .find_map(|timed| matches!(timed.reason, Reason::Aborted { .. }).then(|| timed.reason.clone()));
    let unknown = || Reason::Aborted { by: String::new(), comment: String::new() };
    case.end(Phase::Suppressed, reason.unwrap_or_else(unknown))
}
