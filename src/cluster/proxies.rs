//! Proxies and their control planes: who belongs to whom.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::inventory::Watched;
use super::kept::LINKERD_NAMESPACE;
use super::pods::{Mesh, Pod, Proxy};
use super::store::{Cluster, Stores};
use super::workloads::Workload;
use crate::model::facts::SyncState;
use crate::model::subject::{ROOT_NAMESPACE, Subject};

/// The revision of an istiod that was installed without one.
pub const DEFAULT_REVISION: &str = "default";
/// Linkerd's proxies get where to send requests from this Deployment.
const LINKERD_DESTINATION: &str = "linkerd-destination";

/// Where a proxy stands, by its control plane and by asking it: `state`, its words about a configuration it
/// rejects, and for how many seconds it has been stale.
pub type Sync = (SyncState, Option<String>, Option<u64>);

/// Eyes on proxies themselves, for those facts that no object of the cluster tells.
pub trait ProxyEyes: Send + std::marker::Sync {
    /// Asks the proxy of a pod now, with a time limit. A proxy that does not answer is `false`; an error
    /// says why nobody could ask.
    fn answering(&self, pod: &Subject) -> BoxFuture<'_, Result<bool, String>>;

    /// Where the proxy stands with its configuration.
    fn sync(&self, pod: &Subject) -> BoxFuture<'_, Result<Sync, String>>;
}

/// A control plane: an istiod of one revision, or Linkerd's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlane {
    /// Mesh.
    pub mesh: Mesh,
    /// Revision; `default` where none is named.
    pub revision: String,
    /// Its Deployment.
    pub workload: Arc<Workload>,
}

impl ControlPlane {
    /// A Deployment as a control plane, if it is one.
    pub(super) fn of(workload: &Arc<Workload>) -> Option<Self> {
        let revision = workload.label("istio.io/rev").unwrap_or(DEFAULT_REVISION);
        let found = |mesh, revision: &str| {
            Some(Self { mesh, revision: revision.to_owned(), workload: Arc::clone(workload) })
        };
        match &*workload.namespace {
            ROOT_NAMESPACE if workload.label("app") == Some("istiod") => found(Mesh::Istio, revision),
            LINKERD_NAMESPACE if *workload.name == *LINKERD_DESTINATION => {
                found(Mesh::Linkerd, DEFAULT_REVISION)
            }
            _ => None,
        }
    }

    /// Its Deployment.
    #[must_use]
    pub fn subject(&self) -> Subject {
        self.workload.subject()
    }
}

impl Stores {
    pub(super) fn control_planes(&self) -> impl Iterator<Item = ControlPlane> {
        let of = |namespace| self.inventory.deployments.of(namespace).filter_map(ControlPlane::of);
        of(ROOT_NAMESPACE).chain(of(LINKERD_NAMESPACE))
    }

    /// The revision of a proxy: its pod's own, else the one that its namespace asks for.
    fn revision(&self, pod: &Pod, proxy: &Proxy) -> Result<Arc<str>, String> {
        if proxy.mesh == Mesh::Linkerd {
            return Ok(Arc::from(DEFAULT_REVISION));
        }
        if let Some(revision) = &proxy.revision {
            return Ok(Arc::clone(revision));
        }
        let unknown =
            |why: String| format!("{} names no revision of its control plane: {why}", pod.subject());
        self.inventory.whole(Watched::Namespaces, "").map_err(unknown)?;
        let space = self.inventory.spaces.get("", &pod.namespace);
        let space = space.ok_or_else(|| unknown(format!("namespace {} is not seen", pod.namespace)))?;
        Ok(space.revision.clone().unwrap_or_else(|| Arc::from(DEFAULT_REVISION)))
    }
}

impl Cluster {
    /// Pods with a proxy in the watched namespaces.
    #[must_use]
    pub fn proxies(&self) -> Vec<Arc<Pod>> {
        let stores = self.stores();
        let pods = stores.inventory.pods.all();
        pods.filter(|pod| pod.proxy.is_some() && self.sees(&pod.namespace)).cloned().collect()
    }

    /// All pods of the namespaces that are watched.
    #[must_use]
    pub fn all_pods(&self) -> Vec<Arc<Pod>> {
        let stores = self.stores();
        let pods = stores.inventory.pods.all();
        pods.filter(|pod| self.sees(&pod.namespace)).cloned().collect()
    }

    /// The control planes there are.
    #[must_use]
    pub fn control_planes(&self) -> Vec<ControlPlane> {
        self.stores().control_planes().collect()
    }

    /// A control plane by its Deployment.
    #[must_use]
    pub fn control_plane(&self, deployment: &Subject) -> Option<ControlPlane> {
        ControlPlane::of(&self.workload(deployment)?)
    }

    /// The Deployment of the control plane that a pod's proxy gets its configuration from.
    ///
    /// # Errors
    /// The pod has no proxy, nobody knows its revision, or no Deployment of that revision is seen.
    pub fn control_plane_of(&self, pod: &Pod) -> Result<Subject, String> {
        let proxy = pod.proxy.as_ref().ok_or_else(|| format!("{} has no proxy", pod.subject()))?;
        let stores = self.stores();
        let revision = stores.revision(pod, proxy)?;
        let found =
            stores.control_planes().find(|plane| plane.mesh == proxy.mesh && *plane.revision == *revision);
        found.map(|plane| plane.subject()).ok_or_else(|| {
            let none = format!(
                "no Deployment of the {} control plane of revision {revision} is seen",
                proxy.mesh.as_str()
            );
            match proxy.mesh {
                // A tag is resolved by a webhook's configuration, which we ask no right for.
                Mesh::Istio => {
                    format!("{none}; where {revision} is a tag, we do not know what it stands for")
                }
                Mesh::Linkerd => none,
            }
        })
    }

    /// The pods of a control plane.
    #[must_use]
    pub fn replicas_of_control_plane(&self, deployment: &Subject) -> Vec<Arc<Pod>> {
        self.pods_of(deployment)
    }
}
