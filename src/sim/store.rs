//! Objects with versions, as an API server keeps them.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

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
    pub(super) object: Value,
}

/// The objects.
#[derive(Default)]
pub(super) struct Store {
    objects: BTreeMap<Key, Value>,
    version: u64,
    uids: u64,
    ring: VecDeque<Changed>,
}

/// Why the server says no: code, reason, message.
#[derive(Debug)]
pub(super) struct Refused(pub(super) u16, pub(super) &'static str, pub(super) String);

impl Store {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    /// Objects of a plural, in one namespace or all.
    pub(super) fn list<'s>(
        &'s self,
        plural: &'s str,
        namespace: Option<&'s str>,
    ) -> impl Iterator<Item = &'s Value> {
        self.objects
            .iter()
            .filter(move |((p, ns, _), _)| p == plural && namespace.is_none_or(|namespace| namespace == ns))
            .map(|(_, object)| object)
    }

    /// Changes after a version; `None` when some of them are forgotten.
    pub(super) fn since(&self, version: u64, plural: &str, namespace: Option<&str>) -> Option<Vec<Changed>> {
        let forgotten = self.ring.front().map_or(self.version, |oldest| oldest.version - 1);
        if version < forgotten {
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
            return Err(Refused(409, "AlreadyExists", format!("{} {:?} already exists", key.0, key.2)));
        }
        let version = self.version + 1;
        let meta = meta(&mut object);
        meta.insert("namespace".to_owned(), json!(key.1));
        meta.insert("name".to_owned(), json!(key.2));
        meta.insert("uid".to_owned(), json!(format!("00000000-0000-4000-8000-{:012x}", self.uids + 1)));
        meta.insert("generation".to_owned(), json!(1));
        meta.insert("resourceVersion".to_owned(), json!(version.to_string()));
        meta.insert("creationTimestamp".to_owned(), json!(second(write.at)));
        sign(&mut object, write);
        if !write.dry {
            self.uids += 1;
            self.put(key, object.clone(), "ADDED");
        }
        Ok(object)
    }

    /// Merge-patches an object (RFC 7386).
    pub(super) fn patch(&mut self, key: &Key, patch: &Value, write: &Write<'_>) -> Result<Value, Refused> {
        let Some(old) = self.objects.get(key) else {
            return Err(Refused(404, "NotFound", format!("{} {:?} not found", key.0, key.2)));
        };
        let wanted = patch.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        let found = old.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        if wanted.is_some() && wanted != found {
            let text =
                "the object has been modified; please apply your changes to the latest version and try again";
            return Err(Refused(
                409,
                "Conflict",
                format!("Operation cannot be fulfilled on {} {:?}: {text}", key.0, key.2),
            ));
        }
        let mut object = merge(old, patch);
        if object == *old {
            return Ok(object);
        }
        let changed = object.get("spec") != old.get("spec");
        let version = self.version + 1;
        let generation = old.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or(1);
        let meta = meta(&mut object);
        meta.insert("resourceVersion".to_owned(), json!(version.to_string()));
        if changed {
            meta.insert("generation".to_owned(), json!(generation + 1));
            sign(&mut object, write);
        }
        if !write.dry {
            self.put(key.clone(), object.clone(), "MODIFIED");
        }
        Ok(object)
    }

    /// Deletes an object.
    pub(super) fn delete(&mut self, key: &Key) -> Result<Value, Refused> {
        let Some(mut object) = self.objects.remove(key) else {
            return Err(Refused(404, "NotFound", format!("{} {:?} not found", key.0, key.2)));
        };
        meta(&mut object).insert("resourceVersion".to_owned(), json!((self.version + 1).to_string()));
        self.tell(key, object.clone(), "DELETED");
        Ok(object)
    }

    /// A change from inside the simulation.
    pub(super) fn edit(&mut self, key: &Key, patch: &Value, manager: &str, at: Timestamp) {
        let done = self.patch(key, patch, &Write { manager, at, dry: false });
        debug_assert!(done.is_ok(), "the simulation edits only what it made");
    }

    fn put(&mut self, key: Key, object: Value, kind: &'static str) {
        self.tell(&key, object.clone(), kind);
        self.objects.insert(key, object);
    }

    fn tell(&mut self, key: &Key, object: Value, kind: &'static str) {
        self.version += 1;
        let (plural, namespace) = (key.0.clone(), key.1.clone());
        self.ring.push_back(Changed { version: self.version, plural, namespace, kind, object });
        if self.ring.len() > RING {
            self.ring.pop_front();
        }
    }
}

/// Who writes, when, and whether for real.
pub(super) struct Write<'a> {
    pub(super) manager: &'a str,
    pub(super) at: Timestamp,
    pub(super) dry: bool,
}

fn meta(object: &mut Value) -> &mut Map<String, Value> {
    if !object.get("metadata").is_some_and(Value::is_object) {
        object["metadata"] = json!({});
    }
    match object.get_mut("metadata") {
        Some(Value::Object(map)) => map,
        _ => unreachable!("it was made an object right above"),
    }
}

/// Kubernetes writes times of metadata with whole seconds.
fn second(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// Notes who wrote the spec last.
fn sign(object: &mut Value, write: &Write<'_>) {
    let entry = json!({
        "manager": write.manager, "operation": "Update", "apiVersion": object.get("apiVersion"),
        "time": second(write.at), "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": {} },
    });
    let meta = meta(object);
    let mut entries = meta.get("managedFields").and_then(Value::as_array).cloned().unwrap_or_default();
    entries.retain(|known| known.get("manager") != Some(&json!(write.manager)));
    entries.push(entry);
    meta.insert("managedFields".to_owned(), Value::Array(entries));
}

/// RFC 7386.
fn merge(target: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut out = target.as_object().cloned().unwrap_or_default();
    for (key, value) in patch {
        if value.is_null() {
            out.remove(key);
        } else {
            let merged = merge(out.get(key).unwrap_or(&Value::Null), value);
            out.insert(key.clone(), merged);
        }
    }
    Value::Object(out)
}
