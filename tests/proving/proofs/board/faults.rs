//! Each fault, and exactly what it moves on the board.

use anyhow::{Context as _, ensure};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::busy::{BUSY, MORE};
use super::super::certs::{certificate, issued, issuer, nears_its_end};
use super::super::routing::{GOOD, HALF, ROUTE, SHOP, leading};
use super::super::shop::{FILTER, Frozen, break_filter, istiod};
use super::{LONG, Levels, asked, ill, indicators, levels, moved, stage, stop, well};
use crate::agent::Home;
use crate::ground::Ground;
use crate::kubelet::Process;
use crate::wait::{same, until};

/// A fault is told by as many looks in a row, so that none of its figures is still under way.
const LOOKS: usize = 3;

/// Indicators and levels.
type Told = &'static [(&'static str, &'static str)];

/// What a fault moves.
struct Moves {
    /// Which one.
    fault: &'static str,
    /// Indicators that it has to move, and to which level.
    all: Told,
    /// Those that it may move: they depend on how long it lasts, or on what else is sent meanwhile.
    some: Told,
}

const BAD_ROUTE: Moves = Moves {
    fault: "a bad route",
    all: &[("traffic.route_error_rate", "critical"), ("traffic.success_rate", "critical")],
    some: &[],
};

/// One of two idle proxies. Whom it turns away can be asked of it alone; the next push waits for it.
const FROZEN: Moves = Moves {
    fault: "a frozen Envoy",
    all: &[
        ("control_plane.telemetry", "critical"),
        ("data_plane.proxy_liveness", "warning"),
        ("data_plane.proxy_state", "unknown"),
        ("traffic.ejected_hosts", "unknown"),
    ],
    some: &[("config.distribution", "warning"), ("config.last_applied", "warning")],
};

/// The only proxy of a workload.
const REJECTED: Moves = Moves {
    fault: "a configuration that a proxy rejects",
    all: &[("config.distribution", "critical"), ("config.rejections", "critical")],
    some: &[],
};

/// Those who wait too long get 504, and are given up.
const OVERLOAD: Moves = Moves {
    fault: "more requests than can be served",
    all: &[
        ("traffic.overload_share", "critical"),
        ("traffic.route_error_rate", "critical"),
        ("traffic.success_rate", "critical"),
    ],
    some: &[],
};

const CERTIFICATE: Moves = Moves {
    fault: "a certificate near its end",
    all: &[("security.certificate_validity", "critical")],
    some: &[],
};

/// Who is in step is known to istiod alone. What it counted is still in the windows that
/// are looked back on.
const HANGING_ISTIOD: Moves = Moves {
    fault: "an istiod that hangs",
    all: &[
        ("config.distribution", "unknown"),
        ("config.last_applied", "unknown"),
        ("control_plane.replicas_answering", "critical"),
        ("control_plane.service_discovery", "critical"),
    ],
    some: &[],
};

/// Every fault that is made and mended is pushed: in a young mesh that is a push rate with peaks.
const PUSHES: (&str, &str) = ("config.push_interval_variance", "warning");

/// A mesh that was well, and what was said of it then.
struct Scene<'g> {
    ground: &'g Ground,
    home: &'g Home,
    whole: Value,
}

impl<'g> Scene<'g> {
    async fn open(ground: &'g Ground, home: &'g Home) -> anyhow::Result<Self> {
        Ok(Self { ground, home, whole: well(home).await? })
    }

    fn before(&self) -> Levels {
        levels(&self.whole)
    }

    /// Waits until a fault has moved what it has to, and nothing that it may not, for some looks in a row. On its
    /// way there nothing else may have become critical.
    async fn moves(&self, fault: &str, (all, some): (&Levels, &Levels)) -> anyhow::Result<()> {
        let (before, begun) = (self.before(), Instant::now());
        let mut alike = 0;
        while alike < LOOKS {
            let (code, whole) = asked(self.home).await?;
            let now = but_pushes(moved(&before, &levels(&whole)));
            let strays =
                || now.iter().filter(|(id, level)| !is_in(all, (id, level)) && !is_in(some, (id, level)));
            let told = || format!("{now:?} instead of {all:?}: {:?}", ill(&whole));
            let stray = strays().find(|(id, level)| *level == "critical" && !all.contains_key(*id));
            ensure!(stray.is_none(), "{fault} moved {}", told());
            if strays().next().is_none() && all.iter().all(|pair| is_in(&now, pair)) {
                let critical = levels(&whole).values().any(|level| level == "critical");
                same("the exit code", &code, &Some(if critical { 2 } else { 0 }))?;
                alike += 1;
            } else {
                alike = 0;
                ensure!(begun.elapsed() < LONG, "{fault} moved {}", told());
            }
        }
        self.ground.note(fault)
    }

