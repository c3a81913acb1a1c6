//! The agent is killed (-9) between the intent in its journal and the write.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use crate::agent::{Home, Pace, SOON, Settings};
use crate::heal::results;
use crate::proxy::{Held, Proxy};
use crate::scene::{Scene, bad_spec, good_spec};
use crate::wait::{same, until};

/// A permit and the time limit of a write have to pass before the state is read: 27 s, and the act itself.
const RECONCILED: Duration = Duration::from_secs(70);

/// Brings an agent to its write and kills it there. The answer is the incident and the write.
async fn killed(scene: &Scene, home: &Home, proxy: &mut Proxy) -> anyhow::Result<(String, Held)> {
    let agent = scene.fall_ill(home).await?;
    proxy.stop_writes();
    let id = agent.alert(&scene.alert()).await?;
    let held = proxy.next_held().await?;
    agent.kill().await?;
    scene.route_is(&bad_spec()).await?;
    Ok((id, held))
}

async fn stage(scene: &Scene) -> anyhow::Result<(Home, Proxy)> {
    let proxy = Proxy::start(0, &scene.plane.url, scene.plane.http()?).await?;
    let settings = Settings { server: proxy.url.clone(), ..scene.settings("enforce", Pace::Quick) };
    Ok((Home::make(&scene.place(), "agent", &settings).await?, proxy))
}

/// The write never arrives. After the restart the agent finds the old revision, decides anew, and writes.
///
/// Mutations that break it: taking the intent for the deed (the route stays bad); forgetting the open
/// incident.
pub(crate) async fn lost(scene: Scene) -> anyhow::Result<()> {
    let (home, mut proxy) = stage(&scene).await?;
    let (id, held) = killed(&scene, &home, &mut proxy).await?;
    held.lose();
    proxy.let_writes_pass();
    let agent = home.start_ready().await?;
    same("the phase after the restart", &agent.incident(&id).await?["phase"], &json!("executing"))?;
    until("the route is restored", RECONCILED, async || {
        Ok((scene.route("cart").await?["spec"] == good_spec()).then_some(()))
    })
    .await?;
    scene.traffic(500, 0);
    let incident = agent.phase(&id, "resolved", SOON).await?;
    same("the steps", &results(&incident), &vec!["stale".to_owned(), "done".to_owned()])?;
    same("the answers to writes", &proxy.writes(), &vec![None, Some(200)])?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// The write arrives although its sender is dead. After the restart the agent finds it done, verifies it,
/// and writes nothing.
///
/// Mutation that breaks it: executing again what was under way (a second write, and a second charge).
pub(crate) async fn arrives(scene: Scene) -> anyhow::Result<()> {
    let (home, mut proxy) = stage(&scene).await?;
    let (id, held) = killed(&scene, &home, &mut proxy).await?;
    held.release();
    scene.route_becomes(&good_spec()).await?;
    scene.traffic(500, 0);
    proxy.let_writes_pass();
    let agent = home.start_ready().await?;
    same("the phase after the restart", &agent.incident(&id).await?["phase"], &json!("executing"))?;
    let incident = agent.phase(&id, "resolved", RECONCILED).await?;
    same("the steps", &results(&incident), &vec!["done".to_owned()])?;
    same("the attempts", &incident["attempts"], &json!(1))?;
    same("the answers to writes", &proxy.writes(), &vec![Some(200)])?;
    scene.route_is(&good_spec()).await?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}
