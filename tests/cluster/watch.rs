//! A watch that the API server cannot go on with.

use anyhow::ensure;
use serde_json::json;

use crate::agent::{Home, Pace, SOON, Settings};
use crate::proxy::Proxy;
use crate::scene::{ROUTE, Scene, bad_spec, good_spec, other_spec};
use crate::wait::until;

/// The agent loses its API server, the world changes meanwhile, and the server that it finds then began to
/// remember only later: it answers 410 Gone to the version the agent has. All the same the agent ends up
/// with what is there, with what is gone, and with what comes next.
///
/// Mutations that break it: ending the watch at an error; taking it up at the newest version without a list
/// (the second revision is missed); not comparing the fresh list with the store (the deleted route stays).
pub(crate) async fn expired(scene: Scene) -> anyhow::Result<()> {
    let proxy = Proxy::start(0, &scene.plane.url, scene.plane.http()?).await?;
    let settings = Settings { server: proxy.url.clone(), ..scene.settings("enforce", Pace::Quick) };
    let home = Home::make(&scene, "agent", &settings).await?;
    scene.create_route(ROUTE, &good_spec()).await?;
    let mut other = good_spec();
    other["hosts"] = json!(["old"]);
    scene.create_route("old", &other).await?;
    let agent = home.start_ready().await?;
    agent.revisions(ROUTE, 1).await?;
    agent.revisions("old", 1).await?;
    ensure!(proxy.expired() == 0, "no watch has expired yet");

    proxy.close();
    scene.edit_spec(ROUTE, &bad_spec()).await?;
    scene.delete_route("old").await?;
    let younger = scene.plane.start_api_server("kube-apiserver-2").await?;
    proxy.open_to(&younger);

    agent.revisions(ROUTE, 2).await?;
    ensure!(proxy.expired() > 0, "the API server said 410 to a watch");
    until("the deleted route is known to be gone", SOON, async || {
        Ok(agent.history("old").await?["in_force"].is_null().then_some(()))
    })
    .await?;
    scene.edit_spec(ROUTE, &other_spec()).await?;
    agent.revisions(ROUTE, 3).await?;
    let (status, said) = agent.probe("/readyz").await?;
    ensure!(status == 200, "it is ready: {said}");
    ensure!(agent.terminate().await?.success(), "it is the same process all the time");
    home.journal_holds().await
}
