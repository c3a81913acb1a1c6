//! The form in which an object is shown: whole, only its metadata, or as a row of a table.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::request::Target;
use super::table;

/// What the `Accept` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    Metadata,
    /// With ages as of this time.
    Table(Timestamp),
}

impl Form {
    pub(super) fn of(accept: &str, now: Timestamp) -> Self {
        // The first form that is understood wins.
        for form in accept.split(',') {
            if form.contains("as=Table") && form.contains("v=v1") && !form.contains("v1beta1") {
                return Self::Table(now);
            }
            if form.contains("as=PartialObjectMetadata") {
                return Self::Metadata;
            }
            if form.trim().starts_with("application/json") && !form.contains("as=") {
                return Self::Whole;
            }
        }
        Self::Whole
    }

    /// One object.
    pub(super) fn one(self, target: &Target, object: &Value) -> Value {
        match self {
            Self::Whole => whole(target, object),
            Self::Metadata => metadata(object),
            Self::Table(now) => {
                let version = object.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
                table::of(target, &[object], &json!({ "resourceVersion": version }), now)
            }
        }
    }

    /// A bookmark, which has no more than a version.
    pub(super) fn bookmark(self, target: &Target, object: &Value) -> Value {
        match self {
            Self::Whole => object.clone(),
            Self::Metadata => metadata(object),
            Self::Table(now) => table::of(target, &[], &object["metadata"], now),
        }
    }

    /// A list of them, with its own metadata.
    pub(super) fn list(self, target: &Target, objects: &[&Value], meta: &Value) -> Value {
        let each = |one: fn(&Target, &Value) -> Value| -> Vec<Value> {
            objects.iter().map(|object| one(target, object)).collect()
        };
        match self {
            Self::Whole => json!({
                "kind": format!("{}List", target.kind.kind), "apiVersion": target.api_version,
                "metadata": list_meta(target, meta), "items": each(bare),
            }),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
                "items": each(|_, object| metadata(object)),
            }),
            Self::Table(now) => table::of(target, objects, meta, now),
        }
    }
}

pub(super) fn whole(target: &Target, object: &Value) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = json!(target.api_version);
    object["kind"] = json!(target.kind.kind);
    object
}

/// In lists the built-in kinds do not say what they are.
fn bare(target: &Target, object: &Value) -> Value {
    let mut object = whole(target, object);
    if let Some(map) = object.as_object_mut().filter(|_| target.kind.native) {
        map.remove("apiVersion");
        map.remove("kind");
    }
    object
}

/// Lists of custom kinds say that nothing follows, the others say nothing.
fn list_meta(target: &Target, meta: &Value) -> Value {
    let mut meta = meta.clone();
    if !target.kind.native && meta.get("continue").is_none() {
        meta["continue"] = json!("");
    }
    meta
}

pub(super) fn metadata(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}
