//! Load assignments: the ready addresses behind each cluster, by subset, the near ones first where the rule
//! asks for it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::policy::{blocks, prefers_near};
use super::rules::in_force;
use crate::mesh::hosts::selects;
use crate::mesh::objects::{Endpoint, Labels, Locality, Mesh, Proxy, Service, labels};

/// One for each of these clusters.
pub(super) fn assignments(mesh: &Mesh, proxy: &Proxy, clusters: &[Value]) -> Vec<Value> {
    clusters.iter().filter_map(|cluster| assignment(mesh, proxy, cluster["name"].as_str()?)).collect()
}

fn assignment(mesh: &Mesh, proxy: &Proxy, name: &str) -> Option<Value> {
    let [_, port, subset, host] = *name.split('|').collect::<Vec<_>>() else { return None };
    let port: u16 = port.parse().ok()?;
    let service = mesh.services.iter().find(|service| service.host() == host)?;
    let rule = in_force(mesh, proxy, host, &service.namespace);
    let subset = rule.iter().flat_map(|rule| rule.subsets.iter()).find(|known| known["name"] == subset);
    let wanted = subset.map(|subset| labels(&subset["labels"])).unwrap_or_default();
    let policy = blocks(rule.as_ref().and_then(|rule| rule.policy), subset.copied(), port);
    let mut by_locality: BTreeMap<Locality, BTreeSet<(String, u16)>> = BTreeMap::new();
    for (endpoint, port) in behind(mesh, service, port) {
        if selects(&wanted, labels_of(mesh, service, endpoint)) {
            let locality = mesh.localities.get(&endpoint.node).cloned().unwrap_or_default();
            by_locality.entry(locality).or_default().insert((endpoint.address.clone(), port));
        }
    }
    let near = prefers_near(&policy);
    let distance = |locality: &Locality| match locality {
        _ if !near || proxy.locality == Locality::default() || *locality == proxy.locality => 0,
        other if other.region == proxy.locality.region => 1,
        _ => 2,
    };
    // Priorities have no gaps.
    let present: BTreeSet<u8> = by_locality.keys().map(distance).collect();
    let endpoints: Vec<Value> = by_locality
        .iter()
        .map(|(locality, addresses)| {
            let priority = present.iter().filter(|other| **other < distance(locality)).count();
            group(locality, priority, addresses)
        })
        .collect();
    Some(json!({"cluster_name": name, "endpoints": endpoints}))
}

/// The ready addresses of a port of a service.
fn behind<'m>(mesh: &'m Mesh, service: &'m Service, port: u16) -> impl Iterator<Item = (&'m Endpoint, u16)> {
    let name = service.ports.iter().find(|(_, number)| *number == port).map(|(name, _)| name.as_str());
    let slices = mesh
        .slices
        .iter()
        .filter(|slice| slice.namespace == service.namespace && slice.service == service.name);
    slices.flat_map(move |slice| {
        let port = name.and_then(|name| slice.ports.get(name)).copied();
        let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready);
        ready.filter_map(move |endpoint| Some((endpoint, port?)))
    })
}

fn labels_of<'m>(mesh: &'m Mesh, service: &Service, endpoint: &Endpoint) -> &'m Labels {
    static NONE: Labels = Labels::new();
    let pod = mesh.pods.iter().find(|pod| pod.namespace == service.namespace && pod.name == endpoint.pod);
    pod.map_or(&NONE, |pod| &pod.labels)
}

fn group(locality: &Locality, priority: usize, addresses: &BTreeSet<(String, u16)>) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|(address, port)| {
            json!({"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}},
                   "health_status": "HEALTHY", "load_balancing_weight": 1})
        })
        .collect();
    let mut made = json!({"priority": priority, "lb_endpoints": endpoints,
                          "load_balancing_weight": addresses.len()});
    if *locality != Locality::default() {
        made["locality"] = json!(locality);
    }
    made
}
