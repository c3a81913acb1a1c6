//! Parts of objects that are more than a field: scale and eviction.

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Answer;
use super::request::Call;
use super::write::parting;
use crate::model::merge::merged;
use crate::sim::Sim;
use crate::sim::control::{number, room, text};
use crate::sim::refused::Refused;
use crate::sim::store::{self, Key, Part, Store, Write, second};

fn scale_of(object: &Value) -> Value {
    let labels = object.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let terms = labels.into_iter().flatten();
    let terms: Vec<String> =
        terms.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    let mut meta = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        meta[field] = object["metadata"][field].clone();
    }
    // What is zero is left out here.
    let spec = match number(object, "/spec/replicas") {
        None | Some(0) => json!({}),
        Some(replicas) => json!({ "replicas": replicas }),
    };
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec,
        "status": { "replicas": number(object, "/status/replicas").unwrap_or(0), "selector": terms.join(",") },
    })
}

pub(super) fn scale(sim: &Sim, call: &Call) -> Answer {
    let key = call.target.key()?;
    let wished = if call.body.is_empty() { None } else { Some(call.json()?) };
    sim.with(|store, at| {
        let object = store.get(&key).ok_or_else(|| Refused::not_found(&key))?;
        let Some(wished) = wished else { return Ok((StatusCode::OK, scale_of(object))) };
        let scale = match call.media.as_str() {
            _ if call.put => wished,
            "application/json-patch+json" => store::json_patch(&scale_of(object), &wished)?,
            _ => merged(&scale_of(object), &wished),
        };
        let replicas = number(&scale, "/spec/replicas").unwrap_or(0);
        if replicas < 0 {
            let why = format!("Invalid value: {replicas}: must be greater than or equal to 0");
            return Err(Refused::invalid_scale(&key, "spec.replicas", &why));
        }
        let mut patch = json!({ "spec": { "replicas": replicas } });
        let version = text(&scale, "/metadata/resourceVersion");
        if !version.is_empty() {
            patch["metadata"] = json!({ "resourceVersion": version });
        }
        let write = Write { manager: &call.manager, at, dry: call.dry(), part: Part::Main, applied: None };
        let done = store.change(&key, &write, |old| Ok(merged(old, &patch)))?;
        Ok((StatusCode::OK, scale_of(&done)))
    })
}

pub(super) fn evict(sim: &Sim, call: &Call) -> Answer {
    let pod = call.target.key()?;
    let eviction = if call.body.is_empty() { Value::Null } else { call.json()? };
    let said = text(&eviction, "/metadata/name");
    if !said.is_empty() && said != pod.2 {
        return Err(Refused::bad("name in URL does not match name in Eviction object"));
    }
    let options = eviction.get("deleteOptions").cloned().unwrap_or_default();
    sim.with(|store, at| {
        let mut parting = parting(call, &options);
        parting.dry |= call.dry();
        // The real server too takes the room before it looks at the preconditions.
        room(store, &pod, at, parting.dry)?;
        store.delete(&pod, at, store::Parting { dry: true, ..parting })?;
        if !parting.dry {
            told_to_go(store, &pod, at);
        }
        let own = store::Parting { version: None, ..parting };
        store.delete(&pod, at, own)?;
        let status =
            json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
        Ok((StatusCode::CREATED, status))
    })
}

/// Writes into a pod's status that it is evicted, as the real server does before it deletes it.
fn told_to_go(store: &mut Store, pod: &Key, at: Timestamp) {
    let known = store.get(pod).and_then(|pod| pod.pointer("/status/conditions")).and_then(Value::as_array);
    let mut conditions = known.cloned().unwrap_or_default();
    if conditions.iter().any(|known| known["type"] == "DisruptionTarget" && known["status"] == "True") {
        return;
    }
    conditions.retain(|condition| condition["type"] != "DisruptionTarget");
    conditions.push(json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": second(at),
    }));
    store.report(pod, &json!({ "conditions": conditions }), "kube-apiserver", at);
}
