//! The patch that makes a spec exactly what it was.

use serde_json::{Map, Value};

/// A JSON merge patch that turns `current` into `wanted`: keys that are not wanted become null, lists are
/// replaced whole.
///
/// # Errors
/// `wanted` holds a null, which a merge patch cannot write.
pub fn rollback_patch(current: &Value, wanted: &Value) -> Result<Value, String> {
    if has_null(wanted) {
        return Err("the revision holds a null, which a merge patch cannot restore".to_owned());
    }
    Ok(between(current, wanted))
}

fn between(current: &Value, wanted: &Value) -> Value {
    let (Value::Object(now), Value::Object(then)) = (current, wanted) else {
        return wanted.clone();
    };
    let mut patch = Map::new();
    for key in now.keys().filter(|key| !then.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in then {
        match now.get(key) {
            Some(same) if same == value => {}
            Some(other) if other.is_object() && value.is_object() => {
                patch.insert(key.clone(), between(other, value));
            }
            // A merge patch merges into an object that is there, and nothing of the old may stay; where
            // the old value is none, the new one is taken as it is.
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(patch)
}

/// Lists are replaced whole, so a null inside one would survive; one in a map would delete.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().any(has_null),
        Value::Array(items) => items.iter().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::merge::merged;
    use proptest::prelude::*;

    fn json(depth: u32) -> BoxedStrategy<Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0..5_i64).prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(depth, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
        .boxed()
    }

    fn object() -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[a-d]", json(3), 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        // Mutation: leaving out the nulls of keys that are not wanted any more leaves them in the object.
        #[test]
        fn the_patched_spec_is_exactly_the_wanted_one(current in object(), wanted in object()) {
            let patch = rollback_patch(&current, &wanted).unwrap();
            prop_assert_eq!(merged(&current, &patch), wanted);
        }
    }
}
