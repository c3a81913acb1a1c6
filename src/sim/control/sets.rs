//! Sets of pods: ReplicaSets keep a number, StatefulSets keep names, DaemonSets keep nodes.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Control, beside, hash, keys, leaves, letters, number, owned_by, owner, ready, text};
use crate::sim::store::{Key, Part, Parting, Store, Write};

const BY: &str = "kube-controller-manager";

/// The pods of a set that are not about to go.
fn pods(store: &Store, set: &Value, key: &Key, kind: &str) -> Vec<(Key, Value)> {
    let uid = text(set, "/metadata/uid");
    let ours = |pod: &Value| owner(pod, kind).is_some_and(|(_, of)| of == uid);
    let found = store.entries("pods", Some(&key.1)).filter(|(_, pod)| ours(pod) && !leaves(pod));
    found.map(|(key, pod)| (key.clone(), pod.clone())).collect()
}

fn make(store: &mut Store, set: &Value, pod: &Key, labels: &Value, node: Option<&str>, at: Timestamp) {
    let template = &set["spec"]["template"];
    let mut object = json!({
        "metadata": {
            "labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"],
            "ownerReferences": owned_by(set),
        },
        "spec": template["spec"], "status": { "phase": "Pending" },
    });
    if let (Some(labels), Some(Value::Object(all))) =
        (labels.as_object(), object.pointer_mut("/metadata/labels"))
    {
        all.extend(labels.clone());
    }
    if object["metadata"]["annotations"].is_null() {
        object["metadata"]["annotations"] = json!({});
    }
    if let Some(node) = node {
        object["spec"]["nodeName"] = json!(node);
    }
    store.create(pod.clone(), object, &Write::by(BY, at, Part::Main)).ok();
}

fn told(store: &mut Store, set: &Key, made: &Key, word: (&str, &str), at: Timestamp) {
    super::event(store, set, (word.0, &format!("{}: {}", word.1, made.2)), at);
}

pub(super) fn replica_sets(control: &mut Control, store: &mut Store, at: Timestamp) {
    for key in keys(store, "replicasets") {
        let Some(set) = store.get(&key).cloned() else { continue };
        let wanted = usize::try_from(number(&set, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
        let mut ours = pods(store, &set, &key, "ReplicaSet");
        for _ in ours.len()..wanted {
            let word = control.word(&key.2);
            let pod = beside("pods", &key, &format!("{}-{word}", key.2));
            make(store, &set, &pod, &json!({}), None, at);
            told(store, &key, &pod, ("SuccessfulCreate", "Created pod"), at);
        }
        // Pods that are not ready go first, then the youngest.
        ours.sort_by_key(|(_, pod)| {
            let born = text(pod, "/metadata/creationTimestamp").to_owned();
            (std::cmp::Reverse(ready(pod)), born)
        });
        for (pod, _) in ours.iter().skip(wanted) {
            store.delete(pod, at, Parting::default()).ok();
            told(store, &key, pod, ("SuccessfulDelete", "Deleted pod"), at);
        }
        report(store, &key, &set, "ReplicaSet", at);
    }
}

fn revision(set: &Value) -> String {
    letters(hash(0, &set["spec"]["template"].to_string()), 10)
}

fn is_of(pod: &Value, revision: &str) -> bool {
    pod.pointer("/metadata/labels/controller-revision-hash").and_then(Value::as_str) == Some(revision)
}

pub(super) fn stateful_sets(_control: &mut Control, store: &mut Store, at: Timestamp) {
    for key in keys(store, "statefulsets") {
        let Some(set) = store.get(&key).cloned() else { continue };
        let wanted = number(&set, "/spec/replicas").unwrap_or(1);
        let word = revision(&set);
        let mut all_up = true;
        for ordinal in 0..wanted {
            let pod = beside("pods", &key, &format!("{}-{ordinal}", key.2));
            match store.get(&pod) {
                Some(found) => all_up &= ready(found),
                // The next one is made once those before it are ready.
                None if all_up => {
                    make(store, &set, &pod, &json!({ "controller-revision-hash": word }), None, at);
                    told(store, &key, &pod, ("SuccessfulCreate", "create Pod"), at);
                    all_up = false;
                }
                None => {}
            }
        }
        let ours = pods(store, &set, &key, "StatefulSet");
        let ordinal = |key: &Key| key.2.rsplit('-').next().and_then(|text| text.parse::<i64>().ok());
        let surplus = ours
            .iter()
            .filter(|(pod, _)| ordinal(pod).is_none_or(|at| at >= wanted))
            .max_by_key(|(pod, _)| ordinal(pod));
        let stale = ours.iter().filter(|(_, pod)| !is_of(pod, &word)).max_by_key(|(pod, _)| ordinal(pod));
        if let Some((pod, _)) = surplus.or(stale.filter(|_| all_up)) {
            store.delete(pod, at, Parting::default()).ok();
        }
        report(store, &key, &set, "StatefulSet", at);
    }
}

pub(super) fn daemon_sets(control: &mut Control, store: &mut Store, at: Timestamp) {
    for key in keys(store, "daemonsets") {
        let Some(set) = store.get(&key).cloned() else { continue };
        let word = revision(&set);
        let ours = pods(store, &set, &key, "DaemonSet");
        let mut all_up = ours.iter().all(|(_, pod)| ready(pod));
        for node in keys(store, "nodes") {
            if !ours.iter().any(|(_, pod)| text(pod, "/spec/nodeName") == node.2) {
                let name = control.word(&key.2);
                let pod = beside("pods", &key, &format!("{}-{name}", key.2));
                make(store, &set, &pod, &json!({ "controller-revision-hash": word }), Some(&node.2), at);
                told(store, &key, &pod, ("SuccessfulCreate", "Created pod"), at);
                all_up = false;
            }
        }
        if let Some((pod, _)) = ours.iter().find(|(_, pod)| !is_of(pod, &word)).filter(|_| all_up) {
            store.delete(pod, at, Parting::default()).ok();
        }
        report_daemons(store, &key, &set, at);
    }
}

fn counts(store: &Store, key: &Key, set: &Value, kind: &str) -> (usize, usize, usize) {
    let ours = pods(store, set, key, kind);
    let word = revision(set);
    let up = ours.iter().filter(|(_, pod)| ready(pod)).count();
    (ours.len(), up, ours.iter().filter(|(_, pod)| is_of(pod, &word)).count())
}

fn report(store: &mut Store, key: &Key, set: &Value, kind: &str, at: Timestamp) {
    let (all, up, updated) = counts(store, key, set, kind);
    let generation = &set["metadata"]["generation"];
    let mut status = json!({ "replicas": all, "readyReplicas": up, "availableReplicas": up, "observedGeneration": generation });
    if kind == "StatefulSet" {
        status["updatedReplicas"] = json!(updated);
        status["updateRevision"] = json!(format!("{}-{}", key.2, revision(set)));
        if updated == all {
            status["currentRevision"] = status["updateRevision"].clone();
        }
    }
    store.report(key, &status, BY, at);
}

fn report_daemons(store: &mut Store, key: &Key, set: &Value, at: Timestamp) {
    let (all, up, updated) = counts(store, key, set, "DaemonSet");
    let nodes = keys(store, "nodes").len();
    let status = json!({
        "currentNumberScheduled": all, "desiredNumberScheduled": nodes, "numberReady": up, "numberAvailable": up,
        "numberMisscheduled": 0, "updatedNumberScheduled": updated, "observedGeneration": set["metadata"]["generation"],
    });
    store.report(key, &status, BY, at);
}
