//! The functions that playbooks build their answers with. They return closed Rust values: a script can
//! not name an action that does not exist.

use std::collections::BTreeMap;

use rhai::{Dynamic, Engine, EvalAltResult, Map};

use super::playbook::Next;
use crate::model::action::{Action, Limits};
use crate::model::digest::Digest;
use crate::model::duration;
use crate::model::signal::Symptom;
use crate::model::subject::{CERT_MANAGER, ISTIO_NETWORKING, Subject};

/// What a playbook listens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum On {
    Symptom(Symptom),
    Alert { name: String, labels: BTreeMap<String, String> },
}

/// A step of a plan.
#[derive(Clone, Debug)]
pub(super) struct Step(pub(super) Action);

/// A refusal.
#[derive(Clone, Debug)]
pub(super) struct Refusal(pub(super) String);

/// An answer of `next`.
#[derive(Clone, Debug)]
pub(super) struct Rung(pub(super) Next);

type Built<T> = Result<T, Box<EvalAltResult>>;

pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<On>("Match");
    engine.register_type_with_name::<Step>("Step");
    engine.register_type_with_name::<Refusal>("Refusal");
    engine.register_type_with_name::<Rung>("Rung");
    engine.register_fn("symptom", |text: &str| -> Built<On> {
        text.parse().map(On::Symptom).map_err(|why: String| why.into())
    });
    engine.register_fn("alert", |name: &str| On::Alert { name: name.to_owned(), labels: BTreeMap::new() });
    engine.register_fn("alert", |name: &str, labels: Map| -> Built<On> {
        let labels = labels.into_iter().map(|(key, value)| {
            let value =
                value.into_string().map_err(|kind| format!("label {key} must be a text, not {kind}"))?;
            Ok((key.to_string(), value))
        });
        let labels = labels.collect::<Result<_, String>>()?;
        Ok(On::Alert { name: name.to_owned(), labels })
    });
    engine.register_fn("refuse", |text: &str| Refusal(text.to_owned()));
    engine.register_fn("retry", || Rung(Next::Retry));
    engine.register_fn("escalate", |text: &str| Rung(Next::Escalate(text.to_owned())));
    engine.register_fn("notify", |text: &str| Step(Action::Notify { text: text.to_owned() }));
    engine.register_fn("rollback_route", |route: Map| rollback_route(Fields::of("rollback_route", route)));
    engine.register_fn("restart_sidecar", |pod: Map, proxy: Map| restart_sidecar(pod, proxy, Map::new()));
    engine.register_fn("restart_sidecar", restart_sidecar);
    engine.register_fn("evict_pod", |pod: Map| evict_pod(Fields::of("evict_pod", pod)));
    engine.register_fn("rollout_restart", |workload: Map| {
        rollout_restart(Fields::of("rollout_restart", workload))
    });
    engine.register_fn("shed_load", shed_load);
    engine.register_fn("rotate_certificate", |certificate: Map| {
        rotate_certificate(Fields::of("rotate_certificate", certificate))
    });
    engine.register_fn("per_client", per_client);
}

/// The entries of a map that an action is built from, with the action's name for errors.
struct Fields {
    action: &'static str,
    map: Map,
}

impl Fields {
    fn of(action: &'static str, map: Map) -> Self {
        Self { action, map }
    }

    fn wrong<T>(&self, text: &str) -> Built<T> {
        Err(format!("{}: {text}", self.action).into())
    }

    fn text(&mut self, key: &str) -> Built<String> {
        let value = self.map.remove(key).unwrap_or(Dynamic::UNIT);
        value.into_string().or_else(|kind| self.wrong(&format!("{key} must be a text, not {kind}")))
    }

    fn digest(&mut self) -> Built<Digest> {
        self.text("spec_hash")?.parse().or_else(|why: String| self.wrong(&why))
    }

