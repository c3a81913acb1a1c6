//! The traffic policy of one port and subset, and what it makes of a cluster.

use serde_json::{Map, Value, json};

use super::envoy_duration;

/// Blocks are taken whole, one from here, one from there.
const BLOCKS: [&str; 4] = ["connectionPool", "outlierDetection", "loadBalancer", "tls"];

/// Istio writes this for "no limit".
const UNLIMITED: u32 = u32::MAX;

/// The blocks in force for a port and a subset.
pub(super) fn blocks(policy: Option<&Value>, subset: Option<&Value>, port: u16) -> Map<String, Value> {
    let mut found = Map::new();
    for policy in [policy, subset.and_then(|subset| subset.get("trafficPolicy"))].into_iter().flatten() {
        for block in BLOCKS {
            if let Some(value) = policy.get(block) {
                found.insert(block.to_owned(), value.clone());
            }
        }
        let own = policy["portLevelSettings"].as_array().into_iter().flatten();
        let own = own.into_iter().find(|own| own["port"]["number"].as_u64() == Some(u64::from(port)));
        // A port that is named takes nothing from above it.
        if let Some(own) = own {
            found.retain(|block, _| !BLOCKS.contains(&block.as_str()));
            for block in BLOCKS {
                if let Some(value) = own.get(block) {
                    found.insert(block.to_owned(), value.clone());
                }
            }
        }
    }
    found
}

/// Whether endpoints of other localities are only for need.
pub(super) fn prefers_near(blocks: &Map<String, Value>) -> bool {
    let asked = blocks.get("loadBalancer").map_or(&Value::Null, |lb| &lb["localityLbSetting"]["enabled"]);
    blocks.contains_key("outlierDetection") && asked.as_bool().unwrap_or(true)
}

/// A number that is zero is not set.
fn set(value: &Value) -> Option<u64> {
    value.as_u64().filter(|number| *number > 0)
}

/// Writes all of it into a cluster.
pub(super) fn apply(cluster: &mut Value, blocks: &Map<String, Value>) {
    let none = Value::Null;
    let block = |name: &str| blocks.get(name).unwrap_or(&none);
    limits(cluster, block("connectionPool"));
    http(cluster, block("connectionPool"));
    let balancer = block("loadBalancer")["simple"].as_str();
    let balancer = balancer.filter(|policy| ["RANDOM", "ROUND_ROBIN"].contains(policy));
    cluster["lb_policy"] = json!(balancer.unwrap_or("LEAST_REQUEST"));
    cluster["common_lb_config"] = json!({"healthy_panic_threshold": {}});
    if let Some(written) = blocks.get("outlierDetection") {
        cluster["outlier_detection"] = outliers(written);
        if let Some(share) = set(&written["minHealthPercent"]) {
            cluster["common_lb_config"]["healthy_panic_threshold"]["value"] = json!(share);
        }
    }
}

fn limits(cluster: &mut Value, pool: &Value) {
    let limit = |value: &Value| set(value).unwrap_or(u64::from(UNLIMITED));
    let (tcp, http) = (&pool["tcp"], &pool["http"]);
    cluster["circuit_breakers"] = json!({"thresholds": [{
        "max_connections": limit(&tcp["maxConnections"]),
        "max_pending_requests": limit(&http["http1MaxPendingRequests"]),
        "max_requests": limit(&http["http2MaxRequests"]),
        "max_retries": limit(&http["maxRetries"]),
    }]});
    let connect = envoy_duration(&tcp["connectTimeout"]);
    cluster["connect_timeout"] = json!(connect.unwrap_or_else(|| "10s".to_owned()));
    let mut alive = Map::new();
    let written = &tcp["tcpKeepalive"];
    for (key, to) in [("time", "keepalive_time"), ("interval", "keepalive_interval")] {
        let whole =
            envoy_duration(&written[key]).and_then(|text| text.strip_suffix('s')?.parse::<u32>().ok());
        if let Some(seconds) = whole {
            alive.insert(to.to_owned(), json!(seconds));
        }
    }
    if let Some(probes) = set(&written["probes"]) {
        alive.insert("keepalive_probes".to_owned(), json!(probes));
    }
    if !alive.is_empty() {
        cluster["upstream_connection_options"] = json!({"tcp_keepalive": alive});
    }
}

fn http(cluster: &mut Value, pool: &Value) {
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let (tcp, http) = (&pool["tcp"], &pool["http"]);
    let mut common = Map::new();
    let idle = envoy_duration(&http["idleTimeout"]).or_else(|| envoy_duration(&tcp["idleTimeout"]));
    for (key, value) in [
        ("idle_timeout", idle.map(|idle| json!(idle))),
        ("max_connection_duration", envoy_duration(&tcp["maxConnectionDuration"]).map(|text| json!(text))),
        ("max_requests_per_connection", set(&http["maxRequestsPerConnection"]).map(|number| json!(number))),
    ] {
        if let Some(value) = value {
            common.insert(key.to_owned(), value);
        }
    }
    let upgrade = http["h2UpgradePolicy"].as_str();
    if common.is_empty() && upgrade.is_none() {
        return;
    }
    let explicit = if upgrade == Some("UPGRADE") {
        let mut options = Map::new();
        if let Some(streams) = set(&http["maxConcurrentStreams"]) {
            options.insert("max_concurrent_streams".to_owned(), json!(streams));
        }
        json!({"http2_protocol_options": options})
    } else {
        json!({"http_protocol_options": {}})
    };
    cluster["typed_extension_protocol_options"] = json!({OPTIONS: {
        "@type": format!("type.googleapis.com/{OPTIONS}"),
        "common_http_protocol_options": common, "explicit_http_config": explicit,
    }});
}

fn outliers(written: &Value) -> Value {
    let mut made = json!({"enforcing_success_rate": 0});
    let mut errors = |key: &str, to: &str| {
        if let Some(count) = written[key].as_u64() {
            made[to] = json!(count);
            made[format!("enforcing_{to}")] = json!(if count > 0 { 100 } else { 0 });
        }
    };
    errors("consecutive5xxErrors", "consecutive_5xx");
    errors("consecutiveGatewayErrors", "consecutive_gateway_failure");
    if written["splitExternalLocalOriginErrors"] == true {
        errors("consecutiveLocalOriginFailures", "consecutive_local_origin_failure");
        made["split_external_local_origin_errors"] = json!(true);
        made["enforcing_local_origin_success_rate"] = json!(0);
    }
    for (key, to) in [("interval", "interval"), ("baseEjectionTime", "base_ejection_time")] {
        if let Some(text) = envoy_duration(&written[key]) {
            made[to] = json!(text);
        }
    }
    if let Some(share) = set(&written["maxEjectionPercent"]) {
        made["max_ejection_percent"] = json!(share);
    }
    made
}
