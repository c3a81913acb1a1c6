//! Counters over time, as Prometheus would have scraped them every second.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::sim::world::SERVICES;

/// Seconds that are kept: longer than any window that is asked for.
const KEPT: i64 = 900;

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

/// One series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sim) struct Series {
    pub(in crate::sim) metric: Metric,
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
            service,
            subset: Arc::from(subset),
            namespace: Arc::clone(namespace),
            pod: Arc::clone(pod),
            code: 0,
            flags: "",
        }
    }

    pub(super) fn of(&self, metric: Metric) -> Self {
        Self { metric, ..self.clone() }
    }

    /// Its labels.
    pub(in crate::sim) fn labels(&self) -> BTreeMap<String, String> {
        let service = &SERVICES[self.service];
        let mut labels = BTreeMap::new();
        let mut put = |name: &str, value: &str| {
            labels.insert(name.to_owned(), value.to_owned());
        };
        put("namespace", &self.namespace);
        put("pod", &self.pod);
        if matches!(self.metric, Metric::PendingOverflow | Metric::ActiveOverflow) {
            put("cluster_name", &format!("outbound|80|{}|{}", self.subset, service.host()));
            return labels;
        }
        put("reporter", "source");
        put("destination_service", &service.host());
        put("destination_service_name", service.name);
        put("destination_service_namespace", service.namespace);
        put("destination_version", if self.subset.is_empty() { "unknown" } else { &self.subset });
        put("source_workload_namespace", &self.namespace);
        put("response_code", &self.code.to_string());
        put("response_flags", self.flags);
        labels
    }
}

/// The value of one series over time.
#[derive(Default)]
pub(in crate::sim) struct Counter {
    points: VecDeque<(i64, f64)>,
}

impl Counter {
    fn add(&mut self, amount: f64, second: i64) {
        let last = self.points.back().copied();
        let total = last.map_or(0.0, |(_, total)| total) + amount;
        match self.points.back_mut() {
            Some(point) if point.0 == second => point.1 = total,
            _ => self.points.push_back((second, total)),
        }
        while self.points.get(1).is_some_and(|(at, _)| *at < second - KEPT) {
            self.points.pop_front();
        }
    }

    fn at(&self, second: i64) -> f64 {
        let after = self.points.partition_point(|(at, _)| *at <= second);
        // What was forgotten began with the first point that is still there.
        let index = after.checked_sub(1);
        index.and_then(|index| self.points.get(index)).map_or(0.0, |(_, total)| *total)
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
            self.series.entry(series).or_default().add(amount, second);
        }
    }

    /// Lets a series be there, at zero.
    pub(super) fn exist(&mut self, series: Series, second: i64) {
        self.series.entry(series).or_insert_with(|| Counter { points: VecDeque::from([(second, 0.0)]) });
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
