//! The agent is killed (-9) in the middle of its acts: between its intent and the write, and between a drain
//! and the quit that is owed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use meshmend::clock::Clock;
use meshmend::model::mark::RESTORE;
use serde_json::{Value, json};

use super::certs::{self, certificate, issued, issuer, nears_its_end};
use super::routing::{self, GOOD, ROUTE, SHOP, leading, object, shorter};
use crate::agent::{Agent, Home, ROLL_BACK};
use crate::ground::{Duty, Ground, SOON, Workload};
use crate::process::Component;
use crate::table::Row;
use crate::traffic::Load;
use crate::wait::{same, until};
use crate::way::{Held, Proxy};

const SHED: &str = include_str!("../../../playbooks/shed-with-destination-rule.rhai");
/// What is read back after a kill waits until the last permit has run out: 27 s; then there is the act, and
/// its probe.
const RECONCILED: Duration = Duration::from_secs(150);
/// The rule of the second service.
const CALM: (&str, &str, &str, &str) = (SHOP, "networking.istio.io/v1", "DestinationRule", "calm");
/// What the paths of the five writes hold.
const ACTS: [&str; 5] = [
    "/virtualservices/server",
    "/destinationrules/calm",
    "/eviction",
    "/deployments/server-v2",
    "/certificates/web/status",
];

const POLICY: &str = r#"apiVersion: meshmend.dev/v1alpha1
kind: Policy
metadata: { name: test }
spec:
  scope:
    namespaces: ["shop"]
    actions: ["rollback_route", "shed_load", "evict_pod", "rollout_restart", "rotate_certificate"]
  mode: enforce
  limits: [ { per: target, acts: 10, window: 1h } ]
  cooldown: 1s
  attempts: { max: 10, refill: 1h }
  blastRadius:
    concurrent:
      namespace: { share: 100%, absolute: 20 }
      mesh: { share: 100%, absolute: 20 }
    storm: { namespace: { share: 100%, least: 20 }, mesh: { share: 100%, least: 20 } }
"#;

/// Playbooks of somebody who evicts pods that hang, and restarts what is outdated.
const EVICT: &str = r#"//! Evict a pod whose proxy hangs.
fn about() {
    #{
        on: [symptom("data_plane.proxy_hung")], needs: ["pod", "control_plane", "budget?"],
        recover: #{ indicator: "data_plane.proxy_liveness", soak: "1s", within: "40s", hold: "3s" }, priority: 50,
    }
}
fn applies() { this.subject.kind == "Pod" }
fn plan(facts) { [evict_pod(facts.pod)] }
fn next(history) { escalate("the pod cannot be evicted") }
fn tests() { [] }
"#;
const ROLLOUT: &str = r#"//! Restart a workload that is outdated.
fn about() {
    #{
        on: [symptom("data_plane.outdated")], needs: ["workload", "control_plane"],
        recover: #{ indicator: "data_plane.proxy_readiness", soak: "5s", within: "60s", hold: "3s" }, priority: 50,
    }
}
fn applies() { this.subject.kind == "Deployment" }
fn plan(facts) { [rollout_restart(facts.workload)] }
fn next(history) { escalate("it was restarted before") }
fn tests() { [] }
"#;

/// What becomes of the writes that were under way when the agent died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Arrive,
    AreLost,
}

struct Scene<'g> {
    ground: &'g Ground,
    home: Home,
    proxy: Proxy,
    controllers: Arc<Component>,
    loads: [Load; 2],
}

async fn home(ground: &Ground, proxy: &Proxy) -> anyhow::Result<Home> {
    let routes =
        [("soak: \"5s\", within: \"2m\", hold: \"30s\"", "soak: \"1s\", within: \"20s\", hold: \"3s\"")];
    let sheds = [
        ("soak: \"10s\", within: \"2m\", hold: \"30s\"", "soak: \"1s\", within: \"20s\", hold: \"3s\""),
        ("expires: \"10m\"", "expires: \"1m\""),
        ("expires_s: 600", "expires_s: 60"),
    ];
    let playbooks = [
        ("roll-back-virtual-service", shorter(ROLL_BACK, &routes)?),
        ("shed-with-destination-rule", shorter(SHED, &sheds)?),
        ("rotate-certificate", certs::rotate()?),
        ("evict", EVICT.to_owned()),
        ("rollout", ROLLOUT.to_owned()),
    ];
    let (sources, server) =
        ("  proxies: { interval: 5s, via: pod_ip }\n  signals: {}\n", Some(proxy.url.clone()));
    ground.agent(&Duty { namespace: SHOP, playbooks: &playbooks, policy: POLICY, sources, server }).await
}

