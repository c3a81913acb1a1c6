//! Time passes, and the process starts: what waits is looked at again.

use jiff::Timestamp;

use super::act;
use super::case::Case;
use super::deadlines::{REHEARSE_TRIES, RESTORE_PACE, TELL_AGAIN};
use super::effects::owes_news;
use super::gate;
use super::orphan;
use super::owed;
use super::select;
use super::state::State;
use super::stops;
use super::verify;
use crate::model::action::Action;
use crate::model::change::Change;
use crate::model::incident::{Phase, Timed};
use crate::model::plan::{Outcome, Rehearsal};
use crate::model::reason::Reason;
use crate::rules::Rules;

/// Looks at every case whose time has come.
pub(super) fn tick(state: &State, rules: &Rules, at: Timestamp) -> Vec<Change> {
    let mut changes = Vec::new();
    if state.clock_jumped.is_some() {
        changes.push(Change::ClockSettled);
    }
    // The gate looks at the clock, the ledger and the other cases. What this tick already changed of them
    // it would see only after the fold, so its answer is left to the next tick, which comes at once: the
    // case stays due.
    changes.extend(stops::tick(state, at));
    changes.extend(orphan::tick(state, rules, at));
    let mut moved = !changes.is_empty();
    for id in state.woken(at) {
        let Some(case) = Case::of(state, rules, at, &id) else { continue };
        let decided = woken(case);
        if moved && decided.iter().any(|change| matches!(change, Change::Gated { .. })) {
            continue;
        }
        moved |= decided.iter().any(|change| {
            matches!(change, Change::Charged { .. } | Change::Ended { .. } | Change::StormBegan { .. })
        });
        changes.extend(decided);
    }
    changes
}

fn woken(mut case: Case<'_>) -> Vec<Change> {
    let at = case.at;
    if case.incident.deadline.is_some_and(|deadline| deadline <= at) {
        return overdue(case);
    }
    if case.incident.inspect_at.is_some_and(|due| due <= at) {
        select::inspect(&mut case);
        return case.changes;
    }
    match case.incident.phase {
        Phase::Probing => {
            verify::probe(&mut case);
            case.changes
        }
        Phase::Planned if matches!(case.incident.rehearsal, Some(Rehearsal::Unreadable { .. })) => {
            rehearse_again(case)
        }
        Phase::Planned if case.incident.rehearsal.is_some() => gate::pass(case),
        Phase::Open
        | Phase::Inspecting
        | Phase::Planned
        | Phase::AwaitingApproval
        | Phase::Executing
        | Phase::Soaking
        | Phase::Holding
        | Phase::Resolved
        | Phase::Escalated
        | Phase::Suppressed
        | Phase::Expired
        | Phase::Gone => case.changes,
    }
}

/// The dry run could not be tried: once more on fresh facts, but not for ever, or nobody would be told of an
/// admission webhook that is down.
fn rehearse_again(mut case: Case<'_>) -> Vec<Change> {
    let Some(Rehearsal::Unreadable { why }) = case.incident.rehearsal.clone() else { return case.changes };
    let reason = Reason::RehearsalFailed { why };
    let failed = |timed: &&Timed| matches!(timed.reason, Reason::RehearsalFailed { .. });
    if case.incident.reasons.iter().filter(failed).count() >= REHEARSE_TRIES {
        return case.end(Phase::Escalated, reason);
    }
    case.note(reason);
    select::inspect(&mut case);
    case.changes
}

