//! istiod: what each replica says in `/debug/syncz` about the proxies that are connected to it.
//!
//! The questions go over a port-forward, which ends on the pod's own loopback: istiod answers there without
//! asking who we are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde::Deserialize;

use super::pauses::Pauses;
use crate::cluster::{Call, PodPort, ProxyTransport};
use crate::model::proxy::{Standing, SyncWord, SyncWords};
use crate::model::subject::Subject;

/// istiod puts the answer together from memory, in milliseconds even for a thousand proxies.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Two kilobytes a proxy: this is thirty thousand of them at one replica.
const MAX_BODY: usize = 64 << 20;
/// The ports that serve it: the monitoring one, and the one that old installations open.
const PORTS: [u16; 2] = [15014, 8080];
/// One replica's words, or why there are none.
pub type Told = (String, Result<SyncWords, String>);

/// A reader of all replicas.
pub struct Istiod {
    transport: Arc<dyn ProxyTransport>,
    pauses: Pauses,
}

impl Istiod {
    /// Over this transport.
    #[must_use]
    pub fn new(transport: Arc<dyn ProxyTransport>) -> Self {
        Self { transport, pauses: Pauses::new("istiod") }
    }

    /// Asks every replica at once; the port of each is ours to know.
    pub async fn read(&self, replicas: &[PodPort]) -> Vec<Told> {
        let told = replicas.iter().map(|replica| async move {
            let name = format!("{}/{}", replica.namespace, replica.pod);
            let words = self.pauses.ask(&name, self.ask(replica)).await;
            (name, words)
        });
        let told = futures::future::join_all(told).await;
        self.pauses.retain(|name| told.iter().any(|(known, _)| known == name));
        told
    }

    async fn ask(&self, replica: &PodPort) -> Result<SyncWords, String> {
        let path = "/debug/syncz".to_owned();
        let call = Call { method: Method::GET, path, limit: TIME_LIMIT, max_body: MAX_BODY };
        let mut last = String::new();
        for port in PORTS {
            let to = PodPort { port, ..replica.clone() };
            match self.transport.ask(&to, &call).await {
                Ok((200, body)) => return read(&body),
                Ok((status, _)) => last = format!("port {port} answered {status} to /debug/syncz"),
                Err(why) => last = why.to_string(),
            }
        }
        Err(last)
    }
}

#[derive(Deserialize)]
struct Written {
    proxy: String,
    #[serde(default)]
    proxy_type: String,
    #[serde(default)]
    proxy_version: String,
    #[serde(default)]
    istio_version: String,
    #[serde(default)]
    resources: BTreeMap<String, Resource>,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    #[serde(default)]
    sent: String,
    #[serde(default)]
    acked: String,
    #[serde(default)]
    last_error: String,
}

/// Releases before 1.23 have only these pairs; later ones repeat them.
const PAIRS: [(&str, &str); 5] = [
    ("cluster", "Cluster"),
    ("listener", "Listener"),
    ("route", "RouteConfiguration"),
    ("endpoint", "ClusterLoadAssignment"),
    ("extensionconfig", "TypedExtensionConfig"),
];

/// Kinds of proxies that take their configuration type by type. ztunnel takes deltas of another kind.
const TYPES: [&str; 4] = ["", "sidecar", "router", "waypoint"];

/// Reads one replica's answer. An answer that is not whole tells nothing at all: who is missing in it
/// would look disconnected.
fn read(body: &[u8]) -> Result<SyncWords, String> {
    let written: Vec<Written> =
        serde_json::from_slice(body).map_err(|error| format!("unexpected answer: {error}"))?;
    let mut words = SyncWords::new();
    for proxy in written.iter().filter(|proxy| TYPES.contains(&proxy.proxy_type.as_str())) {
        let (name, namespace) = proxy
            .proxy
            .rsplit_once('.')
            .filter(|(name, namespace)| !name.is_empty() && !namespace.is_empty())
            .ok_or_else(|| format!("unexpected answer: no proxy is called {:?}", proxy.proxy))?;
        let word = word(proxy)?;
        let pod = Subject::pod(namespace, name);
        // A pod that connects anew is there twice for a moment; the worse word counts.
        let worse = words.get(&pod).is_none_or(|known| weight(&word) > weight(known));
        if worse {
            words.insert(pod, word);
        }
    }
    Ok(words)
}

fn weight(word: &SyncWord) -> u8 {
    match word.standing {
        Standing::Acknowledged => 0,
        Standing::Waiting => 1,
        Standing::Rejected(_) => 2,
    }
}

fn word(proxy: &Written) -> Result<SyncWord, String> {
    let short = |url: &str| url.rsplit('.').next().unwrap_or_default().to_owned();
    let mut waiting: Vec<String> = Vec::new();
    let mut rejected: Vec<(String, String)> = Vec::new();
    let mut sent = false;
    for (url, resource) in &proxy.resources {
        sent |= !resource.sent.is_empty();
        if !resource.last_error.is_empty() {
            rejected.push((short(url), resource.last_error.clone()));
        } else if resource.sent != resource.acked {
            waiting.push(short(url));
        }
    }
    for (key, name) in PAIRS {
        let text = |end: &str| match proxy.others.get(&format!("{key}_{end}")) {
            None => Ok(""),
            Some(serde_json::Value::String(text)) => Ok(text.as_str()),
            Some(other) => Err(format!("unexpected answer: {key}_{end} is {other}")),
        };
        let (there, back) = (text("sent")?, text("acked")?);
        sent |= !there.is_empty();
        let known = waiting.iter().chain(rejected.iter().map(|(name, _)| name)).any(|known| known == name);
        if there != back && !known {
            waiting.push(name.to_owned());
        }
    }
    let version = [&proxy.proxy_version, &proxy.istio_version].into_iter().find(|text| !text.is_empty());
    let version = version.cloned().unwrap_or_default();
    if let Some((_, error)) = rejected.first() {
        let error = error.clone();
        let types = rejected.into_iter().map(|(name, _)| name).collect();
        return Ok(SyncWord { standing: Standing::Rejected(error), types, version });
    }
    // Nothing sent at all is no configuration at all: it waits for it.
    let standing = if sent && waiting.is_empty() { Standing::Acknowledged } else { Standing::Waiting };
    Ok(SyncWord { standing, types: waiting, version })
}

#[cfg(test)]
mod tests;
