//! Disruption budgets as they are kept, and which pods they select.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use serde::Deserialize;

use super::names::{Labels, Names, label};
use super::slim::{Slim, SlimKind, list};

/// A PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Box<str>,
    /// Which pods it protects; `None` selects none.
    pub selector: Option<Selector>,
    /// Disruptions allowed now. The eviction API grants none while the status lags behind the spec.
    pub disruptions_allowed: u32,
    /// Healthy pods now.
    pub current_healthy: u32,
    /// Healthy pods wanted at least.
    pub desired_healthy: u32,
    /// `IfHealthyBudget` or `AlwaysAllow`.
    pub unhealthy_policy: Arc<str>,
}

impl Budget {
    /// Whether it protects pods with these labels.
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> bool {
        self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }

    pub(super) fn of(object: &BudgetObject, names: &mut Names) -> Self {
        let (meta, spec, status) = (&object.metadata, &object.spec, &object.status);
        let lags = status.observed_generation.unwrap_or(0) < meta.generation.unwrap_or(0);
        // The API says: unset means IfHealthyBudget.
        let policy = spec.unhealthy_pod_eviction_policy.as_deref().unwrap_or("IfHealthyBudget");
        Self {
            namespace: names.text(meta.namespace.as_deref().unwrap_or_default()),
            name: Box::from(meta.name.as_deref().unwrap_or_default()),
            selector: spec.selector.clone(),
            disruptions_allowed: if lags { 0 } else { status.disruptions_allowed },
            current_healthy: status.current_healthy,
            desired_healthy: status.desired_healthy,
            unhealthy_policy: names.text(policy),
        }
    }
}

/// A label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    match_labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "list")]
    match_expressions: Vec<Expression>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Expression {
    key: String,
    operator: String,
    #[serde(deserialize_with = "list")]
    values: Vec<String>,
}

impl Selector {
    /// Whether labels fit; an empty selector fits all. An operator nobody knows counts as fitting: a budget
    /// too many refuses, a budget too few would harm.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(key, value)| label(labels, key) == Some(value))
            && self.match_expressions.iter().all(|expression| expression.matches(labels))
    }
}

impl Expression {
    fn matches(&self, labels: &Labels) -> bool {
        let found = label(labels, &self.key);
        let listed = found.is_some_and(|found| self.values.iter().any(|value| value == found));
        match self.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => found.is_some(),
            "DoesNotExist" => found.is_none(),
            _ => true,
        }
    }
}

/// A budget as it is read.
pub type BudgetObject = Slim<BudgetKind>;

/// PodDisruptionBudgets.
#[derive(Clone, Debug)]
pub struct BudgetKind;

impl SlimKind for BudgetKind {
    const GROUP: &'static str = "policy";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "PodDisruptionBudget";
    const PLURAL: &'static str = "poddisruptionbudgets";
    type Scope = NamespaceResourceScope;
    type Spec = BudgetSpec;
    type Status = BudgetStatus;
}

/// What is read of a budget's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetSpec {
    selector: Option<Selector>,
    unhealthy_pod_eviction_policy: Option<String>,
}

/// What is read of a budget's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetStatus {
    observed_generation: Option<i64>,
    disruptions_allowed: u32,
    current_healthy: u32,
    desired_healthy: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // Mutations: an unset selector that selects all, an empty one that selects none, `NotIn` that wants the
    // label to be there.
    #[test]
    fn selectors_select_as_the_api_server_does() {
        let mut names = Names::default();
        let labels = |names: &mut Names, value: serde_json::Value| {
            names.labels(Some(&serde_json::from_value(value).unwrap()))
        };
        let cart = labels(&mut names, json!({ "app": "cart", "tier": "web" }));
        let bare = labels(&mut names, json!({}));
        for (selector, of_cart, of_bare) in [
            (json!({}), true, true),
            (json!({ "matchLabels": { "app": "cart" } }), true, false),
            (json!({ "matchLabels": { "app": "cart", "tier": "db" } }), false, false),
            (
                json!({ "matchExpressions": [{ "key": "app", "operator": "In", "values": ["x", "cart"] }] }),
                true,
                false,
            ),
            (
                json!({ "matchExpressions": [{ "key": "app", "operator": "NotIn", "values": ["cart"] }] }),
                false,
                true,
            ),
            (
                json!({ "matchExpressions": [{ "key": "app", "operator": "Exists", "values": null }] }),
                true,
                false,
            ),
            (json!({ "matchExpressions": [{ "key": "app", "operator": "DoesNotExist" }] }), false, true),
        ] {
            let selector: Selector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(
                (selector.matches(&cart), selector.matches(&bare)),
                (of_cart, of_bare),
                "{selector:?}"
            );
        }
        let object = json!({ "metadata": { "namespace": "shop", "name": "b" }, "spec": {}, "status": {} });
        let budget = Budget::of(&serde_json::from_value(object).unwrap(), &mut names);
        assert!(!budget.selects(&cart));
        assert_eq!(&*budget.unhealthy_policy, "IfHealthyBudget");
    }

    // Mutation: believing a status that was made for an older spec.
    #[test]
    fn a_status_that_lags_behind_allows_nothing() {
        let object = |observed| {
            json!({
                "metadata": { "namespace": "shop", "name": "b", "generation": 2 }, "spec": {},
                "status": { "observedGeneration": observed, "disruptionsAllowed": 3 },
            })
        };
        let allowed = |observed: u32| {
            let object = serde_json::from_value(object(observed)).unwrap();
            Budget::of(&object, &mut Names::default()).disruptions_allowed
        };
        assert_eq!((allowed(1), allowed(2)), (0, 3));
    }
}
