//! The form in which an object is shown: whole, only its metadata, or as a row of a table.

use jiff::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::{Value, json};

use super::request::Target;
use super::{Page, table};
use crate::sim::refused::Refused;
use crate::sim::store::Kept;

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

    /// A list of them, with its own metadata, as a text: a page of whole objects is five megabytes, and is written
    /// without a copy of them.
    pub(super) fn list(self, target: &Target, objects: &[&Kept], meta: &Value) -> Page {
        let page = match self {
            Self::Whole => serde_json::to_string(&List {
                api_version: &target.api_version,
                items: objects.iter().map(|kept| Listed { target, kept }).collect(),
                kind: format!("{}List", target.kind.kind),
                metadata: list_meta(target, meta),
            }),
            Self::Metadata => {
                let items: Vec<Value> = objects.iter().map(|kept| metadata(kept)).collect();
                serde_json::to_string(&json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
                    "items": items,
                }))
            }
            Self::Table(now) => {
                let objects: Vec<&Value> = objects.iter().map(|kept| &***kept).collect();
                serde_json::to_string(&table::of(target, &objects, meta, now))
            }
        };
        page.map_err(|error| Refused::bad(error.to_string()))
    }
}

pub(super) fn whole(target: &Target, object: &Value) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = json!(target.api_version);
    object["kind"] = json!(target.kind.kind);
    object
}

/// A list of whole objects.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'o> {
    api_version: &'o str,
    items: Vec<Listed<'o>>,
    kind: String,
    metadata: Value,
}

/// An object in a list. Only the built-in kinds look the same in every version.
struct Listed<'o> {
    target: &'o Target,
    kept: &'o Kept,
}

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bare = Bare { target: self.target, object: self.kept };
        if !self.target.kind.native {
            return bare.serialize(serializer);
        }
        let text = self.kept.text(|| serde_json::value::to_raw_value(&bare));
        text.map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// An object as a list shows it: there the built-in kinds do not say what they are.
struct Bare<'o> {
    target: &'o Target,
    object: &'o Value,
}

impl Serialize for Bare<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.target.kind.native {
            map.serialize_entry("apiVersion", &self.target.api_version)?;
            map.serialize_entry("kind", self.target.kind.kind)?;
        }
        let fields = self.object.as_object().into_iter().flatten();
        for (key, value) in fields.filter(|(key, _)| !["apiVersion", "kind"].contains(&key.as_str())) {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
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
