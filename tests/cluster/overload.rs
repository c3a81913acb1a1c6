//! An overloaded Service: load is shed by its real DestinationRule, and taken back byte for byte.

use std::time::Duration;

use anyhow::ensure;
use meshmend::model::mark::RESTORE;
use serde_json::{Value, json};

use crate::acts::{objects, read};
use crate::agent::{Agent, Home, SOON};
use crate::control_plane::apply;
use crate::heal::results;
use crate::least::{self, Duty};
use crate::prometheus::Load;
use crate::proxy::Proxy;
use crate::scene::{ROUTE, Scene};
use crate::wait::{same, until};

const SHED: &str = include_str!("../../playbooks/shed-with-destination-rule.rhai");
/// The shortest life that a shed may have is a minute; as much again for what is busy.
const EXPIRED: Duration = Duration::from_secs(120);
/// After a kill a permit and the time limit of a write have to pass: 27 s, and the act itself.
const RECONCILED: Duration = Duration::from_secs(80);

async fn stage(scene: &Scene, account: &'static str, server: String) -> anyhow::Result<Home> {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": ROUTE, "namespace": scene.namespace },
        "spec": { "selector": { "app": ROUTE }, "ports": [{ "name": "http", "port": 8080 }] },
    });
    apply(&scene.client, service).await?;
    scene.traffic(500, 0);
    // 150 s of work within a window of 5 s are 30 requests under way, of 3 clients: 7 for each at 70 %.
    let load = Load { turned_away: 0, busy_ms: 150_000, clients: 3 };
    scene.prometheus.load(&scene.host(ROUTE), load);
    let quick = [
        ("soak: \"10s\", within: \"2m\", hold: \"30s\"", "soak: \"1s\", within: \"20s\", hold: \"3s\""),
        ("expires: \"10m\"", "expires: \"1m\""),
        ("expires_s: 600", "expires_s: 60"),
    ];
    let playbooks = [("shed-with-destination-rule", least::with(SHED, &quick)?)];
    let actions = "[\"shed_load\"]";
    least::home(scene, &Duty { account, server, sources: "  signals: {}\n", playbooks: &playbooks, actions })
        .await
}

async fn rule(scene: &Scene) -> anyhow::Result<Value> {
    read(&objects(scene, "networking.istio.io", "DestinationRule"), ROUTE).await
}

fn mark(rule: &Value) -> Option<&str> {
    rule["metadata"]["annotations"][RESTORE].as_str()
}

async fn overload(scene: &Scene, agent: &Agent<'_>) -> anyhow::Result<String> {
    let subject = json!({ "kind": "Service", "namespace": scene.namespace, "name": ROUTE });
    agent.signal(&least::signal("traffic.overload", &subject)).await
}

/// Waits until load is shed for this incident, to so many requests per client.
async fn shed(scene: &Scene, id: &str, requests: u32) -> anyhow::Result<()> {
    let found = until("load is shed", RECONCILED, async || {
        let found = rule(scene).await?;
        Ok(mark(&found).is_some().then_some(found))
    })
    .await?;
    let pool = &found["spec"]["trafficPolicy"]["connectionPool"]["http"];
    same("the limits", pool, &json!({ "http2MaxRequests": requests, "http1MaxPendingRequests": requests }))?;
    ensure!(mark(&found).is_some_and(|mark| mark.contains(id)), "the way back names {id}: {found}");
    Ok(())
}

/// Waits until the rule is again as it was, in every byte that is not the server's own account of writes.
async fn taken_back(scene: &Scene, before: &Value) -> anyhow::Result<()> {
    let after = until("it is taken back", EXPIRED, async || {
        let found = rule(scene).await?;
        Ok(mark(&found).is_none().then_some(found))
    })
    .await?;
    same("the spec, byte for byte", &after["spec"].to_string(), &before["spec"].to_string())?;
    for key in ["uid", "labels", "annotations", "finalizers", "ownerReferences"] {
        same(key, &after["metadata"][key], &before["metadata"][key])?;
    }
    Ok(())
}

