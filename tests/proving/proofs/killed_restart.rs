//! The agent is killed (-9) while it restarts a sidecar: drained, and not yet quit.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::time::Instant;

use super::routing::{SHOP, shorter};
use crate::ground::{Duty, Ground, SOON, Workload};
use crate::table::Row;
use crate::wait::{same, until};

const RESTART: &str = include_str!("../../../playbooks/restart-sidecar.rhai");
/// What is read back after a kill waits until the last permit has run out: 27 s; then there is the act, and
/// its probe.
const RECONCILED: Duration = Duration::from_secs(150);

const POLICY: &str = r#"apiVersion: meshmend.dev/v1alpha1
kind: Policy
metadata: { name: test }
spec:
  scope: { namespaces: ["shop"], actions: ["restart_sidecar"] }
  mode: enforce
  limits: [ { per: target, acts: 5, window: 1h } ]
  cooldown: 1s
  attempts: { max: 5, refill: 1h }
"#;

/// It dies after it has begun to talk to the agent of the proxy. After its restart it sees that the container
/// is still the one that hangs, and restarts it, once.
///
/// Mutations that break it: taking the intent for the deed (the proxy hangs on); going on with the quit of an
/// older step, whatever runs now (two restarts).
pub(crate) async fn halfway(ground: &Ground) -> anyhow::Result<()> {
    ground.istiod().await?;
    let server = Workload::new(SHOP, "server", "v1", 2);
    ground.deploy(&server).await?;
    ground.ready(SHOP, &server.name()).await?;
    let waits =
        [("soak: \"10s\", within: \"2m\", hold: \"30s\"", "soak: \"1s\", within: \"40s\", hold: \"3s\"")];
    let playbooks = [("restart-sidecar", shorter(RESTART, &waits)?)];
    let sources = "  proxies: { interval: 5s, via: pod_ip }\n  istiod: { interval: 5s }\n";
    let duty = Duty { namespace: SHOP, playbooks: &playbooks, policy: POLICY, sources, server: None };
    let home = ground.agent(&duty).await?;
    let agent = home.start_ready().await?;
    ground.settled(SHOP, "app=server").await?;
    let name = name(ground).await?;
    same("port-forwards so far", &ground.forwards(15_020)?, &0)?;
    let frozen = ground.kubelet.envoy(SHOP, &name)?;
    let begun = Instant::now();
    frozen.freeze()?;
    let found = agent.incident_about(("data_plane.proxy_hung", SHOP, &name), SOON).await?;
    let detected = begun.elapsed();
    let id = found["id"].as_str().context("an incident has an id")?;
    until("it talks to the agent of the proxy", SOON, async || {
        Ok((ground.forwards(15_020)? > 0).then_some(()))
    })
    .await?;
    agent.kill().await?;
    let acted = begun.elapsed();
    same("restarts so far", &restarts(&ground.pods(SHOP, "app=server").await?), &0)?;
    let agent = home.start_ready().await?;
    same("the phase after the restart", &agent.incident(id).await?["phase"], &json!("executing"))?;
    agent.phase(id, "resolved", RECONCILED).await?;
    let now = ground.kubelet.envoy(SHOP, &name)?;
    ensure!(now.pid != frozen.pid && now.state != 'T', "another Envoy runs: {now:?}");
    same("restarts in the end", &restarts(&ground.pods(SHOP, "app=server").await?), &1)?;
    same("writes to the API server", &ground.writes()?, &Vec::new())?;
    ground.row(&Row {
        fault: "agent killed in a restart of a sidecar",
        detected: Some(detected),
        acted: Some(acted),
        recovered: Some(begun.elapsed()),
        lost: None,
        writes: 0,
    })?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

async fn name(ground: &Ground) -> anyhow::Result<String> {
    let pods = ground.pods(SHOP, "app=server").await?;
    pods.into_iter().next().and_then(|pod| pod.metadata.name).context("the workload has a pod")
}

/// Restarts of all containers of these pods.
fn restarts(pods: &[Pod]) -> i32 {
    let all = pods.iter().filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref()).flatten();
    all.map(|status| status.restart_count).sum()
}
