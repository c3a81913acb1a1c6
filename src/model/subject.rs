//! What is ill: one object of the cluster, named the way Kubernetes names it.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// An object of the cluster by group, kind, namespace and name.
///
/// `group` is empty for the core group, `namespace` is empty for cluster-scoped objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// API group, for instance `networking.istio.io`; empty for the core group.
    #[serde(default)]
    pub group: SmolStr,
    /// Kind, for instance `VirtualService`.
    pub kind: SmolStr,
    /// Namespace; empty for cluster-scoped objects.
    #[serde(default)]
    pub namespace: SmolStr,
    /// Name of the object.
    pub name: SmolStr,
    /// Cluster, where a sender names one; `None` means the agent's own. Cleared once resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Mesh, where a sender names one; `None` means the only one. Cleared once resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<String>,
}

/// API group of Istio's routing objects.
pub const ISTIO_NETWORKING: &str = "networking.istio.io";
/// API group of cert-manager's objects.
pub const CERT_MANAGER: &str = "cert-manager.io";
/// API group of the Gateway API.
pub const GATEWAY_API: &str = "gateway.networking.k8s.io";
/// Istio's root namespace: its rules hold where no nearer one does.
pub const ROOT_NAMESPACE: &str = "istio-system";

impl Subject {
    /// An object of the agent's own cluster.
    #[must_use]
    pub fn new(group: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            group: group.into(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
            cluster: None,
            mesh: None,
        }
    }

    /// An Istio VirtualService.
    #[must_use]
    pub fn virtual_service(namespace: &str, name: &str) -> Self {
        Self::new(ISTIO_NETWORKING, "VirtualService", namespace, name)
    }

    /// A pod.
    #[must_use]
    pub fn pod(namespace: &str, name: &str) -> Self {
        Self::new("", "Pod", namespace, name)
    }

    /// A service.
    #[must_use]
    pub fn service(namespace: &str, name: &str) -> Self {
        Self::new("", "Service", namespace, name)
    }

    /// An Istio DestinationRule.
    #[must_use]
    pub fn destination_rule(namespace: &str, name: &str) -> Self {
        Self::new(ISTIO_NETWORKING, "DestinationRule", namespace, name)
    }

    /// A namespace as a subject: where alerts go that map to nothing better.
    #[must_use]
    pub fn of_namespace(name: &str) -> Self {
        Self::new("", "Namespace", "", name)
    }

    /// The namespace that policies look at: for a Namespace its own name.
    #[must_use]
    pub fn scope_namespace(&self) -> &str {
        if self.kind == "Namespace" && self.group.is_empty() { &self.name } else { &self.namespace }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}
