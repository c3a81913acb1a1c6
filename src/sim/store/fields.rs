//! Who owns which field: `managedFields`, and server-side apply on top of it.
//!
//! A list is one field here, whatever its schema says; the real server tells entries of some lists apart.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Part, Write, meta, second};
use crate::model::merge::merged;
use crate::sim::refused::Refused;

/// The way to a field.
type Path = Vec<String>;

/// Metadata that belongs to the server.
const OURS: [&str; 10] = [
    "uid",
    "name",
    "namespace",
    "creationTimestamp",
    "generation",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "generateName",
];

/// The fields of an object that are not maps themselves, with their values.
fn leaves<'v>(object: &'v Value, path: &mut Path, out: &mut Vec<(Path, &'v Value)>) {
    match object {
        Value::Object(map) if !map.is_empty() || path.is_empty() => {
            for (key, value) in map {
                let top = path.is_empty() && (key == "apiVersion" || key == "kind");
                let meta = path.len() == 1 && path[0] == "metadata" && OURS.contains(&key.as_str());
                if !top && !meta {
                    path.push(key.clone());
                    leaves(value, path, out);
                    path.pop();
                }
            }
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            out.push((path.clone(), object));
        }
    }
}

fn all_leaves(object: &Value) -> Vec<(Path, &Value)> {
    let mut out = Vec::new();
    leaves(object, &mut Vec::new(), &mut out);
    out
}

fn at<'v>(object: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(object, |inner, key| inner.get(key))
}

fn tree(paths: &BTreeSet<Path>) -> Value {
    let mut out = Map::new();
    for path in paths {
        let mut inner = &mut out;
        for key in path {
            let next = inner.entry(format!("f:{key}")).or_insert_with(|| json!({}));
            let Value::Object(next) = next else { unreachable!("only maps are put in") };
            inner = next;
        }
    }
    Value::Object(out)
}

fn paths(tree: &Value) -> BTreeSet<Path> {
    fn walk(tree: &Value, path: &mut Path, out: &mut BTreeSet<Path>) {
        let fields: Vec<(&str, &Value)> = tree
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(key, inner)| Some((key.strip_prefix("f:")?, inner)))
            .collect();
        if fields.is_empty() && !path.is_empty() {
            out.insert(path.clone());
        }
        for (key, inner) in fields {
            path.push(key.to_owned());
            walk(inner, path, out);
            path.pop();
        }
    }
    let mut out = BTreeSet::new();
    walk(tree, &mut Vec::new(), &mut out);
    out
}

struct Entry {
    head: Value,
    fields: BTreeSet<Path>,
}

fn entries(object: &Value) -> Vec<Entry> {
    let known = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let read = |entry: &Value| {
        let mut head = entry.clone();
        if let Some(map) = head.as_object_mut() {
            map.remove("fieldsV1");
        }
        Entry { head, fields: entry.get("fieldsV1").map(paths).unwrap_or_default() }
    };
    known.into_iter().flatten().map(read).collect()
}

fn is(entry: &Entry, write: &Write<'_>) -> bool {
    let operation = if write.applied.is_some() { "Apply" } else { "Update" };
    let part = if write.part == Part::Status { Some("status") } else { None };
    let text = |field: &str| entry.head.get(field).and_then(Value::as_str);
    text("manager") == Some(write.manager)
        && text("operation") == Some(operation)
        && text("subresource") == part
}

