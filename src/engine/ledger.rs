//! The ledger: what we did, counted for limits, cooldowns and attempts. It is folded from the journal, so
//! it survives restarts.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::deadlines::{CHARGES_KEPT, seconds};
use crate::model::change::Charge;
use crate::model::subject::Subject;
use crate::rules::Per;

/// Acts, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Ledger(Vec<Charge>);

/// Attempts of one incident key.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attempts {
    /// Acts since the last refill.
    pub(super) spent: u32,
    /// When the key was last heard to be ill.
    pub(super) last_ill: Timestamp,
    /// The longest time without a firing signal since the last act, in seconds.
    pub(super) quiet_s: u64,
}

impl Ledger {
    /// Adds an act, and drops those that no window reaches any more.
    pub(super) fn charge(&mut self, charge: &Charge) {
        let oldest = charge.at.saturating_sub(CHARGES_KEPT).unwrap_or(Timestamp::MIN);
        self.0.retain(|old| old.at > oldest);
        self.0.push(charge.clone());
    }

    /// The acts in the window that count with `next`, and when the oldest of them leaves the window.
    ///
    /// The window is `(now - window, now]`: an act exactly one window ago does not count any more.
    pub(super) fn within(&self, per: Per, next: &Charge, window_s: u64) -> (u32, Option<Timestamp>) {
        let window = seconds(window_s);
        let start = next.at.saturating_sub(window).unwrap_or(Timestamp::MIN);
        let mut counted = self.0.iter().filter(|old| old.at > start && counts_with(per, old, next));
        let Some(first) = counted.next() else { return (0, None) };
        let count = u32::try_from(counted.count() + 1).unwrap_or(u32::MAX);
        (count, first.at.saturating_add(window).ok())
    }

    /// When the target was last acted on.
    pub(super) fn last_on(&self, target: &Subject) -> Option<Timestamp> {
        self.0.iter().rev().find(|charge| charge.target == *target).map(|charge| charge.at)
    }
}

fn counts_with(per: Per, old: &Charge, next: &Charge) -> bool {
    match per {
        Per::Target => old.key.owner == next.key.owner,
        Per::Playbook => old.playbook == next.playbook,
        Per::Namespace => old.target.namespace == next.target.namespace,
        Per::Cluster => true,
    }
}

impl Attempts {
    /// A key that was just heard to be ill for the first time.
    pub(super) fn new(at: Timestamp) -> Self {
        Self { spent: 0, last_ill: at, quiet_s: 0 }
    }

    /// A firing signal was heard.
    pub(super) fn heard(&mut self, at: Timestamp) {
        let quiet: SignedDuration = at.duration_since(self.last_ill);
        self.quiet_s = self.quiet_s.max(u64::try_from(quiet.as_secs()).unwrap_or(0));
        self.last_ill = self.last_ill.max(at);
    }

    /// An act was made.
    pub(super) fn spend(&mut self) {
        self.spent = self.spent.saturating_add(1);
        self.quiet_s = 0;
    }
}
