//! Owed: what was begun to be taken back is taken back, however long it takes.
//!
//! A try that was not made is repeated with growing pauses, over restarts, and people hear of it until it is
//! made. For an act that expires nothing else ends this than that nothing of ours is left on the object. An undo
//! that no expiry asks for is given up after a day: by then people have been told two dozen times.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::act;
use super::case::Case;
use super::deadlines::{REMIND, UNDO_PAUSE, UNDO_PAUSE_MAX, UNDO_TRIES, WRITE_GRACE};
use super::orphan;
use super::state::State;
use crate::model::change::Change;
use crate::model::incident::{Incident, Phase};
use crate::model::reason::Reason;

/// A try ended and did not take it back.
pub(super) fn again(mut case: Case<'_>, why: String) -> Vec<Change> {
    let tries = case.incident.undo_tries.saturating_add(1);
    if !is_bound(&case.incident) && tries >= UNDO_TRIES {
        return case.over(Phase::Escalated, Reason::UndoFailed { why });
    }
    delay(&mut case, pause(tries));
    tell(&mut case, why);
    case.changes
}

/// Nothing of ours is left on the object: it is over with it, whatever was to follow.
pub(super) fn moot(case: Case<'_>, why: String) -> Vec<Change> {
    case.over(Phase::Escalated, Reason::UndoFailed { why })
}

/// Waits, at least until no write of the last permit can arrive any more.
pub(super) fn delay(case: &mut Case<'_>, pause: SignedDuration) {
    let arrived = case.incident.permit_until.and_then(|until| until.checked_add(WRITE_GRACE).ok());
    let until = arrived.map_or(case.after(pause), |arrived| arrived.max(case.after(pause)));
    let incident = case.id();
    case.push(Change::UndoDelayed { incident, until });
}

/// One try that fails is mostly a race and no news, except about an act of which nobody knows anything: that
/// one is late already.
pub(super) fn tell(case: &mut Case<'_>, why: String) {
    let known = case.incident.undo_tries >= 2 || case.incident.is_orphan();
    if known && told_at(&case.incident).is_none_or(|told| case.at.duration_since(told) >= REMIND) {
        case.note(Reason::StillOwed { why });
    }
}

fn told_at(case: &Incident) -> Option<Timestamp> {
    let told = case.reasons.iter().rev().find(|timed| matches!(timed.reason, Reason::StillOwed { .. }));
    told.map(|timed| timed.at)
}

/// Pauses of 30 s, 1, 2, 4 and then five minutes.
fn pause(tries: u32) -> SignedDuration {
    let doubled = UNDO_PAUSE.checked_mul(1_i32.checked_shl(tries.saturating_sub(1)).unwrap_or(i32::MAX));
    doubled
        .filter(|pause| *pause > SignedDuration::ZERO)
        .map_or(UNDO_PAUSE_MAX, |pause| pause.min(UNDO_PAUSE_MAX))
}

/// Whether it has to be taken back by itself.
fn is_bound(case: &Incident) -> bool {
    case.expires_at.is_some() || case.is_orphan()
}

/// Whether something of ours, or of another agent, is to be taken back, now or later.
pub(super) fn is_owed(case: &Incident) -> bool {
    !case.phase.is_end() && (case.expires_at.is_some() || case.undo_tries > 0)
}

impl State {
    /// Acts that are not taken back although their time is over: ours, and those of other agents.
    #[must_use]
    pub fn overdue(&self, at: Timestamp) -> (usize, usize) {
        let owed = self.owed.iter().filter_map(|id| self.incidents.get(id));
        let late = |case: &&Arc<Incident>| {
            case.undo_tries > 0 || case.expires_at.is_some_and(|expires| expires <= at)
        };
        let (orphans, own): (Vec<_>, Vec<_>) = owed.filter(late).partition(|case| case.is_orphan());
        (own.len(), orphans.len())
    }
}

/// Its time has come: the first time, or once more.
pub(super) fn take_back(case: Case<'_>) -> Vec<Change> {
    if case.incident.is_orphan() { orphan::take_back(case) } else { act::undo(case) }
}
