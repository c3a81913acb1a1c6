//! Services, what stands behind them, and nodes, as they are kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use serde::Deserialize;

use super::names::{Labels, Names};
use super::slim::{Condition, Nothing, Slim, SlimKind, holds, list};
use crate::model::subject::Subject;

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Box<str>,
    /// Uid.
    pub uid: Box<str>,
    /// Labels.
    pub labels: Labels,
    /// Which pods it leads to; empty when it selects none by itself.
    pub selector: Labels,
    /// Ports, by number and name.
    pub ports: Box<[(u16, Arc<str>)]>,
}

impl Service {
    /// Itself.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject::service(&self.namespace, &self.name)
    }

    pub(super) fn of(object: &Slim<ServiceKind>, names: &mut Names) -> Self {
        let (meta, spec) = (&object.metadata, &object.spec);
        let ports = spec.ports.iter().map(|port| (port.port, names.text(&port.name))).collect();
        Self {
            namespace: names.text(meta.namespace.as_deref().unwrap_or_default()),
            name: Box::from(meta.name.as_deref().unwrap_or_default()),
            uid: Box::from(meta.uid.as_deref().unwrap_or_default()),
            labels: names.labels(meta.labels.as_ref()),
            selector: names.labels(Some(&spec.selector)),
            ports,
        }
    }
}

/// One endpoint of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// First address.
    pub address: Box<str>,
    /// The pod behind it, where there is one.
    pub pod: Option<Box<str>>,
    /// Whether it is ready. A condition that is absent counts as ready, as the API says.
    pub ready: bool,
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    /// The service it belongs to.
    pub service: Arc<str>,
    /// Its endpoints.
    pub endpoints: Box<[Endpoint]>,
}

impl Slice {
    pub(super) fn of(object: &EndpointSlice, names: &mut Names) -> Self {
        let labels = object.metadata.labels.as_ref();
        let service = labels.and_then(|labels| labels.get("kubernetes.io/service-name"));
        let endpoints = object.endpoints.iter().flatten().map(|endpoint| {
            let target = endpoint.target_ref.as_ref().filter(|t| t.kind.as_deref() == Some("Pod"));
            Endpoint {
                address: Box::from(endpoint.addresses.first().map_or("", String::as_str)),
                pod: target.and_then(|target| target.name.as_deref()).map(Box::from),
                ready: endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true),
            }
        });
        Self { service: names.text(service.map_or("", String::as_str)), endpoints: endpoints.collect() }
    }
}

/// A node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Whether it is ready; `None` when it does not say, as a node whose kubelet fell silent.
    pub ready: Option<bool>,
}

impl Node {
    pub(super) fn of(object: &Slim<NodeKind>) -> Self {
        Self { ready: holds(&object.status.conditions, "Ready") }
    }
}

/// A namespace, as far as it says which control plane injects its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Namespace {
    /// The revision or the tag that it asks for; `None`: the default one.
    pub(super) revision: Option<Arc<str>>,
}

impl Namespace {
    pub(super) fn of(object: &Slim<NamespaceKind>, names: &mut Names) -> Self {
        let label = |key: &str| object.metadata.labels.as_ref()?.get(key).filter(|text| !text.is_empty());
        // The older label beats the revision, and asks for the default one.
        let default = label("istio-injection").is_some_and(|text| text == "enabled");
        let revision = label("istio.io/rev").filter(|_| !default);
        Self { revision: revision.map(|text| names.text(text)) }
    }
}

/// Namespaces.
#[derive(Clone, Debug)]
pub(super) struct NamespaceKind;

impl SlimKind for NamespaceKind {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Namespace";
    const PLURAL: &'static str = "namespaces";
    type Scope = ClusterResourceScope;
    type Spec = Nothing;
    type Status = Nothing;
}

/// Services.
#[derive(Clone, Debug)]
pub(super) struct ServiceKind;

impl SlimKind for ServiceKind {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Service";
    const PLURAL: &'static str = "services";
    type Scope = NamespaceResourceScope;
    type Spec = ServiceSpec;
    type Status = Nothing;
}

/// What is read of a service's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServiceSpec {
    selector: BTreeMap<String, String>,
    #[serde(deserialize_with = "list")]
    ports: Vec<Port>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Port {
    name: String,
    port: u16,
}

/// Nodes.
#[derive(Clone, Debug)]
pub(super) struct NodeKind;

impl SlimKind for NodeKind {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Node";
    const PLURAL: &'static str = "nodes";
    type Scope = ClusterResourceScope;
    type Spec = Nothing;
    type Status = NodeStatus;
}

/// What is read of a node's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeStatus {
    #[serde(deserialize_with = "list")]
    conditions: Vec<Condition>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const READY: &str = include_str!("../../tests/recorded/endpointslice-list.json");
    const NOT_READY: &str = include_str!("../../tests/recorded/endpointslice-notready-list.json");
    const SERVICE: &str = include_str!("../../tests/recorded/service.json");
    const NODES: [(&str, Option<bool>); 2] = [
        (include_str!("../../tests/recorded/node.json"), Some(true)),
        (include_str!("../../tests/recorded/node-notready.json"), None),
    ];

    fn slice(text: &str) -> Slice {
        let list: Value = serde_json::from_str(text).unwrap();
        let object: EndpointSlice = serde_json::from_value(list["items"][0].clone()).unwrap();
        Slice::of(&object, &mut Names::default())
    }

    // Mutation: counting addresses instead of ready ones.
    #[test]
    fn recorded_endpoints_are_ready_or_not() {
        for (text, ready) in [(READY, true), (NOT_READY, false)] {
            let slice = slice(text);
            assert_eq!((&*slice.service, slice.endpoints.len()), ("server", 2));
            assert!(slice.endpoints.iter().all(|endpoint| endpoint.ready == ready), "{slice:?}");
        }
        assert_eq!(slice(READY).endpoints[0].pod.as_deref(), Some("server-v1-77d498bd8d-j95z5"));
    }

    // Mutation: taking a node whose kubelet fell silent (Unknown) for one that is not ready, or for ready.
    #[test]
    fn recorded_services_and_nodes() {
        let service: Slim<ServiceKind> = serde_json::from_str(SERVICE).unwrap();
        let service = Service::of(&service, &mut Names::default());
        assert_eq!(service.subject(), Subject::service("shop", "server"));
        assert!(!service.ports.is_empty() && !service.selector.is_empty(), "{service:?}");
        for (text, ready) in NODES {
            assert_eq!(Node::of(&serde_json::from_str(text).unwrap()).ready, ready);
        }
    }
}
