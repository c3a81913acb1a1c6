//! istiod: what each replica says about itself and about the proxies that are connected to it. Each knows only
//! its own, so all are asked.
//!
//! The questions go over a port-forward, which ends on the pod's own loopback: istiod answers there without
//! asking who we are.

pub(super) mod adsz;
pub(super) mod syncz;

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::exposition;
use super::pauses::Pauses;
use crate::cluster::{Call, PodPort, ProxyTransport, Unanswered};
use crate::model::proxy::{Connected, SyncWords};
use crate::model::series::Sample;

/// istiod puts the answer together from memory, in milliseconds even for a thousand proxies.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Two kilobytes a proxy: this is thirty thousand of them at one replica.
const MAX_BODY: usize = 64 << 20;
/// The ports that serve pages of `/debug`: the monitoring one, and the one that old installations open.
const DEBUG: &[u16] = &[15014, 8080];
const MONITORING: &[u16] = &[15014];
const READY: u16 = 8080;

/// One replica's words, or why there are none.
pub type Told<T> = (String, Result<T, String>);

/// A reader of all replicas.
pub struct Istiod {
    transport: Arc<dyn ProxyTransport>,
    // One may answer to one question and not to the other: `/debug` has rights of its own.
    syncz: Pauses,
    adsz: Pauses,
    metrics: Pauses,
}

/// A question, and the ports that may answer it.
struct Question<'q> {
    path: &'static str,
    ports: &'static [u16],
    pauses: &'q Pauses,
}

impl Istiod {
    /// Over this transport.
    #[must_use]
    pub fn new(transport: Arc<dyn ProxyTransport>) -> Self {
        Self {
            transport,
            syncz: Pauses::new("/debug/syncz of istiod"),
            adsz: Pauses::new("/debug/adsz of istiod"),
            metrics: Pauses::new("/metrics of istiod"),
        }
    }

    /// Where the proxies of every replica stand with their configuration. The port of each is ours to know.
    pub async fn read(&self, replicas: &[PodPort]) -> Vec<Told<SyncWords>> {
        let question = Question { path: "/debug/syncz", ports: DEBUG, pauses: &self.syncz };
        self.ask_all(replicas, &question, syncz::read).await
    }

    /// Which proxies are connected to every replica, and since when.
    pub async fn connected(&self, replicas: &[PodPort]) -> Vec<Told<Connected>> {
        let question = Question { path: "/debug/adsz", ports: DEBUG, pauses: &self.adsz };
        self.ask_all(replicas, &question, adsz::read).await
    }

    /// Those metrics of every replica whose names are wanted.
    pub async fn metrics(
        &self,
        replicas: &[PodPort],
        keep: &(dyn Fn(&str) -> bool + Send + Sync),
    ) -> Vec<Told<Vec<Sample>>> {
        let question = Question { path: "/metrics", ports: MONITORING, pauses: &self.metrics };
        self.ask_all(replicas, &question, |page| exposition::read(page, keep)).await
    }

    /// Whether every replica says that it is ready. One that was reached and kept silent is not; an error says
    /// why one could not be asked. There is no pause: a replica that was away is asked whether it is back.
    pub async fn ready(&self, replicas: &[PodPort]) -> Vec<Told<Result<(), String>>> {
        let call = Call::get("/ready", TIME_LIMIT);
        let call = &call;
        let told = replicas.iter().cloned().map(|replica| async move {
            let answer = self.transport.ask(&PodPort { port: READY, ..replica.clone() }, call).await;
            let ready = match answer {
                Ok((200, _)) => Ok(Ok(())),
                Ok((status, _)) => Ok(Err(format!("port {READY} answered {status} to /ready"))),
                Err(Unanswered::Silent(why)) => self.silent(&replica, why).await,
                Err(Unanswered::NotAsked(why)) => Err(format!("it could not be asked: {why}")),
            };
            (replica.name(), ready)
        });
        futures::future::join_all(told).await
    }

    /// A replica that kept silent where it tells whether it is ready. One that answers at its other port lives, and
    /// may have been told to listen elsewhere.
    async fn silent(&self, replica: &PodPort, why: String) -> Result<Result<(), String>, String> {
        let call = Call::get("/version", TIME_LIMIT);
        let port = MONITORING[0];
        match self.transport.ask(&PodPort { port, ..replica.clone() }, &call).await {
            Ok(_) => Err(format!("port {READY} keeps silent ({why}), while port {port} answers")),
            Err(_) => Ok(Err(why)),
        }
    }

    async fn ask_all<T>(
        &self,
        replicas: &[PodPort],
        question: &Question<'_>,
        read: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Vec<Told<T>> {
        let read = &read;
        let told = replicas.iter().cloned().map(|replica| async move {
            let name = replica.name();
            let words = question.pauses.ask(&name, self.ask(&replica, question, read)).await;
            (name, words)
        });
        let told = futures::future::join_all(told).await;
        question.pauses.retain(|name| told.iter().any(|(known, _)| known == name));
        told
    }

    async fn ask<T>(
        &self,
        replica: &PodPort,
        question: &Question<'_>,
        read: &impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, String> {
        let path = question.path;
        let call = Call { method: Method::GET, path: path.to_owned(), limit: TIME_LIMIT, max_body: MAX_BODY };
        let mut last = String::new();
        for port in question.ports {
            let to = PodPort { port: *port, ..replica.clone() };
            match self.transport.ask(&to, &call).await {
                Ok((200, body)) => return read(&body).map_err(|why| format!("{why} (port {port}, {path})")),
                Ok((status, _)) => {
                    last = format!("port {port} answered {status} to {path}{}", advice(status))
                }
                Err(why) => last = why.to_string(),
            }
        }
        Err(last)
    }
}

/// What to do about a status.
fn advice(status: u16) -> &'static str {
    match status {
        // Only a port-forward comes from istiod's own loopback, which it does not ask.
        401 | 403 => {
            ": it asks who we are; ask it by port-forward (get and create on pods/portforward in istio-system)"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests;
