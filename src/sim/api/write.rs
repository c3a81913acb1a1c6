//! Creating, changing and deleting.

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Answer;
use super::request::Call;
use crate::model::merge::merged;
use crate::sim::Sim;
use crate::sim::control::text;
use crate::sim::kinds::key;
use crate::sim::refused::Refused;
use crate::sim::store::{self, Force, Key, Part, Parting, Store, Write};

fn write<'c>(call: &'c Call, at: Timestamp) -> Write<'c> {
    let part = if call.target.part == Some("status") { Part::Status } else { Part::Main };
    Write { manager: &call.manager, at, dry: call.dry(), part, applied: None }
}

pub(super) fn create(sim: &Sim, call: &Call) -> Answer {
    if call.target.name.is_some() {
        return Err(Refused::method());
    }
    let object = call.json()?;
    sim.with(|store, at| {
        let made = make(store, call, object, &write(call, at))?;
        Ok((StatusCode::CREATED, call.form.one(&call.target, &made)))
    })
}

fn make(store: &mut Store, call: &Call, mut object: Value, write: &Write<'_>) -> Result<Value, Refused> {
    let target = &call.target;
    let namespace = target.namespace.clone().unwrap_or_default();
    let (kind, version) = (text(&object, "/kind"), text(&object, "/apiVersion"));
    if !kind.is_empty() && kind != target.kind.kind {
        return Err(Refused::bad(format!(
            "{kind} in version {version:?} cannot be handled as a {}",
            target.kind.kind
        )));
    }
    let said = text(&object, "/metadata/namespace");
    if !said.is_empty() && said != namespace {
        return Err(Refused::bad(format!(
            "the namespace of the provided object does not match the namespace sent on the request: {said:?} {namespace:?}"
        )));
    }
    let (mut name, start) =
        (text(&object, "/metadata/name").to_owned(), text(&object, "/metadata/generateName"));
    if name.is_empty() && !start.is_empty() {
        let word = crate::sim::control::hash(store.version(), start);
        name = format!("{start}{}", crate::sim::control::letters(word, 5));
    }
    let place = key(target.kind.plural, &namespace, &name);
    if name.is_empty() {
        return Err(Refused::invalid(
            &place,
            "metadata.name",
            "Required value: name or generateName is required",
        ));
    }
    if target.kind.namespaced && store.get(&key("namespaces", "", &namespace)).is_none() {
        return Err(Refused::not_found(&key("namespaces", "", &namespace)));
    }
    if !text(&object, "/metadata/resourceVersion").is_empty() {
        return Err(Refused::bad("resourceVersion should not be set on objects to be created"));
    }
    defaults(target.kind.plural, &mut object);
    store.create(place, object, write)
}

/// The few defaults that the simulation itself needs.
fn defaults(plural: &str, object: &mut Value) {
    if let Some(map) = object.as_object_mut()
        && super::super::kinds::Kind::of(plural).is_some_and(|kind| kind.has("status"))
    {
        map.remove("status");
    }
    let mut set = |pointer: &str, field: &str, value: Value| {
        if let Some(Value::Object(map)) = object.pointer_mut(pointer) {
            map.entry(field).or_insert(value);
        }
    };
    match plural {
        "pods" => {
            set("/spec", "restartPolicy", json!("Always"));
            set("", "status", json!({ "phase": "Pending" }));
        }
        "deployments" | "statefulsets" | "replicasets" => {
            set("/spec", "replicas", json!(1));
            set("/spec/template/spec", "restartPolicy", json!("Always"));
        }
        "namespaces" => set("", "status", json!({ "phase": "Active" })),
        "services" => set("/spec", "type", json!("ClusterIP")),
        _ => {}
    }
}

/// What a patch may be written in.
fn unknown(call: &Call) -> Refused {
    let strategic = if call.target.kind.native { "application/strategic-merge-patch+json, " } else { "" };
    let text = format!(
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, {strategic}application/apply-patch+yaml"
    );
    Refused::new(415, "UnsupportedMediaType", text).detailed(json!({}))
}