    fn count(&mut self, key: &str) -> Built<u64> {
        let value = self.map.remove(key).unwrap_or(Dynamic::UNIT);
        let kind = value.type_name();
        let count = value.as_int().ok().and_then(|n| u64::try_from(n).ok());
        count.map_or_else(|| self.wrong(&format!("{key} must be a whole number from 0 on, not {kind}")), Ok)
    }

    /// A limit: absent, or at least 1, because zero counts as unset in Istio.
    fn limit(&mut self, key: &str) -> Built<Option<u32>> {
        if !self.map.contains_key(key) {
            return Ok(None);
        }
        match u32::try_from(self.count(key)?) {
            Ok(limit) if limit > 0 => Ok(Some(limit)),
            _ => self.wrong(&format!("{key} must be above 0: Istio takes 0 for \"no limit\"")),
        }
    }

    fn seconds(&mut self, key: &str, default: u64) -> Built<u64> {
        if !self.map.contains_key(key) {
            return Ok(default);
        }
        let text = self.text(key)?;
        duration::parse(&text).map(|span| span.as_secs()).or_else(|why| self.wrong(&format!("{key}: {why}")))
    }

    /// What is left over was misspelt.
    fn nothing_else(&self) -> Built<()> {
        match self.map.keys().next() {
            Some(key) => self.wrong(&format!("unknown option {key:?}")),
            None => Ok(()),
        }
    }
}

/// `rollback_route(facts.route)` or `rollback_route(facts.destination_rule)`: back to the last good
/// revision that the facts name.
fn rollback_route(mut route: Fields) -> Built<Step> {
    let good = route.map.remove("last_good").and_then(Dynamic::try_cast::<Map>);
    let Some(good) = good else {
        return route.wrong("this object has no last_good; refuse where it is absent");
    };
    // The facts about a rule leave out what is always the same.
    let is_rule = !route.map.contains_key("kind");
    let (group, kind) = if is_rule {
        (ISTIO_NETWORKING.to_owned(), "DestinationRule".to_owned())
    } else {
        (route.text("group")?, route.text("kind")?)
    };
    let (namespace, name) = (route.text("namespace")?, route.text("name")?);
    Ok(Step(Action::RollbackRoute {
        target: Subject::new(&group, &kind, &namespace, &name),
        uid: route.text("uid")?,
        from: route.digest()?,
        to: Fields::of(route.action, good).digest()?,
    }))
}

/// Longer than a client needs to notice a drain, shorter than a permit lasts.
const LONGEST_DRAIN_S: u64 = 10;

/// `restart_sidecar(facts.pod, facts.proxy, #{ drain: "5s" })`.
fn restart_sidecar(pod: Map, proxy: Map, options: Map) -> Built<Step> {
    let mut pod = Fields::of("restart_sidecar", pod);
    let mut proxy = Fields::of("restart_sidecar", proxy);
    let mut options = Fields::of("restart_sidecar", options);
    let drain_s = options.seconds("drain", 5)?;
    options.nothing_else()?;
    if drain_s > LONGEST_DRAIN_S {
        return options.wrong("drain must not be longer than 10s");
    }
    let target = Subject::pod(&pod.text("namespace")?, &pod.text("name")?);
    let (uid, container, container_id) =
        (pod.text("uid")?, proxy.text("container")?, proxy.text("container_id")?);
    Ok(Step(Action::RestartSidecar { target, uid, container, container_id, drain_s }))
}

/// `evict_pod(facts.pod)`.
fn evict_pod(mut pod: Fields) -> Built<Step> {
    let target = Subject::pod(&pod.text("namespace")?, &pod.text("name")?);
    Ok(Step(Action::EvictPod { target, uid: pod.text("uid")? }))
}

