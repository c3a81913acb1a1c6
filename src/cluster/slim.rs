//! Slim objects: of what the API server sends, only the fields that are needed are ever allocated.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::core::ResourceScope;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// A kind, with the parts of it that are read.
pub trait SlimKind: fmt::Debug + Clone + Send + Sync + 'static {
    /// API group; empty for the core group.
    const GROUP: &'static str;
    /// Version.
    const VERSION: &'static str;
    /// Kind.
    const KIND: &'static str;
    /// Plural in paths.
    const PLURAL: &'static str;
    /// In a namespace or not.
    type Scope: ResourceScope;
    /// What is read of its spec.
    type Spec: DeserializeOwned + Default + fmt::Debug + Clone + Send + Sync + 'static;
    /// What is read of its status.
    type Status: DeserializeOwned + Default + fmt::Debug + Clone + Send + Sync + 'static;
}

/// An object with the parts that are read.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "")]
pub struct Slim<K: SlimKind> {
    /// Metadata without managed fields.
    #[serde(deserialize_with = "metadata")]
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) spec: K::Spec,
    #[serde(default)]
    pub(super) status: K::Status,
    #[serde(skip)]
    kind: PhantomData<K>,
}

impl<K: SlimKind> kube::Resource for Slim<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind(&(): &()) -> Cow<'_, str> {
        K::KIND.into()
    }

    fn group(&(): &()) -> Cow<'_, str> {
        K::GROUP.into()
    }

    fn version(&(): &()) -> Cow<'_, str> {
        K::VERSION.into()
    }

    fn plural(&(): &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Managed fields are often longer than everything else; they are left out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<std::collections::BTreeMap<String, String>>,
    annotations: Option<std::collections::BTreeMap<String, String>>,
    owner_references: Option<Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference>>,
}

fn metadata<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    let meta = Meta::deserialize(from)?;
    Ok(ObjectMeta {
        name: meta.name,
        namespace: meta.namespace,
        uid: meta.uid,
        resource_version: meta.resource_version,
        generation: meta.generation,
        creation_timestamp: meta.creation_timestamp,
        deletion_timestamp: meta.deletion_timestamp,
        labels: meta.labels,
        annotations: meta.annotations,
        owner_references: meta.owner_references,
        ..ObjectMeta::default()
    })
}

/// A list that may be `null`: Go writes an empty one so where the type does not leave it out.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// One condition of a status.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) last_transition_time: Option<jiff::Timestamp>,
}

/// Whether a condition is true; `None` when it is not told, or unknown.
pub(super) fn holds(conditions: &[Condition], kind: &str) -> Option<bool> {
    match conditions.iter().find(|condition| condition.kind == kind)?.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

/// Since when a condition is as it is.
pub(super) fn since(conditions: &[Condition], kind: &str) -> Option<jiff::Timestamp> {
    conditions.iter().find(|condition| condition.kind == kind)?.last_transition_time
}

/// Nothing of it is read.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Nothing {}
