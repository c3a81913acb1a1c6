//! An agent on the ground: Prometheus finds all proxies, and an alert arrives through Alertmanager.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::shop::{POLICY, SHOP, open, restart_sidecar};
use crate::agent::Home;
use crate::ground::{Duty, Ground, MESH_SOURCES, SOON, Workload};
use crate::wait::{same, until};

/// Mutations that break it: a Prometheus that scrapes another port; Alertmanager without the token.
pub(crate) async fn hears(ground: &Ground) -> anyhow::Result<()> {
    open(ground, &[Workload::new(SHOP, "server", "v1", 3)]).await?;
    let rules = json!([{ "name": "test", "rules": [{
        "alert": "NobodyKnowsThisOne", "expr": "vector(1)",
        "labels": { "severity": "critical", "namespace": SHOP },
    }] }]);
    let begun = Instant::now();
    let prometheus = ground.prometheus(&rules).await?;
    until("Prometheus reads all proxies", SOON, async || {
        let up = ground.query("sum(up{job=\"envoy-stats\"})").await?;
        Ok((up[0]["value"][1] == "3").then_some(()))
    })
    .await?;
    ground.report("Prometheus reads all proxies", begun.elapsed())?;

    let playbooks = [restart_sidecar()?];
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
    same("port-forwards to agents of proxies", &ground.forwards(15_020)?, &0)?;
    // Of younger pods nothing is said.
    ground.settled(SHOP, "").await?;
    overview(ground, &home).await?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await?;
    // A component that was killed is started again on its files.
    alertmanager.stop();
    prometheus.kill();
    prometheus.start()?;
    until("Prometheus answers again", SOON, async || Ok(ground.query("up").await.ok())).await.map(|_| ())
}

/// What somebody sees who asks how the mesh is: every expression of the catalogue is one that a real Prometheus
/// takes, and what is there to be seen is well.
///
/// Mutations that break it: a bracket or a function too many in an expression; a proxy that is not asked.
async fn overview(ground: &Ground, home: &Home) -> anyhow::Result<()> {
    let args = ["health", "--config", "meshmend.yaml", "--kubeconfig", "kubeconfig", "-o", "json"];
    let (code, said) = home.meshmend(&args).await?;
    same("the exit code", &code, &Some(0)).with_context(|| said.clone())?;
    let whole: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    let parts = whole["components"].as_array().into_iter().flatten();
    let all: Vec<&Value> =
        parts.flat_map(|part| part["indicators"].as_array().into_iter().flatten()).collect();
    let words = |indicator: &Value| indicator["why"].as_str().unwrap_or_default().to_owned();
    let refused: Vec<_> = all.iter().filter(|one| words(one).contains("Prometheus answered")).collect();
    ensure!(refused.is_empty(), "Prometheus does not take an expression: {refused:?}");
    for id in ["data_plane.proxy_liveness", "data_plane.proxy_readiness", "config.distribution"] {
        let found = all.iter().find(|one| one["indicator"] == id).with_context(|| format!("no {id}"))?;
        same(id, &(&found["level"], &found["value"]), &(&json!("healthy"), &json!(1.0)))?;
    }
    ground.note(&format!("{} indicators, {}", all.len(), whole["level"]))
}
