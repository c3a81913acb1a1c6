//! The survey of what control planes and proxies use of what they may use, from metrics.k8s.io.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Readings, Scope};
use crate::app::board::Boards;
use crate::cluster::{Mesh, Pod, Watched};
use crate::health::{Found, Taken};
use crate::model::indicator::Figure;
use crate::model::subject::Subject;
use crate::sources::usage::{PodUsage, Usage};

/// Name of istiod's container.
const DISCOVERY: &str = "discovery";

impl Boards {
    /// Memory of each replica of istiod over its limit; the charts set none, then over twice the request.
    pub(super) async fn read_memory(&self, scope: &Scope) -> Result<Readings, String> {
        let planes = self.cluster.control_planes().into_iter();
        let mut taken = Vec::new();
        for plane in planes.filter(|plane| plane.mesh == Mesh::Istio && scope.is_of(Mesh::Istio)) {
            let used = self.usage.pods(Some(&plane.workload.namespace)).await?;
            let bound = match (plane.workload.memory_limit, plane.workload.memory_request) {
                (Some(limit), _) => Ok((whole(limit), "its limit")),
                (None, Some(request)) => Ok((2.0 * whole(request), "twice its request")),
                (None, None) => Err(format!("{} sets neither limit nor request of memory", plane.subject())),
            };
            for pod in self.cluster.replicas_of_control_plane(&plane.subject()) {
                let subject = pod.subject();
                let used = used_by(&used, &subject, DISCOVERY);
                let (found, note) = match (used, &bound) {
                    (Some(used), Ok((bound, of))) => (share(used.memory, *bound), format!("of {of}")),
                    (Some(_), Err(why)) => (Found::Unread(why.clone()), String::new()),
                    (None, _) => unmeasured(&pod),
                };
                let way = format!("metrics.k8s.io: memory of {DISCOVERY} of {subject}");
                taken.push(Taken { note, ..self.taken("metrics.k8s.io", (subject, found), way) });
            }
        }
        Ok((taken, self.cluster.gaps(Watched::Pods)))
    }

    /// CPU of each proxy over its limit.
    pub(super) async fn read_cpu(&self, scope: &Scope) -> Result<Readings, String> {
        let spaces: Vec<Option<&str>> = match &scope.namespace {
            Some(namespace) => vec![Some(namespace)],
            None if self.cluster.sees("*") => vec![None],
            None => self.cluster.namespaces().iter().map(|name| Some(name.as_str())).collect(),
        };
        let mut used = BTreeMap::new();
        for space in spaces {
            used.extend(self.usage.pods(space).await?);
        }
        let read = |pod: &Arc<Pod>| {
            let (proxy, subject) = (pod.proxy.as_ref()?, pod.subject());
            let container = proxy.mesh.container();
            let (found, note) = match (self.too_early(pod), proxy.cpu_limit_m) {
                (Some(why), _) => (Found::Idle(why), String::new()),
                (None, None) => (Found::Idle("its proxy has no CPU limit".to_owned()), String::new()),
                (None, Some(limit)) => match used_by(&used, &subject, container) {
                    Some(used) => (share(used.cpu, f64::from(limit) / 1000.0), String::new()),
                    None => unmeasured(pod),
                },
            };
            let way = format!("metrics.k8s.io: CPU of {container} of {subject}");
            Some(Taken { note, ..self.taken("metrics.k8s.io", (subject, found), way) })
        };
        Ok((self.asked(scope).iter().filter_map(read).collect(), self.cluster.gaps(Watched::Pods)))
    }
}

fn whole(bytes: u64) -> f64 {
    // Bytes of memory are far below what a double holds exactly.
    #[expect(clippy::cast_precision_loss, reason = "less than 2^53")]
    let bytes = bytes as f64;
    bytes
}

fn used_by(used: &BTreeMap<Subject, PodUsage>, pod: &Subject, container: &str) -> Option<Usage> {
    used.get(pod)?.containers.get(container).copied()
}

/// Nobody measured a pod yet: metrics-server has a window of 15 seconds and more.
fn unmeasured(pod: &Pod) -> (Found, String) {
    (Found::Unread(format!("metrics.k8s.io knows nothing of {} yet", pod.subject())), String::new())
}

fn share(used: f64, bound: f64) -> Found {
    if bound > 0.0 {
        Found::Figure(Figure { value: used / bound, samples: 1.0 })
    } else {
        Found::Unread("its limit is zero".to_owned())
    }
}
