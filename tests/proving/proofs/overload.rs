//! More requests than the pods of a workload can serve: they wait in it until their clients give up, and then
//! were served for nobody.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use kube::api::ListParams;
use meshmend::model::mark::RESTORE;
use serde_json::{Value, json};

use super::busy::{EASY, MORE, SLOW};
use super::routing::{self, HOST, Moment, POLICY, ROUTE, RULE, SHOP, essence, object, shorter, taken};
use crate::agent::{Home, ROLL_BACK};
use crate::ground::{Duty, Ground, MESH_SOURCES, SOON, Workload};
use crate::table::Row;
use crate::traffic::{Ledger, Load};
use crate::wait::{same, until};

const SHED: &str = include_str!("../../../playbooks/shed-with-destination-rule.rhai");
/// How long a client waits until a request is given up, so that of 70 a second 140 are under way. 70 % of these
/// still wait too long; 45 % do not.
const PATIENCE: Duration = Duration::from_secs(2);
/// Requests among which one in a hundred is told from none.
const ENOUGH: usize = 800;
/// Some windows of so many; the limits stay for longer.
const SERVED: Duration = Duration::from_secs(50);
/// Overload is a symptom after twenty seconds; two attempts of half a minute follow.
const LONG: Duration = Duration::from_secs(150);
/// From the act on it takes its expiry and an act.
const EXPIRED: Duration = Duration::from_secs(130);

/// The workload, its route with a time limit, and its rule, which somebody else wrote and commented on.
async fn stage(ground: &Ground) -> anyhow::Result<()> {
    ground.istiod().await?;
    let mut server = Workload::new(SHOP, "server", "v1", 2);
    server.env = SLOW;
    let client = Workload::new(SHOP, "client", "v1", 1);
    for workload in [&server, &client] {
        ground.deploy(workload).await?;
    }
    let route = json!({ "hosts": ["server"], "http": [{
        "route": [{ "destination": { "host": "server" } }], "timeout": format!("{}s", PATIENCE.as_secs()),
    }] });
    ground.apply_object(object(ROUTE, &route)).await?;
    let mut rule = object(
        RULE,
        &json!({ "host": "server", "trafficPolicy": {
        "connectionPool": { "tcp": { "connectTimeout": "3s" }, "http": { "http2MaxRequests": 1000 } },
        "loadBalancer": { "simple": "ROUND_ROBIN" },
    } }),
    );
    rule["metadata"]["annotations"] = json!({ "example.com/reviewed-by": "the shop" });
    ground.apply_object(rule).await?;
    for workload in [&server, &client] {
        ground.ready(SHOP, &workload.name()).await?;
    }
    ground.prometheus(&json!([])).await.map(|_| ())
}

async fn home(ground: &Ground) -> anyhow::Result<Home> {
    let quick = [
        ("soak: \"10s\", within: \"2m\", hold: \"30s\"", "soak: \"3s\", within: \"12s\", hold: \"6s\""),
        ("expires: \"10m\"", "expires: \"90s\""),
        ("expires_s: 600", "expires_s: 90"),
    ];
    let playbooks = [
        ("shed-with-destination-rule", shorter(SHED, &quick)?),
        ("roll-back-virtual-service", ROLL_BACK.to_owned()),
    ];
    let duty =
        Duty { namespace: SHOP, playbooks: &playbooks, policy: POLICY, sources: MESH_SOURCES, server: None };
    ground.agent(&duty).await
}

