//! `/debug/syncz`: where each proxy of a replica stands with its configuration.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use crate::model::proxy::{Standing, SyncWord, SyncWords};
use crate::model::subject::Subject;

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
    sent_time: String,
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
pub(in super::super) fn read(body: &[u8]) -> Result<SyncWords, String> {
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
    let mut waits_since: Option<Timestamp> = None;
    for (url, resource) in &proxy.resources {
        sent |= !resource.sent.is_empty();
        if !resource.last_error.is_empty() {
            rejected.push((short(url), resource.last_error.clone()));
        } else if resource.sent != resource.acked {
            waiting.push(short(url));
            let since = time(&resource.sent_time)?;
            waits_since = [waits_since, since].into_iter().flatten().min();
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
        return Ok(SyncWord { standing: Standing::Rejected(error), types, version, waits_since: None });
    }
    // Nothing sent at all is no configuration at all: it waits for it.
    let standing = if sent && waiting.is_empty() { Standing::Acknowledged } else { Standing::Waiting };
    Ok(SyncWord { standing, types: waiting, version, waits_since })
}

/// A time that is not written, or the zero time that Go writes for it, is none.
fn time(text: &str) -> Result<Option<Timestamp>, String> {
    if text.is_empty() || text.starts_with("0001-") {
        return Ok(None);
    }
    let time = text.parse().map_err(|error| format!("unexpected answer: {text:?} is no time: {error}"))?;
    Ok(Some(time))
}
