//! PodDisruptionBudgets: their figures, and whether a pod may be evicted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{keys, leaves, number, owner, ready, text};
use crate::sim::kinds::key;
use crate::sim::refused::Refused;
use crate::sim::store::{Key, Store, second};

const BY: &str = "kube-controller-manager";

/// Keeps the status of all budgets.
pub(super) fn count(store: &mut Store, at: Timestamp) {
    for key in keys(store, "poddisruptionbudgets") {
        let Some(budget) = store.get(&key).cloned() else { continue };
        let status = figures(store, &key, &budget);
        let mut status = json!(status);
        let allowed = status["disruptionsAllowed"] != json!(0);
        let reason = if allowed { "SufficientPods" } else { "InsufficientPods" };
        let known = budget.pointer("/status/conditions/0").filter(|known| known["reason"] == reason);
        let condition = known.cloned().unwrap_or_else(|| {
            json!({ "type": "DisruptionAllowed", "status": if allowed { "True" } else { "False" }, "reason": reason,
                "message": "", "lastTransitionTime": second(at), "observedGeneration": budget["metadata"]["generation"] })
        });
        status["conditions"] = json!([condition]);
        status["observedGeneration"] = budget["metadata"]["generation"].clone();
        // Pods that were evicted are counted as leaving by themselves.
        status["disruptedPods"] = Value::Null;
        store.report(&key, &status, BY, at);
    }
}

fn figures(store: &Store, key: &Key, budget: &Value) -> BTreeMap<&'static str, i64> {
    let selector = budget.pointer("/spec/selector");
    let pods: Vec<&Value> =
        store.list("pods", Some(&key.1)).filter(|pod| super::selects(selector, pod)).collect();
    let mut wanted: BTreeMap<&str, i64> = BTreeMap::new();
    for pod in &pods {
        if let Some((set, _)) = owner(pod, "ReplicaSet") {
            let set = store.get(&super::beside("replicasets", key, set));
            let replicas = set.and_then(|set| number(set, "/spec/replicas")).unwrap_or(1);
            wanted.insert(owner(pod, "ReplicaSet").map_or("", |(name, _)| name), replicas);
        } else {
            wanted.insert(text(pod, "/metadata/name"), 1);
        }
    }
    let expected: i64 = wanted.values().sum();
    let healthy = i64::try_from(pods.iter().filter(|pod| ready(pod)).count()).unwrap_or(i64::MAX);
    let share = |value: &Value| match (value.as_i64(), value.as_str()) {
        (Some(number), _) => number,
        // A share is rounded up, as the real controller does.
        (None, Some(text)) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            (expected * percent + 99) / 100
        }
        (None, None) => 0,
    };
    let desired = match (budget.pointer("/spec/minAvailable"), budget.pointer("/spec/maxUnavailable")) {
        (Some(least), _) => share(least),
        (None, Some(most)) => (expected - share(most)).max(0),
        (None, None) => 0,
    };
    let allowed = if expected == 0 { 0 } else { (healthy - desired).max(0) };
    BTreeMap::from([
        ("currentHealthy", healthy),
        ("desiredHealthy", desired),
        ("expectedPods", expected),
        ("disruptionsAllowed", allowed),
    ])
}

/// Takes a pod's room from its budget, or says why there is none.
pub(in crate::sim) fn room(store: &mut Store, pod: &Key, at: Timestamp, dry: bool) -> Result<(), Refused> {
    let Some(object) = store.get(pod) else { return Err(Refused::not_found(pod)) };
    let phase = text(object, "/status/phase");
    if matches!(phase, "Succeeded" | "Failed" | "Pending") || leaves(object) {
        return Ok(());
    }
    let up = ready(object);
    let budgets = store.entries("poddisruptionbudgets", Some(&pod.1));
    let matching: Vec<(Key, Value)> = budgets
        .filter(|(_, budget)| super::selects(budget.pointer("/spec/selector"), object))
        .map(|(key, budget)| (key.clone(), budget.clone()))
        .collect();
    let (name, budget) = match matching.as_slice() {
        [] => return Ok(()),
        [(key, budget)] => (key.2.clone(), budget),
        [_, _, ..] => {
            let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Refused::new(500, "", text));
        }
    };
    let figure = |field: &str| number(budget, &format!("/status/{field}")).unwrap_or(0);
    let (healthy, desired) = (figure("currentHealthy"), figure("desiredHealthy"));
    if !up {
        let always = text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow";
        if always || (healthy >= desired && desired > 0) {
            return Ok(());
        }
    }
    let allowed = figure("disruptionsAllowed");
    if figure("observedGeneration") < number(budget, "/metadata/generation").unwrap_or(0) {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(full(&why, Some(10)));
    }
    if allowed < 1 {
        let why = if healthy <= desired {
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
        } else {
            format!("The disruption budget {name} does not allow evicting pods currently")
        };
        return Err(full(&why, None));
    }
    if !dry {
        let mut status =
            json!({ "disruptionsAllowed": allowed - 1, "disruptedPods": { &pod.2: second(at) } });
        if allowed == 1 {
            status["conditions"] = json!([{
                "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
                "lastTransitionTime": second(at), "observedGeneration": budget["status"]["observedGeneration"],
            }]);
        }
        store.report(&key("poddisruptionbudgets", &pod.1, &name), &status, "kube-apiserver", at);
    }
    Ok(())
}

/// The refusal of a budget, with the seconds after which it is worth asking again.
fn full(why: &str, again: Option<u32>) -> Refused {
    let text = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut details = json!({ "causes": [{ "reason": "DisruptionBudget", "message": why }] });
    if let Some(seconds) = again {
        details["retryAfterSeconds"] = json!(seconds);
    }
    Refused::new(429, "TooManyRequests", text).detailed(details)
}
