//! The bad route is made again and again what somebody's repository says: by Argo CD, and by a script.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::interval;

use super::routing::{self, GOOD, HALF, LONG, Moment, ROUTE, SHOP, leading, object, taken};
use crate::agent::Agent;
use crate::ground::{Ground, SOON};
use crate::table::Row;
use crate::traffic::Load;
use crate::wait::{same, until};

/// The field manager of Argo CD.
const ARGO_CD: &str = "argocd-controller";
/// That of a script that leaves no marks.
const SCRIPT: &str = "deploy-script";
/// How often either applies.
const EVERY: Duration = Duration::from_secs(5);

/// The object as Argo CD's repository has it, with its marks.
fn tracked(weights: &[(&str, u32)]) -> Value {
    let mut route = object(ROUTE, &leading(weights));
    route["metadata"]["annotations"] = json!({
        "argocd.argoproj.io/tracking-id": "shop:networking.istio.io/VirtualService:shop/server",
    });
    route["metadata"]["labels"] = json!({ "app.kubernetes.io/instance": "shop" });
    route
}

/// Applies it as Argo CD and others do with server-side apply.
async fn sync(ground: &Ground, manager: &str, route: &Value) -> anyhow::Result<()> {
    let params = PatchParams::apply(manager).force();
    ground.api(ROUTE.0, ROUTE.1, ROUTE.2).patch(ROUTE.3, &params, &Patch::Apply(route)).await?;
    Ok(())
}

/// Does something while somebody applies the route again and again.
async fn while_applied<T>(
    ground: &Ground,
    (manager, route): (&str, &Value),
    watched: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let again = async {
        let mut ticks = interval(EVERY);
        loop {
            ticks.tick().await;
            if let Err(error) = sync(ground, manager, route).await {
                return error;
            }
        }
    };
    tokio::select! {
        seen = watched => seen,
        error = again => Err(error),
    }
}

/// The incident in the end, and two rounds more of whoever applies.
async fn given_up(agent: &Agent<'_>, load: &Load) -> anyhow::Result<Value> {
    let found = agent.incident_about(("traffic.route_errors", SHOP, ROUTE.3), SOON).await?;
    let id = found["id"].as_str().context("an incident has an id")?;
    let ended = agent.phase(id, "escalated", LONG).await?;
    let then = load.now() + EVERY * 2;
    until("two rounds more", SOON, async || Ok((load.now() > then).then_some(()))).await?;
    Ok(ended)
}

/// Who manages the route is seen before anything is planned, and named; nothing is written, however long it
/// goes on.
///
/// Mutations that break it: marks of tools that nobody reads; a playbook without its question of
/// `managed_by`, together with an engine without its own; a loop without marks, with which it is a fight.
pub(crate) async fn refused(ground: &Ground) -> anyhow::Result<()> {
    routing::stage(ground).await?;
    let home = routing::home(ground).await?;
    sync(ground, ARGO_CD, &tracked(&GOOD)).await?;
    let load = routing::traffic(ground).await?;
    let agent = home.start_ready().await?;
    routing::proven(ground, &agent).await?;

    let fault = Moment::now(&load);
    let bad = tracked(&HALF);
    let ended = while_applied(ground, (ARGO_CD, &bad), given_up(&agent, &load)).await?;
    let why = format!("{} {}", routing::reasons(&ended), ended["passed_over"]);
    ensure!(why.contains("argocd"), "it names the manager: {why}");
    same("what was planned", &ended["plan"], &Value::Null)?;
    same("the writes", &ground.writes()?, &Vec::new())?;
    same("the spec", &ground.read(ROUTE).await?["spec"], &bad["spec"])?;
    let ledger = load.stop().await?.within(fault.load..Duration::MAX);
    ground.row(&Row {
        fault: "the same, Argo CD applies it every 5 s",
        detected: Some(fault.until(&ended["opened_at"])?),
        acted: None,
        recovered: None,
        lost: Some(ledger.bad()),
        writes: 0,
    })?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// Nobody can see that a script owns the route. It takes back what was done; that is tried once more, and then
/// people are told.
///
/// Mutations that break it: a playbook that retries for ever, with attempts without end; an undo that writes
/// over what the script wrote.
pub(crate) async fn fought(ground: &Ground) -> anyhow::Result<()> {
    routing::stage(ground).await?;
    let home = routing::home(ground).await?;
    sync(ground, SCRIPT, &object(ROUTE, &leading(&GOOD))).await?;
    let load = routing::traffic(ground).await?;
    let agent = home.start_ready().await?;
    routing::proven(ground, &agent).await?;

    let fault = Moment::now(&load);
    let bad = object(ROUTE, &leading(&HALF));
    let ended = while_applied(ground, (SCRIPT, &bad), given_up(&agent, &load)).await?;
    same("the attempts", &ended["attempts"], &json!(2))?;
    same("the spec", &ground.read(ROUTE).await?["spec"], &bad["spec"])?;
    let writes = ground.writes()?;
    same("the writes", &writes.len(), &2)?;
    let ledger = load.stop().await?.within(fault.load..Duration::MAX);
    ground.row(&Row {
        fault: "the same, a script applies it every 5 s",
        detected: Some(fault.until(&ended["opened_at"])?),
        acted: taken(&fault, &writes)?.first().copied(),
        recovered: None,
        lost: Some(ledger.bad()),
        writes: writes.len(),
    })?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}
