//! Tables, as `kubectl get` prints them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::request::Target;
use super::shape;
use crate::sim::control::{leaves, number, text};

/// Columns besides name and age.
fn columns(plural: &str) -> &'static [&'static str] {
    match plural {
        "pods" => &["Ready", "Status", "Restarts"],
        "deployments" => &["Ready", "Up-to-date", "Available"],
        "replicasets" => &["Desired", "Current", "Ready"],
        "nodes" => &["Status", "Version"],
        "services" => &["Type", "Port(s)"],
        "namespaces" => &["Status"],
        "poddisruptionbudgets" => &["Min Available", "Max Unavailable", "Allowed Disruptions"],
        "certificates" => &["Ready", "Secret", "Not After"],
        "virtualservices" | "destinationrules" => &["Hosts"],
        "events" => &["Type", "Reason", "Object", "Message"],
        _ => &[],
    }
}

/// A table of objects.
pub(super) fn of(target: &Target, objects: &[&Value], meta: &Value, now: Timestamp) -> Value {
    let names = ["Name"].into_iter().chain(columns(target.kind.plural).iter().copied()).chain(["Age"]);
    let definition = |name: &str| {
        let format = if name == "Name" { "name" } else { "" };
        json!({ "name": name, "type": "string", "format": format, "description": "", "priority": 0 })
    };
    let columns: Vec<Value> = names.map(definition).collect();
    let row = |object: &&Value| {
        let mut cells = vec![object["metadata"]["name"].clone()];
        cells.extend(cells_of(target.kind.plural, object).into_iter().map(Value::String));
        cells.push(json!(age(object, now)));
        json!({ "cells": cells, "object": shape::metadata(object) })
    };
    let rows: Vec<Value> = objects.iter().map(row).collect();
    json!({ "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": columns, "rows": rows })
}

/// An age in the largest unit that is not too coarse.
fn age(object: &Value, now: Timestamp) -> String {
    let born: Option<Timestamp> = text(object, "/metadata/creationTimestamp").parse().ok();
    let Some(born) = born else { return "<unknown>".to_owned() };
    let seconds = (now.as_second() - born.as_second()).max(0);
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn figure(object: &Value, pointer: &str) -> String {
    number(object, pointer).unwrap_or(0).to_string()
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text.to_owned() }
}

fn cells_of(plural: &str, object: &Value) -> Vec<String> {
    let count = |pointer: &str| figure(object, pointer);
    let word = |pointer: &str| or_none(text(object, pointer));
    match plural {
        "pods" => pod(object),
        "deployments" => {
            let ready = format!("{}/{}", count("/status/readyReplicas"), count("/spec/replicas"));
            vec![ready, count("/status/updatedReplicas"), count("/status/availableReplicas")]
        }
        "replicasets" => {
            vec![count("/spec/replicas"), count("/status/replicas"), count("/status/readyReplicas")]
        }
        "nodes" => {
            vec![condition(object, "Ready", ("Ready", "NotReady")), word("/status/nodeInfo/kubeletVersion")]
        }
        "services" => vec![word("/spec/type"), format!("{}/TCP", count("/spec/ports/0/port"))],
        "namespaces" => vec![word("/status/phase")],
        "poddisruptionbudgets" => {
            let of = |pointer: &str| {
                let value = object.pointer(pointer);
                value.map_or_else(
                    || "N/A".to_owned(),
                    |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned),
                )
            };
            vec![of("/spec/minAvailable"), of("/spec/maxUnavailable"), count("/status/disruptionsAllowed")]
        }
        "certificates" => {
            vec![
                condition(object, "Ready", ("True", "False")),
                word("/spec/secretName"),
                word("/status/notAfter"),
            ]
        }
        "virtualservices" => vec![object.pointer("/spec/hosts").map_or_else(String::new, Value::to_string)],
        "destinationrules" => vec![word("/spec/host")],
        "events" => {
            let of = format!(
                "{}/{}",
                text(object, "/involvedObject/kind").to_lowercase(),
                text(object, "/involvedObject/name")
            );
            vec![word("/type"), word("/reason"), of, word("/message")]
        }
        _ => Vec::new(),
    }
}

fn condition(object: &Value, kind: &str, (yes, no): (&str, &str)) -> String {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let is = conditions.into_iter().flatten().any(|c| c["type"] == kind && c["status"] == "True");
    if is { yes } else { no }.to_owned()
}

fn pod(object: &Value) -> Vec<String> {
    let native = object.pointer("/status/initContainerStatuses").and_then(Value::as_array);
    let plain = object.pointer("/status/containerStatuses").and_then(Value::as_array);
    let all: Vec<&Value> = native.into_iter().flatten().chain(plain.into_iter().flatten()).collect();
    let ready = all.iter().filter(|status| status["ready"] == true).count();
    let restarts: i64 = all.iter().filter_map(|status| number(status, "/restartCount")).sum();
    let waiting = all.iter().find_map(|status| status.pointer("/state/waiting/reason")?.as_str());
    let status = match (leaves(object), waiting) {
        (true, _) => "Terminating",
        (false, Some(reason)) => reason,
        (false, None) => text(object, "/status/phase"),
    };
    vec![format!("{ready}/{}", all.len()), status.to_owned(), restarts.to_string()]
}
