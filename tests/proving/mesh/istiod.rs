//! The stand-in for istiod, as a process of its own: test code, no control plane for anybody.
//!
//! It watches an API server, writes each proxy's files when they change, learns from each Envoy's admin
//! interface what became of them, and tells it as istiod does: `/debug/syncz`, `/metrics`, `/ready`. A proxy
//! is connected as long as its file is there and its admin port takes connections. A frozen Envoy still
//! takes them, and never answers: its words stay what they were.

mod acks;
mod connection;
mod numbers;
mod serve;
mod watches;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::objects::Mesh;
use super::proxy::{announced, replace};
use connection::Connection;
use numbers::Numbers;
pub(crate) use serve::NOT_READY;
use watches::Objects;

/// A change waits this long for more of them, and no longer than the most in all.
const DEBOUNCE: Duration = Duration::from_millis(10);
const LONGEST_DEBOUNCE: Duration = Duration::from_millis(200);
/// How often it is looked for proxies that came or went; istiod hears of them at once.
const LOOK: Duration = Duration::from_millis(50);

/// What the process is told at its start.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Whom to watch.
    pub(crate) kubeconfig: PathBuf,
    /// The folder of the proxies; it must be there.
    pub(crate) root: PathBuf,
    /// Where syncz, metrics and readiness are served.
    pub(crate) listen: SocketAddr,
}

/// In a pod of its own it says at a port of its own whether it is ready, as the real one does.
const MONITORING: u16 = 15_014;
const READY: u16 = 8_080;

/// The first argument of a test binary that is to be the stand-in.
const ROLE: &str = "stand-in-for-istiod";

impl Options {
    /// The command that starts this binary as the stand-in. It ends when its standard input does.
    pub(crate) fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("which binary is this")?);
        command.arg(ROLE).arg(&self.kubeconfig).arg(&self.root).arg(self.listen.to_string());
        command.stdin(Stdio::piped());
        Ok(command)
    }
}

/// If this process is to be the stand-in, it is: for `main`, before anything else.
pub(crate) fn role() -> Option<anyhow::Result<()>> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != ROLE {
        return None;
    }
    let given: Vec<OsString> = arguments.collect();
    Some(played(&given))
}

fn played(given: &[OsString]) -> anyhow::Result<()> {
    let [kubeconfig, root, listen] = given else {
        anyhow::bail!("usage: {ROLE} KUBECONFIG ROOT ADDRESS:PORT")
    };
    let listen = listen.to_string_lossy();
    let listen = listen.parse().with_context(|| format!("{listen} is no address with a port"))?;
    let options = Options { kubeconfig: kubeconfig.into(), root: root.into(), listen };
    rustls::crypto::ring::default_provider().install_default().ok();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut nothing = Vec::new();
        let mut input = tokio::io::stdin();
        tokio::select! {
            ended = run(options) => ended,
            // Whoever started it is gone.
            _ = input.read_to_end(&mut nothing) => Ok(()),
        }
    });
    // A read of standard input cannot be taken back.
    runtime.shutdown_background();
    ended
}

/// Runs until it is killed or something ends that must not.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let client = watches::connect(&options.kubeconfig).await?;
    let plane = Arc::new(Plane::new(options.root));
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    watches::start(&client, &plane, &mut tasks);
    tasks.spawn(serve::serve(listener, Arc::clone(&plane)));
    if options.listen.port() == MONITORING {
        let at = SocketAddr::new(options.listen.ip(), READY);
        let listener =
            tokio::net::TcpListener::bind(at).await.with_context(|| format!("cannot listen on {at}"))?;
        tasks.spawn(serve::serve(listener, Arc::clone(&plane)));
    }
    tasks.spawn(push_changes(Arc::clone(&plane)));
    tasks.spawn(look_for_proxies(Arc::clone(&plane)));
    match tasks.join_next().await {
        Some(ended) => ended.context("a task was stopped")?.and(Err(anyhow::anyhow!("a task ended"))),
        None => Ok(()),
    }
}

/// The trials that need no Envoy.
pub(crate) fn trials() -> Vec<Trial> {
    let failed = |error: anyhow::Error| Failed::from(format!("{error:#}"));
    vec![
        Trial::test("debug_words_are_for_loopback_only", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            runtime.block_on(serve::check()).map_err(failed)
        }),
        Trial::test("only_what_envoy_took_is_acknowledged", move || acks::check().map_err(failed)),
    ]
}

/// Everything the stand-in knows.
struct Plane {
    root: PathBuf,
    state: Mutex<State>,
    changed: Notify,
    /// Counts pushes, for those who ask what became of them.
    pushed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    objects: Objects,
    connections: BTreeMap<(String, String), Connection>,
    numbers: Numbers,
    pushes: u64,
}

impl Plane {
    fn new(root: PathBuf) -> Self {
        Self { root, state: Mutex::default(), changed: Notify::new(), pushed: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends everybody what changed for them.
    fn push(&self, since: Instant) -> anyhow::Result<()> {
        let state = &mut *self.lock();
        if !state.objects.whole() {
            return Ok(());
        }
        state.pushes += 1;
        let mesh = Mesh::of(state.objects.all());
        replace(&self.root.join("peers.json"), &serde_json::to_vec(&peers(&mesh))?)?;
        for connection in state.connections.values_mut() {
            // Its folder may be emptied for a new start right now; then it is found as a new proxy.
            match connection.push(&self.root, &mesh, state.pushes, &mut state.numbers) {
                Ok(0) => {}
                Ok(_) => state.numbers.converged(since.elapsed()),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(proxy = connection.name(), error, "push failed");
                }
            }
        }
        self.pushed.send_replace(state.pushes);
        Ok(())
    }
}

/// Who is behind an address; the proxies' metrics name workloads by it.
fn peers(mesh: &Mesh) -> BTreeMap<&str, Value> {
    let known = mesh.pods.iter().filter(|pod| !pod.ip.is_empty());
    known
        .map(|pod| {
            let peer = serde_json::json!({"namespace": pod.namespace, "workload": pod.workload, "labels": pod.labels});
            (pod.ip.as_str(), peer)
        })
        .collect()
}

async fn push_changes(plane: Arc<Plane>) -> anyhow::Result<()> {
    loop {
        plane.changed.notified().await;
        let since = Instant::now();
        while since.elapsed() < LONGEST_DEBOUNCE
            && tokio::time::timeout(DEBOUNCE, plane.changed.notified()).await.is_ok()
        {}
        plane.push(since)?;
    }
}

/// Each proxy that comes gets a task that asks it; the task ends with it.
async fn look_for_proxies(plane: Arc<Plane>) -> anyhow::Result<()> {
    let mut asking = JoinSet::new();
    let client = reqwest::Client::builder().timeout(acks::TIME_LIMIT).no_proxy().build()?;
    loop {
        let found = announced(&plane.root)?;
        let came: Vec<(String, String)> = {
            let state = &mut *plane.lock();
            state.connections.retain(|name, known| found.get(name) == Some(known.file()));
            let new: Vec<_> =
                found.into_iter().filter(|(name, _)| !state.connections.contains_key(name)).collect();
            let names = new.iter().map(|(name, _)| name.clone()).collect();
            state.connections.extend(new.into_iter().map(|(name, file)| (name, Connection::new(file))));
            names
        };
        for name in came {
            asking.spawn(acks::ask(Arc::clone(&plane), client.clone(), name));
        }
        while asking.try_join_next().is_some() {}
        tokio::time::sleep(LOOK).await;
    }
}