    async fn moves_exactly(&self, expected: &Moves) -> anyhow::Result<()> {
        self.moves(expected.fault, (&owned(expected.all), &owned(expected.some))).await
    }

    /// Waits until all is as it was.
    async fn heals(&self) -> anyhow::Result<()> {
        let before = self.before();
        until("all indicators are as before", LONG, async || {
            let (_, whole) = asked(self.home).await?;
            Ok(but_pushes(moved(&before, &levels(&whole))).is_empty().then_some(()))
        })
        .await
    }

    /// What Prometheus told is unknown, unless somebody else tells it; that Prometheus is gone is critical.
    async fn loses_prometheus(&self) -> anyhow::Result<()> {
        let told = indicators(&self.whole)
            .filter(|one| one["source"] == "prometheus" && one["level"] == "healthy")
            .filter_map(|one| one["indicator"].as_str().map(str::to_owned));
        let mut lost: Levels = told.map(|id| (id, "unknown".to_owned())).collect();
        let gone = Levels::from([("dependencies.metrics".to_owned(), "critical".to_owned())]);
        lost.retain(|id, _| !gone.contains_key(id));
        let (mut traffic, elsewhere): (Levels, Levels) =
            lost.into_iter().partition(|(id, _)| id.starts_with("traffic."));
        ensure!(traffic.len() > 5, "Prometheus told of traffic: {traffic:?}");
        traffic.extend(gone);
        self.moves("a Prometheus that is gone", (&traffic, &elsewhere)).await
    }
}

fn but_pushes(mut moved: Levels) -> Levels {
    moved.retain(|id, level| (&**id, &**level) != PUSHES);
    moved
}

fn owned(told: Told) -> Levels {
    told.iter().map(|(id, level)| ((*id).to_owned(), (*level).to_owned())).collect()
}

fn is_in(all: &Levels, (id, level): (&String, &String)) -> bool {
    all.get(id).is_some_and(|known| known == level)
}

/// Mutations that break it: an indicator that hears of a fault that is none of its own, or not of its own; a window
/// that never ends; a proxy that hangs taken for one that has ejected nobody.
pub(crate) async fn of_proxies(ground: &Ground) -> anyhow::Result<()> {
    let (home, loads) = stage(ground).await?;
    let scene = Scene::open(ground, &home).await?;

    ground.change(ROUTE, &json!({ "spec": leading(&HALF) })).await?;
    scene.moves_exactly(&BAD_ROUTE).await?;
    ground.change(ROUTE, &json!({ "spec": leading(&GOOD) })).await?;
    scene.heals().await?;

    let frozen = Frozen::first(ground, "app=idle").await?;
    scene.moves_exactly(&FROZEN).await?;
    ground.kubelet.envoy(SHOP, &frozen.name)?.thaw()?;
    scene.heals().await?;

    break_filter(ground, "single").await?;
    scene.moves_exactly(&REJECTED).await?;
    ground.api(FILTER.0, FILTER.1, FILTER.2).delete(FILTER.3, &DeleteParams::default()).await?;
    scene.heals().await?;
    stop(loads).await
}

/// Mutations that break it: silence of Prometheus read as zero; figures of an istiod that hangs, as they were last;
/// a certificate that is judged by the days that are left of it.
pub(crate) async fn of_dependencies(ground: &Ground) -> anyhow::Result<()> {
    let controllers = ground.cert_manager()?;
    let (home, loads) = stage(ground).await?;
    issuer(ground, "own", &json!({ "selfSigned": {} })).await?;
    certificate(ground, ("web", "own"), &json!({})).await?;
    issued(ground, "web", 1).await?;
    let scene = Scene::open(ground, &home).await?;

    let more = ground.load((SHOP, "app=client"), BUSY, MORE).await?;
    scene.moves_exactly(&OVERLOAD).await?;
    more.stop().await?;
    scene.heals().await?;

    nears_its_end(ground, &controllers, "web").await?;
    scene.moves_exactly(&CERTIFICATE).await?;
    controllers.thaw()?;
    scene.heals().await?;

    istiod(ground).await?.iter().try_for_each(Process::freeze)?;
    scene.moves_exactly(&HANGING_ISTIOD).await?;
    istiod(ground).await?.iter().try_for_each(Process::thaw)?;
    scene.heals().await?;

    ground.monitor().context("Prometheus was started")?.kill();
    scene.loses_prometheus().await?;
    stop(loads).await
}