async fn stage(ground: &Ground) -> anyhow::Result<Scene<'_>> {
    let controllers = ground.cert_manager()?;
    routing::stage(ground).await?;
    let calm = Workload::new(SHOP, "calm", "v1", 2);
    ground.deploy(&calm).await?;
    ground.apply_object(object(CALM, &json!({ "host": "calm" }))).await?;
    issuer(ground, "own", &json!({ "selfSigned": {} })).await?;
    certificate(ground, ("web", "own"), &json!({})).await?;
    ground.ready(SHOP, &calm.name()).await?;
    issued(ground, "web", 1).await?;
    ground.apply_object(object(ROUTE, &leading(&GOOD))).await?;
    let proxy = Proxy::start(0, &ground.plane.url, ground.plane.http()?).await?;
    let home = home(ground, &proxy).await?;
    let first = routing::traffic(ground).await?;
    let second = ground.load((SHOP, "app=client"), "calm.shop.svc.cluster.local", 30).await?;
    ground.settled(SHOP, "app=calm").await?;
    Ok(Scene { ground, home, proxy, controllers, loads: [first, second] })
}

/// Five acts are under way at once when the agent is killed: a rollback, a shed, an eviction, a rollout and a
/// renewal. In the first round all writes arrive although their sender is dead; in the second none does. Each
/// time each act is done once, by the audit log of the API server, and every incident ends well.
///
/// Mutations that break it: executing again what was under way (two writes in the first round); taking the
/// intent for the deed (none in the second); forgetting the way back of a shed with the restart.
pub(crate) async fn in_acts(ground: &Ground) -> anyhow::Result<()> {
    let mut scene = stage(ground).await?;
    let agent = scene.home.start_ready().await?;
    routing::proven(ground, &agent).await?;
    agent.kill().await?;
    let rule = ground.read(CALM).await?;
    for (number, fate, name) in [
        (1, Fate::Arrive, "agent killed in 5 acts, writes arrive"),
        (2, Fate::AreLost, "agent killed in 5 acts, writes lost"),
    ] {
        let before = ground.writes()?.len();
        let begun = Clock::wall();
        let ids = killed(&mut scene, (number, fate)).await?;
        let agent = scene.home.start_ready().await?;
        over(ground, &agent, &ids).await?;
        once(ground, before)?;
        same("the spec of the route", &ground.read(ROUTE).await?["spec"], &leading(&GOOD))?;
        let recovered = Clock::wall().duration_since(begun).try_into().ok();
        ground.note(&format!("{name}: all over"))?;
        until("the shed is taken back", RECONCILED, async || {
            let now = ground.read(CALM).await?;
            Ok(now["metadata"]["annotations"][RESTORE].is_null().then_some(()))
        })
        .await?;
        let now = ground.read(CALM).await?;
        same("the rule", &routing::essence(&now), &routing::essence(&rule))?;
        let shed = ids.get(ACTS[1]).context("there was a shed")?;
        agent.phase(shed, "resolved", SOON).await?;
        let writes = ground.writes()?.len() - before;
        same("the writes with the way back", &writes, &(ACTS.len() + 1))?;
        ground.row(&Row { fault: name, detected: None, acted: None, recovered, lost: None, writes })?;
        agent.kill().await?;
    }
    for load in scene.loads {
        load.stop().await?;
    }
    scene.home.journal_holds().await
}

