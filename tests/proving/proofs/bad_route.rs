//! A person sends half of the requests to a version that answers 500.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::routing::{self, GOOD, HALF, LONG, Moment, ROUTE, RULE, SHOP, essence, leading, object, taken};
use crate::agent::{Agent, Home};
use crate::ground::{Ground, SOON};
use crate::table::Row;
use crate::traffic::Load;
use crate::wait::{same, until};

/// istiod tells the proxies and they take it: after that, no request goes the wrong way.
const SETTLES: Duration = Duration::from_secs(2);
/// Requests after the act among which a bad share of 0.1 % is told from none.
const ENOUGH: usize = 1000;

/// The route leads to the good version under load, and the agent has seen it do so for long enough.
async fn begin<'h>(ground: &Ground, home: &'h Home) -> anyhow::Result<(Agent<'h>, Load)> {
    ground.apply_object(object(ROUTE, &leading(&GOOD))).await?;
    let load = routing::traffic(ground).await?;
    let agent = home.start_ready().await?;
    routing::proven(ground, &agent).await?;
    Ok((agent, load))
}

/// It is rolled back, and nothing else of the route is touched: not what somebody added after the good revision.
///
/// Mutations that break it: a rollback that writes the whole object of the good revision; a playbook whose
/// `last_good` is the newest revision seen; a rule touched beside the route; no proof of the revision by traffic.
pub(crate) async fn rolled_back(ground: &Ground) -> anyhow::Result<()> {
    routing::stage(ground).await?;
    let home = routing::home(ground).await?;
    let (agent, load) = begin(ground, &home).await?;
    let added = json!({ "metadata": {
        "annotations": { "example.com/reviewed-by": "the shop" }, "labels": { "tier": "front" },
    } });
    let good = ground.change(ROUTE, &added).await?;
    let rule = ground.read(RULE).await?;

    let fault = Moment::now(&load);
    let bad = ground.change(ROUTE, &json!({ "spec": leading(&HALF) })).await?;
    ensure!(bad["spec"] != good["spec"], "the fault is there");
    let found = agent.incident_about(("traffic.route_errors", SHOP, ROUTE.3), SOON).await?;
    let id = found["id"].as_str().context("an incident has an id")?;
    let ended = agent.phase(id, "resolved", LONG).await?;
    same("the playbook", &ended["plan"]["playbook"], &json!("roll-back-virtual-service"))?;
    let after = ground.read(ROUTE).await?;
    same("the spec", &after["spec"], &good["spec"])?;
    same("everything of the route", &essence(&after), &essence(&good))?;
    same("the rule", &ground.read(RULE).await?, &rule)?;

    let writes = ground.writes()?;
    same("the writes", &writes.len(), &1)?;
    let acted = *taken(&fault, &writes)?.first().context("it was written")?;
    let settled = fault.load + acted + SETTLES;
    until("enough requests after the act", SOON, async || {
        Ok((load.ledger().within(settled..Duration::MAX).count() >= ENOUGH).then_some(()))
    })
    .await?;
    let ledger = load.stop().await?.within(fault.load..Duration::MAX);
    let share = ledger.within(settled..Duration::MAX).bad_share().context("there were requests")?;
    ensure!(share < 0.001, "after the act, a share of {share} is bad");
    let (first, last) = ledger.first_bad().zip(ledger.last_bad()).context("the fault is felt")?;
    ground.report("from the first bad answer to the last", last.saturating_sub(first))?;
    ground.row(&Row {
        fault: "route sends half to errors",
        detected: Some(fault.until(&ended["opened_at"])?),
        acted: Some(acted),
        recovered: Some(last.saturating_sub(fault.load)),
        lost: Some(ledger.bad()),
        writes: writes.len(),
    })?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// The version that was good has gone in the same breath: back there, everything would fail. Refused for that
/// reason, and nothing is written.
///
/// Mutations that break it: a playbook that does not look at `ready`, together with an engine that does not;
/// a scale-down that is not made.
pub(crate) async fn gone(ground: &Ground) -> anyhow::Result<()> {
    routing::stage(ground).await?;
    let home = routing::home(ground).await?;
    let (agent, load) = begin(ground, &home).await?;
    let fault = Moment::now(&load);
    ground.change(ROUTE, &json!({ "spec": leading(&HALF) })).await?;
    let old = (SHOP, "apps/v1", "Deployment", "server-v1");
    ground.change(old, &json!({ "spec": { "replicas": 0 } })).await?;
    let found = agent.incident_about(("traffic.route_errors", SHOP, ROUTE.3), SOON).await?;
    let id = found["id"].as_str().context("an incident has an id")?;
    let ended = agent.phase(id, "escalated", LONG).await?;
    let why = format!("{} {}", routing::reasons(&ended), ended["passed_over"]);
    ensure!(why.contains("no ready endpoint"), "it says that the revision cannot carry traffic: {why}");
    // What goes on failing is told again and again; it stays with people.
    let until_then = load.now() + Duration::from_secs(10);
    until("ten seconds more", SOON, async || Ok((load.now() > until_then).then_some(()))).await?;
    same("the writes", &ground.writes()?, &Vec::new())?;
    same("the spec", &ground.read(ROUTE).await?["spec"], &leading(&HALF))?;
    let ledger = load.stop().await?.within(fault.load..Duration::MAX);
    ground.row(&Row {
        fault: "the same, the good version is gone",
        detected: Some(fault.until(&ended["opened_at"])?),
        acted: None,
        recovered: None,
        lost: Some(ledger.bad()),
        writes: 0,
    })?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}
