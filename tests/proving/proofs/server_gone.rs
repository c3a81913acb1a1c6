//! The API server freezes in the middle of an act, drowns in its own errors, or forgets what it was asked to
//! tell: every incident ends, and nothing is done twice.

use std::time::Duration;

use anyhow::ensure;
use axum::http::StatusCode;

use super::rounds::{self, Rounds, passed};
use super::routing::{self, ROUTE};
use crate::agent::{Agent, Home};
use crate::ground::{Ground, SOON};
use crate::wait::{same, until};
use crate::way::Proxy;

/// How long the API server hangs.
const FROZEN: Duration = Duration::from_secs(30);
/// How long a storm lasts: facts are tried again every ten seconds, five times.
const STORM: Duration = Duration::from_secs(15);

struct Scene<'g> {
    rounds: Rounds<'g>,
    home: Home,
    proxy: Proxy,
}

async fn stage(ground: &Ground) -> anyhow::Result<Scene<'_>> {
    routing::stage(ground).await?;
    let proxy = Proxy::start(0, &ground.plane.url, ground.plane.http()?).await?;
    let home = rounds::home(ground, Some(proxy.url.clone())).await?;
    let rounds = Rounds::begin(ground).await?;
    Ok(Scene { rounds, home, proxy })
}

/// The write is on its way when the API server freezes; it takes the write half a minute later, when the
/// agent has long given it up. Until then nobody knows whether it was done; then it is found to be, once.
///
/// Mutations that break it: taking a write that was not answered for one that was not done (two writes); for
/// one that was (it is resolved while the route is bad); no time limit of a read.
pub(crate) async fn frozen(ground: &Ground) -> anyhow::Result<()> {
    let Scene { mut rounds, home, mut proxy } = stage(ground).await?;
    let agent = home.start_ready().await?;
    routing::proven(ground, &agent).await?;
    proxy.stop_writes();
    let broken = rounds.break_route(&agent).await?;
    let id = rounds.found(&agent).await?;
    let held = proxy.next_held().await?;
    ensure!(held.path.contains("/virtualservices/"), "it is the act: {}", held.path);
    let server = ground.component("kube-apiserver")?;
    server.freeze()?;
    let since = rounds.load.now();
    proxy.let_writes_pass();
    held.release();
    passed(&rounds.load, since, FROZEN).await?;
    let during = agent.incident(&id).await?;
    same("the phase while it hangs", &during["phase"], &serde_json::json!("executing"))?;
    server.thaw()?;
    rounds.healed(&agent, &broken, (&id, "API server frozen 30 s in an act")).await?;
    finish(rounds, agent, &home).await
}

/// A storm of 429 meets the act, and one of 500 hides that it was done. Then the watches are cut while the
/// route goes bad, and the API server that is there afterwards has forgotten what they ask for (410).
///
/// Mutations that break it: taking a 500 for a refusal (escalated); trying a write again blindly; watches that
/// end at 410; a list that is not compared with what was known.
pub(crate) async fn storms(ground: &Ground) -> anyhow::Result<()> {
    let Scene { mut rounds, home, mut proxy } = stage(ground).await?;
    let agent = home.start_ready().await?;
    routing::proven(ground, &agent).await?;
    for (name, status) in [("a storm of 429 meets the act", 429), ("a storm of 500 hides the act", 500)] {
        let status = StatusCode::from_u16(status)?;
        proxy.stop_writes();
        let broken = rounds.break_route(&agent).await?;
        let id = rounds.found(&agent).await?;
        let held = proxy.next_held().await?;
        proxy.storm(status);
        let since = rounds.load.now();
        proxy.let_writes_pass();
        if status == StatusCode::TOO_MANY_REQUESTS {
            held.release();
        } else {
            held.deny(status);
        }
        passed(&rounds.load, since, STORM).await?;
        let during = agent.incident(&id).await?;
        ensure!(during["phase"] != "resolved", "nobody can know in the storm: {during}");
        proxy.open_to(&ground.plane.url);
        rounds.healed(&agent, &broken, (&id, name)).await?;
    }
    forgotten(ground, &mut rounds, (&agent, &proxy)).await?;
    finish(rounds, agent, &home).await
}

/// The watches are cut, the route goes bad, and the API server that is there then began to remember only
/// afterwards.
async fn forgotten(
    ground: &Ground,
    rounds: &mut Rounds<'_>,
    (agent, proxy): (&Agent<'_>, &Proxy),
) -> anyhow::Result<()> {
    proxy.pause();
    let broken = rounds.break_route(agent).await?;
    let younger = ground.plane.start_api_server("kube-apiserver-2").await?;
    proxy.open_to(&younger);
    let id = rounds.found(agent).await?;
    ensure!(proxy.expired() > 0, "the API server said 410 to a watch");
    rounds.healed(agent, &broken, (&id, "watches cut, then 410")).await?;
    let seen = agent.history(ROUTE.3).await?;
    ensure!(!seen.is_null(), "the route is known");
    Ok(())
}

async fn finish(rounds: Rounds<'_>, agent: Agent<'_>, home: &Home) -> anyhow::Result<()> {
    let open = || async {
        let all = agent.incidents().await?;
        let ended = |incident: &serde_json::Value| {
            ["resolved", "escalated", "suppressed", "expired", "gone"]
                .contains(&incident["phase"].as_str().unwrap_or_default())
        };
        Ok::<_, anyhow::Error>(all.into_iter().filter(|incident| !ended(incident)).count())
    };
    until("every incident has ended", SOON, async || Ok((open().await? == 0).then_some(()))).await?;
    let ledger = rounds.load.stop().await?;
    rounds.ground.note(&format!("{} of {} requests were bad", ledger.bad(), ledger.count()))?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}
