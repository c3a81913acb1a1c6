//! Creating, changing and deleting.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::request::Call;
use super::{Answer, Page};
use crate::model::merge::merged;
use crate::sim::Sim;
use crate::sim::control::text;
use crate::sim::kinds::key;
use crate::sim::refused::Refused;
use crate::sim::store::{self, Force, Kept, Key, Part, Parting, Store, Write};

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
        return Err(Refused::bad(ELSEWHERE));
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
        let text = "resourceVersion should not be set on objects to be created";
        return Err(Refused::new(500, "", text));
    }
    if let Some(map) = object.as_object_mut()
        && target.kind.has("status")
    {
        map.remove("status");
    }
    store.create(place, object, write)
}

const ELSEWHERE: &str =
    "the namespace of the provided object does not match the namespace sent on the request";

/// Name and namespace of an object are those of its path, and objects of some kinds say which version they replace.
fn fits(key: &Key, call: &Call, object: &Value) -> Result<(), Refused> {
    let (name, namespace) = (text(object, "/metadata/name"), text(object, "/metadata/namespace"));
    if !name.is_empty() && name != key.2 {
        let text = format!("the name of the object ({name}) does not match the name on the URL ({})", key.2);
        return Err(Refused::bad(text));
    }
    if !namespace.is_empty() && namespace != key.1 {
        return Err(Refused::bad(ELSEWHERE));
    }
    let version = object.pointer("/metadata/resourceVersion");
    if call.target.kind.versioned() && version.is_none_or(|version| *version == "") {
        return Err(Refused::unversioned(key));
    }
    Ok(())
}

/// What a patch makes of an object has its own uid still.
fn same_uid(key: &Key, old: &Value, new: &Value) -> Result<(), Refused> {
    let uid = text(new, "/metadata/uid");
    if uid.is_empty() || uid == text(old, "/metadata/uid") {
        Ok(())
    } else {
        Err(Refused::other_uid(key, uid))
    }
}

/// Refuses values of `dryRun` and `propagationPolicy` that nobody knows, rather than writing for real.
pub(super) fn unknown_options(call: &Call, method: &Method) -> Option<Refused> {
    let kind = match *method {
        Method::POST => "CreateOptions",
        Method::PUT => "UpdateOptions",
        Method::PATCH => "PatchOptions",
        Method::DELETE => "DeleteOptions",
        _ => return None,
    };
    let reason = "FieldValueNotSupported";
    if let Some(value) = call.asks("dryRun").filter(|value| *value != "All") {
        let why = format!("Unsupported value: [{value:?}]: supported values: \"All\"");
        return Some(Refused::options(kind, "dryRun", (reason, &why)));
    }
    let body = if *method == Method::DELETE { call.json().ok() } else { None };
    let said = body.as_ref().and_then(|body| body["propagationPolicy"].as_str());
    let policy = said.or_else(|| call.asks("propagationPolicy"))?;
    if matches!(policy, "Foreground" | "Background" | "Orphan") {
        return None;
    }
    let known = r#"supported values: "Foreground", "Background", "Orphan", "nil""#;
    let why = format!("Unsupported value: {policy:?}: {known}");
    Some(Refused::options(kind, "propagationPolicy", (reason, &why)))
}

/// Kinds that a PUT makes where there is none.
const MADE_BY_PUT: [&str; 3] = ["events", "leases", "services"];

/// What a patch may be written in.
fn unknown(call: &Call) -> Refused {
    if call.media != "application/strategic-merge-patch+json" {
        let text = "415: Unsupported Media Type";
        return Refused::new(415, "UnsupportedMediaType", text).detailed(json!({}));
    }
    let text = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    Refused::new(415, "UnsupportedMediaType", text)
}

