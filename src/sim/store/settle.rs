//! What a write may change of an object, and what it must meet.

use serde_json::{Map, Value, json};

use super::{Part, meta};
use crate::sim::kinds::Kind;
use crate::sim::refused::Refused;
use crate::sim::store::Key;

/// Versions and uids that a write names must be those of the object.
pub(super) fn meet(key: &Key, old: &Value, new: &Value) -> Result<(), Refused> {
    let text = |object: &'_ Value, field: &str| {
        object.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).map(str::to_owned)
    };
    let (wanted, found) = (text(new, "uid"), text(old, "uid"));
    let version = text(new, "resourceVersion").filter(|version| !version.is_empty());
    if let Some(version) = version.as_ref().filter(|version| version.parse::<u64>().is_err()) {
        let why = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
        return Err(Refused::new(500, "", why));
    }
    if wanted.is_some() && wanted != found {
        let (wanted, found) = (wanted.unwrap_or_default(), found.unwrap_or_default());
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}");
        return Err(Refused::conflict(key, &why));
    }
    if version.is_some() && version != text(old, "resourceVersion") {
        return Err(Refused::modified(key));
    }
    Ok(())
}

/// Puts back what a write of this part may not change.
pub(super) fn settle(key: &Key, old: &Value, object: &mut Value, part: Part) {
    let apart = Kind::of(&key.0).is_some_and(|kind| kind.has("status"));
    if part == Part::Status {
        let status = object.get("status").cloned();
        let said = |field: &str| object.pointer("/metadata").and_then(|meta| meta.get(field)).cloned();
        let (labels, annotations) = (said("labels"), said("annotations"));
        *object = old.clone();
        put_back(object, "status", status);
        // Notes are taken along with the status of built-in kinds.
        if Kind::of(&key.0).is_some_and(|kind| kind.native) {
            put_back(&mut object["metadata"], "annotations", annotations);
            if key.0 != "deployments" {
                put_back(&mut object["metadata"], "labels", labels);
            }
        }
        return;
    }
    if apart {
        put_back(object, "status", old.get("status").cloned());
    }
    // An address that was given is kept where the new object does not name one.
    for field in ["clusterIP", "clusterIPs"].into_iter().filter(|_| key.0 == "services") {
        if object.pointer("/spec").and_then(|spec| spec.get(field)).is_none_or(Value::is_null)
            && let Some(spec) = object.get_mut("spec")
        {
            put_back(spec, field, old.pointer("/spec").and_then(|spec| spec.get(field)).cloned());
        }
    }
    for field in ["apiVersion", "kind"] {
        put_back(object, field, old.get(field).cloned());
    }
    const FIXED: [&str; 9] = [
        "uid",
        "name",
        "namespace",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
    ];
    for field in FIXED {
        let was = old.pointer("/metadata").and_then(|meta| meta.get(field)).cloned();
        match was {
            Some(was) => meta(object).insert(field.to_owned(), was),
            None => meta(object).remove(field),
        };
    }
    for field in ["labels", "annotations", "finalizers"] {
        if object
            .pointer(&format!("/metadata/{field}"))
            .is_some_and(|map| *map == json!({}) || *map == json!([]))
        {
            meta(object).remove(field);
        }
    }
}

fn put_back(object: &mut Value, field: &str, value: Option<Value>) {
    let Some(map) = object.as_object_mut() else { return };
    match value {
        Some(value) => map.insert(field.to_owned(), value),
        None => map.remove(field),
    };
}

/// Whether something differs that is counted: mostly all but metadata and status.
pub(super) fn unlike(key: &Key, old: &Value, new: &Value) -> bool {
    let also = match key.0.as_str() {
        "endpointslices" => "/metadata/labels",
        "deployments" => "/metadata/annotations",
        _ => "/none",
    };
    if old.pointer(also) != new.pointer(also) {
        return true;
    }
    let rest = |object: &Value| -> Map<String, Value> {
        let map = object.as_object().cloned().unwrap_or_default();
        map.into_iter().filter(|(key, _)| key != "metadata" && key != "status").collect()
    };
    rest(old) != rest(new)
}
