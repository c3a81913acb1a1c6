//! An agent on the ground: Prometheus finds all proxies, and an alert arrives through Alertmanager.

use serde_json::json;
use tokio::time::Instant;

use super::shop::{POLICY, SHOP, open, restart_sidecar};
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
        let up = ground.query("sum(up{job=\"proxies\"})").await?;
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
    anyhow::ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await?;
    // A component that was killed is started again on its files.
    alertmanager.stop();
    prometheus.kill();
    prometheus.start()?;
    until("Prometheus answers again", SOON, async || Ok(ground.query("up").await.ok())).await.map(|_| ())
}
