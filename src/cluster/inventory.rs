//! The inventory: all objects beside routes and rules that the watches keep, and how far each kind can be
//! believed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::budgets::Budget;
use super::certificates::{Certificate, Issuer};
use super::names::Names;
use super::pods::{Pod, PodObject};
use super::services::{Namespace, Node, Service, Slice};
use super::shelf::Shelf;
use super::workloads::{ReplicaSet, Workload};

/// A kind that is watched beside routes and rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    /// Pods.
    Pods,
    /// Deployments.
    Deployments,
    /// ReplicaSets.
    ReplicaSets,
    /// StatefulSets.
    StatefulSets,
    /// DaemonSets.
    DaemonSets,
    /// Services.
    Services,
    /// EndpointSlices.
    EndpointSlices,
    /// PodDisruptionBudgets.
    Budgets,
    /// Nodes.
    Nodes,
    /// Namespaces.
    Namespaces,
    /// cert-manager's Certificates.
    Certificates,
    /// cert-manager's Issuers.
    Issuers,
    /// cert-manager's ClusterIssuers.
    ClusterIssuers,
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budgets => f.write_str("PodDisruptionBudgets"),
            Self::Pods
            | Self::Deployments
            | Self::ReplicaSets
            | Self::StatefulSets
            | Self::DaemonSets
            | Self::Services
            | Self::EndpointSlices
            | Self::Nodes
            | Self::Namespaces
            | Self::Certificates
            | Self::Issuers
            | Self::ClusterIssuers => write!(f, "{self:?}"),
        }
    }
}

/// How far a watch of one kind in one scope can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// No list has been delivered yet.
    Unread,
    /// Whole.
    Whole,
    /// Was whole, or was never; it is tried again all the time. The server's words.
    Interrupted(String),
    /// The right is missing. The server's words.
    Forbidden(String),
    /// The API server does not serve the kind.
    NotInstalled,
}

/// Everything that is kept beside routes and rules.
#[derive(Debug, Default)]
pub struct Inventory {
    pub(super) names: Names,
    pub(super) pods: Shelf<Pod>,
    pub(super) deployments: Shelf<Workload>,
    pub(super) replica_sets: Shelf<ReplicaSet>,
    pub(super) stateful_sets: Shelf<Workload>,
    pub(super) daemon_sets: Shelf<Workload>,
    pub(super) services: Shelf<Service>,
    pub(super) slices: Shelf<Slice>,
    pub(super) budgets: Shelf<Budget>,
    pub(super) nodes: Shelf<Node>,
    pub(super) spaces: Shelf<Namespace>,
    pub(super) certificates: Shelf<Certificate>,
    pub(super) issuers: Shelf<Issuer>,
    pub(super) cluster_issuers: Shelf<Issuer>,
    /// By kind and scope; `None` is the whole cluster.
    pub(super) standing: BTreeMap<(Watched, Option<String>), Standing>,
}

impl Inventory {
    /// Keeps a pod; the answer is the one of that name that was there.
    pub fn keep_pod(&mut self, object: &PodObject) -> Option<Arc<Pod>> {
        let pod = Pod::of(object, &mut self.names);
        let (namespace, name) = (Arc::clone(&pod.namespace), pod.name.clone());
        self.pods.put(&namespace, &name, 0, pod)
    }

    /// Whether what is kept of a kind is whole for a namespace.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn whole(&self, kind: Watched, namespace: &str) -> Result<(), String> {
        let covers = |scope: &Option<String>| scope.as_ref().is_none_or(|scope| scope == namespace);
        let found = self.standing.iter().find(|((known, scope), _)| *known == kind && covers(scope));
        match found {
            None => Err(format!("{kind} of namespace {namespace} are not watched")),
            Some((_, Standing::Whole)) => Ok(()),
            Some((_, Standing::Unread)) => Err(format!("{kind} have not been read yet")),
            Some((_, Standing::NotInstalled)) => {
                Err(format!("the API server does not serve {kind}: they are not installed"))
            }
            Some((_, Standing::Interrupted(why) | Standing::Forbidden(why))) => {
                Err(format!("{kind} cannot be watched: {why}"))
            }
        }
    }

    /// Why what is kept of a kind may not be all there is, one sentence for each scope; empty where it is.
    pub(super) fn gaps(&self, kind: Watched) -> Vec<String> {
        let scopes = self.standing.keys().filter(|(known, _)| *known == kind);
        scopes.filter_map(|(_, scope)| self.whole(kind, scope.as_deref().unwrap_or_default()).err()).collect()
    }

    /// What is wrong with the watches, one sentence each.
    pub(super) fn findings(&self) -> Vec<String> {
        let told = |((kind, scope), standing): (&(Watched, Option<String>), &Standing)| {
            let place = scope.as_ref().map(|scope| format!(" in {scope}")).unwrap_or_default();
            match standing {
                Standing::Interrupted(why) | Standing::Forbidden(why) => {
                    Some(format!("watch of {kind}{place}: {why}"))
                }
                Standing::Unread | Standing::Whole | Standing::NotInstalled => None,
            }
        };
        self.standing.iter().filter_map(told).collect()
    }
}
