//! The health board at work: polls Prometheus, turns edges into signals and proof into events, and
//! measures for one incident on demand.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::queue::Input;
use crate::clock::Clock;
use crate::cluster::{Cluster, Route};
use crate::config::History;
use crate::engine::State;
use crate::health::{Board, Fired, InForce, Proven, Prover, probe};
use crate::model::event::EventKind;
use crate::model::facts::TrafficFacts;
use crate::model::history::{Proof, ProvenDestination, RevisionProven};
use crate::model::indicator::{Figure, Probe, Reading};
use crate::model::subject::Subject;
use crate::rules::{Indicator, Queries, ROUTE_ERRORS, Reader, Rules};
use crate::sources::prometheus::{ByHost, Counts, Prometheus};

/// Hosts in one query: long enough to need few of them, short enough for Prometheus' request limit.
const HOSTS_PER_QUERY: usize = 200;

/// The board with what it reads from.
pub struct Boards {
    cluster: Arc<Cluster>,
    rules: Arc<Rules>,
    prometheus: Option<Prometheus>,
    clock: Clock,
    history: History,
    board: Mutex<Board>,
    trouble: Mutex<Option<String>>,
}

impl Boards {
    /// A board over these sources; without Prometheus every indicator is unknown.
    #[must_use]
    pub fn new(
        cluster: Arc<Cluster>,
        rules: Arc<Rules>,
        prometheus: Option<Prometheus>,
        clock: Clock,
        history: History,
    ) -> Self {
        Self {
            cluster,
            rules,
            prometheus,
            clock,
            history,
            board: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// Takes up what was firing when the process ended.
    pub fn resume(&self, state: &State) {
        let at = self.clock.now();
        for key in state.fired_by("prometheus") {
            let fired = Fired { source: "prometheus", family: &key.family, subject: &key.owner };
            self.lock().resume(&self.rules.indicators, fired, at);
        }
    }

    /// Whether Prometheus answered last time; `None` where none is configured.
    #[must_use]
    pub fn readable(&self) -> Option<bool> {
        self.prometheus.as_ref()?;
        Some(self.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_none())
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls until the driver is gone.
    pub async fn poll(self: Arc<Self>, every: Duration, out: mpsc::Sender<Input>) {
        let Some(indicator) = self.rules.indicators.get(ROUTE_ERRORS).cloned() else { return };
        let window_s = self.window(&indicator);
        let mut prover = Prover::new(self.history.hold_s, self.history.min_requests, window_s);
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let read = self.read_all(&indicator, window_s).await;
            let there: BTreeSet<Subject> =
                self.cluster.routes().iter().map(|route| route.subject.clone()).collect();
            // That a route is gone is told by its watch.
            self.lock().retain(&indicator, |subject| there.contains(subject), self.clock.now());
            prover.retain(|subject| there.contains(subject));
            for (route, reading) in read {
                // What ails a rule's host is told of its route or Service; the rule only earns its proof.
                let ours = route.subject.kind != "DestinationRule";
                let signal = ours.then(|| self.lock().take(&self.rules.indicators, &reading)).flatten();
                if let Some(signal) = signal
                    && out.send(Input::event(EventKind::Signal { signal })).await.is_err()
                {
                    return;
                }
                let revision = InForce { subject: route.subject.clone(), spec_hash: route.spec_hash };
                if let Some(proven) = prover.take(revision, &probe(&indicator, &reading)) {
                    let subject = proven.revision.subject.clone();
                    match self.prove(&route, proven).await {
                        Ok(event) => {
                            if out.send(Input::event(event)).await.is_err() {
                                return;
                            }
                        }
                        Err(why) => {
                            tracing::warn!(%subject, why, "revision not marked good");
                            prover.retell(&subject);
                        }
                    }
                }
            }
        }
    }

    /// Readings look back as far as the indicator says, but not longer than a revision has to prove itself.
    fn window(&self, indicator: &Indicator) -> u64 {
        queries(indicator).map_or(0, |queries| queries.window_s).min(self.history.hold_s).max(1)
    }

    async fn read_all(&self, indicator: &Indicator, window_s: u64) -> Vec<(Arc<Route>, Reading)> {
        // The requests of a host belong to the route in force: another one neither earns nor answers for them.
        let mut routes = self.cluster.in_force();
        routes.extend(self.cluster.rules_in_force());
        let mut hosts: Vec<String> = routes.iter().flat_map(|route| route.hosts.clone()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let mut counts: Result<ByHost<Counts>, String> = Ok(ByHost::new());
        for chunk in hosts.chunks(HOSTS_PER_QUERY) {
            let found = self.counts(indicator, chunk, window_s).await;
            counts = match (counts, found) {
                (Ok(mut all), Ok(some)) => {
                    all.extend(some);
                    Ok(all)
                }
                (Err(why), _) | (_, Err(why)) => Err(why),
            };
        }
        self.note(counts.as_ref().err());
        let at = self.clock.now();
        routes
            .into_iter()
            .map(|route| {
                let figure =
                    counts.as_ref().map_err(Clone::clone).and_then(|counts| figure(&route.hosts, counts));
                let reading =
                    Reading { indicator: indicator.id.clone(), subject: route.subject.clone(), figure, at };
                (route, reading)
            })
            .collect()
    }

    fn note(&self, why: Option<&String>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*trouble, why) {
            (None, Some(why)) => tracing::warn!(why, "prometheus not readable; traffic is unknown"),
            (Some(_), None) => tracing::info!("prometheus readable again"),
            _ => {}
        }
        *trouble = why.cloned();
    }

    async fn counts(
        &self,
        indicator: &Indicator,
        hosts: &[String],
        window_s: u64,
    ) -> Result<ByHost<Counts>, String> {
        let prometheus = self.prometheus.as_ref().ok_or("no Prometheus is configured")?;
        let (samples, bad) = queries(indicator)?.fill(hosts, window_s);
        prometheus.counts(&samples, &bad).await
    }

    async fn prove(&self, route: &Route, proven: Proven) -> Result<EventKind, String> {
        let destinations = self.proven_destinations(route).await?;
        let proof = Proof::Traffic { requests: proven.requests.round(), since: proven.since };
        let (subject, spec_hash) = (proven.revision.subject, proven.revision.spec_hash);
        let revision = RevisionProven { subject, spec_hash, proof, destinations };
        Ok(EventKind::RevisionProven { revision })
    }

    /// Where a route leads now, as proof keeps it.
    ///
    /// # Errors
    /// Nobody could look.
    pub async fn proven_destinations(&self, route: &Route) -> Result<Vec<ProvenDestination>, String> {
        let found = self.cluster.look(&route.subject.namespace, &self.cluster.leads_of(route)).await?;
        Ok(found
            .into_iter()
            .map(|d| ProvenDestination {
                host: d.host,
                subset: d.subset,
                weight: d.weight,
                ready: Some(d.ready_endpoints),
            })
            .collect())
    }

    /// Measures an indicator for a subject now, looking back at most to `since`.
    pub async fn measure(&self, id: &str, subject: &Subject, since: Option<Timestamp>) -> Probe {
        let now = self.clock.now();
        let Some(indicator) = self.rules.indicators.get(id) else {
            let why = format!("no indicator is called {id}");
            let level = crate::model::indicator::Level::Unknown;
            return Probe { indicator: id.to_owned(), figure: None, level, why, at: now };
        };
        let passed = since.map(|since| u64::try_from(now.duration_since(since).as_secs()).unwrap_or(0));
        let window_s = queries(indicator).map_or(0, |queries| queries.window_s);
        let window_s = passed.map_or(window_s, |passed| passed.min(window_s));
        let figure = if window_s == 0 {
            Err("nothing has been measured since the act yet".to_owned())
        } else {
            self.figure(indicator, subject, window_s).await
        };
        let reading =
            Reading { indicator: id.to_owned(), subject: subject.clone(), figure, at: self.clock.now() };
        probe(indicator, &reading)
    }

    async fn figure(
        &self,
        indicator: &Indicator,
        subject: &Subject,
        window_s: u64,
    ) -> Result<Figure, String> {
        let route = self.cluster.route(subject).ok_or_else(|| format!("{subject} is not in our cache"))?;
        let counts = self.counts(indicator, &route.hosts, window_s).await?;
        figure(&route.hosts, &counts)
    }

    /// The fact `traffic`.
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn traffic(&self, subject: &Subject) -> Result<TrafficFacts, String> {
        let indicator = self.rules.indicators.get(ROUTE_ERRORS).ok_or("no indicator measures routes")?;
        let window_s = self.window(indicator);
        let figure = self.figure(indicator, subject, window_s).await?;
        Ok(TrafficFacts {
            requests: figure.samples,
            error_rate: figure.value,
            success_rate: 1.0 - figure.value,
            window_s,
            p99_ms: None,
            concurrency: None,
            clients: None,
            ready_endpoints: None,
        })
    }
}

fn queries(indicator: &Indicator) -> Result<&Queries, String> {
    match &indicator.reader {
        Reader::Prometheus(queries) => Ok(queries),
        Reader::Check(_) => Err(format!("{} is not read from Prometheus", indicator.id)),
    }
}

/// Error rate over all hosts of a route. A route none of whose hosts has samples is unknown.
fn figure(hosts: &[String], counts: &ByHost<Counts>) -> Result<Figure, String> {
    let found = hosts.iter().filter_map(|host| counts.get(host).cloned());
    let found: Vec<Counts> = found.collect::<Result<_, String>>()?;
    let samples: f64 = found.iter().map(|counts| counts.samples).sum();
    let bad: f64 = found.iter().map(|counts| counts.bad).sum();
    if samples <= 0.0 {
        return Err("no requests in the window".to_owned());
    }
    Ok(Figure { value: (bad / samples).clamp(0.0, 1.0), samples })
}
