//! Fifty proxies that get nothing from istiod any more, and then an istiod that is down: the proxies are its
//! symptoms, and restarting one of them would take its last configuration away.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use meshmend::clock::Clock;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::routing::{RULE, object};
use super::shop::{POLICY, SHOP, between, istiod, restart_sidecar};
use crate::agent::Agent;
use crate::ground::{Duty, Ground, MESH_SOURCES, SOON, Workload};
use crate::kubelet::Process;
use crate::mesh::istiod::NOT_READY;
use crate::table::Row;
use crate::wait::{same, until};

/// All of them in one Deployment.
const PROXIES: u32 = 50;
/// Fifty Envoys on two cores that other proofs use as well.
const STARTED: Duration = Duration::from_secs(200);
/// The last pod's address is with all proxies a second after it is ready.
const SETTLED: Duration = Duration::from_secs(5);
/// A proxy is told as stale after five minutes. istiod is down by then: it takes a probe and ten seconds to be
/// told of.
const BEFORE_TOLD: Duration = Duration::from_secs(260);
const TOLD: Duration = Duration::from_secs(100);
/// As long as this nobody restarts anything, although all is known.
const QUIET: Duration = Duration::from_secs(20);

/// One incident is for people, it names its cause, and what it explains waits for it: as long as istiod is down
/// nothing is restarted. When it is back and its proxies are in step, all is over without an act.
///
/// Mutations that break it: `cause::of` that explains nothing; a case that was explained and is planned all the
/// same; a proxy that nobody can ask about taken for one that is in step; `free` that never looks again.
pub(crate) async fn is_explained(ground: &Ground) -> anyhow::Result<()> {
    ground.istiod().await?;
    let crowd = Workload::new(SHOP, "crowd", "v1", PROXIES);
    ground.deploy(&crowd).await?;
    until("all proxies are ready", STARTED, async || {
        let pods = ground.pods(SHOP, "app=crowd").await?;
        Ok((pods.len() == 50 && pods.iter().all(super::shop::is_ready)).then_some(()))
    })
    .await?;
    let ready = Instant::now();
    until("all proxies know of all others", SETTLED + SOON, async || {
        Ok((ready.elapsed() > SETTLED).then_some(()))
    })
    .await?;
    let playbooks = [restart_sidecar()?];
    let duty =
        Duty { namespace: SHOP, playbooks: &playbooks, policy: POLICY, sources: MESH_SOURCES, server: None };
    let home = ground.agent(&duty).await?;
    let agent = home.start_ready().await?;

    let cut = Cut::of(ground)?;
    let fault = (Clock::wall(), Instant::now());
    change(ground, 100).await?;
    until("four minutes and more have gone by", BEFORE_TOLD + SOON, async || {
        Ok((fault.1.elapsed() > BEFORE_TOLD).then_some(()))
    })
    .await?;
    same("what is told before its time", &about(&agent, "data_plane.proxy_stale").await?.len(), &0)?;
    std::fs::write(cut.root.join(NOT_READY), "")?;
    let cause = agent.incident_about(("control_plane.down", "istio-system", "istiod"), TOLD).await?;
    ensure!(fault.1.elapsed() < Duration::from_secs(300), "istiod is down before its proxies are told");
    let symptoms = attached(&agent, &cause).await?;
    // Now it is down for good, and nobody can say any more how its proxies are.
    istiod(ground).await?.iter().try_for_each(Process::freeze)?;
    let quiet = Instant::now();
    until("nothing comes of it", QUIET + SOON, async || Ok((quiet.elapsed() > QUIET).then_some(()))).await?;
    let still = attached(&agent, &cause).await?;
    same("the same ones, frozen", &ids(&still), &ids(&symptoms))?;
    nothing_was_done(ground).await?;
    let first = symptoms.first().context("there are symptoms")?;
    ground.row(&Row {
        fault: "50 stale proxies, then istiod is down",
        detected: Some(between(fault.0, &first["opened_at"])?),
        acted: None,
        recovered: None,
        lost: None,
        writes: 0,
    })?;
    is_over(ground, &agent, (cut, &symptoms)).await?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// istiod is back, and what it sends arrives.
async fn is_over(ground: &Ground, agent: &Agent<'_>, (cut, symptoms): (Cut, &[Value])) -> anyhow::Result<()> {
    std::fs::remove_file(cut.root.join(NOT_READY))?;
    cut.end()?;
    istiod(ground).await?.iter().try_for_each(Process::thaw)?;
    change(ground, 200).await?;
    for ill in symptoms {
        let id = ill["id"].as_str().context("an incident has an id")?;
        agent.phase(id, "resolved", TOLD).await?;
    }
    nothing_was_done(ground).await?;
    // People were told of istiod, once, and of nothing else.
    let told = agent.incidents().await?;
    let told: Vec<&Value> = told.iter().filter(|incident| !incident["notified"].is_null()).collect();
    same(
        "whom people were told of",
        &told.iter().map(|one| &one["symptom"]).collect::<Vec<_>>(),
        &vec![&json!("control_plane.down")],
    )
}

/// What istiod sends to the pods of the shop is lost: they get no other file than those they have.
struct Cut {
    root: PathBuf,
    folder: PathBuf,
}

impl Cut {
    fn of(ground: &Ground) -> anyhow::Result<Self> {
        let root = ground.folder.join("mesh");
        let folder = root.join(SHOP);
        let path: &Path = &folder;
        mount(Command::new("mount").arg("--bind").args([path, path]))?;
        mount(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(path))?;
        Ok(Self { root, folder })
    }

    fn end(self) -> anyhow::Result<()> {
        mount(Command::new("umount").arg(&self.folder))
    }
}

/// In the mount namespace of this proof.
fn mount(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// Something for all proxies to take.
async fn change(ground: &Ground, limit: u32) -> anyhow::Result<()> {
    let pool = json!({ "http": { "http2MaxRequests": limit } });
    let spec = json!({ "host": "crowd", "trafficPolicy": { "connectionPool": pool } });
    ground.apply_object(object((RULE.0, RULE.1, RULE.2, "crowd"), &spec)).await
}

async fn about(agent: &Agent<'_>, symptom: &str) -> anyhow::Result<Vec<Value>> {
    Ok(agent.incidents().await?.into_iter().filter(|incident| incident["symptom"] == symptom).collect())
}

/// Waits until every stale proxy is explained by this; nothing else is told of.
async fn attached(agent: &Agent<'_>, cause: &Value) -> anyhow::Result<Vec<Value>> {
    let stale = until("fifty symptoms are attached", TOLD, async || {
        let stale = about(agent, "data_plane.proxy_stale").await?;
        let explained = stale.iter().all(|incident| incident["cause"] == cause["id"]);
        Ok((stale.len() == 50 && explained).then_some(stale))
    })
    .await?;
    let id = cause["id"].as_str().context("an incident has an id")?;
    same("what it explains", &agent.incident(id).await?["explains"], &json!(PROXIES))?;
    same("all that is known", &agent.incidents().await?.len(), &51)?;
    for incident in &stale {
        same("its phase", &incident["phase"], &json!("open"))?;
        same("people told of it", &incident["notified"], &Value::Null)?;
    }
    Ok(stale)
}

fn ids(incidents: &[Value]) -> Vec<&Value> {
    incidents.iter().map(|incident| &incident["id"]).collect()
}

async fn nothing_was_done(ground: &Ground) -> anyhow::Result<()> {
    same("port-forwards to agents of proxies", &ground.forwards(15_020)?, &0)?;
    same("writes to the API server", &ground.writes()?, &Vec::new())?;
    let restarts = |pod: &Pod| {
        let all = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        all.into_iter().flatten().map(|one| one.restart_count).sum::<i32>()
    };
    let pods = ground.pods(SHOP, "app=crowd").await?;
    same("restarts", &pods.iter().map(restarts).sum::<i32>(), &0)
}
