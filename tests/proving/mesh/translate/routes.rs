//! One HTTP route of a VirtualService, as Envoy's routes.

use serde_json::{Map, Value, json};

use super::envoy_duration;
use crate::mesh::hosts::{full, selects, words};
use crate::mesh::objects::{Config, Mesh, Proxy, labels};

/// What a translation of routes is for.
pub(super) struct Place<'m> {
    pub(super) mesh: &'m Mesh,
    pub(super) proxy: &'m Proxy,
    pub(super) config: &'m Config,
    pub(super) port: u16,
}

/// The route of a host that no VirtualService serves.
pub(super) fn plain(host: &str, port: u16) -> Value {
    json!({
        "name": "default", "match": {"prefix": "/"},
        "route": {"cluster": cluster_name(port, "", host), "timeout": "0s",
                  "retry_policy": retries(&Value::Null)},
        "decorator": {"operation": format!("{host}:{port}/*")},
    })
}

/// The name of an outbound cluster.
pub(super) fn cluster_name(port: u16, subset: &str, host: &str) -> String {
    format!("outbound|{port}|{subset}|{host}")
}

/// All routes, in order, up to the first that matches everything.
pub(super) fn translated(place: &Place<'_>, routes: &[(Value, &str)]) -> Vec<Value> {
    let mut found = Vec::new();
    for (route, namespace) in routes {
        let blocks = route["match"].as_array().filter(|blocks| !blocks.is_empty());
        let blocks: Vec<Option<&Value>> =
            blocks.map_or(vec![None], |blocks| blocks.iter().map(Some).collect());
        for block in blocks {
            if !block.is_none_or(|block| for_us(place, block)) {
                continue;
            }
            let made = one(place, route, block, namespace);
            let last = takes_all(&made["match"]);
            found.push(made);
            if last {
                return found;
            }
        }
    }
    found
}

/// The conditions that the control plane itself decides.
fn for_us(place: &Place<'_>, block: &Value) -> bool {
    let proxy = place.proxy;
    let gateways = words(&block["gateways"]);
    let port = block["port"].as_u64().unwrap_or_default();
    let namespace = block["sourceNamespace"].as_str().unwrap_or_default();
    (gateways.is_empty() || gateways.contains(&"mesh"))
        && (port == 0 || port == u64::from(place.port))
        && (namespace.is_empty() || namespace == proxy.namespace)
        && selects(&labels(&block["sourceLabels"]), &proxy.labels)
}

fn takes_all(matched: &Value) -> bool {
    let prefix = matched["prefix"] == "/";
    prefix && matched.get("headers").is_none() && matched.get("query_parameters").is_none()
}

fn one(place: &Place<'_>, route: &Value, block: Option<&Value>, namespace: &str) -> Value {
    let Config { namespace: own, name, .. } = place.config;
    let config = format!("/apis/networking.istio.io/v1/namespaces/{own}/virtual-service/{name}");
    let mut made = json!({
        "match": block.map_or(json!({"prefix": "/"}), matches),
        "metadata": {"filter_metadata": {"istio": {"config": config}}},
    });
    let names = [Some(route), block].map(|part| part.and_then(|part| part["name"].as_str()));
    let name: Vec<&str> = names.into_iter().flatten().collect();
    if !name.is_empty() {
        made["name"] = json!(name.join("."));
    }
    if let Some(redirect) = route.get("redirect") {
        made["redirect"] = redirected(redirect);
    } else if let Some(direct) = route.get("directResponse") {
        made["direct_response"] = json!({"status": direct["status"]});
        if let Some(text) = direct["body"]["string"].as_str() {
            made["direct_response"]["body"] = json!({"inline_string": text});
        }
    } else {
        made["route"] = action(place, route, namespace);
    }
    headers(&mut made, &route["headers"]);
    if let Some(fault) = route.get("fault") {
        made["typed_per_filter_config"] = json!({"envoy.filters.http.fault": faults(fault)});
    }
    made
}

fn strings(condition: &Value) -> Option<Value> {
    match (condition["exact"].as_str(), condition["prefix"].as_str(), condition["regex"].as_str()) {
        (Some(text), _, _) => Some(json!({"exact": text})),
        (_, Some(text), _) => Some(json!({"prefix": text})),
        (_, _, Some(text)) => Some(json!({"safe_regex": {"regex": text}})),
        _ => None,
    }
}

fn matches(block: &Value) -> Value {
    let uri = &block["uri"];
    let mut made = match (uri["exact"].as_str(), uri["prefix"].as_str(), uri["regex"].as_str()) {
        (Some(path), _, _) => json!({"path": path}),
        (_, Some(prefix), _) => json!({"prefix": prefix}),
        (_, _, Some(regex)) => json!({"safe_regex": {"regex": regex}}),
        _ => json!({"prefix": "/"}),
    };
    made["case_sensitive"] = json!(!block["ignoreUriCase"].as_bool().unwrap_or(false));
    let mut headers = Vec::new();
    for (key, invert) in [("headers", false), ("withoutHeaders", true)] {
        for (name, condition) in block[key].as_object().into_iter().flatten() {
            let mut header = json!({"name": name});
            match strings(condition) {
                None => header["present_match"] = json!(true),
                Some(wanted) => header["string_match"] = wanted,
            }
            if invert {
                header["invert_match"] = json!(true);
            }
            headers.push(header);
        }
    }
    for (key, name) in [("method", ":method"), ("authority", ":authority"), ("scheme", ":scheme")] {
        if let Some(condition) = block.get(key) {
            headers.push(json!({"name": name, "string_match": strings(condition)}));
        }
    }
    if !headers.is_empty() {
        made["headers"] = json!(headers);
    }
    let parameters = block["queryParams"].as_object().into_iter().flatten();
    let parameters: Vec<Value> = parameters
        .map(|(name, condition)| match strings(condition) {
            None => json!({"name": name, "present_match": true}),
            Some(wanted) => json!({"name": name, "string_match": wanted}),
        })
        .collect();
    if !parameters.is_empty() {
        made["query_parameters"] = json!(parameters);
    }
    made
}

