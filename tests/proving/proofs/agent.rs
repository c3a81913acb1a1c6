//! An agent on the ground: Prometheus finds all proxies, an alert arrives through Alertmanager, and a frozen
//! proxy is found and restarted, with no other rights than those that `meshmend rbac` prints.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::time::Instant;

use crate::ground::{Duty, Ground, MESH_SOURCES, SOON, Workload};
use crate::table::Row;
use crate::wait::{same, until};

const SHOP: &str = "shop";
const RESTART: &str = include_str!("../../../playbooks/restart-sidecar.rhai");
/// The whole of an incident, from the first missed check to the proof that it is over.
const LONG: Duration = Duration::from_secs(120);

/// An agent may restart sidecars in the namespace, as often as it takes.
const POLICY: &str = r#"apiVersion: meshmend.dev/v1alpha1
kind: Policy
metadata: { name: test }
spec:
  scope: { namespaces: ["shop"], actions: ["restart_sidecar"] }
  mode: enforce
  limits: [ { per: target, acts: 5, window: 1h } ]
  cooldown: 1s
  attempts: { max: 3, refill: 1h }
"#;

/// Mutations that break it: a Prometheus that scrapes another port; Alertmanager without the token; a port-forward
/// that comes from the node's address.
pub(crate) async fn acts(ground: &Ground) -> anyhow::Result<()> {
    ground.istiod().await?;
    let server = Workload::new(SHOP, "server", "v1", 3);
    ground.deploy(&server).await?;
    ground.ready(SHOP, &server.name()).await?;
    let names: Vec<String> =
        ground.pods(SHOP, "app=server").await?.into_iter().filter_map(|pod| pod.metadata.name).collect();
    let frozen = names.first().context("the workload has pods")?;
    let rules = json!([{ "name": "test", "rules": [{
        "alert": "NobodyKnowsThisOne", "expr": "vector(1)",
        "labels": { "severity": "critical", "namespace": SHOP },
    }] }]);
    let begun = Instant::now();
    let prometheus = ground.prometheus(&rules).await?;
    until("Prometheus reads all proxies", SOON, async || {
        let up = ground.query("sum(up{job=\"proxies\"})").await?;
        Ok((up[0]["value"][1] == "3").then_some(()))
    })
    .await?;
    ground.report("Prometheus reads all proxies", begun.elapsed())?;

    let playbooks = [("restart-sidecar", quick()?)];
    let duty =
        Duty { namespace: SHOP, playbooks: &playbooks, policy: POLICY, sources: MESH_SOURCES, server: None };
    let home = ground.agent(&duty).await?;
    let agent = home.start_ready().await?;
    let alertmanager = ground.alertmanager(&home).await?;
    let begun = Instant::now();
    until("an alert arrives", SOON, async || {
        Ok(agent.incidents().await?.into_iter().find(|incident| incident["symptom"] == "custom.alert"))
    })
    .await?;
    ground.report("an alert of Prometheus arrived through Alertmanager", begun.elapsed())?;

    ground.settled(SHOP, "app=server").await?;
    same("port-forwards to agents of proxies", &ground.forwards(15_020)?, &0)?;
    let pid = ground.kubelet.envoy(SHOP, frozen)?;
    let begun = Instant::now();
    pid.freeze()?;
    let found = agent.incident_about(("data_plane.proxy_hung", SHOP, frozen), SOON).await?;
    let detected = begun.elapsed();
    ground.report("a frozen Envoy was found", detected)?;
    let id = found["id"].as_str().context("an incident has an id")?;
    let ended = agent.phase(id, "resolved", LONG).await?;
    let recovered = Some(begun.elapsed());
    ground.report("a frozen Envoy was restarted and the incident is resolved", begun.elapsed())?;
    same("the playbook", &ended["plan"]["playbook"], &json!("restart-sidecar"))?;
    let now = ground.kubelet.envoy(SHOP, frozen)?;
    ensure!(now.pid != pid.pid && now.state != 'T', "another Envoy runs: {now:?}");
    same("writes to the API server", &ground.writes()?, &Vec::new())?;
    let (detected, fault) = (Some(detected), "Envoy frozen");
    ground.row(&Row { fault, detected, acted: None, recovered, lost: None, writes: 0 })?;
    ensure!(ground.forwards(15_020)? >= 2, "its agent was asked to drain and to quit");
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await?;
    // A component that was killed is started again on its files.
    alertmanager.stop();
    prometheus.kill();
    prometheus.start()?;
    until("Prometheus answers again", SOON, async || Ok(ground.query("up").await.ok())).await.map(|_| ())
}

/// The shipped playbook with shorter waits.
fn quick() -> anyhow::Result<String> {
    let (shipped, quick) =
        ("soak: \"10s\", within: \"2m\", hold: \"30s\"", "soak: \"1s\", within: \"40s\", hold: \"3s\"");
    ensure!(RESTART.contains(shipped), "the shipped playbook has other waits than {shipped}");
    Ok(RESTART.replace(shipped, quick))
}
