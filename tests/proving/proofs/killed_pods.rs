//! The agent is killed (-9) in the middle of acts on pods, workloads and certificates: an eviction and a
//! rollout that arrive, and a rotation that does not.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use kube::api::ListParams;
use serde_json::{Value, json};

use super::certs::{self, certificate, conditions, issued, issuer, nears_its_end};
use super::killed::{Begun, Crossing, Fate};
use super::routing::shorter;
use super::shop::{Frozen, SHOP, open};
use crate::agent::{Agent, Home};
use crate::ground::{Duty, Ground, SOON, Workload};
use crate::process::Component;
use crate::wait::{same, until};

const ROTATE: &str = include_str!("../../../playbooks/rotate-certificate.rhai");

/// Pods of the cart are moved.
const EVICT: &str = r#"//! Move a pod whose proxy hangs.
fn about() {
    #{
        on: [symptom("data_plane.proxy_hung")],
        needs: ["pod", "control_plane", "budget?"],
        recover: #{ indicator: "data_plane.proxy_liveness", soak: "1s", within: "60s", hold: "3s" },
        priority: 60,
    }
}

fn applies() { this.subject.name.starts_with("cart") }

fn plan(facts) { [evict_pod(facts.pod)] }
"#;

/// The menu is rolled as a whole.
const ROLL: &str = r#"//! Replace all pods of a workload of which one hangs.
fn about() {
    #{
        on: [symptom("data_plane.proxy_hung")],
        needs: ["workload", "control_plane"],
        recover: #{ indicator: "data_plane.proxy_liveness", soak: "1s", within: "60s", hold: "3s" },
        priority: 60,
    }
}

fn applies() { this.subject.name.starts_with("menu") }

fn plan(facts) { [rollout_restart(facts.workload)] }
"#;

const POLICY: &str = r#"apiVersion: meshmend.dev/v1alpha1
kind: Policy
metadata: { name: test }
spec:
  scope: { namespaces: ["shop"], actions: ["evict_pod", "rollout_restart", "rotate_certificate"] }
  mode: enforce
  limits: [ { per: target, acts: 5, window: 1h } ]
  cooldown: 1s
  attempts: { max: 5, refill: 1h }
"#;

/// By the addresses of pods: a port-forward is more than the way through which writes are stopped can carry.
const SOURCES: &str = "  proxies: { interval: 5s, via: pod_ip }\n";

const MENU: (&str, &str, &str, &str) = (SHOP, "apps/v1", "Deployment", "menu-v1");

/// What is written in all.
const ALL: [&str; 3] = ["pods/eviction", "deployments", "certificates/status"];

async fn home(ground: &Ground, server: String) -> anyhow::Result<Home> {
    let waits =
        [("soak: \"5s\", within: \"3m\", hold: \"10s\"", "soak: \"1s\", within: \"90s\", hold: \"3s\"")];
    let playbooks = [
        ("evict", EVICT.to_owned()),
        ("roll", ROLL.to_owned()),
        ("rotate-certificate", shorter(ROTATE, &waits)?),
    ];
    let server = Some(server);
    ground
        .agent(&Duty { namespace: SHOP, playbooks: &playbooks, policy: POLICY, sources: SOURCES, server })
        .await
}

