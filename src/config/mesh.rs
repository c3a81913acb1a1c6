//! Sources that ask the mesh itself: proxies and istiod.

use std::time::Duration;

use super::read::Reader;
use crate::yaml::{Fields, Node};

/// Proxies are asked at their readiness port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxySource {
    /// Seconds between two checks of one proxy.
    pub interval_s: u64,
    /// The way to them.
    pub via: Via,
}

/// The way to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Its pod's address: for an agent that runs in the cluster.
    PodIp,
    /// A port-forward through the API server.
    PortForward,
}

impl Via {
    /// The word as the configuration writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PodIp => "pod_ip",
            Self::PortForward => "port_forward",
        }
    }
}

impl ProxySource {
    /// Time between two checks of one proxy.
    #[must_use]
    pub fn every(&self) -> Duration {
        Duration::from_secs(self.interval_s)
    }
}

/// istiod's replicas are asked what they know of their proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IstiodSource {
    /// Seconds between two questions.
    pub interval_s: u64,
}

impl IstiodSource {
    /// Time between two questions.
    #[must_use]
    pub fn every(&self) -> Duration {
        Duration::from_secs(self.interval_s)
    }
}

/// Between two checks, or three misses in a row would be too short a silence.
const SECONDS: u64 = 10;
/// A check may take three seconds, and rounds must not overlap.
const LEAST: u64 = 5;

impl Reader<'_> {
    pub(super) fn proxies(&mut self, node: &Node) -> Option<ProxySource> {
        let parts = node.fields(&["interval", "via"], &[], self.faults);
        let interval_s = self.interval(parts);
        let via = match parts.get("via") {
            None => Some(Via::PortForward),
            Some(node) => node.text(self.faults).and_then(|text| {
                let found = [Via::PodIp, Via::PortForward].into_iter().find(|via| via.as_str() == text);
                if found.is_none() {
                    let text = format!("{text:?} is no way to a proxy; known: pod_ip, port_forward");
                    self.faults.add(node, text);
                }
                found
            }),
        };
        Some(ProxySource { interval_s: interval_s?, via: via? })
    }

    pub(super) fn istiod(&mut self, node: &Node) -> Option<IstiodSource> {
        let parts = node.fields(&["interval"], &[], self.faults);
        Some(IstiodSource { interval_s: self.interval(parts)? })
    }

    fn interval(&mut self, parts: Fields<'_>) -> Option<u64> {
        let Some(node) = parts.get("interval") else { return Some(SECONDS) };
        let seconds = node.seconds(self.faults)?;
        if seconds < LEAST {
            self.faults.add(node, format!("the interval is at least {LEAST}s"));
        }
        (seconds >= LEAST).then_some(seconds)
    }
}
