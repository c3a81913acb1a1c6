//! Objects with versions, as an API server keeps them.

mod defaults;
mod fields;
mod json_patch;
mod kept;
mod leave;
mod merge;
mod settle;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::kinds::Kind;
use super::refused::Refused;
use crate::model::merge::merged;

pub(super) use fields::{Force, apply};
pub(super) use json_patch::json_patch;
pub(super) use kept::Kept;
use leave::{gone, granted, held, leaving, mark};
pub(super) use merge::strategic;
use settle::{meet, settle, unlike};

/// Where an object lies: plural, namespace, name.
pub(super) type Key = (String, String, String);

/// Changes that a watch can still be told; older ones are answered 410.
const RING: usize = 1_000;

/// One change, for watches.
#[derive(Clone)]
pub(super) struct Changed {
    pub(super) version: u64,
    pub(super) plural: String,
    pub(super) namespace: String,
    pub(super) kind: &'static str,
    pub(super) object: Arc<Kept>,
    /// The object before, so that a watch with a selector sees it come and go.
    pub(super) before: Option<Arc<Kept>>,
}

/// The objects.
#[derive(Default)]
pub(super) struct Store {
    objects: BTreeMap<Key, Arc<Kept>>,
    version: u64,
    uids: u64,
    ring: VecDeque<Changed>,
}

/// Which part of an object a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All but the status, where the kind has one of its own.
    Main,
    /// Only the status.
    Status,
}

/// Who writes, when, and whether for real.
#[derive(Clone, Copy)]
pub(super) struct Write<'a> {
    pub(super) manager: &'a str,
    pub(super) at: Timestamp,
    pub(super) dry: bool,
    pub(super) part: Part,
    /// `Update`, or `Apply` with the object that is applied.
    pub(super) applied: Option<&'a Value>,
}

impl<'a> Write<'a> {
    /// A write of the simulation itself.
    pub(super) fn by(manager: &'a str, at: Timestamp, part: Part) -> Self {
        Self { manager, at, dry: false, part, applied: None }
    }
}

/// What a delete asks for.
#[derive(Clone, Copy, Default)]
pub(super) struct Parting<'a> {
    pub(super) uid: Option<&'a str>,
    pub(super) version: Option<&'a str>,
    /// Seconds that a pod is granted to stop; otherwise what it says itself.
    pub(super) grace: Option<i64>,
    /// A finalizer that is to be worked off first: dependents go before, or are left alone.
    pub(super) finalizer: Option<&'a str>,
    pub(super) dry: bool,
}

