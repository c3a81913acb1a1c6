//! Fresh reads: what an act depends on is asked of the API server again, not taken from the watches.

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Resource};

use super::budgets::{Budget, BudgetObject};
use super::certificates::{Certificate, CertificateObject, ClusterIssuerKind, Issuer, IssuerKind, IssuerRef};
use super::client::{limited, told};
use super::names::Names;
use super::owner::managed_by;
use super::pods::{Pod, PodObject};
use super::slim::Slim;
use super::store::Cluster;
use super::workloads::{APPS, DaemonSetKind, DeploymentKind, StatefulSetKind, Workload, WorkloadKind};
use crate::model::facts::ManagedBy;
use crate::model::subject::{CERT_MANAGER, Subject};

/// A workload as it is now, with what the watch does not keep.
#[derive(Clone, Debug)]
pub struct FreshWorkload {
    /// The workload.
    pub workload: Workload,
    /// Tool that owns it.
    pub managed_by: ManagedBy,
    /// When its template was written last, as far as its managed fields say; otherwise when it was made.
    pub changed: Option<Timestamp>,
    /// kubectl's annotation of the last restart on its template.
    pub restarted_at: Option<String>,
}

/// kubectl's own key, so that its users see what they know. (kube's `restart` writes another one.)
pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

impl Cluster {
    /// Reads a pod; `None` when it does not exist.
    ///
    /// # Errors
    /// The error as kube has it, for those who must tell refusals from hiccups.
    pub async fn get_pod(&self, subject: &Subject) -> Result<Option<Pod>, kube::Error> {
        let object: Option<PodObject> = self.fresh(subject).await?;
        Ok(object.map(|object| Pod::of(&object, &mut Names::default())))
    }

    /// Reads a pod; `None` when it does not exist.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn read_pod(&self, subject: &Subject) -> Result<Option<Pod>, String> {
        self.get_pod(subject).await.map_err(|error| told(&error))
    }

    /// Reads a Deployment, StatefulSet or DaemonSet; `None` when it does not exist.
    ///
    /// # Errors
    /// The API server's words, or it is none of these kinds.
    pub async fn read_workload(&self, subject: &Subject) -> Result<Option<FreshWorkload>, String> {
        match (subject.group.as_str(), subject.kind.as_str()) {
            (APPS, "Deployment") => self.read_kind::<DeploymentKind>(subject).await,
            (APPS, "StatefulSet") => self.read_kind::<StatefulSetKind>(subject).await,
            (APPS, "DaemonSet") => self.read_kind::<DaemonSetKind>(subject).await,
            _ => Err(format!("{subject} is no workload we can read")),
        }
    }

    async fn read_kind<K: WorkloadKind>(&self, subject: &Subject) -> Result<Option<FreshWorkload>, String> {
        let resource = ApiResource::erase::<Slim<K>>(&());
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &subject.namespace, &resource);
        let object = limited(api.get_opt(&subject.name)).await.map_err(|error| told(&error))?;
        let Some(object) = object else { return Ok(None) };
        let (managed_by, changed) = (managed_by(&object.metadata), template_written(&object));
        let annotations = object.data.pointer("/spec/template/metadata/annotations");
        let restarted_at = annotations.and_then(|all| all.get(RESTARTED_AT)?.as_str()).map(str::to_owned);
        let slim = serde_json::to_value(object).and_then(serde_json::from_value::<Slim<K>>);
        let slim = slim.map_err(|error| format!("{subject} is not as expected: {error}"))?;
        let workload = Workload::of(&slim, &mut Names::default());
        Ok(Some(FreshWorkload { workload, managed_by, changed, restarted_at }))
    }

    /// Reads the budgets that select a pod.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn read_budgets(&self, pod: &Pod) -> Result<Vec<Budget>, String> {
        let api: Api<BudgetObject> = Api::namespaced(self.client.clone(), &pod.namespace);
        let listed = limited(api.list(&ListParams::default())).await.map_err(|error| told(&error))?;
        let mut names = Names::default();
        let budgets = listed.items.iter().map(|object| Budget::of(object, &mut names));
        Ok(budgets.filter(|budget| budget.selects(&pod.labels)).collect())
    }

    /// Reads a certificate; `None` when it does not exist.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn read_certificate(&self, subject: &Subject) -> Result<Option<Certificate>, String> {
        let object: Option<CertificateObject> = self.fresh(subject).await.map_err(|error| told(&error))?;
        Ok(object.map(|object| Certificate::of(&object, &mut Names::default())))
    }

    /// Reads the issuer of a certificate in this namespace; `None` when it does not exist.
    ///
    /// # Errors
    /// The API server's words, or it is somebody else's kind.
    pub async fn read_issuer(&self, namespace: &str, named: &IssuerRef) -> Result<Option<Issuer>, String> {
        let status = match (&*named.group, &*named.kind) {
            (CERT_MANAGER, "Issuer") => {
                let api: Api<Slim<IssuerKind>> = Api::namespaced(self.client.clone(), namespace);
                limited(api.get_opt(&named.name)).await.map(|found| found.map(|issuer| issuer.status))
            }
            (CERT_MANAGER, "ClusterIssuer") => {
                let api: Api<Slim<ClusterIssuerKind>> = Api::all(self.client.clone());
                limited(api.get_opt(&named.name)).await.map(|found| found.map(|issuer| issuer.status))
            }
            (group, kind) => return Err(format!("nobody can read whether a {kind} of {group} is ready")),
        };
        Ok(status.map_err(|error| told(&error))?.map(|status| Issuer::of(&status)))
    }

    async fn fresh<K>(&self, subject: &Subject) -> Result<Option<K>, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &subject.namespace);
        limited(api.get_opt(&subject.name)).await
    }
}

/// When the pod template was written last. A status or a scale is no change of it.
fn template_written(object: &DynamicObject) -> Option<Timestamp> {
    let entries = object.metadata.managed_fields.iter().flatten();
    let template = entries.filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        entry.subresource.as_deref().is_none_or(str::is_empty)
            && fields.is_some_and(|fields| fields.pointer("/f:spec/f:template").is_some())
    });
    let newest = template.filter_map(|entry| entry.time.as_ref()).map(|time| time.0).max();
    newest.or_else(|| object.metadata.creation_timestamp.as_ref().map(|time| time.0))
}
