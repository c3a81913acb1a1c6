//! Objects with versions, as an API server keeps them.

mod fields;
mod json_patch;
mod merge;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::kinds::Kind;
use super::refused::Refused;
use crate::model::merge::merged;

pub(super) use fields::{Force, apply};
pub(super) use json_patch::json_patch;
pub(super) use merge::strategic;

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
    pub(super) object: Arc<Value>,
    /// The object before, so that a watch with a selector sees it come and go.
    pub(super) before: Option<Arc<Value>>,
}

/// The objects.
#[derive(Default)]
pub(super) struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
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
    /// At once, even for a running pod.
    pub(super) now: bool,
    pub(super) dry: bool,
}

/// Seconds that a simulated pod takes to stop, of the 30 it is granted.
const GRACE: i64 = 30;

impl Store {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key).map(AsRef::as_ref)
    }

    /// Objects of a plural with their keys, in one namespace or all.
    pub(super) fn entries<'s>(
        &'s self,
        plural: &'s str,
        namespace: Option<&'s str>,
    ) -> impl Iterator<Item = (&'s Key, &'s Value)> {
        let from = (plural.to_owned(), namespace.unwrap_or_default().to_owned(), String::new());
        self.objects
            .range(from..)
            .take_while(move |((p, ns, _), _)| p == plural && namespace.is_none_or(|wanted| wanted == ns))
            .map(|(key, object)| (key, object.as_ref()))
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

    /// Creates an object.
    pub(super) fn create(
        &mut self,
        key: Key,
        mut object: Value,
        write: &Write<'_>,
    ) -> Result<Value, Refused> {
        if self.objects.contains_key(&key) {
            return Err(Refused::exists(&key));
        }
        let kind = Kind::of(&key.0);
        if let Some(kind) = kind {
            object["apiVersion"] = json!(kind.api_version());
            object["kind"] = json!(kind.kind);
        }
        let version = self.version + 1;
        let meta = meta(&mut object);
        if !key.1.is_empty() {
            meta.insert("namespace".to_owned(), json!(key.1));
        }
        meta.insert("name".to_owned(), json!(key.2));
        meta.insert("uid".to_owned(), json!(format!("00000000-0000-4000-8000-{:012x}", self.uids + 1)));
        meta.remove("generation");
        if kind.is_some_and(|kind| kind.counted) {
            meta.insert("generation".to_owned(), json!(1));
        }
        meta.insert("creationTimestamp".to_owned(), json!(second(write.at)));
        fields::sign(&Value::Null, &mut object, write);
        self::meta(&mut object).insert("resourceVersion".to_owned(), json!(version.to_string()));
        if !write.dry {
            self.uids += 1;
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
        let kind = Kind::of(&key.0);
        let counted = kind.is_some_and(|kind| kind.counted) && unlike(old, &object);
        if counted {
            let generation = old.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or(0);
            meta(&mut object).insert("generation".to_owned(), json!(generation + 1));
        }
        fields::sign(old, &mut object, write);
        if object == **old {
            return Ok(object);
        }
        let version = self.version + 1;
        meta(&mut object).insert("resourceVersion".to_owned(), json!(version.to_string()));
        if !write.dry {
            self.put(key.clone(), object.clone(), "MODIFIED");
        }
        Ok(object)
    }

    /// Deletes an object; a running pod is only marked, and goes once it has stopped.
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
                return Err(Refused::conflict(key, &why));
            }
        }
        let mut object = Value::clone(old);
        let runs = key.0 == "pods" && object.pointer("/spec/nodeName").is_some();
        if parting.dry {
            return Ok(object);
        }
        if runs && !parting.now {
            if object.pointer("/metadata/deletionTimestamp").is_some() {
                return Ok(object);
            }
            let end = at.checked_add(SignedDuration::from_secs(GRACE)).unwrap_or(at);
            let version = (self.version + 1).to_string();
            let meta = meta(&mut object);
            meta.insert("deletionTimestamp".to_owned(), json!(second(end)));
            meta.insert("deletionGracePeriodSeconds".to_owned(), json!(GRACE));
            meta.insert("resourceVersion".to_owned(), json!(version));
            self.put(key.clone(), object.clone(), "MODIFIED");
            return Ok(object);
        }
        meta(&mut object).insert("resourceVersion".to_owned(), json!((self.version + 1).to_string()));
        let before = self.objects.remove(key);
        self.tell(key, Arc::new(object.clone()), "DELETED", before);
        Ok(object)
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
        let object = Arc::new(object);
        let before = self.objects.insert(key.clone(), Arc::clone(&object));
        self.tell(&key, object, kind, before);
    }

    fn tell(&mut self, key: &Key, object: Arc<Value>, kind: &'static str, before: Option<Arc<Value>>) {
        self.version += 1;
        let (plural, namespace) = (key.0.clone(), key.1.clone());
        self.ring.push_back(Changed { version: self.version, plural, namespace, kind, object, before });
        if self.ring.len() > RING {
            self.ring.pop_front();
        }
    }
}

/// Versions and uids that a write names must be those of the object.
fn meet(key: &Key, old: &Value, new: &Value) -> Result<(), Refused> {
    let text = |object: &'_ Value, field: &str| {
        object.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).map(str::to_owned)
    };
    let (wanted, found) = (text(new, "uid"), text(old, "uid"));
    if wanted.is_some() && wanted != found {
        let (wanted, found) = (wanted.unwrap_or_default(), found.unwrap_or_default());
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}");
        return Err(Refused::conflict(key, &why));
    }
    let wanted = text(new, "resourceVersion");
    if wanted.is_some() && wanted != text(old, "resourceVersion") {
        return Err(Refused::modified(key));
    }
    Ok(())
}

/// Puts back what a write of this part may not change.
fn settle(key: &Key, old: &Value, object: &mut Value, part: Part) {
    let apart = Kind::of(&key.0).is_some_and(|kind| kind.has("status"));
    if part == Part::Status {
        let status = object.get("status").cloned();
        *object = old.clone();
        put_back(object, "status", status);
        return;
    }
    if apart {
        put_back(object, "status", old.get("status").cloned());
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
    for field in ["labels", "annotations"] {
        if object.pointer(&format!("/metadata/{field}")).is_some_and(|map| *map == json!({})) {
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

/// Whether anything but metadata and status differs.
fn unlike(old: &Value, new: &Value) -> bool {
    let rest = |object: &Value| -> Map<String, Value> {
        let map = object.as_object().cloned().unwrap_or_default();
        map.into_iter().filter(|(key, _)| key != "metadata" && key != "status").collect()
    };
    rest(old) != rest(new)
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
