//! The survey: every indicator read once for every subject that has it, for those who ask how the mesh is.
//! Nothing of it becomes a signal.

mod envoy;
mod planes;
mod proxies;
mod state;
mod usage;
mod ways;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::{Boards, objects, traffic};
use crate::cluster::{Mesh, Watched};
use crate::health::{Found, Survey, Taken};
use crate::model::facts::SyncState;
use crate::model::indicator::Figure;
use crate::model::subject::Subject;
use crate::rules::{Check, Indicator, MeshName, ROUTE_ERRORS, Reader};
use crate::sources::prometheus::{ByHost, Counts};

pub(super) use planes::Loads;

/// Which part of the cluster is surveyed.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only subjects of this namespace.
    pub namespace: Option<String>,
    /// Only this mesh.
    pub mesh: Option<Mesh>,
    /// Who asks the proxies.
    pub asking: Asking,
}

/// Who asks the proxies whether they answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asking {
    /// The survey itself, now.
    #[default]
    Now,
    /// The running agent, round by round: what it heard last counts.
    Rounds,
    /// The same, and nobody waits for the answer: who is asked for those who look only is left alone.
    Unasked,
}

impl Asking {
    /// How old an answer may be that costs a question to each proxy, or a list of all of them. The indicators of one
    /// look share what was heard; nobody acts by it while the agent runs.
    pub(super) fn oldest(self) -> Duration {
        match self {
            Self::Now => Duration::from_secs(5),
            Self::Rounds | Self::Unasked => Duration::from_secs(60),
        }
    }
}

impl Scope {
    pub(super) fn holds(&self, subject: &Subject) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == subject.namespace)
    }

    pub(super) fn is_of(&self, mesh: Mesh) -> bool {
        self.mesh.is_none_or(|wanted| wanted == mesh)
    }
}

/// The readings of one indicator, and why there may be more subjects.
pub(super) type Readings = (Vec<Taken>, Vec<String>);

impl Boards {
    /// Reads every indicator that this part of the cluster has.
    pub async fn survey(&self, scope: &Scope) -> Vec<Survey<'_>> {
        let meshes = self.looked_at(scope);
        let there = self.rules.indicators.iter().filter(|indicator| self.is_there(indicator, &meshes));
        let meshes = &meshes;
        let surveys = there.map(|indicator| async move {
            let (taken, gaps) = self.read_all(indicator, scope, meshes).await;
            let unread = taken.is_empty();
            let taken: Vec<Taken> = taken.into_iter().filter(|taken| scope.holds(&taken.subject)).collect();
            // What lies elsewhere is left out; what could not be read at all is not.
            (unread || !taken.is_empty()).then_some(Survey { indicator, taken, gaps })
        });
        futures::future::join_all(surveys).await.into_iter().flatten().collect()
    }

    /// Whether one of these meshes has an indicator.
    pub(super) fn is_there(&self, indicator: &Indicator, meshes: &BTreeSet<MeshName>) -> bool {
        match &indicator.reader {
            // Requests and acknowledgements are read as Istio tells them.
            Reader::Prometheus(_) | Reader::Check(Check::ConfigDistribution) => {
                meshes.contains(&MeshName::Istio)
            }
            Reader::Readings(ways) => ways::is_of(ways, meshes),
            Reader::Check(Check::CertificateValidity) => true,
            Reader::Check(_) => !meshes.is_empty(),
        }
    }

    /// The meshes whose proxies or control planes are seen.
    fn meshes(&self) -> BTreeSet<Mesh> {
        let proxies = self.cluster.proxies();
        let of_proxies = proxies.iter().filter_map(|pod| pod.proxy.as_ref().map(|proxy| proxy.mesh));
        of_proxies.chain(self.cluster.control_planes().iter().map(|plane| plane.mesh)).collect()
    }

    pub(super) async fn read_all(
        &self,
        indicator: &Indicator,
        scope: &Scope,
        meshes: &BTreeSet<MeshName>,
    ) -> Readings {
        match &indicator.reader {
            Reader::Prometheus(_) => self.read_hosts(indicator).await,
            Reader::Check(Check::ProxyLiveness) => self.read_proxies(scope).await,
            Reader::Check(Check::ConfigDistribution) => {
                self.read_standing(scope, |state| state == SyncState::Synced).await
            }
            Reader::Check(Check::ControlPlaneReady) => self.read_planes(scope),
            Reader::Check(Check::CertificateValidity) => self.read_certificates(),
            Reader::Readings(ways) => self.read_ways((indicator, ways), scope, meshes).await,
        }
    }

    pub(super) fn taken(&self, source: &str, (subject, found): (Subject, Found), way: String) -> Taken {
        let (note, source) = (String::new(), source.to_owned());
        let owner = self.cluster.pod(&subject).map(|pod| self.cluster.owner_of(&pod));
        Taken { subject, found, note, source, way, at: self.clock.now(), since: None, owner }
    }

    /// A time of the cluster's clocks, by ours.
    pub(super) fn by_our_clock(&self, at: Timestamp) -> Timestamp {
        let ago = self.clock.elsewhere().duration_since(at);
        self.clock.now().saturating_sub(ago).unwrap_or(at)
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
        let counts = match &self.prometheus {
            Some(_) => self.counts_of_all(indicator, &hosts, queries.window_s).await,
            None => self.scraped_counts(indicator, &hosts),
        };
        let source = self.metrics_source();
        let read = |(subject, hosts): (Subject, Vec<String>)| {
            let found = match &counts {
                Err(why) => Found::Unread(why.clone()),
                Ok(counts) if is_quiet(&hosts, counts) => Found::Idle("no requests in the window".to_owned()),
                Ok(counts) => found(traffic::figure(indicator, &hosts, counts)),
            };
            let (samples, bad) = queries.fill(&hosts, queries.window_s);
            // As one asks it oneself: a host without errors has no series of them.
            let share = format!("({bad} or 0 * {samples}) / {samples}");
            let way = if indicator.bands.fall() { format!("1 - {share}") } else { share };
            self.taken(source, (subject, found), way)
        };
        (subjects.into_iter().map(read).collect(), gaps)
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

/// A number of objects or requests as a figure.
fn count(number: impl TryInto<u32>) -> f64 {
    f64::from(number.try_into().unwrap_or(u32::MAX))
}

pub(super) fn found(figure: Result<Figure, String>) -> Found {
    figure.map_or_else(Found::Unread, Found::Figure)
}

/// Whether no request to any of these hosts was reported.
fn is_quiet(hosts: &[String], counts: &ByHost<Counts>) -> bool {
    let silent = |counts: &Result<Counts, String>| matches!(counts, Ok(counts) if counts.samples <= 0.0);
    hosts.iter().all(|host| counts.get(host).is_none_or(silent))
}
