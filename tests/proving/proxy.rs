//! A stand-in for the proxy agent, the main process of the container `istio-proxy`: it starts Envoy as its
//! child and answers on port 15020 of the pod as the real one does.

use std::future::IntoFuture as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify};

use crate::mesh::metrics::{Telemetry, merged};
use crate::mesh::objects::{Inbound, Locality};
use crate::mesh::proxy::ProxyFile;
use crate::mesh::{bootstrap, istiod};

/// The port of the agent.
const PORT: u16 = 15_020;
/// The port of istiod for its monitoring and for people.
const ISTIOD: u16 = 15_014;
/// Between two looks whether the control plane has written a proxy's configuration.
const LOOK: Duration = Duration::from_millis(20);
/// The admin port of Envoy, on the pod's own loopback address.
const ADMIN: u16 = 15_000;
/// Envoy answers its admin within milliseconds; a frozen one takes the connection and never answers.
const ASKING: Duration = Duration::from_secs(1);
/// The real agent is gone 1.6 s after it was told to quit.
const LAST_WORDS: Duration = Duration::from_millis(1600);

/// The pod's own loopback address. All pods of a proof share one network namespace, so what only the pod
/// itself may reach has an address of 127.0.0.0/8 that no other pod has.
pub(crate) fn own_loopback(pod: Ipv4Addr) -> Ipv4Addr {
    let [_, _, third, fourth] = pod.octets();
    Ipv4Addr::new(127, 244, third, fourth)
}

/// Behind a proxy, which has the pod's own ports, an application listens so much higher.
pub(crate) const BEHIND: u16 = 10_000;

/// Who asks from here came in by a port-forward: the kubelet dials from it, as from the pod's own loopback.
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Waits for SIGTERM.
pub(crate) async fn asked_to_end() -> anyhow::Result<()> {
    signal(SignalKind::terminate())?.recv().await;
    Ok(())
}

struct Agent {
    admin: SocketAddr,
    http: reqwest::Client,
    /// The first success is remembered: a proxy that was ready once stays so, whatever becomes of it.
    was_ready: AtomicBool,
    quit: Notify,
    telemetry: Mutex<Telemetry>,
}

fn text(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set"))
}

/// The proxy as the kubelet's environment tells it.
fn announced() -> anyhow::Result<ProxyFile> {
    let ip: Ipv4Addr = text("POD_IP")?.parse()?;
    let ports = text("POD_PORTS")?;
    let inbound = ports.split(',').filter(|port| !port.is_empty()).map(|port| {
        let port = port.parse::<u16>().with_context(|| format!("POD_PORTS has {port}"))?;
        Ok(Inbound { port, app_port: port + BEHIND })
    });
    Ok(ProxyFile {
        namespace: text("POD_NAMESPACE")?,
        pod: text("POD_NAME")?,
        ip: ip.into(),
        admin: (own_loopback(ip), ADMIN).into(),
        agent: (ip, PORT).into(),
        labels: serde_json::from_str(&text("POD_LABELS")?)?,
        workload: text("POD_WORKLOAD")?,
        service_account: text("SERVICE_ACCOUNT")?,
        locality: Locality::default(),
        inbound: inbound.collect::<anyhow::Result<_>>()?,
        // No two processes of a proof have the same id one after the other.
        start: u64::from(std::process::id()),
    })
}

/// Runs until Envoy ends or somebody ends it.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let (proxy, root) = (announced()?, PathBuf::from(text("PROVING_ROOT")?));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(live(&proxy, &root))?;
    Ok(code)
}

/// The stand-in for istiod, as the process of a pod.
pub(crate) fn istiod() -> anyhow::Result<ExitCode> {
    let ip: Ipv4Addr = text("POD_IP")?.parse()?;
    let options = istiod::Options {
        kubeconfig: text("KUBECONFIG")?.into(),
        root: text("PROVING_ROOT")?.into(),
        listen: (ip, ISTIOD).into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            ended = istiod::run(options) => ended.map(|()| ExitCode::FAILURE),
            asked = asked_to_end() => asked.map(|()| ExitCode::SUCCESS),
        }
    })
}

