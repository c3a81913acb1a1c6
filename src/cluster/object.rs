//! Slim types for the objects we watch: metadata and the raw `spec`, nothing else is allocated.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A kind of object.
pub trait Kind: fmt::Debug + Clone + Send + Sync + 'static {
    /// Its API group.
    const GROUP: &'static str = crate::model::subject::ISTIO_NETWORKING;
    /// Its name.
    const KIND: &'static str;
    /// Its plural in paths.
    const PLURAL: &'static str;
    /// Whether a mesh works without it.
    const OPTIONAL: bool = false;
}

/// VirtualService.
#[derive(Clone, Debug)]
pub struct VirtualServiceKind;

impl Kind for VirtualServiceKind {
    const KIND: &'static str = "VirtualService";
    const PLURAL: &'static str = "virtualservices";
}

/// DestinationRule.
#[derive(Clone, Debug)]
pub struct DestinationRuleKind;

impl Kind for DestinationRuleKind {
    const KIND: &'static str = "DestinationRule";
    const PLURAL: &'static str = "destinationrules";
}

/// HTTPRoute of the Gateway API.
#[derive(Clone, Debug)]
pub struct HttpRouteKind;

impl Kind for HttpRouteKind {
    const GROUP: &'static str = "gateway.networking.k8s.io";
    const KIND: &'static str = "HTTPRoute";
    const PLURAL: &'static str = "httproutes";
    const OPTIONAL: bool = true;
}

/// An object with its raw spec.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Object<K> {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// The spec, as it is.
    #[serde(default)]
    pub spec: Value,
    #[serde(skip)]
    kind: PhantomData<K>,
}

/// An Istio VirtualService.
pub type VirtualService = Object<VirtualServiceKind>;
/// An Istio DestinationRule.
pub type DestinationRule = Object<DestinationRuleKind>;
/// An HTTPRoute of the Gateway API.
pub type HttpRoute = Object<HttpRouteKind>;

impl<K: Kind> kube::Resource for Object<K> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(&(): &()) -> Cow<'_, str> {
        K::KIND.into()
    }

    fn group(&(): &()) -> Cow<'_, str> {
        K::GROUP.into()
    }

    fn version(&(): &()) -> Cow<'_, str> {
        // Served since Istio 1.22 and Gateway API 1.0; older ones are out of support.
        "v1".into()
    }

    fn plural(&(): &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
