//! Traffic at work: polls Prometheus, turns edges into signals and proof into events, and measures the hosts
//! of one subject on demand.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::mpsc;

use super::{Boards, Closed, overflow};
use crate::app::queue::Input;
use crate::cluster::{Route, Watched, fqdn};
use crate::health::{InForce, NO_PROMETHEUS, Proven, Prover, probe};
use crate::model::event::EventKind;
use crate::model::facts::TrafficFacts;
use crate::model::history::{Proof, ProvenDestination, RevisionProven};
use crate::model::indicator::{Figure, Overflow, Reading};
use crate::model::subject::Subject;
use crate::rules::{Indicator, Queries, ROUTE_ERRORS, Reader};
use crate::sources::prometheus::{ByHost, Counts};

/// Hosts in one query: long enough to need few of them, short enough for Prometheus' request limit.
const HOSTS_PER_QUERY: usize = 200;

impl Boards {
    /// Polls until the driver is gone.
    pub async fn poll(self: Arc<Self>, every: Duration, out: mpsc::Sender<Input>) {
        let Some(indicator) = self.rules.indicators.get(ROUTE_ERRORS).cloned() else { return };
        let window_s = self.window(&indicator);
        let mut prover = Prover::new(self.history.hold_s, self.history.min_requests, window_s);
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let routes = self.poll_routes(&indicator, &mut prover, &out).await;
            if routes.is_err() || self.poll_services(&out).await.is_err() {
                return;
            }
        }
    }

    async fn poll_routes(
        &self,
        indicator: &Indicator,
        prover: &mut Prover,
        out: &mpsc::Sender<Input>,
    ) -> Result<(), Closed> {
        let read = self.read_routes(indicator, self.window(indicator)).await;
        let there: BTreeSet<Subject> =
            self.cluster.routes().iter().map(|route| route.subject.clone()).collect();
        // That a route is gone is told by its watch.
        self.lock().retain(indicator, |subject| there.contains(subject), self.clock.now());
        prover.retain(|subject| there.contains(subject));
        for (route, reading) in read {
            // What ails a rule's host is told of its route or Service; the rule only earns its proof.
            if route.subject.kind != "DestinationRule" {
                self.owners.tell(self.take(&reading), &self.cluster, out).await?;
            }
            let revision = InForce { subject: route.subject.clone(), spec_hash: route.spec_hash };
            if let Some(proven) = prover.take(revision, &probe(indicator, &reading)) {
                let subject = proven.revision.subject.clone();
                match self.prove(&route, proven).await {
                    Ok(event) => out.send(Input::event(event)).await.map_err(|_| Closed)?,
                    Err(why) => {
                        tracing::warn!(%subject, why, "revision not marked good");
                        prover.retell(&subject);
                    }
                }
            }
        }
        Ok(())
    }

    /// The indicators that are symptoms of services, for all services we see.
    async fn poll_services(&self, out: &mpsc::Sender<Input>) -> Result<(), Closed> {
        let of_services = |indicator: &&Indicator| {
            let polled = matches!(indicator.reader, Reader::Prometheus(_));
            polled
                && indicator.trigger.as_ref().is_some_and(|trigger| trigger.of.as_deref() == Some("Service"))
        };
        let indicators: Vec<&Indicator> = self.rules.indicators.iter().filter(of_services).collect();
        if indicators.is_empty() || self.prometheus.is_none() {
            return Ok(());
        }
        let services: Vec<Subject> =
            self.cluster.services().iter().map(|service| service.subject()).collect();
        let hosts: Vec<String> = services.iter().map(host).collect();
        for indicator in indicators {
            let window_s = queries(indicator).map_or(0, |queries| queries.window_s);
            let counts = self.counts_of_all(indicator, &hosts, window_s).await;
            let at = self.clock.now();
            let mut signals = Vec::new();
            for (subject, host) in services.iter().zip(&hosts) {
                let counts = counts.as_ref().map_err(Clone::clone);
                let figure =
                    counts.clone().and_then(|counts| figure(indicator, std::slice::from_ref(host), counts));
                let (indicator, subject) = (indicator.id.clone(), subject.clone());
                let mut signal = self.take(&Reading { indicator, subject, figure, at });
                if let (Some(signal), Ok(counts)) = (&mut signal, &counts) {
                    signal.labels.extend(overflow::evidence(counts.get(host)));
                }
                signals.extend(signal);
            }
            self.owners.tell(signals, &self.cluster, out).await?;
            self.tell_vanished(std::slice::from_ref(indicator), Watched::Services, out).await?;
        }
        Ok(())
    }

    /// Readings look back as far as the indicator says, but not longer than a revision has to prove itself.
    fn window(&self, indicator: &Indicator) -> u64 {
        queries(indicator).map_or(0, |queries| queries.window_s).min(self.history.hold_s).max(1)
    }

    /// How far back the readings of the polls look; those of a check are of now.
    pub(super) fn looks_back(&self, indicator: &Indicator) -> SignedDuration {
        let window_s = match &indicator.reader {
            Reader::Prometheus(_) if indicator.id == ROUTE_ERRORS => self.window(indicator),
            Reader::Prometheus(queries) => queries.window_s,
            Reader::Check(_) | Reader::Readings(_) => 0,
        };
        SignedDuration::from_secs(i64::try_from(window_s).unwrap_or(i64::MAX))
    }

    async fn read_routes(&self, indicator: &Indicator, window_s: u64) -> Vec<(Arc<Route>, Reading)> {
        // The requests of a host belong to the route in force: another one neither earns nor answers for them.
        let mut routes = self.cluster.in_force();
        routes.extend(self.cluster.rules_in_force());
        let mut hosts: Vec<String> = routes.iter().flat_map(|route| route.hosts.clone()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let counts = self.counts_of_all(indicator, &hosts, window_s).await;
        self.note(counts.as_ref().err());
        let at = self.clock.now();
        routes
            .into_iter()
            .map(|route| {
                let counts = counts.as_ref().map_err(Clone::clone);
                let figure = counts.and_then(|counts| figure(indicator, &route.hosts, counts));
                let reading =
                    Reading { indicator: indicator.id.clone(), subject: route.subject.clone(), figure, at };
                (route, reading)
            })
            .collect()
    }

    /// Counts of many hosts, in as few queries as Prometheus takes. Half an answer is none.
    pub(super) async fn counts_of_all(
        &self,
        indicator: &Indicator,
        hosts: &[String],
        window_s: u64,
    ) -> Result<ByHost<Counts>, String> {
        let mut all = ByHost::new();
        for chunk in hosts.chunks(HOSTS_PER_QUERY) {
            all.extend(self.counts(indicator, chunk, window_s).await?);
        }
        Ok(all)
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
        let prometheus = self.prometheus.as_ref().ok_or(NO_PROMETHEUS)?;
        let queries = queries(indicator)?;
        let (samples, bad) = queries.fill(hosts, window_s);
        let mut counts = prometheus.counts(&samples, &bad).await?;
        if let Some(templates) = &queries.overflow {
            let fill = |template: &str| Queries::fill_in(template, hosts, window_s);
            let (pending, active) = (fill(&templates.pending), fill(&templates.active));
            let (pending, active) = futures::join!(prometheus.values(&pending), prometheus.values(&active));
            overflow::add(&mut counts, &Overflow { pending: pending?, active: active? });
        }
        Ok(counts)
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

    /// Measures an indicator of traffic for the hosts of a subject.
    pub(super) async fn hosts_figure(
        &self,
        indicator: &Indicator,
        subject: &Subject,
        window_s: u64,
    ) -> Result<Figure, String> {
        let hosts = self.hosts(subject)?;
        let counts = self.counts(indicator, &hosts, window_s).await?;
        figure(indicator, &hosts, &counts)
    }

    /// The hosts whose requests are those of a subject.
    fn hosts(&self, subject: &Subject) -> Result<Vec<String>, String> {
        let unknown = || format!("{subject} is not in our cache");
        match subject.kind.as_str() {
            "VirtualService" | "HTTPRoute" => {
                Ok(self.cluster.route(subject).ok_or_else(unknown)?.hosts.clone())
            }
            "Service" => self.cluster.service(subject).map(|_| vec![host(subject)]).ok_or_else(unknown),
            "DestinationRule" => {
                let host = self.cluster.host_of_rule(subject).ok_or_else(unknown)?;
                if host.contains('*') {
                    return Err(format!("{subject} is for {host}: whose requests are meant is not clear"));
                }
                Ok(vec![host])
            }
            other => Err(format!("no requests are counted for objects of kind {other}")),
        }
    }

    /// The fact `traffic`.
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn traffic(&self, subject: &Subject) -> Result<TrafficFacts, String> {
        let indicator = self.rules.indicators.get(ROUTE_ERRORS).ok_or("no indicator measures routes")?;
        let window_s = self.window(indicator);
        let hosts = self.hosts(subject)?;
        let (counts, more) =
            futures::join!(self.counts(indicator, &hosts, window_s), self.figures(&hosts, window_s));
        let figure = figure(indicator, &hosts, &counts?)?;
        let [p99_ms, busy_ms, clients] = more;
        Ok(TrafficFacts {
            requests: figure.samples,
            error_rate: figure.value,
            success_rate: 1.0 - figure.value,
            window_s,
            p99_ms,
            concurrency: busy_ms.map(|busy| busy / 1000.0 / seconds(window_s)),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count of proxies"
            )]
            clients: clients.map(|count| count.min(f64::from(u32::MAX)) as u32),
            ready_endpoints: self.ready_endpoints(&hosts),
        })
    }

    /// Figures beside the counts, each absent where its series is: the 99th percentile, the milliseconds
    /// that all requests took together, and the clients. Of several hosts the first is the worst, the second
    /// adds up; clients of two hosts may be the same ones, so they are counted for one host only.
    async fn figures(&self, hosts: &[String], window_s: u64) -> [Option<f64>; 3] {
        let Some(prometheus) = &self.prometheus else { return [None; 3] };
        let fill = |template: &str| Queries::fill_in(template, hosts, window_s);
        let [p99, busy, clients] = FIGURES.map(fill);
        let (p99, busy, clients) =
            futures::join!(prometheus.values(&p99), prometheus.values(&busy), prometheus.values(&clients));
        let values = |found: Result<ByHost<f64>, String>| -> Option<Vec<f64>> {
            let found = found.ok()?;
            let values: Option<Vec<f64>> =
                hosts.iter().filter_map(|host| found.get(host)).map(|v| v.clone().ok()).collect();
            values.filter(|values| !values.is_empty())
        };
        [
            values(p99).and_then(|values| values.into_iter().reduce(f64::max)),
            values(busy).map(|values| values.iter().sum()),
            values(clients).filter(|_| hosts.len() == 1).and_then(|values| values.first().copied()),
        ]
    }

    fn ready_endpoints(&self, hosts: &[String]) -> Option<u32> {
        let [host] = hosts else { return None };
        let (name, rest) = host.split_once('.')?;
        let subject = Subject::service(rest.split('.').next()?, name);
        self.cluster.whole(Watched::EndpointSlices, &subject.namespace).ok()?;
        self.cluster.service(&subject)?;
        let ready = self.cluster.endpoints_of(&subject).iter().filter(|endpoint| endpoint.ready).count();
        u32::try_from(ready).ok()
    }
}

