//! Facts about a pod, its proxy, and what they belong to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ManagedBy;

/// The pod of the subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodFacts {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid: a replacement of the same name is another pod.
    pub uid: String,
    /// Node it runs on; empty while it is not scheduled.
    pub node: String,
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// `Always`, `OnFailure` or `Never`.
    pub restart_policy: String,
    /// Top owner; the pod itself where nobody owns it.
    pub owner: OwnerFacts,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Whether the pod is ready.
    pub ready: bool,
    /// Whether all containers but the proxy are ready.
    pub others_ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Seconds since it was created.
    pub age_s: u64,
}

/// Who owns a pod in the end: the Deployment, not its ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerFacts {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, another controller's kind, or `Pod`.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// Where a proxy stands with its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncState {
    /// Everything sent was acknowledged.
    Synced,
    /// Something sent was not acknowledged for longer than a push takes.
    Stale,
    /// The proxy rejected its configuration and runs on the last one it took.
    Rejected,
    /// No replica of the control plane knows it.
    Disconnected,
}

/// The proxy container of the pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyFacts {
    /// `istio`, `linkerd` or `envoy`.
    pub mesh: String,
    /// Name of the container.
    pub container: String,
    /// Id of the container that runs now; empty while none does.
    pub container_id: String,
    /// Whether it is a native sidecar (an init container that is restarted always).
    pub native: bool,
    /// Version, as the control plane or the image says; empty when nobody does.
    pub version: String,
    /// Whether the container is ready.
    pub ready: bool,
    /// Restarts of the container so far.
    pub restarts: u32,
    /// Seconds since the container was started again; absent when it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_restart_s: Option<u64>,
    /// Whether it answered when this inspection asked it.
    pub answering: bool,
    /// Where it stands with its configuration: `sync_state` in playbooks, because `sync` is a word that Rhai
    /// keeps for itself.
    #[serde(rename = "sync_state")]
    pub sync: SyncState,
    /// Whether it rejects its configuration: a restart would lose the last good one.
    pub rejected: bool,
    /// Seconds for which it has been stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_s: Option<u64>,
    /// Its words about the configuration it rejects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// The control plane of a proxy's revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlPlaneFacts {
    /// `istio` or `linkerd`.
    pub mesh: String,
    /// Revision, `default` where none is named.
    pub revision: String,
    /// Namespace of its Deployment.
    pub namespace: String,
    /// Name of its Deployment.
    pub name: String,
    /// Replicas wanted.
    pub replicas: u32,
    /// Replicas ready.
    pub ready_replicas: u32,
    /// Version; empty when nobody says.
    pub version: String,
}

/// The top owner of the pod, where it is a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadFacts {
    /// `Deployment`, `StatefulSet` or `DaemonSet`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// `metadata.generation`. A scale raises it as well.
    pub generation: u64,
    /// kubectl's annotation of the last restart on its template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<String>,
    /// Replicas wanted.
    pub replicas: u32,
    /// Replicas ready.
    pub ready: u32,
    /// Whether a rollout is under way.
    pub updating: bool,
    /// Seconds since its template was changed last, as far as its objects say.
    pub age_of_change_s: u64,
    /// Tool that owns it.
    pub managed_by: ManagedBy,
}

/// The disruption budget that selects the pod. Several of them make the fact unreadable: the eviction API
/// refuses then for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetFacts {
    /// Name.
    pub name: String,
    /// Disruptions allowed now.
    pub disruptions_allowed: u32,
    /// Healthy pods now.
    pub current_healthy: u32,
    /// Healthy pods wanted at least.
    pub desired_healthy: u32,
    /// `unhealthyPodEvictionPolicy`: `IfHealthyBudget` or `AlwaysAllow`.
    pub unhealthy_policy: String,
}
