//! Rights: what each act, each fact and each watch needs of the API server, as data. `meshmend rbac` prints
//! it; nothing else decides about rights.
//!
//! Never in here: wildcards, `escalate`, `bind`, `impersonate`, Secrets, `pods/exec`, `nodes/proxy`.

/// A right: verbs on a resource, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// API group; empty for the core.
    pub group: &'static str,
    /// Resource, with its subresource; one that begins with a slash is a path of the API server itself.
    pub resource: &'static str,
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// Kind of the target for which an act needs it; empty when it is needed whatever the target is.
    pub kind: &'static str,
    /// Whether the resource lies in namespaces.
    pub lies: Lies,
    /// What it is needed for.
    pub why: &'static str,
}

/// Where a resource lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lies {
    /// In namespaces: a Role is enough.
    Namespaced,
    /// In none: only a ClusterRole reaches it.
    Cluster,
}

/// A name with its rights.
pub type Row = (&'static str, &'static [Right]);

const GET: &[&str] = &["get"];
const LIST: &[&str] = &["list"];
const PATCH: &[&str] = &["patch"];
const GET_LIST: &[&str] = &["get", "list"];
const GET_PATCH: &[&str] = &["get", "patch"];
const GET_CREATE: &[&str] = &["get", "create"];
const WATCH: &[&str] = &["list", "watch"];

const ISTIO: &str = "networking.istio.io";
const GATEWAY: &str = "gateway.networking.k8s.io";
const CERTIFICATES: &str = "cert-manager.io";

const fn right(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    why: &'static str,
) -> Right {
    Right { group, resource, verbs, kind: "", lies: Lies::Namespaced, why }
}

/// Only where the target is of this kind.
const fn when(kind: &'static str, right: Right) -> Right {
    Right { kind, ..right }
}

const fn cluster_wide(right: Right) -> Right {
    Right { lies: Lies::Cluster, ..right }
}

const ROLL_BACK: &str = "read once more before the write; dry run, rollback, and its undo";
const RESTART: &str = "read once more before the write; dry run, and kubectl's restart annotation";

/// What each act needs where it acts. An act that is not in here gets no right.
pub const ACTS: &[Row] = &[
    (
        "rollback_route",
        &[
            when("VirtualService", right(ISTIO, "virtualservices", GET_PATCH, ROLL_BACK)),
            when("DestinationRule", right(ISTIO, "destinationrules", GET_PATCH, ROLL_BACK)),
            when("HTTPRoute", right(GATEWAY, "httproutes", GET_PATCH, ROLL_BACK)),
        ],
    ),
    (
        "restart_sidecar",
        &[
            right("", "pods", GET, "the container id is compared before and after"),
            right(
                "",
                "pods/portforward",
                GET_CREATE,
                "drain and quit of the proxy's agent, which hears them only from inside of the pod",
            ),
        ],
    ),
    (
        "evict_pod",
        &[
            right("", "pods", GET, "the uid is compared before"),
            right("", "pods/eviction", &["create"], "eviction, the one way that heeds PodDisruptionBudgets"),
        ],
    ),
    (
        "rollout_restart",
        &[
            when("Deployment", right("apps", "deployments", GET_PATCH, RESTART)),
            when("StatefulSet", right("apps", "statefulsets", GET_PATCH, RESTART)),
            when("DaemonSet", right("apps", "daemonsets", GET_PATCH, RESTART)),
        ],
    ),
    (
        "shed_load",
        &[
            right(ISTIO, "destinationrules", GET_PATCH, "limits in the rule in force, and its exact restore"),
            right(
                ISTIO,
                "destinationrules",
                &["create", "delete"],
                "where no rule matches, one is made, and deleted when it expires; create and delete cannot \
                 be limited to objects of ours",
            ),
        ],
    ),
    (
        "rotate_certificate",
        &[
            right(CERTIFICATES, "certificates", GET, "the revision is compared before and after"),
            right(
                CERTIFICATES,
                "certificates/status",
                PATCH,
                "the condition Issuing, as `cmctl renew` sets it",
            ),
            right(CERTIFICATES, "issuers", GET, "an issuer that is not ready is not asked"),
            cluster_wide(right(
                CERTIFICATES,
                "clusterissuers",
                GET,
                "an issuer that is not ready is not asked",
            )),
        ],
    ),
    ("notify", &[]),
];

/// Kinds that an act writes to, as policies name them.
pub const TARGETS: &[(&str, &[&str])] = &[
    ("rollback_route", &["VirtualService", "DestinationRule", "HTTPRoute"]),
    ("restart_sidecar", &["Pod"]),
    ("evict_pod", &["Pod"]),
    ("rollout_restart", &["Deployment", "StatefulSet", "DaemonSet"]),
    ("shed_load", &["DestinationRule"]),
    ("rotate_certificate", &["Certificate"]),
];

const FRESH: &str = "read fresh when it is planned";

/// What each fact needs when it is read, in every mode.
pub const FACTS: &[Row] = &[
    (
        "route",
        &[
            when("VirtualService", right(ISTIO, "virtualservices", GET, FRESH)),
            when("DestinationRule", right(ISTIO, "destinationrules", GET, FRESH)),
            when("HTTPRoute", right(GATEWAY, "httproutes", GET, FRESH)),
            right("discovery.k8s.io", "endpointslices", LIST, "how many endpoints behind a host are ready"),
            right("", "pods", LIST, "which of them belong to a subset, by their labels"),
        ],
    ),
    ("pod", &[right("", "pods", GET, FRESH)]),
    ("proxy", &[right("", "pods", GET, FRESH)]),
    ("control_plane", &[right("apps", "deployments", GET, FRESH)]),
    (
        "workload",
        &[
            right("apps", "deployments", GET, FRESH),
            right("apps", "statefulsets", GET, FRESH),
            right("apps", "daemonsets", GET, FRESH),
        ],
    ),
    ("budget", &[right("policy", "poddisruptionbudgets", LIST, FRESH)]),
    ("traffic", &[]),
    ("destination_rule", &[right(ISTIO, "destinationrules", GET_LIST, FRESH)]),
    (
        "certificate",
        &[
            right(CERTIFICATES, "certificates", GET, FRESH),
            right(CERTIFICATES, "issuers", GET, "whether the issuer is ready"),
            cluster_wide(right(CERTIFICATES, "clusterissuers", GET, "whether the issuer is ready")),
        ],
    ),
];

