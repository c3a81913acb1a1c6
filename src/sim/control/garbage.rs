//! What nobody owns any more goes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{keys, text};
use crate::sim::kinds::Kind;
use crate::sim::store::{Key, Parting, Store};

const BY: &str = "kube-controller-manager";

/// Kinds whose objects are made by a controller.
const OWNED: [&str; 3] = ["replicasets", "pods", "endpointslices"];

/// Works off what a delete asked for before its object may go: its dependents go first, or are left alone.
fn finish(store: &mut Store, at: Timestamp) {
    let asked = |object: &Value, finalizer: &str| {
        super::leaves(object)
            && object["metadata"]["finalizers"].as_array().is_some_and(|all| all.contains(&json!(finalizer)))
    };
    for finalizer in ["foregroundDeletion", "orphan"] {
        let kinds = crate::sim::kinds::KINDS.iter();
        let leaving: Vec<Key> = kinds
            .flat_map(|kind| store.entries(kind.plural, None))
            .filter(|(_, object)| asked(object, finalizer))
            .map(|(key, _)| key.clone())
            .collect();
        for key in leaving {
            release(store, &key, finalizer, at);
        }
    }
}

fn release(store: &mut Store, key: &Key, finalizer: &str, at: Timestamp) {
    let Some(object) = store.get(key).cloned() else { return };
    let uid = &object["metadata"]["uid"];
    let mut waits = false;
    for plural in OWNED {
        for of in keys(store, plural) {
            let owners = store.get(&of).and_then(|owned| owned["metadata"]["ownerReferences"].as_array());
            let others: Vec<Value> =
                owners.into_iter().flatten().filter(|owner| owner["uid"] != *uid).cloned().collect();
            if owners.is_none_or(|all| all.len() == others.len()) {
                continue;
            }
            if finalizer == "orphan" {
                store.edit(&of, &json!({ "metadata": { "ownerReferences": others } }), BY, at);
            } else {
                store.delete(&of, at, Parting::default()).ok();
                waits |= store.get(&of).is_some();
            }
        }
    }
    let finalizers = object["metadata"]["finalizers"].as_array().into_iter().flatten();
    let rest: Vec<&Value> = finalizers.filter(|one| *one != finalizer).collect();
    if !waits {
        store.edit(key, &json!({ "metadata": { "finalizers": rest } }), BY, at);
    }
}

/// Deletes objects whose controlling owner is gone, and what is in namespaces that are gone.
pub(super) fn collect(store: &mut Store, at: Timestamp) {
    finish(store, at);
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
