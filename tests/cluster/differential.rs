//! The simulated cluster held against the real API server: the same requests go to both, and status codes,
//! bodies and watch events must agree.
//!
//! On the real side only etcd and kube-apiserver run. The simulation is therefore [`Sim::alone`], its API
//! server without controllers and kubelets: what those two sides do to objects is what the API server itself
//! does. What a controller or a kubelet would write (the status of pods and budgets) the sequences write
//! themselves, on both sides. Every sequence has a namespace of its own on both sides.
//!
//! What is compared, and what no two servers have in common, says `differential::alike`. What differs and
//! stays so is the table `differential::listed`, with the reason of each entry; an entry that nothing needs
//! any more fails the test as well.

mod alike;
mod ask;
mod generated;
mod listed;
mod objects;
mod written;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use meshmend::clock::Clock;
use meshmend::sim::{Serving, Sim, serve};
use serde_json::{Value, json};

use crate::renewal::CONTROLLERS;
use crate::scene::Scene;
use alike::{Gap, Names, gaps};
use ask::{Ask, Side, short};
use listed::{LISTED, Story};

/// Sequences of generated requests, and how long each is. About 4 ms a request on both servers together.
const SEEDS: std::ops::Range<u64> = 1..41;
const STEPS: usize = 30;
/// A failing sequence is replayed at most this often to find a shorter one.
const REPLAYS: usize = 60;
/// Sequences that are shortened; those that end in a watch are not, because it waits for what was left out.
const SHRUNK: usize = 5;
/// A kind is served within this time after its definition was made.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
/// Failures that are shown; the rest is counted.
const SHOWN: usize = 20;

/// Both servers.
struct Servers {
    real: kube::Client,
    ours: kube::Client,
    _serving: Serving,
    _sim: Arc<Sim>,
}

impl Servers {
    async fn start(scene: &Scene) -> anyhow::Result<Self> {
        let sim = Sim::alone(Clock::system(None));
        let serving = serve(&sim, "127.0.0.1:0".parse()?).await?;
        let file: Kubeconfig = serde_json::from_value(serving.kubeconfig())?;
        let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        config.proxy_url = None;
        config.default_retry = false;
        let ours = kube::Client::try_from(config)?;
        // The real server fills the cache of a kind when it is first asked for; a watch from before is too old.
        for kind in &objects::KINDS {
            let path = kind.all().replace("namespaces/<<ns>>/", "") + "?resourceVersion=0";
            crate::wait::until("a kind can be listed", PATIENCE, async || {
                match scene.client.request_text(http::Request::get(&path).body(Vec::new())?).await {
                    // The server says "storage is (re)initializing" for a moment after a CRD was made.
                    Err(kube::Error::Api(status)) if status.code == 429 => Ok(None),
                    listed => Ok(Some(listed?)),
                }
            })
            .await?;
        }
        Ok(Self { real: scene.client.clone(), ours, _serving: serving, _sim: sim })
    }
}

/// A request that was answered differently, in a way that is not listed.
struct Found {
    step: usize,
    gaps: Vec<Gap>,
    real: Value,
    ours: Value,
}

/// Sends one sequence to both servers; which entries of the list it needed goes into `needed`.
async fn compare(
    servers: &Servers,
    namespace: &str,
    asks: &[Ask],
    needed: &mut BTreeSet<usize>,
) -> anyhow::Result<Vec<Found>> {
    let _alone = CONTROLLERS.lock().await;
    let mut sides =
        [Side::open(&servers.real, namespace).await?, Side::open(&servers.ours, namespace).await?];
    let mut names = [Names::default(), Names::default()];
    let mut found = Vec::new();
    for (step, ask) in asks.iter().enumerate() {
        let [real, ours] = &mut sides;
        let (real, ours) = tokio::try_join!(real.ask(ask), ours.ask(ask))?;
        let silent = real.code == 0;
        let known = names[0].versions();
        let (real, ours) = (names[0].plain(&real), names[1].plain(&ours));
        let mut differ = Vec::new();
        gaps("", Some(&real), Some(&ours), &mut differ);
        if silent {
            // Two that say nothing agree about nothing.
            let (real, ours) = (Some(json!("no answer in time")), None);
            differ.push(Gap { at: "/code".to_owned(), real, ours });
        }
        if differ.is_empty() && names[0].order(known) != names[1].order(known) {
            let (real, ours) = (Some(json!("another order of versions")), None);
            differ.push(Gap { at: "/order".to_owned(), real, ours });
        }
        differ.retain(|gap| {
            let entry = LISTED.iter().position(|entry| (entry.fits)(ask, gap));
            needed.extend(entry);
            entry.is_none()
        });
        if !differ.is_empty() {
            found.push(Found { step, gaps: differ, real, ours });
        }
    }
    Ok(found)
}

