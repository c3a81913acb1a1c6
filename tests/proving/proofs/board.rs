//! What somebody sees who asks how the mesh is: each fault moves the indicators that it should, and no other; and
//! as long as nothing is wrong, nothing is said to be.

pub(super) mod faults;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::time::Instant;

use super::busy::{self, BUSY, EASY};
use super::routing::{self, GOOD, ROUTE, SHOP, leading, object};
use crate::agent::Home;
use crate::ground::{Ground, Workload};
use crate::traffic::Load;
use crate::wait::same;

/// Traffic is read over a minute, and a silent proxy is asked three times.
const LONG: Duration = Duration::from_secs(150);
/// A quiet mesh is looked at for so long, once in so long.
const QUIET: Duration = Duration::from_secs(300);
const BETWEEN: Duration = Duration::from_secs(10);

/// Levels by indicator.
type Levels = BTreeMap<String, String>;

/// A mesh with a route, a rule, idle proxies, traffic, and a workload that more of it would overload.
async fn stage(ground: &Ground) -> anyhow::Result<(Home, [Load; 2])> {
    routing::stage(ground).await?;
    let (idle, single) = (Workload::new(SHOP, "idle", "v1", 2), Workload::new(SHOP, "single", "v1", 1));
    for workload in [&idle, &single] {
        ground.deploy(workload).await?;
    }
    let busy = busy::deploy(ground, "2s").await?;
    for workload in [&idle, &single, &busy] {
        ground.ready(SHOP, &workload.name()).await?;
    }
    ground.apply_object(object(ROUTE, &leading(&GOOD))).await?;
    let loads = [routing::traffic(ground).await?, ground.load((SHOP, "app=client"), BUSY, EASY).await?];
    let home = routing::home(ground).await?;
    ground.settled(SHOP, "").await?;
    Ok((home, loads))
}

async fn stop(loads: [Load; 2]) -> anyhow::Result<()> {
    for load in loads {
        load.stop().await?;
    }
    Ok(())
}

/// What `meshmend health` says: the whole of it, and its exit code.
async fn asked(home: &Home) -> anyhow::Result<(Option<i32>, Value)> {
    let args = ["health", "--config", "meshmend.yaml", "--kubeconfig", "kubeconfig", "-o", "json"];
    let (code, said) = home.meshmend(&args).await?;
    Ok((code, serde_json::from_str(&said).with_context(|| said.clone())?))
}

fn indicators(whole: &Value) -> impl Iterator<Item = &Value> {
    let parts = whole["components"].as_array().into_iter().flatten();
    parts.flat_map(|part| part["indicators"].as_array().into_iter().flatten())
}

fn levels(whole: &Value) -> Levels {
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    indicators(whole).map(|one| (text(one, "indicator"), text(one, "level"))).collect()
}

/// Those that are not well, with what is said of them.
fn ill(whole: &Value) -> Vec<String> {
    let ill = indicators(whole)
        .filter(|one| ["warning", "critical"].contains(&one["level"].as_str().unwrap_or("")));
    ill.map(|one| format!("{} {}: {}", one["indicator"], one["level"], one["why"])).collect()
}

/// Those that are ill, and those that were well before and are lost sight of. That more is known than before is no
/// harm: a push, for one, tells how long pushes take.
fn moved(before: &Levels, now: &Levels) -> Levels {
    let harmed = |(id, level): &(&String, &String)| match level.as_str() {
        "healthy" => false,
        "unknown" => before.get(*id).is_some_and(|level| level == "healthy"),
        _ => true,
    };
    now.iter().filter(harmed).map(|(id, level)| (id.clone(), level.clone())).collect()
}

/// What is said of a mesh in which nothing is wrong, once it is so.
async fn well(home: &Home) -> anyhow::Result<Value> {
    let begun = Instant::now();
    loop {
        let (_, whole) = asked(home).await?;
        let ill = ill(&whole);
        if ill.is_empty() {
            return Ok(whole);
        }
        ensure!(begun.elapsed() < LONG, "nothing is wrong yet, and these are ill: {ill:?}");
    }
}

/// Five minutes in which nothing is wrong: no look says critical, none says warning, and nothing that was known
/// is lost sight of.
///
/// Mutations that break it: a band on the wrong side; a push under way as a stale proxy; a rate that is read
/// from one point; a proxy of which one look heard nothing as one that hangs.
pub(crate) async fn is_quiet(ground: &Ground) -> anyhow::Result<()> {
    let (home, loads) = stage(ground).await?;
    let before = levels(&well(&home).await?);
    let begun = Instant::now();
    let mut looks = 0;
    while begun.elapsed() < QUIET {
        let (code, whole) = asked(&home).await?;
        ensure!(ill(&whole).is_empty(), "after {:?}: {:?}", begun.elapsed(), ill(&whole));
        same("the exit code", &code, &Some(0))?;
        let now = levels(&whole);
        let lost: Vec<_> = moved(&before, &now).into_iter().filter(|(_, level)| level == "unknown").collect();
        ensure!(lost.is_empty(), "after {:?} no longer known: {lost:?}", begun.elapsed());
        looks += 1;
        tokio::time::sleep(BETWEEN).await;
    }
    let known = before.values().filter(|level| *level == "healthy").count();
    ground.note(&format!(
        "{looks} looks in {QUIET:?}: {known} of {} indicators healthy, none ill",
        before.len()
    ))?;
    stop(loads).await
}