fn overdue(mut case: Case<'_>) -> Vec<Change> {
    let phase = case.incident.phase;
    let passed = Reason::DeadlinePassed { phase: phase.to_string() };
    match phase {
        Phase::Open if case.incident.cause.is_some() => case.end(Phase::Suppressed, passed),
        Phase::Open | Phase::Inspecting => case.end(Phase::Escalated, passed),
        Phase::Planned => case.end(Phase::Expired, passed),
        Phase::AwaitingApproval => case.end(Phase::Expired, Reason::ApprovalExpired),
        Phase::Executing if matches!(case.running(), Some(Action::Notify { .. })) => {
            let step = case.incident.step;
            let outcome = Outcome::Unknown { why: "nobody answered in time".to_owned() };
            act::notified(case, Some(step), &outcome)
        }
        Phase::Executing if case.incident.reconciling => {
            let why = "the state could not be read in time".to_owned();
            if case.incident.takes_back() {
                return owed::again(case, why);
            }
            case.end(Phase::Escalated, Reason::OutcomeUnknown { why })
        }
        Phase::Executing => act::reconcile(case, "the step did not answer in time"),
        Phase::Soaking => {
            verify::probe(&mut case);
            case.changes
        }
        Phase::Probing => {
            let why = "the probes were not answered in time".to_owned();
            case.end(Phase::Escalated, Reason::Inconclusive { why })
        }
        Phase::Holding => restore(case),
        Phase::Resolved | Phase::Escalated | Phase::Suppressed | Phase::Expired | Phase::Gone => case.changes,
    }
}

/// What expires is taken back, one at a time: clients notice each of them.
fn restore(mut case: Case<'_>) -> Vec<Change> {
    let at = case.at;
    let own = (case.incident.deadline, &case.incident.id);
    let due = case.state.open_incidents().filter(|other| {
        other.phase == Phase::Holding
            && other.deadline.is_some_and(|deadline| deadline <= at)
            && (other.deadline, &other.id) < own
    });
    let before = i32::try_from(due.count()).unwrap_or(i32::MAX);
    let last = case.state.restored_at.and_then(|last| last.checked_add(RESTORE_PACE).ok());
    let free_at = last.map_or(at, |last| last.max(at));
    if before == 0 && free_at <= at {
        return owed::take_back(case);
    }
    let until = free_at.saturating_add(RESTORE_PACE * before.max(1)).unwrap_or(Timestamp::MAX);
    let incident = case.id();
    case.push(Change::RestoreDelayed { incident, until });
    case.changes
}

/// The process started on this journal: what was under way when it ended is taken up again, and nothing
/// is executed again blindly.
pub(super) fn started(state: &State, rules: &Rules, at: Timestamp, journal: &str) -> Vec<Change> {
    let mut changes = vec![Change::JournalNamed { journal: journal.to_owned() }];
    for incident in state.incidents.values() {
        let Some(case) = Case::of(state, rules, at, &incident.id) else { continue };
        changes.extend(resume(case));
    }
    changes
}

fn resume(mut case: Case<'_>) -> Vec<Change> {
    match case.incident.phase {
        // It waits for what explains it, or for its proxies to catch up after that.
        Phase::Open if case.incident.cause.is_some() || case.incident.inspect_at.is_some() => {}
        Phase::Open | Phase::Inspecting | Phase::Planned => select::inspect(&mut case),
        Phase::Executing if matches!(case.running(), Some(Action::Notify { .. })) => {
            case.note(Reason::Restarted);
            let step = case.incident.step;
            act::start(&mut case, step);
        }
        Phase::Executing if case.incident.takes_back() => {
            return act::reconcile(case, "the agent was restarted while it was taken back");
        }
        // Its deadline goes on: a crash loop must not put off the end for ever.
        Phase::Executing if case.incident.reconciling => {
            if case.incident.inspect_at.is_none() {
                select::inspect(&mut case);
            }
        }
        Phase::Executing => return act::reconcile(case, "the agent was restarted while the step ran"),
        Phase::Probing => verify::probe(&mut case),
        // The news may not have gone out: telling people twice is better than never.
        Phase::AwaitingApproval
        | Phase::Holding
        | Phase::Resolved
        | Phase::Escalated
        | Phase::Suppressed
        | Phase::Expired
        | Phase::Gone => {
            let recent = case.at.duration_since(case.incident.phase_since) <= TELL_AGAIN;
            if recent && owes_news(&case.incident) {
                case.note(Reason::Restarted);
            }
        }
        Phase::Soaking => {}
    }
    case.changes
}
