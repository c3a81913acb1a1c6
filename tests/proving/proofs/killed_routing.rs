//! The agent is killed (-9) in the middle of acts on routes and rules: two rollbacks, of which one never
//! arrives, and a shed.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use meshmend::model::mark::RESTORE;
use serde_json::{Value, json};

use super::busy::{self, BUSY};
use super::killed::{Begun, Crossing, Fate};
use super::rounds::Rounds;
use super::routing::{self, POLICY, SHOP, essence, object, shorter, taken};
use crate::agent::{Agent, Home, ROLL_BACK};
use crate::ground::{Duty, Ground};
use crate::table::Row;
use crate::wait::same;

const SHED: &str = include_str!("../../../playbooks/shed-with-destination-rule.rhai");
/// Of the service that is overrun, beside the one whose route goes bad.
const RULE: (&str, &str, &str, &str) = (SHOP, "networking.istio.io/v1", "DestinationRule", "busy");
/// Two pods that serve four at once in 200 ms serve 40 requests a second. These are a few more; they wait for
/// three seconds until they are given up, and 70 % of them wait for little more than two.
const TOO_MANY: u32 = 46;
/// Waits build up, and the overload has to last for twenty seconds.
const OVERLOADED: Duration = Duration::from_secs(150);
/// As long as limits last, with the act that takes them back.
const EXPIRED: Duration = Duration::from_secs(120);

const ROUTES: &str = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/server";
const RULES: &str = "/apis/networking.istio.io/v1/namespaces/shop/destinationrules/busy";

/// An agent that comes to the API server this way.
async fn home(ground: &Ground, server: String) -> anyhow::Result<Home> {
    let back =
        [("soak: \"5s\", within: \"2m\", hold: \"30s\"", "soak: \"1s\", within: \"20s\", hold: \"3s\"")];
    let shed = [
        ("soak: \"10s\", within: \"2m\", hold: \"30s\"", "soak: \"3s\", within: \"30s\", hold: \"6s\""),
        ("expires: \"10m\"", "expires: \"80s\""),
        ("expires_s: 600", "expires_s: 80"),
    ];
    let playbooks = [
        ("roll-back-virtual-service", shorter(ROLL_BACK, &back)?),
        ("shed-with-destination-rule", shorter(SHED, &shed)?),
    ];
    let policy = POLICY.replace("max: 2", "max: 20");
    let server = Some(server);
    ground.agent(&Duty { namespace: SHOP, playbooks: &playbooks, policy: &policy, sources: "", server }).await
}

/// The service that will be overrun, with a time limit, and a rule that somebody else wrote.
async fn busy(ground: &Ground) -> anyhow::Result<()> {
    let busy = busy::deploy(ground, "3s").await?;
    let mut rule = object(
        RULE,
        &json!({ "host": "busy", "trafficPolicy": {
        "connectionPool": { "tcp": { "connectTimeout": "3s" } },
    } }),
    );
    rule["metadata"]["annotations"] = json!({ "example.com/reviewed-by": "the shop" });
    ground.apply_object(rule).await?;
    ground.ready(SHOP, &busy.name()).await
}

/// Each act is finished after the restart, whether its write had arrived or not; none is made twice, and the
/// limits are taken back once.
///
/// Mutations that break it: taking the intent for the deed (the route stays bad); starting a step again instead
/// of reading the state back; an undo of what was found done; forgetting over the restart when limits expire.
pub(crate) async fn finished_once(ground: &Ground) -> anyhow::Result<()> {
    routing::stage(ground).await?;
    busy(ground).await?;
    let mut crossing = Crossing::start(ground).await?;
    let home = home(ground, crossing.url()).await?;
    let mut rounds = Rounds::begin(ground).await?;
    let agent = home.start_ready().await?;
    routing::proven(ground, &agent).await?;
    let (lost, arrives) = (
        ("agent killed in a rollback, it is lost", Fate::IsLost),
        ("agent killed in a rollback, it arrives", Fate::Arrives),
    );
    let agent = rolled_back((&mut crossing, &mut rounds), agent, lost).await?;
    let agent = rolled_back((&mut crossing, &mut rounds), agent, arrives).await?;
    let agent = shed(ground, &mut crossing, agent).await?;
    let resources: Vec<Value> =
        ground.writes()?.iter().map(|write| write["objectRef"]["resource"].clone()).collect();
    let (route, rule) = (json!("virtualservices"), json!("destinationrules"));
    same("all writes", &resources, &vec![route.clone(), route, rule.clone(), rule])?;
    rounds.load.stop().await?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

async fn rolled_back<'h>(
    (crossing, rounds): (&mut Crossing<'_>, &mut Rounds<'_>),
    agent: Agent<'h>,
    (fault, fate): (&'static str, Fate),
) -> anyhow::Result<Agent<'h>> {
    crossing.stop_writes()?;
    let broken = rounds.break_route(&agent).await?;
    let id = rounds.found(&agent).await?;
    let begun = Begun { id: &id, path: ROUTES, fate };
    let agent = crossing.kill(agent, &begun).await?;
    crossing.ends(&agent, (&begun, "resolved")).await?;
    rounds.healed(&agent, &broken, (&id, fault)).await?;
    Ok(agent)
}

/// The limits are found on the rule, hold what they were to hold, and are taken back when they expire.
async fn shed<'h>(
    ground: &Ground,
    crossing: &mut Crossing<'_>,
    agent: Agent<'h>,
) -> anyhow::Result<Agent<'h>> {
    let before = ground.read(RULE).await?;
    crossing.stop_writes()?;
    let load = ground.load((SHOP, "app=client"), BUSY, TOO_MANY).await?;
    let fault = routing::Moment::now(&load);
    let found = agent.incident_about(("traffic.overload", SHOP, "busy"), OVERLOADED).await?;
    let id = found["id"].as_str().context("an incident has an id")?;
    let begun = Begun { id, path: RULES, fate: Fate::Arrives };
    let agent = crossing.kill(agent, &begun).await?;
    let held = crossing.ends(&agent, (&begun, "holding")).await?;
    same("the attempts", &held["attempts"], &json!(1))?;
    let rule = ground.read(RULE).await?;
    let mark = rule["metadata"]["annotations"][RESTORE].as_str().context("the way back is on it")?;
    ensure!(mark.contains(id), "the way back names {id}: {mark}");

    // The load goes; the limits stay until their time is up.
    let all = load.stop().await?;
    agent.phase(id, "resolved", EXPIRED).await?;
    let after = ground.read(RULE).await?;
    same("everything of the rule", &essence(&after), &essence(&before))?;
    let acts = taken(&fault, &crossing.written()?)?;
    same("the writes: limits on, limits off", &acts.len(), &2)?;
    let given_up = all.0.iter().rfind(|entry| entry.is_bad() && entry.status != Some(503));
    ground.row(&Row {
        fault: "agent killed in a shed, it arrives",
        detected: Some(fault.until(&held["opened_at"])?),
        acted: acts.first().copied(),
        recovered: given_up.map(|entry| entry.due),
        lost: Some(all.bad()),
        writes: acts.len(),
    })?;
    Ok(agent)
}
