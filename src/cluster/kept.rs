//! Which kinds the inventory keeps: for each its watch, its slim form and its place.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet as FullReplicaSet;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use tokio::sync::mpsc;

use super::budgets::{Budget, BudgetObject};
use super::certificates::{Certificate, CertificateObject, ClusterIssuerKind, Issuer, IssuerKind};
use super::inventory::{Inventory, Standing, Watched};
use super::names::Names;
use super::pods::{Pod, PodObject};
use super::services::{Namespace, NamespaceKind, Node, NodeKind, Service, ServiceKind, Slice};
use super::shelf::Shelf;
use super::slim::Slim;
use super::store::Cluster;
use super::tend::{Kept, Stream};
use super::watch::Seen;
use super::workloads::{DaemonSetKind, DeploymentKind, ReplicaSet, StatefulSetKind, Workload};
use crate::model::subject::{ROOT_NAMESPACE, Subject};

/// Linkerd's control plane is installed here by its charts and its command line.
pub(super) const LINKERD_NAMESPACE: &str = "linkerd";

impl Cluster {
    /// The watches beside those of routes and rules. Control planes are looked at wherever their proxies
    /// are: without them nobody knows whether a proxy could get its configuration back.
    pub(super) fn tended(
        self: &Arc<Self>,
        scopes: &[Option<String>],
        out: &mpsc::Sender<Seen>,
    ) -> Vec<BoxFuture<'static, ()>> {
        let mut all = vec![
            self.tending::<Nodes>(Api::all(self.client.clone()), None, out),
            self.tending::<Namespaces>(Api::all(self.client.clone()), None, out),
            self.tending::<ClusterIssuers>(Api::all(self.client.clone()), None, out),
        ];
        for scope in scopes {
            all.extend([
                self.within::<Pods>(scope, out),
                self.within::<Deployments>(scope, out),
                self.within::<ReplicaSets>(scope, out),
                self.within::<StatefulSets>(scope, out),
                self.within::<DaemonSets>(scope, out),
                self.within::<Services>(scope, out),
                self.within::<EndpointSlices>(scope, out),
                self.within::<Budgets>(scope, out),
                self.within::<Certificates>(scope, out),
                self.within::<Issuers>(scope, out),
            ]);
        }
        let seen = |namespace: &str| {
            scopes.iter().any(|scope| scope.as_ref().is_none_or(|scope| scope == namespace))
        };
        for namespace in [ROOT_NAMESPACE, LINKERD_NAMESPACE].into_iter().filter(|known| !seen(known)) {
            let scope = Some(namespace.to_owned());
            all.extend([
                self.within::<Pods>(&scope, out),
                self.within::<Deployments>(&scope, out),
                self.within::<ReplicaSets>(&scope, out),
            ]);
        }
        all
    }

    fn within<K: Kept>(
        self: &Arc<Self>,
        scope: &Option<String>,
        out: &mpsc::Sender<Seen>,
    ) -> BoxFuture<'static, ()>
    where
        K::Resource: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let client = self.client.clone();
        let api = match scope {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        self.tending::<K>(api, scope.clone(), out)
    }

    fn tending<K: Kept>(
        self: &Arc<Self>,
        api: Api<K::Resource>,
        scope: Option<String>,
        out: &mpsc::Sender<Seen>,
    ) -> BoxFuture<'static, ()> {
        self.stores().inventory.standing.insert((K::WATCHED, scope.clone()), Standing::Unread);
        let (cluster, out) = (Arc::clone(self), out.clone());
        async move { cluster.tend::<K>(api, scope.as_deref(), &out).await }.boxed()
    }
}

/// A kind of which whole objects arrive: its name, what arrives, what is kept and where, and what cases may
/// be about.
macro_rules! kept {
    (@ named $value:ident) => {
        Some((&*$value.uid, $value.subject()))
    };
    (@ unnamed $value:ident) => {{
        let _ = $value;
        None
    }};
    ($kind:ident, $object:ty, $value:ty, $shelf:ident, $of:expr, $subject:ident) => {
        pub(super) struct $kind;

        impl Kept for $kind {
            type Resource = $object;
            type Object = $object;
            type Value = $value;
            const WATCHED: Watched = Watched::$kind;

            fn stream(api: Api<$object>) -> Stream<$object> {
                watcher(api, watcher::Config::default()).boxed()
            }

            fn of(object: &$object, names: &mut Names) -> $value {
                $of(object, names)
            }

            fn shelf(inventory: &mut Inventory) -> &mut Shelf<$value> {
                &mut inventory.$shelf
            }

            fn subject(value: &$value) -> Option<(&str, Subject)> {
                kept!(@ $subject value)
            }
        }
    };
}

kept!(Pods, PodObject, Pod, pods, Pod::of, named);
kept!(Deployments, Slim<DeploymentKind>, Workload, deployments, Workload::of, named);
kept!(StatefulSets, Slim<StatefulSetKind>, Workload, stateful_sets, Workload::of, named);
kept!(DaemonSets, Slim<DaemonSetKind>, Workload, daemon_sets, Workload::of, named);
kept!(Services, Slim<ServiceKind>, Service, services, Service::of, named);
kept!(EndpointSlices, EndpointSlice, Slice, slices, Slice::of, unnamed);
kept!(Budgets, BudgetObject, Budget, budgets, Budget::of, unnamed);
kept!(Nodes, Slim<NodeKind>, Node, nodes, |object, _: &mut Names| Node::of(object), unnamed);
kept!(Namespaces, Slim<NamespaceKind>, Namespace, spaces, Namespace::of, unnamed);
kept!(Certificates, CertificateObject, Certificate, certificates, Certificate::of, named);
kept!(
    Issuers,
    Slim<IssuerKind>,
    Issuer,
    issuers,
    |object: &Slim<IssuerKind>, _: &mut Names| Issuer::of(&object.status),
    unnamed
);
kept!(
    ClusterIssuers,
    Slim<ClusterIssuerKind>,
    Issuer,
    cluster_issuers,
    |object: &Slim<ClusterIssuerKind>, _: &mut Names| Issuer::of(&object.status),
    unnamed
);
// Of ReplicaSets only metadata is asked for.
kept!(
    ReplicaSets,
    PartialObjectMeta<FullReplicaSet>,
    ReplicaSet,
    replica_sets,
    |object: &PartialObjectMeta<FullReplicaSet>, names: &mut Names| ReplicaSet::of(&object.metadata, names),
    unnamed
);
