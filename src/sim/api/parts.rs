//! Parts of objects that are more than a field: scale and eviction.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Answer;
use super::request::Call;
use super::write::parting;
use crate::model::merge::merged;
use crate::sim::Sim;
use crate::sim::control::{event, number, room, text};
use crate::sim::kinds::key;
use crate::sim::refused::Refused;
use crate::sim::store::{self, Part, Write};

fn scale_of(object: &Value) -> Value {
    let labels = object.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let terms = labels.into_iter().flatten();
    let terms: Vec<String> =
        terms.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    let mut meta = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        meta[field] = object["metadata"][field].clone();
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta,
        "spec": { "replicas": number(object, "/spec/replicas").unwrap_or(0) },
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
            return Err(Refused::invalid(&key, "spec.replicas", &why));
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
        return Err(Refused::bad(format!(
            "name in URL does not match name in Eviction object: {} {said}",
            pod.2
        )));
    }
    let options = eviction.get("deleteOptions").cloned().unwrap_or_default();
    sim.with(|store, at| {
        let parting = parting(call, &options);
        // The preconditions come first: they are about this very pod.
        store.delete(&pod, at, store::Parting { dry: true, ..parting })?;
        room(store, &pod, at, parting.dry)?;
        store.delete(&pod, at, parting)?;
        if !parting.dry {
            event(store, &key("pods", &pod.1, &pod.2), ("Evicted", "Evicted by the eviction API"), at);
        }
        let status =
            json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
        Ok((StatusCode::CREATED, status))
    })
}
