//! What cannot be read is unknown: never healthy, never a reason to act, and said plainly.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::agent::{Home, Pace, SOON, Settings, WATCHES};
use crate::control_plane::apply;
use crate::process::free_port;
use crate::prometheus::Manner;
use crate::proxy::Proxy;
use crate::scene::{ROUTE, Scene, bad_spec, good_spec, serving};
use crate::wait::{same, until};

/// Every way of Prometheus to be of no use, each about a route of its own.
const USELESS: [(&str, Manner); 7] = [
    ("nan", Manner::SaysNan),
    ("failing", Manner::Fails),
    ("late-query", Manner::TimesOut),
    ("empty", Manner::KnowsNothing),
    ("partial", Manner::Warns),
    ("hour-old", Manner::IsLate),
    ("hanging", Manner::Hangs),
];

/// An inspection is tried for a minute, and a hanging Prometheus takes 20 s of the last try.
const GIVEN_UP: Duration = Duration::from_secs(110);

/// Routes that fall ill alike. Where Prometheus is of no use the traffic is unknown, the case goes to people
/// and nothing is written; where it hiccups and then answers, the very same case is healed; and where it
/// fails again while the act is verified, nothing is known and nothing is taken back.
///
/// Mutations that break it: reading NaN or nothing as a number; taking a warning for an answer; ending a case
/// at the first hiccup; undoing an act because nobody could see whether it helped.
pub(crate) async fn prometheus(scene: Scene) -> anyhow::Result<()> {
    let home = Home::make(&scene.place(), "agent", &scene.settings("enforce", Pace::Quick)).await?;
    let agent = scene.fall_ill(&home).await?;
    scene.prometheus.behave(&scene.host(ROUTE), Manner::Fails);
    let healed = agent.alert(&scene.alert()).await?;
    let mut given_up = Vec::new();
    for (name, manner) in USELESS {
        scene.create_route(name, &serving(name, good_spec())).await?;
        agent.revisions(name, 1).await?;
        agent.bless(name).await?;
        scene.edit_spec(name, &serving(name, bad_spec())).await?;
        agent.revisions(name, 2).await?;
        scene.prometheus.traffic(&scene.host(name), 500, 200);
        scene.prometheus.behave(&scene.host(name), manner);
        given_up.push((agent.alert(&scene.alert_about(name)).await?, manner));
    }
    until("the traffic is known to be unknown", SOON, async || {
        Ok((passed_over(&agent.incident(&healed).await?)["reason"]["fact"] == "traffic").then_some(()))
    })
    .await?;
    scene.prometheus.behave(&scene.host(ROUTE), Manner::Answers);
    scene.route_becomes(&good_spec()).await?;
    scene.prometheus.behave(&scene.host(ROUTE), Manner::Fails);

    for (id, manner) in given_up {
        let incident = agent.phase(&id, "escalated", GIVEN_UP).await?;
        let reason = &passed_over(&incident)["reason"];
        let known = reason["code"] == "fact_unknown" && reason["fact"] == "traffic";
        ensure!(known, "{manner:?} makes the traffic unknown: {reason}");
        ensure!(!reason["why"].as_str().unwrap_or_default().is_empty(), "{manner:?} is explained: {reason}");
    }
    let incident = agent.phase(&healed, "escalated", SOON).await?;
    let reasons = incident["reasons"].as_array().cloned().unwrap_or_default();
    ensure!(reasons.iter().any(|timed| timed["reason"]["code"] == "inconclusive"), "{incident}");
    scene.route_is(&good_spec()).await?;
    for (name, _) in USELESS {
        same(name, &scene.route(name).await?["spec"], &serving(name, bad_spec()))?;
    }
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
    let home = Home::make(&scene.place(), "agent", &settings).await?;
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
    // Once for each of the watches, not at every try.
    until("every watch tells it", SOON, async || {
        Ok((home.log()?.matches("watch interrupted").count() >= WATCHES).then_some(()))
    })
    .await?;
    same("how often the log tells it", &home.log()?.matches("watch interrupted").count(), &WATCHES)?;

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
    let home = Home::make(&scene.place(), "agent", &settings).await?;
    let mut agent = home.start().await?;
    until("the agent names the missing right", SOON, async || {
        let Ok((status, said)) = agent.probe("/readyz").await else { return Ok(None) };
        ensure!(status == 503, "without rights it is not ready: {status} {said}");
        Ok(said.contains("cannot list resource \"virtualservices\"").then_some(()))
    })
    .await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": "nobody" },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "meshmend-observe",
        },
        "subjects": [{ "kind": "ServiceAccount", "name": "nobody", "namespace": "meshmend" }],
    });
    apply(&scene.client, binding).await?;
    agent.ready().await?;
    let log = home.log()?;
    same("how often the log tells it", &log.matches("is forbidden").count(), &WATCHES)?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    until("nothing is wrong any more, and readiness stays", SOON, async || {
        let (status, said) = agent.probe("/readyz").await?;
        ensure!(status == 200, "{status} {said}");
        Ok((said == "ok\n").then_some(()))
    })
    .await
}
