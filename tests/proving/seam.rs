//! The seam to the mesh of the proving ground: where a proxy's configuration comes from, who pushes it, and
//! what it counts.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::proxy::{ADMIN, BEHIND, own_loopback};

/// A pod as its proxy knows it.
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) ip: Ipv4Addr,
    /// The folder that all proxies share with the control plane.
    pub(crate) root: PathBuf,
}

impl Pod {
    /// From the environment that the kubelet gives.
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        let text = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
        Ok(Self {
            namespace: text("POD_NAMESPACE")?,
            name: text("POD_NAME")?,
            ip: text("POD_IP")?.parse()?,
            root: text("PROVING_ROOT")?.into(),
        })
    }

    fn folder(&self) -> PathBuf {
        self.root.join(&self.namespace).join(&self.name)
    }
}

/// Writes Envoy's bootstrap; the answer is its path.
pub(crate) fn bootstrap(pod: &Pod) -> anyhow::Result<PathBuf> {
    let (folder, own, ip) = (pod.folder(), own_loopback(pod.ip), pod.ip.to_string());
    std::fs::create_dir_all(&folder)?;
    let address =
        |address: &str, port: u16| json!({ "socket_address": { "address": address, "port_value": port } });
    let listener = |name: &str, port: u16, routes: Value| {
        json!({
            "name": name, "address": address(&ip, port),
            "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": name, "route_config": routes,
                    "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                    } }],
                },
            }] }],
        })
    };
    let all = |cluster: &str| {
        json!({ "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
            { "match": { "prefix": "/" }, "route": { "cluster": cluster } },
        ] }] })
    };
    let fixed = |name: &str, host: &str, port: u16| {
        json!({
            "name": name, "connect_timeout": "1s", "type": "STATIC",
            "load_assignment": { "cluster_name": name, "endpoints": [
                { "lb_endpoints": [{ "endpoint": { "address": address(host, port) } }] },
            ] },
        })
    };
    let endpoints = pod.root.join("endpoints.json");
    if !endpoints.exists() {
        put(&endpoints, &assignment(&[]))?;
    }
    let text = json!({
        "node": { "id": format!("{}.{}", pod.name, pod.namespace), "cluster": "proving" },
        "admin": { "address": address(&own.to_string(), ADMIN) },
        "static_resources": {
            "listeners": [
                listener("outbound", 15_001, all("server")), listener("inbound", 8080, all("app")),
                listener("ready", 15_021, all("agent")),
            ],
            "clusters": [
                fixed("app", &ip, 8080 + BEHIND), fixed("agent", &ip, 15_020),
                { "name": "server", "connect_timeout": "1s", "type": "EDS", "eds_cluster_config": { "eds_config": {
                    "resource_api_version": "V3", "path_config_source": { "path": endpoints, "watched_directory": { "path": pod.root } },
                } } },
            ],
        },
    });
    let path = folder.join("bootstrap.json");
    put(&path, &text)?;
    Ok(path)
}

fn assignment(addresses: &[String]) -> Value {
    let endpoint = |address: &String| json!({ "endpoint": { "address": { "socket_address": { "address": address, "port_value": 8080 } } } });
    json!({ "version_info": "1", "resources": [{
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name": "server",
        "endpoints": [{ "lb_endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>() }],
    }] })
}

/// Envoy sees a file when it is moved to its place.
fn put(path: &std::path::Path, text: &Value) -> anyhow::Result<()> {
    let part = path.with_extension(format!("part-{}", std::process::id()));
    std::fs::write(&part, text.to_string())?;
    Ok(std::fs::rename(part, path)?)
}

/// The control plane of the mesh: tells every proxy the ready endpoints of the Service `server`.
pub(crate) fn istiod() -> anyhow::Result<ExitCode> {
    let pod = Pod::from_env()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = kube::Client::try_default().await?;
        let slices: Api<EndpointSlice> = Api::all(client);
        let of = ListParams::default().labels("kubernetes.io/service-name=server");
        let mut last = Vec::new();
        loop {
            let mut now: Vec<String> = Vec::new();
            for slice in slices.list(&of).await?.items {
                let ready = slice.endpoints.into_iter().flatten().filter(|endpoint| {
                    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
                });
                now.extend(ready.flat_map(|endpoint| endpoint.addresses));
            }
            now.sort();
            if now != last {
                put(&pod.root.join("endpoints.json"), &assignment(&now))?;
                last = now;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
}

/// What a proxy counts under Istio's names.
pub(crate) struct Figures;

impl Figures {
    /// Begins to follow a proxy.
    #[expect(clippy::unnecessary_wraps, reason = "the seam")]
    pub(crate) fn follow(_pod: &Pod) -> anyhow::Result<Self> {
        Ok(Self)
    }

    /// As Prometheus reads it.
    pub(crate) fn render(&self) -> String {
        String::new()
    }
}
