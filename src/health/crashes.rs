//! Crashes: proxies that end again and again.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

/// Three restarts are where the kubelet's pauses reach forty seconds and users notice.
const CRASHING_AFTER: u32 = 3;
/// Ten minutes of running, and the kubelet forgets its pauses as well.
const WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// The proxy container as the watch has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Container {
    /// Restarts so far.
    pub restarts: u32,
    /// Whether the kubelet pauses before it starts it again.
    pub backs_off: bool,
    /// Whether it is ready.
    pub ready: bool,
}

/// The restarts of all proxies, by the uid of their pod.
#[derive(Clone, Debug, Default)]
pub struct Crashes {
    counts: BTreeMap<String, VecDeque<(Timestamp, u32)>>,
}

impl Crashes {
    /// Takes what is there now, and says whether the proxy crashes over and over.
    ///
    /// # Errors
    /// It starts: nobody knows yet.
    pub fn take(&mut self, uid: &str, now: Container, at: Timestamp) -> Result<bool, String> {
        let counts = self.counts.entry(uid.to_owned()).or_default();
        if counts.back().is_none_or(|(_, known)| *known != now.restarts) {
            counts.push_back((at, now.restarts));
        }
        // The newest count that is older than the window is where the window begins.
        while counts.get(1).is_some_and(|(since, _)| at.duration_since(*since) > WITHIN) {
            counts.pop_front();
        }
        let first = counts.front().map_or(now.restarts, |(_, restarts)| *restarts);
        if now.backs_off || now.restarts.saturating_sub(first) >= CRASHING_AFTER {
            return Ok(true);
        }
        if now.ready { Ok(false) } else { Err("the proxy is not ready".to_owned()) }
    }

    /// Forgets the pods that are not there any more.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.counts.retain(|uid, _| keep(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + minute * 60).unwrap()
    }

    fn ready(restarts: u32) -> Container {
        Container { restarts, backs_off: false, ready: true }
    }

    #[test]
    fn three_restarts_within_ten_minutes_are_crashes_and_old_ones_are_not() {
        let mut crashes = Crashes::default();
        // Mutation: counting from zero takes a pod that restarted last year for a crashing one.
        assert_eq!(crashes.take("a", ready(40), at(0)), Ok(false));
        assert_eq!(crashes.take("a", ready(41), at(1)), Ok(false));
        assert_eq!(crashes.take("a", ready(42), at(5)), Ok(false));
        assert_eq!(crashes.take("a", ready(43), at(9)), Ok(true));
        // The first of them is more than ten minutes old. Mutation: never forgetting.
        assert_eq!(crashes.take("a", ready(43), at(12)), Ok(false));
        for (minute, restarts) in [(20, 44), (40, 45), (60, 46)] {
            assert_eq!(crashes.take("a", ready(restarts), at(minute)), Ok(false), "one now and then");
        }
        // All at once, as when the watch was away.
        assert_eq!(crashes.take("a", ready(49), at(61)), Ok(true));
    }

    #[test]
    fn pauses_of_the_kubelet_are_enough_and_a_start_proves_nothing() {
        let mut crashes = Crashes::default();
        let pausing = Container { restarts: 1, backs_off: true, ready: false };
        assert_eq!(crashes.take("a", pausing, at(0)), Ok(true));
        let starting = Container { backs_off: false, ..pausing };
        // Mutation: taking a start for health ends the illness between two crashes.
        assert!(crashes.take("a", starting, at(1)).is_err());
        assert_eq!(crashes.take("a", ready(1), at(2)), Ok(false));
    }
}
