//! The shop that proofs break: what an agent may do in it, what became of its pods' containers, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use meshmend::clock::Clock;
use serde_json::{Value, json};

use super::routing::object;
use crate::ground::{Ground, Workload};
use crate::kubelet::Process;

/// Its namespace.
pub(super) const SHOP: &str = "shop";
const RESTART: &str = include_str!("../../../playbooks/restart-sidecar.rhai");

/// An agent may replace proxies and pods in the namespace, as often as it takes.
pub(super) const POLICY: &str = r#"apiVersion: meshmend.dev/v1alpha1
kind: Policy
metadata: { name: test }
spec:
  scope: { namespaces: ["shop"], actions: ["restart_sidecar", "evict_pod"] }
  mode: enforce
  limits: [ { per: target, acts: 5, window: 1h } ]
  cooldown: 1s
  attempts: { max: 3, refill: 1h }
"#;

/// The shipped playbook with shorter waits.
pub(super) fn restart_sidecar() -> anyhow::Result<(&'static str, String)> {
    let (shipped, quick) =
        ("soak: \"10s\", within: \"2m\", hold: \"30s\"", "soak: \"1s\", within: \"40s\", hold: \"3s\"");
    ensure!(RESTART.contains(shipped), "the shipped playbook has other waits than {shipped}");
    Ok(("restart-sidecar", RESTART.replace(shipped, quick)))
}

/// Brings up istiod and these workloads.
pub(super) async fn open(ground: &Ground, workloads: &[Workload<'_>]) -> anyhow::Result<()> {
    ground.istiod().await?;
    for workload in workloads {
        ground.deploy(workload).await?;
    }
    for workload in workloads {
        ground.ready(SHOP, &workload.name()).await?;
    }
    Ok(())
}

/// A pod whose Envoy is frozen.
pub(super) struct Frozen {
    /// Its name.
    pub(super) name: String,
    /// The pod as it was before.
    pub(super) before: Pod,
    /// When.
    pub(super) at: Timestamp,
}

impl Frozen {
    /// Freezes the Envoy of the first pod with these labels.
    pub(super) async fn first(ground: &Ground, labels: &str) -> anyhow::Result<Self> {
        let pods = ground.pods(SHOP, labels).await?;
        let before = pods.into_iter().next().context("no pod has these labels")?;
        let name = before.metadata.name.clone().context("a pod has a name")?;
        ground.kubelet.envoy(SHOP, &name)?.freeze()?;
        Ok(Self { name, before, at: Clock::wall() })
    }

    /// How long after the freeze this was, by the time that somebody wrote down.
    pub(super) fn until(&self, written: &Value) -> anyhow::Result<Duration> {
        between(self.at, written)
    }

    /// Fails unless it is still the same pod, of whose containers only the proxy is another one.
    pub(super) async fn only_its_proxy_is_new(&self, ground: &Ground) -> anyhow::Result<()> {
        let (version, kind) = ("v1", "Pod");
        let now: Pod = serde_json::from_value(ground.read((SHOP, version, kind, &self.name)).await?)?;
        ensure!(now.metadata.uid == self.before.metadata.uid, "{} is another pod", self.name);
        let (was, is) = (containers(&self.before), containers(&now));
        ensure!(was.len() >= 2 && was.keys().eq(is.keys()), "its containers: {was:?}, {is:?}");
        for (name, (id, restarts)) in &was {
            let (now_id, now_restarts) = &is[name];
            let (again, same) = (now_restarts - restarts, id == now_id);
            let expected = if name == "istio-proxy" { (1, false) } else { (0, true) };
            ensure!((again, same) == expected, "{name} was restarted {again} times, the same: {same}");
        }
        Ok(())
    }
}

/// From a fault to a time that somebody wrote down.
pub(super) fn between(fault: Timestamp, written: &Value) -> anyhow::Result<Duration> {
    let text = written.as_str().with_context(|| format!("no time: {written}"))?;
    let after = text.parse::<Timestamp>()?.duration_since(fault);
    Duration::try_from(after).with_context(|| format!("{text} was before the fault"))
}

/// Processes of istiod.
pub(super) async fn istiod(ground: &Ground) -> anyhow::Result<Vec<Process>> {
    let pods = ground.pods("istio-system", "app=istiod").await?;
    let name = pods.first().and_then(|pod| pod.metadata.name.as_deref()).context("istiod has a pod")?;
    ground.kubelet.container("istio-system", name, "discovery")
}

/// The filter that a person adds.
pub(super) const FILTER: (&str, &str, &str, &str) =
    (SHOP, "networking.istio.io/v1alpha3", "EnvoyFilter", "broken");

/// A person adds a filter to the proxies of an app that they were not built with.
pub(super) async fn break_filter(ground: &Ground, app: &str) -> anyhow::Result<()> {
    let filter = json!({
        "name": "example.unregistered",
        "typed_config": {
            "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
            "type_url": "type.googleapis.com/example.Unregistered",
        },
    });
    let patch = json!({ "operation": "INSERT_BEFORE", "value": filter });
    let spec = json!({
        "workloadSelector": { "labels": { "app": app } },
        "configPatches": [{ "applyTo": "HTTP_FILTER", "patch": patch }],
    });
    ground.apply_object(object(FILTER, &spec)).await
}

/// Ids and restarts of a pod's containers.
fn containers(pod: &Pod) -> BTreeMap<String, (Option<String>, i32)> {
    let status = pod.status.clone().unwrap_or_default();
    let init = status.init_container_statuses.unwrap_or_default();
    let all = init.into_iter().chain(status.container_statuses.unwrap_or_default());
    all.map(|one| (one.name, (one.container_id, one.restart_count))).collect()
}

/// Whether a pod is ready.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
}

/// Why each playbook was not used, in the words of the incident.
pub(super) fn refusals(incident: &Value) -> BTreeMap<String, String> {
    let passed = incident["passed_over"].as_array().into_iter().flatten();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    passed.map(|passed| (word(&passed["playbook"]), passed["reason"].to_string())).collect()
}
