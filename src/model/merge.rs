//! Merge patches of JSON documents: what the API server makes of what is sent.

use serde_json::Value;

/// What a merge patch makes of a document: RFC 7386, word for word.
#[must_use]
pub fn merged(target: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut out = target.as_object().cloned().unwrap_or_default();
    for (key, value) in patch {
        if value.is_null() {
            out.remove(key);
        } else {
            let inner = merged(out.get(key).unwrap_or(&Value::Null), value);
            out.insert(key.clone(), inner);
        }
    }
    Value::Object(out)
}
