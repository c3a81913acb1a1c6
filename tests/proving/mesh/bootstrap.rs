//! How Envoy is started as a sidecar: its bootstrap and its arguments.
//!
//! Pods of the proving ground share one network namespace and have an address each, so every listener binds
//! the pod's own address, and requests leave from it. Istio's Envoy listens on all addresses of its pod's.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::proxy::ProxyFile;

/// The port on which a kubelet asks whether a proxy is ready. Envoy answers it by asking its agent, so that
/// a frozen Envoy makes it hang.
pub(crate) const READINESS_PORT: u16 = 15021;

/// The version that proxies of the proving ground say they are.
pub(crate) const ISTIO_VERSION: &str = "1.31.0";

/// Arguments of Envoy for a bootstrap file. The access log is flushed often: metrics are made of it.
pub(crate) fn arguments(bootstrap: &Path) -> Vec<String> {
    let path = bootstrap.display().to_string();
    let mut arguments: Vec<String> = [
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "-l",
        "warning",
        "--file-flush-interval-msec",
        "50",
        "-c",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.push(path);
    arguments
}

/// The bootstrap of one proxy.
pub(crate) fn bootstrap(root: &Path, file: &ProxyFile) -> Value {
    let folder = file.folder(root);
    let from = |name: &str| {
        json!({"path_config_source": {"path": folder.join(name)}, "initial_fetch_timeout": "0s",
               "resource_api_version": "V3"})
    };
    json!({
        "node": node(file),
        "admin": {"address": socket(file.admin)},
        "dynamic_resources": {"lds_config": from("lds.json"), "cds_config": from("cds.json")},
        "static_resources": {"listeners": [readiness(file)], "clusters": [agent(file)]},
        "cluster_manager": {"upstream_bind_config": {"source_address": {"address": file.ip, "port_value": 0}}},
        // Names of Istio's statistics end in a semicolon; without these tags they end up in wrong labels.
        "stats_config": {"use_all_default_tags": false, "stats_tags": [
            {"tag_name": "cluster_name", "regex": r"^cluster(\.([^;]+);)"},
            {"tag_name": "http_conn_manager_prefix", "regex": r"^http(\.([^;]+);)"},
            {"tag_name": "response_code", "regex": r"_rq(_(\d{3}))$"},
            {"tag_name": "response_code_class", "regex": r"_rq(_(\dxx))$"},
        ]},
    })
}

fn node(file: &ProxyFile) -> Value {
    let ProxyFile { namespace, pod, ip, labels, workload, .. } = file;
    let app = labels.get("app").unwrap_or(workload);
    let mut node = json!({
        "id": format!("sidecar~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local"),
        "cluster": format!("{app}.{namespace}"),
        "metadata": {
            "CLUSTER_ID": "Kubernetes", "INTERCEPTION_MODE": "NONE", "MESH_ID": "cluster.local",
            "ISTIO_VERSION": ISTIO_VERSION, "NAME": pod, "NAMESPACE": namespace, "LABELS": labels,
            "INSTANCE_IPS": ip, "SERVICE_ACCOUNT": file.service_account, "WORKLOAD_NAME": workload,
        },
    });
    if file.locality != Default::default() {
        node["locality"] = json!(file.locality);
    }
    node
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip(), "port_value": address.port()}})
}

fn readiness(file: &ProxyFile) -> Value {
    const MANAGER: &str = "envoy.filters.network.http_connection_manager";
    const ROUTER: &str = "envoy.filters.http.router";
    let hosts = json!([{"name": "backend", "domains": ["*"],
        "routes": [{"match": {"prefix": "/healthz/ready"}, "route": {"cluster": "agent"}}]}]);
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "agent;", "route_config": {"virtual_hosts": hosts},
        "http_filters": [{"name": ROUTER, "typed_config":
            {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    });
    json!({
        "name": format!("{}_{READINESS_PORT}", file.ip),
        "address": socket(SocketAddr::new(file.ip, READINESS_PORT)),
        "filter_chains": [{"filters": [{"name": MANAGER, "typed_config": manager}]}],
    })
}

fn agent(file: &ProxyFile) -> Value {
    json!({
        "name": "agent", "type": "STATIC", "connect_timeout": "0.250s",
        "load_assignment": {"cluster_name": "agent",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(file.agent)}}]}]},
    })
}
