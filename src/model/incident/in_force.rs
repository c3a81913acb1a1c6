//! What a case did that is in force, and what the operator who stopped it wants done with it.

use super::super::action::Action;
use super::super::event::InForce;
use super::super::plan::{Direction, Outcome};
use super::super::reason::Reason;
use super::{Incident, Phase};

impl Incident {
    /// What the operator who stopped it last wants done with the act in force.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "one reason tells")]
    pub fn wanted(&self) -> Option<InForce> {
        self.reasons.iter().rev().find_map(|timed| match &timed.reason {
            Reason::Aborted { in_force, .. } => Some(*in_force),
            _ => None,
        })
    }

    /// The act of ours that is in force, or may be, and can be undone. `None` while it is being undone.
    #[must_use]
    pub fn in_force(&self) -> Option<&Action> {
        let running = self.phase == Phase::Executing;
        if running && self.direction == Direction::Undo {
            return None;
        }
        let steps = self.plan.iter().flat_map(|plan| &plan.steps).enumerate();
        let undoable = steps.filter(|(_, step)| step.inverse().is_some());
        let in_force = undoable.filter(|(index, step)| {
            let last = self.steps.iter().rev().find(|result| result.step == *index);
            let stays = last.is_some_and(|last| match last.direction {
                Direction::Forward => matches!(last.outcome, Outcome::Done { .. }),
                Direction::Undo => !matches!(last.outcome, Outcome::Done { .. } | Outcome::AlreadyDone),
            });
            // Nobody knows whether a write was made, or it runs: then it may be in force.
            let may = self.expires_at.is_some() && step.expires_s().is_some();
            stays || may || (running && self.step == *index)
        });
        in_force.last().map(|(_, step)| step)
    }

    /// Whether the last probe of what was done was healthy.
    #[must_use]
    pub fn probed_healthy(&self) -> bool {
        self.good_since.is_some()
    }
}
