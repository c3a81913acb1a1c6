//! A control plane goes down whose fifty proxies have not taken its last change: that is one illness, and
//! none of the proxies is restarted for it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use meshmend::clock::Clock;
use meshmend::cluster::{ByPortForward, Call, PodPort, ProxyTransport as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::shop::{POLICY, SHOP, between, istiod, open, restart_sidecar};
use crate::agent::Agent;
use crate::ground::{Duty, Ground, MESH_SOURCES, SOON, Workload};
use crate::kubelet::Process;
use crate::table::Row;
use crate::wait::{same, until};

/// Deployments of ten pods each: all of them at once would take longer than one may take to be ready.
const CROWDS: [&str; 5] = ["a", "b", "c", "d", "e"];
const ALL: usize = 50;
/// A proxy is told stale after five minutes; fifty of them are asked in turn.
const STALE: Duration = Duration::from_secs(360);

/// Mutations that break it: `cause::explains` that explains nothing, or only what comes later; a proxy that is
/// told stale before a playbook may act on it, and whose case is over when its cause is known; no storm.
pub(crate) async fn is_explained(ground: &Ground) -> anyhow::Result<()> {
    let begun = Instant::now();
    let crowds = CROWDS.map(|name| Workload::new(SHOP, name, "v1", 10));
    open(ground, &crowds).await?;
    ground.report("fifty meshed pods ready", begun.elapsed())?;
    let playbooks = [restart_sidecar()?];
    let duty =
        Duty { namespace: SHOP, playbooks: &playbooks, policy: POLICY, sources: MESH_SOURCES, server: None };
    let home = ground.agent(&duty).await?;
    let agent = home.start_ready().await?;
    let envoys = fall_behind(ground).await?;
    let begun = Instant::now();
    until("fifty proxies are stale", STALE, async || {
        Ok((of(&agent, "data_plane.proxy_stale").await?.len() == ALL).then_some(()))
    })
    .await?;
    ground.report("fifty stale proxies told", begun.elapsed())?;

    let istiod = istiod(ground).await?;
    istiod.iter().try_for_each(Process::freeze)?;
    let at = Clock::wall();
    let cause = until("fifty symptoms are attached", SOON, async || {
        let down = of(&agent, "control_plane.down").await?;
        Ok(down.into_iter().find(|down| down["explains"] == json!(ALL)))
    })
    .await?;
    same("its subject", &cause["subject"]["name"], &json!("istiod"))?;
    let incidents = agent.incidents().await?;
    same("incidents in all", &incidents.len(), &(ALL + 1))?;
    let explained = incidents.iter().filter(|incident| incident["cause"] == cause["id"]).count();
    same("that name their cause", &explained, &ALL)?;

    istiod.iter().try_for_each(Process::thaw)?;
    until("the control plane is back", SOON, async || {
        let waiting = of(&agent, "data_plane.proxy_stale").await?;
        Ok(waiting.iter().all(|incident| incident["cause"].is_null()).then_some(()))
    })
    .await?;
    envoys.iter().try_for_each(Process::thaw)?;
    over(&agent).await?;
    same("port-forwards to agents of proxies", &ground.forwards(15_020)?, &0)?;
    same("writes to the API server", &ground.writes()?, &Vec::new())?;
    let detected = Some(between(at, &cause["opened_at"])?);
    let fault = "istiod down, 50 proxies stale";
    ground.row(&Row { fault, detected, acted: None, recovered: None, lost: None, writes: 0 })?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// All incidents of a symptom.
async fn of(agent: &Agent<'_>, symptom: &str) -> anyhow::Result<Vec<Value>> {
    Ok(agent.incidents().await?.into_iter().filter(|incident| incident["symptom"] == symptom).collect())
}

/// All Envoys are frozen, and then a route changes for all of them.
async fn fall_behind(ground: &Ground) -> anyhow::Result<Vec<Process>> {
    let mut envoys = Vec::new();
    for pod in ground.pods(SHOP, "").await? {
        envoys.push(ground.kubelet.envoy(SHOP, &pod.metadata.name.unwrap_or_default())?);
    }
    same("Envoys", &envoys.len(), &ALL)?;
    in_step(ground).await?;
    envoys.iter().try_for_each(Process::freeze)?;
    ground
        .apply_object(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": { "name": "a", "namespace": SHOP },
            "spec": { "hosts": ["a"], "http": [{ "route": [{ "destination": { "host": "a" } }], "timeout": "3s" }] },
        }))
        .await?;
    Ok(envoys)
}

/// Waits until istiod itself says that every proxy has taken all that it was sent.
async fn in_step(ground: &Ground) -> anyhow::Result<()> {
    let pods = ground.pods("istio-system", "app=istiod").await?;
    let name = pods.first().and_then(|pod| pod.metadata.name.clone()).context("istiod has a pod")?;
    let near = ByPortForward::new(ground.client());
    let at = PodPort { namespace: "istio-system".to_owned(), pod: name, ip: None, port: 15_014 };
    let call = Call { max_body: 1 << 20, ..Call::get("/debug/syncz", Duration::from_secs(5)) };
    until("all are in step", SOON, async || {
        let answer = near.ask(&at, &call).await.map_err(|error| anyhow::anyhow!("syncz: {error}"))?;
        let all: Vec<Value> = serde_json::from_slice(&answer.1)?;
        let taken = |resource: &Value| resource["sent"] == resource["acked"] && resource["sent"].is_string();
        let synced = |proxy: &&Value| {
            proxy["resources"].as_object().is_some_and(|all| !all.is_empty() && all.values().all(taken))
        };
        Ok((all.iter().filter(synced).count() == ALL).then_some(()))
    })
    .await
}

/// The thawed proxies take what they were sent, and that is the end of it.
async fn over(agent: &Agent<'_>) -> anyhow::Result<()> {
    until("all are in step again", SOON, async || {
        let stale = of(agent, "data_plane.proxy_stale").await?;
        let (phases, code) = ("resolved", "signal_resolved");
        let over = |incident: &&Value| {
            let last = incident["reasons"].as_array().and_then(|all| all.last());
            incident["phase"] == phases && last.is_some_and(|last| last["reason"]["code"] == code)
        };
        Ok((stale.iter().filter(over).count() == ALL).then_some(()))
    })
    .await
}