/// Queries of the optional figures, by destination service.
const FIGURES: [&str; 3] = [
    r#"histogram_quantile(0.99, sum by (destination_service, le) (increase(istio_request_duration_milliseconds_bucket{reporter="source",destination_service=~"$hosts"}[$window])))"#,
    r#"sum by (destination_service) (increase(istio_request_duration_milliseconds_sum{reporter="source",destination_service=~"$hosts"}[$window]))"#,
    r#"count by (destination_service) (sum by (destination_service, pod) (increase(istio_requests_total{reporter="source",destination_service=~"$hosts"}[$window])) > 0)"#,
];

/// The fully qualified host of a service.
pub(super) fn host(service: &Subject) -> String {
    fqdn(&service.name, &service.namespace)
}

#[expect(clippy::cast_precision_loss, reason = "windows are minutes")]
fn seconds(window_s: u64) -> f64 {
    window_s.max(1) as f64
}

pub(super) fn queries(indicator: &Indicator) -> Result<&Queries, String> {
    match &indicator.reader {
        Reader::Prometheus(queries) => Ok(queries),
        Reader::Check(_) | Reader::Readings(_) => {
            Err(format!("{} is not read from Prometheus", indicator.id))
        }
    }
}

/// Share over all hosts of a subject: of the bad ones, or where lower is worse, of the others. A subject none
/// of whose hosts has samples is unknown.
pub(super) fn figure(
    indicator: &Indicator,
    hosts: &[String],
    counts: &ByHost<Counts>,
) -> Result<Figure, String> {
    let found = hosts.iter().filter_map(|host| counts.get(host).cloned());
    let found: Vec<Counts> = found.collect::<Result<_, String>>()?;
    let samples: f64 = found.iter().map(|counts| counts.samples).sum();
    let bad: f64 = found.iter().map(overflow::bad).sum();
    if samples <= 0.0 {
        return Err("no requests in the window".to_owned());
    }
    let share = (bad / samples).clamp(0.0, 1.0);
    Ok(Figure { value: if indicator.bands.fall() { 1.0 - share } else { share }, samples })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{RuleFiles, Rules};

    // Mutation: the share of bad ones for both makes a service that answers nothing but 5xx a healthy one.
    #[test]
    fn a_share_runs_the_way_its_bands_do() {
        let rules = Rules::load(&RuleFiles::embedded(), None).unwrap().rules;
        let hosts = ["cart.shop.svc.cluster.local".to_owned()];
        let counts = ByHost::from([(
            hosts[0].clone(),
            Ok(Counts { samples: 100.0, bad: 10.0, overflow: Overflow::default() }),
        )]);
        let value = |id: &str| figure(rules.indicators.get(id).unwrap(), &hosts, &counts).unwrap().value;
        assert_eq!(value("traffic.overload_share"), 0.1);
        assert_eq!(value("traffic.success_rate"), 0.9);
    }
}
