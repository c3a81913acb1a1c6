//! The ledger: what we did, counted for limits, cooldowns and attempts. It is folded from the journal, so
//! it survives restarts.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use super::deadlines::{CHARGES_KEPT, seconds};
use crate::model::change::Charge;
use crate::model::incident::IncidentKey;
use crate::model::subject::Subject;
use crate::rules::Per;

/// Acts, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Ledger(Vec<Charge>);

/// Attempts of one incident key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attempts {
    /// Acts since the last refill.
    pub(super) spent: u32,
    /// Those among them that surely wrote nothing.
    #[serde(default)]
    pub(super) unwritten: u32,
    /// Sources that said it is ill and have not said otherwise, over all its cases.
    pub(super) firing: BTreeSet<SmolStr>,
    /// The latest time at which any of its signals says the wrongness began, by the senders' clocks.
    pub(super) began: Option<Timestamp>,
    /// Since when the key is known to be well: its last source resolved, or its recovery was verified.
    /// `None` while it is ill or nobody said otherwise; that nothing was heard is not health, because
    /// senders repeat themselves every few hours only.
    pub(super) well_since: Option<Timestamp>,
    /// The longest healthy time since the last act, in seconds.
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

    /// When the target was last acted on. An act that wrote nothing gives it nothing to rest from.
    pub(super) fn last_on(&self, target: &Subject) -> Option<Timestamp> {
        self.0.iter().rev().find(|charge| charge.target == *target && charge.wrote).map(|charge| charge.at)
    }

    /// The last act of a key turned out to have written nothing. It still counts for the limits.
    pub(super) fn wrote_nothing(&mut self, key: &IncidentKey) {
        self.last_of(key).into_iter().for_each(|charge| charge.wrote = false);
    }

    /// The last act of a key turned out to have been written after all.
    pub(super) fn wrote_late(&mut self, key: &IncidentKey) {
        self.last_of(key).into_iter().for_each(|charge| charge.wrote = true);
    }

    fn last_of(&mut self, key: &IncidentKey) -> Option<&mut Charge> {
        self.0.iter_mut().rev().find(|charge| charge.key == *key)
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

/// A source, told apart by the member that it speaks of. Names of objects hold no blank.
fn said_of(source: &SmolStr, member: &str) -> SmolStr {
    if member.is_empty() { source.clone() } else { format_smolstr!("{source} {member}") }
}

impl Attempts {
    /// A signal told of a wrongness that began then.
    pub(super) fn told(&mut self, began: Timestamp) {
        self.began = self.began.max(Some(began));
    }

    /// A firing signal was heard, of a member of the key or, where that is empty, of the key itself.
    pub(super) fn ill(&mut self, at: Timestamp, source: &SmolStr, member: &str) {
        let source = said_of(source, member);
        self.firing.insert(source);
        if let Some(since) = self.well_since.take() {
            let quiet = at.duration_since(since).as_secs();
            self.quiet_s = self.quiet_s.max(u64::try_from(quiet).unwrap_or(0));
        }
    }

    /// A source said that it is over.
    pub(super) fn resolved(&mut self, at: Timestamp, source: &SmolStr, member: &str) {
        if self.firing.remove(said_of(source, member).as_str()) && self.firing.is_empty() {
            self.well_since.get_or_insert(at);
        }
    }

    /// The recovery was measured, which counts more than what any source said before. The owner is well
    /// once all its members are.
    pub(super) fn recovered(&mut self, at: Timestamp, member: &str) {
        if member.is_empty() {
            self.firing.clear();
        } else {
            let of = format!(" {member}");
            self.firing.retain(|source| !source.ends_with(&of));
        }
        if self.firing.is_empty() {
            self.well_since.get_or_insert(at);
        }
    }

    /// The healthy period is over: all come back.
    pub(super) fn refill(&mut self) {
        (self.spent, self.unwritten) = (0, 0);
    }

    /// An act was made.
    pub(super) fn spend(&mut self) {
        self.spent = self.spent.saturating_add(1);
        self.quiet_s = 0;
    }
}