async fn live(proxy: &ProxyFile, root: &Path) -> anyhow::Result<ExitCode> {
    let listener = tokio::net::TcpListener::bind(proxy.agent).await?;
    let agent = Arc::new(Agent {
        admin: proxy.admin,
        http: reqwest::Client::builder().no_proxy().timeout(ASKING).pool_max_idle_per_host(0).build()?,
        was_ready: AtomicBool::new(false),
        quit: Notify::new(),
        telemetry: Mutex::new(Telemetry::new(root, proxy)),
    });
    proxy.announce(root)?;
    let served = axum::serve(listener, routes(&agent).into_make_service_with_connect_info::<SocketAddr>());
    let mut served = std::pin::pin!(served.into_future());
    let mut child = tokio::select! {
        ended = &mut served => { ended?; return Ok(ExitCode::FAILURE); }
        () = agent.quit.notified() => return Ok(ExitCode::SUCCESS),
        asked = asked_to_end() => { asked?; return Ok(ExitCode::SUCCESS); }
        child = envoy(proxy, root) => child?,
    };
    tokio::select! {
        ended = served => { ended?; Ok(ExitCode::FAILURE) }
        ended = child.wait() => {
            let code = ended?.code().and_then(|code| u8::try_from(code).ok());
            Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
        }
        () = agent.quit.notified() => { tokio::time::sleep(LAST_WORDS).await; end(child).await }
        asked = asked_to_end() => { asked?; end(child).await }
    }
}

/// Each Envoy has an account of its own. The kernel counts watches of files by account, an Envoy makes one for
/// each of its files, and all proofs at once would have more of them than one account may.
fn account(ip: IpAddr) -> u32 {
    const FIRST: u32 = 20_000;
    match ip {
        IpAddr::V4(ip) => {
            let [_, _, third, fourth] = ip.octets();
            FIRST + 256 * u32::from(third) + u32::from(fourth)
        }
        IpAddr::V6(_) => FIRST,
    }
}

/// Starts Envoy as soon as the control plane has written what it needs: without one it never starts.
async fn envoy(proxy: &ProxyFile, root: &Path) -> anyhow::Result<Child> {
    while !proxy.configured(root) {
        tokio::time::sleep(LOOK).await;
    }
    let path = proxy.folder(root).join("bootstrap.json");
    std::fs::write(&path, bootstrap::bootstrap(root, proxy).to_string())?;
    // As its account it reads and writes what we do; `setpriv` becomes Envoy.
    Command::new("setpriv")
        .arg(format!("--reuid={}", account(proxy.ip)))
        .args(["--inh-caps=+dac_override", "--ambient-caps=+dac_override"])
        .arg(text("PROVING_ENVOY")?)
        .args(bootstrap::arguments(&path))
        // As Istio starts it.
        .args(["--drain-time-s", "45"])
        .spawn()
        .context("Envoy did not start")
}

/// Ends Envoy. One that is frozen does not hear it; the kubelet ends what is left of a container.
async fn end(mut child: Child) -> anyhow::Result<ExitCode> {
    if let Some(pid) =
        child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
    {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        tokio::time::timeout(ASKING, child.wait()).await.ok();
    }
    Ok(ExitCode::SUCCESS)
}

fn routes(agent: &Arc<Agent>) -> Router {
    Router::new()
        .route("/healthz/ready", get(ready))
        .route("/quitquitquit", post(quit))
        .route("/drain", post(drain))
        .route("/stats/prometheus", get(figures))
        .route("/metrics", get(figures))
        .with_state(Arc::clone(agent))
}

async fn ready(State(agent): State<Arc<Agent>>) -> StatusCode {
    if !agent.was_ready.load(Ordering::Relaxed) {
        let answer = agent.http.get(format!("http://{}/ready", agent.admin)).send().await;
        if !answer.is_ok_and(|answer| answer.status() == 200) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        agent.was_ready.store(true, Ordering::Relaxed);
    }
    StatusCode::OK
}

async fn quit(State(agent): State<Arc<Agent>>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> StatusCode {
    if peer.ip() != LOOPBACK {
        return StatusCode::FORBIDDEN;
    }
    agent.quit.notify_one();
    StatusCode::OK
}

async fn drain(State(agent): State<Arc<Agent>>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> StatusCode {
    if peer.ip() != LOOPBACK {
        return StatusCode::FORBIDDEN;
    }
    let url = format!("http://{}/drain_listeners?inboundonly&graceful", agent.admin);
    match agent.http.post(url).send().await {
        Ok(answer) if answer.status().is_success() => StatusCode::OK,
        Ok(_) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What Prometheus reads.
async fn figures(State(agent): State<Arc<Agent>>) -> Result<String, (StatusCode, String)> {
    let merged = merged(&agent.http, &mut *agent.telemetry.lock().await).await;
    merged.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")))
}