/// Each act is finished after the restart, whether its write had arrived or not, and none is made twice: one
/// pod is another one, one ReplicaSet is new, and the certificate is of the next revision.
///
/// Mutations that break it: taking the intent for the deed (the certificate ends); starting a step again instead
/// of reading the state back; a rollout that cannot be read back once the pod is gone on whose account it was
/// made (the case ends without a look at what came of it).
pub(crate) async fn finished_once(ground: &Ground) -> anyhow::Result<()> {
    let controllers = ground.cert_manager()?;
    open(ground, &[Workload::new(SHOP, "cart", "v1", 2), Workload::new(SHOP, "menu", "v1", 2)]).await?;
    issuer(ground, "own", &json!({ "selfSigned": {} })).await?;
    certificate(ground, ("web", "own"), &json!({})).await?;
    issued(ground, "web", 1).await?;
    let mut crossing = Crossing::start(ground).await?;
    let home = home(ground, crossing.url()).await?;
    let agent = home.start_ready().await?;
    ground.settled(SHOP, "").await?;
    let agent = evicted(ground, &mut crossing, agent).await?;
    let agent = rolled(ground, &mut crossing, agent).await?;
    let agent = rotated((ground, &controllers), &mut crossing, agent).await?;
    let paths: Vec<String> = ground.writes()?.iter().map(written_to).collect();
    same("all writes", &paths, &ALL.map(str::to_owned).to_vec())?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// The resource that a request wrote to.
fn written_to(request: &Value) -> String {
    let parts = ["resource", "subresource"].map(|key| request["objectRef"][key].as_str());
    parts.into_iter().flatten().collect::<Vec<_>>().join("/")
}

/// Uids of the pods with these labels.
async fn uids(ground: &Ground, labels: &str) -> anyhow::Result<BTreeSet<String>> {
    let pods = ground.pods(SHOP, labels).await?;
    Ok(pods.into_iter().filter_map(|pod| pod.metadata.uid).collect())
}

async fn evicted<'h>(
    ground: &Ground,
    crossing: &mut Crossing<'_>,
    agent: Agent<'h>,
) -> anyhow::Result<Agent<'h>> {
    let before = uids(ground, "app=cart").await?;
    crossing.stop_writes()?;
    let frozen = Frozen::first(ground, "app=cart").await?;
    let found = agent.incident_about(("data_plane.proxy_hung", SHOP, &frozen.name), SOON).await?;
    let id = found["id"].as_str().context("an incident has an id")?;
    let path = format!("/api/v1/namespaces/{SHOP}/pods/{}/eviction", frozen.name);
    let begun = Begun { id, path: &path, fate: Fate::Arrives };
    let agent = crossing.kill(agent, &begun).await?;
    let ended = crossing.ends(&agent, (&begun, "resolved")).await?;
    ground.ready(SHOP, "cart-v1").await?;
    let after = uids(ground, "app=cart").await?;
    let gone: Vec<&String> = before.difference(&after).collect();
    same("the pods that went", &gone, &frozen.before.metadata.uid.iter().collect())?;
    same("the pods that came", &after.difference(&before).count(), &1)?;
    crossing.row("agent killed in an eviction, it arrives", &ended)?;
    Ok(agent)
}

async fn rolled<'h>(
    ground: &Ground,
    crossing: &mut Crossing<'_>,
    agent: Agent<'h>,
) -> anyhow::Result<Agent<'h>> {
    let generation = async || {
        let generation = ground.read(MENU).await?["metadata"]["generation"].as_u64();
        generation.context("a Deployment has a generation")
    };
    let sets = async || {
        let labels = ListParams::default().labels("app=menu");
        anyhow::Ok(ground.api(SHOP, "apps/v1", "ReplicaSet").list(&labels).await?.items.len())
    };
    let (before, pods) = (generation().await?, uids(ground, "app=menu").await?);
    same("its ReplicaSets so far", &sets().await?, &1)?;
    crossing.stop_writes()?;
    let frozen = Frozen::first(ground, "app=menu").await?;
    let found = agent.incident_about(("data_plane.proxy_hung", SHOP, &frozen.name), SOON).await?;
    let id = found["id"].as_str().context("an incident has an id")?;
    let path = format!("/apis/apps/v1/namespaces/{SHOP}/deployments/{}", MENU.3);
    let begun = Begun { id, path: &path, fate: Fate::Arrives };
    let agent = crossing.kill(agent, &begun).await?;
    let ended = crossing.ends(&agent, (&begun, "resolved")).await?;
    ground.ready(SHOP, MENU.3).await?;
    same("its generation", &generation().await?, &(before + 1))?;
    same("its ReplicaSets", &sets().await?, &2)?;
    ensure!(uids(ground, "app=menu").await?.is_disjoint(&pods), "all of its pods are other ones");
    crossing.row("agent killed in a rollout, it arrives", &ended)?;
    Ok(agent)
}

/// The controllers hang until they were asked: what is due by their own account is nothing.
async fn rotated<'h>(
    (ground, controllers): (&Ground, &Arc<Component>),
    crossing: &mut Crossing<'_>,
    agent: Agent<'h>,
) -> anyhow::Result<Agent<'h>> {
    crossing.stop_writes()?;
    nears_its_end(ground, controllers, "web").await?;
    let found = agent.incident_about(("security.certificate_expiring", SHOP, "web"), SOON).await?;
    let id = found["id"].as_str().context("an incident has an id")?;
    let path = format!("/apis/cert-manager.io/v1/namespaces/{SHOP}/certificates/web/status");
    let begun = Begun { id, path: &path, fate: Fate::IsLost };
    let agent = crossing.kill(agent, &begun).await?;
    until("a new one is asked for", SOON, async || {
        let asked = conditions(&ground.read(certs::place("web")).await?).contains(&"Issuing".to_owned());
        Ok(asked.then_some(()))
    })
    .await?;
    controllers.thaw()?;
    let ended = crossing.ends(&agent, (&begun, "resolved")).await?;
    let renewed = issued(ground, "web", 2).await?;
    same("its revision", &renewed["status"]["revision"], &json!(2))?;
    crossing.row("agent killed in a rotation, it is lost", &ended)?;
    Ok(agent)
}
