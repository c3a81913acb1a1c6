//! The gate: the only door to a write.

use jiff::Timestamp;

use crate::model::digest::Digest;
use crate::model::effect::Execute;
use crate::model::plan::Direction;
use crate::model::subject::Subject;

/// Leave to do one step, minted from a committed change only. It cannot be copied, stored or made
/// elsewhere, and no write may begin after `not_after`.
#[derive(Debug)]
pub struct Permit {
    plan: Digest,
    step: usize,
    direction: Direction,
    target: Subject,
    not_after: Timestamp,
}

impl Permit {
    /// Whether this permit covers the step at this time. Asked right before every write.
    ///
    /// # Errors
    /// Says what does not fit: another plan, step, direction or target, or the time is up.
    pub fn covers(&self, execute: &Execute, now: Timestamp) -> Result<(), String> {
        if self.plan != execute.plan || self.step != execute.step || self.direction != execute.direction {
            return Err("the permit names another step".to_owned());
        }
        if Some(&self.target) != execute.action.target() {
            return Err(format!("the permit names another target: {}", self.target));
        }
        if now > self.not_after {
            return Err(format!("the permit ended at {}", self.not_after));
        }
        Ok(())
    }

    /// When it ends.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// A permit for tests of effectors.
    #[cfg(test)]
    pub(crate) fn for_test(execute: &Execute, not_after: Timestamp) -> Option<Self> {
        let target = execute.action.target()?.clone();
        Some(Self { plan: execute.plan, step: execute.step, direction: execute.direction, target, not_after })
    }
}
