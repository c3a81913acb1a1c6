//! The object changes between planning and the write: the old plan is not carried out.

use anyhow::ensure;
use serde_json::json;

use crate::agent::{Home, Pace, SOON, Settings};
use crate::heal::results;
use crate::proxy::Proxy;
use crate::scene::{ROUTE, Scene, good_spec, other_spec};
use crate::wait::same;

/// A person changes the route while the approval is pending, then somebody approves what was asked before.
///
/// Mutation that breaks it: executing the stored plan without comparing it with the one made anew.
pub(crate) async fn approved_too_late(scene: Scene) -> anyhow::Result<()> {
    let home = Home::make(&scene.place(), "agent", &scene.settings("suggest", Pace::Quick)).await?;
    let agent = scene.fall_ill(&home).await?;
    let id = agent.alert(&scene.alert()).await?;
    let asked = agent.phase(&id, "awaiting_approval", SOON).await?;
    let plan = asked["approval"]["plan"].clone();

    scene.edit_spec(ROUTE, &other_spec()).await?;
    let (status, answer) = agent.vote(&id, "approve", &plan).await?;
    ensure!(status == 200, "the vote was answered {status}: {answer}");
    let again = agent.phase(&id, "awaiting_approval", SOON).await?;
    ensure!(again["approval"]["plan"] != plan, "another plan is asked about: {again}");
    let superseded = again["reasons"].as_array().into_iter().flatten();
    ensure!(superseded.into_iter().any(|timed| timed["reason"]["code"] == "superseded"), "{again}");
    // The first answer is used up.
    let (status, _) = agent.vote(&id, "approve", &plan).await?;
    same("a second vote for the old plan", &status, &409)?;
    scene.route_is(&other_spec()).await?;

    let (status, answer) = agent.vote(&id, "deny", &again["approval"]["plan"]).await?;
    ensure!(status == 200, "the vote was answered {status}: {answer}");
    agent.phase(&id, "suppressed", SOON).await?;
    scene.route_is(&other_spec()).await?;
    same("the writes", &scene.written()?, &Vec::new())
}

/// A person changes the spec after the last look of the agent and before its write arrives.
///
/// Mutation that breaks it: leaving `metadata.resourceVersion` out of the patch overwrites the person.
pub(crate) async fn changed_spec(scene: Scene) -> anyhow::Result<()> {
    let mut proxy = Proxy::start(0, &scene.plane.url, scene.plane.http()?).await?;
    let settings = Settings { server: proxy.url.clone(), ..scene.settings("enforce", Pace::Quick) };
    let home = Home::make(&scene.place(), "agent", &settings).await?;
    let agent = scene.fall_ill(&home).await?;
    proxy.stop_writes();
    let id = agent.alert(&scene.alert()).await?;
    let held = proxy.next_held().await?;
    scene.edit_spec(ROUTE, &other_spec()).await?;
    // What the person did helps.
    scene.traffic(500, 0);
    held.release();

    let incident = agent.phase(&id, "escalated", SOON).await?;
    same("the steps", &results(&incident), &vec!["stale".to_owned(), "done".to_owned()])?;
    let reasons = incident["reasons"].as_array().into_iter().flatten();
    ensure!(reasons.into_iter().any(|timed| timed["reason"]["code"] == "stale"), "{incident}");
    same("the answers to writes", &proxy.writes(), &vec![Some(409)])?;
    scene.route_is(&other_spec()).await
}

/// Somebody changes a label at the same moment: the write is refused, the facts are read again, and the
/// plan that still fits is carried out; the label stays.
///
/// Mutations that break it: ending the incident at the first stale write; restoring the whole object.
pub(crate) async fn changed_labels(scene: Scene) -> anyhow::Result<()> {
    let mut proxy = Proxy::start(0, &scene.plane.url, scene.plane.http()?).await?;
    let settings = Settings { server: proxy.url.clone(), ..scene.settings("enforce", Pace::Quick) };
    let home = Home::make(&scene.place(), "agent", &settings).await?;
    let agent = scene.fall_ill(&home).await?;
    proxy.stop_writes();
    let id = agent.alert(&scene.alert()).await?;
    let held = proxy.next_held().await?;
    scene.patch_route(ROUTE, &json!({ "metadata": { "labels": { "on-call": "yes" } } })).await?;
    proxy.let_writes_pass();
    held.release();

    scene.route_becomes(&good_spec()).await?;
    scene.traffic(500, 0);
    let incident = agent.phase(&id, "resolved", SOON).await?;
    same("the steps", &results(&incident), &vec!["stale".to_owned(), "done".to_owned()])?;
    same("the answers to writes", &proxy.writes(), &vec![Some(409), Some(200)])?;
    let labels = scene.route(ROUTE).await?["metadata"]["labels"].clone();
    same("the labels", &labels, &json!({ "team": "shop", "on-call": "yes" }))
}