/// What the watches of every run read.
pub const WATCHES: &[Right] = &[
    right(ISTIO, "virtualservices", WATCH, "every revision of every route"),
    right(ISTIO, "destinationrules", WATCH, "which subsets and limits exist"),
    right(GATEWAY, "httproutes", WATCH, "every revision of every route"),
    right("", "pods", WATCH, "proxies: readiness, restarts, who owns them"),
    right("", "services", WATCH, "what a host stands for"),
    right("discovery.k8s.io", "endpointslices", WATCH, "which endpoints are ready"),
    right("apps", "deployments", WATCH, "owners of pods; whether the control plane is there"),
    right("apps", "replicasets", WATCH, "owners of pods"),
    right("apps", "statefulsets", WATCH, "owners of pods"),
    right("apps", "daemonsets", WATCH, "owners of pods"),
    right("policy", "poddisruptionbudgets", WATCH, "how many pods may be missing"),
    right(CERTIFICATES, "certificates", WATCH, "how much of their life is left"),
    right(CERTIFICATES, "issuers", WATCH, "whether they can issue"),
    cluster_wide(right(CERTIFICATES, "clusterissuers", WATCH, "whether they can issue")),
    cluster_wide(right("", "namespaces", WATCH, "which control plane injects pods that do not say so")),
    cluster_wide(right("", "nodes", WATCH, "whether a node explains what its pods suffer")),
];

/// What the overview reads beside the watches; no act is measured by it.
pub const OVERVIEW: &[Right] = &[
    right("metrics.k8s.io", "pods", LIST, "what proxies use of their limits"),
    cluster_wide(right("", "/readyz", GET, "which of its own checks the API server fails")),
    cluster_wide(right("", "/metrics", GET, "what the API server counts: failing calls, webhooks")),
];

/// What the source `istiod` needs, in [`ISTIOD_NAMESPACE`] only.
pub const ISTIOD: &[Right] = &[
    right(
        "",
        "pods/portforward",
        GET_CREATE,
        "/debug/syncz, /debug/adsz, /metrics and /ready of every replica; istiod takes a port-forward for \
         itself, so this shows all that its debug pages show",
    ),
    right("metrics.k8s.io", "pods", LIST, "what istiod uses of its limit"),
];

/// What the source `proxies` needs to ask them through the API server.
pub const PROXIES: &[Right] = &[right(
    "",
    "pods/portforward",
    GET_CREATE,
    "whether a proxy answers at its readiness port, and what it \
      says at its admin port",
)];

/// Where the control plane runs.
pub const ISTIOD_NAMESPACE: &str = "istio-system";

/// Kinds of the target for which an act needs a right.
#[must_use]
pub fn kinds(act: &str, right: &Right) -> Vec<&'static str> {
    if !right.kind.is_empty() {
        return vec![right.kind];
    }
    TARGETS.iter().find(|(known, _)| *known == act).map_or_else(Vec::new, |(_, kinds)| kinds.to_vec())
}

/// The rights of a row; none where the name is not known.
#[must_use]
pub fn of(rows: &'static [Row], name: &str) -> &'static [Right] {
    rows.iter().find(|(known, _)| *known == name).map_or(&[], |(_, rights)| rights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::action::Action;
    use crate::model::facts::FACT_NAMES;

    // Mutation: taking a row away.
    #[test]
    fn every_act_and_every_fact_has_a_row() {
        let has = |rows: &[Row], name: &str| rows.iter().any(|(known, _)| *known == name);
        for name in Action::NAMES {
            assert!(has(ACTS, name), "the act {name} has no row");
        }
        for name in FACT_NAMES {
            assert!(has(FACTS, name), "the fact {name} has no row");
        }
    }

    // Mutation: a verb `*`, or a right on Secrets, anywhere in the tables.
    #[test]
    fn nothing_is_in_the_tables_that_would_open_the_cluster() {
        let rows = ACTS.iter().chain(FACTS).flat_map(|(_, rights)| *rights);
        for right in rows.chain(WATCHES).chain(OVERVIEW).chain(ISTIOD) {
            let known = ["get", "list", "watch", "patch", "create", "delete"];
            assert!(right.verbs.iter().all(|verb| known.contains(verb)), "{right:?}");
            let never = ["secrets", "pods/exec", "nodes/proxy", "*", "pods/attach", "serviceaccounts/token"];
            assert!(!never.contains(&right.resource), "{right:?}");
            assert!(!right.why.is_empty(), "{right:?}");
            let writes = right.verbs.iter().any(|verb| ["patch", "create", "delete"].contains(verb));
            assert!(!writes || right.resource != "pods", "writing whole pods is never needed: {right:?}");
        }
        for right in FACTS.iter().flat_map(|(_, rights)| *rights).chain(WATCHES) {
            assert!(right.verbs.iter().all(|verb| ["get", "list", "watch"].contains(verb)), "{right:?}");
        }
    }
}
