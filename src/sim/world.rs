//! The cluster of the simulation: a small shop.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::store::{Key, Store, Write};

/// A service of the mesh.
pub(super) struct Service {
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    /// Requests per second.
    pub(super) rate: f64,
    /// Subsets with the share of requests they fail, and their pods.
    pub(super) subsets: &'static [(&'static str, f64, u32)],
}

/// The services. `v3` of cart is the build that must not get traffic.
pub(super) const SERVICES: [Service; 5] = [
    Service { namespace: "shop", name: "web", rate: 60.0, subsets: &[("v1", 0.001, 3)] },
    Service {
        namespace: "shop",
        name: "cart",
        rate: 25.0,
        subsets: &[("v1", 0.001, 2), ("v2", 0.001, 2), ("v3", 0.92, 2)],
    },
    Service {
        namespace: "shop",
        name: "catalog",
        rate: 40.0,
        subsets: &[("v1", 0.0005, 2), ("v2", 0.002, 2)],
    },
    Service { namespace: "shop", name: "payment", rate: 6.0, subsets: &[("v1", 0.002, 2)] },
    Service { namespace: "mail", name: "outbox", rate: 3.0, subsets: &[("v1", 0.001, 1)] },
];

pub(super) fn key(plural: &str, namespace: &str, name: &str) -> Key {
    (plural.to_owned(), namespace.to_owned(), name.to_owned())
}

/// One HTTP rule that splits a service by weight.
pub(super) fn split(host: &str, weights: &[(&str, u32)]) -> Value {
    let route: Vec<Value> = weights
        .iter()
        .map(
            |(subset, weight)| json!({ "destination": { "host": host, "subset": subset }, "weight": weight }),
        )
        .collect();
    json!({ "name": "primary", "timeout": "5s", "route": route })
}

/// Makes the objects.
pub(super) fn fill(store: &mut Store, at: Timestamp) {
    let write = Write { manager: "kubectl", at, dry: false };
    let mut create = |plural: &str, namespace: &str, name: &str, object: Value| {
        let made = store.create(key(plural, namespace, name), object, &write);
        debug_assert!(made.is_ok(), "each object of the world is made once");
    };
    for namespace in ["shop", "mail"] {
        create("namespaces", "", namespace, json!({ "apiVersion": "v1", "kind": "Namespace" }));
    }
    for service in &SERVICES {
        let (namespace, name) = (service.namespace, service.name);
        for (pod, object) in pods(service) {
            create("pods", namespace, &pod, object);
        }
        create("services", namespace, name, plain_service(name));
        create("endpointslices", namespace, &format!("{name}-abcde"), slice(service));
        create("destinationrules", namespace, name, rule(service));
        create("virtualservices", namespace, name, route(service));
    }
}

fn plain_service(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Service", "spec": { "selector": { "app": name } } })
}

/// The pods of a service by name.
fn pods(service: &Service) -> Vec<(String, Value)> {
    let of = |(version, _, count): &(&str, f64, u32)| {
        let labels = json!({ "app": service.name, "version": version });
        let object = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "labels": labels }, "status": { "phase": "Running" },
        });
        (0..*count)
            .map(|index| (format!("{}-{version}-{index}", service.name), object.clone()))
            .collect::<Vec<_>>()
    };
    service.subsets.iter().flat_map(of).collect()
}

fn slice(service: &Service) -> Value {
    let endpoint = |(index, (pod, _)): (usize, (String, Value))| {
        json!({
            "addresses": [format!("10.244.0.{}", index + 10)],
            "conditions": { "ready": true },
            "targetRef": { "kind": "Pod", "namespace": service.namespace, "name": pod },
        })
    };
    let endpoints: Vec<Value> = pods(service).into_iter().enumerate().map(endpoint).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "labels": { "kubernetes.io/service-name": service.name } }, "endpoints": endpoints,
    })
}

fn rule(service: &Service) -> Value {
    let subset =
        |(version, _, _): &(&str, f64, u32)| json!({ "name": version, "labels": { "version": version } });
    let subsets: Vec<Value> = service.subsets.iter().map(subset).collect();
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "spec": { "host": service.name, "subsets": subsets },
    })
}

fn route(service: &Service) -> Value {
    let weights: &[(&str, u32)] =
        if service.subsets.len() > 1 { &[("v1", 90), ("v2", 10)] } else { &[("v1", 100)] };
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "spec": { "hosts": [service.name], "http": [split(service.name, weights)] },
    })
}
