//! Evict: one pod goes by the eviction API, which honours disruption budgets.

use http::Method;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::Effectors;
use super::act::Prepared;
use super::wire::{Expect, JSON, Kind, Right, Trouble, Write, condition, text};
use crate::cluster::{limited, told};
use crate::model::subject::Subject;

const EVICTION: Right = Right { verb: "create", resource: "pods/eviction" };

impl Effectors {
    pub(super) async fn prepare_eviction(&self, target: &Subject, uid: &str) -> Result<Prepared, Trouble> {
        let (Some(pod), Some(kind)) = (self.wire.get(target).await?, Kind::of(target)) else {
            return Ok(Prepared::stale("the pod does not exist any more"));
        };
        if text(&pod, "/metadata/uid") != uid {
            return Ok(Prepared::stale("it is another pod of the same name"));
        }
        if !text(&pod, "/metadata/deletionTimestamp").is_empty() {
            return Ok(Prepared::AlreadyDone);
        }
        let budget = self.budget(&pod, &target.namespace).await;
        let body = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": { "name": target.name, "namespace": target.namespace },
            // Another pod of the same name is not ours to evict.
            "deleteOptions": { "preconditions": { "uid": uid } },
        });
        Ok(Prepared::send(Write {
            right: EVICTION,
            method: Method::POST,
            path: format!("{}/eviction", kind.path(target)),
            media: JSON,
            body,
            expect: Expect::Nothing,
            diff: format!("evicts {target} (uid {uid}); {budget}"),
            done: format!("evicted; {budget}"),
            hint: budget,
        }))
    }

    /// What the disruption budgets say, in words for people. The eviction API is the judge: its answer
    /// counts, and this says why it will be so.
    async fn budget(&self, pod: &Value, namespace: &str) -> String {
        let api: Api<PodDisruptionBudget> = Api::namespaced(self.wire.client.clone(), namespace);
        match limited(api.list(&ListParams::default())).await {
            Ok(found) => {
                let found: Vec<Value> = found
                    .items
                    .iter()
                    .filter_map(|budget| serde_json::to_value(budget).ok())
                    .filter(|budget| selects(&budget["spec"]["selector"], &pod["metadata"]["labels"]))
                    .collect();
                words(&found, pod)
            }
            Err(error) => format!("the disruption budgets could not be read: {}", told(&error)),
        }
    }
}

/// Whether a label selector selects these labels. In policy/v1 an empty one selects every pod of its
/// namespace, and none at all selects no pod.
fn selects(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return false;
    }
    let exact = selector["matchLabels"].as_object().into_iter().flatten();
    let exact = exact.fold(true, |all, (key, value)| all && labels.get(key) == Some(value));
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    exact
        && expressions.fold(true, |all, expression| {
            let label = labels.get(expression["key"].as_str().unwrap_or_default());
            let listed = expression["values"]
                .as_array()
                .is_some_and(|values| label.is_some_and(|label| values.contains(label)));
            all && match expression["operator"].as_str() {
                Some("In") => listed,
                Some("NotIn") => !listed,
                Some("Exists") => label.is_some(),
                Some("DoesNotExist") => label.is_none(),
                _ => false,
            }
        })
}

fn words(budgets: &[Value], pod: &Value) -> String {
    let [budget] = budgets else {
        if budgets.is_empty() {
            return "no disruption budget selects it".to_owned();
        }
        let names: Vec<&str> = budgets.iter().map(|budget| text(budget, "/metadata/name")).collect();
        return format!("{} budgets select it ({}), which eviction refuses", names.len(), names.join(", "));
    };
    let name = text(budget, "/metadata/name");
    let number = |key: &str| budget["status"][key].as_i64().unwrap_or(0);
    let (allowed, healthy, desired) =
        (number("disruptionsAllowed"), number("currentHealthy"), number("desiredHealthy"));
    let state = format!("budget {name} allows {allowed} disruptions ({healthy} healthy, {desired} wanted)");
    let ready = condition(pod, "Ready").is_some_and(|found| found["status"] == "True");
    if ready {
        return state;
    }
    match budget["spec"]["unhealthyPodEvictionPolicy"].as_str() {
        Some("AlwaysAllow") => format!("{state}; the pod is not ready and may go all the same (AlwaysAllow)"),
        _ if healthy >= desired && desired > 0 => {
            format!("{state}; the pod is not ready and may go, because enough others are (IfHealthyBudget)")
        }
        _ => {
            format!("{state}; the pod is not ready and has to stay until enough others are (IfHealthyBudget)")
        }
    }
}

