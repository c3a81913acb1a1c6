//! The DestinationRule in force: the client's namespace first, then the service's, then the root; there the
//! most specific host, and of equal hosts the oldest policy with all subsets. `exportTo`, `workloadSelector`
//! and ports other than 80 are not looked at.

use serde_json::Value;

use crate::sim::control::text;
use crate::sim::store::Store;
use crate::sim::world::Service;

const ROOT: &str = "istio-system";
const PORT: u64 = 80;

/// Limits of one client's proxy towards one cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Limits {
    requests: Option<f64>,
    /// Connections and those that may wait for one; connections alone turn nobody away.
    pending: Option<f64>,
}

impl Limits {
    /// Requests that one client may have under way.
    pub(super) fn in_flight(&self) -> Option<f64> {
        match (self.requests, self.pending) {
            (Some(requests), Some(pending)) => Some(requests.min(pending)),
            (one, other) => one.or(other),
        }
    }

    /// Whether it is the queue for connections that is full first.
    pub(super) fn pending_binds(&self) -> bool {
        self.pending.is_some_and(|pending| self.requests.is_none_or(|requests| pending < requests))
    }

    fn of(pool: Option<&Value>) -> Self {
        // Zero counts as unset.
        let of = |pointer: &str| {
            let number = pool.and_then(|pool| pool.pointer(pointer)).and_then(Value::as_f64);
            number.filter(|number| *number > 0.0)
        };
        let pending = of("/tcp/maxConnections").zip(of("/http/http1MaxPendingRequests"));
        Self { requests: of("/http/http2MaxRequests"), pending: pending.map(|(open, wait)| open + wait) }
    }
}

/// Outlier detection: how long an endpoint is put aside, and which share of them at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outlier {
    pub(super) base_s: i64,
    pub(super) most: f64,
}

/// What is in force for a service.
#[derive(Default)]
pub(super) struct Rule<'s> {
    policy: Option<&'s Value>,
    subsets: Vec<&'s Value>,
}

pub(super) fn rule<'s>(store: &'s Store, service: &Service) -> Rule<'s> {
    for namespace in [service.client.0, service.namespace, ROOT] {
        let mut fitting: Vec<(usize, &Value)> = store
            .list("destinationrules", Some(namespace))
            .filter_map(|rule| Some((fits(text(rule, "/spec/host"), namespace, service)?, rule)))
            .collect();
        let Some(best) = fitting.iter().map(|(length, _)| *length).max() else { continue };
        fitting.retain(|(length, _)| *length == best);
        fitting.sort_by_key(|(_, rule)| {
            (text(rule, "/metadata/creationTimestamp"), text(rule, "/metadata/name"))
        });
        let policy = fitting.iter().find_map(|(_, rule)| rule.pointer("/spec/trafficPolicy"));
        let subsets = fitting.iter().filter_map(|(_, rule)| rule.pointer("/spec/subsets")?.as_array());
        return Rule { policy, subsets: subsets.flatten().collect() };
    }
    Rule::default()
}

/// How specific a rule's host is for the service; `None` when it is about another.
fn fits(host: &str, namespace: &str, service: &Service) -> Option<usize> {
    let whole = service.host();
    if let Some(ending) = host.strip_prefix('*') {
        return whole.ends_with(ending).then_some(ending.len());
    }
    // A short name is one of the rule's own namespace.
    let full =
        if host.contains('.') { host.to_owned() } else { format!("{host}.{namespace}.svc.cluster.local") };
    (full == whole).then_some(usize::MAX)
}

impl<'s> Rule<'s> {
    fn entry(&self, subset: &str) -> Option<&'s Value> {
        self.subsets.iter().copied().find(|entry| text(entry, "/name") == subset)
    }

    /// The labels of a subset.
    pub(super) fn subset(&self, subset: &str) -> Option<&'s Value> {
        self.entry(subset)?.get("labels")
    }

    /// A block of the policy: of the subset's port, the subset, the port, or the whole, the first that is there.
    fn block(&self, subset: &str, name: &str) -> Option<&'s Value> {
        let own = self.entry(subset).and_then(|entry| entry.get("trafficPolicy"));
        for policy in [own, self.policy].into_iter().flatten() {
            let ports = policy.get("portLevelSettings").and_then(Value::as_array);
            let port = ports
                .into_iter()
                .flatten()
                .find(|port| port.pointer("/port/number").and_then(Value::as_u64) == Some(PORT));
            if let Some(port) = port {
                // A port takes nothing from what stands above it.
                return port.get(name);
            }
            if let Some(block) = policy.get(name) {
                return Some(block);
            }
        }
        None
    }

    pub(super) fn limits(&self, subset: &str) -> Limits {
        Limits::of(self.block(subset, "connectionPool"))
    }

    pub(super) fn outlier(&self, subset: &str) -> Option<Outlier> {
        let block = self.block(subset, "outlierDetection")?;
        if block.get("consecutive5xxErrors").and_then(Value::as_u64) == Some(0) {
            return None;
        }
        let base: Option<jiff::SignedDuration> = text(block, "/baseEjectionTime").parse().ok();
        let most = block.get("maxEjectionPercent").and_then(Value::as_f64).unwrap_or(10.0) / 100.0;
        Some(Outlier { base_s: base.map_or(30, |span| span.as_secs()), most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // Mutation: taking the top block where the subset or the port has one, or zero for a limit.
    #[test]
    fn a_subset_and_a_port_beat_the_whole_and_zero_is_unset() {
        let pool = |requests: u32| json!({ "http": { "http2MaxRequests": requests } });
        let policy = json!({ "connectionPool": pool(7) });
        let subsets = [
            json!({ "name": "v1", "trafficPolicy": { "connectionPool": { "tcp": { "connectTimeout": "1s" } } } }),
            json!({ "name": "v2" }),
            json!({ "name": "v3", "trafficPolicy": { "connectionPool": pool(3), "portLevelSettings": [
                { "port": { "number": 80 }, "connectionPool": pool(0) }] } }),
        ];
        let rule = Rule { policy: Some(&policy), subsets: subsets.iter().collect() };
        let found: Vec<Option<f64>> =
            ["v1", "v2", "v3", ""].iter().map(|subset| rule.limits(subset).in_flight()).collect();
        assert_eq!(found, [None, Some(7.0), None, Some(7.0)]);
    }

    // Mutation: letting connections alone turn requests away.
    #[test]
    fn connections_alone_queue_and_turn_nobody_away() {
        let of = |pool: &Value| Limits::of(Some(pool));
        assert_eq!(of(&json!({ "tcp": { "maxConnections": 5 } })).in_flight(), None);
        let both = of(&json!({ "tcp": { "maxConnections": 5 }, "http": { "http1MaxPendingRequests": 2 } }));
        assert_eq!((both.in_flight(), both.pending_binds()), (Some(7.0), true));
    }
}
