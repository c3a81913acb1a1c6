//! Redact: a routing object's spec without what may be a secret. Structure, names, hosts and numbers stay;
//! header values and every text whose meaning is not known go.

use serde_json::Value;

/// What stands in place of a text.
pub const REDACTED: &str = "redacted";

/// Fields whose texts name something of the cluster, or a duration.
const NAMES: [&str; 34] = [
    "host",
    "hosts",
    "subset",
    "name",
    "namespace",
    "gateways",
    "exportTo",
    "kind",
    "group",
    "sectionName",
    "timeout",
    "perTryTimeout",
    "retryOn",
    "connectTimeout",
    "idleTimeout",
    "interval",
    "baseEjectionTime",
    "maxConnectionDuration",
    "fixedDelay",
    "mode",
    "simple",
    "h2UpgradePolicy",
    "type",
    "method",
    "scheme",
    "version",
    "app",
    "protocol",
    "request",
    "backendRequest",
    "sourceNamespace",
    "tlsMode",
    "time",
    "warmupDurationSecs",
];

/// Fields below which a match (`exact`, `prefix`, `regex`) is about the route itself and not about who asks.
const MATCHED: [&str; 5] = ["uri", "scheme", "method", "authority", "path"];
/// How a text is matched.
const WAYS: [&str; 4] = ["exact", "prefix", "regex", "value"];

/// The spec with texts replaced, and how many were.
#[must_use]
pub fn spec(spec: &Value) -> (Value, usize) {
    let mut out = spec.clone();
    let count = walk(&mut out, ["", ""]);
    (out, count)
}

/// `path` holds the names of the field around and of the field itself.
fn walk(value: &mut Value, path: [&str; 2]) -> usize {
    match value {
        Value::Object(map) => {
            let inside = path[1];
            map.iter_mut().map(|(key, value)| walk(value, [inside, key])).sum()
        }
        Value::Array(items) => items.iter_mut().map(|item| walk(item, path)).sum(),
        Value::String(text) => {
            let [around, field] = path;
            // A header may be called as a field is: below `headers` nothing is believed but its name.
            let known =
                NAMES.contains(&field) && !["headers", "set", "add", "withoutHeaders"].contains(&around);
            let matched = WAYS.contains(&field) && MATCHED.contains(&around);
            if known || matched {
                return 0;
            }
            REDACTED.clone_into(text);
            1
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // Mutations: keeping texts of fields that are not known; believing a name below `headers`.
    #[test]
    fn header_values_and_unknown_texts_go_and_the_route_stays() {
        let route = json!({
            "hosts": ["cart"],
            "http": [{
                "match": [{ "uri": { "prefix": "/cart" }, "headers": { "authorization": { "exact": "Bearer s3cret" } } }],
                "headers": { "request": { "set": { "x-api-key": "s3cret", "host": "s3cret" } } },
                "fault": { "abort": { "note": "s3cret" } },
                "route": [{ "destination": { "host": "cart", "subset": "v1" }, "weight": 60 }],
                "timeout": "5s",
            }],
        });
        let (redacted, count) = spec(&route);
        assert!(!redacted.to_string().contains("s3cret"), "{redacted}");
        assert_eq!(count, 4);
        for kept in ["\"cart\"", "\"v1\"", "\"/cart\"", "\"5s\"", "60", "x-api-key"] {
            assert!(redacted.to_string().contains(kept), "{kept}: {redacted}");
        }
        let gateway =
            json!({ "rules": [{ "matches": [{ "headers": [{ "name": "cookie", "value": "s3cret" }] }] }] });
        assert!(!spec(&gateway).0.to_string().contains("s3cret"));
    }
}
