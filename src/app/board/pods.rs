//! What the watches tell of pods and rules that no figure does: proxies that are missing, Jobs that cannot end,
//! pods that do not go, networks that are not the mesh's, rules without effect.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Boards;
use crate::cluster::{Pod, Watched};
use crate::health::{JOB_HELD, MISSING, STUCK, Seen, UNWIRED, WITHOUT_EFFECT};
use crate::model::signal::Signal;
use crate::model::subject::Subject;

/// By this label a pod itself asks for a proxy. What only its namespace asks for is not judged: the pod may be
/// older than the namespace's label.
const INJECT: &str = "sidecar.istio.io/inject";
/// Istio's CNI plugin marks the pods that were started without it.
const UNINITIALIZED: &str = "cni.istio.io/uninitialized";

type Evidence = BTreeMap<String, String>;

fn evidence(key: &str, value: impl Into<String>) -> Evidence {
    BTreeMap::from([(key.to_owned(), value.into())])
}

impl Boards {
    /// The edges of what can be wrong with a pod beside its proxy's health.
    pub(super) fn odd_pods(&self, at: Timestamp) -> Vec<Signal> {
        let now = self.clock.elsewhere();
        let pods = self.cluster.all_pods();
        let mut signals = Vec::new();
        for (condition, is) in [
            (&MISSING, lacks_proxy as fn(&Pod, Timestamp) -> Option<Evidence>),
            (&JOB_HELD, holds_job),
            (&STUCK, does_not_go),
            (&UNWIRED, lacks_network),
        ] {
            let mut conditions = self.conditions();
            let known = conditions.subjects(condition);
            let seen = pods.iter().filter_map(|pod| {
                let found = is(pod, now);
                let asked = found.is_some() || (!known.is_empty() && known.contains(&pod.subject()));
                asked.then(|| seen(pod, found, at))
            });
            signals.extend(seen.filter_map(|seen| conditions.take(condition, seen)));
            let there = |pod: &Subject| self.may_be_there(pod, Watched::Pods);
            signals.extend(conditions.retain(condition, there, at));
        }
        signals
    }

    /// The edges of rules that have no effect.
    pub(super) fn idle_rules(&self, at: Timestamp) -> Vec<Signal> {
        let rules = self.cluster.rules_without_effect();
        let there: Vec<Subject> = rules.iter().map(|(subject, _)| subject.clone()).collect();
        let mut conditions = self.conditions();
        let seen = rules.into_iter().map(|(subject, effect)| {
            let met = effect.as_ref().map(Option::is_some).map_err(Clone::clone);
            let why = effect.ok().flatten();
            let labels = why.map(|why| evidence("why", why)).unwrap_or_default();
            Seen { subject, met, value: None, labels, at }
        });
        let mut signals: Vec<Signal> =
            seen.filter_map(|seen| conditions.take(&WITHOUT_EFFECT, seen)).collect();
        signals.extend(conditions.retain(&WITHOUT_EFFECT, |rule| there.contains(rule), at));
        signals
    }
}

fn seen(pod: &Pod, found: Option<Evidence>, at: Timestamp) -> Seen {
    let (met, mut labels) = (Ok(found.is_some()), found.unwrap_or_default());
    labels.insert("node".to_owned(), pod.node.to_string());
    Seen { subject: pod.subject(), met, value: None, labels, at }
}

fn lacks_proxy(pod: &Pod, _now: Timestamp) -> Option<Evidence> {
    let asks = pod.label(INJECT).is_some_and(|text| text == "true");
    let runs = &*pod.phase == "Running" && !pod.terminating;
    (asks && runs && pod.proxy.is_none()).then(|| evidence("asked_by", INJECT))
}

/// A native sidecar ends with its Job by itself.
fn holds_job(pod: &Pod, _now: Timestamp) -> Option<Evidence> {
    let of_job = pod.controller.as_ref().filter(|owner| &*owner.kind == "Job")?;
    let proxy = pod.proxy.as_ref().filter(|proxy| !proxy.native)?;
    let held = &*pod.phase == "Running" && !pod.terminating && pod.others_ended;
    held.then(|| {
        Evidence::from([
            ("job".to_owned(), of_job.name.to_string()),
            ("container".to_owned(), proxy.mesh.container().to_owned()),
        ])
    })
}

fn does_not_go(pod: &Pod, now: Timestamp) -> Option<Evidence> {
    let by = pod.gone_by.filter(|by| *by < now)?;
    // Only of the mesh: other pods hang for reasons that are not ours to tell.
    pod.proxy.as_ref()?;
    Some(evidence("to_be_gone_by", by.to_string()))
}

