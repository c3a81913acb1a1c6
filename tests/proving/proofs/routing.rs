//! What proofs of bad routes have in common: a server in two versions, of which the second answers 500, the
//! route that leads to the first, steady traffic, and an agent that has seen the route carry it well.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use meshmend::clock::Clock;
use serde_json::{Value, json};

use crate::agent::{Agent, Home, ROLL_BACK};
use crate::ground::{Duty, Ground, MESH_SOURCES, SOON, Workload};
use crate::traffic::Load;
use crate::wait::until;

/// The namespace.
pub(crate) const SHOP: &str = "shop";
/// The host that clients ask for.
pub(crate) const HOST: &str = "server.shop.svc.cluster.local";
/// The route.
pub(crate) const ROUTE: (&str, &str, &str, &str) =
    (SHOP, "networking.istio.io/v1", "VirtualService", "server");
/// The rule that defines the subsets.
pub(crate) const RULE: (&str, &str, &str, &str) =
    (SHOP, "networking.istio.io/v1", "DestinationRule", "server");
/// Requests a second: in ten seconds enough to tell a share of one in a thousand.
pub(crate) const RATE: u32 = 100;
/// The whole of an incident: ten seconds until it is a symptom, the act, and the proof that it helped.
pub(crate) const LONG: Duration = Duration::from_secs(120);
/// Half of the requests go to the second version.
pub(crate) const HALF: [(&str, u32); 2] = [("v1", 50), ("v2", 50)];
/// All of them to the first.
pub(crate) const GOOD: [(&str, u32); 1] = [("v1", 100)];

/// The agent may roll back and shed in the namespace. Two attempts, whatever else is allowed.
pub(crate) const POLICY: &str = r#"apiVersion: meshmend.dev/v1alpha1
kind: Policy
metadata: { name: test }
spec:
  scope: { namespaces: ["shop"], actions: ["rollback_route", "shed_load"] }
  mode: enforce
  limits: [ { per: target, acts: 10, window: 1h } ]
  cooldown: 1s
  attempts: { max: 2, refill: 1h }
"#;

/// Starts the mesh, both versions, a client and Prometheus. There is no route yet.
pub(crate) async fn stage(ground: &Ground) -> anyhow::Result<()> {
    ground.istiod().await?;
    let mut bad = Workload::new(SHOP, "server", "v2", 1);
    bad.env = &[("APP_STATUS", "500")];
    let all = [Workload::new(SHOP, "server", "v1", 2), bad, Workload::new(SHOP, "client", "v1", 1)];
    for workload in &all {
        ground.deploy(workload).await?;
    }
    let subset = |name: &str| json!({ "name": name, "labels": { "version": name } });
    ground
        .apply_object(object(RULE, &json!({ "host": "server", "subsets": [subset("v1"), subset("v2")] })))
        .await?;
    for workload in &all {
        ground.ready(SHOP, &workload.name()).await?;
    }
    ground.prometheus(&json!([])).await.map(|_| ())
}

/// An object with a spec.
pub(crate) fn object((namespace, version, kind, name): (&str, &str, &str, &str), spec: &Value) -> Value {
    json!({
        "apiVersion": version, "kind": kind, "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    })
}

/// The spec of the route with these weights.
pub(crate) fn leading(weights: &[(&str, u32)]) -> Value {
    let to = |(subset, weight): &(&str, u32)| json!({ "destination": { "host": "server", "subset": subset }, "weight": weight });
    json!({ "hosts": ["server"], "http": [{ "route": weights.iter().map(to).collect::<Vec<_>>() }] })
}

/// Traffic of the client, once it is led to the first version alone: before the route is with the client's
/// proxy, requests go to both.
pub(crate) async fn traffic(ground: &Ground) -> anyhow::Result<Load> {
    let load = ground.load((SHOP, "app=client"), HOST, RATE).await?;
    until("two seconds without a bad answer", SOON, async || {
        let (now, window) = (load.now(), Duration::from_secs(2));
        let Some(from) = now.checked_sub(window) else { return Ok(None) };
        Ok((load.ledger().within(from..now).bad() == 0).then_some(()))
    })
    .await?;
    Ok(load)
}

/// An agent with the shipped playbook of routes, its waits shortened.
pub(crate) async fn home(ground: &Ground) -> anyhow::Result<Home> {
    let playbooks = [(
        "roll-back-virtual-service",
        shorter(
            ROLL_BACK,
            &[("soak: \"5s\", within: \"2m\", hold: \"30s\"", "soak: \"1s\", within: \"15s\", hold: \"6s\"")],
        )?,
    )];
    let duty =
        Duty { namespace: SHOP, playbooks: &playbooks, policy: POLICY, sources: MESH_SOURCES, server: None };
    ground.agent(&duty).await
}

/// A shipped text with other waits.
pub(crate) fn shorter(text: &str, waits: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut text = text.to_owned();
    for (shipped, quick) in waits {
        ensure!(text.contains(shipped), "the shipped playbook does not say {shipped}");
        text = text.replace(shipped, quick);
    }
    Ok(text)
}

/// Waits until the revision in force has been proven by traffic. Nobody blesses it.
pub(crate) async fn proven(ground: &Ground, agent: &Agent<'_>) -> anyhow::Result<()> {
    let good = until("the route is proven good", SOON, async || {
        let route = agent.history(ROUTE.3).await?;
        let revisions = route["revisions"].as_array().cloned().unwrap_or_default();
        let in_force = revisions.into_iter().find(|revision| revision["spec_hash"] == route["in_force"]);
        Ok(in_force.filter(|revision| revision["standing"]["standing"] == "good"))
    })
    .await?;
    let proof = &good["standing"]["proof"];
    ensure!(proof["kind"] == "traffic", "it was proven by {proof}");
    ground.note(&format!("proven good by {} requests", proof["requests"]))
}

/// The moment of a fault, by the wall clock and by the ledger of a load.
pub(crate) struct Moment {
    wall: Timestamp,
    /// In the ledger.
    pub(crate) load: Duration,
}

impl Moment {
    /// Now.
    pub(crate) fn now(load: &Load) -> Self {
        Self { wall: Clock::wall(), load: load.now() }
    }

    /// How long after it something was that a JSON text names the time of.
    pub(crate) fn until(&self, time: &Value) -> anyhow::Result<Duration> {
        let at: Timestamp = time.as_str().context("a time is a text")?.parse()?;
        Ok(at.duration_since(self.wall).try_into().unwrap_or_default())
    }
}

/// When the API server took these requests, after the fault.
pub(crate) fn taken(fault: &Moment, writes: &[Value]) -> anyhow::Result<Vec<Duration>> {
    let mut all: Vec<Duration> = writes
        .iter()
        .map(|write| fault.until(&write["requestReceivedTimestamp"]))
        .collect::<anyhow::Result<_>>()?;
    all.sort();
    Ok(all)
}

/// What an object is beside the server's own account of its writes.
pub(crate) fn essence(object: &Value) -> Value {
    let mut rest = object.clone();
    if let Some(meta) = rest["metadata"].as_object_mut() {
        meta.retain(|key, _| !["managedFields", "resourceVersion", "generation"].contains(&key.as_str()));
    }
    rest
}

/// All reasons of an incident, one after the other.
pub(crate) fn reasons(incident: &Value) -> String {
    let all = incident["reasons"].as_array().into_iter().flatten();
    all.map(|timed| timed["reason"].to_string()).collect::<Vec<_>>().join(" ")
}