/// `rollout_restart(facts.workload)`.
fn rollout_restart(mut workload: Fields) -> Built<Step> {
    let kind = workload.text("kind")?;
    let target = Subject::new("apps", &kind, &workload.text("namespace")?, &workload.text("name")?);
    let (uid, generation) = (workload.text("uid")?, workload.count("generation")?);
    let restarted_at = workload.map.contains_key("restarted_at").then(|| workload.text("restarted_at"));
    Ok(Step(Action::RolloutRestart { target, uid, generation, restarted_at: restarted_at.transpose()? }))
}

/// `shed_load(facts.destination_rule, #{ max_requests: 4, max_pending: 2, expires: "10m" })`. Where no rule
/// matches, the subject takes its place: `shed_load(this.subject, #{...})` creates one beside the Service.
fn shed_load(rule: Map, options: Map) -> Built<Step> {
    let mut rule = Fields::of("shed_load", rule);
    let mut options = Fields::of("shed_load", options);
    let limits = Limits {
        max_connections: options.limit("max_connections")?,
        max_pending: options.limit("max_pending")?,
        max_requests: options.limit("max_requests")?,
    };
    let expires_s = options.seconds("expires", 600)?;
    options.nothing_else()?;
    if limits == Limits::default() {
        return options.wrong("give at least one of max_connections, max_pending and max_requests");
    }
    if !(60..=3_600).contains(&expires_s) {
        return options.wrong("expires must lie between 1m and 1h");
    }
    let (namespace, name) = (rule.text("namespace")?, rule.text("name")?);
    if rule.map.contains_key("uid") {
        let target = Subject::destination_rule(&namespace, &name);
        let (uid, from, host) = (rule.text("uid")?, Some(rule.digest()?), rule.text("host")?);
        return Ok(Step(Action::ShedLoad { target, uid, from, host, limits, expires_s }));
    }
    if rule.text("kind")? != "Service" {
        return rule.wrong("the first parameter must be facts.destination_rule or a Service");
    }
    let target = Subject::destination_rule(&namespace, &format!("meshmend-shed-{name}"));
    let host = format!("{name}.{namespace}.svc.cluster.local");
    Ok(Step(Action::ShedLoad { target, uid: String::new(), from: None, host, limits, expires_s }))
}

/// `rotate_certificate(facts.certificate)`.
fn rotate_certificate(mut certificate: Fields) -> Built<Step> {
    let (namespace, name) = (certificate.text("namespace")?, certificate.text("name")?);
    let target = Subject::new(CERT_MANAGER, "Certificate", &namespace, &name);
    let (uid, revision) = (certificate.text("uid")?, certificate.count("revision")?);
    Ok(Step(Action::RotateCertificate { target, uid, revision }))
}

/// `per_client(facts.traffic.concurrency, facts.traffic.clients, 0.7)`: the share of what is under way now,
/// for each client's proxy, rounded down but at least 1, because limits hold for one proxy each.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "counts of clients and requests are far below 2^52"
)]
fn per_client(concurrency: f64, clients: i64, factor: f64) -> Built<i64> {
    let usable =
        concurrency.is_finite() && concurrency >= 0.0 && clients > 0 && (0.0..=1.0).contains(&factor);
    if !usable {
        return Err("per_client: concurrency, clients above 0, and a factor between 0 and 1".into());
    }
    let limit = (concurrency * factor / clients as f64).floor().min(1e9);
    Ok((limit as i64).max(1))
}

#[cfg(test)]
mod tests {
    use super::per_client;

    #[test]
    fn each_client_has_its_share_but_never_zero() {
        assert_eq!(per_client(100.0, 10, 0.7).unwrap(), 7);
        // Mutation: rounding a small share to zero unsets the limit.
        assert_eq!(per_client(3.0, 50, 0.7).unwrap(), 1);
        for (concurrency, clients, factor) in
            [(f64::NAN, 2, 0.7), (8.0, 0, 0.7), (8.0, 2, 1.1), (-1.0, 2, 0.7)]
        {
            assert!(per_client(concurrency, clients, factor).is_err(), "{concurrency} {clients} {factor}");
        }
    }
}
