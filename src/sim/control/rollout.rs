//! Deployments: one ReplicaSet a template, and a rollout that puts one more pod up before it takes one
//! away (surge 1, none unavailable, whatever the strategy says).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{beside, hash, keys, letters, number, owned_by, owner, ready, text};
use crate::sim::store::{Key, Part, Store, Write};

const BY: &str = "kube-controller-manager";

pub(super) fn deployments(store: &mut Store, at: Timestamp) {
    for key in keys(store, "deployments") {
        let Some(deployment) = store.get(&key).cloned() else { continue };
        let current = current_set(store, &key, &deployment, at);
        balance(store, &key, &deployment, &current, at);
        report(store, &key, &deployment, &current, at);
    }
}

/// The ReplicaSet of the template as it is; made when there is none.
fn current_set(store: &mut Store, key: &Key, deployment: &Value, at: Timestamp) -> Key {
    let template = &deployment["spec"]["template"];
    let word = letters(hash(0, &template.to_string()), 10);
    let set = beside("replicasets", key, &format!("{}-{word}", key.2));
    if store.get(&set).is_none() {
        let revision = sets(store, key, deployment).len() + 1;
        let mut object = json!({
            "metadata": {
                "labels": template["metadata"]["labels"],
                "annotations": { "deployment.kubernetes.io/revision": revision.to_string() },
                "ownerReferences": owned_by(deployment),
            },
            "spec": { "replicas": 0, "selector": deployment["spec"]["selector"], "template": template },
        });
        for pointer in ["/metadata/labels", "/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
            if let Some(Value::Object(labels)) = object.pointer_mut(pointer) {
                labels.insert("pod-template-hash".to_owned(), json!(word));
            }
        }
        store.create(set.clone(), object, &Write::by(BY, at, Part::Main)).ok();
        let note = json!({ "metadata": { "annotations": { "deployment.kubernetes.io/revision": revision.to_string() } } });
        store.edit(key, &note, BY, at);
    }
    set
}

/// The ReplicaSets of a Deployment.
fn sets(store: &Store, key: &Key, deployment: &Value) -> Vec<Key> {
    let uid = text(deployment, "/metadata/uid");
    let owned = |set: &Value| owner(set, "Deployment").is_some_and(|(_, of)| of == uid);
    let found = store.entries("replicasets", Some(&key.1)).filter(|(_, set)| owned(set));
    found.map(|(key, _)| key.clone()).collect()
}

/// What a ReplicaSet wants, and how many of its pods are ready.
fn figures(store: &Store, set: &Key) -> (i64, i64) {
    let Some(object) = store.get(set) else { return (0, 0) };
    let uid = text(object, "/metadata/uid");
    let pods = store.list("pods", Some(&set.1));
    let ours = pods.filter(|pod| owner(pod, "ReplicaSet").is_some_and(|(_, of)| of == uid));
    let up = ours.filter(|pod| ready(pod)).count();
    (number(object, "/spec/replicas").unwrap_or(0), i64::try_from(up).unwrap_or(i64::MAX))
}

fn balance(store: &mut Store, key: &Key, deployment: &Value, current: &Key, at: Timestamp) {
    let wanted = number(deployment, "/spec/replicas").unwrap_or(1);
    let scale = |store: &mut Store, set: &Key, to: i64| {
        store.edit(set, &json!({ "spec": { "replicas": to } }), BY, at);
        let told = format!("Scaled replica set {} to {to}", set.2);
        super::event(store, key, ("ScalingReplicaSet", &told), at);
    };
    let old: Vec<Key> = sets(store, key, deployment).into_iter().filter(|set| set != current).collect();
    let (new_replicas, new_ready) = figures(store, current);
    let of_old: Vec<(Key, i64, i64)> = old
        .into_iter()
        .map(|set| {
            let (replicas, up) = figures(store, &set);
            (set, replicas, up)
        })
        .collect();
    let old_replicas: i64 = of_old.iter().map(|(_, replicas, _)| replicas).sum();
    let room = if old_replicas == 0 { wanted } else { wanted + 1 - old_replicas };
    let to = room.clamp(0, wanted);
    if to > new_replicas || new_replicas > wanted {
        scale(store, current, if to > new_replicas { to } else { wanted });
        return;
    }
    // Pods that are not ready go first: nobody misses them.
    let up = new_ready + of_old.iter().map(|(_, _, up)| up).sum::<i64>();
    let mut spare = (old_replicas + new_replicas - wanted - (new_replicas - new_ready)).max(0);
    for (set, replicas, ready) in of_old.iter().filter(|(_, replicas, _)| *replicas > 0) {
        let down = (replicas - ready).max(0);
        let gone = if down > 0 { down.min(spare) } else { (up - wanted).clamp(0, *replicas).min(spare) };
        if gone > 0 {
            scale(store, set, replicas - gone);
            spare -= gone;
        }
    }
}

fn report(store: &mut Store, key: &Key, deployment: &Value, current: &Key, at: Timestamp) {
    let wanted = number(deployment, "/spec/replicas").unwrap_or(1);
    let (mut replicas, mut up) = (0, 0);
    for set in sets(store, key, deployment) {
        let (of, ready) = figures(store, &set);
        replicas += of;
        up += ready;
    }
    let (updated, updated_up) = figures(store, current);
    let zero = |count: i64| if count == 0 { Value::Null } else { json!(count) };
    let available = up >= wanted;
    let done = updated_up >= wanted && replicas == wanted;
    let progress = if done { "NewReplicaSetAvailable" } else { "ReplicaSetUpdated" };
    let enough = if available { "MinimumReplicasAvailable" } else { "MinimumReplicasUnavailable" };
    let status = json!({
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": zero(replicas), "updatedReplicas": zero(updated), "readyReplicas": zero(up),
        "availableReplicas": zero(up), "unavailableReplicas": zero((wanted - up).max(0)),
        "conditions": [
            condition(deployment, ("Available", available), enough, at),
            condition(deployment, ("Progressing", true), progress, at),
        ],
    });
    store.report(key, &status, BY, at);
}

/// A condition, with the time of its last change kept.
fn condition(object: &Value, (kind, is): (&str, bool), reason: &str, at: Timestamp) -> Value {
    let status = if is { "True" } else { "False" };
    let known = object.pointer("/status/conditions").and_then(Value::as_array);
    let known = known.into_iter().flatten().find(|condition| condition["type"] == kind);
    let kept = known.filter(|known| known["status"] == status && known["reason"] == reason);
    kept.cloned().unwrap_or_else(|| {
        let time = crate::sim::store::second(at);
        json!({ "type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": time, "lastUpdateTime": time })
    })
}
