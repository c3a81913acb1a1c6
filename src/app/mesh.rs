//! The sources that ask the mesh itself, as the configuration has them.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::board::Boards;
use super::queue::Input;
use super::run::prometheus;
use crate::clock::Clock;
use crate::cluster::{ByPodIp, ByPortForward, Cluster, ProxyEyes, ProxyTransport};
use crate::config::{Config, PrometheusSource, Via};
use crate::effectors::Effectors;
use crate::rules::Rules;
use crate::sources::agent::Agent;
use crate::sources::envoy::EnvoyAdmin;
use crate::sources::istiod::Istiod;
use crate::sources::proxy_check::ProxyCheck;

/// The boards, with a way to proxies and to istiod where the configuration names them.
///
/// # Errors
/// The CA file of Prometheus is wrong.
pub(super) fn boards(
    config: &Config,
    cluster: &Arc<Cluster>,
    rules: &Arc<Rules>,
    clock: Clock,
) -> anyhow::Result<Arc<Boards>> {
    let prometheus = config.prometheus.as_ref().map(|source| prometheus(source, clock)).transpose()?;
    let boards = Boards::new(Arc::clone(cluster), Arc::clone(rules), prometheus, clock, config.history);
    let forward = || -> Arc<dyn ProxyTransport> { Arc::new(ByPortForward::new(cluster.client.clone())) };
    let way = |via| -> Arc<dyn ProxyTransport> {
        match via {
            Via::PodIp => Arc::new(ByPodIp),
            Via::PortForward => forward(),
        }
    };
    let check = config.proxies.map(|source| ProxyCheck::new(way(source.via), source.every()));
    // Envoy's admin port listens on the pod's own loopback, where only a port-forward comes out.
    let admin = config.proxies.filter(|source| source.via == Via::PortForward);
    let admin = admin.map(|_| EnvoyAdmin::new(forward()));
    let agent = config.proxies.map(|source| Agent::new(way(source.via)));
    let boards = boards.with_proxies(admin, agent);
    // Only from its own loopback istiod answers without asking who we are.
    Ok(Arc::new(boards.with_mesh(check, config.istiod.map(|_| Istiod::new(forward())))))
}

/// Effectors that see proxies, where anything is configured that could ask them.
pub(super) fn effectors(
    cluster: &Arc<Cluster>,
    boards: &Arc<Boards>,
    config: &Config,
    clock: Clock,
) -> Effectors {
    let effectors = Effectors::new(Arc::clone(cluster), clock, config.brake.writes);
    if config.proxies.is_none() && config.istiod.is_none() {
        return effectors;
    }
    effectors.with_eyes(Arc::clone(boards) as Arc<dyn ProxyEyes>)
}

/// Starts the watchers of the mesh, as soon as it is known whom to ask.
pub(super) fn watch(
    config: &Config,
    cluster: &Arc<Cluster>,
    boards: &Arc<Boards>,
    sources: &mpsc::Sender<Input>,
) {
    let (proxies, istiod) = (config.proxies, config.istiod);
    // As often as Prometheus is asked for anything else.
    let every = config.prometheus.as_ref().map(PrometheusSource::every).unwrap_or_default();
    let (cluster, boards, sources) = (Arc::clone(cluster), Arc::clone(boards), sources.clone());
    tokio::spawn(async move {
        cluster.wait_synced().await;
        tokio::spawn(Arc::clone(&boards).watch_objects(sources.clone()));
        tokio::spawn(Arc::clone(&boards).keep_looking());
        tokio::spawn(Arc::clone(&boards).poll_triggers(every, sources.clone()));
        if let Some(source) = istiod {
            tokio::spawn(Arc::clone(&boards).watch_istiod(source.every(), sources.clone()));
        }
        if let Some(source) = proxies {
            boards.watch_proxies(source.every(), sources).await;
        }
    });
}
