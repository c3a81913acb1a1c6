//! Strategic merge patches; plain ones are `model::merge`.

use serde_json::{Map, Value, json};

/// The field by which the entries of a list are told apart; other lists are replaced whole.
fn key_of(list: &str) -> Option<&'static str> {
    match list {
        "containers" | "initContainers" | "ephemeralContainers" | "env" | "volumes" | "imagePullSecrets" => {
            Some("name")
        }
        "conditions" => Some("type"),
        "volumeMounts" => Some("mountPath"),
        "ports" => Some("port"),
        "ownerReferences" => Some("uid"),
        "taints" => Some("key"),
        _ => None,
    }
}

/// The strategic merge patch of built-in kinds.
pub(in crate::sim) fn strategic(target: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    if patch.get("$patch") == Some(&json!("replace")) {
        return Value::Object(without_directives(patch));
    }
    let mut out = target.as_object().cloned().unwrap_or_default();
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().cloned().unwrap_or_default();
            if let Some(Value::Array(entries)) = out.get_mut(list) {
                entries.retain(|entry| !gone.contains(entry));
            }
        } else if key.starts_with('$') {
            // The order of elements and retained keys do not matter to the simulation.
        } else if value.is_null() {
            out.remove(key);
        } else {
            let old = out.get(key).unwrap_or(&Value::Null);
            let merged = match (key_of(key), value) {
                (Some(by), Value::Array(entries)) => keyed(old, entries, by),
                (None, Value::Array(entries)) if key == "finalizers" => united(old, entries),
                _ => strategic(old, value),
            };
            out.insert(key.clone(), merged);
        }
    }
    Value::Object(out)
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    patch.iter().filter(|(key, _)| !key.starts_with('$')).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn united(old: &Value, entries: &[Value]) -> Value {
    let mut out = old.as_array().cloned().unwrap_or_default();
    for entry in entries {
        if !out.contains(entry) {
            out.push(entry.clone());
        }
    }
    Value::Array(out)
}

fn keyed(old: &Value, entries: &[Value], by: &str) -> Value {
    // Ports of containers are told apart by another field than ports of services.
    let by = if by == "port" && entries.iter().any(|entry| entry.get("containerPort").is_some()) {
        "containerPort"
    } else {
        by
    };
    let replaced = entries.iter().any(|entry| entry.get("$patch") == Some(&json!("replace")));
    let mut out = if replaced { Vec::new() } else { old.as_array().cloned().unwrap_or_default() };
    for entry in entries {
        let at = out.iter().position(|known| known.get(by).is_some() && known.get(by) == entry.get(by));
        match (entry.get("$patch").and_then(Value::as_str), at) {
            (Some("delete"), Some(at)) => {
                out.remove(at);
            }
            (Some(_), _) => {}
            (None, Some(at)) => out[at] = strategic(&out[at], entry),
            (None, None) => out.push(strategic(&Value::Null, entry)),
        }
    }
    Value::Array(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutation: replacing lists whole in `strategic`.
    #[test]
    fn a_strategic_patch_meets_containers_environment_and_conditions_by_their_keys() {
        let old = json!({ "spec": { "containers": [
            { "name": "app", "image": "a:1", "env": [{ "name": "A", "value": "1" }] },
            { "name": "istio-proxy", "image": "p:1" },
        ] }, "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        let patch = json!({ "spec": { "$setElementOrder/containers": [{ "name": "app" }], "containers": [
            { "name": "app", "image": "a:2", "env": [{ "name": "B", "value": "2" }] },
            { "name": "istio-proxy", "$patch": "delete" },
        ] }, "status": { "conditions": [{ "type": "Issuing", "status": "True" }] } });
        assert_eq!(
            strategic(&old, &patch),
            json!({ "spec": { "containers": [{ "name": "app", "image": "a:2",
                "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }] }] },
                "status": { "conditions": [
                    { "type": "Ready", "status": "True" }, { "type": "Issuing", "status": "True" }] } })
        );
    }
}
