//! A frozen Envoy takes connections and answers nobody, and the kubelet may go on calling its pod ready for a
//! minute. The agent finds it before that, and when it looks only later, and restarts that container alone.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::shop::{Frozen, POLICY, SHOP, is_ready, open, restart_sidecar};
use crate::agent::Agent;
use crate::ground::{Duty, Ground, MESH_SOURCES, SOON, Sidecar, Workload};
use crate::table::Row;
use crate::traffic::Ledger;
use crate::wait::{same, until};

const HOST: &str = "server.shop.svc.cluster.local";
/// From the incident to the proof that it is over.
const LONG: Duration = Duration::from_secs(120);

/// Under load, one of three; then, while no agent looks, one whose pod turns NotReady and one that is a native
/// sidecar.
///
/// Mutations that break it: a playbook that evicts (the uid); a check that passes over pods that are not
/// ready; one that believes the readiness of the pod; a quit to the whole pod (the other container's id); an
/// act by a write to the API server.
pub(crate) async fn is_restarted(ground: &Ground) -> anyhow::Result<()> {
    let server = Workload::new(SHOP, "server", "v1", 3);
    let client = Workload::new(SHOP, "client", "v1", 1);
    let mut brisk = Workload::new(SHOP, "brisk", "v1", 1);
    brisk.readiness = (1, 1);
    let mut native = Workload::new(SHOP, "native", "v1", 1);
    native.sidecar = Sidecar::Native;
    open(ground, &[server, client, brisk, native]).await?;
    let playbooks = [restart_sidecar()?];
    let duty =
        Duty { namespace: SHOP, playbooks: &playbooks, policy: POLICY, sources: MESH_SOURCES, server: None };
    let home = ground.agent(&duty).await?;
    let agent = home.start_ready().await?;
    ground.settled(SHOP, "").await?;
    under_load(ground, &agent).await?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");

    let brisk = Frozen::first(ground, "app=brisk").await?;
    until("the pod is not ready any more", SOON, async || {
        let pods = ground.pods(SHOP, "app=brisk").await?;
        Ok((!pods.iter().all(is_ready)).then_some(()))
    })
    .await?;
    let native = Frozen::first(ground, "app=native").await?;
    let agent = home.start_ready().await?;
    let found = healed(ground, &agent, &brisk).await?;
    same("what the kubelet said of it", &found["findings"]["facts"]["pod"]["ready"], &json!(false))?;
    row(ground, "Envoy frozen, its pod NotReady", (&brisk, &found), None)?;
    let found = healed(ground, &agent, &native).await?;
    row(ground, "Envoy frozen, native sidecar", (&native, &found), None)?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// The kubelet would have noticed after a minute, and then restarted nothing.
async fn under_load(ground: &Ground, agent: &Agent<'_>) -> anyhow::Result<()> {
    let load = ground.load((SHOP, "app=client"), HOST, 50).await?;
    until("100 requests", SOON, async || Ok((load.ledger().count() >= 100).then_some(()))).await?;
    let since = load.now();
    let frozen = Frozen::first(ground, "app=server").await?;
    agent.incident_about(("data_plane.proxy_hung", SHOP, &frozen.name), SOON).await?;
    let pod: Pod = serde_json::from_value(ground.read((SHOP, "v1", "Pod", &frozen.name)).await?)?;
    ensure!(is_ready(&pod), "it turned NotReady before it was found");
    let found = healed(ground, agent, &frozen).await?;
    same("what the kubelet said of it", &found["findings"]["facts"]["pod"]["ready"], &json!(true))?;
    let enough = load.ledger().count() + 100;
    until("100 more requests", SOON, async || Ok((load.ledger().count() >= enough).then_some(()))).await?;
    let ledger = load.stop().await?;
    same("bad answers before", &ledger.within(Duration::ZERO..since).bad(), &0)?;
    let last = ledger.last_bad().context("a frozen proxy loses requests")?.saturating_sub(since);
    ground.note(&format!("{} of {} requests lost, the last after {last:?}", ledger.bad(), ledger.count()))?;
    for server in ground.pods(SHOP, "app=server").await? {
        let statuses = server.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let restarts: i32 = statuses.iter().map(|status| status.restart_count).sum();
        let expected = i32::from(server.metadata.name.as_deref() == Some(&frozen.name));
        same("restarts of containers in all", &restarts, &expected)?;
    }
    row(ground, "Envoy frozen under load", (&frozen, &found), Some((&ledger, last)))
}

/// Waits until it is over, and looks at the pod. The answer is the incident.
async fn healed(ground: &Ground, agent: &Agent<'_>, frozen: &Frozen) -> anyhow::Result<Value> {
    let found = agent.incident_about(("data_plane.proxy_hung", SHOP, &frozen.name), SOON).await?;
    let id = found["id"].as_str().context("an incident has an id")?;
    let ended = agent.phase(id, "resolved", LONG).await?;
    same("the playbook", &ended["plan"]["playbook"], &json!("restart-sidecar"))?;
    same("acts", &ended["attempts"], &json!(1))?;
    frozen.only_its_proxy_is_new(ground).await?;
    same("state of its Envoy", &(ground.kubelet.envoy(SHOP, &frozen.name)?.state == 'T'), &false)?;
    Ok(ended)
}

type Traffic<'l> = Option<(&'l Ledger, Duration)>;

fn row(
    ground: &Ground,
    fault: &'static str,
    (frozen, ended): (&Frozen, &Value),
    traffic: Traffic<'_>,
) -> anyhow::Result<()> {
    let quit = ground.last_forward(&frozen.name, 15_020)?.context("its agent was not asked to quit")?;
    let (detected, acted) = (frozen.until(&ended["opened_at"])?, frozen.until(&quit)?);
    let recovered = match traffic {
        Some((_, last)) => last,
        None => frozen.until(&ended["phase_since"])?,
    };
    same("writes to the API server", &ground.writes()?, &Vec::new())?;
    let (detected, acted, recovered) = (Some(detected), Some(acted), Some(recovered));
    let lost = traffic.map(|(ledger, _)| ledger.bad());
    ground.row(&Row { fault, detected, acted, recovered, lost, writes: 0 })
}
