//! The API server fails in the middle of an act: it hangs, it has too much to do, it is ill, it cuts its watches,
//! and it has forgotten what the agent saw last.

use std::time::Duration;

use anyhow::ensure;
use axum::http::StatusCode;

use super::rounds::{self, Rounds, passed};
use super::routing;
use crate::agent::Agent;
use crate::ground::Ground;
use crate::way::{Held, Proxy};

/// As long as the issue says that it hangs. A permit and its grace are over after 27 s: by then the write is taken
/// for lost, and it lies in the socket of the API server.
const HANGS: Duration = Duration::from_secs(30);
/// Longer than the time limit of a write, and than the ten seconds after which errors are a symptom.
const STORM: Duration = Duration::from_secs(20);

/// Every round ends with a route that is good again, a case that is resolved, and one write that the API server
/// took.
///
/// Mutations that break it: a write tried again after a time-out or a 500 without reading the state back; one that
/// arrives late taken for somebody else's; a 429 taken for an answer; a watch that is not taken up again, or is
/// taken up without a list; facts of before the watches were cut.
pub(crate) async fn ends_well(ground: &Ground) -> anyhow::Result<()> {
    routing::stage(ground).await?;
    let mut way = Proxy::start(0, &ground.plane.url, ground.plane.http()?).await?;
    let home = rounds::home(ground, Some(way.url.clone())).await?;
    let mut rounds = Rounds::begin(ground).await?;
    let agent = home.start_ready().await?;
    routing::proven(ground, &agent).await?;
    hangs(&mut rounds, &agent, &mut way).await?;
    storms(&mut rounds, &agent, &mut way).await?;
    is_ill(&mut rounds, &agent, &mut way).await?;
    is_cut(&mut rounds, &agent, &way).await?;
    has_forgotten(&mut rounds, &agent, &way).await?;
    let ledger = rounds.load.stop().await?;
    ground.note(&format!("{} of {} requests were bad", ledger.bad(), ledger.count()))?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// The route goes bad, and the agent's write is on its way.
async fn acting(
    rounds: &mut Rounds<'_>,
    agent: &Agent<'_>,
    way: &mut Proxy,
) -> anyhow::Result<(rounds::Broken, String, Held)> {
    way.stop_writes();
    let broken = rounds.break_route(agent).await?;
    let id = rounds.found(agent).await?;
    let held = way.next_held().await?;
    way.let_writes_pass();
    Ok((broken, id, held))
}

/// The write lies in a socket that nobody reads.
async fn hangs(rounds: &mut Rounds<'_>, agent: &Agent<'_>, way: &mut Proxy) -> anyhow::Result<()> {
    let (broken, id, held) = acting(rounds, agent, way).await?;
    let server = rounds.ground.component("kube-apiserver")?;
    server.freeze()?;
    let since = rounds.load.now();
    held.release();
    passed(&rounds.load, since, HANGS).await?;
    server.thaw()?;
    rounds.healed(agent, &broken, (&id, "API server frozen for 30 s in an act")).await.map(|_| ())
}

/// The write is turned away, and everything after it.
async fn storms(rounds: &mut Rounds<'_>, agent: &Agent<'_>, way: &mut Proxy) -> anyhow::Result<()> {
    let (broken, id, held) = acting(rounds, agent, way).await?;
    way.storm(StatusCode::TOO_MANY_REQUESTS);
    let since = rounds.load.now();
    held.release();
    passed(&rounds.load, since, STORM).await?;
    way.open_to(&rounds.ground.plane.url);
    rounds.healed(agent, &broken, (&id, "API server says 429 for 20 s in an act")).await.map(|_| ())
}

/// The write is made and answered with 500, as is everything after it.
async fn is_ill(rounds: &mut Rounds<'_>, agent: &Agent<'_>, way: &mut Proxy) -> anyhow::Result<()> {
    let (broken, id, held) = acting(rounds, agent, way).await?;
    way.storm(StatusCode::INTERNAL_SERVER_ERROR);
    let since = rounds.load.now();
    held.deny(StatusCode::INTERNAL_SERVER_ERROR);
    passed(&rounds.load, since, STORM).await?;
    way.open_to(&rounds.ground.plane.url);
    rounds.healed(agent, &broken, (&id, "API server says 500 for 20 s in an act")).await.map(|_| ())
}

/// The route goes bad while nobody can watch it.
async fn is_cut(rounds: &mut Rounds<'_>, agent: &Agent<'_>, way: &Proxy) -> anyhow::Result<()> {
    way.refuse();
    let broken = rounds.break_route(agent).await?;
    let id = rounds.found(agent).await?;
    passed(&rounds.load, broken.fault.load, STORM).await?;
    way.open_to(&rounds.ground.plane.url);
    rounds.healed(agent, &broken, (&id, "watches cut for 20 s, bad route")).await.map(|_| ())
}

/// The watches end in good order, the route goes bad, and the API server that the agent finds then began to
/// remember only later.
async fn has_forgotten(rounds: &mut Rounds<'_>, agent: &Agent<'_>, way: &Proxy) -> anyhow::Result<()> {
    let before = way.expired();
    way.pause();
    let broken = rounds.break_route(agent).await?;
    let younger = rounds.ground.plane.start_api_server("kube-apiserver-2").await?;
    way.open_to(&younger);
    let id = rounds.found(agent).await?;
    let healed = rounds.healed(agent, &broken, (&id, "watches answered 410, bad route")).await;
    ensure!(way.expired() > before, "the API server said 410 to a watch");
    healed.map(|_| ())
}
