//! Lookups in the inventory: sync, from what the watches keep.

use std::sync::Arc;

use super::budgets::Budget;
use super::certificates::{Certificate, Issuer, IssuerRef};
use super::inventory::Watched;
use super::pods::{Controller, Pod};
use super::services::{Endpoint, Node, Service};
use super::store::{Cluster, Stores};
use super::workloads::{APPS, Workload};
use crate::model::subject::{CERT_MANAGER, Subject};

impl Cluster {
    /// Whether a namespace is one that we are to watch.
    #[must_use]
    pub fn sees(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|known| known == "*" || known == namespace)
    }

    /// The namespaces that we are to watch; `*` means all.
    #[must_use]
    pub fn namespaces(&self) -> &[String] {
        &self.namespaces
    }

    /// Whether what the watch of a kind keeps of a namespace is whole: only then an object that is not there
    /// is known to be absent.
    ///
    /// # Errors
    /// Why not: a right is missing, the kind is not installed, nobody answers.
    pub fn whole(&self, kind: Watched, namespace: &str) -> Result<(), String> {
        self.stores().inventory.whole(kind, namespace)
    }

    /// Why what is kept of a kind may not be all there is, one sentence for each scope; empty where it is.
    #[must_use]
    pub fn gaps(&self, kind: Watched) -> Vec<String> {
        self.stores().inventory.gaps(kind)
    }

    /// How many watches there are beside those of routes and rules.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.stores().inventory.standing.len()
    }

    /// What is wrong with the watches beside those of routes and rules, one sentence each. Kinds that are
    /// not installed are none of it.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        self.stores().inventory.findings()
    }

    /// The kind of a subject and whether the watch of it keeps the subject; `None` for other kinds.
    #[must_use]
    pub fn holds(&self, subject: &Subject) -> Option<(Watched, bool)> {
        Some(match (subject.group.as_str(), subject.kind.as_str()) {
            // Control planes are watched everywhere; cases are about what we are to watch.
            ("", "Pod") => (Watched::Pods, self.pod(subject).is_some() && self.sees(&subject.namespace)),
            ("", "Service") => (Watched::Services, self.service(subject).is_some()),
            (APPS, "Deployment") => (Watched::Deployments, self.workload(subject).is_some()),
            (APPS, "StatefulSet") => (Watched::StatefulSets, self.workload(subject).is_some()),
            (APPS, "DaemonSet") => (Watched::DaemonSets, self.workload(subject).is_some()),
            (CERT_MANAGER, "Certificate") => (Watched::Certificates, self.certificate(subject).is_some()),
            _ => return None,
        })
    }

    /// Whether a subject is surely not there: its watch is whole and does not keep it.
    #[must_use]
    pub fn is_absent(&self, subject: &Subject) -> bool {
        let held = self.holds(subject);
        held.is_some_and(|(kind, there)| !there && self.whole(kind, &subject.namespace).is_ok())
    }

    /// A pod.
    #[must_use]
    pub fn pod(&self, subject: &Subject) -> Option<Arc<Pod>> {
        if !is(subject, "", "Pod") {
            return None;
        }
        self.stores().inventory.pods.get(&subject.namespace, &subject.name).cloned()
    }

    /// A Deployment, StatefulSet or DaemonSet.
    #[must_use]
    pub fn workload(&self, subject: &Subject) -> Option<Arc<Workload>> {
        let stores = self.stores();
        let inventory = &stores.inventory;
        let shelf = match (subject.group.as_str(), subject.kind.as_str()) {
            (APPS, "Deployment") => &inventory.deployments,
            (APPS, "StatefulSet") => &inventory.stateful_sets,
            (APPS, "DaemonSet") => &inventory.daemon_sets,
            _ => return None,
        };
        shelf.get(&subject.namespace, &subject.name).cloned()
    }

    /// The top owner of a pod: the Deployment above its ReplicaSet, another controller, or the pod itself.
    /// Of a pod that is not in the inventory nothing is known, so it is its own.
    #[must_use]
    pub fn top_owner(&self, pod: &Subject) -> Subject {
        match self.pod(pod) {
            Some(found) => self.owner_of(&found),
            None => pod.clone(),
        }
    }

    /// The top owner of a pod that may have been read fresh.
    #[must_use]
    pub fn owner_of(&self, pod: &Pod) -> Subject {
        self.stores().owner(pod)
    }

    /// The pods of a workload.
    #[must_use]
    pub fn pods_of(&self, owner: &Subject) -> Vec<Arc<Pod>> {
        let stores = self.stores();
        let pods = stores.inventory.pods.of(&owner.namespace);
        pods.filter(|pod| stores.owner(pod) == *owner).cloned().collect()
    }

    /// The budgets that select a pod.
    #[must_use]
    pub fn budgets_of(&self, pod: &Pod) -> Vec<Arc<Budget>> {
        let stores = self.stores();
        let budgets = stores.inventory.budgets.of(&pod.namespace);
        budgets.filter(|budget| budget.selects(&pod.labels)).cloned().collect()
    }

    /// A service.
    #[must_use]
    pub fn service(&self, subject: &Subject) -> Option<Arc<Service>> {
        if !is(subject, "", "Service") {
            return None;
        }
        self.stores().inventory.services.get(&subject.namespace, &subject.name).cloned()
    }

    /// All services of the watched namespaces.
    #[must_use]
    pub fn services(&self) -> Vec<Arc<Service>> {
        let stores = self.stores();
        stores.inventory.services.all().filter(|service| self.sees(&service.namespace)).cloned().collect()
    }

    /// The host that a DestinationRule is for, fully qualified.
    #[must_use]
    pub fn host_of_rule(&self, rule: &Subject) -> Option<String> {
        self.stores().routes.get(rule).and_then(|rule| rule.hosts.first().cloned())
    }

    /// The endpoints of a service, over all its slices.
    #[must_use]
    pub fn endpoints_of(&self, service: &Subject) -> Vec<Endpoint> {
        let stores = self.stores();
        let slices = stores.inventory.slices.of(&service.namespace);
        let ours = slices.filter(|slice| *slice.service == *service.name);
        ours.flat_map(|slice| slice.endpoints.iter().cloned()).collect()
    }

    /// A node by its name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.stores().inventory.nodes.get("", name).cloned()
    }

    /// A certificate.
    #[must_use]
    pub fn certificate(&self, subject: &Subject) -> Option<Arc<Certificate>> {
        if !is(subject, CERT_MANAGER, "Certificate") {
            return None;
        }
        self.stores().inventory.certificates.get(&subject.namespace, &subject.name).cloned()
    }

    /// All certificates of the watched namespaces.
    #[must_use]
    pub fn certificates(&self) -> Vec<Arc<Certificate>> {
        self.stores().inventory.certificates.all().cloned().collect()
    }

    /// The issuer of a certificate in this namespace.
    #[must_use]
    pub fn issuer(&self, namespace: &str, named: &IssuerRef) -> Option<Arc<Issuer>> {
        let stores = self.stores();
        match (&*named.group, &*named.kind) {
            (CERT_MANAGER, "Issuer") => stores.inventory.issuers.get(namespace, &named.name).cloned(),
            (CERT_MANAGER, "ClusterIssuer") => stores.inventory.cluster_issuers.get("", &named.name).cloned(),
            _ => None,
        }
    }
}

fn is(subject: &Subject, group: &str, kind: &str) -> bool {
    subject.group == group && subject.kind == kind
}

impl Stores {
    /// Who owns a pod in the end. A ReplicaSet that is not there (yet) belongs to the Deployment whose name
    /// and hash it carries: the Deployment's controller names it so, and labels its pods with the hash.
    pub(super) fn owner(&self, pod: &Pod) -> Subject {
        let Some(controller) = &pod.controller else { return pod.subject() };
        if &*controller.group != APPS || &*controller.kind != "ReplicaSet" {
            return controller.subject(&pod.namespace);
        }
        if let Some(known) = self.inventory.replica_sets.get(&pod.namespace, &controller.name) {
            let above = known.controller.as_ref().unwrap_or(controller);
            return above.subject(&pod.namespace);
        }
        deployment_by_hash(pod, controller).unwrap_or_else(|| controller.subject(&pod.namespace))
    }
}

fn deployment_by_hash(pod: &Pod, controller: &Controller) -> Option<Subject> {
    let hash = pod.label("pod-template-hash")?;
    let name = controller.name.strip_suffix(hash)?.strip_suffix('-')?;
    Some(Subject::new(APPS, "Deployment", &pod.namespace, name))
}
