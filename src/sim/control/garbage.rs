//! What nobody owns any more goes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{keys, text};
use crate::sim::kinds::Kind;
use crate::sim::store::{Key, Parting, Store};

/// Kinds whose objects are made by a controller.
const OWNED: [&str; 3] = ["replicasets", "pods", "endpointslices"];

/// Deletes objects whose controlling owner is gone, and what is in namespaces that are gone.
pub(super) fn collect(store: &mut Store, at: Timestamp) {
    let mut alive = BTreeSet::new();
    for plural in ["deployments", "replicasets", "statefulsets", "daemonsets", "services"] {
        alive.extend(store.list(plural, None).map(|object| text(object, "/metadata/uid").to_owned()));
    }
    let orphaned = |object: &Value| {
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let known = |owner: &&Value| Kind::plural_of(text(owner, "/kind")).is_some();
        let mut owners =
            owners.into_iter().flatten().filter(|o| o["controller"] == true).filter(known).peekable();
        owners.peek().is_some() && owners.all(|owner| !alive.contains(text(owner, "/uid")))
    };
    let mut gone: Vec<Key> = Vec::new();
    for plural in OWNED {
        let orphans = store.entries(plural, None).filter(|(_, object)| orphaned(object));
        gone.extend(orphans.map(|(key, _)| key.clone()));
    }
    let spaces: BTreeSet<String> = keys(store, "namespaces").into_iter().map(|key| key.2).collect();
    for kind in crate::sim::kinds::KINDS.iter().filter(|kind| kind.namespaced) {
        gone.extend(keys(store, kind.plural).into_iter().filter(|key| !spaces.contains(&key.1)));
    }
    for key in gone {
        store.delete(&key, at, Parting::default()).ok();
    }
}
