//! Act: the steps of a plan, one after the other, and what comes of each.

use super::abort;
use super::case::Case;
use super::deadlines::{EXECUTING, PERMIT, RECONCILE_EVERY, RECONCILING, WRITE_GRACE, WRITE_TRIES};
use super::late;
use super::orphan;
use super::owed;
use super::select;
use super::standing::{self, Standing};
use super::verify;
use crate::model::action::Action;
use crate::model::change::Change;
use crate::model::digest::Digest;
use crate::model::incident::{Phase, StepResult};
use crate::model::plan::{Direction, Outcome};
use crate::model::reason::Reason;

/// Starts a step forward. The driver mints the permit from this change once it is durable.
pub(super) fn start(case: &mut Case<'_>, step: usize) {
    start_step(case, step, Direction::Forward);
}

pub(super) fn start_step(case: &mut Case<'_>, step: usize, direction: Direction) {
    let Some(plan) = case.incident.plan.as_ref().map(crate::model::plan::Plan::identity) else { return };
    let (incident, permit_until, deadline) = (case.id(), case.after(PERMIT), case.after(EXECUTING));
    case.push(Change::StepStarted { incident, plan, step, direction, permit_until, deadline });
}

/// A step ended. An answer for another step, or a second one, changes nothing.
pub(super) fn executed(
    case: Case<'_>,
    plan: &Digest,
    step: usize,
    direction: Direction,
    outcome: &Outcome,
) -> Vec<Change> {
    let incident = &case.incident;
    let same = incident.plan.as_ref().is_some_and(|known| known.identity() == *plan);
    let runs = incident.phase == Phase::Executing && !incident.reconciling;
    if !runs || !same || incident.step != step || incident.direction != direction {
        return Vec::new();
    }
    ended(case, outcome)
}

/// A first step that was taken for lost has arrived after all: it is verified as any other, not planned anew.
pub(super) fn arrived(case: Case<'_>) -> Vec<Change> {
    ended(case, &Outcome::Done { detail: "it arrived after it was taken for lost".to_owned() })
}

/// The running step ended with this outcome, as its effector or the state of the cluster says.
fn ended(mut case: Case<'_>, outcome: &Outcome) -> Vec<Change> {
    let (incident, step, direction) = (case.id(), case.incident.step, case.incident.direction);
    let written = match (case.running(), outcome) {
        (Some(Action::RollbackRoute { target, to, .. }), Outcome::Done { .. }) => Some((target, to)),
        _ => None,
    };
    case.push(Change::StepEnded { incident, step, direction, outcome: outcome.clone() });
    if let Some((subject, spec_hash)) = written {
        case.push(Change::RevisionOurs { subject, spec_hash });
    }
    match direction {
        Direction::Forward if case.incident.is_orphan() => orphan::ended(case, outcome),
        Direction::Forward => forward(case, outcome),
        Direction::Undo => undone(case, outcome),
    }
}

fn forward(mut case: Case<'_>, outcome: &Outcome) -> Vec<Change> {
    if case.incident.is_aborted() && !matches!(outcome, Outcome::Unknown { .. }) {
        return abort::follow(case);
    }
    match outcome {
        Outcome::Done { .. } | Outcome::AlreadyDone => next_step(case),
        Outcome::Unknown { why } => reconcile(case, why),
        Outcome::Stale { why } => {
            let reason = Reason::Stale { why: why.clone() };
            // Once is a race, maybe with our own write that arrives late; twice is somebody else at work: people decide.
            if case.incident.step == 0 && case.incident.stale <= 1 {
                case.note(reason);
                return select::again(case);
            }
            give_up(case, reason)
        }
        Outcome::Moot { why } | Outcome::Failed { why } => {
            give_up(case, Reason::StepFailed { why: why.clone() })
        }
    }
}

fn next_step(mut case: Case<'_>) -> Vec<Change> {
    let Some(plan) = case.incident.plan.clone() else { return case.changes };
    let next = case.incident.step + 1;
    if next < plan.steps.len() {
        start(&mut case, next);
        return case.changes;
    }
    if !plan.writes() {
        return case.end(Phase::Escalated, Reason::Notified);
    }
    verify::soak(&mut case);
    case.changes
}

