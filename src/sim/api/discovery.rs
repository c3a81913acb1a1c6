//! What clients ask before they ask for objects: versions, groups and resources.

use axum::http::{StatusCode, header, request};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::sim::kinds::{KINDS, Kind};
use crate::sim::refused::Refused;

/// The answer to a path that names no object; `None` for the others.
pub(super) fn answer(parts: &request::Parts) -> Option<Response> {
    let path = parts.uri.path().trim_end_matches('/');
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let value = match segments.as_slice() {
        ["readyz"] if parts.uri.query().is_some_and(|query| query.contains("verbose")) => {
            return Some(
                "[+]ping ok\n[+]etcd ok\n[+]informer-sync ok\nreadyz check passed\n".into_response(),
            );
        }
        ["healthz" | "livez" | "readyz"] => return Some("ok".into_response()),
        ["version"] => version(),
        ["api"] => json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }),
        ["apis"] => groups(),
        ["api", "v1"] => resources("", "v1"),
        ["apis", "authorization.k8s.io", "v1"] => reviews(),
        ["apis", group, version] if serves(group, version) => resources(group, version),
        ["apis", group] if KINDS.iter().any(|kind| kind.group == *group) => self::group(group),
        ["openapi", "v3"] => openapi_index(),
        ["openapi", "v3", "api", "v1"] => openapi("", "v1"),
        ["openapi", "v3", "apis", group, version] if serves(group, version) => openapi(group, version),
        ["openapi", ..] => return Some(Refused::no_such_path().into_response()),
        _ => return None,
    };
    Some(([(header::CACHE_CONTROL, "no-cache, private")], axum::Json(value)).into_response())
}

fn serves(group: &str, version: &str) -> bool {
    KINDS.iter().any(|kind| kind.group == group && kind.versions.contains(&version))
}

/// Whether a path lies in a built-in group and version: elsewhere the real server knows nothing at all.
pub(super) fn knows(path: &str) -> bool {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match segments.as_slice() {
        ["api", version, ..] => serves("", version),
        ["apis", group, version, ..] => {
            serves(group, version) && KINDS.iter().any(|kind| kind.group == *group && kind.native)
        }
        _ => false,
    }
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "simulated", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
    })
}

/// The groups that have a name, each once.
fn group_names() -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for kind in KINDS.iter().filter(|kind| !kind.group.is_empty()) {
        if !names.contains(&kind.group) {
            names.push(kind.group);
        }
    }
    names
}

fn versions(group: &str) -> &'static [&'static str] {
    KINDS.iter().find(|kind| kind.group == group).map_or(&[], |kind| kind.versions)
}

fn group(name: &str) -> Value {
    let of = |version: &&str| json!({ "groupVersion": format!("{name}/{version}"), "version": version });
    let all: Vec<Value> = versions(name).iter().map(of).collect();
    json!({ "kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": all, "preferredVersion": all.first() })
}

fn groups() -> Value {
    let mut all: Vec<Value> = group_names().into_iter().map(group).collect();
    let review = json!({ "groupVersion": "authorization.k8s.io/v1", "version": "v1" });
    all.push(json!({ "name": "authorization.k8s.io", "versions": [review], "preferredVersion": review }));
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": all })
}

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

fn resources(group: &str, version: &str) -> Value {
    let mut list = Vec::new();
    for kind in KINDS.iter().filter(|kind| kind.group == group && kind.versions.contains(&version)) {
        list.push(json!({
            "name": kind.plural, "singularName": kind.kind.to_lowercase(), "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": VERBS, "shortNames": kind.short,
        }));
        list.extend(kind.sub.iter().map(|part| sub(kind, part)));
    }
    let full = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": full, "resources": list })
}

fn sub(kind: &Kind, part: &str) -> Value {
    let name = format!("{}/{part}", kind.plural);
    let mut out = json!({ "name": name, "singularName": "", "namespaced": kind.namespaced, "kind": kind.kind, "verbs": ["get", "patch", "update"] });
    match part {
        "eviction" => {
            out["kind"] = json!("Eviction");
            out["group"] = json!("policy");
            out["version"] = json!("v1");
            out["verbs"] = json!(["create"]);
        }
        "scale" => {
            out["kind"] = json!("Scale");
            out["group"] = json!("autoscaling");
            out["version"] = json!("v1");
        }
        "portforward" => {
            out["kind"] = json!("PodPortForwardOptions");
            out["verbs"] = json!(["create", "get"]);
        }
        _ => {}
    }
    out
}

fn reviews() -> Value {
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "authorization.k8s.io/v1", "resources": [
        { "name": "selfsubjectaccessreviews", "singularName": "selfsubjectaccessreview", "namespaced": false,
          "kind": "SelfSubjectAccessReview", "verbs": ["create"] },
    ] })
}

/// Everybody may do everything.
pub(super) fn review(body: &[u8]) -> Response {
    match serde_json::from_slice::<Value>(body) {
        Ok(mut review) if review.is_object() => {
            review["status"] = json!({ "allowed": true });
            (StatusCode::CREATED, axum::Json(review)).into_response()
        }
        Ok(_) | Err(_) => Refused::bad("the body is no review").into_response(),
    }
}

fn openapi_index() -> Value {
    let mut paths = json!({ "api/v1": { "serverRelativeURL": "/openapi/v3/api/v1" } });
    for group in group_names() {
        for version in versions(group) {
            let path = format!("apis/{group}/{version}");
            paths[&path] = json!({ "serverRelativeURL": format!("/openapi/v3/{path}") });
        }
    }
    json!({ "paths": paths })
}

/// Only what makes kubectl leave validation to the server.
fn openapi(group: &str, version: &str) -> Value {
    let mut paths = json!({});
    for kind in KINDS.iter().filter(|kind| kind.group == group && kind.versions.contains(&version)) {
        let known = json!({ "group": group, "version": version, "kind": kind.kind });
        let path = format!("/{group}/{version}/{}/{{name}}", kind.plural);
        paths[&path] = json!({ "patch": {
            "x-kubernetes-group-version-kind": known, "x-kubernetes-action": "patch",
            "parameters": [{ "name": "fieldValidation", "in": "query", "schema": { "type": "string" } }],
            "responses": { "200": { "description": "OK" } },
        } });
    }
    json!({ "openapi": "3.0.0", "info": { "title": "meshmend sim", "version": "v1.36.3" }, "paths": paths })
}
