//! The survey: every indicator read once for every subject that has it, for those who ask how the mesh is.
//! Nothing of it becomes a signal.

mod proxies;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Boards, objects, traffic};
use crate::cluster::{Mesh, Pod, Watched};
use crate::health::{Found, Survey, Taken};
use crate::model::facts::SyncState;
use crate::model::indicator::Figure;
use crate::model::subject::Subject;
use crate::rules::{Check, Indicator, ROUTE_ERRORS, Reader};
use crate::sources::prometheus::{ByHost, Counts};

/// A push that is under way is acknowledged within it; what still waits then is stale.
const PUSHED: Duration = Duration::from_secs(3);

/// Which part of the cluster is surveyed.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only subjects of this namespace.
    pub namespace: Option<String>,
    /// Only this mesh.
    pub mesh: Option<Mesh>,
}

impl Scope {
    pub(super) fn holds(&self, subject: &Subject) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == subject.namespace)
    }

    pub(super) fn is_of(&self, mesh: Mesh) -> bool {
        self.mesh.is_none_or(|wanted| wanted == mesh)
    }

    fn is_all(&self) -> bool {
        self.namespace.is_none() && self.mesh.is_none()
    }
}

/// The readings of one indicator, and why there may be more subjects.
pub(super) type Readings = (Vec<Taken>, Vec<String>);

