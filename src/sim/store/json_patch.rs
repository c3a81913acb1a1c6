//! JSON patches (RFC 6902).

use serde_json::{Value, json};

use crate::sim::refused::Refused;

/// Applies a list of operations; all of them, or none.
pub(in crate::sim) fn json_patch(target: &Value, patch: &Value) -> Result<Value, Refused> {
    let steps = patch.as_array().ok_or_else(|| Refused::bad("a JSON patch is a list of operations"))?;
    let mut out = target.clone();
    for step in steps {
        apply(&mut out, step).ok_or_else(|| {
            // The real server says nothing more either.
            Refused::new(422, "Invalid", "the server rejected our request due to an error in our request")
                .detailed(json!({}))
        })?;
    }
    Ok(out)
}

fn apply(object: &mut Value, step: &Value) -> Option<()> {
    let path = step.get("path")?.as_str()?;
    let value = step.get("value");
    match step.get("op")?.as_str()? {
        // What is not there is as good as null.
        "test" => {
            (object.pointer(path).unwrap_or(&Value::Null) == value.unwrap_or(&Value::Null)).then_some(())
        }
        "add" => add(object, path, value?.clone()),
        "remove" => remove(object, path).map(drop),
        "replace" => replace(object, path, value.cloned().unwrap_or_default()),
        "copy" => {
            let from = object.pointer(step.get("from")?.as_str()?)?.clone();
            add(object, path, from)
        }
        "move" => {
            let from = remove(object, step.get("from")?.as_str()?)?;
            add(object, path, from)
        }
        _ => None,
    }
}

/// The parent of a path, and the last part of it.
fn parent<'o>(object: &'o mut Value, path: &str) -> Option<(&'o mut Value, String)> {
    let (above, last) = path.rsplit_once('/')?;
    Some((object.pointer_mut(above)?, last.replace("~1", "/").replace("~0", "~")))
}

fn add(object: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *object = value;
        return Some(());
    }
    match parent(object, path)? {
        (Value::Object(map), last) => {
            map.insert(last, value);
        }
        (Value::Array(list), last) => {
            let at = if last == "-" { list.len() } else { last.parse().ok()? };
            if at > list.len() {
                return None;
            }
            list.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

/// In a map the real server also replaces what is not there.
fn replace(object: &mut Value, path: &str, value: Value) -> Option<()> {
    if let Some(found) = object.pointer_mut(path) {
        *found = value;
        return Some(());
    }
    match parent(object, path)? {
        (Value::Object(map), last) => {
            map.insert(last, value);
            Some(())
        }
        _ => None,
    }
}

fn remove(object: &mut Value, path: &str) -> Option<Value> {
    match parent(object, path)? {
        (Value::Object(map), last) => map.remove(&last),
        (Value::Array(list), last) => {
            let at: usize = last.parse().ok()?;
            (at < list.len()).then(|| list.remove(at))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutation: letting a failed `test` pass, or applying the steps before it.
    #[test]
    fn the_steps_are_applied_in_order_and_a_failed_test_is_a_422() {
        let old = json!({ "a": { "b/c": [1, 2] }, "v": "7" });
        let patch = json!([
            { "op": "test", "path": "/v", "value": "7" },
            { "op": "add", "path": "/a/b~1c/1", "value": 9 },
            { "op": "add", "path": "/a/b~1c/-", "value": 3 },
            { "op": "move", "from": "/v", "path": "/w" },
            { "op": "remove", "path": "/a/b~1c/0" },
            { "op": "replace", "path": "/w", "value": 8 },
        ]);
        assert_eq!(json_patch(&old, &patch).ok(), Some(json!({ "a": { "b/c": [9, 2, 3] }, "w": 8 })));
        let failing = json!([{ "op": "test", "path": "/v", "value": "8" }]);
        assert_eq!(json_patch(&old, &failing).err().map(|refused| refused.code), Some(422));
    }
}
