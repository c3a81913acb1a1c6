//! The status of a pod as its kubelet writes it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::pods::{Container, Pod, Run};

fn time(second: i64) -> String {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX).to_string()
}

fn condition(kind: &str, is: bool, since: i64) -> Value {
    let mut condition = json!({
        "type": kind, "status": if is { "True" } else { "False" }, "lastProbeTime": null, "lastTransitionTime": time(since),
    });
    if !is {
        condition["reason"] = json!("ContainersNotReady");
        condition["message"] = json!("containers with unready status");
    }
    condition
}

fn ended(at: i64, crashed: bool) -> Value {
    let (code, reason) = if crashed { (1, "Error") } else { (0, "Completed") };
    json!({ "terminated": { "exitCode": code, "reason": reason, "finishedAt": time(at) } })
}

fn container(pod: &Pod, container: &Container, second: i64) -> Value {
    let (state, last) = match container.run {
        Run::Waiting => (json!({ "waiting": { "reason": "ContainerCreating" } }), json!({})),
        Run::Running(since) if container.restarts > 0 => {
            (json!({ "running": { "startedAt": time(since) } }), ended(since, false))
        }
        Run::Running(since) => (json!({ "running": { "startedAt": time(since) } }), json!({})),
        Run::Ended { at, .. } => (ended(at, false), json!({})),
        Run::Crashing { at, .. } => {
            let message = "back-off 5m0s restarting failed container";
            (json!({ "waiting": { "reason": "CrashLoopBackOff", "message": message } }), ended(at, true))
        }
    };
    let mut status = json!({
        "name": container.name, "image": container.image, "imageID": "", "restartCount": container.restarts,
        "ready": pod.passes(container, second), "started": container.running(), "state": state, "lastState": last,
    });
    if container.run != Run::Waiting {
        status["containerID"] = json!(container.id(&pod.uid));
    }
    status
}

/// The status now; it stays the same while nothing happens.
pub(super) fn of(pod: &Pod, second: i64) -> Value {
    let (ready, since) = pod.ready;
    let list = |native: bool| -> Vec<Value> {
        let ours = pod.containers.iter().filter(|container| container.native == native);
        ours.map(|one| container(pod, one, second)).collect()
    };
    let started = pod.started();
    let begun = if started { pod.starts } else { pod.bound };
    let mut status = json!({
        "phase": if started { "Running" } else { "Pending" },
        "conditions": [
            condition("PodReadyToStartContainers", started, begun),
            condition("Initialized", started, begun),
            condition("Ready", ready, since),
            condition("ContainersReady", ready, since),
            condition("PodScheduled", true, pod.bound),
        ],
        "containerStatuses": list(false), "hostIP": "10.244.0.1", "hostIPs": [{ "ip": "10.244.0.1" }],
        "podIP": pod.address, "podIPs": [{ "ip": pod.address }], "qosClass": "Burstable", "startTime": time(pod.bound),
    });
    let native = list(true);
    if !native.is_empty() {
        status["initContainerStatuses"] = json!(native);
    }
    status
}
