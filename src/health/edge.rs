//! An edge: what was not the case begins to be, or ends, once it has held for long enough.

use jiff::{SignedDuration, Timestamp};

use crate::model::signal::SignalState;

/// How long it has to be so, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Before it begins.
    pub begin_s: u64,
    /// Before it is over.
    pub end_s: u64,
}

impl Hold {
    /// The same both ways.
    #[must_use]
    pub fn both(seconds: u64) -> Self {
        Self { begin_s: seconds, end_s: seconds }
    }
}

/// One condition over time. Unknown is not fed: it neither starts nor ends anything.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// Since when it has been met, or not met, without a break.
    since: Timestamp,
    met: bool,
    firing: bool,
}

impl Edge {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        Self { since: at, met: false, firing: false }
    }

    /// It fired before a restart, and nobody said that it is over.
    #[must_use]
    pub fn resumed(at: Timestamp) -> Self {
        Self { since: at, met: true, firing: true }
    }

    /// Whether it fires.
    #[must_use]
    pub fn is_firing(&self) -> bool {
        self.firing
    }

    /// Since when it has been as it is.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Takes what was seen; on an edge, which one and since when.
    pub fn take(&mut self, met: bool, hold: Hold, at: Timestamp) -> Option<(SignalState, Timestamp)> {
        if self.met != met {
            self.met = met;
            self.since = at;
        }
        let seconds = if met { hold.begin_s } else { hold.end_s };
        let hold = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        if met == self.firing || at.duration_since(self.since) < hold {
            return None;
        }
        self.firing = met;
        let state = if met { SignalState::Firing } else { SignalState::Resolved };
        Some((state, self.since))
    }
}