/// Later steps are not tried; those done are taken back, and people are told why.
fn give_up(mut case: Case<'_>, reason: Reason) -> Vec<Change> {
    match undoable(&case, case.incident.step) {
        Some(step) => {
            case.note(reason);
            start_step(&mut case, step, Direction::Undo);
            case.changes
        }
        None => case.end(Phase::Escalated, reason),
    }
}

/// The last step before `end` that we did ourselves, that has an inverse and that was not taken back yet. A
/// step found already done was somebody else's and is not ours to take back. One that expires is taken back also
/// where nobody knows whether it was done: its inverse looks for our mark and leaves alone what bears none.
fn undoable(case: &Case<'_>, end: usize) -> Option<usize> {
    let plan = case.incident.plan.as_ref()?;
    (0..end).rev().find(|index| {
        let of_step = || case.incident.steps.iter().rev().filter(|result| result.step == *index);
        let undo = of_step().take_while(|result| result.direction == Direction::Undo);
        let undone = undo.into_iter().any(|result| result.outcome.trouble().is_none());
        let last = of_step().find(|result| result.direction == Direction::Forward);
        let done = last.is_some_and(|result| matches!(result.outcome, Outcome::Done { .. })) && !undone;
        let step = plan.steps.get(*index);
        let may_last = case.incident.expires_at.is_some() && step.and_then(Action::expires_s).is_some();
        (done || may_last) && step.and_then(Action::inverse).is_some()
    })
}

/// The act did not help: takes it back, then goes to the next rung.
pub(super) fn undo(mut case: Case<'_>) -> Vec<Change> {
    let steps = case.incident.plan.as_ref().map_or(0, |plan| plan.steps.len());
    match undoable(&case, steps) {
        Some(step) => {
            start_step(&mut case, step, Direction::Undo);
            case.changes
        }
        None => verify::next_rung(case),
    }
}

/// An operator wants what was done undone: it is where it can be, and nothing else follows.
pub(super) fn take_back(mut case: Case<'_>) -> Vec<Change> {
    let steps = case.incident.plan.as_ref().map_or(0, |plan| plan.steps.len());
    match undoable(&case, steps) {
        Some(step) => {
            start_step(&mut case, step, Direction::Undo);
            case.changes
        }
        None => abort::end(case),
    }
}

fn undone(mut case: Case<'_>, outcome: &Outcome) -> Vec<Change> {
    match outcome {
        Outcome::Done { .. } | Outcome::AlreadyDone => match undoable(&case, case.incident.step) {
            Some(step) => {
                start_step(&mut case, step, Direction::Undo);
                case.changes
            }
            None => {
                case.note(taken_back_by(&case, outcome).unwrap_or(Reason::Undone));
                verify::after_undo(case)
            }
        },
        Outcome::Moot { why } => owed::moot(case, why.clone()),
        // Each try reads the object first, so one that was made and not answered is found done by the next.
        Outcome::Unknown { why } | Outcome::Stale { why } | Outcome::Failed { why } => {
            owed::again(case, why.clone())
        }
    }
}

/// Who took a rollback back before we did: whoever wrote the revision that is in force again. It may have been
/// ourselves, where nobody answered a try before.
fn taken_back_by(case: &Case<'_>, outcome: &Outcome) -> Option<Reason> {
    let ours = |result: &StepResult| {
        result.direction == Direction::Undo && matches!(result.outcome, Outcome::Unknown { .. })
    };
    let tries = case.incident.steps.iter().rev().skip(1);
    if tries.take_while(|result| result.direction == Direction::Undo).any(ours) {
        return None;
    }
    let (Action::RollbackRoute { target, to, .. }, Outcome::AlreadyDone) = (case.running()?, outcome) else {
        return None;
    };
    let revision = case.state.routes.get(&target).and_then(|route| route.revision(&to));
    Some(Reason::TakenBack { by: revision.map(|revision| revision.manager.clone()).unwrap_or_default() })
}

/// Nobody knows whether the write happened: once no permit can be in use any more, the state is read. What is
/// to be taken back is then simply tried again.
pub(super) fn reconcile(mut case: Case<'_>, why: &str) -> Vec<Change> {
    if case.incident.takes_back() {
        let (incident, step, direction) = (case.id(), case.incident.step, case.incident.direction);
        let outcome = Outcome::Unknown { why: why.to_owned() };
        case.push(Change::StepEnded { incident, step, direction, outcome });
        return owed::again(case, why.to_owned());
    }
    case.note(Reason::OutcomeUnknown { why: why.to_owned() });
    let incident = case.id();
    case.push(Change::Reconciling { incident: incident.clone() });
    let ends = case.incident.permit_until.unwrap_or(case.at).saturating_add(WRITE_GRACE);
    let until = ends.unwrap_or(case.at).max(case.at);
    case.push(Change::InspectionDelayed { incident, until, deadline: case.after(RECONCILING) });
    case.changes
}