/// The eviction API's own refusals, with what we know about the budgets; `None` for any other answer.
///
/// A budget's 429 would be `Stale` by the general rule, and be looked at again at once: an eviction asked
/// for twice in a row. It is an answer about the workload's health, so it stands: the step failed.
pub(super) fn refusal(write: &Write, error: &kube::Error) -> Option<String> {
    let kube::Error::Api(status) = error else { return None };
    if write.right != EVICTION {
        return None;
    }
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let budget: Vec<&str> = causes
        .filter(|cause| cause.reason == "DisruptionBudget")
        .map(|cause| cause.message.as_str())
        .collect();
    // An API server that is too busy says 429 as well, without naming a budget.
    let by_budget = status.code == 429 && !budget.is_empty();
    let several = status.code == 500 && status.message.contains("more than one PodDisruptionBudget");
    if !by_budget && !several {
        return None;
    }
    let mut why = status.message.clone();
    for part in budget.into_iter().chain([write.hint.as_str()]).filter(|part| !part.is_empty()) {
        why.push_str("; ");
        why.push_str(part.trim_end_matches('.'));
    }
    Some(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i64, healthy: i64, policy: &str) -> Value {
        json!({
            "metadata": { "name": "cart" }, "spec": { "unhealthyPodEvictionPolicy": policy },
            "status": { "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": 2 },
        })
    }

    // Mutations: reading an empty selector as none; In and NotIn exchanged.
    #[test]
    fn selectors_select_as_in_kubernetes() {
        let labels = json!({ "app": "cart", "tier": "web" });
        assert!(!selects(&Value::Null, &labels));
        assert!(selects(&json!({}), &labels) && selects(&json!({}), &Value::Null));
        assert!(selects(&json!({ "matchLabels": { "app": "cart" } }), &labels));
        assert!(!selects(&json!({ "matchLabels": { "app": "web" } }), &labels));
        let by = |operator: &str, key: &str, values: &[&str]| {
            selects(
                &json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }),
                &labels,
            )
        };
        assert!(by("In", "app", &["cart", "x"]) && !by("In", "app", &["x"]) && !by("In", "no", &["x"]));
        assert!(by("NotIn", "app", &["x"]) && by("NotIn", "no", &["x"]) && !by("NotIn", "app", &["cart"]));
        assert!(by("Exists", "app", &[]) && !by("Exists", "no", &[]) && by("DoesNotExist", "no", &[]));
    }

    // Mutation: leaving the policy for unhealthy pods out.
    #[test]
    fn people_are_told_what_the_budget_allows_this_very_pod() {
        let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        let ill = json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } });
        assert_eq!(words(&[], &ill), "no disruption budget selects it");
        let tight = budget(0, 2, "IfHealthyBudget");
        assert_eq!(
            words(std::slice::from_ref(&tight), &ready),
            "budget cart allows 0 disruptions (2 healthy, 2 wanted)"
        );
        assert!(
            words(std::slice::from_ref(&tight), &ill)
                .ends_with("may go, because enough others are (IfHealthyBudget)")
        );
        assert!(words(&[budget(0, 1, "IfHealthyBudget")], &ill).contains("has to stay"));
        assert!(words(&[budget(0, 1, "AlwaysAllow")], &ill).contains("may go all the same"));
        assert!(words(&[tight.clone(), tight], &ill).starts_with("2 budgets select it (cart, cart)"));
    }
}
