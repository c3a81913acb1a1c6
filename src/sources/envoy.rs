//! Envoy: what the admin port of a sidecar or gateway says. It listens on the pod's own loopback, where only a
//! port-forward comes out.
//!
//! Each page is asked for in the smallest form that Envoy gives: whole dumps are megabytes.

pub(super) mod certs;
pub(super) mod clusters;
pub(super) mod config;
pub(super) mod server;
pub(super) mod stats;

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::pauses::Pauses;
use crate::cluster::{Call, PodPort, ProxyTransport};

pub use certs::Leaf;
pub use clusters::ClusterStatus;
pub use config::{Configuration, Rejection};
pub use server::ServerInfo;
pub use stats::{Stat, Stats};

/// The port.
pub const ADMIN: u16 = 15000;
/// Envoy's main thread answers these in milliseconds; one that needs longer hangs, or starves.
const TIME_LIMIT: Duration = Duration::from_secs(3);
/// A cluster with ten endpoints is ten kilobytes in `/clusters`: this is some three thousand of them.
const MAX_BODY: usize = 32 << 20;

/// A reader of admin ports.
pub struct EnvoyAdmin {
    transport: Arc<dyn ProxyTransport>,
    pauses: Pauses,
}

impl EnvoyAdmin {
    /// Over this transport, which must come out on the pod's own loopback.
    #[must_use]
    pub fn new(transport: Arc<dyn ProxyTransport>) -> Self {
        Self { transport, pauses: Pauses::new("the admin port of a proxy") }
    }

    /// `/stats`, and of them only what is read here.
    ///
    /// # Errors
    /// The proxy cannot be asked, or its answer is not whole.
    pub async fn stats(&self, pod: &PodPort) -> Result<Stats, String> {
        self.ask(pod, &stats::path(), |status, body| only(200, status).and_then(|()| stats::read(body))).await
    }

    /// `/clusters`: each cluster with how its hosts are. Whatever the statsMatcher leaves out, this is there.
    ///
    /// # Errors
    /// The proxy cannot be asked, or its answer is not whole.
    pub async fn clusters(&self, pod: &PodPort) -> Result<Vec<ClusterStatus>, String> {
        self.ask(pod, clusters::PATH, |status, body| only(200, status).and_then(|()| clusters::read(body)))
            .await
    }

    /// `/certs`: the first certificate of each chain, which is the workload's own. None: it speaks plain text.
    ///
    /// # Errors
    /// The proxy cannot be asked, or its answer is not whole.
    pub async fn leaves(&self, pod: &PodPort) -> Result<Vec<Leaf>, String> {
        self.ask(pod, "/certs", |status, body| only(200, status).and_then(|()| certs::read(body))).await
    }

    /// `/server_info`: version, state and age.
    ///
    /// # Errors
    /// The proxy cannot be asked, or its answer is not whole.
    pub async fn server(&self, pod: &PodPort) -> Result<ServerInfo, String> {
        self.ask(pod, "/server_info", |status, body| only(200, status).and_then(|()| server::read(body)))
            .await
    }

    /// `/config_dump`: the listeners that the proxy rejects now. Of clusters and routes Envoy only counts how
    /// many updates it has rejected: see [`Stat::RejectedClusters`].
    ///
    /// # Errors
    /// The proxy cannot be asked, or its answer is not whole.
    pub async fn configuration(&self, pod: &PodPort) -> Result<Configuration, String> {
        self.ask(pod, config::PATH, config::read).await
    }

    /// Forgets pauses of pods that are gone: keyed by namespace and name, parted by a slash.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.pauses.retain(keep);
    }

    async fn ask<T>(
        &self,
        pod: &PodPort,
        path: &str,
        read: impl Fn(u16, &[u8]) -> Result<T, String>,
    ) -> Result<T, String> {
        let call = Call { method: Method::GET, path: path.to_owned(), limit: TIME_LIMIT, max_body: MAX_BODY };
        let to = PodPort { port: ADMIN, ..pod.clone() };
        let shown = path.split('?').next().unwrap_or_default();
        // A proxy that keeps silent at one page does so at the next. One that answers something else is asked on.
        let asked = async { self.transport.ask(&to, &call).await.map_err(|why| why.to_string()) };
        let answer = self.pauses.ask(&pod.name(), asked).await;
        let told = answer.and_then(|(status, body)| read(status, &body));
        told.map_err(|why| format!("{shown} at port {ADMIN} of {}/{}: {why}", pod.namespace, pod.pod))
    }
}

fn only(wanted: u16, status: u16) -> Result<(), String> {
    if status == wanted { Ok(()) } else { Err(format!("it answered {status}")) }
}

fn json<'b, T: serde::Deserialize<'b>>(body: &'b [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("unexpected answer: {error}"))
}

#[cfg(test)]
mod tests;
