//! The cluster of the simulation: a small shop, the mail it sends, and the mesh's own parts.

mod objects;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::kinds::key;
use super::store::{Part, Store, Write};

/// A service of the mesh.
pub(super) struct Service {
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    /// Requests per second.
    pub(super) rate: f64,
    /// Subsets with the share of requests they fail, and their pods.
    pub(super) subsets: &'static [(&'static str, f64, u32)],
    /// Who calls it: namespace and app of the pods.
    pub(super) client: (&'static str, &'static str),
    /// Requests per second that one pod carries.
    pub(super) carries: f64,
}

/// The services. `v3` of cart is the build that must not get traffic.
pub(super) const SERVICES: [Service; 5] = [
    Service {
        namespace: "shop",
        name: "web",
        rate: 60.0,
        subsets: &[("v1", 0.001, 3)],
        client: ("istio-system", "istio-ingressgateway"),
        carries: 40.0,
    },
    Service {
        namespace: "shop",
        name: "cart",
        rate: 25.0,
        subsets: &[("v1", 0.001, 2), ("v2", 0.001, 2), ("v3", 0.92, 2)],
        client: ("shop", "web"),
        carries: 40.0,
    },
    Service {
        namespace: "shop",
        name: "catalog",
        rate: 40.0,
        subsets: &[("v1", 0.0005, 2), ("v2", 0.002, 2)],
        client: ("shop", "web"),
        carries: 30.0,
    },
    Service {
        namespace: "shop",
        name: "payment",
        rate: 6.0,
        subsets: &[("v1", 0.002, 2)],
        client: ("shop", "cart"),
        carries: 20.0,
    },
    Service {
        namespace: "mail",
        name: "outbox",
        rate: 3.0,
        subsets: &[("v1", 0.001, 1)],
        client: ("shop", "payment"),
        carries: 20.0,
    },
];

impl Service {
    pub(super) fn host(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }
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

/// The objects are this old when the simulation starts.
pub(super) const AGE: SignedDuration = SignedDuration::from_hours(1);

/// Makes what people wrote; the controllers make the rest of it.
pub(super) fn fill(store: &mut Store, at: Timestamp) {
    let write = Write::by("kubectl", at, Part::Main);
    let mut create = |plural: &str, namespace: &str, name: &str, object: Value| {
        let made = store.create(key(plural, namespace, name), object, &write);
        debug_assert!(made.is_ok(), "each object of the world is made once: {made:?}");
    };
    for (namespace, injected) in [("default", false), ("istio-system", false), ("shop", true), ("mail", true)]
    {
        create("namespaces", "", namespace, objects::namespace(namespace, injected));
    }
    for node in objects::NODES {
        create("nodes", "", node, objects::node(node));
    }
    for (name, object) in objects::mesh_parts() {
        create("deployments", "istio-system", name, object);
    }
    create("services", "istio-system", "istiod", objects::service("istiod", 15010));
    for service in &SERVICES {
        let (namespace, name) = (service.namespace, service.name);
        for (version, _, replicas) in service.subsets {
            let deployment = objects::deployment(service, version, *replicas);
            create("deployments", namespace, &format!("{name}-{version}"), deployment);
        }
        create("services", namespace, name, objects::service(name, 8080));
        create("destinationrules", namespace, name, objects::rule(service));
        create("virtualservices", namespace, name, objects::route(service));
    }
    for (name, budget) in objects::budgets() {
        create("poddisruptionbudgets", "shop", name, budget);
    }
    create("clusterissuers", "", "mesh-ca", objects::issuer("ClusterIssuer"));
    create("issuers", "shop", "shop-ca", objects::issuer("Issuer"));
    for (namespace, name, issuer) in objects::CERTIFICATES {
        create("certificates", namespace, name, objects::certificate(name, issuer));
    }
}
