//! How many there are, for shares of a blast radius.

use super::store::{Cluster, Stores};
use super::workloads::APPS;
use crate::model::facts::Population;
use crate::model::subject::{CERT_MANAGER, Subject};

impl Cluster {
    /// How many members the subject's workload has, and how many of its like there are in its namespace and
    /// in the mesh. Of pods and workloads those with a proxy count: the others are not part of the mesh.
    #[must_use]
    pub fn population(&self, subject: &Subject) -> Population {
        let stores = self.stores();
        match (subject.group.as_str(), subject.kind.as_str()) {
            ("", "Pod") => {
                let pod = stores.inventory.pods.get(&subject.namespace, &subject.name);
                let owner = pod.map_or_else(|| subject.clone(), |pod| stores.owner(pod));
                self.proxies_and(&stores, &owner)
            }
            (APPS, _) => self.proxies_and(&stores, subject),
            ("", "Service") => {
                let of = stores.inventory.services.of(&subject.namespace).count();
                alone(of, stores.inventory.services.all().count())
            }
            (CERT_MANAGER, _) => {
                let of = stores.inventory.certificates.of(&subject.namespace).count();
                alone(of, stores.inventory.certificates.all().count())
            }
            _ => {
                let alike = || stores.routes.keys().filter(|other| other.kind == subject.kind);
                let near = alike().filter(|other| other.namespace == subject.namespace);
                alone(near.count(), alike().count())
            }
        }
    }

    fn proxies_and(&self, stores: &Stores, owner: &Subject) -> Population {
        let pods = || stores.inventory.pods.all().filter(|pod| !pod.is_over());
        let proxies = || pods().filter(|pod| pod.proxy.is_some() && self.sees(&pod.namespace));
        let members = stores.inventory.pods.of(&owner.namespace).filter(|pod| !pod.is_over());
        Population {
            workload: count(members.filter(|pod| stores.owner(pod) == *owner).count()),
            namespace: count(proxies().filter(|pod| *pod.namespace == *owner.namespace).count()),
            mesh: count(proxies().count()),
        }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// A subject that is one of its kind, not a member of something larger.
fn alone(namespace: usize, mesh: usize) -> Population {
    Population { workload: 1, namespace: count(namespace), mesh: count(mesh) }
}