impl Boards {
    /// Reads every indicator that this part of the cluster has.
    pub async fn survey(&self, scope: &Scope) -> Vec<Survey<'_>> {
        let meshes = self.meshes();
        let has = |mesh: Mesh| scope.is_of(mesh) && (meshes.is_empty() || meshes.contains(&mesh));
        // Requests and acknowledgements are read as Istio tells them.
        let of_istio = |reader: &Reader| {
            matches!(reader, Reader::Prometheus(_) | Reader::Check(Check::ConfigDistribution))
        };
        let indicators = self.rules.indicators.iter();
        let there = indicators.filter(|indicator| !of_istio(&indicator.reader) || has(Mesh::Istio));
        let surveys = there.map(|indicator| async move {
            let (taken, gaps) = self.read_all(indicator, scope).await;
            let taken = taken.into_iter().filter(|taken| scope.holds(&taken.subject)).collect();
            Survey { indicator, taken, gaps }
        });
        let surveys = futures::future::join_all(surveys).await;
        // Of a part of the cluster nobody expects everything.
        surveys.into_iter().filter(|survey| scope.is_all() || !survey.taken.is_empty()).collect()
    }

    /// The meshes whose proxies or control planes are seen.
    fn meshes(&self) -> BTreeSet<Mesh> {
        let proxies = self.cluster.proxies();
        let of_proxies = proxies.iter().filter_map(|pod| pod.proxy.as_ref().map(|proxy| proxy.mesh));
        of_proxies.chain(self.cluster.control_planes().iter().map(|plane| plane.mesh)).collect()
    }

    async fn read_all(&self, indicator: &Indicator, scope: &Scope) -> Readings {
        match &indicator.reader {
            Reader::Prometheus(_) => self.read_hosts(indicator).await,
            Reader::Check(Check::ProxyLiveness) => self.read_proxies(scope).await,
            Reader::Check(Check::ConfigDistribution) => self.read_sync(scope).await,
            Reader::Check(Check::ControlPlaneReady) => self.read_planes(scope),
            Reader::Check(Check::CertificateValidity) => self.read_certificates(),
        }
    }

    pub(super) fn taken(&self, source: &str, (subject, found): (Subject, Found), way: String) -> Taken {
        let (note, source) = (String::new(), source.to_owned());
        Taken { subject, found, note, source, way, at: self.clock.now() }
    }

    /// Routes in force with their hosts, and the services that no route leads to; or all services.
    fn hosts_of_all(&self, indicator: &Indicator) -> (Vec<(Subject, Vec<String>)>, Vec<String>) {
        let mut gaps = self.cluster.gaps(Watched::Services);
        let services = self.cluster.services();
        let services = services.iter().map(|service| service.subject());
        let mut services: Vec<_> =
            services.map(|service| (service.clone(), traffic::host(&service))).collect();
        let mut all = Vec::new();
        if indicator.id == ROUTE_ERRORS {
            gaps.extend(self.cluster.troubles());
            let routes = self.cluster.in_force();
            let routes = routes.iter().filter(|route| !route.hosts.is_empty());
            all.extend(routes.map(|route| (route.subject.clone(), route.hosts.clone())));
            let routed: BTreeSet<&String> = all.iter().flat_map(|(_, hosts)| hosts).collect();
            services.retain(|(_, host)| !routed.contains(host));
        }
        all.extend(services.into_iter().map(|(service, host)| (service, vec![host])));
        (all, gaps)
    }

    async fn read_hosts(&self, indicator: &Indicator) -> Readings {
        let Ok(queries) = traffic::queries(indicator) else { return Readings::default() };
        let (subjects, gaps) = self.hosts_of_all(indicator);
        let all: BTreeSet<String> = subjects.iter().flat_map(|(_, hosts)| hosts.clone()).collect();
        let hosts: Vec<String> = all.into_iter().collect();
        let counts = self.counts_of_all(indicator, &hosts, queries.window_s).await;
        let read = |(subject, hosts): (Subject, Vec<String>)| {
            let found = match &counts {
                Err(why) => Found::Unread(why.clone()),
                Ok(counts) if is_quiet(&hosts, counts) => Found::Idle("no requests in the window".to_owned()),
                Ok(counts) => found(traffic::figure(indicator, &hosts, counts)),
            };
            let (samples, bad) = queries.fill(&hosts, queries.window_s);
            let way = if indicator.bands.fall() {
                format!("1 - {bad} / {samples}")
            } else {
                format!("{bad} / {samples}")
            };
            self.taken("prometheus", (subject, found), way)
        };
        (subjects.into_iter().map(read).collect(), gaps)
    }

    async fn read_sync(&self, scope: &Scope) -> Readings {
        const WAY: &str = "GET /debug/syncz of every replica of istiod";
        let gaps = self.cluster.gaps(Watched::Pods);
        let ours = |pod: &Arc<Pod>| pod.proxy.as_ref().is_some_and(|proxy| proxy.mesh == Mesh::Istio);
        let pods: Vec<Arc<Pod>> = self.asked(scope).into_iter().filter(ours).collect();
        let mut last = self.picture().await;
        let waits = |merged: &crate::health::Merged| {
            let synced =
                |pod: &Arc<Pod>| merged.sync(&pod.subject()).is_ok_and(|s| s.state == SyncState::Synced);
            pods.iter().any(|pod| !synced(pod))
        };
        if last.as_ref().is_ok_and(|merged| waits(merged)) {
            tokio::time::sleep(PUSHED).await;
            last = self.picture().await;
        }
        let read = |pod: &Arc<Pod>| {
            let sync = last.as_ref().map_err(Clone::clone).and_then(|merged| merged.sync(&pod.subject()));
            let note = sync.as_ref().map(super::istiod::standing).unwrap_or_default();
            let figure = sync.map(|sync| {
                let value = if sync.state == SyncState::Synced { 1.0 } else { 0.0 };
                Figure { value, samples: 1.0 }
            });
            let found = self.too_early(pod).map_or_else(|| found(figure), Found::Idle);
            Taken { note, ..self.taken("istiod", (pod.subject(), found), WAY.to_owned()) }
        };
        (pods.iter().map(read).collect(), gaps)
    }

    fn read_planes(&self, scope: &Scope) -> Readings {
        let planes = self.cluster.control_planes();
        let mut gaps = self.cluster.gaps(Watched::Deployments);
        let read = planes.iter().filter(|plane| scope.is_of(plane.mesh)).map(|plane| {
            let found = if plane.workload.replicas == 0 {
                Found::Idle("it is scaled to zero".to_owned())
            } else {
                found(objects::ready(&plane.workload))
            };
            let subject = plane.subject();
            let way = format!("watch of {subject}");
            self.taken("kubernetes", (subject, found), way)
        });
        let read: Vec<Taken> = read.collect();
        if read.is_empty() {
            gaps.push("no control plane is seen (istiod in istio-system, linkerd-destination)".to_owned());
        }
        (read, gaps)
    }

    fn read_certificates(&self) -> Readings {
        let now = self.clock.elsewhere();
        let mut gaps = self.cluster.gaps(Watched::Certificates);
        let read = self.cluster.certificates().into_iter().map(|certificate| {
            let subject = certificate.subject();
            let way = format!("status of {subject}");
            self.taken("kubernetes", (subject, found(objects::life(&certificate).validity(now))), way)
        });
        let read: Vec<Taken> = read.collect();
        if read.is_empty() && gaps.is_empty() {
            gaps.push("cert-manager has no Certificate here".to_owned());
        }
        (read, gaps)
    }
}

pub(super) fn found(figure: Result<Figure, String>) -> Found {
    figure.map_or_else(Found::Unread, Found::Figure)
}

/// Whether no request to any of these hosts was reported.
fn is_quiet(hosts: &[String], counts: &ByHost<Counts>) -> bool {
    let silent = |counts: &Result<Counts, String>| matches!(counts, Ok(counts) if counts.samples <= 0.0);
    hosts.iter().all(|host| counts.get(host).is_none_or(silent))
}
