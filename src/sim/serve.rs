//! The simulated cluster over loopback, for kubectl and for agents that run elsewhere on the machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::serve::ListenerExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::Sim;

/// Nobody may ask for a while, and time goes on: what is due is done this often.
const TICK: Duration = Duration::from_secs(1);

/// A cluster that is served until this is dropped.
pub struct Serving {
    /// Where the API server listens.
    pub api: SocketAddr,
    /// Where Prometheus listens.
    pub prometheus: SocketAddr,
    tasks: [AbortOnDropHandle<()>; 3],
}

impl Serving {
    /// A kubeconfig for it, as JSON (which is YAML).
    #[must_use]
    pub fn kubeconfig(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "meshmend-sim",
            "clusters": [{ "name": "meshmend-sim", "cluster": { "server": format!("http://{}", self.api) } }],
            "users": [{ "name": "anybody", "user": {} }],
            "contexts": [{ "name": "meshmend-sim", "context": { "cluster": "meshmend-sim", "user": "anybody", "namespace": "shop" } }],
        })
    }

    /// Waits until one of the servers ends, which none does by itself.
    pub async fn ended(self) {
        let [api, prometheus, ticking] = self.tasks;
        tokio::select! {
            _ = api => {}
            _ = prometheus => {}
            _ = ticking => {}
        }
    }
}

/// Serves a cluster: the API server at this address, Prometheus at a free port of the same host. There is
/// no authentication, so only addresses of this machine are taken.
///
/// # Errors
/// The address is not of loopback, or is taken.
pub async fn serve(sim: &Arc<Sim>, listen: SocketAddr) -> anyhow::Result<Serving> {
    if !listen.ip().is_loopback() {
        anyhow::bail!(
            "{listen} can be reached from elsewhere, and the simulated cluster asks nobody who they are: give an address of 127.0.0.0/8"
        );
    }
    let bound = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let free =
        SocketAddr::new(if listen.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen.ip() }, 0);
    let other = TcpListener::bind(free).await.context("cannot listen on a free port")?;
    let (api, prometheus) = (bound.local_addr()?, other.local_addr()?);
    let serve = |listener: TcpListener, router: axum::Router| {
        AbortOnDropHandle::new(tokio::spawn(async move {
            // Small answers are not held back to go with others.
            let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "a server of the simulation ended");
            }
        }))
    };
    let ticking = Arc::clone(sim);
    let ticking = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tick.tick().await;
            ticking.look(|_| ());
        }
    }));
    let tasks = [serve(bound, sim.api_router()), serve(other, sim.prometheus_router()), ticking];
    Ok(Serving { api, prometheus, tasks })
}
