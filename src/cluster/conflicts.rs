//! DestinationRules of one host, of which some have no effect.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::object::DestinationRuleKind;
use super::precedence::Found;
use super::route::Route;
use super::rule::{RuleInForce, rule_for_all};
use super::store::Cluster;
use crate::model::subject::Subject;

impl Cluster {
    /// Every DestinationRule, and why its `trafficPolicy` has no effect on anybody; `None` where it has.
    ///
    /// # Errors
    /// Of a rule: whether it has is not known.
    #[must_use]
    pub fn rules_without_effect(&self) -> Vec<(Subject, Result<Option<String>, String>)> {
        let rules: Vec<Arc<Route>> =
            self.routes().into_iter().filter(|rule| rule.is::<DestinationRuleKind>()).collect();
        without_effect(&rules, &self.sees_precedence())
    }
}

fn without_effect(
    rules: &[Arc<Route>],
    sees: &Result<(), String>,
) -> Vec<(Subject, Result<Option<String>, String>)> {
    let mut by_host: BTreeMap<&str, Vec<&Arc<Route>>> = BTreeMap::new();
    for rule in rules {
        by_host.entry(rule.hosts.first().map_or("", String::as_str)).or_default().push(rule);
    }
    let is_wide = |host: &str| host.starts_with('*') || host.is_empty();
    let wide: Vec<Arc<Route>> = rules.iter().filter(|rule| rule.has_wildcard()).map(Arc::clone).collect();
    let mut told = Vec::with_capacity(rules.len());
    for (host, same) in by_host {
        // Only those that meet another one are looked up.
        let found = (same.len() > 1 && !is_wide(host)).then(|| {
            let near: Vec<Arc<Route>> = same.iter().copied().chain(&wide).map(Arc::clone).collect();
            rule_for_all(&near, host)
        });
        for rule in same {
            let effect = match (&found, sees) {
                (None, _) => Ok(None),
                (Some(_), Err(why)) => Err(why.clone()),
                (Some(found), Ok(())) => effect(found, rule, host),
            };
            told.push((rule.subject.clone(), effect));
        }
    }
    told
}

/// Why a rule has no effect on its host.
fn effect(found: &Found<RuleInForce>, rule: &Route, host: &str) -> Result<Option<String>, String> {
    let Found::One(force) = found else {
        return match found {
            Found::Unclear(why) => Err(why.clone()),
            Found::Nothing | Found::One(_) => Ok(None),
        };
    };
    if force.merged.iter().all(|object| object.uid != rule.uid) {
        let winner = force.merged.first().map(|object| object.subject.to_string()).unwrap_or_default();
        return Ok(Some(format!("{winner} is in force for {host} in its place")));
    }
    let writes = rule.spec.get("trafficPolicy").is_some_and(|policy| !policy.is_null());
    let other = force.policy.as_ref().filter(|object| writes && object.uid != rule.uid);
    Ok(other.map(|object| format!("the trafficPolicy of {} is older, and counts alone", object.subject)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(name: &str, host: &str, age: &str, policy: bool) -> Arc<Route> {
        let mut spec = json!({ "host": host, "subsets": [{ "name": name, "labels": { "v": name } }] });
        if policy {
            spec["trafficPolicy"] = json!({ "connectionPool": { "http": { "http2MaxRequests": 9 } } });
        }
        let metadata = json!({
            "name": name, "namespace": "shop", "uid": name, "resourceVersion": "1", "creationTimestamp": age,
        });
        let object = json!({ "metadata": metadata, "spec": spec });
        Arc::new(Route::of_rule(serde_json::from_value(object).unwrap()))
    }

    const OLD: &str = "2026-01-01T00:00:00Z";
    const NEW: &str = "2026-01-02T00:00:00Z";

    fn told(rules: &[Arc<Route>]) -> Vec<(String, Option<String>)> {
        let found = without_effect(rules, &Ok(()));
        found.into_iter().map(|(subject, effect)| (subject.name.to_string(), effect.unwrap())).collect()
    }

    // Mutations: the older one without effect; one that only adds a subset told as well; rules of other hosts; a
    // verdict although another namespace may decide.
    #[test]
    fn of_two_rules_of_a_host_the_newer_policy_has_no_effect() {
        let cart = |name, age, policy| rule(name, "cart.shop.svc.cluster.local", age, policy);
        let found = told(&[cart("first", OLD, true), cart("second", NEW, true)]);
        let why = "the trafficPolicy of DestinationRule shop/first is older, and counts alone";
        assert_eq!(found, [("first".to_owned(), None), ("second".to_owned(), Some(why.to_owned()))]);
        let silent = |rules: &[Arc<Route>]| told(rules).iter().all(|(_, effect)| effect.is_none());
        assert!(silent(&[cart("first", OLD, true), cart("second", NEW, false)]), "it only adds a subset");
        assert!(silent(&[cart("first", OLD, false), cart("second", NEW, true)]), "the first has no policy");
        let other = rule("second", "pay.shop.svc.cluster.local", NEW, true);
        assert!(silent(&[cart("first", OLD, true), other]));
        let both = [cart("first", OLD, true), cart("second", NEW, true)];
        let unseen = without_effect(&both, &Err("only shop is watched".to_owned()));
        assert!(unseen.iter().all(|(_, effect)| effect.is_err()), "{unseen:?}");
    }
}
