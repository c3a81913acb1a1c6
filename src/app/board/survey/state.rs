//! The survey of what we keep ourselves: readiness, versions, gateways, watches, and what istiod says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Readings, Scope, count, found};
use crate::app::board::{Boards, istiod, objects};
use crate::cluster::{Mesh, Pod, Watched};
use crate::health::{Found, Merged, NO_PROMETHEUS, Sync, Taken};
use crate::model::facts::SyncState;
use crate::model::indicator::Figure;
use crate::model::subject::Subject;

/// A push that is under way is acknowledged within it; what still waits then is stale.
const PUSHED: Duration = Duration::from_secs(3);

fn yes_or_no(well: bool) -> Found {
    Found::Figure(Figure { value: if well { 1.0 } else { 0.0 }, samples: 1.0 })
}

/// Whether a pod is a gateway: Istio's charts and its Gateway API controller label theirs.
fn is_gateway(pod: &Pod) -> bool {
    let istio = pod.label("istio").is_some_and(|name| name.contains("gateway"));
    istio || pod.label("gateway.networking.k8s.io/gateway-name").is_some()
}

impl Boards {
    /// Whether each proxy's container is ready, classic or native.
    pub(super) fn read_ready(&self, scope: &Scope) -> Readings {
        let read = |pod: &Arc<Pod>| {
            let proxy = pod.proxy.as_ref()?;
            let found = self.is_young(pod).map_or_else(|| yes_or_no(proxy.ready), Found::Idle);
            let place = if proxy.native { "initContainerStatuses" } else { "containerStatuses" };
            let way = format!("status.{place} of {}", pod.subject());
            let why = if proxy.backs_off() { "CrashLoopBackOff" } else { "not ready" };
            let note =
                if proxy.ready { String::new() } else { format!("{why}, {} restarts", proxy.restarts) };
            // A proxy cannot have been away for longer than its pod.
            let away = pod.ready_since.filter(|_| !pod.ready);
            let since = away.map(|since| self.by_our_clock(since));
            Some(Taken { note, since, ..self.taken("kubernetes", (pod.subject(), found), way) })
        };
        (self.asked(scope).iter().filter_map(read).collect(), self.cluster.gaps(Watched::Pods))
    }

    /// Whether each proxy of Istio takes what it is sent.
    pub(super) async fn read_accepting(&self, scope: &Scope) -> Readings {
        self.read_standing(scope, |state| state != SyncState::Rejected).await
    }

    /// How many minor versions each proxy is behind its control plane.
    pub(super) fn read_versions(&self, scope: &Scope) -> Readings {
        let read = |pod: &Arc<Pod>| {
            let proxy = pod.proxy.as_ref()?;
            let behind = self.cluster.control_plane_of(pod).and_then(|plane| {
                let workload = self.cluster.workload(&plane);
                let workload = workload.ok_or_else(|| format!("{plane} is not in our cache"))?;
                behind(workload.version(), proxy.version())
            });
            let figure = behind.map(|value| Figure { value, samples: 1.0 });
            let way = format!("image tags of the proxy of {} and of its control plane", pod.subject());
            let note = format!("version {}", proxy.version());
            Some(Taken { note, ..self.taken("kubernetes", (pod.subject(), found(figure)), way) })
        };
        (self.asked(scope).iter().filter_map(read).collect(), self.cluster.gaps(Watched::Pods))
    }

    /// Share of each gateway's replicas that are ready.
    pub(super) fn read_gateways(&self, scope: &Scope) -> Readings {
        let pods = self.asked(scope);
        let gateways = pods.iter().filter(|pod| is_gateway(pod));
        let owners: BTreeSet<Subject> = gateways.map(|pod| self.cluster.owner_of(pod)).collect();
        let read = |owner: &Subject| {
            let workload = self.cluster.workload(owner);
            let figure = workload.as_deref().map(objects::ready);
            let figure = figure.unwrap_or_else(|| Err(format!("{owner} is not in our cache")));
            self.taken("kubernetes", (owner.clone(), found(figure)), format!("watch of {owner}"))
        };
        let mut gaps = self.cluster.gaps(Watched::Deployments);
        if owners.is_empty() {
            gaps.push("no gateway is seen".to_owned());
        }
        (owners.iter().map(read).collect(), gaps)
    }