/// Load is shed in two steps by the rule that is there, until those who are let in are served; and when the
/// load has gone and the time is up, the rule is again what it was.
///
/// Mutations that break it: a share of 1.5 instead of 0.45 in the second step; a rule of our own beside the
/// one that is there; limits that are taken back with the incident; an undo that leaves our mark.
pub(crate) async fn shed(ground: &Ground) -> anyhow::Result<()> {
    stage(ground).await?;
    let home = home(ground).await?;
    let steady = ground.load((SHOP, "app=client"), HOST, EASY).await?;
    let agent = home.start_ready().await?;
    routing::proven(ground, &agent).await?;
    let before = ground.read(RULE).await?;

    let fault = Moment::now(&steady);
    let more = ground.load((SHOP, "app=client"), HOST, MORE).await?;
    let found = agent.incident_about(("traffic.overload", SHOP, "server"), LONG).await?;
    let id = found["id"].as_str().context("an incident has an id")?;
    let held = agent.phase(id, "holding", LONG).await?;
    let over = steady.now();
    same("the attempts", &held["attempts"], &json!(2))?;
    let during = patched(ground, &before, id).await?;
    let acts = taken(&fault, &ground.writes()?)?;
    same("writes until then: shed, taken back, shed", &acts.len(), &3)?;
    served(ground, (&steady, &more), over).await?;

    // The load goes; the limits stay until their time is up.
    let mut all = more.stop().await?;
    let after = until("it is taken back", EXPIRED, async || {
        let rule = ground.read(RULE).await?;
        Ok((mark(&rule).is_none()).then_some(rule))
    })
    .await?;
    same("the spec, byte for byte", &after["spec"].to_string(), &before["spec"].to_string())?;
    same("everything of the rule", &essence(&after), &essence(&before))?;
    ensure!(during["spec"] != after["spec"], "the limits were on it");
    let ended = agent.phase(id, "resolved", SOON).await?;
    same("the writes", &ground.writes()?.len(), &4)?;
    let recovered = last_given_up(&all);
    all.0.extend(steady.stop().await?.within(fault.load..Duration::MAX).0);
    ground.row(&Row {
        fault: "overload, 1.75 times the capacity",
        detected: Some(fault.until(&ended["opened_at"])?),
        acted: acts.first().copied(),
        recovered,
        lost: Some(all.bad()),
        writes: 4,
    })?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// The way back that stands on a rule while load is shed by it.
fn mark(rule: &Value) -> Option<&str> {
    rule["metadata"]["annotations"][RESTORE].as_str()
}

/// The rule that was there has the limits and the way back, and all else that it had; there is no other one.
async fn patched(ground: &Ground, before: &Value, id: &str) -> anyhow::Result<Value> {
    let rules = ground.api(RULE.0, RULE.1, RULE.2).list(&ListParams::default()).await?;
    same("the rules", &rules.items.len(), &1)?;
    let rule = ground.read(RULE).await?;
    ensure!(mark(&rule).is_some_and(|mark| mark.contains(id)), "the way back names {id}: {rule}");
    let limits = &rule["spec"]["trafficPolicy"]["connectionPool"]["http"];
    let limit = limits["http2MaxRequests"].as_u64().context("requests are limited")?;
    ensure!((1..100).contains(&limit), "it is 45 % of what was under way: {limit}");
    same("those that wait", &limits["http1MaxPendingRequests"], &json!(limit))?;
    ground.note(&format!("limited to {limit} requests at once"))?;
    let mut rest = essence(&rule);
    rest["spec"]["trafficPolicy"]["connectionPool"]["http"] = json!({ "http2MaxRequests": 1000 });
    rest["metadata"]["annotations"].as_object_mut().context("it has annotations")?.remove(RESTORE);
    same("everything else of the rule", &rest, &essence(before))?;
    Ok(rule)
}

/// Of those who are let in, more than 99 % are served, by and by: the queues of before have to empty, and a machine
/// that stalls for a moment fills them again. All others are turned away at once, by the limits.
async fn served(ground: &Ground, (steady, more): (&Load, &Load), from: Duration) -> anyhow::Result<()> {
    let ahead = steady.now().saturating_sub(more.now());
    let taken = |from: Duration| {
        let mut all = more.ledger().within(from.saturating_sub(ahead)..Duration::MAX);
        all.0.extend(steady.ledger().within(from..Duration::MAX).0);
        all.0.retain(|entry| entry.ended.is_some());
        all
    };
    let mut since = from;
    until("more than 99 % of those let in are served", SERVED, async || {
        let all = taken(since);
        if all.count() < ENOUGH {
            return Ok(None);
        }
        let turned_away = all.answered(503);
        let (let_in, good) = (all.count() - turned_away, all.answered(200));
        ground.note(&format!("of {} requests {let_in} were let in, {good} served", all.count()))?;
        ensure!(turned_away > 0, "the overload goes on");
        since = steady.now();
        Ok((good * 100 > let_in * 99).then_some(()))
    })
    .await?;
    let count = "sum(increase(istio_requests_total{reporter=\"source\",response_code=\"503\",response_flags";
    let by_limits = ground.query(&format!("{count}=\"UO\"}}[10s]))")).await?;
    ensure!(by_limits[0]["value"][1].as_str().is_some_and(|count| count != "0"), "503 is UO: {by_limits}");
    let otherwise = ground.query(&format!("{count}!=\"UO\"}}[10s])) > 0")).await?;
    same("503 for other reasons", &otherwise, &json!([]))
}

/// When the last request was due that was let in and not served.
fn last_given_up(ledger: &Ledger) -> Option<Duration> {
    ledger.0.iter().rfind(|entry| entry.is_bad() && entry.status != Some(503)).map(|entry| entry.due)
}
