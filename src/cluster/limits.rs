//! Limits of connection pools, as a DestinationRule sets them block by block.

use serde_json::Value;

use super::rule::RuleInForce;
use crate::model::action::Limits;
use crate::model::facts::OutlierFacts;

/// Percentage of ejected endpoints that Envoy allows where the rule does not say.
const EJECTION_PERCENT: u32 = 10;

/// Where one limit stands in a connection pool.
pub(super) const PLACES: [(&str, &str); 3] =
    [("tcp", "maxConnections"), ("http", "http1MaxPendingRequests"), ("http", "http2MaxRequests")];

/// The limits of a connection pool; zero is unset.
fn of_pool(policy: Option<&Value>) -> Limits {
    let pool = policy.and_then(|policy| policy.get("connectionPool"));
    let [max_connections, max_pending, max_requests] = PLACES.map(|(protocol, key)| {
        let limit = pool?.get(protocol)?.get(key)?.as_u64().filter(|limit| *limit > 0)?;
        u32::try_from(limit).ok()
    });
    Limits { max_connections, max_pending, max_requests }
}

/// All blocks of a spec that may hold a pool of their own: the top, subsets, and ports of both.
fn blocks(spec: &Value) -> Vec<&Value> {
    let subsets = spec.get("subsets").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let policies = [spec].into_iter().chain(subsets).filter_map(|block| block.get("trafficPolicy"));
    policies
        .flat_map(|policy| {
            let ports = policy.get("portLevelSettings").and_then(Value::as_array).into_iter().flatten();
            [policy].into_iter().chain(ports)
        })
        .collect()
}

/// The tightest limits that any block of a spec sets.
#[must_use]
pub fn tightest(spec: &Value) -> Limits {
    let least = |a: Option<u32>, b: Option<u32>| a.into_iter().chain(b).min();
    blocks(spec).into_iter().map(|block| of_pool(Some(block))).fold(Limits::default(), |a, b| Limits {
        max_connections: least(a.max_connections, b.max_connections),
        max_pending: least(a.max_pending, b.max_pending),
        max_requests: least(a.max_requests, b.max_requests),
    })
}

/// The outlier detection of a spec: of the block that ejects most; `None` where no block sets any.
#[must_use]
pub fn outlier(spec: &Value) -> Option<OutlierFacts> {
    let set = blocks(spec).into_iter().filter_map(|block| block.get("outlierDetection"));
    set.map(|outlier| {
        let number = |key: &str| outlier.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        OutlierFacts {
            max_ejection_percent: number("maxEjectionPercent").filter(|n| *n > 0).unwrap_or(EJECTION_PERCENT),
            min_health_percent: number("minHealthPercent").unwrap_or(0),
        }
    })
    .max_by_key(|outlier| outlier.max_ejection_percent)
}

impl RuleInForce {
    /// The limits that a client's proxy has for a port, by a route that names this subset or none.
    ///
    /// As measured: a port block takes nothing from the top, and a subset's pool replaces both.
    #[must_use]
    pub fn limits(&self, port: u64, subset: Option<&str>) -> Limits {
        let top = self.policy.as_ref().and_then(|rule| rule.spec.get("trafficPolicy"));
        let base = top.and_then(|top| port_block(top, port)).or(top);
        let own = subset.and_then(|name| self.subsets.get(name)).and_then(|s| s.block.get("trafficPolicy"));
        let Some(own) = own else { return of_pool(base) };
        match port_block(own, port) {
            Some(block) => of_pool(Some(block)),
            None if own.get("connectionPool").is_some() => of_pool(Some(own)),
            None => of_pool(base),
        }
    }
}

fn port_block(policy: &Value, port: u64) -> Option<&Value> {
    let ports = policy.get("portLevelSettings")?.as_array()?;
    ports
        .iter()
        .find(|block| block.get("port").and_then(|p| p.get("number")).and_then(Value::as_u64) == Some(port))
}
