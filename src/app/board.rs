//! The health board at work: readings and conditions to signals, and measures for one incident on demand.
//! Each source has a file of its own below.

mod admin;
mod aged;
mod earlier;
mod istiod;
mod kept;
mod objects;
mod overflow;
mod pages;
mod pods;
mod proxies;
mod scraped;
mod survey;
mod tell;
mod traffic;
mod triggers;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::queue::Input;
use crate::clock::Clock;
use crate::cluster::{Cluster, Watched};
use crate::config::History;
use crate::engine::State;
use crate::health::{Board, Conditions, Fired, Waits, probe, sources};
use crate::model::change::Change;
use crate::model::indicator::{Figure, Level, Probe, Reading};
use crate::model::reason::Reason;
use crate::model::record::Draft;
use crate::model::signal::Signal;
use crate::model::subject::Subject;
use crate::rules::{Check, Indicator, Reader, Rules};
use crate::sources::agent::Agent;
use crate::sources::api_server::ApiServer;
use crate::sources::envoy::EnvoyAdmin;
use crate::sources::istiod::Istiod;
use crate::sources::prometheus::Prometheus;
use crate::sources::proxy_check::ProxyCheck;
use crate::sources::usage::ResourceMetrics;
pub use pages::{Page, PageOf};
pub use survey::{Asking, Scope};
use tell::{Closed, Owners};

/// Names under which our own sources speak; conditions and indicators add theirs.
const SOURCES: [&str; 4] = ["prometheus", "proxy_check", "istiod", "kubernetes"];

/// The board with what it reads from.
pub struct Boards {
    cluster: Arc<Cluster>,
    rules: Arc<Rules>,
    prometheus: Option<Prometheus>,
    check: Option<ProxyCheck>,
    istiod: Option<Istiod>,
    admin: Option<EnvoyAdmin>,
    agent: Option<Agent>,
    api_server: ApiServer,
    usage: ResourceMetrics,
    clock: Clock,
    history: History,
    board: Mutex<Board>,
    conditions: Mutex<Conditions>,
    waits: Mutex<Waits>,
    picture: istiod::Picture,
    owners: Owners,
    trouble: Mutex<Option<String>>,
    overview: kept::Kept,
    heard: admin::Kept,
    scraped: scraped::Scraped,
    connected: aged::Aged<survey::Loads>,
}

/// Whom an indicator is measured for.
#[derive(Clone, Copy, Debug)]
pub struct Whom<'a> {
    /// The subject.
    pub subject: &'a Subject,
    /// Its top owner, which stands for it where it was replaced.
    pub owner: &'a Subject,
}

impl Boards {
    /// A board over these sources; without Prometheus every indicator of traffic is unknown.
    #[must_use]
    pub fn new(
        cluster: Arc<Cluster>,
        rules: Arc<Rules>,
        prometheus: Option<Prometheus>,
        clock: Clock,
        history: History,
    ) -> Self {
        // Where Prometheus answers nothing is scraped, and no expression has to be read for it.
        let scraped = scraped::Scraped::of(prometheus.is_none().then_some(&rules.indicators));
        let (api_server, usage) =
            (ApiServer::new(cluster.client.clone()), ResourceMetrics::new(cluster.client.clone()));
        Self {
            cluster,
            rules,
            prometheus,
            check: None,
            istiod: None,
            admin: None,
            agent: None,
            api_server,
            usage,
            clock,
            history,
            board: Mutex::default(),
            conditions: Mutex::default(),
            waits: Mutex::default(),
            picture: istiod::Picture::default(),
            owners: Owners::default(),
            trouble: Mutex::default(),
            overview: kept::Kept::default(),
            heard: admin::Kept::default(),
            scraped,
            connected: aged::Aged::default(),
        }
    }

    /// With a way to ask proxies, and one to ask istiod.
    #[must_use]
    pub fn with_mesh(self, check: Option<ProxyCheck>, istiod: Option<Istiod>) -> Self {
        Self { check, istiod, ..self }
    }

    /// With a way to the admin ports of Istio's proxies, and to the pages of metrics of their agents.
    #[must_use]
    pub fn with_proxies(self, admin: Option<EnvoyAdmin>, agent: Option<Agent>) -> Self {
        Self { admin, agent, ..self }
    }

    /// Takes up what was firing when the process ended.
    pub fn resume(&self, state: &State) {
        let at = self.clock.now();
        let mut sources: BTreeSet<String> = SOURCES.into_iter().chain(sources()).map(str::to_owned).collect();
        sources.extend(self.rules.indicators.iter().map(Indicator::source));
        for source in &sources {
            for key in state.fired_by(source) {
                let subject = self.owners.resume(key);
                let fired = Fired { source, family: &key.family, subject: &subject };
                self.lock().resume(&self.rules.indicators, fired, at);
                self.conditions().resume(fired, at);
            }
        }
    }

