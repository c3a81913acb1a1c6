//! The kinds that the simulated API server serves.

use super::store::Key;

/// A kind with what the API server must know of it.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) group: &'static str,
    pub(super) versions: &'static [&'static str],
    pub(super) plural: &'static str,
    pub(super) kind: &'static str,
    pub(super) short: &'static [&'static str],
    pub(super) namespaced: bool,
    /// Parts of the object with an address of their own.
    pub(super) sub: &'static [&'static str],
    /// Built in: strategic merge patches are understood.
    pub(super) native: bool,
    /// Whether changes of the spec are counted.
    pub(super) counted: bool,
}

const STATUS: &[&str] = &["status"];
const SCALED: &[&str] = &["status", "scale"];
const V1: &[&str] = &["v1"];
const ISTIO: &[&str] = &["v1", "v1beta1"];

const fn native(
    group: &'static str,
    plural: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
) -> Kind {
    Kind {
        group,
        versions: V1,
        plural,
        kind,
        short,
        namespaced: true,
        sub: &[],
        native: true,
        counted: false,
    }
}

const fn custom(
    group: &'static str,
    plural: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
) -> Kind {
    Kind {
        group,
        versions: V1,
        plural,
        kind,
        short,
        namespaced: true,
        sub: STATUS,
        native: false,
        counted: true,
    }
}

const fn istio(plural: &'static str, kind: &'static str, short: &'static [&'static str]) -> Kind {
    Kind { versions: ISTIO, ..custom("networking.istio.io", plural, kind, short) }
}

const fn workload(
    plural: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
    sub: &'static [&'static str],
) -> Kind {
    Kind { sub, counted: true, ..native("apps", plural, kind, short) }
}

/// All of them.
pub(super) static KINDS: [Kind; 21] = [
    Kind { namespaced: false, sub: STATUS, ..native("", "namespaces", "Namespace", &["ns"]) },
    Kind { namespaced: false, sub: STATUS, ..native("", "nodes", "Node", &["no"]) },
    Kind { sub: &["status", "eviction", "portforward"], counted: true, ..native("", "pods", "Pod", &["po"]) },
    Kind { sub: STATUS, ..native("", "services", "Service", &["svc"]) },
    native("", "configmaps", "ConfigMap", &["cm"]),
    native("", "events", "Event", &["ev"]),
    Kind { counted: true, ..native("discovery.k8s.io", "endpointslices", "EndpointSlice", &[]) },
    workload("deployments", "Deployment", &["deploy"], SCALED),
    workload("replicasets", "ReplicaSet", &["rs"], SCALED),
    workload("statefulsets", "StatefulSet", &["sts"], SCALED),
    workload("daemonsets", "DaemonSet", &["ds"], STATUS),
    Kind {
        sub: STATUS,
        counted: true,
        ..native("policy", "poddisruptionbudgets", "PodDisruptionBudget", &["pdb"])
    },
    native("coordination.k8s.io", "leases", "Lease", &[]),
    istio("virtualservices", "VirtualService", &["vs"]),
    istio("destinationrules", "DestinationRule", &["dr"]),
    istio("gateways", "Gateway", &["gw"]),
    istio("sidecars", "Sidecar", &[]),
    custom("gateway.networking.k8s.io", "httproutes", "HTTPRoute", &[]),
    custom("cert-manager.io", "certificates", "Certificate", &["cert", "certs"]),
    custom("cert-manager.io", "issuers", "Issuer", &[]),
    Kind { namespaced: false, ..custom("cert-manager.io", "clusterissuers", "ClusterIssuer", &[]) },
];

impl Kind {
    /// The kind of a plural; plurals are unique here.
    pub(super) fn of(plural: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.plural == plural)
    }

    /// The resource as refusals name it: `pods`, `virtualservices.networking.istio.io`.
    pub(super) fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `v1`, `apps/v1`: the version that is stored.
    pub(super) fn api_version(&self) -> String {
        let version = self.versions.first().copied().unwrap_or("v1");
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// The plural of a kind's name.
    pub(super) fn plural_of(kind: &str) -> Option<&'static str> {
        KINDS.iter().find(|known| known.kind == kind).map(|known| known.plural)
    }

    /// Whether an object is replaced only by who says which version.
    pub(super) fn versioned(&self) -> bool {
        !self.native || matches!(self.plural, "poddisruptionbudgets" | "leases")
    }

    pub(super) fn has(&self, part: &str) -> bool {
        self.sub.contains(&part)
    }
}

/// Where an object lies.
pub(super) fn key(plural: &str, namespace: &str, name: &str) -> Key {
    (plural.to_owned(), namespace.to_owned(), name.to_owned())
}
