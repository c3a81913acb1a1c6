//! Workloads as they are kept: Deployments, StatefulSets and DaemonSets, and who owns a ReplicaSet.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::names::{Labels, Names, label};
use super::pods::{Container, Controller, tag};
use super::slim::{Slim, SlimKind, list};
use crate::model::subject::Subject;

/// API group of workloads.
pub(super) const APPS: &str = "apps";

/// A Deployment, StatefulSet or DaemonSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Kind.
    pub kind: &'static str,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Box<str>,
    /// Uid.
    pub uid: Box<str>,
    /// Labels.
    pub labels: Labels,
    /// `metadata.generation`.
    pub generation: u64,
    /// Replicas wanted.
    pub replicas: u32,
    /// Replicas ready.
    pub ready: u32,
    /// Whether a rollout is under way.
    pub updating: bool,
    /// Image of its first container.
    pub image: Arc<str>,
    /// Limit of the memory of its first container, in bytes; nothing where none is set.
    pub memory_limit: Option<u64>,
    /// Its request, likewise.
    pub memory_request: Option<u64>,
}

impl Workload {
    /// Itself.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject::new(APPS, self.kind, &self.namespace, &self.name)
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        label(&self.labels, key)
    }

    /// Version of its image's tag; empty when there is none.
    #[must_use]
    pub fn version(&self) -> &str {
        tag(&self.image)
    }

    pub(super) fn of<K: WorkloadKind>(object: &Slim<K>, names: &mut Names) -> Self {
        let (meta, spec, status) = (&object.metadata, &object.spec, &object.status);
        let (replicas, ready) = K::replicas(spec, status);
        let told = status.observed_generation.unwrap_or(0) >= meta.generation.unwrap_or(0);
        let first = spec.template.spec.containers.first();
        let image = first.map_or("", |container| &container.image);
        let (memory_limit, memory_request) = first.map(Container::memory).unwrap_or_default();
        Self {
            kind: K::KIND,
            namespace: names.text(meta.namespace.as_deref().unwrap_or_default()),
            name: Box::from(meta.name.as_deref().unwrap_or_default()),
            uid: Box::from(meta.uid.as_deref().unwrap_or_default()),
            labels: names.labels(meta.labels.as_ref()),
            generation: meta.generation.and_then(|known| u64::try_from(known).ok()).unwrap_or(0),
            replicas,
            ready,
            updating: !told || K::rolls(spec, status),
            image: names.text(image),
            memory_limit,
            memory_request,
        }
    }
}

/// Who controls a ReplicaSet; nothing else of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplicaSet {
    /// Its controller, a Deployment as a rule.
    pub controller: Option<Controller>,
}

impl ReplicaSet {
    pub(super) fn of(meta: &ObjectMeta, names: &mut Names) -> Self {
        Self { controller: Controller::of(meta, names) }
    }
}

/// What differs between the kinds of workloads.
pub(super) trait WorkloadKind: SlimKind<Spec = WorkloadSpec, Status = WorkloadStatus> {
    /// Replicas wanted and ready.
    fn replicas(spec: &WorkloadSpec, status: &WorkloadStatus) -> (u32, u32) {
        (spec.replicas.unwrap_or(1), status.ready_replicas)
    }

    /// Whether a rollout is under way. Pods that are not ready do not make one: they may be why we look.
    fn rolls(spec: &WorkloadSpec, status: &WorkloadStatus) -> bool;
}

/// Deployments.
#[derive(Clone, Debug)]
pub(super) struct DeploymentKind;

impl WorkloadKind for DeploymentKind {
    fn rolls(spec: &WorkloadSpec, status: &WorkloadStatus) -> bool {
        status.updated_replicas < spec.replicas.unwrap_or(1) || status.replicas > status.updated_replicas
    }
}

/// StatefulSets.
#[derive(Clone, Debug)]
pub(super) struct StatefulSetKind;

impl WorkloadKind for StatefulSetKind {
    fn rolls(spec: &WorkloadSpec, status: &WorkloadStatus) -> bool {
        let held_back = spec.update_strategy.rolling_update.partition;
        let wanted = spec.replicas.unwrap_or(1).saturating_sub(held_back);
        status.current_revision != status.update_revision && status.updated_replicas < wanted
    }
}

/// DaemonSets.
#[derive(Clone, Debug)]
pub(super) struct DaemonSetKind;

