//! Events, as `kubectl describe` shows them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{hash, text};
use crate::sim::kinds::key;
use crate::sim::store::{Key, Part, Parting, Store, Write, second};

/// Events are kept for an hour, as the real server does.
const KEPT_S: i64 = 3_600;

/// Tells something about an object.
pub(in crate::sim) fn event(store: &mut Store, of: &Key, (reason, message): (&str, &str), at: Timestamp) {
    let Some(object) = store.get(of) else { return };
    let (kind, component) = match of.0.as_str() {
        "pods" => ("Normal", "kubelet"),
        "certificates" => ("Normal", "cert-manager-certificates-issuing"),
        _ => ("Normal", "controller"),
    };
    let kind = if matches!(reason, "Unhealthy" | "BackOff") { "Warning" } else { kind };
    let version = store.version().to_string();
    let name = format!("{}.{:016x}", of.2, hash(0, &format!("{version}{reason}{message}")));
    let time = second(at);
    let made = json!({
        "involvedObject": {
            "apiVersion": object["apiVersion"], "kind": object["kind"], "namespace": of.1, "name": of.2,
            "uid": object["metadata"]["uid"], "resourceVersion": object["metadata"]["resourceVersion"],
        },
        "type": kind, "reason": reason, "message": message, "count": 1,
        "firstTimestamp": time, "lastTimestamp": time, "eventTime": null,
        "source": { "component": component }, "reportingComponent": component, "reportingInstance": "",
    });
    let space = if of.1.is_empty() { "default" } else { of.1.as_str() };
    // The name is made of the version, so that no event meets another.
    store.create(key("events", space, &name), made, &Write::by(component, at, Part::Main)).ok();
    forget(store, at);
}

fn forget(store: &mut Store, at: Timestamp) {
    let old = |object: &Value| {
        let told: Option<Timestamp> = text(object, "/lastTimestamp").parse().ok();
        told.is_some_and(|told| at.as_second() - told.as_second() > KEPT_S)
    };
    let gone: Vec<Key> =
        store.entries("events", None).filter(|(_, e)| old(e)).map(|(key, _)| key.clone()).collect();
    for key in gone {
        store.delete(&key, at, Parting::default()).ok();
    }
}