/// The state was read: was the running step done, not done, or did somebody else come in between?
pub(super) fn reconciled(mut case: Case<'_>) -> Vec<Change> {
    // A journal of an older version may hold one that was read back before it is tried again.
    if case.incident.takes_back() {
        return owed::again(case, "nobody answered".to_owned());
    }
    let findings = case.incident.findings.as_ref();
    let found = case
        .running()
        .zip(findings)
        .map_or(Standing::Unknown, |(action, findings)| standing::of(&action, findings));
    let (incident, step, direction) = (case.id(), case.incident.step, case.incident.direction);
    match found {
        Standing::Unknown => {
            let deadline = case.incident.deadline.unwrap_or(case.at);
            case.push(Change::InspectionDelayed { incident, until: case.after(RECONCILE_EVERY), deadline });
            case.changes
        }
        Standing::Done => {
            let detail = "found done when the state was read again".to_owned();
            ended(case, &Outcome::Done { detail })
        }
        Standing::NotDone => not_done(case),
        Standing::Other(why) => {
            // Our write may have been made and changed by somebody, or something, after it.
            let outcome = Outcome::Unknown { why: why.clone() };
            case.push(Change::StepEnded { incident, step, direction, outcome });
            give_up(case, Reason::Stale { why })
        }
    }
}

/// The subject went before its step could be read back, and nobody can tell any more whether that was done. An
/// act was begun all the same, so people hear of the end.
pub(super) fn gone(mut case: Case<'_>) -> Vec<Change> {
    let (incident, step, direction) = (case.id(), case.incident.step, case.incident.direction);
    let outcome = Outcome::Unknown { why: "what it was done to is gone".to_owned() };
    // One that timed out has its result already; one whose agent was killed has none.
    if case.incident.steps.is_empty() {
        case.push(Change::StepEnded { incident, step, direction, outcome });
    }
    case.end(Phase::Gone, Reason::SubjectGone)
}

/// The write never arrived: all is decided anew on fresh facts, budgets included.
fn not_done(mut case: Case<'_>) -> Vec<Change> {
    let (incident, step, direction) = (case.id(), case.incident.step, case.incident.direction);
    let (why, outcome) = (late::NOT_ARRIVED.to_owned(), late::lost());
    case.push(Change::StepEnded { incident, step, direction, outcome: outcome.clone() });
    let tries = case.incident.steps.iter();
    let tries = tries.filter(|result| result.direction == direction && result.outcome == outcome).count();
    if case.incident.is_aborted() {
        return abort::follow(case);
    }
    if step == 0 && tries < WRITE_TRIES {
        return select::again(case);
    }
    give_up(case, Reason::StepFailed { why })
}

/// A notification ended: as a step of a plan, or as the news of a case.
pub(super) fn notified(mut case: Case<'_>, of: Option<usize>, outcome: &Outcome) -> Vec<Change> {
    let runs = case.incident.phase == Phase::Executing && !case.incident.reconciling;
    let (incident, step, direction) = (case.id(), case.incident.step, case.incident.direction);
    let is_step = of == Some(step) && matches!(case.running(), Some(Action::Notify { .. }));
    if !runs || !is_step {
        case.push(Change::NotificationEnded { incident, outcome: outcome.clone() });
        return case.changes;
    }
    case.push(Change::StepEnded { incident, step, direction, outcome: outcome.clone() });
    let failure = outcome.trouble().map(str::to_owned);
    if case.incident.is_aborted() {
        return abort::follow(case);
    }
    let last = case.incident.plan.as_ref().is_none_or(|plan| step + 1 >= plan.steps.len() && !plan.writes());
    match failure {
        Some(why) if last => case.end(Phase::Escalated, Reason::NotificationFailed { why }),
        Some(why) => {
            // That people could not be told is no reason to stop healing; it is said beside it.
            case.note(Reason::NotificationFailed { why });
            next_step(case)
        }
        None => next_step(case),
    }
}
