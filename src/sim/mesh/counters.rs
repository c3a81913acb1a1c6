//! Counters over time, as Prometheus would have scraped them every second.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::model::series::Labels;
use crate::sim::world::SERVICES;

/// Seconds of which every one is kept.
const KEPT_S: i64 = 900;
/// Seconds of which one in [`EVERY_S`] is kept: an hour's window, and those of five minutes before it.
pub(super) const PAST_S: i64 = 4_200;
const EVERY_S: i64 = 30;

/// Upper bounds of Istio's duration histogram, in milliseconds; above the last there is no bound.
pub(in crate::sim) const BUCKETS: [f64; 15] = [
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 30_000.0,
    60_000.0,
];

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sim) enum Metric {
    Requests,
    DurationSum,
    DurationCount,
    /// Requests within a bucket, by its number; not those below it.
    Bucket(usize),
    PendingOverflow,
    ActiveOverflow,
}

/// Whose proxy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sim) enum Side {
    Client,
    Server,
}

/// One series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sim) struct Series {
    pub(in crate::sim) metric: Metric,
    pub(in crate::sim) side: Side,
    pub(in crate::sim) service: usize,
    pub(in crate::sim) subset: Arc<str>,
    pub(in crate::sim) namespace: Arc<str>,
    pub(in crate::sim) pod: Arc<str>,
    pub(in crate::sim) code: u16,
    pub(in crate::sim) flags: &'static str,
}

impl Series {
    pub(super) fn new(service: usize, subset: &str, namespace: &Arc<str>, pod: &Arc<str>) -> Self {
        Self {
            metric: Metric::Requests,
            side: Side::Client,
            service,
            subset: Arc::from(subset),
            namespace: Arc::clone(namespace),
            pod: Arc::clone(pod),
            code: 0,
            flags: "",
        }
    }

    pub(in crate::sim) fn of(&self, metric: Metric) -> Self {
        Self { metric, ..self.clone() }
    }

    /// As the server's proxy counts it, whatever its pod and its client; nothing of what did not reach it. A
    /// client that went away before the answer (UT) is one that hung up (DC).
    pub(in crate::sim) fn served(&self) -> Option<Self> {
        let (code, flags) = match self.flags {
            "-" => (self.code, "-"),
            "UT" => (0, "DC"),
            _ => return None,
        };
        Some(Self {
            side: Side::Server,
            namespace: Arc::from(""),
            pod: Arc::from(""),
            code,
            flags,
            ..self.clone()
        })
    }

    /// Whether it counts requests to a service of this name.
    pub(in crate::sim) fn is_of(&self, service: &str) -> bool {
        SERVICES[self.service].name == service
    }

    /// Its labels.
    pub(in crate::sim) fn labels(&self) -> Labels {
        let service = &SERVICES[self.service];
        let mut labels = Labels::new();
        let mut put = |name: &str, value: &str| {
            labels.insert(name.to_owned(), value.to_owned());
        };
        if self.side == Side::Client {
            put("namespace", &self.namespace);
            put("pod", &self.pod);
        }
        if matches!(self.metric, Metric::PendingOverflow | Metric::ActiveOverflow) {
            put("cluster_name", &format!("outbound|80|{}|{}", self.subset, service.host()));
            return labels;
        }
        put("reporter", if self.side == Side::Client { "source" } else { "destination" });
        put("destination_service", &service.host());
        put("destination_service_name", service.name);
        put("destination_service_namespace", service.namespace);
        put("destination_version", if self.subset.is_empty() { "unknown" } else { &self.subset });
        put("source_workload_namespace", service.client.0);
        put("response_code", &self.code.to_string());
        put("response_flags", self.flags);
        labels
    }
}

/// The value of one series over time.
pub(in crate::sim) struct Counter {
    labels: Labels,
    begun: i64,
    points: VecDeque<(i64, f64)>,
    past: VecDeque<(i64, f64)>,
}

impl Counter {
    /// A counter at zero.
    pub(super) fn new(labels: Labels, second: i64) -> Self {
        Self { labels, begun: second, points: VecDeque::from([(second, 0.0)]), past: VecDeque::new() }
    }

    pub(super) fn add(&mut self, amount: f64, second: i64) {
        let last = self.points.back().copied();
        let total = last.map_or(0.0, |(_, total)| total) + amount;
        match self.points.back_mut() {
            Some(point) if point.0 == second => point.1 = total,
            _ => self.points.push_back((second, total)),
        }
        while self.points.get(1).is_some_and(|(at, _)| *at < second - KEPT_S) {
            let Some(old) = self.points.pop_front() else { break };
            if self.past.back().is_none_or(|(at, _)| old.0 - at >= EVERY_S) {
                self.past.push_back(old);
            }
        }
        while self.past.get(1).is_some_and(|(at, _)| *at < second - PAST_S) {
            self.past.pop_front();
        }
    }

    pub(in crate::sim) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The second before it first counted, in which it was zero.
    pub(in crate::sim) fn begun(&self) -> i64 {
        self.begun - 1
    }

    pub(in crate::sim) fn at(&self, second: i64) -> f64 {
        let before = |points: &VecDeque<(i64, f64)>| {
            let index = points.partition_point(|(at, _)| *at <= second).checked_sub(1)?;
            points.get(index).map(|(_, total)| *total)
        };
        // What was forgotten began with the first point that is still there.
        before(&self.points).or_else(|| before(&self.past)).unwrap_or(0.0)
    }

    /// How much it grew in the seconds up to `now`.
    pub(in crate::sim) fn increase(&self, now: i64, seconds: i64) -> f64 {
        self.at(now) - self.at(now - seconds)
    }
}

/// All series.
#[derive(Default)]
pub(in crate::sim) struct Counters {
    series: BTreeMap<Series, Counter>,
}

impl Counters {
    pub(super) fn add(&mut self, series: Series, amount: f64, second: i64) {
        if amount > 0.0 {
            let labels = |series: &Series| Counter::new(series.labels(), second);
            self.series.entry(series).or_insert_with_key(labels).add(amount, second);
        }
    }

    /// Lets a series be there, at zero.
    pub(super) fn exist(&mut self, series: Series, second: i64) {
        self.series.entry(series).or_insert_with_key(|series| Counter::new(series.labels(), second));
    }

    /// Counts requests of one client: most take as long as said, some longer.
    pub(super) fn request(
        &mut self,
        of: &Series,
        (code, flags): (u16, &'static str),
        requests: f64,
        millis: f64,
        second: i64,
    ) {
        if requests <= 0.0 {
            return;
        }
        let series = Series { code, flags, ..of.clone() };
        let spread: &[(f64, f64)] =
            if flags == "-" { &[(0.9, 1.0), (0.09, 2.0), (0.01, 5.0)] } else { &[(1.0, 1.0)] };
        let mut sum = 0.0;
        for (share, times) in spread {
            let took = millis * times;
            sum += requests * share * took;
            let bucket = BUCKETS.iter().position(|bound| took <= *bound).unwrap_or(BUCKETS.len());
            self.add(series.of(Metric::Bucket(bucket)), requests * share, second);
        }
        self.add(series.of(Metric::DurationSum), sum, second);
        self.add(series.of(Metric::DurationCount), requests, second);
        self.add(series, requests, second);
    }

    /// The series of a metric.
    pub(in crate::sim) fn of(&self, metric: Metric) -> impl Iterator<Item = (&Series, &Counter)> {
        self.series.iter().filter(move |(series, _)| series.metric == metric)
    }
}