impl Store {
    /// An empty one that has seen this version.
    pub(super) fn since_version(version: u64) -> Self {
        Self { version, ..Self::default() }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key).map(|kept| &***kept)
    }

    /// Objects of a plural with their keys, in one namespace or all.
    pub(super) fn entries<'s>(
        &'s self,
        plural: &'s str,
        namespace: Option<&'s str>,
    ) -> impl Iterator<Item = (&'s Key, &'s Value)> {
        self.kept_after(&before_all(plural, namespace), namespace).map(|(key, kept)| (key, &***kept))
    }

    /// Objects of its plural behind a key, in one namespace or all. No object has an empty name.
    pub(super) fn kept_after<'s>(
        &'s self,
        key: &Key,
        namespace: Option<&'s str>,
    ) -> impl Iterator<Item = (&'s Key, &'s Arc<Kept>)> + use<'s> {
        let plural = key.0.clone();
        self.objects
            .range((Bound::Excluded(key.clone()), Bound::Unbounded))
            .take_while(move |((p, ns, _), _)| *p == plural && namespace.is_none_or(|wanted| wanted == ns))
    }

    /// Objects of a plural, in one namespace or all.
    pub(super) fn list<'s>(
        &'s self,
        plural: &'s str,
        namespace: Option<&'s str>,
    ) -> impl Iterator<Item = &'s Value> {
        self.entries(plural, namespace).map(|(_, object)| object)
    }

    /// The oldest version that a watch can start from.
    pub(super) fn oldest(&self) -> u64 {
        self.ring.front().map_or(self.version, |oldest| oldest.version - 1)
    }

    /// Changes after a version; `None` when some of them are forgotten.
    pub(super) fn since(&self, version: u64, plural: &str, namespace: Option<&str>) -> Option<Vec<Changed>> {
        if version < self.oldest() {
            return None;
        }
        let newer = self.ring.iter().filter(|change| change.version > version && change.plural == plural);
        Some(newer.filter(|change| namespace.is_none_or(|ns| ns == change.namespace)).cloned().collect())
    }

    /// Whether an object of these plurals may have changed after a version.
    pub(super) fn touched(&self, version: u64, plurals: &[&str]) -> bool {
        let newer = self.ring.iter().rev().take_while(|change| change.version > version);
        version < self.oldest() || newer.into_iter().any(|change| plurals.contains(&change.plural.as_str()))
    }

    /// Creates an object.
    pub(super) fn create(
        &mut self,
        key: Key,
        mut object: Value,
        write: &Write<'_>,
    ) -> Result<Value, Refused> {
        if let Some(known) = self.objects.get(&key) {
            return Err(Refused::exists(&key, if leaving(known) { "object is being deleted: " } else { "" }));
        }
        let kind = Kind::of(&key.0);
        if let Some(kind) = kind {
            object["apiVersion"] = json!(kind.api_version());
            object["kind"] = json!(kind.kind);
        }
        defaults::complete(&key.0, &mut object);
        if let Some(status) = defaults::status(&key.0, &object)
            && object.get("status").is_none_or(Value::is_null)
        {
            object["status"] = status;
        }
        let version = self.version + 1;
        let meta = meta(&mut object);
        if !key.1.is_empty() {
            meta.insert("namespace".to_owned(), json!(key.1));
        }
        meta.insert("name".to_owned(), json!(key.2));
        meta.insert("uid".to_owned(), json!(format!("00000000-0000-4000-8000-{:012x}", self.uids + 1)));
        // Where nobody counts, the real server keeps what it was told.
        if kind.is_some_and(|kind| kind.counted) {
            meta.insert("generation".to_owned(), json!(1));
        }
        meta.insert("creationTimestamp".to_owned(), json!(second(write.at)));
        if key.0 == "services" {
            defaults::address(&mut object);
        }
        fields::sign(&Value::Null, &mut object, write);
        if !write.dry {
            self::meta(&mut object).insert("resourceVersion".to_owned(), json!(version.to_string()));
        }
        // A rehearsal uses a uid up as well: no two answers may name the same one.
        self.uids += 1;
        if !write.dry {
            self.put(key, object.clone(), "ADDED");
        }
        Ok(object)
    }

    /// Changes an object: `change` makes the new one from the old one.
    pub(super) fn change(
        &mut self,
        key: &Key,
        write: &Write<'_>,
        change: impl FnOnce(&Value) -> Result<Value, Refused>,
    ) -> Result<Value, Refused> {
        let old = self.objects.get(key).ok_or_else(|| Refused::not_found(key))?;
        let mut object = change(old)?;
        meet(key, old, &object)?;
        settle(key, old, &mut object, write.part);
        defaults::complete(&key.0, &mut object);
        let kind = Kind::of(&key.0);
        // A status that was taken away is an empty one.
        if let Some(empty) = defaults::empty_status(&key.0, &object)
            && object.get("status").is_none_or(Value::is_null)
        {
            object["status"] = empty;
        }
        let counted =
            write.part == Part::Main && kind.is_some_and(|kind| kind.counted) && unlike(key, old, &object);
        if counted {
            let generation = old.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or(0);
            meta(&mut object).insert("generation".to_owned(), json!(generation + 1));
        }
        fields::sign(old, &mut object, write);
        if object == ***old {
            return Ok(object);
        }
        // A rehearsal shows the version as it was.
        if write.dry {
            return Ok(object);
        }
        // What held it back is gone: the answer shows the version before, the watch the one after.
        if gone(&object) {
            let mut last = object.clone();
            self.version_of(&mut last);
            self.take(key, &last);
            return Ok(object);
        }
        self.version_of(&mut object);
        self.put(key.clone(), object.clone(), "MODIFIED");
        Ok(object)
    }

    /// Deletes an object; a pod that has a node is only marked, and goes once it has stopped, and so is what
    /// has finalizers.
    pub(super) fn delete(
        &mut self,
        key: &Key,
        at: Timestamp,
        parting: Parting<'_>,
    ) -> Result<Value, Refused> {
        let old = self.objects.get(key).ok_or_else(|| Refused::not_found(key))?;
        let text = |pointer: &str| old.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        for (what, wanted, found, past) in [
            ("UID", parting.uid, text("/metadata/uid"), "deleted and then recreated"),
            ("ResourceVersion", parting.version, text("/metadata/resourceVersion"), "modified"),
        ] {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
                let why = format!(
                    "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might have been {past}"
                );
                return Err(Refused::unlike(key, &why));
            }
        }
        let mut object = Value::clone(old);
        let grace = if key.0 == "pods" { granted(old, parting.grace) } else { 0 };
        if let Some(finalizer) = parting.finalizer.filter(|_| !leaving(old)) {
            let mut known = old.pointer("/metadata/finalizers").and_then(Value::as_array).cloned();
            known.get_or_insert_default().push(json!(finalizer));
            meta(&mut object).insert("finalizers".to_owned(), json!(known));
        }
        let held = held(&object);
        let left = old.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
        if grace == 0 && !held {
            // Pods are told to go even where they go at once.
            if key.0 == "pods" && left != Some(0) {
                mark(&mut object, at, 0);
                self.keep(key, &mut object, parting.dry);
            }
            if !parting.dry {
                let mut last = object.clone();
                self.version_of(&mut last);
                self.take(key, &last);
            }
            return Ok(object);
        }
        // Who goes already can only be hurried.
        if left.is_some_and(|left| left == 0 || parting.grace.is_none_or(|grace| grace >= left)) {
            return Ok(object);
        }
        mark(&mut object, at, grace);
        self.keep(key, &mut object, parting.dry);
        Ok(object)
    }

    /// Gives an object the next version.
    fn version_of(&self, object: &mut Value) {
        let version = (self.version + 1).to_string();
        meta(object).insert("resourceVersion".to_owned(), json!(version));
    }

    fn keep(&mut self, key: &Key, object: &mut Value, dry: bool) {
        if !dry {
            self.version_of(object);
            self.put(key.clone(), object.clone(), "MODIFIED");
        }
    }

    fn take(&mut self, key: &Key, object: &Value) {
        let before = self.objects.remove(key);
        self.tell(key, Kept::new(object.clone()), "DELETED", before);
    }

    /// A merge patch of the simulation on the main part.
    pub(super) fn edit(&mut self, key: &Key, patch: &Value, manager: &str, at: Timestamp) {
        let done = self.change(key, &Write::by(manager, at, Part::Main), |old| Ok(merged(old, patch)));
        debug_assert!(done.is_ok(), "the simulation edits only what is there: {done:?}");
    }

    /// A merge patch of the simulation on the status.
    pub(super) fn report(&mut self, key: &Key, status: &Value, manager: &str, at: Timestamp) {
        let patch = json!({ "status": status });
        let done = self.change(key, &Write::by(manager, at, Part::Status), |old| Ok(merged(old, &patch)));
        debug_assert!(done.is_ok(), "the simulation reports only on what is there: {done:?}");
    }

    fn put(&mut self, key: Key, object: Value, kind: &'static str) {
        let object = Kept::new(object);
        let before = self.objects.insert(key.clone(), Arc::clone(&object));
        self.tell(&key, object, kind, before);
    }

    fn tell(&mut self, key: &Key, object: Arc<Kept>, kind: &'static str, before: Option<Arc<Kept>>) {
        self.version += 1;
        let (plural, namespace) = (key.0.clone(), key.1.clone());
        self.ring.push_back(Changed { version: self.version, plural, namespace, kind, object, before });
        if self.ring.len() > RING {
            self.ring.pop_front();
        }
    }
}

/// The key before all objects of a plural, in one namespace or all.
pub(super) fn before_all(plural: &str, namespace: Option<&str>) -> Key {
    (plural.to_owned(), namespace.unwrap_or_default().to_owned(), String::new())
}

pub(super) fn meta(object: &mut Value) -> &mut Map<String, Value> {
    if !object.get("metadata").is_some_and(Value::is_object) {
        object["metadata"] = json!({});
    }
    match object.get_mut("metadata") {
        Some(Value::Object(map)) => map,
        _ => unreachable!("it was made an object right above"),
    }
}

/// Kubernetes writes times of metadata with whole seconds.
pub(super) fn second(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}
