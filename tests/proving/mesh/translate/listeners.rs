//! The listeners of a sidecar, on its pod's own address, and the clusters of the application behind it.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::mesh::hosts::selects;
use crate::mesh::objects::{Inbound, Mesh, Proxy, ROOT_NAMESPACE, Sidecar, labels};

/// The port of a pod on which its sidecar takes what the pod sends: HTTP, led by the Host header.
pub(crate) const OUTBOUND_PORT: u16 = 15001;

/// All of them.
pub(super) fn all(sidecar: &Sidecar, added: &[Value]) -> Vec<Value> {
    let outbound = json!({"rds": {
        "route_config_name": OUTBOUND_PORT.to_string(),
        "config_source": from_file(&format!("{}/rds.json", sidecar.folder)),
    }});
    let mut listeners = vec![listener(sidecar, "outbound", OUTBOUND_PORT, (outbound, added))];
    listeners.extend(sidecar.inbound.iter().map(|inbound| {
        let port = inbound.port;
        let route = json!({"cluster": inbound_cluster(port), "timeout": "0s"});
        let routes = json!({"route_config": {
            "name": inbound_cluster(port), "validate_clusters": false,
            "virtual_hosts": [{"name": format!("inbound|http|{port}"), "domains": ["*"],
                               "routes": [{"name": "default", "match": {"prefix": "/"}, "route": route}]}],
        }});
        listener(sidecar, "inbound", port, (routes, added))
    }));
    listeners
}

/// The name of the cluster of the application behind a port.
pub(crate) fn inbound_cluster(port: u16) -> String {
    format!("inbound|{port}||")
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip(), "port_value": address.port()}})
}

fn listener(sidecar: &Sidecar, direction: &str, port: u16, (routes, added): (Value, &[Value])) -> Value {
    const MANAGER: &str = "envoy.filters.network.http_connection_manager";
    let name = format!("{}_{port}", sidecar.ip);
    let own = [filter("fault", "fault.v3.HTTPFault"), filter("router", "router.v3.Router")];
    let filters: Vec<Value> = added.iter().cloned().chain(own).collect();
    let mut manager = json!({
        "@type": format!("type.googleapis.com/{}.v3.HttpConnectionManager",
                         MANAGER.replace("envoy.", "envoy.extensions.")),
        "stat_prefix": format!("{direction}_{name};"),
        "http_filters": filters,
        "access_log": [access_log(direction, &sidecar.access_log)],
        "use_remote_address": false, "normalize_path": true, "stream_idle_timeout": "0s",
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
    });
    if let (Some(manager), Some(routes)) = (manager.as_object_mut(), routes.as_object()) {
        manager.extend(routes.clone());
    }
    json!({
        "name": name, "address": socket(SocketAddr::new(sidecar.ip, port)),
        "traffic_direction": direction.to_uppercase(),
        "filter_chains": [{"filters": [{"name": MANAGER, "typed_config": manager}]}],
    })
}

/// The HTTP filters that EnvoyFilters add to a sidecar's listeners, before its own.
pub(super) fn added(mesh: &Mesh, proxy: &Proxy) -> Vec<Value> {
    let ours = mesh.envoy_filters.iter().filter(|filter| {
        [ROOT_NAMESPACE, &proxy.namespace].contains(&filter.namespace.as_str())
            && selects(&labels(&filter.spec["workloadSelector"]["labels"]), &proxy.labels)
    });
    let patches = ours.flat_map(|filter| filter.spec["configPatches"].as_array().into_iter().flatten());
    patches
        .filter(|patch| patch["applyTo"] == "HTTP_FILTER")
        .map(|patch| patch["patch"]["value"].clone())
        .collect()
}

fn filter(name: &str, kind: &str) -> Value {
    json!({"name": format!("envoy.filters.http.{name}"),
           "typed_config": {"@type": format!("type.googleapis.com/envoy.extensions.filters.http.{kind}")}})
}

/// One line of JSON for each request; `mesh::metrics` reads it.
fn access_log(direction: &str, path: &str) -> Value {
    json!({"name": "envoy.access_loggers.file", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": path,
        "log_format": {"json_format": {
            "direction": direction, "start": "%START_TIME%", "code": "%RESPONSE_CODE%",
            "flags": "%RESPONSE_FLAGS%", "cluster": "%UPSTREAM_CLUSTER_RAW%",
            "authority": "%REQ(:AUTHORITY)%", "duration_ms": "%DURATION%", "upstream": "%UPSTREAM_HOST%",
            "from": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "route": "%ROUTE_NAME%",
            "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "details": "%RESPONSE_CODE_DETAILS%",
        }},
    }})
}

/// Where a resource is read from that Envoy watches as a file; a rename over it is a change.
fn from_file(path: &str) -> Value {
    json!({"path_config_source": {"path": path}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"})
}

/// The file of a cluster's load assignment. Envoy takes one resource from a file, so each has its own.
pub(super) fn read_from_files(cluster: &mut Value, sidecar: &Sidecar) {
    let path = format!("{}/eds/{}.json", sidecar.folder, cluster["name"].as_str().unwrap_or_default());
    cluster["eds_cluster_config"]["eds_config"] = from_file(&path);
}

/// The application behind a port.
pub(super) fn application(sidecar: &Sidecar, inbound: Inbound) -> Value {
    let name = inbound_cluster(inbound.port);
    let address = socket(SocketAddr::new(sidecar.ip, inbound.app_port));
    json!({
        "name": name, "alt_stat_name": format!("{name};"), "type": "STATIC", "connect_timeout": "10s",
        "circuit_breakers": {"thresholds": [{
            "max_connections": u32::MAX, "max_pending_requests": u32::MAX,
            "max_requests": u32::MAX, "max_retries": u32::MAX,
        }]},
        "load_assignment": {"cluster_name": name,
                            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
    })
}
