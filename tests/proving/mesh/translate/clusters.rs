//! Outbound clusters: one for each port of a service, and one more for each subset of its rule.

use serde_json::{Value, json};

use super::policy::{apply, blocks};
use super::routes::cluster_name;
use super::rules::{InForce, in_force};
use crate::mesh::hosts::imported;
use crate::mesh::objects::{Mesh, Proxy, Service};

/// All of them for one proxy.
pub(super) fn outbound(mesh: &Mesh, proxy: &Proxy) -> Vec<Value> {
    let mut found = Vec::new();
    for service in mesh.services.iter().filter(|s| imported(proxy, &s.namespace, &s.host())) {
        let rule = in_force(mesh, proxy, &service.host(), &service.namespace);
        for (_, port) in &service.ports {
            found.push(cluster(service, rule.as_ref(), None, *port));
            for subset in rule.iter().flat_map(|rule| rule.subsets.iter()) {
                found.push(cluster(service, rule.as_ref(), Some(subset), *port));
            }
        }
    }
    found
}

fn cluster(service: &Service, rule: Option<&InForce<'_>>, subset: Option<&Value>, port: u16) -> Value {
    let host = service.host();
    let named = subset.and_then(|subset| subset["name"].as_str()).unwrap_or_default();
    let name = cluster_name(port, named, &host);
    let mut istio =
        json!({"services": [{"host": host, "name": service.name, "namespace": service.namespace}]});
    if let Some(InForce { named: config, .. }) = rule {
        let (namespace, name) = (&config.namespace, &config.name);
        let path = format!("/apis/networking.istio.io/v1/namespaces/{namespace}/destination-rule/{name}");
        istio["config"] = json!(path);
    }
    if subset.is_some() {
        istio["subset"] = json!(named);
    }
    let mut cluster = json!({
        "name": name, "alt_stat_name": format!("{name};"), "type": "EDS",
        "eds_cluster_config": {"service_name": name},
        "metadata": {"filter_metadata": {"istio": istio}},
    });
    apply(&mut cluster, &blocks(rule.and_then(|rule| rule.policy), subset, port));
    cluster
}
