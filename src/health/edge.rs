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

/// What begins more often than so many times within the time beside it flaps. A crash loop begins anew with each
/// pause of the kubelet, and these grow to five minutes: the fourth beginning lies within half an hour. What
/// people, or an act of ours, cured and what comes back is told three times before it is called so.
const OFTEN: usize = 3;
const WITHIN: SignedDuration = SignedDuration::from_mins(30);
/// What flaps is over only after so long a time without it: twice the longest pause between two crashes.
const CALM_S: u64 = 600;
/// The label that tells of it.
pub(super) const FLAPPING: &str = "flapping";

/// One condition over time. Unknown is not fed: it neither starts nor ends anything.
///
/// What begins and ends again and again is told at its first beginnings as anything else. The one after these is
/// told as flapping, and stays until the condition has not been met for ten minutes: a page for each swing would
/// make people look away. A beginning is never delayed by that, and an illness that lasts stays told.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Since when it has been met, or not met, without a break.
    since: Timestamp,
    met: bool,
    firing: bool,
    /// When it began to fire the last times, the oldest first: at most one more than [`OFTEN`].
    begun: Vec<Timestamp>,
}

impl Edge {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        Self { since: at, met: false, firing: false, begun: Vec::new() }
    }

    /// It fired before a restart, and nobody said that it is over.
    #[must_use]
    pub fn resumed(at: Timestamp) -> Self {
        Self { since: at, met: true, firing: true, begun: Vec::new() }
    }

    /// Somebody measured that it is over: it fires no more, and how often it began is not forgotten.
    pub fn is_over(&mut self, at: Timestamp) {
        (self.since, self.met, self.firing) = (at, false, false);
    }

    /// How often it has begun lately, where that is too often.
    #[must_use]
    pub fn flaps(&self) -> Option<String> {
        let times = self.begun.len();
        (times > OFTEN).then(|| format!("began {times} times within {} minutes", WITHIN.as_mins()))
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
        let calm_s = if self.flaps().is_some() { CALM_S } else { 0 };
        let seconds = if met { hold.begin_s } else { hold.end_s.max(calm_s) };
        let hold = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        if met == self.firing || at.duration_since(self.since) < hold {
            return None;
        }
        self.firing = met;
        if met {
            self.begun.push(at);
            self.begun.retain(|begun| at.duration_since(*begun) <= WITHIN);
            let more = self.begun.len().saturating_sub(OFTEN + 1);
            self.begun.drain(..more);
        }
        let state = if met { SignalState::Firing } else { SignalState::Resolved };
        Some((state, self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Hold = Hold { begin_s: 10, end_s: 10 };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    /// What is told, and when, of a condition that is looked at every five seconds.
    fn told(seconds: i64, met: impl Fn(i64) -> bool) -> Vec<(i64, SignalState, bool)> {
        let mut edge = Edge::new(at(0));
        let look = |second| {
            let (state, _) = edge.take(met(second), HOLD, at(second))?;
            Some((second, state, edge.flaps().is_some()))
        };
        (0..seconds).step_by(5).filter_map(look).collect()
    }

    // Mutations: damping from the first beginning on; counting ends; an end that comes after the usual hold
    // although it flaps; one more beginning that is told while it flaps.
    #[test]
    fn what_swings_is_told_three_times_and_then_once_until_it_is_calm() {
        use SignalState::{Firing, Resolved};
        // Ill for a minute and well for a minute, for half an hour.
        let found = told(3_600, |second| second < 1_800 && second % 120 < 60);
        assert_eq!(
            found,
            [
                (10, Firing, false),
                (70, Resolved, false),
                (130, Firing, false),
                (190, Resolved, false),
                (250, Firing, false),
                (310, Resolved, false),
                (370, Firing, true),
                // Well from 1740 on, and calm ten minutes later.
                (2_340, Resolved, true),
            ]
        );
    }

    // Mutations: a window that never ends; a lasting illness that is ended because it flapped before it.
    #[test]
    fn what_comes_back_rarely_does_not_flap_and_what_lasts_is_told_as_long() {
        let rarely = told(5 * 3_600, |second| second % 1_000 < 60);
        assert_eq!(rarely.len(), 36, "{rarely:?}");
        assert!(rarely.iter().all(|(_, _, flaps)| !flaps));
        let lasting = told(7_200, |second| second > 500 || second % 120 < 60);
        assert_eq!(lasting.last(), Some(&(370, SignalState::Firing, true)));
    }

    // Mutation: forgetting how often it began with each cure makes a fault that comes back after every act news
    // for ever.
    #[test]
    fn a_measured_end_does_not_make_it_forget() {
        let mut edge = Edge::new(at(0));
        for round in 0..4 {
            let begin = round * 100;
            assert!(edge.flaps().is_none());
            assert_eq!(edge.take(true, HOLD, at(begin)), None);
            assert!(edge.take(true, HOLD, at(begin + 10)).is_some());
            edge.is_over(at(begin + 20));
            assert!(!edge.is_firing());
        }
        assert_eq!(edge.flaps().as_deref(), Some("began 4 times within 30 minutes"));
    }
}
