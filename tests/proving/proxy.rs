//! A stand-in for the proxy agent, the main process of the container `istio-proxy`: it starts Envoy as its
//! child and answers on port 15020 of the pod as the real one does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
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
use tokio::sync::Notify;

use crate::seam::{self, Figures};

/// The port of the agent.
const PORT: u16 = 15_020;
/// The admin port of Envoy, on the pod's own loopback address.
pub(crate) const ADMIN: u16 = 15_000;
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
    admin: String,
    http: reqwest::Client,
    /// The first success is remembered: a proxy that was ready once stays so, whatever becomes of it.
    was_ready: AtomicBool,
    quit: Notify,
    figures: Figures,
}

/// Runs until Envoy ends or somebody ends it.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let pod = seam::Pod::from_env()?;
    let envoy = PathBuf::from(std::env::var_os("PROVING_ENVOY").context("PROVING_ENVOY is not set")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(live(&pod, envoy))
}

async fn live(pod: &seam::Pod, envoy: PathBuf) -> anyhow::Result<ExitCode> {
    let bootstrap = seam::bootstrap(pod)?;
    let mut child = Command::new(envoy)
        .arg("-c")
        .arg(bootstrap)
        .args(["--disable-hot-restart", "--concurrency", "1", "-l", "warning", "--drain-time-s", "45"])
        .spawn()
        .context("Envoy did not start")?;
    let agent = Arc::new(Agent {
        admin: format!("http://{}:{ADMIN}", own_loopback(pod.ip)),
        http: reqwest::Client::builder().no_proxy().timeout(ASKING).pool_max_idle_per_host(0).build()?,
        was_ready: AtomicBool::new(false),
        quit: Notify::new(),
        figures: Figures::follow(pod)?,
    });
    let listener = tokio::net::TcpListener::bind((pod.ip, PORT)).await?;
    let served = axum::serve(listener, routes(&agent).into_make_service_with_connect_info::<SocketAddr>());
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
        let answer = agent.http.get(format!("{}/ready", agent.admin)).send().await;
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
    let url = format!("{}/drain_listeners?inboundonly&graceful", agent.admin);
    match agent.http.post(url).send().await {
        Ok(answer) if answer.status().is_success() => StatusCode::OK,
        Ok(_) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Envoy's own figures, and those of requests under Istio's names. Where Envoy does not answer, what is known
/// of its requests is told all the same, as the real agent does.
async fn figures(State(agent): State<Arc<Agent>>) -> String {
    let answer = agent.http.get(format!("{}/stats/prometheus", agent.admin)).send().await;
    let mut text = match answer {
        Ok(answer) => answer.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    };
    text.push_str(&agent.figures.render());
    text
}
