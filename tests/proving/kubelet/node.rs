//! Nodes: they are registered once, and say that they live by leases and statuses.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use meshmend::clock::Clock;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::status::seconds;
use super::{NODE_ADDRESS, NODES, awake};
use crate::control_plane::apply;
use crate::wait::until;

/// A kubelet renews every 10 s; ours is quicker, as everything here is.
const BEAT: Duration = Duration::from_secs(3);
/// An API server that hangs is asked again.
const PATIENCE: Duration = Duration::from_secs(5);
/// The API server makes the namespace of leases within seconds of its start.
const START: Duration = Duration::from_secs(60);

/// Registers all nodes.
pub(super) async fn register(client: &kube::Client, port: u16) -> anyhow::Result<()> {
    for name in NODES {
        let labels = json!({ "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" });
        let node =
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels } });
        apply(client, node).await?;
        let room = json!({ "cpu": "64", "memory": "64Gi", "pods": "250", "ephemeral-storage": "100Gi" });
        let mut status = json!({
            "addresses": [
                { "type": "InternalIP", "address": NODE_ADDRESS }, { "type": "Hostname", "address": name },
            ],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
            "capacity": room, "allocatable": room,
            "nodeInfo": {
                "architecture": "amd64", "bootID": name, "containerRuntimeVersion": "containerd://proving",
                "kernelVersion": "6", "kubeProxyVersion": "", "kubeletVersion": "v1.36.3", "machineID": name,
                "operatingSystem": "linux", "osImage": "proving ground", "systemUUID": name,
            },
        });
        status["conditions"] = conditions();
        patch_status(client, name, &status).await?;
        // Admission gives it to every new node. The controller that takes it away looks once a second.
        let nodes: Api<Node> = Api::all(client.clone());
        let free = Patch::Merge(json!({ "spec": { "taints": null } }));
        nodes.patch(name, &PatchParams::default(), &free).await?;
        until("a node has a lease", START, async || Ok(renew(client, name).await.ok())).await?;
    }
    Ok(())
}

/// Says for ever that all nodes live.
pub(super) async fn beat(client: kube::Client, mut speaks: watch::Receiver<bool>) {
    loop {
        awake(&mut speaks).await;
        for name in NODES {
            let beat = async {
                renew(&client, name).await?;
                patch_status(&client, name, &json!({ "conditions": conditions() })).await
            };
            match tokio::time::timeout(PATIENCE, beat).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    crate::say(&format!("kubelet: {name} could not say that it lives: {error:#}"))
                }
                Err(_) => crate::say(&format!("kubelet: {name} could not say that it lives in time")),
            }
        }
        tokio::time::sleep(BEAT).await;
    }
}

fn conditions() -> Value {
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": "", "lastHeartbeatTime": seconds(Clock::wall()),
        })
    };
    json!([
        condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID"),
        condition("Ready", "True", "KubeletReady"),
    ])
}

async fn patch_status(client: &kube::Client, name: &str, status: &Value) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    // By types of conditions: the times of their changes stay.
    let patch = Patch::Strategic(json!({ "status": status }));
    nodes.patch_status(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn renew(client: &kube::Client, name: &str) -> anyhow::Result<()> {
    let now = Clock::wall().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": name, "namespace": "kube-node-lease" },
        "spec": { "holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now },
    });
    apply(client, lease).await.map(|_| ())
}