/// Makes the five faults, and kills the agent when all five writes are on their way. The answer are the
/// incidents.
async fn killed(
    scene: &mut Scene<'_>,
    (number, fate): (u32, Fate),
) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let ground = scene.ground;
    let agent = scene.home.start_ready().await?;
    scene.proxy.stop_writes();
    let known: Vec<Value> = agent.incidents().await?.iter().map(|one| one["id"].clone()).collect();
    nears_its_end(ground, &scene.controllers, "web").await?;
    let pods = ground.pods(SHOP, "app=calm").await?;
    // The younger one took the place of the one that was evicted.
    let oldest = pods.iter().min_by_key(|pod| pod.metadata.creation_timestamp.clone().map(|at| at.0));
    let name = oldest.and_then(|pod| pod.metadata.name.clone()).context("calm has pods")?;
    ground.kubelet.envoy(SHOP, &name)?.freeze()?;
    let weights = [("v1", 50 + number), ("v2", 50 - number)];
    ground.change(ROUTE, &json!({ "spec": leading(&weights) })).await?;
    for (symptom, subject) in [
        ("traffic.overload", json!({ "kind": "Service", "namespace": SHOP, "name": "calm" })),
        (
            "data_plane.outdated",
            json!({ "group": "apps", "kind": "Deployment", "namespace": SHOP, "name": "server-v2" }),
        ),
    ] {
        let signal = json!({
            "symptom": symptom, "subject": subject, "state": "firing", "severity": "critical",
            "at": Clock::wall(),
        });
        agent.signal(&signal).await?;
    }
    let held = all_held(&mut scene.proxy).await?;
    let ids = incidents(&agent, &known).await?;
    agent.kill().await?;
    for held in held {
        match fate {
            Fate::Arrive => held.release(),
            Fate::AreLost => held.lose(),
        }
    }
    scene.proxy.let_writes_pass();
    scene.controllers.thaw()?;
    Ok(ids)
}

async fn all_held(proxy: &mut Proxy) -> anyhow::Result<Vec<Held>> {
    let mut all: Vec<Held> = Vec::new();
    while all.len() < ACTS.len() {
        let held = proxy.next_held().await.with_context(|| {
            let paths: Vec<&str> = all.iter().map(|held| held.path.as_str()).collect();
            format!("so far there were {paths:?}")
        })?;
        let act = ACTS.iter().find(|act| held.path.contains(*act));
        let act = act.with_context(|| format!("a strange write to {}", held.path))?;
        ensure!(!all.iter().any(|other| other.path.contains(act)), "{act} is written twice");
        all.push(held);
    }
    Ok(all)
}

/// The new incidents, each by what its plan writes to.
async fn incidents(agent: &Agent<'_>, known: &[Value]) -> anyhow::Result<BTreeMap<&'static str, String>> {
    const BY_ACTION: [&str; 5] =
        ["rollback_route", "shed_load", "evict_pod", "rollout_restart", "rotate_certificate"];
    let mut ids = BTreeMap::new();
    for incident in agent.incidents().await? {
        let id = incident["id"].as_str().unwrap_or_default();
        let action = agent.incident(id).await?["plan"]["steps"][0]["action"].clone();
        let act = BY_ACTION.iter().position(|name| action == *name);
        if let Some(act) = act.filter(|_| !known.contains(&incident["id"])) {
            ids.insert(ACTS[act], id.to_owned());
        }
    }
    same("the incidents", &ids.len(), &ACTS.len())?;
    Ok(ids)
}

/// Waits until each of them has ended well; a shed goes on until its time is up.
async fn over(
    ground: &Ground,
    agent: &Agent<'_>,
    ids: &BTreeMap<&'static str, String>,
) -> anyhow::Result<()> {
    for (act, id) in ids {
        let phase = if *act == ACTS[1] { "holding" } else { "resolved" };
        // An evicted pod's own incident may end with the pod.
        let ended = agent.phase(id, phase, RECONCILED).await.with_context(|| (*act).to_owned())?;
        let results: Vec<&str> = ended["steps"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|step| step["outcome"]["result"].as_str())
            .collect();
        ground.note(&format!("{act}: {phase}, steps {results:?}"))?;
    }
    Ok(())
}

/// Each act was written once.
fn once(ground: &Ground, before: usize) -> anyhow::Result<()> {
    let writes: Vec<Value> = ground.writes()?.into_iter().skip(before).collect();
    for act in ACTS {
        let of = |write: &&Value| {
            let status = write["responseStatus"]["code"].as_u64().unwrap_or(0);
            write["requestURI"].as_str().is_some_and(|uri| uri.contains(act)) && status < 300
        };
        same(&format!("writes to {act}"), &writes.iter().filter(of).count(), &1)?;
    }
    same("all writes", &writes.len(), &ACTS.len())
}