impl WorkloadKind for DaemonSetKind {
    fn replicas(_: &WorkloadSpec, status: &WorkloadStatus) -> (u32, u32) {
        (status.desired_number_scheduled, status.number_ready)
    }

    fn rolls(_: &WorkloadSpec, status: &WorkloadStatus) -> bool {
        status.updated_number_scheduled < status.desired_number_scheduled
    }
}

/// The three kinds differ in their names only.
macro_rules! slim_workload {
    ($kind:ty, $name:literal, $plural:literal) => {
        impl SlimKind for $kind {
            const GROUP: &'static str = APPS;
            const VERSION: &'static str = "v1";
            const KIND: &'static str = $name;
            const PLURAL: &'static str = $plural;
            type Scope = NamespaceResourceScope;
            type Spec = WorkloadSpec;
            type Status = WorkloadStatus;
        }
    };
}

slim_workload!(DeploymentKind, "Deployment", "deployments");
slim_workload!(StatefulSetKind, "StatefulSet", "statefulsets");
slim_workload!(DaemonSetKind, "DaemonSet", "daemonsets");

/// What is read of a workload's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WorkloadSpec {
    replicas: Option<u32>,
    template: Template,
    update_strategy: UpdateStrategy,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    spec: TemplateSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateSpec {
    #[serde(deserialize_with = "list")]
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct UpdateStrategy {
    rolling_update: RollingUpdate,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RollingUpdate {
    partition: u32,
}

/// What is read of a workload's status: fields of all three kinds, each fills its own.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WorkloadStatus {
    observed_generation: Option<i64>,
    replicas: u32,
    ready_replicas: u32,
    updated_replicas: u32,
    current_revision: String,
    update_revision: String,
    desired_number_scheduled: u32,
    number_ready: u32,
    updated_number_scheduled: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const RECORDED: &str = include_str!("../../tests/recorded/deployment.json");

    fn read<K: WorkloadKind>(value: &Value) -> Workload {
        Workload::of::<K>(&serde_json::from_value(value.clone()).unwrap(), &mut Names::default())
    }

    #[test]
    fn a_recorded_deployment_is_whole() {
        let found = read::<DeploymentKind>(&serde_json::from_str(RECORDED).unwrap());
        assert_eq!(found.subject(), Subject::new("apps", "Deployment", "shop", "server-v1"));
        assert_eq!((found.replicas, found.ready, found.generation, found.updating), (1, 1, 1, false));
        assert_eq!((found.label("app"), found.version()), (Some("server"), "v1"));
    }

    // Mutations: believing a status of an older generation; taking a pod that is not ready for a rollout;
    // not looking at old replicas that are still there.
    #[test]
    fn a_rollout_is_seen_and_an_ill_pod_is_none() {
        let mut object: Value = serde_json::from_str(RECORDED).unwrap();
        object["status"]["readyReplicas"] = json!(0);
        object["status"]["availableReplicas"] = json!(0);
        let ill = read::<DeploymentKind>(&object);
        assert!(!ill.updating && ill.ready == 0);
        for (path, value) in
            [("/status/observedGeneration", 0), ("/status/updatedReplicas", 0), ("/status/replicas", 2)]
        {
            let mut object = object.clone();
            *object.pointer_mut(path).unwrap() = json!(value);
            assert!(read::<DeploymentKind>(&object).updating, "{path}");
        }
    }

    // Mutation: forgetting the partition makes a StatefulSet that is held back on purpose a rollout for ever.
    #[test]
    fn stateful_and_daemon_sets_count_in_their_own_fields() {
        let stateful = |updated| {
            read::<StatefulSetKind>(&json!({
                "metadata": { "name": "db", "namespace": "shop", "generation": 2 },
                "spec": { "replicas": 3, "updateStrategy": { "rollingUpdate": { "partition": 2 } } },
                "status": {
                    "observedGeneration": 2, "readyReplicas": 3, "replicas": 3, "updatedReplicas": updated,
                    "currentRevision": "db-1", "updateRevision": "db-2",
                },
            }))
        };
        assert!(stateful(0).updating && !stateful(1).updating);
        let daemon = read::<DaemonSetKind>(&json!({
            "metadata": { "name": "d", "namespace": "shop", "generation": 1 },
            "status": {
                "observedGeneration": 1, "desiredNumberScheduled": 5, "numberReady": 4, "updatedNumberScheduled": 5,
            },
        }));
        assert_eq!((daemon.replicas, daemon.ready, daemon.updating), (5, 4, false));
    }
}
