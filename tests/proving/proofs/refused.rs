//! What must not be restarted although it hangs: a proxy whose pod a budget protects, one that rejects its
//! configuration, and one that no control plane could give a configuration to.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::shop::{Frozen, POLICY, SHOP, break_filter, istiod, open, refusals, restart_sidecar};
use crate::agent::Agent;
use crate::ground::{Duty, Ground, MESH_SOURCES, SOON, Workload};
use crate::kubelet::Process;
use crate::table::Row;
use crate::wait::{same, until};

/// A playbook that looks at no budget: the agent itself does.
const HEEDLESS: &str = r#"//! Move a pod whose proxy hangs.
fn about() {
    #{
        on: [symptom("data_plane.proxy_hung")],
        needs: ["pod", "proxy", "control_plane", "budget?"],
        recover: #{ indicator: "data_plane.proxy_liveness", soak: "1s", within: "40s", hold: "3s" },
        priority: 60,
    }
}

fn applies() { this.subject.name.starts_with("guarded") }

fn plan(facts) { [evict_pod(facts.pod)] }
"#;

/// As long as this nothing may be tried again.
const QUIET: Duration = Duration::from_secs(30);

/// Mutations that break it: a playbook and a `refusals::pod` that do not look at the budget, at what the proxy
/// rejects, or at the control plane; `cause::of` that explains nothing; a refused case that is tried again.
pub(crate) async fn is_left_alone(ground: &Ground) -> anyhow::Result<()> {
    let guarded = Workload::new(SHOP, "guarded", "v1", 2);
    let picky = Workload::new(SHOP, "picky", "v1", 1);
    let plain = Workload::new(SHOP, "plain", "v1", 1);
    open(ground, &[guarded, picky, plain]).await?;
    protect(ground).await?;
    let playbooks = [restart_sidecar()?, ("heedless", HEEDLESS.to_owned())];
    let duty =
        Duty { namespace: SHOP, playbooks: &playbooks, policy: POLICY, sources: MESH_SOURCES, server: None };
    let home = ground.agent(&duty).await?;
    let agent = home.start_ready().await?;
    ground.settled(SHOP, "").await?;

    let guarded = Frozen::first(ground, "app=guarded").await?;
    reject(ground, &agent).await?;
    let picky = Frozen::first(ground, "app=picky").await?;
    let no_room = refused(&agent, &guarded).await?;
    let quiet = Instant::now();
    let words = refusals(&no_room);
    says(&words["restart-sidecar"], "disruption budget guarded has no room")?;
    says(&words["heedless"], "no_budget")?;
    let rejecting = refused(&agent, &picky).await?;
    says(&refusals(&rejecting)["restart-sidecar"], "the proxy rejects its configuration")?;

    let (plain, waiting) = without_istiod(ground, &agent).await?;
    until("half a minute has gone by", SOON, async || Ok((quiet.elapsed() > QUIET).then_some(()))).await?;
    for before in [&no_room, &rejecting] {
        let id = before["id"].as_str().unwrap_or_default();
        same("what was refused, half a minute later", &agent.incident(id).await?, before)?;
    }
    same("port-forwards to agents of proxies", &ground.forwards(15_020)?, &0)?;
    row(ground, "Envoy frozen, budget without room", (&guarded, &no_room))?;
    row(ground, "Envoy frozen, it rejects its config", (&picky, &rejecting))?;
    row(ground, "Envoy frozen, no istiod is ready", (&plain, &waiting))?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// A budget that none of the pods may go below.
async fn protect(ground: &Ground) -> anyhow::Result<()> {
    ground
        .apply_object(json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": { "name": "guarded", "namespace": SHOP },
            "spec": { "minAvailable": 2, "selector": { "matchLabels": { "app": "guarded" } } },
        }))
        .await?;
    until("the budget is counted", SOON, async || {
        let status =
            ground.read((SHOP, "policy/v1", "PodDisruptionBudget", "guarded")).await?["status"].take();
        let full = status["currentHealthy"] == 2 && status["disruptionsAllowed"] == 0;
        Ok(full.then_some(()))
    })
    .await
}

async fn reject(ground: &Ground, agent: &Agent<'_>) -> anyhow::Result<()> {
    break_filter(ground, "picky").await?;
    let pods = ground.pods(SHOP, "app=picky").await?;
    let name = pods.first().and_then(|pod| pod.metadata.name.as_deref()).context("there is a picky pod")?;
    let told = agent.incident_about(("config.rejected", SHOP, name), SOON).await?;
    says(&told["labels"]["error"].to_string(), "example.unregistered")
}

/// Waits until the case of a frozen proxy has ended with people.
async fn refused(agent: &Agent<'_>, frozen: &Frozen) -> anyhow::Result<Value> {
    let found = agent.incident_about(("data_plane.proxy_hung", SHOP, &frozen.name), SOON).await?;
    agent.phase(found["id"].as_str().context("an incident has an id")?, "escalated", SOON).await
}

/// istiod is frozen and stays so; then a proxy.
async fn without_istiod(ground: &Ground, agent: &Agent<'_>) -> anyhow::Result<(Frozen, Value)> {
    istiod(ground).await?.iter().try_for_each(Process::freeze)?;
    let plain = Frozen::first(ground, "app=plain").await?;
    let cause = agent.incident_about(("control_plane.down", "istio-system", "istiod"), SOON).await?;
    let attached = until("the frozen proxy is explained", SOON, async || {
        let found = agent.incident_about(("data_plane.proxy_hung", SHOP, &plain.name), SOON).await?;
        Ok((found["cause"] == cause["id"]).then_some(found))
    })
    .await?;
    let cause = agent.incident(cause["id"].as_str().unwrap_or_default()).await?;
    same("what it explains", &cause["explains"], &json!(1))?;
    Ok((plain, attached))
}

fn says(text: &str, part: &str) -> anyhow::Result<()> {
    ensure!(text.contains(part), "nothing of {part:?} in: {text}");
    Ok(())
}

fn row(ground: &Ground, fault: &'static str, (frozen, found): (&Frozen, &Value)) -> anyhow::Result<()> {
    let detected = Some(frozen.until(&found["opened_at"])?);
    same("writes to the API server", &ground.writes()?, &Vec::new())?;
    ground.row(&Row { fault, detected, acted: None, recovered: None, lost: None, writes: 0 })
}
