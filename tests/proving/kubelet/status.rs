//! The status of a pod, as the API server is told.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use meshmend::clock::Clock;
use serde_json::{Map, Value, json};

use super::NODE_ADDRESS;
use super::container::{Container, Doing, Ended, State};

/// A time with the precision that Kubernetes writes.
pub(super) fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What was said last of each condition, and since when.
#[derive(Default)]
pub(super) struct Said(Mutex<BTreeMap<&'static str, (bool, String)>>);

impl Said {
    fn condition(&self, kind: &'static str, holds: bool) -> Value {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = || seconds(Clock::wall());
        let known = said.entry(kind).or_insert_with(|| (holds, now()));
        if known.0 != holds {
            *known = (holds, now());
        }
        let mut condition = json!({
            "type": kind, "status": if holds { "True" } else { "False" }, "lastTransitionTime": known.1,
        });
        if !holds {
            condition["reason"] = json!("ContainersNotReady");
        }
        condition
    }
}

/// The whole of a pod's status.
pub(super) fn of_pod(
    (init, main): (&[std::sync::Arc<Container>], &[std::sync::Arc<Container>]),
    (ip, since): (String, Timestamp),
    said: &Said,
) -> Value {
    let initialized = init.iter().all(|container| passed(container));
    let states: Vec<State> = main.iter().map(|container| container.state()).collect();
    let sidecars = init.iter().filter(|container| is_sidecar(container));
    let rest = sidecars.clone().any(|one| one.main_process().is_some());
    let failed = init.iter().any(|one| one.state().done && !is_sidecar(one) && !passed(one));
    let ready = states.iter().all(|state| state.ready) && sidecars.clone().all(|one| one.state().ready);
    let phase = if failed { "Failed" } else { phase(&states, &Sides { initialized, rest }) };
    let ready = ready && phase == "Running";
    let list = |all: &[std::sync::Arc<Container>]| -> Vec<Value> {
        all.iter().map(|container| of_container(container)).collect()
    };
    json!({
        "phase": phase, "podIP": ip, "podIPs": [{ "ip": ip }],
        "hostIP": NODE_ADDRESS, "hostIPs": [{ "ip": NODE_ADDRESS }],
        "startTime": seconds(since), "qosClass": "BestEffort",
        "conditions": [
            said.condition("PodScheduled", true), said.condition("Initialized", initialized),
            said.condition("ContainersReady", ready), said.condition("Ready", ready),
        ],
        "initContainerStatuses": list(init), "containerStatuses": list(main),
    })
}

/// A native sidecar.
pub(super) fn is_sidecar(container: &Container) -> bool {
    container.spec.restart_policy.as_deref() == Some("Always")
}

/// Whether the next container may start.
pub(super) fn passed(container: &Container) -> bool {
    let state = container.state();
    match state.doing {
        Doing::Terminated(ended) if !is_sidecar(container) => ended.code == 0,
        Doing::Running { .. } => is_sidecar(container) && state.started,
        Doing::Terminated(_) => true,
        Doing::Waiting(_) => state.restarts > 0 && is_sidecar(container),
    }
}

/// What the init containers have come to.
struct Sides {
    initialized: bool,
    /// A native sidecar still runs.
    rest: bool,
}

/// While a native sidecar is left, its pod has not ended.
fn phase(states: &[State], sides: &Sides) -> &'static str {
    let began = states.iter().any(|state| !matches!(state.doing, Doing::Waiting("PodInitializing")));
    if !sides.initialized && !began {
        return "Pending";
    }
    if !sides.rest && states.iter().all(|state| state.done) {
        let well = |state: &State| matches!(&state.doing, Doing::Terminated(ended) if ended.code == 0);
        return if states.iter().all(well) { "Succeeded" } else { "Failed" };
    }
    if began { "Running" } else { "Pending" }
}

fn of_container(container: &Container) -> Value {
    let state = container.state();
    let image = container.spec.image.clone().unwrap_or_default();
    let (now, id) = match &state.doing {
        Doing::Waiting(reason) => {
            let id = state.last.as_ref().map(|ended| ended.id.clone());
            (json!({ "waiting": { "reason": reason } }), id)
        }
        Doing::Running { id, since, .. } => {
            (json!({ "running": { "startedAt": seconds(*since) } }), Some(id.clone()))
        }
        Doing::Terminated(ended) => (json!({ "terminated": terminated(ended) }), Some(ended.id.clone())),
    };
    let mut told = json!({
        "name": container.spec.name, "image": image, "imageID": image, "restartCount": state.restarts,
        "started": state.started, "ready": state.ready, "state": now,
        "lastState": state.last.as_ref().map_or_else(|| Value::Object(Map::new()), |ended| {
            json!({ "terminated": terminated(ended) })
        }),
    });
    if let Some(id) = id {
        told["containerID"] = json!(id);
    }
    told
}

fn terminated(ended: &Ended) -> Value {
    let mut told = json!({
        "exitCode": ended.code, "reason": if ended.code == 0 { "Completed" } else { "Error" },
        "startedAt": seconds(ended.since), "finishedAt": seconds(ended.at), "containerID": ended.id,
    });
    if let Some(signal) = ended.signal {
        told["signal"] = json!(signal);
    }
    told
}
