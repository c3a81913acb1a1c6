//! What cannot be read is unknown: never healthy, never a reason to act, and said plainly.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::agent::{Home, Pace, SOON, Settings};
use crate::control_plane::apply;
use crate::process::free_port;
use crate::prometheus::Manner;
use crate::proxy::Proxy;
use crate::scene::{ROUTE, Scene, bad_spec, good_spec};
use crate::wait::{same, until};

/// Every way of Prometheus to be of no use, during an incident that would be healed otherwise; then it
/// answers, and the same alert is acted on; then it fails again while the act is verified.
///
/// Mutations that break it: reading NaN or nothing as a number; taking a warning for an answer; undoing an
/// act because nobody could see whether it helped.
pub(crate) async fn prometheus(scene: Scene) -> anyhow::Result<()> {
    let home = Home::make(&scene, "agent", &scene.settings("enforce", Pace::Quick)).await?;
    let agent = scene.fall_ill(&home).await?;
    for manner in [
        Manner::SaysNan,
        Manner::Fails,
        Manner::TimesOut,
        Manner::KnowsNothing,
        Manner::Warns,
        Manner::IsLate,
        Manner::Hangs,
    ] {
        scene.prometheus.behave(manner);
        let id = agent.alert(&scene.alert()).await?;
        let incident = agent.phase(&id, "escalated", SOON).await?;
        let reason = &passed_over(&incident)["reason"];
        ensure!(
            reason["code"] == "fact_unknown" && reason["fact"] == "traffic",
            "{manner:?} makes the traffic unknown: {reason}"
        );
        ensure!(!reason["why"].as_str().unwrap_or_default().is_empty(), "{manner:?} is explained: {reason}");
    }
    scene.route_is(&bad_spec()).await?;
    same("the writes", &scene.written()?, &Vec::new())?;

    scene.prometheus.behave(Manner::Answers);
    let id = agent.alert(&scene.alert()).await?;
    scene.route_becomes(&good_spec()).await?;
    scene.prometheus.behave(Manner::Fails);
    let incident = agent.phase(&id, "escalated", SOON).await?;
    let reasons = incident["reasons"].as_array().cloned().unwrap_or_default();
    ensure!(reasons.iter().any(|timed| timed["reason"]["code"] == "inconclusive"), "{incident}");
    scene.route_is(&good_spec()).await?;
    same("the writes", &scene.written()?, &vec![200])
}

/// Why the playbook that writes was not used.
fn passed_over(incident: &Value) -> Value {
    let passed = incident["passed_over"].as_array().into_iter().flatten();
    passed.into_iter().find(|p| p["playbook"] == "roll-back-virtual-service").cloned().unwrap_or_default()
}

/// At the start nobody listens at the API server's address. The agent lives, is not ready, says why, takes
/// no alert, and goes to work as soon as the API server is there.
///
/// Mutations that break it: ending at the first failed list; being ready without one; acknowledging an
/// alert that nothing can be done about.
pub(crate) async fn away(scene: Scene) -> anyhow::Result<()> {
    let port = free_port()?;
    let server = format!("http://127.0.0.1:{port}");
    let settings = Settings { server, ..scene.settings("enforce", Pace::Quick) };
    let home = Home::make(&scene, "agent", &settings).await?;
    scene.create_route(ROUTE, &good_spec()).await?;
    let mut agent = home.start().await?;
    let said = until("the agent says why it is not ready", SOON, async || {
        let Ok((status, said)) = agent.probe("/readyz").await else { return Ok(None) };
        ensure!(status == 503, "without an API server it is not ready: {status} {said}");
        Ok(said.contains("VirtualServices").then_some(said))
    })
    .await?;
    ensure!(said.to_lowercase().contains("connection refused"), "the cause is named: {said}");
    same("liveness", &agent.probe("/livez").await?.0, &200)?;
    let (status, answer) = agent.post_alert(&scene.alert()).await?;
    ensure!(status == 503, "an alert is to be sent again: {status} {answer}");
    let log = home.log()?;
    // Once for each of the two watches, not at every try.
    same("how often the log tells it", &log.matches("watch interrupted").count(), &2)?;

    let _proxy = Proxy::start(port, &scene.plane.url, scene.plane.http()?).await?;
    agent.ready().await?;
    agent.revisions(ROUTE, 1).await?;
    let (status, answer) = agent.post_alert(&scene.alert()).await?;
    ensure!(status == 200, "alerts are taken now: {status} {answer}");
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    Ok(())
}

/// An account without any right: not ready, with the verb and the resource it lacks; once the right is
/// given, it goes to work without a restart.
///
/// Mutation that breaks it: hiding the API server's words behind "the cluster could not be read".
pub(crate) async fn nobody(scene: Scene) -> anyhow::Result<()> {
    let settings = Settings { account: "nobody", ..scene.settings("enforce", Pace::Quick) };
    let home = Home::make(&scene, "agent", &settings).await?;
    let mut agent = home.start().await?;
    until("the agent names the missing right", SOON, async || {
        let Ok((status, said)) = agent.probe("/readyz").await else { return Ok(None) };
        ensure!(status == 503, "without rights it is not ready: {status} {said}");
        Ok(said.contains("cannot list resource \"virtualservices\"").then_some(()))
    })
    .await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": { "name": "nobody", "namespace": scene.namespace },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "meshmend-observe",
        },
        "subjects": [{ "kind": "ServiceAccount", "name": "nobody", "namespace": "meshmend" }],
    });
    apply(&scene.client, binding).await?;
    agent.ready().await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    same("readiness stays", &agent.probe("/readyz").await?.0, &200)
}