pub(super) fn change(sim: &Sim, call: &Call) -> Answer {
    let key = call.target.key()?;
    if !call.put && call.media == "application/apply-patch+yaml" {
        return apply(sim, call, &key);
    }
    let body = call.json()?;
    let by = call.media.as_str();
    let known = call.put
        || matches!(by, "application/merge-patch+json" | "application/json-patch+json")
        || (by == "application/strategic-merge-patch+json" && call.target.kind.native);
    if !known {
        return Err(unknown(call));
    }
    let written = |object: &Value| call.form.one(&call.target, object);
    sim.with(|store, at| {
        let done = store.change(&key, &write(call, at), |old| match by {
            _ if call.put => Ok(body),
            "application/json-patch+json" => store::json_patch(old, &body),
            "application/strategic-merge-patch+json" => Ok(store::strategic(old, &body)),
            _ => Ok(merged(old, &body)),
        });
        done.map(|object| (StatusCode::OK, written(&object)))
    })
}

/// Server-side apply; it makes what is not there.
fn apply(sim: &Sim, call: &Call, key: &Key) -> Answer {
    let applied = call.json().map_err(|refused| {
        let why = text(refused.status(), "/message").to_owned();
        Refused::bad(format!("error decoding YAML: this simulation reads JSON only: {why}"))
    })?;
    let Some(manager) = call.asks("fieldManager") else {
        let text = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        return Err(Refused::new(422, "Invalid", text).detailed(json!({})));
    };
    let force = if call.is("force") { Force::Yes } else { Force::No };
    sim.with(|store, at| {
        let write = Write { manager, applied: Some(&applied), ..write(call, at) };
        if store.get(key).is_none() {
            let mut object = applied.clone();
            store::meta(&mut object).insert("name".to_owned(), json!(key.2));
            let made = make(store, call, object, &write)?;
            return Ok((StatusCode::CREATED, call.form.one(&call.target, &made)));
        }
        let done = store.change(key, &write, |old| store::apply(old, &applied, &write, force))?;
        Ok((StatusCode::OK, call.form.one(&call.target, &done)))
    })
}

pub(super) fn delete(sim: &Sim, call: &Call) -> Answer {
    let options = if call.body.is_empty() { Value::Null } else { call.json()? };
    if call.target.name.is_none() {
        return delete_all(sim, call);
    }
    let key = call.target.key()?;
    sim.with(|store, at| {
        let gone = store.delete(&key, at, parting(call, &options))?;
        let leaves = gone.pointer("/metadata/deletionTimestamp").is_some();
        if leaves || call.target.kind.plural == "pods" {
            return Ok((StatusCode::OK, call.form.one(&call.target, &gone)));
        }
        let mut details = json!({ "name": key.2, "kind": key.0, "uid": gone["metadata"]["uid"] });
        if !call.target.kind.group.is_empty() {
            details["group"] = json!(call.target.kind.group);
        }
        let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details });
        Ok((StatusCode::OK, status))
    })
}

pub(super) fn parting<'o>(call: &Call, options: &'o Value) -> Parting<'o> {
    let said = |name: &str| options.pointer(&format!("/preconditions/{name}")).and_then(Value::as_str);
    let zero = options.get("gracePeriodSeconds").and_then(Value::as_i64) == Some(0);
    let dry = options.get("dryRun").is_some_and(|dry| *dry == json!(["All"]));
    Parting {
        uid: said("uid"),
        version: said("resourceVersion"),
        now: zero || call.asks("gracePeriodSeconds") == Some("0"),
        dry: dry || call.dry(),
    }
}

fn delete_all(sim: &Sim, call: &Call) -> Answer {
    let selector = super::selector::Selector::of(call)?;
    sim.with(|store, at| {
        let entries = store.entries(call.target.kind.plural, call.target.namespace.as_deref());
        let keys: Vec<Key> =
            entries.filter(|(_, object)| selector.picks(object)).map(|(key, _)| key.clone()).collect();
        let parting = Parting { dry: call.dry(), ..Parting::default() };
        let gone = keys.iter().map(|key| store.delete(key, at, parting)).collect::<Result<Vec<_>, _>>()?;
        let meta = json!({ "resourceVersion": store.version().to_string() });
        let gone: Vec<&Value> = gone.iter().collect();
        Ok((StatusCode::OK, call.form.list(&call.target, &gone, &meta)))
    })
}
