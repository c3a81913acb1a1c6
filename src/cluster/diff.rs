//! What a rollback changes, for people, with sensitive strings hidden.

use serde_json::{Map, Value};
use similar::TextDiff;

use crate::model::digest::Digest;

/// A unified diff of two specs as YAML. Values of headers are hidden behind a short hash, so that one
/// still sees that they differ.
#[must_use]
pub fn spec_diff(before: &Value, after: &Value) -> String {
    let text = |value: &Value| serde_saphyr::to_string(&redact(value, Place::Open)).unwrap_or_default();
    let (before, after) = (text(before), text(after));
    TextDiff::from_lines(&before, &after)
        .unified_diff()
        .context_radius(3)
        .header("in force", "restored")
        .to_string()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Open,
    Header,
}

fn redact(value: &Value, place: Place) -> Value {
    match value {
        Value::String(text) if place == Place::Header => {
            Value::String(format!("<hidden {}>", &Digest::of_bytes(text.as_bytes()).short()[..6]))
        }
        Value::Object(map) => {
            let hidden = |key: &str| matches!(key, "headers" | "withoutHeaders" | "cookie" | "queryParams");
            let entries = map.iter().map(|(key, value)| {
                let inside = if hidden(key) { Place::Header } else { place };
                (key.clone(), redact(value, inside))
            });
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| redact(item, place)).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::spec_diff;
    use serde_json::json;

    #[test]
    fn header_values_are_hidden_and_changes_seen() {
        let spec = |weight: u32, token: &str| json!({"http": [{"headers": {"request": {"set": {"x-token": token}}}, "route": [{"weight": weight}]}]});
        let diff = spec_diff(&spec(60, "secret-1"), &spec(10, "secret-2"));
        assert!(diff.contains("weight: 10") && !diff.contains("secret"), "{diff}");
        assert_eq!(diff.matches("<hidden").count(), 2);
    }
}
