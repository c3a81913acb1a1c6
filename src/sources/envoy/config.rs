//! `/config_dump`: what a proxy rejects now.
//!
//! Envoy keeps an error for each listener it was sent and did not take, until it takes one; as measured with
//! 1.40, it keeps none for clusters and routes, so those show only in counters. Asked for one kind of resource
//! and a mask, it writes some hundred bytes where the whole dump has megabytes.

use serde::{Deserialize, Deserializer};

use super::{json, only};

/// The rejected configuration itself, `error_state.failed_configuration`, is what makes the dump large.
pub(super) const PATH: &str = "/config_dump?resource=dynamic_listeners\
    &mask=name,client_status,error_state.details,error_state.last_update_attempt";

/// What a proxy says of its listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Listeners that it has or was sent.
    pub listeners: usize,
    /// What it does not take.
    pub rejected: Vec<Rejection>,
}

/// A listener that was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Its name; empty where Envoy does not say which of those it was sent it was.
    pub name: String,
    /// Why, in Envoy's words.
    pub details: String,
}

/// The answer has no list where there is nothing of the kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    configs: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(rename = "@type")]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "there")]
    client_status: Option<String>,
    #[serde(default, deserialize_with = "there")]
    error_state: Option<ErrorState>,
}

/// Envoy leaves a field out or writes it: a null is neither, and no sign that nothing was rejected.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct ErrorState {
    #[serde(default)]
    details: String,
}

pub(in super::super) fn read(status: u16, body: &[u8]) -> Result<Configuration, String> {
    // A proxy that never had a listener says so with a 404.
    if status == 404 && body.ends_with(b"not found in config dump") {
        return Ok(Configuration::default());
    }
    only(200, status)?;
    let written: Written = json(body)?;
    let mut found = Configuration { listeners: written.configs.len(), rejected: Vec::new() };
    for resource in written.configs {
        if !resource.kind.ends_with(".ListenersConfigDump.DynamicListener") {
            return Err(format!("unexpected answer: a listener is asked for, not a {}", resource.kind));
        }
        let status = resource.client_status.as_deref();
        let nacked = status.is_some_and(|status| status == "NACKED" || status == "RECEIVED_ERROR");
        let details = resource.error_state.map(|error| error.details);
        if nacked || details.is_some() {
            found.rejected.push(Rejection { name: resource.name, details: details.unwrap_or_default() });
        }
    }
    Ok(found)
}
