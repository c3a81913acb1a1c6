//! The act does not help: while a bad route sends half of the requests to errors, the version it led to before
//! falls ill too. And the agent is killed twice on the way.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::routing::{self, GOOD, HALF, HOST, LONG, Moment, ROUTE, SHOP, leading, object, taken};
use crate::agent::Agent;
use crate::ground::{Ground, SOON, Workload};
use crate::table::Row;
use crate::wait::{same, until};

/// Two attempts, each with its way back.
const WRITES: usize = 4;

/// The release of an ill first version, as a person makes it.
async fn break_first(ground: &Ground) -> anyhow::Result<()> {
    let mut ill = Workload::new(SHOP, "server", "v1", 2);
    ill.env = &[("APP_STATUS", "500")];
    ground.deploy(&ill).await
}

/// Undone, tried once more, undone, escalated; and the same alert again leads to no further act, whether the
/// agent remembers or was killed and started again.
///
/// Mutations that break it: no undo after what did not help; attempts that are counted in memory only; a
/// policy without attempts (the playbook counts anew in each incident); `attempts: { max: 3 }`.
pub(crate) async fn undone(ground: &Ground) -> anyhow::Result<()> {
    routing::stage(ground).await?;
    let home = routing::home(ground).await?;
    ground.apply_object(object(ROUTE, &leading(&GOOD))).await?;
    let load = routing::traffic(ground).await?;
    let agent = home.start_ready().await?;
    routing::proven(ground, &agent).await?;

    let fault = Moment::now(&load);
    ground.change(ROUTE, &json!({ "spec": leading(&HALF) })).await?;
    break_first(ground).await?;
    let found = agent.incident_about(("traffic.route_errors", SHOP, ROUTE.3), SOON).await?;
    let id = found["id"].as_str().context("an incident has an id")?;
    until("the first attempt was written", LONG, async || Ok((!ground.writes()?.is_empty()).then_some(())))
        .await?;
    agent.kill().await?;
    let agent = home.start_ready().await?;
    let ended = agent.phase(id, "escalated", LONG * 2).await?;
    same("the attempts", &ended["attempts"], &json!(2))?;
    let why = routing::reasons(&ended);
    for code in ["not_recovered", "undone", "retried", "two rollbacks did not help"] {
        ensure!(why.contains(code), "its reasons tell of {code}: {why}");
    }
    same("the spec, as the fault made it", &ground.read(ROUTE).await?["spec"], &leading(&HALF))?;
    same("the writes", &ground.writes()?.len(), &WRITES)?;
    spent(&agent, id).await?;
    agent.kill().await?;
    let agent = home.start_ready().await?;
    spent(&agent, id).await?;
    let writes = ground.writes()?;
    same("the writes in the end", &writes.len(), &WRITES)?;
    same("the spec in the end", &ground.read(ROUTE).await?["spec"], &leading(&HALF))?;

    let ledger = load.stop().await?.within(fault.load..Duration::MAX);
    ground.row(&Row {
        fault: "both versions ill: no act helps",
        detected: Some(fault.until(&ended["opened_at"])?),
        acted: taken(&fault, &writes)?.first().copied(),
        recovered: None,
        lost: Some(ledger.bad()),
        writes: writes.len(),
    })?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// The same alert again: whatever it leads to ends without an act.
async fn spent(agent: &Agent<'_>, first: &str) -> anyhow::Result<()> {
    let began = meshmend::clock::Clock::wall();
    let alert = json!({
        "version": "4", "groupKey": "{}", "status": "firing", "receiver": "meshmend", "externalURL": "",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "truncatedAlerts": 0,
        "alerts": [{
            "status": "firing", "fingerprint": "c16947b2d5583c80", "startsAt": began,
            "endsAt": "0001-01-01T00:00:00Z",
            "labels": { "alertname": "IstioHigh5xxResponseRate", "severity": "critical", "destination_service": HOST },
            "annotations": {}, "generatorURL": "",
        }],
    });
    let id = agent.alert(&alert).await?;
    if id == first {
        return Ok(());
    }
    let ended = agent.phase(&id, "escalated", Duration::from_secs(60)).await?;
    let why = routing::reasons(&ended);
    ensure!(why.contains("attempts_spent"), "the budget is spent: {why}");
    same("its steps", &ended["steps"].as_array().map_or(0, Vec::len), &0)
}
