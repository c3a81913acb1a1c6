//! Pods as the API server writes them, as far as they are read.

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use serde::Deserialize;
use serde_json::Value;

use super::ContainerState;
use crate::cluster::names::Names;
use crate::cluster::quantity::quantity;
use crate::cluster::slim::{Condition, Slim, SlimKind, list};

/// A pod as it is read.
pub type PodObject = Slim<PodKind>;

/// Pods.
#[derive(Clone, Debug)]
pub struct PodKind;

impl SlimKind for PodKind {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Pod";
    const PLURAL: &'static str = "pods";
    type Scope = NamespaceResourceScope;
    type Spec = PodSpec;
    type Status = PodStatus;
}

/// What is read of a pod's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub(in crate::cluster) node_name: String,
    pub(in crate::cluster) restart_policy: String,
    #[serde(deserialize_with = "list")]
    pub(in crate::cluster) containers: Vec<Container>,
    #[serde(deserialize_with = "list")]
    pub(in crate::cluster) init_containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::cluster) struct Container {
    pub(in crate::cluster) name: String,
    pub(in crate::cluster) image: String,
    restart_policy: Option<String>,
    resources: Option<Resources>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    limits: Option<Amounts>,
    requests: Option<Amounts>,
}

/// Quantities: texts, but for whole numbers in objects that were never at an API server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Amounts {
    cpu: Value,
    memory: Value,
}

impl Container {
    /// Thousandths of a core; one that is no quantity sets no limit.
    pub(in crate::cluster) fn cpu_limit_m(&self) -> Option<u32> {
        let limits = self.resources.as_ref()?.limits.as_ref()?;
        whole(amount(&limits.cpu)? * 1000.0).and_then(|thousandths| u32::try_from(thousandths).ok())
    }

    /// Bytes: the limit, and the request.
    pub(in crate::cluster) fn memory(&self) -> (Option<u64>, Option<u64>) {
        let Some(resources) = &self.resources else { return (None, None) };
        let bytes = |amounts: &Option<Amounts>| whole(amount(&amounts.as_ref()?.memory)?);
        (bytes(&resources.limits), bytes(&resources.requests))
    }

    pub(in crate::cluster) fn is_native(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

fn amount(written: &Value) -> Option<f64> {
    match written {
        Value::String(text) => quantity(text).ok(),
        Value::Number(number) => number.as_f64(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A number of thousandths or bytes, rounded up.
fn whole(number: f64) -> Option<u64> {
    // Fifteen digits are exact in a double, and are a thousand terabytes.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is looked at")]
    (0.0..1e15).contains(&number).then(|| number.ceil() as u64)
}

/// What is read of a pod's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    pub(in crate::cluster) phase: String,
    #[serde(rename = "podIP")]
    pub(in crate::cluster) pod_ip: Option<String>,
    #[serde(deserialize_with = "list")]
    pub(in crate::cluster) conditions: Vec<Condition>,
    #[serde(deserialize_with = "list")]
    pub(in crate::cluster) container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "list")]
    pub(in crate::cluster) init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::cluster) struct ContainerStatus {
    pub(in crate::cluster) name: String,
    pub(in crate::cluster) ready: bool,
    pub(in crate::cluster) restart_count: u32,
    #[serde(rename = "containerID")]
    pub(in crate::cluster) container_id: Option<String>,
    pub(in crate::cluster) state: StateWritten,
    pub(in crate::cluster) last_state: StateWritten,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct StateWritten {
    waiting: Option<Waiting>,
    running: Option<Running>,
    pub(in crate::cluster) terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct Waiting {
    pub(in crate::cluster) reason: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::cluster) struct Running {
    started_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::cluster) struct Terminated {
    pub(in crate::cluster) reason: String,
    pub(in crate::cluster) exit_code: i32,
    pub(in crate::cluster) finished_at: Option<Timestamp>,
}

impl StateWritten {
    pub(in crate::cluster) fn read(&self, names: &mut Names) -> ContainerState {
        match (&self.running, &self.waiting, &self.terminated) {
            (Some(running), _, _) => ContainerState::Running(running.started_at),
            (None, Some(waiting), _) => ContainerState::Waiting(names.text(&waiting.reason)),
            (None, None, Some(ended)) => ContainerState::Terminated(names.text(&ended.reason)),
            (None, None, None) => ContainerState::Unknown,
        }
    }
}