/// The hand-written sequences.
// Mutations in the simulation: replacing leases without a version; writing the condition of an eviction twice;
// looking at `dryRun` in the query of a delete that has a body.
pub(crate) async fn written(scene: Scene) -> anyhow::Result<()> {
    let servers = Servers::start(&scene).await?;
    let (mut needed, mut told, mut sent) = (BTreeSet::new(), Vec::new(), 0);
    for (number, (name, asks)) in written::all().into_iter().enumerate() {
        sent += asks.len();
        let namespace = format!("written-{number}");
        let found = compare(&servers, &namespace, &asks, &mut needed).await.context(name.clone())?;
        told.extend(found.iter().map(|found| describe(&name, &asks, found)));
    }
    judge(Story::Written, &needed, &told, sent)
}

/// The generated sequences.
// Mutations in the simulation: showing kinds in the items of built-in lists; replacing budgets without a
// version; showing an object that leaves a selector as it is then.
pub(crate) async fn generated(scene: Scene) -> anyhow::Result<()> {
    let servers = Servers::start(&scene).await?;
    let (mut needed, mut told, mut sent, mut shrunk) = (BTreeSet::new(), Vec::new(), 0, 0);
    for seed in SEEDS {
        let asks = generated::sequence(seed, STEPS);
        sent += asks.len();
        let namespace = format!("seed-{seed}");
        let found = compare(&servers, &namespace, &asks, &mut needed).await.context(namespace.clone())?;
        if let Some(first) = found.first() {
            shrunk += 1;
            let (asks, found) = if shrunk <= SHRUNK && asks[first.step].until.is_none() {
                shrink(&servers, &namespace, asks[..=first.step].to_vec()).await?
            } else {
                (asks, found)
            };
            told.extend(found.iter().map(|found| describe(&namespace, &asks, found)));
        }
    }
    judge(Story::Generated, &needed, &told, sent)
}

/// Leaves out steps as long as the last one is still answered differently.
async fn shrink(servers: &Servers, name: &str, mut asks: Vec<Ask>) -> anyhow::Result<(Vec<Ask>, Vec<Found>)> {
    let replay = async |number: usize, asks: &[Ask]| {
        compare(servers, &format!("{name}-{number}"), asks, &mut BTreeSet::new()).await
    };
    for (number, at) in (0..asks.len().saturating_sub(1)).rev().take(REPLAYS).enumerate() {
        let mut fewer = asks.clone();
        fewer.remove(at);
        // A shorter sequence that fails elsewhere, or whose watch waits in vain, is another failure.
        let last = fewer.len() - 1;
        if replay(number, &fewer)
            .await
            .is_ok_and(|found| found.iter().all(|one| one.step == last) && !found.is_empty())
        {
            asks = fewer;
        }
    }
    let found = replay(REPLAYS, &asks).await?;
    ensure!(!found.is_empty(), "{name} was answered differently once, and alike when it was asked again");
    Ok((asks, found))
}

fn describe(name: &str, asks: &[Ask], found: &Found) -> String {
    let gaps: Vec<String> = found.gaps.iter().map(|gap| format!("    {gap}")).collect();
    let before = match asks.len() {
        0..=8 => asks[..found.step].iter().map(|ask| format!("  after {ask}\n")).collect(),
        _ => String::new(),
    };
    format!(
        "{name}, step {}: {}\n{before}{}\n  real:      {}\n  simulated: {}",
        found.step,
        asks[found.step],
        gaps.join("\n"),
        short(&found.real.to_string()),
        short(&found.ours.to_string())
    )
}

fn judge(story: Story, needed: &BTreeSet<usize>, told: &[String], sent: usize) -> anyhow::Result<()> {
    let shown = told.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n\n");
    ensure!(
        told.is_empty(),
        "{} of {sent} requests are answered differently by the simulated cluster:\n\n{shown}",
        told.len()
    );
    let idle =
        LISTED.iter().enumerate().filter(|(at, entry)| entry.shown_by == story && !needed.contains(at));
    let idle: Vec<&str> = idle.map(|(_, entry)| entry.why).collect();
    ensure!(idle.is_empty(), "listed differences that no longer occur; take them off the list: {idle:#?}");
    Ok(())
}