fn lacks_network(pod: &Pod, _now: Timestamp) -> Option<Evidence> {
    if pod.terminating || pod.is_over() {
        return None;
    }
    if pod.label(UNINITIALIZED).is_some_and(|text| text == "true") {
        return Some(evidence("told_by", UNINITIALIZED));
    }
    pod.network_unset.then(|| evidence("told_by", "istio-validation"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::Inventory;

    const CLASSIC: &str = include_str!("../../../tests/recorded/pod-classic-sidecar.json");
    const NATIVE: &str = include_str!("../../../tests/recorded/pod-native-sidecar.json");

    /// What is wrong with a recorded pod after a change: proxy missing, Job held, stuck, network unset.
    fn wrong(text: &str, change: impl Fn(&mut Value)) -> [bool; 4] {
        let mut value: Value = serde_json::from_str(text).unwrap();
        change(&mut value);
        let object = serde_json::from_value(value).unwrap();
        let mut inventory = Inventory::default();
        inventory.keep_pod(&object);
        let pod = inventory.keep_pod(&object).expect("it was kept");
        let now = "2026-12-01T00:00:00Z".parse().unwrap();
        [lacks_proxy(&pod, now), holds_job(&pod, now), does_not_go(&pod, now), lacks_network(&pod, now)]
            .map(|found| found.is_some())
    }

    fn of_job(pod: &mut Value) {
        pod["metadata"]["ownerReferences"] = json!([{ "apiVersion": "batch/v1", "kind": "Job", "name": "report", "uid": "j", "controller": true }]);
        for status in pod["status"]["containerStatuses"].as_array_mut().unwrap() {
            if status["name"] != "istio-proxy" {
                status["state"] = json!({ "terminated": { "reason": "Completed", "exitCode": 0 } });
            }
        }
    }

    fn without_proxy(pod: &mut Value) {
        let proxies = |list: &mut Value| {
            list.as_array_mut().unwrap().retain(|container| container["name"] != "istio-proxy");
        };
        proxies(&mut pod["spec"]["containers"]);
        proxies(&mut pod["status"]["containerStatuses"]);
    }

    // Mutations: a pod that asks for none; one that is over, or only begins; a Job with a native sidecar, which ends by
    // itself; any pod with an ended container; a pod within its grace; one of no mesh; a label that says false.
    #[test]
    fn each_oddity_is_that_of_the_pod_that_has_it() {
        let fine = [false; 4];
        let asks = |pod: &mut Value| pod["metadata"]["labels"][INJECT] = json!("true");
        assert_eq!(wrong(CLASSIC, |_| ()), fine);
        assert_eq!(wrong(CLASSIC, asks), fine);
        let missing = |pod: &mut Value| {
            without_proxy(pod);
            asks(pod);
        };
        assert_eq!(wrong(CLASSIC, missing), [true, false, false, false]);
        assert_eq!(wrong(CLASSIC, without_proxy), fine);
        let begins = |pod: &mut Value| {
            missing(pod);
            pod["status"]["phase"] = json!("Pending");
        };
        assert_eq!(wrong(CLASSIC, begins), fine);

        assert_eq!(wrong(CLASSIC, of_job), [false, true, false, false]);
        assert_eq!(wrong(NATIVE, of_job), fine);
        let of_another = |pod: &mut Value| {
            of_job(pod);
            pod["metadata"]["ownerReferences"][0]["kind"] = json!("ReplicaSet");
        };
        assert_eq!(wrong(CLASSIC, of_another), fine);

        let deleted =
            |at: &'static str| move |pod: &mut Value| pod["metadata"]["deletionTimestamp"] = json!(at);
        assert_eq!(wrong(CLASSIC, deleted("2026-11-30T23:59:59Z")), [false, false, true, false]);
        assert_eq!(wrong(CLASSIC, deleted("2026-12-01T00:00:30Z")), fine);
        let other = |pod: &mut Value| {
            without_proxy(pod);
            deleted("2026-11-30T23:59:59Z")(pod);
        };
        assert_eq!(wrong(CLASSIC, other), fine);

        for (text, unset) in [("true", true), ("false", false)] {
            let marked = |pod: &mut Value| pod["metadata"]["labels"][UNINITIALIZED] = json!(text);
            assert_eq!(wrong(CLASSIC, marked)[3], unset);
        }
        let fails = |pod: &mut Value| {
            pod["status"]["initContainerStatuses"] =
                json!([{ "name": "istio-validation", "ready": false, "restartCount": 3 }]);
        };
        assert_eq!(wrong(CLASSIC, fails), [false, false, false, true]);
    }
}
