//! Tighten: a DestinationRule's spec with lower limits in every block that has a say.
//!
//! As measured on istiod, the policy at the top is not enough: a subset with any pool of its own loses all
//! limits of the top, and a port's settings take nothing from above.

use serde_json::{Map, Value, json};

use crate::model::action::Limits;

/// A spec with tighter limits, and where they were set.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tightened {
    pub(super) spec: Value,
    /// Blocks of the spec, as people name them.
    pub(super) blocks: Vec<String>,
}

/// The rule that is made where none matches.
pub(super) fn fresh(host: &str, limits: &Limits) -> Tightened {
    tighten(&json!({ "host": host }), limits)
}

/// Limits only ever go down. A block that is tighter already stays as it is.
pub(super) fn tighten(spec: &Value, limits: &Limits) -> Tightened {
    let mut tightened = Tightened { spec: spec.clone(), blocks: Vec::new() };
    let Some(root) = tightened.spec.as_object_mut() else { return tightened };
    policy(entry(root, "trafficPolicy"), "trafficPolicy", limits, &mut tightened.blocks);
    for subset in root.get_mut("subsets").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = subset.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some(own) = subset.get_mut("trafficPolicy").and_then(Value::as_object_mut) else { continue };
        let path = format!("subsets[{name}].trafficPolicy");
        if own.contains_key("connectionPool") {
            policy(own, &path, limits, &mut tightened.blocks);
        } else {
            ports(own, &path, limits, &mut tightened.blocks);
        }
    }
    tightened
}

fn entry<'m>(map: &'m mut Map<String, Value>, key: &str) -> &'m mut Map<String, Value> {
    let value = map.entry(key.to_owned()).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            unreachable!("it was made an object right above")
        }
    }
}

/// The pool of a policy, and those of its ports.
fn policy(own: &mut Map<String, Value>, path: &str, limits: &Limits, blocks: &mut Vec<String>) {
    if pool(own, limits) {
        blocks.push(path.to_owned());
    }
    ports(own, path, limits, blocks);
}

fn ports(own: &mut Map<String, Value>, path: &str, limits: &Limits, blocks: &mut Vec<String>) {
    for port in own.get_mut("portLevelSettings").and_then(Value::as_array_mut).into_iter().flatten() {
        let number = port.pointer("/port/number").and_then(Value::as_u64).unwrap_or(0);
        let Some(settings) = port.as_object_mut() else { continue };
        if pool(settings, limits) {
            blocks.push(format!("{path}.portLevelSettings[{number}]"));
        }
    }
}

/// Lowers the limits of one pool; whether anything changed.
fn pool(own: &mut Map<String, Value>, limits: &Limits) -> bool {
    let wanted = [
        ("tcp", "maxConnections", limits.max_connections),
        ("http", "http1MaxPendingRequests", limits.max_pending),
        ("http", "http2MaxRequests", limits.max_requests),
    ];
    let mut changed = false;
    for (protocol, key, limit) in wanted {
        let Some(limit) = limit.map(u64::from) else { continue };
        let now = own.get("connectionPool").and_then(|pool| pool.get(protocol)).and_then(|p| p.get(key));
        // Zero counts as unset in Istio.
        if now.and_then(Value::as_u64).is_some_and(|now| now > 0 && now <= limit) {
            continue;
        }
        entry(entry(own, "connectionPool"), protocol).insert(key.to_owned(), json!(limit));
        changed = true;
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_connections: None, max_pending: Some(2), max_requests: Some(4) };

    // Mutations: patching only the top; raising what is tighter; taking zero for the tightest.
    #[test]
    fn every_block_with_a_say_is_lowered_and_none_is_raised() {
        let spec = json!({
            "host": "cart",
            "trafficPolicy": {
                "connectionPool": { "http": { "http2MaxRequests": 100, "http1MaxPendingRequests": 0 } },
                "portLevelSettings": [{ "port": { "number": 80 }, "loadBalancer": { "simple": "RANDOM" } }],
            },
            "subsets": [
                { "name": "v1", "trafficPolicy": { "connectionPool": { "tcp": { "connectTimeout": "1s" } } } },
                { "name": "v2", "trafficPolicy": { "loadBalancer": { "simple": "RANDOM" } } },
                { "name": "v3" },
                { "name": "v4", "trafficPolicy": { "connectionPool": { "http": { "http2MaxRequests": 1, "http1MaxPendingRequests": 1 } } } },
            ],
        });
        let found = tighten(&spec, &LIMITS);
        assert_eq!(
            found.blocks,
            ["trafficPolicy", "trafficPolicy.portLevelSettings[80]", "subsets[v1].trafficPolicy"]
        );
        let pool = json!({ "http": { "http2MaxRequests": 4, "http1MaxPendingRequests": 2 } });
        assert_eq!(found.spec["trafficPolicy"]["connectionPool"], pool);
        assert_eq!(found.spec["trafficPolicy"]["portLevelSettings"][0]["connectionPool"], pool);
        assert_eq!(found.spec["subsets"][0]["trafficPolicy"]["connectionPool"]["http"], pool["http"]);
        assert_eq!(
            found.spec["subsets"][0]["trafficPolicy"]["connectionPool"]["tcp"]["connectTimeout"],
            "1s"
        );
        for untouched in 1..4 {
            assert_eq!(found.spec["subsets"][untouched], spec["subsets"][untouched]);
        }
        assert_eq!(tighten(&found.spec, &LIMITS).blocks, Vec::<String>::new());
        assert_eq!(fresh("cart", &LIMITS).blocks, ["trafficPolicy"]);
    }
}
