//! Route configurations: one virtual host for each host that a port of the proxy leads to.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::delegates::{hosts, http_routes, serving, visible};
use super::routes::{Place, plain, translated};
use crate::mesh::hosts::{covers, imported};
use crate::mesh::objects::{Mesh, Proxy, Service};
use crate::mesh::translate::listeners::OUTBOUND_PORT;

/// Hosts that no service has are served on this port only.
const DEFAULT_PORT: u16 = 80;

/// The route configurations of all ports, in the order of their numbers.
pub(crate) fn route_configurations(mesh: &Mesh, proxy: &Proxy) -> Vec<Value> {
    let services: Vec<&Service> =
        mesh.services.iter().filter(|service| imported(proxy, &service.namespace, &service.host())).collect();
    let mut ports: BTreeSet<u16> = services.iter().flat_map(|s| s.ports.iter().map(|port| port.1)).collect();
    ports.insert(DEFAULT_PORT);
    ports.into_iter().map(|port| configuration(mesh, proxy, &services, port)).collect()
}

fn configuration(mesh: &Mesh, proxy: &Proxy, services: &[&Service], port: u16) -> Value {
    let visible = visible(mesh, proxy);
    let mut found: BTreeMap<String, Value> = BTreeMap::new();
    let here = services.iter().filter(|service| service.ports.iter().any(|(_, number)| *number == port));
    for service in here {
        let host = service.host();
        let routes = match serving(&visible, &host) {
            Some(config) => {
                let place = Place { mesh, proxy, config, port };
                translated(&place, &http_routes(mesh, config))
            }
            None => vec![plain(&host, port)],
        };
        // None of its routes is for this proxy and port: it is not there, and answers 404.
        if !routes.is_empty() {
            let named = virtual_host(&host, port, &domains(service, proxy), &routes);
            found.insert(host, named);
        }
    }
    for config in visible.iter().filter(|_| port == DEFAULT_PORT) {
        for host in hosts(config) {
            let served = mesh.services.iter().any(|service| covers(&host, &service.host()));
            if served || found.contains_key(&host) {
                continue;
            }
            let place = Place { mesh, proxy, config, port };
            let routes = translated(&place, &http_routes(mesh, config));
            if !routes.is_empty() {
                found.insert(host.clone(), virtual_host(&host, port, std::slice::from_ref(&host), &routes));
            }
        }
    }
    let mut all: Vec<Value> = found.into_values().collect();
    all.push(json!({
        "name": "allow_any", "domains": ["*"], "include_request_attempt_count": true,
        "routes": [{"match": {"prefix": "/"}, "name": "allow_any",
                    "route": {"cluster": "PassthroughCluster", "timeout": "0s"}}],
    }));
    json!({"name": port.to_string(), "virtual_hosts": all, "validate_clusters": false,
           "max_direct_response_body_size_bytes": 1_048_576, "ignore_port_in_host_matching": true})
}

fn virtual_host(host: &str, port: u16, domains: &[String], routes: &[Value]) -> Value {
    json!({"name": format!("{host}:{port}"), "domains": domains, "routes": routes,
           "include_request_attempt_count": true})
}

/// The names under which a client may call a service: shorter ones from nearer by.
fn domains(service: &Service, proxy: &Proxy) -> Vec<String> {
    let Service { name, namespace, .. } = service;
    let host = service.host();
    let mut found = vec![host.clone(), format!("{host}.")];
    if *namespace == proxy.namespace {
        found.push(name.clone());
    }
    found.extend([format!("{name}.{namespace}.svc"), format!("{name}.{namespace}")]);
    found.extend(service.address.clone());
    found
}

/// One configuration of those of all ports, for the one listener of a sidecar of the proving ground.
pub(super) fn merged(ports: &[Value]) -> Value {
    let mut all = Vec::new();
    // Envoy refuses a configuration in which a domain stands twice: a host may be
    // written as `server.shop`, which is also a short name of a service. The first has it.
    let mut taken = BTreeSet::new();
    for configuration in ports {
        let port = configuration["name"].as_str().unwrap_or_default();
        for host in configuration["virtual_hosts"].as_array().into_iter().flatten() {
            if host["name"] == "allow_any" {
                continue;
            }
            let mut host = host.clone();
            let domains: Vec<String> = host["domains"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .flat_map(|domain| {
                    let bare = (port == DEFAULT_PORT.to_string()).then(|| domain.to_owned());
                    bare.into_iter().chain([format!("{domain}:{port}")])
                })
                .filter(|domain| taken.insert(domain.to_lowercase()))
                .collect();
            if !domains.is_empty() {
                host["domains"] = json!(domains);
                all.push(host);
            }
        }
    }
    let any = ports.first().and_then(|first| first["virtual_hosts"].as_array()?.last().cloned());
    all.extend(any);
    json!({"name": OUTBOUND_PORT.to_string(), "virtual_hosts": all, "validate_clusters": false})
}
