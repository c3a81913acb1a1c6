//! Expiry: until when what was done may last.

use jiff::Timestamp;

use super::deadlines::seconds;
use crate::model::action::Action;
use crate::model::incident::Incident;
use crate::model::plan::{Direction, Outcome};

/// When a step that starts or was done now is to be taken back; `None` for one that lasts.
pub(super) fn expiry(case: &Incident, at: Timestamp, step: usize) -> Option<Timestamp> {
    let expires_s = case.plan.as_ref()?.steps.get(step).and_then(Action::expires_s)?;
    at.saturating_add(seconds(expires_s)).ok()
}

/// An act that must not last begins to expire when it starts, because it may be written from then on. What
/// was surely not written, or was taken back, expires no more; an unknown outcome changes nothing.
pub(super) fn expire(
    case: &mut Incident,
    at: Timestamp,
    step: usize,
    direction: Direction,
    outcome: &Outcome,
) {
    let back = matches!(outcome, Outcome::Done { .. } | Outcome::AlreadyDone | Outcome::Moot { .. });
    if direction == Direction::Undo && back {
        case.undo_tries = 0;
    }
    let Some(expires_at) = expiry(case, at, step) else { return };
    match (direction, outcome) {
        (_, Outcome::Unknown { .. }) => {}
        (Direction::Forward, Outcome::Done { .. }) => case.expires_at = Some(expires_at),
        (Direction::Forward, Outcome::AlreadyDone | Outcome::Stale { .. } | Outcome::Failed { .. })
        | (_, Outcome::Moot { .. })
        | (Direction::Undo, Outcome::Done { .. } | Outcome::AlreadyDone) => case.expires_at = None,
        (Direction::Undo, Outcome::Stale { .. } | Outcome::Failed { .. }) => {}
    }
}
