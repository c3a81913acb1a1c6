//! How an object leaves: told to go, held back by finalizers, gone.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{meta, second};

/// Seconds that a pod is granted to stop where nobody says anything.
const GRACE: i64 = 30;

/// Whether it was told to go.
pub(super) fn leaving(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

/// Whether finalizers hold an object back.
pub(super) fn held(object: &Value) -> bool {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers.is_some_and(|finalizers| !finalizers.is_empty())
}

/// Whether an object was told to go, has no time left and is not held back.
pub(super) fn gone(object: &Value) -> bool {
    let left = object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
    leaving(object) && left == Some(0) && !held(object)
}

/// Seconds that a pod has to stop: none where no kubelet runs it.
pub(super) fn granted(pod: &Value, asked: Option<i64>) -> i64 {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if text("/spec/nodeName").is_empty() || matches!(text("/status/phase"), "Succeeded" | "Failed") {
        return 0;
    }
    let own = pod.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    asked.or(own).unwrap_or(GRACE).max(0)
}

/// Tells an object to go.
pub(super) fn mark(object: &mut Value, at: Timestamp, grace: i64) {
    let end = at.checked_add(SignedDuration::from_secs(grace)).unwrap_or(at);
    let first = object.pointer("/metadata/deletionTimestamp").is_none();
    let generation = object.pointer("/metadata/generation").and_then(Value::as_u64);
    let meta = meta(object);
    meta.insert("deletionTimestamp".to_owned(), json!(second(end)));
    meta.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
    if let Some(generation) = generation.filter(|_| first) {
        meta.insert("generation".to_owned(), json!(generation + 1));
    }
}