/// Notes in the new object who owns what it changed.
pub(super) fn sign(old: &Value, object: &mut Value, write: &Write<'_>) {
    let now = all_leaves(object);
    let gone = all_leaves(old).into_iter().map(|(path, _)| path).filter(|path| at(object, path).is_none());
    let gone: BTreeSet<Path> = gone.collect();
    let owned: BTreeSet<Path> = match write.applied {
        Some(applied) => all_leaves(applied).into_iter().map(|(path, _)| path).collect(),
        None => now
            .iter()
            .filter(|(path, value)| at(old, path) != Some(*value))
            .map(|(path, _)| path.clone())
            .collect(),
    };
    let changed: BTreeSet<Path> =
        now.iter().filter(|(path, value)| at(old, path) != Some(*value)).map(|(p, _)| p.clone()).collect();
    let mut known = entries(old);
    for entry in &mut known {
        let ours = is(entry, write);
        let before = entry.fields.len();
        entry.fields.retain(|path| !gone.contains(path) && (ours || !changed.contains(path)));
        if ours && write.applied.is_some() {
            entry.fields.clone_from(&owned);
        } else if ours {
            entry.fields.extend(owned.iter().cloned());
        }
        if ours && (entry.fields.len() != before || !changed.is_empty()) {
            entry.head["time"] = json!(second(write.at));
        }
    }
    if !owned.is_empty() && !known.iter().any(|entry| is(entry, write)) {
        let mut head = json!({
            "manager": write.manager, "operation": if write.applied.is_some() { "Apply" } else { "Update" },
            "apiVersion": object.get("apiVersion"), "time": second(write.at), "fieldsType": "FieldsV1",
        });
        if write.part == Part::Status {
            head["subresource"] = json!("status");
        }
        known.push(Entry { head, fields: owned });
    }
    let kept = known.into_iter().filter(|entry| !entry.fields.is_empty()).map(|entry| {
        let mut whole = entry.head;
        whole["fieldsV1"] = tree(&entry.fields);
        whole
    });
    let kept: Vec<Value> = kept.collect();
    meta(object).insert("managedFields".to_owned(), Value::Array(kept));
}

/// Server-side apply: the new object, or the managers it conflicts with.
pub(in crate::sim) fn apply(
    old: &Value,
    applied: &Value,
    write: &Write<'_>,
    force: Force,
) -> Result<Value, Refused> {
    let wanted = all_leaves(applied);
    let known = entries(old);
    if force == Force::No {
        let mut conflicts = Vec::new();
        for (path, value) in &wanted {
            let differs = at(old, path).is_some_and(|found| found != *value);
            let others = known.iter().filter(|entry| !is(entry, write) && entry.fields.contains(path));
            conflicts.extend(others.filter(|_| differs).map(|entry| (entry, path)));
        }
        if !conflicts.is_empty() {
            return Err(conflict(&conflicts));
        }
    }
    let mut out = merged(old, applied);
    let mine = known.iter().find(|entry| is(entry, write));
    for path in mine.into_iter().flat_map(|entry| &entry.fields) {
        let theirs = known.iter().any(|entry| !is(entry, write) && entry.fields.contains(path));
        if at(applied, path).is_none() && !theirs {
            take_out(&mut out, path);
        }
    }
    Ok(out)
}

/// Whether an apply takes fields away from other managers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Force {
    No,
    Yes,
}

fn take_out(object: &mut Value, path: &[String]) {
    let Some((last, above)) = path.split_last() else { return };
    let inner = above.iter().try_fold(object, |inner, key| inner.get_mut(key));
    if let Some(Value::Object(map)) = inner {
        map.remove(last);
    }
}

fn conflict(conflicts: &[(&Entry, &Path)]) -> Refused {
    let told: Vec<(String, String)> = conflicts
        .iter()
        .map(|(entry, path)| {
            let text = |field: &str| entry.head.get(field).and_then(Value::as_str).unwrap_or_default();
            let who = format!("conflict with {:?} using {}", text("manager"), text("apiVersion"));
            (who, format!(".{}", path.join(".")))
        })
        .collect();
    let causes: Vec<Value> = told
        .iter()
        .map(|(who, field)| json!({ "reason": "FieldManagerConflict", "message": who, "field": field }))
        .collect();
    let message = match told.as_slice() {
        [(who, field)] => format!("Apply failed with 1 conflict: {who}: {field}"),
        many => {
            let lines: Vec<String> = many.iter().map(|(who, field)| format!("{who}: {field}")).collect();
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    Refused::new(409, "Conflict", message).detailed(json!({ "causes": causes }))
}
