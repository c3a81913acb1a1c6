//! Conditions: symptoms that no figure of an indicator tells, but something seen of one object.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::board::Fired;
use super::edge::{Edge, FLAPPING, Hold};
use crate::model::signal::{Severity, Signal, SignalState};
use crate::model::subject::Subject;

/// A symptom of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The symptom.
    pub symptom: &'static str,
    /// Kind of the objects that have it.
    pub of: &'static str,
    /// Who says so.
    pub source: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// How long it has to be so.
    pub hold: Hold,
}

/// A proxy does not acknowledge what it is sent. A push is acknowledged within a second, and half a minute is
/// beyond any that is only slow; but a connection of istiod ends by itself within half an hour, a push that was
/// lost is repeated with the next change, and nobody restarts a proxy that still serves before five minutes. Told
/// earlier, the case would end with that answer long before there is anything to do.
pub const STALE: Condition = Condition {
    symptom: "data_plane.proxy_stale",
    of: "Pod",
    source: "istiod",
    severity: Severity::Warning,
    hold: Hold { begin_s: 300, end_s: 0 },
};

/// A proxy rejects what it is sent, and says so itself.
pub const REJECTED: Condition = Condition {
    symptom: "config.rejected",
    of: "Pod",
    source: "istiod",
    severity: Severity::Critical,
    hold: Hold { begin_s: 0, end_s: 0 },
};

/// A proxy ends again and again. Between two crashes it runs for a while, so it has to run for longer than
/// that before it is well.
pub const CRASHING: Condition = Condition {
    symptom: "data_plane.proxy_crashing",
    of: "Pod",
    source: "kubernetes",
    severity: Severity::Critical,
    hold: Hold { begin_s: 0, end_s: 60 },
};

/// A certificate was not renewed in time.
pub const EXPIRING: Condition = Condition {
    symptom: "security.certificate_expiring",
    of: "Certificate",
    source: "kubernetes",
    severity: Severity::Critical,
    hold: Hold { begin_s: 0, end_s: 0 },
};

/// A pod that asks for a proxy runs without one: the injector failed open, or was not there.
pub const MISSING: Condition = Condition {
    symptom: "data_plane.proxy_missing",
    of: "Pod",
    source: "kubernetes/proxy_missing",
    severity: Severity::Warning,
    hold: Hold { begin_s: 60, end_s: 0 },
};

/// A Job that is done cannot end, because its proxy runs on. The proxy is told to quit by many a script of the
/// Job itself; two minutes are longer than any of these takes.
pub const JOB_HELD: Condition = Condition {
    symptom: "data_plane.job_held",
    of: "Pod",
    source: "kubernetes/job_held",
    severity: Severity::Warning,
    hold: Hold { begin_s: 120, end_s: 0 },
};

/// A pod is still there although its grace period is over. The kubelet kills what is left within seconds then, and
/// a node that is only slow within a minute or two.
pub const STUCK: Condition = Condition {
    symptom: "data_plane.pod_stuck",
    of: "Pod",
    source: "kubernetes/pod_stuck",
    severity: Severity::Warning,
    hold: Hold { begin_s: 120, end_s: 0 },
};

/// A pod was started before Istio's CNI plugin was there: its network is not that of the mesh, and it will never
/// start. Istio's own controller repairs that within a minute where it is switched on.
pub const UNWIRED: Condition = Condition {
    symptom: "data_plane.network_unset",
    of: "Pod",
    source: "kubernetes/network_unset",
    severity: Severity::Critical,
    hold: Hold { begin_s: 60, end_s: 0 },
};

/// A DestinationRule has no effect, because another one of its host counts. Between two writes of a change that
/// concerns both that may be so for a moment.
pub const WITHOUT_EFFECT: Condition = Condition {
    symptom: "config.rule_without_effect",
    of: "DestinationRule",
    source: "kubernetes",
    severity: Severity::Warning,
    hold: Hold { begin_s: 60, end_s: 0 },
};

/// Most proxies of one replica of istiod that is ready do not get what they are to get. As long as for a single
/// proxy that is stale: what ends by itself ends before.
pub const REPLICA_STALE: Condition = Condition {
    symptom: "control_plane.replica_stale",
    of: "Pod",
    source: "istiod",
    severity: Severity::Critical,
    hold: Hold { begin_s: 300, end_s: 0 },
};

const ALL: [Condition; 10] =
    [STALE, REJECTED, CRASHING, EXPIRING, MISSING, JOB_HELD, STUCK, UNWIRED, WITHOUT_EFFECT, REPLICA_STALE];

/// The symptoms that conditions tell.
pub fn symptoms() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|condition| condition.symptom)
}

/// The names under which conditions speak.
pub fn sources() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|condition| condition.source)
}

/// What was seen of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The object.
    pub subject: Subject,
    /// Whether the condition is met, or why nobody knows.
    pub met: Result<bool, String>,
    /// The figure behind it, if there is one.
    pub value: Option<f64>,
    /// Evidence.
    pub labels: BTreeMap<String, String>,
    /// When.
    pub at: Timestamp,
}

/// All conditions over time.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    tracks: BTreeMap<(&'static str, Subject), Edge>,
}