    /// Share of our watches that are interrupted or forbidden.
    pub(super) fn read_watches(&self) -> Taken {
        let bad: Vec<String> = self.cluster.findings().into_iter().chain(self.cluster.troubles()).collect();
        let all = count(self.cluster.watched().max(bad.len()).max(1));
        let subject = Subject::new("", "APIServer", "", "kubernetes");
        let found = Found::Figure(Figure { value: count(bad.len()) / all, samples: all });
        let way = "our own watches of the API server".to_owned();
        Taken { note: bad.join("; "), ..self.taken("kubernetes", (subject, found), way) }
    }

    /// Whether Prometheus answers: a question that costs it nothing.
    pub(super) async fn read_prometheus(&self) -> Readings {
        const QUERY: &str =
            r#"sum by (destination_service) (increase(istio_requests_total{destination_service="-"}[1m]))"#;
        let Some(prometheus) = &self.prometheus else {
            return (Vec::new(), vec![NO_PROMETHEUS.to_owned()]);
        };
        let answer = prometheus.series(QUERY).await;
        let subject = Subject::new("", "Prometheus", "", "configured");
        let taken = self.taken("prometheus", (subject, yes_or_no(answer.is_ok())), QUERY.to_owned());
        (vec![Taken { note: answer.err().unwrap_or_default(), ..taken }], Vec::new())
    }

    /// A verdict on where each proxy of Istio stands with istiod. What is not well is looked at twice.
    pub(super) async fn read_standing(&self, scope: &Scope, well: impl Fn(SyncState) -> bool) -> Readings {
        const WAY: &str = "GET /debug/syncz of every replica of istiod";
        let ours = |pod: &Arc<Pod>| pod.is_meshed(Mesh::Istio);
        let pods: Vec<Arc<Pod>> = self.asked(scope).into_iter().filter(ours).collect();
        // Where istiod knows none of them there is no push to wait for.
        let ill = |merged: &Merged| {
            let syncs: Vec<_> = pods.iter().map(|pod| merged.sync(&pod.subject())).collect();
            let is_well = |sync: &Result<Sync, String>| sync.as_ref().is_ok_and(|sync| well(sync.state));
            syncs.iter().any(Result::is_ok) && !syncs.iter().all(is_well)
        };
        let mut last = self.picture().await;
        if last.as_ref().is_ok_and(|merged| ill(merged)) {
            tokio::time::sleep(PUSHED).await;
            last = self.picture().await;
        }
        let read = |pod: &Arc<Pod>| {
            let sync = last.as_ref().map_err(Clone::clone).and_then(|merged| merged.sync(&pod.subject()));
            let note = sync.as_ref().map(istiod::standing).unwrap_or_default();
            let found = match (self.too_early(pod), sync) {
                (Some(why), _) => Found::Idle(why),
                (None, Ok(sync)) => yes_or_no(well(sync.state)),
                (None, Err(why)) => Found::Unread(why),
            };
            Taken { note, ..self.taken("istiod", (pod.subject(), found), WAY.to_owned()) }
        };
        (pods.iter().map(read).collect(), self.cluster.gaps(Watched::Pods))
    }
}

/// Minor versions behind; a proxy that is newer than its control plane is as ill as one that is two behind.
///
/// # Errors
/// One of them is no version.
fn behind(plane: &str, proxy: &str) -> Result<f64, String> {
    let minor = |text: &str| -> Result<(u32, u32), String> {
        let numbers = text.trim_start_matches('v').split(['.', '-']).map(str::parse::<u32>);
        match numbers.take(2).collect::<Result<Vec<u32>, _>>().as_deref() {
            Ok([major, minor]) => Ok((*major, *minor)),
            _ => Err(format!("the image tag {text:?} is no version")),
        }
    };
    let (plane, proxy) = (minor(plane)?, minor(proxy)?);
    if plane.0 != proxy.0 || proxy.1 > plane.1 {
        return Ok(2.0);
    }
    Ok(f64::from(plane.1 - proxy.1))
}

#[cfg(test)]
mod tests {
    use super::behind;

    // Mutations: a difference without its sign; a tag that is no version as version 0.
    #[test]
    fn a_proxy_may_be_behind_but_not_ahead() {
        let of = |plane: &str, proxy: &str| behind(plane, proxy).ok();
        assert_eq!(of("1.31.0", "1.31.4"), Some(0.0));
        assert_eq!(of("1.31.0", "1.30.0-distroless"), Some(1.0));
        assert_eq!(of("1.31.0", "1.28.9"), Some(3.0));
        assert_eq!(of("1.30.0", "1.31.0"), Some(2.0));
        assert_eq!(of("1.31.0", "latest"), None);
        assert_eq!(of("", "1.31.0"), None);
    }
}
