//! Mode observe: everything but the write, with and without the right to write.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::agent::{Agent, Home, Pace, SOON, Settings};
use crate::scene::{ROUTE, Scene, bad_spec, good_spec};
use crate::wait::{same, until};

/// Two agents with the shipped policy watch a route fall ill: one may only look, one may write too. Both
/// make the plan, the first names the right it lacks, and no object of the namespace changes.
///
/// Mutations that break it: a dry run that is sent without `dryRun=All`; treating the 403 as an error that
/// ends the incident; a default mode above observe.
pub(crate) async fn story(scene: Scene) -> anyhow::Result<()> {
    let watching = Settings { account: "observer", mode: None, ..scene.settings("observe", Pace::Shipped) };
    let able = Settings { mode: None, ..scene.settings("observe", Pace::Shipped) };
    let watching = Home::make(&scene.place(), "watching", &watching).await?;
    let able = Home::make(&scene.place(), "able", &able).await?;
    scene.create_route(ROUTE, &good_spec()).await?;
    let first = watching.start_ready().await?;
    let second = able.start_ready().await?;
    for agent in [&first, &second] {
        agent.revisions(ROUTE, 1).await?;
        agent.bless(ROUTE).await?;
    }
    scene.edit_spec(ROUTE, &bad_spec()).await?;
    scene.traffic(500, 200);
    for agent in [&first, &second] {
        agent.revisions(ROUTE, 2).await?;
    }
    let before = scene.versions().await?;
    ensure!(
        before.contains_key("virtualservices/cart") && before.contains_key("pods/cart-v1-a"),
        "{before:?}"
    );

    let incident = held(&first, &first.alert(&scene.alert()).await?).await?;
    same("the plan", &incident["plan"]["steps"][0]["action"], &json!("rollback_route"))?;
    let rehearsal = &incident["rehearsal"];
    same("the dry run", &rehearsal["result"], &json!("forbidden"))?;
    same("the verb", &rehearsal["verb"], &json!("patch"))?;
    same("the resource", &rehearsal["resource"], &json!("virtualservices.networking.istio.io"))?;
    same("the namespace", &rehearsal["namespace"], &json!(scene.namespace))?;
    shows_the_rollback(rehearsal)?;
    same("what holds it", &codes(&incident), &["mode_observe", "right_missing"].map(str::to_owned).to_vec())?;

    let incident = held(&second, &second.alert(&scene.alert()).await?).await?;
    same("the dry run", &incident["rehearsal"]["result"], &json!("accepted"))?;
    shows_the_rollback(&incident["rehearsal"])?;
    same("what holds it", &codes(&incident), &vec!["mode_observe".to_owned()])?;

    same("the versions of all objects", &scene.versions().await?, &before)?;
    same("the writes", &scene.written()?, &Vec::new())?;
    for (agent, home) in [(first, &watching), (second, &able)] {
        ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
        home.journal_holds().await?;
    }
    Ok(())
}

fn shows_the_rollback(rehearsal: &Value) -> anyhow::Result<()> {
    let diff = rehearsal["diff"].as_str().context("there is a diff")?;
    let shown = diff.contains("-gateways:") && diff.contains("+  timeout: 5s");
    ensure!(shown, "the diff shows what would change: {diff}");
    Ok(())
}

/// Waits until the gate has answered "not now".
async fn held(agent: &Agent<'_>, id: &str) -> anyhow::Result<Value> {
    until("the gate holds the plan", SOON, async || {
        let incident = agent.incident(id).await?;
        Ok((incident["verdict"]["verdict"] == "hold").then_some(incident))
    })
    .await
}

fn codes(incident: &Value) -> Vec<String> {
    let holds = incident["verdict"]["holds"].as_array().into_iter().flatten();
    let mut codes: Vec<String> =
        holds.map(|hold| hold["reason"]["code"].as_str().unwrap_or_default().to_owned()).collect();
    codes.sort();
    codes
}