/// The cluster of a destination. Without a port it is the only one of the service, or the listener's own.
fn destination(place: &Place<'_>, destination: &Value, namespace: &str) -> String {
    let host = full(destination["host"].as_str().unwrap_or_default(), namespace);
    let named = destination["port"]["number"].as_u64().and_then(|port| u16::try_from(port).ok());
    let only = || {
        let service = place.mesh.services.iter().find(|service| service.host() == host)?;
        match service.ports.as_slice() {
            [(_, port)] => Some(*port),
            _ => None,
        }
    };
    let port = named.or_else(only).unwrap_or(place.port);
    cluster_name(port, destination["subset"].as_str().unwrap_or_default(), &host)
}

fn action(place: &Place<'_>, route: &Value, namespace: &str) -> Value {
    let timeout = envoy_duration(&route["timeout"]).unwrap_or_else(|| "0s".to_owned());
    let mut made = json!({"timeout": timeout});
    let to = |entry: &Value| destination(place, &entry["destination"], namespace);
    match route["route"].as_array().map_or(&[][..], Vec::as_slice) {
        [one] => made["cluster"] = json!(to(one)),
        several => {
            let weighted = several.iter().filter(|entry| entry["weight"].as_u64().unwrap_or_default() > 0);
            let clusters: Vec<Value> =
                weighted.map(|entry| json!({"name": to(entry), "weight": entry["weight"]})).collect();
            made["weighted_clusters"] = json!({"clusters": clusters});
        }
    }
    if let Some(attempts) = route["retries"].get("attempts").and_then(Value::as_u64)
        && attempts == 0
    {
        // Asked for none: none, and not Istio's default either.
    } else {
        made["retry_policy"] = retries(&route["retries"]);
    }
    if let Some(path) = route["rewrite"]["uri"].as_str() {
        made["prefix_rewrite"] = json!(path);
    }
    if let Some(host) = route["rewrite"]["authority"].as_str() {
        made["host_rewrite_literal"] = json!(host);
    }
    if let Some(mirror) = route.get("mirror") {
        let share = route["mirrorPercentage"]["value"].as_f64().unwrap_or(100.0);
        made["request_mirror_policies"] = json!([{
            "cluster": destination(place, mirror, namespace),
            "runtime_fraction": {"default_value": percent(share)},
            "trace_sampled": false, "disable_shadow_host_suffix_append": true,
        }]);
    }
    made
}

/// What is retried; without a word of the route, Istio's default.
fn retries(written: &Value) -> Value {
    const DEFAULT: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
    let previous = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
    let mut made = json!({
        "retry_on": written["retryOn"].as_str().filter(|on| !on.is_empty()).unwrap_or(DEFAULT),
        "num_retries": written["attempts"].as_u64().unwrap_or(2),
        "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts",
                                  "typed_config": {"@type": previous}}],
        "host_selection_retry_max_attempts": "5",
    });
    if let Some(limit) = envoy_duration(&written["perTryTimeout"]) {
        made["per_try_timeout"] = json!(limit);
    }
    made
}

fn percent(value: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000,000")]
    let parts = (value * 10_000.0).round() as u32;
    json!({"numerator": parts, "denominator": "MILLION"})
}

fn faults(fault: &Value) -> Value {
    let share = |part: &Value| percent(part["percentage"]["value"].as_f64().unwrap_or(100.0));
    let mut made = Map::new();
    made.insert(
        "@type".to_owned(),
        json!("type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"),
    );
    if let Some(abort) = fault.get("abort") {
        let abort = json!({"http_status": abort["httpStatus"], "percentage": share(abort)});
        made.insert("abort".to_owned(), abort);
    }
    if let Some(delay) = fault.get("delay") {
        let fixed = envoy_duration(&delay["fixedDelay"]).unwrap_or_else(|| "0s".to_owned());
        made.insert("delay".to_owned(), json!({"fixed_delay": fixed, "percentage": share(delay)}));
    }
    Value::Object(made)
}

fn redirected(redirect: &Value) -> Value {
    let mut made = Map::new();
    for (key, to) in [("authority", "host_redirect"), ("uri", "path_redirect"), ("scheme", "scheme_redirect")]
    {
        if let Some(text) = redirect.get(key) {
            made.insert(to.to_owned(), text.clone());
        }
    }
    let code = match redirect["redirectCode"].as_u64() {
        Some(302) => "FOUND",
        Some(303) => "SEE_OTHER",
        Some(307) => "TEMPORARY_REDIRECT",
        Some(308) => "PERMANENT_REDIRECT",
        _ => "MOVED_PERMANENTLY",
    };
    made.insert("response_code".to_owned(), json!(code));
    Value::Object(made)
}

fn headers(made: &mut Value, written: &Value) {
    for side in ["request", "response"] {
        let mut added = Vec::new();
        for (key, how) in [("set", "OVERWRITE_IF_EXISTS_OR_ADD"), ("add", "APPEND_IF_EXISTS_OR_ADD")] {
            for (name, value) in written[side][key].as_object().into_iter().flatten() {
                added.push(json!({"header": {"key": name, "value": value}, "append_action": how}));
            }
        }
        if !added.is_empty() {
            made[format!("{side}_headers_to_add")] = json!(added);
        }
        let removed = words(&written[side]["remove"]);
        if !removed.is_empty() {
            made[format!("{side}_headers_to_remove")] = json!(removed);
        }
    }
}