    /// Takes up what was measured to be over: a relapse is news.
    pub fn heed(&self, state: &State, draft: &Draft) {
        for change in &draft.changes {
            let Change::Ended { incident, reason: Reason::Recovered { .. }, .. } = change else { continue };
            let Some(case) = state.incidents.get(incident) else { continue };
            let of = (case.key.family.as_str(), &case.subject);
            let looks_back = |indicator: &Indicator| self.looks_back(indicator);
            self.lock().recovered(&self.rules.indicators, of, draft.event.at, looks_back);
        }
    }

    /// Whether Prometheus answered last time; `None` where none is configured.
    #[must_use]
    pub fn readable(&self) -> Option<bool> {
        self.prometheus.as_ref()?;
        Some(self.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_none())
    }

    /// Whether an indicator has a source that is configured; one without will not be readable later either.
    #[must_use]
    pub fn has_source(&self, id: &str) -> bool {
        match self.rules.indicators.get(id).map(|indicator| &indicator.reader) {
            Some(Reader::Prometheus(_)) => self.prometheus.is_some(),
            Some(Reader::Check(Check::ProxyLiveness)) => self.check.is_some(),
            Some(Reader::Check(Check::ConfigDistribution)) => self.istiod.is_some(),
            Some(Reader::Check(Check::ControlPlaneReady | Check::CertificateValidity)) => true,
            // No act is measured by it.
            Some(Reader::Readings(_)) | None => false,
        }
    }

    /// Measures an indicator for a subject now; where it looks back, at most to `since`.
    pub async fn measure(&self, id: &str, whom: Whom<'_>, since: Option<Timestamp>) -> Probe {
        let now = self.clock.now();
        let Some(indicator) = self.rules.indicators.get(id) else {
            let (level, why) = (Level::Unknown, format!("no indicator is called {id}"));
            return Probe { indicator: id.to_owned(), figure: None, level, why, at: now };
        };
        let figure = self.figure(indicator, &whom, since).await;
        let (indicator_id, subject) = (id.to_owned(), whom.subject.clone());
        let reading = Reading { indicator: indicator_id, subject, figure, at: self.clock.now() };
        probe(indicator, &reading)
    }

    async fn figure(
        &self,
        indicator: &Indicator,
        whom: &Whom<'_>,
        since: Option<Timestamp>,
    ) -> Result<Figure, String> {
        match &indicator.reader {
            Reader::Prometheus(queries) => {
                let passed = |since| self.clock.now().duration_since(since).as_secs();
                let passed = since.map(|since| u64::try_from(passed(since)).unwrap_or(0));
                let window_s = passed.map_or(queries.window_s, |passed| passed.min(queries.window_s));
                if window_s == 0 {
                    return Err("nothing has been measured since the act yet".to_owned());
                }
                self.hosts_figure(indicator, whom.subject, window_s).await
            }
            Reader::Check(Check::ProxyLiveness) => self.liveness(whom).await,
            Reader::Check(Check::ConfigDistribution) => self.distribution(whom).await,
            Reader::Check(Check::ControlPlaneReady) => self.discovery(whom),
            Reader::Check(Check::CertificateValidity) => self.validity(whom),
            Reader::Readings(_) => Err(format!("{}: no act is measured by it", indicator.id)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn conditions(&self) -> MutexGuard<'_, Conditions> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, reading: &Reading) -> Option<Signal> {
        self.lock().take(&self.rules.indicators, reading)
    }

    /// Whether an object may be there: also while its watch cannot be believed.
    fn may_be_there(&self, subject: &Subject, watched: Watched) -> bool {
        let there = match subject.kind.as_str() {
            "Pod" => self.cluster.pod(subject).is_some(),
            "Service" => self.cluster.service(subject).is_some(),
            "Certificate" => self.cluster.certificate(subject).is_some(),
            _ => self.cluster.workload(subject).is_some(),
        };
        there || self.cluster.whole(watched, &subject.namespace).is_err()
    }

    /// Tells of the subjects of these indicators that vanished while they fired.
    async fn tell_vanished(
        &self,
        indicators: &[Indicator],
        watched: Watched,
        out: &mpsc::Sender<Input>,
    ) -> Result<(), Closed> {
        let at = self.clock.now();
        let mut signals = Vec::new();
        for indicator in indicators {
            let keep = |subject: &Subject| self.may_be_there(subject, watched);
            signals.extend(self.lock().retain(indicator, keep, at));
        }
        self.owners.tell(signals, &self.cluster, out).await
    }
}

#[cfg(test)]
mod tests;
