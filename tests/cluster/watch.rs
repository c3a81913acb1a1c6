//! Watches that end, break, or cannot be gone on with.

use anyhow::ensure;

use crate::agent::{Home, Pace, SOON, Settings, WATCHES};
use crate::proxy::Proxy;
use crate::scene::{ROUTE, Scene, bad_spec, good_spec, other_spec, serving};
use crate::wait::until;

/// A watch ends at its time limit, the world changes meanwhile, and the API server that the agent finds then
/// began to remember only later: it answers 410 Gone to the version the agent has. All the same the agent
/// ends up with what is there, with what is gone, and with what comes next.
///
/// Mutations that break it: ending the watch at an error; taking it up at the newest version without a list
/// (the second revision is missed); not comparing the fresh list with the store (the deleted route stays).
pub(crate) async fn expired(scene: Scene) -> anyhow::Result<()> {
    let proxy = Proxy::start(0, &scene.plane.url, scene.plane.http()?).await?;
    let settings = Settings { server: proxy.url.clone(), ..scene.settings("enforce", Pace::Quick) };
    let home = Home::make(&scene.place(), "agent", &settings).await?;
    scene.create_route(ROUTE, &good_spec()).await?;
    scene.create_route("old", &serving("old", good_spec())).await?;
    let agent = home.start_ready().await?;
    agent.revisions(ROUTE, 1).await?;
    agent.revisions("old", 1).await?;
    ensure!(proxy.expired() == 0, "no watch has expired yet");

    proxy.pause();
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

/// The API server is away for a moment while an alert comes in, and nothing changed when it is back: the
/// watches are whole again although they have no news, and the route is healed.
///
/// Mutations that break it: clearing the trouble of a watch only with its next event (the inspection waits
/// until it gives up); refusing the alert; acting on a view that is not whole.
pub(crate) async fn interrupted(scene: Scene) -> anyhow::Result<()> {
    let proxy = Proxy::start(0, &scene.plane.url, scene.plane.http()?).await?;
    let settings = Settings { server: proxy.url.clone(), ..scene.settings("enforce", Pace::Quick) };
    let home = Home::make(&scene.place(), "agent", &settings).await?;
    let agent = scene.fall_ill(&home).await?;
    proxy.refuse();
    let id = agent.alert(&scene.alert()).await?;
    until("the watches are known to be interrupted", SOON, async || {
        Ok((home.log()?.matches("watch interrupted").count() == WATCHES).then_some(()))
    })
    .await?;
    // Ready all the same, with what is wrong. Mutation: leaving out the watches beside those of routes.
    let (status, said) = agent.probe("/readyz").await?;
    ensure!(status == 200 && said.starts_with("ok\n"), "{status} {said}");
    for watch in ["watch of pods", "virtualservices"] {
        ensure!(said.to_lowercase().contains(watch), "{watch} is not in {said}");
    }
    let (_, metrics) = agent.probe("/metrics").await?;
    ensure!(metrics.contains("meshmend_up{part=\"inventory\"} 0"), "{metrics}");
    scene.route_is(&bad_spec()).await?;
    proxy.open_to(&scene.plane.url);
    scene.route_becomes(&good_spec()).await?;
    scene.traffic(500, 0);
    agent.phase(&id, "resolved", SOON).await.map(|_| ())
}