impl Conditions {
    /// Takes what was seen; on an edge it is a signal.
    pub fn take(&mut self, condition: &Condition, seen: Seen) -> Option<Signal> {
        let met = *seen.met.as_ref().ok()?;
        let key = (condition.symptom, seen.subject.clone());
        // Of most objects it was never met: nothing is kept of them.
        if !met && !self.tracks.contains_key(&key) {
            return None;
        }
        let edge = self.tracks.entry(key).or_insert_with(|| Edge::new(seen.at));
        let (state, since) = edge.take(met, condition.hold, seen.at)?;
        let mut seen = Seen { at: since, ..seen };
        if let (SignalState::Firing, Some(flaps)) = (state, edge.flaps()) {
            seen.labels.insert(FLAPPING.to_owned(), flaps);
        }
        signal(condition, state, seen)
    }

    /// The subjects of which a condition was met once.
    #[must_use]
    pub fn subjects(&self, condition: &Condition) -> BTreeSet<Subject> {
        let of = self.tracks.keys().filter(|(symptom, _)| *symptom == condition.symptom);
        of.map(|(_, subject)| subject.clone()).collect()
    }

    /// After a restart: what this source said to be ill still fires as far as anybody knows.
    pub fn resume(&mut self, fired: Fired<'_>, at: Timestamp) {
        let speaks = |condition: &&Condition| {
            let family = condition.symptom.split('.').next();
            condition.source == fired.source
                && family == Some(fired.family)
                && condition.of == fired.subject.kind
        };
        for condition in ALL.iter().filter(speaks) {
            self.tracks.insert((condition.symptom, fired.subject.clone()), Edge::resumed(at));
        }
    }

    /// Forgets the subjects that are not there any more, and says of each that fired that it is over.
    pub fn retain(
        &mut self,
        condition: &Condition,
        keep: impl Fn(&Subject) -> bool,
        at: Timestamp,
    ) -> Vec<Signal> {
        let gone = |(symptom, subject): &(&str, Subject)| *symptom == condition.symptom && !keep(subject);
        let keys: Vec<_> = self.tracks.keys().filter(|key| gone(key)).cloned().collect();
        let dropped = keys.into_iter().filter_map(|key| Some((self.tracks.remove(&key)?, key.1)));
        dropped
            .filter(|(edge, _)| edge.is_firing())
            .filter_map(|(_, subject)| {
                let seen = Seen { subject, met: Ok(false), value: None, labels: BTreeMap::new(), at };
                signal(condition, SignalState::Resolved, seen)
            })
            .collect()
    }
}

fn signal(condition: &Condition, state: SignalState, seen: Seen) -> Option<Signal> {
    Some(Signal {
        // Every word of ours is a symptom; a test holds that.
        symptom: condition.symptom.parse().ok()?,
        subject: seen.subject,
        state,
        severity: condition.severity,
        value: seen.value,
        labels: seen.labels.into(),
        at: seen.at,
        source: condition.source.into(),
        alert: None,
        owner: None,
        depends_on: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(second: i64, met: Result<bool, &str>) -> Seen {
        Seen {
            subject: Subject::pod("shop", "cart"),
            met: met.map_err(str::to_owned),
            value: None,
            labels: BTreeMap::new(),
            at: Timestamp::from_second(1_000_000 + second).unwrap(),
        }
    }

    #[test]
    fn a_condition_has_to_hold_and_flaps_and_gaps_are_no_edges() {
        let mut conditions = Conditions::default();
        let mut told = Vec::new();
        for (second, met) in [
            (0, Ok(true)),
            (200, Ok(false)), // a push that came through
            (300, Ok(true)),
            (500, Err("a replica was not read")), // Mutation: taking it for "not met" starts the time anew
            (599, Ok(true)),
            (600, Ok(true)),
            (700, Ok(true)),
            (800, Err("a replica was not read")), // Mutation: taking it for "not met" ends it here
            (900, Ok(false)),
            (901, Ok(false)),
        ] {
            told.extend(conditions.take(&STALE, seen(second, met)).map(|s| (second, s.state)));
        }
        assert_eq!(told, [(600, SignalState::Firing), (900, SignalState::Resolved)]);
    }

    #[test]
    fn a_restart_forgets_no_condition_and_a_vanished_pod_ends_it() {
        for condition in ALL {
            let mut conditions = Conditions::default();
            let subject = Subject::new("", condition.of, "shop", "cart");
            let family = condition.symptom.split('.').next().unwrap();
            let at = seen(0, Ok(true)).at;
            conditions.resume(Fired { source: condition.source, family, subject: &subject }, at);
            // It is still so: no news. Mutation: starting from nothing would tell it once more.
            let again = Seen { subject: subject.clone(), ..seen(5, Ok(true)) };
            assert_eq!(conditions.take(&condition, again), None);
            let over = conditions.retain(&condition, |_| false, at);
            let told: Vec<_> = over.iter().map(|s| (s.symptom.as_str(), s.state)).collect();
            assert_eq!(told, [(condition.symptom, SignalState::Resolved)]);
        }
    }

    #[test]
    fn a_source_tells_one_symptom_of_a_family_and_kind() {
        let mut known: Vec<_> = ALL.iter().map(|c| (c.source, c.symptom.split('.').next(), c.of)).collect();
        known.sort_unstable();
        known.dedup();
        // Mutation: two symptoms under one source; the end of one would end the other.
        assert_eq!(known.len(), ALL.len());
    }
}
