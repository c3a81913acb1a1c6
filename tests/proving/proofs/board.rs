//! What somebody sees who asks how the mesh is while it falls ill: each fault moves the indicators that it
//! should, and no other; and as long as nothing is wrong, nothing is said to be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::certs::{certificate, issued, issuer, nears_its_end};
use super::routing::{self, GOOD, HALF, ROUTE, SHOP, leading, object};
use super::shop::istiod;
use crate::agent::Home;
use crate::ground::{Ground, Workload};
use crate::kubelet::Process;
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
    /// Those that it may move besides: whether it does hangs on what happens while it lasts, a push for one.
    perhaps: &'static [&'static str],
}

/// A mesh with a route, a rule, a certificate, traffic, and idle proxies.
async fn stage(ground: &Ground) -> anyhow::Result<(Home, Load)> {
    routing::stage(ground).await?;
    let idle = Workload::new(SHOP, "idle", "v1", 2);
    let picky = Workload::new(SHOP, "picky", "v1", 1);
    for workload in [&idle, &picky] {
        ground.deploy(workload).await?;
    }
    for workload in [&idle, &picky] {
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
    let Moves { fault, all, perhaps } = expected;
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
        let mut now = moved(before, &levels(&whole));
        now.retain(|id, _| !perhaps.contains(&id.as_str()));
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

/// Mutations that break it: an indicator that hears of a fault that is none of its own, or not of its own; a
/// series of a frozen proxy that still counts as its word; an istiod that is down as a mesh without one.
pub(crate) async fn is_moved(ground: &Ground) -> anyhow::Result<()> {
    let controllers = ground.cert_manager()?;
    let (home, load) = stage(ground).await?;
    issuer(ground, "own", &json!({ "selfSigned": {} })).await?;
    certificate(ground, ("web", "own"), &json!({})).await?;
    issued(ground, "web", 1).await?;
    ground.settled(SHOP, "").await?;
    let before = well(&home).await?;

    ground.change(ROUTE, &json!({ "spec": leading(&HALF) })).await?;
    moves(&home, &before, &BAD_ROUTE).await?;
    ground.change(ROUTE, &json!({ "spec": leading(&GOOD) })).await?;
    is_well_again(&home, &before).await?;
    ground.note(BAD_ROUTE.fault)?;

    nears_its_end(ground, &controllers, "web").await?;
    moves(&home, &before, &EXPIRING).await?;
    controllers.thaw()?;
    is_well_again(&home, &before).await?;
    ground.note(EXPIRING.fault)?;

    let hung = ground.pods(SHOP, "app=idle").await?;
    let hung = hung.first().and_then(|pod| pod.metadata.name.clone()).context("idle has pods")?;
    ground.kubelet.envoy(SHOP, &hung)?.freeze()?;
    moves(&home, &before, &FROZEN).await?;
    ground.kubelet.envoy(SHOP, &hung)?.thaw()?;
    is_well_again(&home, &before).await?;
    ground.note(FROZEN.fault)?;

    super::refused::break_filter(ground).await?;
    moves(&home, &before, &REJECTED).await?;
    super::refused::mend_filter(ground).await?;
    is_well_again(&home, &before).await?;
    ground.note(REJECTED.fault)?;

    istiod(ground).await?.iter().try_for_each(Process::freeze)?;
    moves(&home, &before, &HUNG_ISTIOD).await?;
    istiod(ground).await?.iter().try_for_each(Process::thaw)?;
    is_well_again(&home, &before).await?;
    ground.note(HUNG_ISTIOD.fault)?;

    let prometheus = ground.monitor().context("it was started")?;
    prometheus.kill();
    unmeasured(&home, &before).await?;
    load.stop().await.map(|_| ())
}

/// With Prometheus gone nothing of traffic is known: not well, not ill, and each says why and what to do.
async fn unmeasured(home: &Home, before: &Levels) -> anyhow::Result<()> {
    let (code, whole) = asked(home).await?;
    let now = levels(&whole);
    let known: BTreeSet<&String> =
        now.iter().filter(|(_, level)| *level != "unknown").map(|(id, _)| id).collect();
    let traffic = known.iter().filter(|id| id.starts_with("traffic.")).collect::<Vec<_>>();
    ensure!(traffic.is_empty(), "without Prometheus these are known: {traffic:?}");
    same("the level of our sight", &now.get("dependencies.metrics").map(String::as_str), &Some("critical"))?;
    same("the exit code", &code, &Some(2))?;
    let silent: Vec<&Value> = indicators(&whole)
        .filter(|one| one["level"] == "unknown" && (one["why"] == "" || one["fix"] == ""))
        .collect();
    ensure!(silent.is_empty(), "unknown, and no word of why or what to do: {silent:?}");
    let ill: Vec<_> = moved(before, &now)
        .into_iter()
        .filter(|(id, level)| level != "unknown" && id != "dependencies.metrics")
        .collect();
    ensure!(ill.is_empty(), "a Prometheus that is gone moved {ill:?}");
    Ok(())
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
    perhaps: &[],
};
const EXPIRING: Moves = Moves {
    fault: "a certificate near its end",
    all: &[("security.certificate_validity", "critical")],
    perhaps: &[],
};
/// What only the frozen Envoy could say is lost. A push that comes meanwhile waits, and after a minute the kubelet
/// calls the pod not ready.
const FROZEN: Moves = Moves {
    fault: "a frozen Envoy",
    all: &[
        ("control_plane.telemetry", "critical"),
        ("data_plane.proxy_liveness", "warning"),
        ("data_plane.proxy_state", "unknown"),
        ("traffic.ejected_hosts", "unknown"),
    ],
    perhaps: &["config.distribution", "config.last_applied", "data_plane.proxy_readiness"],
};
/// The only proxy of its workload.
const REJECTED: Moves = Moves {
    fault: "a rejected configuration",
    all: &[("config.distribution", "critical"), ("config.rejections", "critical")],
    perhaps: &["config.distribution_success"],
};
/// What only istiod knows is lost with it.
const HUNG_ISTIOD: Moves = Moves {
    fault: "an istiod that hangs",
    all: &[
        ("config.distribution", "unknown"),
        ("config.last_applied", "unknown"),
        ("control_plane.replicas_answering", "critical"),
        ("control_plane.service_discovery", "critical"),
    ],
    perhaps: &[
        "config.distribution_success",
        "config.push_interval_variance",
        "config.rejections",
        "control_plane.config_distribution",
        "data_plane.queue_depth",
    ],
};
