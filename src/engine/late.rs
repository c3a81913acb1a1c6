//! Late: a write that was taken for lost, and arrived after all.
//!
//! An API server that hangs for longer than any write of ours may take still has it in its socket, and makes it
//! when it comes to itself again.

use super::case::Case;
use super::standing::{self, Standing};
use crate::model::action::Action;
use crate::model::facts::Findings;
use crate::model::incident::StepResult;
use crate::model::plan::{Direction, Outcome};

/// What a step says that was found not to have arrived; undo steps are counted by it.
pub(super) const NOT_ARRIVED: &str = "the write did not arrive";

/// The outcome of such a step.
pub(super) fn lost() -> Outcome {
    Outcome::Stale { why: NOT_ARRIVED.to_owned() }
}

/// Whether somebody else came in between, as far as its sender knows.
pub(super) fn raced(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Stale { .. }) && *outcome != lost()
}

/// The first step of a plan that may still arrive: it was taken for lost, and nothing was done since.
pub(super) fn awaited(case: &Case<'_>) -> Option<Action> {
    let first = case.incident.step == 0 && case.incident.direction == Direction::Forward;
    let nothing = |result: &&StepResult| {
        result.direction == Direction::Forward && matches!(result.outcome, Outcome::Stale { .. })
    };
    let since = case.incident.steps.iter().rev().take_while(nothing);
    let may = first && since.map(|result| &result.outcome).any(|outcome| *outcome == lost());
    case.running().filter(|_| may)
}

/// Whether it has arrived by now.
pub(super) fn arrived(case: &Case<'_>, findings: &Findings) -> bool {
    awaited(case).is_some_and(|action| standing::of(&action, findings) == Standing::Done)
}
