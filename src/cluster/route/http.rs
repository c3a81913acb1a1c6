//! What an HTTPRoute claims and where it leads.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Leads, texts};
use crate::cluster::host::fqdn;

/// Hosts of a spec, and the parents it is bound to: `mesh` where a Service is one, gateways by name.
pub(super) fn hosts(spec: &Value, namespace: &str) -> (Vec<String>, Vec<String>) {
    let (mut hosts, mut gateways) = (Vec::new(), Vec::new());
    for parent in spec.get("parentRefs").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| parent.get(key).and_then(Value::as_str);
        let home = text("namespace").unwrap_or(namespace);
        let name = text("name").unwrap_or_default();
        if text("kind") == Some("Service") {
            hosts.push(fqdn(name, home));
            gateways.push("mesh".to_owned());
        } else {
            hosts.extend(texts(spec, "hostnames"));
            gateways.push(format!("{home}/{name}"));
        }
    }
    hosts.sort_unstable();
    hosts.dedup();
    gateways.dedup();
    (hosts, gateways)
}

/// Backends of a spec with their weights: 1 where none is given, and a single one counts 100.
pub(super) fn leads(spec: &Value, namespace: &str) -> Vec<Leads> {
    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    for rule in spec.get("rules").and_then(Value::as_array).into_iter().flatten() {
        let backends =
            rule.get("backendRefs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for backend in backends {
            let text = |key: &str| backend.get(key).and_then(Value::as_str);
            let given = backend.get("weight").and_then(Value::as_u64);
            let weight = match given {
                Some(0) => continue,
                _ if backends.len() == 1 => 100,
                Some(weight) => u32::try_from(weight).unwrap_or(u32::MAX),
                None => 1,
            };
            let name = text("name").unwrap_or_default();
            // Another kind of backend is no Service: its name is left as it is, and nobody vouches for it.
            let host = match text("kind").unwrap_or("Service") {
                "Service" => fqdn(name, text("namespace").unwrap_or(namespace)),
                kind => format!("{kind}/{name}"),
            };
            let known = found.entry(host).or_default();
            *known = (*known).max(weight);
        }
    }
    found.into_iter().map(|(host, weight)| Leads { host, subset: None, weight }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{HttpRoute, Route};
    use serde_json::json;

    fn route(name: &str, spec: Value) -> Route {
        let object = json!({"metadata": {"namespace": "shop", "name": name, "uid": name}, "spec": spec});
        Route::of_http(serde_json::from_value::<HttpRoute>(object).unwrap())
    }

    #[test]
    fn parents_and_backends_are_read() {
        let spec = json!({
            "parentRefs": [{"kind": "Service", "group": "", "name": "cart"}, {"name": "gw", "namespace": "edge"}],
            "hostnames": ["shop.example.com"],
            "rules": [
                {"backendRefs": [{"name": "cart-v1", "weight": 9}, {"name": "cart-v2"}, {"name": "cart-v3", "weight": 0}]},
                {"backendRefs": [{"name": "web", "namespace": "other"}]},
            ],
        });
        let cart = route("cart", spec);
        assert_eq!(cart.hosts, ["cart.shop.svc.cluster.local", "shop.example.com"]);
        let found: Vec<(String, u32)> = cart.leads().into_iter().map(|to| (to.host, to.weight)).collect();
        // Mutation: taking a missing weight for zero loses cart-v2, taking zero for one brings cart-v3.
        assert_eq!(
            found,
            [
                ("cart-v1.shop.svc.cluster.local".to_owned(), 9),
                ("cart-v2.shop.svc.cluster.local".to_owned(), 1),
                ("web.other.svc.cluster.local".to_owned(), 100),
            ]
        );
    }
}
