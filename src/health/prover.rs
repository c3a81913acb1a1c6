//! The prover: which revision of a route has carried enough traffic, healthy, for long enough.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::model::digest::Digest;
use crate::model::indicator::{Level, Probe};
use crate::model::subject::Subject;

/// A revision in force, as the watch sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The route.
    pub subject: Subject,
    /// Its revision.
    pub spec_hash: Digest,
}

/// Proof of a revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Proven {
    /// The revision.
    pub revision: InForce,
    /// Requests it carried.
    pub requests: f64,
    /// Since when.
    pub since: Timestamp,
}

#[derive(Clone, Debug)]
struct Track {
    spec_hash: Digest,
    in_force: Timestamp,
    healthy_since: Option<Timestamp>,
    last: Timestamp,
    requests: f64,
    told: bool,
}

/// Follows all routes.
#[derive(Clone, Debug)]
pub struct Prover {
    hold: SignedDuration,
    min_requests: f64,
    window: SignedDuration,
    tracks: BTreeMap<Subject, Track>,
}

impl Prover {
    /// A prover that asks for so much traffic over so long a time; readings look back `window` seconds.
    #[must_use]
    pub fn new(hold_s: u64, min_requests: u64, window_s: u64) -> Self {
        let span = |seconds: u64| SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        #[expect(clippy::cast_precision_loss, reason = "request counts of a configuration are small")]
        let min_requests = min_requests as f64;
        Self { hold: span(hold_s), min_requests, window: span(window_s), tracks: BTreeMap::new() }
    }

    /// Takes a judged reading for a route's revision. Anything but healthy starts the time anew: a
    /// revision is not proven by the hours before it made trouble.
    pub fn take(&mut self, revision: InForce, probe: &Probe) -> Option<Proven> {
        let at = probe.at;
        let fresh = Track {
            spec_hash: revision.spec_hash,
            in_force: at,
            healthy_since: None,
            last: at,
            requests: 0.0,
            told: false,
        };
        let track = self.tracks.entry(revision.subject.clone()).or_insert_with(|| fresh.clone());
        if track.spec_hash != revision.spec_hash {
            *track = fresh;
        }
        // Until the window lies wholly behind the change, its requests belong to the revision before.
        let settled = at.duration_since(track.in_force) >= self.window;
        let healthy = settled && probe.level == Level::Healthy;
        let Some(figure) = probe.figure.filter(|_| healthy) else {
            track.healthy_since = None;
            track.requests = 0.0;
            track.last = at;
            return None;
        };
        let since = *track.healthy_since.get_or_insert(at);
        let elapsed = at.duration_since(track.last).min(self.window);
        track.last = at;
        if self.window.is_positive() {
            track.requests += figure.samples * (elapsed.as_secs_f64() / self.window.as_secs_f64());
        }
        let proven = at.duration_since(since) >= self.hold && track.requests >= self.min_requests;
        if !proven || track.told {
            return None;
        }
        track.told = true;
        Some(Proven { revision, requests: track.requests, since })
    }

    /// Forgets the routes that are not there any more.
    pub fn retain(&mut self, keep: impl Fn(&Subject) -> bool) {
        self.tracks.retain(|subject, _| keep(subject));
    }

    /// Tells again about a revision whose proof could not be written down.
    pub fn retell(&mut self, subject: &Subject) {
        if let Some(track) = self.tracks.get_mut(subject) {
            track.told = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::indicator::Figure;

    fn feed(prover: &mut Prover, spec: &[u8], second: i64, level: Level) -> bool {
        let probe = Probe {
            indicator: "traffic.route_error_rate".to_owned(),
            figure: (level != Level::Unknown).then_some(Figure { value: 0.0, samples: 100.0 }),
            level,
            why: String::new(),
            at: Timestamp::from_second(1_000_000 + second).unwrap(),
        };
        let subject = Subject::virtual_service("shop", "cart");
        prover.take(InForce { subject, spec_hash: Digest::of_bytes(spec) }, &probe).is_some()
    }

    #[test]
    fn a_revision_is_proven_once_by_its_own_unbroken_healthy_traffic() {
        let mut prover = Prover::new(20, 100, 10);
        let first = (0..100).find(|second| feed(&mut prover, b"a", *second, Level::Healthy));
        // Mutation: counting the window before the change proves it ten seconds earlier.
        assert_eq!(first, Some(30));
        assert!(!feed(&mut prover, b"a", 101, Level::Healthy), "told once");
        // A gap in the data starts the time anew.
        for second in 200..225 {
            assert!(!feed(&mut prover, b"b", second, Level::Healthy));
        }
        assert!(!feed(&mut prover, b"b", 225, Level::Unknown));
        for second in 226..246 {
            assert!(!feed(&mut prover, b"b", second, Level::Healthy), "{second}");
        }
        assert!(feed(&mut prover, b"b", 246, Level::Healthy));
    }
}