/// From the signal over the shed and the recovery to the expiry, with the least rights.
///
/// Mutations that break it: a shed without an end; taking back at the end of the incident instead of its own;
/// an undo that leaves an empty map or our mark; a right missing in what `meshmend rbac` prints.
pub(crate) async fn expires(scene: Scene) -> anyhow::Result<()> {
    const ACCOUNT: &str = "agent-of-overload";
    let home = stage(&scene, ACCOUNT, scene.plane.url.clone()).await?;
    let before = rule(&scene).await?;
    let agent = home.start_ready().await?;
    let id = overload(&scene, &agent).await?;
    shed(&scene, &id, 7).await?;
    let incident = agent.phase(&id, "holding", SOON).await?;
    same("the playbook", &incident["plan"]["playbook"], &json!("shed-with-destination-rule"))?;
    same("the steps", &results(&incident), &vec!["done".to_owned()])?;
    let recovered = incident["reasons"].as_array().into_iter().flatten();
    ensure!(recovered.into_iter().any(|timed| timed["reason"]["code"] == "recovered"), "{incident}");
    ensure!(mark(&rule(&scene).await?).is_some(), "it is shed until its own end, not until the recovery");
    taken_back(&scene, &before).await?;
    let incident = agent.phase(&id, "resolved", SOON).await?;
    same("the steps with the way back", &results(&incident), &vec!["done".to_owned(), "done".to_owned()])?;
    same("the writes", &scene.written_by(&least::user(ACCOUNT))?, &vec![200, 200])?;
    scene.prometheus.nothing_strange()?;
    least::nothing_was_forbidden(&scene, ACCOUNT)?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// An agent that is killed while its shed is on the way. The answer is the incident.
async fn killed(
    scene: &Scene,
    home: &Home,
    proxy: &mut Proxy,
) -> anyhow::Result<(String, crate::proxy::Held)> {
    let agent = home.start_ready().await?;
    proxy.stop_writes();
    let id = overload(scene, &agent).await?;
    let held = proxy.next_held().await?;
    agent.kill().await?;
    ensure!(mark(&rule(scene).await?).is_none(), "nothing has arrived yet");
    Ok((id, held))
}

/// The shed arrives although its sender is dead: it is found after the restart, not doubled, and taken back
/// at its end.
///
/// Mutations that break it: shedding again what is shed; forgetting after a restart what has an end.
pub(crate) async fn killed_arrives(scene: Scene) -> anyhow::Result<()> {
    let mut proxy = Proxy::start(0, &scene.plane.url, scene.plane.http()?).await?;
    let home = stage(&scene, "agent-of-shed-arrives", proxy.url.clone()).await?;
    let before = rule(&scene).await?;
    let (id, held) = killed(&scene, &home, &mut proxy).await?;
    held.release();
    shed(&scene, &id, 7).await?;
    proxy.let_writes_pass();
    let agent = home.start_ready().await?;
    taken_back(&scene, &before).await?;
    same("the answers to writes", &proxy.writes(), &vec![Some(200), Some(200)])?;
    let incident = agent.phase(&id, "resolved", SOON).await?;
    same("the steps", &results(&incident), &vec!["done".to_owned(), "done".to_owned()])?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// The shed never arrives: it is done once after the restart, and once only. The rung that was not written is
/// repeated: 70 % of 30 requests, which is 7 for each of 3 clients.
///
/// Mutations that break it: taking the intent for the deed; a second write for the same plan; counting the
/// lost write as a rung that did not help (4 for each).
pub(crate) async fn killed_lost(scene: Scene) -> anyhow::Result<()> {
    let mut proxy = Proxy::start(0, &scene.plane.url, scene.plane.http()?).await?;
    let home = stage(&scene, "agent-of-shed-lost", proxy.url.clone()).await?;
    let (id, held) = killed(&scene, &home, &mut proxy).await?;
    held.lose();
    proxy.let_writes_pass();
    let agent = home.start_ready().await?;
    shed(&scene, &id, 7).await?;
    let incident = agent.phase(&id, "holding", SOON).await?;
    same("the steps", &results(&incident), &vec!["stale".to_owned(), "done".to_owned()])?;
    same("the answers to writes", &proxy.writes(), &vec![None, Some(200)])?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}
