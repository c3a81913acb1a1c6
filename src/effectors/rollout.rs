//! Rollout restart: all pods of a workload are replaced one after the other, as kubectl does it.

use serde_json::{Value, json};

use super::Effectors;
use super::act::Prepared;
use super::wire::{Expect, Kind, STRATEGIC_PATCH, Trouble, Write, condition, count, text};
use crate::cluster::RESTARTED_AT;
use crate::model::subject::Subject;

impl Effectors {
    pub(super) async fn prepare_rollout(
        &self,
        target: &Subject,
        uid: &str,
        generation: u64,
    ) -> Result<Prepared, Trouble> {
        if !matches!(target.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet") {
            return Ok(Prepared::Impossible(format!("{target} is no workload that can be rolled")));
        }
        let (Some(found), Some(kind)) = (self.wire.get(target).await?, Kind::of(target)) else {
            return Ok(Prepared::stale("the workload does not exist any more"));
        };
        if text(&found, "/metadata/uid") != uid {
            return Ok(Prepared::stale("it is another workload of the same name"));
        }
        if let Some(why) = cannot(target, &found) {
            return Ok(Prepared::Impossible(why));
        }
        let now = count(&found, "/metadata/generation");
        if now != generation {
            return Ok(Prepared::Stale(format!(
                "its spec was changed meanwhile: expected generation {generation}, found {now}"
            )));
        }
        if let Some(why) = rolling(target, &found) {
            return Ok(Prepared::Stale(format!("a rollout is under way: {why}")));
        }
        // To the second, as kubectl writes it.
        let at = self.clock.elsewhere().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut annotations = serde_json::Map::new();
        annotations.insert(RESTARTED_AT.to_owned(), json!(at));
        let body = json!({
            "metadata": { "resourceVersion": text(&found, "/metadata/resourceVersion") },
            "spec": { "template": { "metadata": { "annotations": annotations } } },
        });
        let field = format!("/spec/template/metadata/annotations/{}", RESTARTED_AT.replace('/', "~1"));
        let before = found.pointer(&field).and_then(Value::as_str).unwrap_or("none");
        Ok(Prepared::send(Write {
            media: STRATEGIC_PATCH,
            expect: Expect::Field(field, json!(at)),
            diff: format!(
                "restarts all pods of {target} by its own strategy\n-{RESTARTED_AT}: {before}\n+{RESTARTED_AT}: {at}\n"
            ),
            done: format!("rollout started at {at}"),
            ..Write::merge(kind, target, body)
        }))
    }
}

/// Why a new template would replace no pod, or not all of them.
fn cannot(target: &Subject, found: &Value) -> Option<String> {
    if !text(found, "/metadata/deletionTimestamp").is_empty() {
        return Some(format!("{target} is being deleted"));
    }
    if found["spec"]["paused"] == true {
        return Some(format!("{target} is paused, so nothing would be rolled; kubectl rollout resume first"));
    }
    if text(found, "/spec/updateStrategy/type") == "OnDelete" {
        return Some(format!("{target} replaces pods only when they are deleted (OnDelete)"));
    }
    let partition = count(found, "/spec/updateStrategy/rollingUpdate/partition");
    (partition > 0)
        .then(|| format!("{target} rolls only pods from number {partition} on (rollingUpdate.partition)"))
}

/// What is still to be done of the last rollout.
fn rolling(target: &Subject, found: &Value) -> Option<String> {
    let (generation, seen) =
        (count(found, "/metadata/generation"), count(found, "/status/observedGeneration"));
    if seen < generation {
        return Some(format!("its controller has seen generation {seen} of {generation}"));
    }
    let status = |key: &str| count(found, &format!("/status/{key}"));
    let (updated, wanted) = if target.kind == "DaemonSet" {
        (status("updatedNumberScheduled"), status("desiredNumberScheduled"))
    } else {
        (status("updatedReplicas"), found["spec"]["replicas"].as_u64().unwrap_or(1))
    };
    if updated < wanted {
        return Some(format!("{updated} of {wanted} pods are of the new template"));
    }
    if target.kind == "Deployment" {
        let old = status("replicas").saturating_sub(updated);
        if old > 0 {
            return Some(format!("{old} pods of an old template are left"));
        }
        let reason = condition(found, "Progressing").map(|found| text(found, "/reason"));
        // Once a rollout is complete the reason stays so, however ill the pods are later.
        if let Some(reason) = reason.filter(|reason| *reason != "NewReplicaSetAvailable") {
            return Some(format!("its last rollout did not finish ({reason})"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(reason: &str, replicas: u64, updated: u64) -> Value {
        json!({
            "metadata": { "generation": 3 }, "spec": { "replicas": 2 },
            "status": {
                "observedGeneration": 3, "replicas": replicas, "updatedReplicas": updated,
                "conditions": [{ "type": "Progressing", "status": "True", "reason": reason }],
            },
        })
    }

    // Mutations: leaving any of the signs of a rollout out; taking ill pods of a finished one for one.
    #[test]
    fn a_rollout_under_way_is_seen_and_ill_pods_are_none() {
        let of = |kind: &str| Subject::new("apps", kind, "shop", "cart");
        let target = of("Deployment");
        let done = "NewReplicaSetAvailable";
        assert_eq!(rolling(&target, &deployment(done, 2, 2)), None);
        assert!(rolling(&target, &deployment(done, 2, 1)).is_some());
        assert!(rolling(&target, &deployment(done, 3, 2)).is_some());
        assert!(rolling(&target, &deployment("ProgressDeadlineExceeded", 2, 2)).is_some());
        let mut unseen = deployment(done, 2, 2);
        unseen["status"]["observedGeneration"] = json!(2);
        assert!(rolling(&target, &unseen).is_some());
        let daemons = |updated: u64| {
            json!({ "metadata": { "generation": 1 }, "status": {
                "observedGeneration": 1, "updatedNumberScheduled": updated, "desiredNumberScheduled": 3,
            } })
        };
        assert_eq!(rolling(&of("DaemonSet"), &daemons(3)), None);
        assert!(rolling(&of("DaemonSet"), &daemons(2)).is_some());
        let sets = json!({ "metadata": { "generation": 1 }, "spec": { "replicas": 2 },
            "status": { "observedGeneration": 1, "updatedReplicas": 2 } });
        assert_eq!(rolling(&of("StatefulSet"), &sets), None);
    }

    #[test]
    fn what_would_not_replace_all_pods_is_refused() {
        let target = Subject::new("apps", "StatefulSet", "shop", "cart");
        assert_eq!(cannot(&target, &json!({ "spec": {} })), None);
        // Mutation: leaving any of them out starts a rollout that never comes.
        for spec in [
            json!({ "paused": true }),
            json!({ "updateStrategy": { "type": "OnDelete" } }),
            json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } } }),
        ] {
            assert!(cannot(&target, &json!({ "spec": spec })).is_some(), "{spec}");
        }
    }
}