pub(super) fn change(sim: &Sim, call: &Call) -> Answer {
    let key = call.target.key()?;
    if !call.put && call.media == "application/apply-patch+yaml" {
        return apply(sim, call, &key);
    }
    let by = call.media.as_str();
    let known = call.put
        || matches!(by, "application/merge-patch+json" | "application/json-patch+json")
        || (by == "application/strategic-merge-patch+json" && call.target.kind.native);
    if !known {
        return Err(unknown(call));
    }
    let body = call.json()?;
    let list = by == "application/json-patch+json";
    if call.put {
        let name = text(&body, "/metadata/name");
        if !name.is_empty() && name != key.2 {
            fits(&key, call, &body)?;
        }
    }
    if !call.put && if list { !body.is_array() } else { !body.is_object() } {
        return Err(Refused::bad("a patch of another shape"));
    }
    let written = |object: &Value| call.form.one(&call.target, object);
    sim.with(|store, at| {
        if call.put && store.get(&key).is_none() && MADE_BY_PUT.contains(&key.0.as_str()) {
            let mut body = body;
            let named = store::meta(&mut body).remove("resourceVersion");
            let mut made = make(store, call, body, &write(call, at))?;
            // A rehearsal shows the version it was given.
            if let Some(version) = named.filter(|_| call.dry()) {
                store::meta(&mut made).insert("resourceVersion".to_owned(), version);
            }
            return Ok((StatusCode::CREATED, written(&made)));
        }
        let done = store.change(&key, &write(call, at), |old| match by {
            _ if call.put => fits(&key, call, &body).map(|()| body),
            _ => {
                let new = match by {
                    "application/json-patch+json" => store::json_patch(old, &body)?,
                    "application/strategic-merge-patch+json" => store::strategic(old, &body),
                    _ => merged(old, &body),
                };
                fits(&key, call, &new).and_then(|()| same_uid(&key, old, &new)).map(|()| new)
            }
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
        let why = "Required value: is required for apply patch";
        return Err(Refused::options("PatchOptions", "fieldManager", ("FieldValueRequired", why)));
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
    let options = options(call)?;
    let key = call.target.key()?;
    sim.with(|store, at| {
        let parting = parting(call, &options);
        let mut gone = store.delete(&key, at, parting)?;
        if store.get(&key).is_none() {
            let version = store.version().to_string();
            store::meta(&mut gone).insert("resourceVersion".to_owned(), json!(version));
        }
        let leaves = gone.pointer("/metadata/deletionTimestamp").is_some();
        if leaves || matches!(call.target.kind.plural, "pods" | "services") {
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

fn options(call: &Call) -> Result<Value, Refused> {
    if call.body.is_empty() { Ok(Value::Null) } else { call.json() }
}

pub(super) fn parting<'o>(call: &'o Call, options: &'o Value) -> Parting<'o> {
    // Options in a body are all there are: those of the query are then not looked at.
    let alone = options.is_null();
    let said = |name: &str| options.pointer(&format!("/preconditions/{name}")).and_then(Value::as_str);
    let grace = options.get("gracePeriodSeconds").and_then(Value::as_i64);
    let dry = options.get("dryRun").is_some_and(|dry| *dry == json!(["All"]));
    let in_body = options.get("propagationPolicy").and_then(Value::as_str);
    let policy = if alone { call.asks("propagationPolicy") } else { in_body };
    Parting {
        uid: said("uid"),
        version: said("resourceVersion"),
        grace: if alone { call.asks("gracePeriodSeconds").and_then(|text| text.parse().ok()) } else { grace },
        finalizer: match policy {
            Some("Foreground") => Some("foregroundDeletion"),
            Some("Orphan") => Some("orphan"),
            _ => None,
        },
        dry: if alone { call.dry() } else { dry },
    }
}

/// Deletes all that are picked; the answer is a list of them.
pub(super) fn delete_all(sim: &Sim, call: &Call) -> Page {
    let options = options(call)?;
    let selector = super::selector::Selector::of(call)?;
    sim.with(|store, at| {
        let namespace = call.target.namespace.as_deref();
        let first = store::before_all(call.target.kind.plural, namespace);
        let chosen: Vec<(Key, Arc<Kept>)> = store
            .kept_after(&first, namespace)
            .filter(|(_, kept)| selector.picks(kept))
            .map(|(key, kept)| (key.clone(), Arc::clone(kept)))
            .collect();
        let parting = parting(call, &options);
        for (key, _) in &chosen {
            store.delete(key, at, parting)?;
        }
        // They are shown as they were.
        let meta = json!({ "resourceVersion": store.version().to_string() });
        let gone: Vec<&Kept> = chosen.iter().map(|(_, kept)| &**kept).collect();
        call.form.list(&call.target, &gone, &meta)
    })
}
