//! Facts: what an inspection found at one instant. Field names and units are a contract with playbook
//! authors: durations in seconds, shares 0 to 1, and a field that may be unknown is simply absent.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::digest::Digest;

mod certificate;
mod pod;
mod rule;

pub use certificate::CertificateFacts;
pub use pod::{BudgetFacts, ControlPlaneFacts, OwnerFacts, PodFacts, ProxyFacts, SyncState, WorkloadFacts};
pub use rule::{DestinationRuleFacts, OutlierFacts};

/// Names a playbook may put into `needs`, each read by the inspector.
pub const FACT_NAMES: [&str; 9] = [
    "pod",
    "proxy",
    "control_plane",
    "workload",
    "budget",
    "route",
    "traffic",
    "destination_rule",
    "certificate",
];

/// Everything one inspection found. A fact that was not asked for, or could not be read, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The routing object and what stands behind its destinations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteFacts>,
    /// Requests to the hosts of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficFacts>,
    /// The pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodFacts>,
    /// Its proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyFacts>,
    /// The control plane that this proxy or object belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ControlPlaneFacts>,
    /// The top owner of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadFacts>,
    /// The disruption budget that selects the pod; `None` also when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetFacts>,
    /// The DestinationRule in force for the host; `None` also when none matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_rule: Option<DestinationRuleFacts>,
    /// The certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFacts>,
}

impl Facts {
    /// Whether a fact was found; an unknown name is not.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match name {
            "pod" => self.pod.is_some(),
            "proxy" => self.proxy.is_some(),
            "control_plane" => self.control_plane.is_some(),
            "workload" => self.workload.is_some(),
            "budget" => self.budget.is_some(),
            "route" => self.route.is_some(),
            "traffic" => self.traffic.is_some(),
            "destination_rule" => self.destination_rule.is_some(),
            "certificate" => self.certificate.is_some(),
            _ => false,
        }
    }

    /// As if a fact had not been found.
    pub fn forget(&mut self, name: &str) {
        match name {
            "pod" => self.pod = None,
            "proxy" => self.proxy = None,
            "control_plane" => self.control_plane = None,
            "workload" => self.workload = None,
            "budget" => self.budget = None,
            "route" => self.route = None,
            "traffic" => self.traffic = None,
            "destination_rule" => self.destination_rule = None,
            "certificate" => self.certificate = None,
            _ => {}
        }
    }
}

/// A routing object as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteFacts {
    /// API group, `networking.istio.io`.
    pub group: String,
    /// Kind, `VirtualService`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid of the object: a replacement of the same name is another object.
    pub uid: String,
    /// Content hash of `spec`.
    pub spec_hash: Digest,
    /// Hosts as fully qualified names (`cart.shop.svc.cluster.local`), in the order of the object.
    pub hosts: Vec<String>,
    /// Seconds since the spec in force was written, by the managed fields' time or our own first sight.
    pub changed_s: u64,
    /// Field manager that wrote the spec last; empty when the object does not say.
    pub changed_by: String,
    /// Tool that owns the object.
    pub managed_by: ManagedBy,
    /// Where the current spec sends traffic.
    pub destinations: Vec<Destination>,
    /// Whether the object delegates to others, or is a delegate itself.
    pub delegate: bool,
    /// Whether a host is a wildcard.
    pub wildcard: bool,
    /// Objects that win over this one for one of its hosts (`namespace/name`); empty when it is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadowed_by: Vec<String>,
    /// The newest known good revision other than the current one, with a live look at where it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<LastGoodFacts>,
    /// Whether the current revision is itself known good.
    pub current_good: bool,
}

/// Which tool owns an object, read from its labels, annotations, owners and field managers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManagedBy {
    /// No tool left its mark.
    #[default]
    None,
    /// Argo CD.
    Argocd,
    /// Flux.
    Flux,
    /// Helm.
    Helm,
    /// Flagger: a canary owner.
    Flagger,
    /// Argo Rollouts: a canary owner.
    Rollouts,
    /// Another controller owns it.
    Other,
}

impl ManagedBy {
    /// The lower-case word that playbooks compare with.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Argocd => "argocd",
            Self::Flux => "flux",
            Self::Helm => "helm",
            Self::Flagger => "flagger",
            Self::Rollouts => "rollouts",
            Self::Other => "other",
        }
    }

    /// Canary tools move weights on their own: their revisions never become good by themselves.
    #[must_use]
    pub fn is_canary(self) -> bool {
        matches!(self, Self::Flagger | Self::Rollouts)
    }
}

/// One destination with a weight above zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// Fully qualified host of the service.
    pub host: String,
    /// Subset of the DestinationRule in force; absent when the route names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// Share of the route in percent points as written (a single destination counts 100).
    pub weight: u32,
    /// Whether host and subset exist at all.
    pub defined: bool,
    /// Ready endpoints behind it now.
    pub ready_endpoints: u32,
}

/// The revision a rollback would restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastGoodFacts {
    /// Content hash of its spec.
    pub spec_hash: Digest,
    /// Seconds since it was proven or blessed.
    pub age_s: u64,
    /// Field manager that wrote it.
    pub manager: String,
    /// Where it would send traffic.
    pub destinations: Vec<LastGoodDestination>,
}

/// One destination of the last good revision: then and now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastGoodDestination {
    /// Fully qualified host of the service.
    pub host: String,
    /// Subset; absent when the route names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// Share of the route.
    pub weight: u32,
    /// Whether host and subset exist now.
    pub defined: bool,
    /// Ready endpoints now.
    pub ready: u32,
    /// Ready endpoints when the revision was proven; absent when it was blessed without a look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_when_proven: Option<u32>,
}

/// Requests to the hosts of the subject within the last window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrafficFacts {
    /// Requests in the window.
    pub requests: f64,
    /// Share of requests answered 5xx.
    pub error_rate: f64,
    /// One minus the error rate.
    pub success_rate: f64,
    /// Length of the window in seconds.
    pub window_s: u64,
    /// 99th percentile of the answers' times, as the clients' proxies see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// Requests under way at once, on average over the window and over all clients together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<f64>,
    /// Client proxies that sent requests in the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<u32>,
    /// Ready endpoints of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_endpoints: Option<u32>,
}

/// How many there are, for the share in `blastRadius.concurrent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Population {
    /// Members of the subject's workload; a route counts as one.
    pub workload: u64,
    /// Objects of the subject's kind in its namespace.
    pub namespace: u64,
    /// Objects of the subject's kind in the mesh.
    pub mesh: u64,
}

/// The answer to an inspection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Findings {
    /// What was found.
    pub facts: Facts,
    /// Facts that were asked for and could not be read, with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, String>,
    /// Facts and indicators among them that will not be readable later either: no source is configured.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hopeless: BTreeSet<String>,
    /// The indicators that would verify the candidates, read before any act: by indicator id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub indicators: BTreeMap<String, super::indicator::Probe>,
    /// How many there are.
    pub population: Population,
    /// Labels of the subject, by which policies may select it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The subject does not exist any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}
