//! What somebody sees who asks how the mesh is while it falls ill: a bad route moves the indicators that it
//! should, and no other; and as long as nothing is wrong, nothing is said to be.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::routing::{self, GOOD, HALF, ROUTE, SHOP, leading, object};
use crate::agent::Home;
use crate::ground::{Ground, Workload};
use crate::traffic::Load;
use crate::wait::{same, until};

/// Traffic is read over a minute, and a silent proxy is asked three times.
const LONG: Duration = Duration::from_secs(150);
/// A quiet mesh is looked at for so long, once in so long.
const QUIET: Duration = Duration::from_secs(300);
const BETWEEN: Duration = Duration::from_secs(10);
/// A fault is told by as many looks in a row, so that none of its figures is still under way.
const LOOKS: usize = 3;

/// Levels by indicator.
type Levels = BTreeMap<String, String>;

/// What a fault moves.
struct Moves {
    /// Which one.
    fault: &'static str,
    /// Indicators that it has to move, and to which level.
    all: &'static [(&'static str, &'static str)],
}

/// A mesh with a route, a rule, traffic, and idle proxies.
async fn stage(ground: &Ground) -> anyhow::Result<(Home, Load)> {
    routing::stage(ground).await?;
    let idle = Workload::new(SHOP, "idle", "v1", 2);
    let single = Workload::new(SHOP, "single", "v1", 1);
    for workload in [&idle, &single] {
        ground.deploy(workload).await?;
    }
    for workload in [&idle, &single] {
        ground.ready(SHOP, &workload.name()).await?;
    }
    ground.apply_object(object(ROUTE, &leading(&GOOD))).await?;
    let load = routing::traffic(ground).await?;
    let home = routing::home(ground).await?;
    Ok((home, load))
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

/// Waits until a fault has moved exactly what it should for some looks in a row. On its way there nothing else may
/// have become critical.
async fn moves(home: &Home, before: &Levels, expected: &Moves) -> anyhow::Result<()> {
    let Moves { fault, all } = expected;
    let wanted: Levels = all.iter().map(|(id, level)| ((*id).to_owned(), (*level).to_owned())).collect();
    let begun = Instant::now();
    let (mut alike, mut last) = (0, Value::Null);
    while alike < LOOKS {
        ensure!(
            begun.elapsed() < LONG,
            "{fault} moved {:?} instead of {wanted:?}: {:?}",
            moved(before, &levels(&last)),
            ill(&last)
        );
        let (code, whole) = asked(home).await?;
        let now = moved(before, &levels(&whole));
        let stray = now.iter().find(|(id, level)| *level == "critical" && !wanted.contains_key(*id));
        ensure!(stray.is_none(), "{fault} made {stray:?} critical: {:?}", ill(&whole));
        if now == wanted {
            let critical = levels(&whole).values().any(|level| level == "critical");
            same("the exit code", &code, &Some(if critical { 2 } else { 0 }))?;
            alike += 1;
        } else {
            alike = 0;
        }
        last = whole;
    }
    Ok(())
}

/// Waits until all is as it was.
async fn is_well_again(home: &Home, before: &Levels) -> anyhow::Result<()> {
    until("all indicators are as before", LONG, async || {
        let (_, whole) = asked(home).await?;
        Ok(moved(before, &levels(&whole)).is_empty().then_some(()))
    })
    .await
}

/// Mutations that break it: an indicator that hears of a fault that is none of its own, or not of its own; a window
/// that never ends.
pub(crate) async fn is_moved(ground: &Ground) -> anyhow::Result<()> {
    let (home, load) = stage(ground).await?;
    ground.settled(SHOP, "").await?;
    let before = well(&home).await?;

    ground.change(ROUTE, &json!({ "spec": leading(&HALF) })).await?;
    moves(&home, &before, &BAD_ROUTE).await?;
    ground.change(ROUTE, &json!({ "spec": leading(&GOOD) })).await?;
    is_well_again(&home, &before).await?;
    ground.note(BAD_ROUTE.fault)?;

    load.stop().await.map(|_| ())
}

/// The levels of a mesh in which nothing is wrong, once they are so.
async fn well(home: &Home) -> anyhow::Result<Levels> {
    let begun = Instant::now();
    loop {
        let (_, whole) = asked(home).await?;
        let ill = ill(&whole);
        if ill.is_empty() {
            return Ok(levels(&whole));
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
    let (home, load) = stage(ground).await?;
    ground.settled(SHOP, "").await?;
    let before = well(&home).await?;
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
    load.stop().await.map(|_| ())
}

const BAD_ROUTE: Moves = Moves {
    fault: "a bad route",
    all: &[("traffic.route_error_rate", "critical"), ("traffic.success_rate", "critical")],
};
