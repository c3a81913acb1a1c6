//! The series that Prometheus would have scraped: what the mesh counts, and what the cluster is like.
//!
//! It is as if every target had been asked each second. Of a longer window only every so many of those points are
//! told, three minutes apart at most, so that an hour costs no more than a minute does.

use std::collections::BTreeMap;

use crate::model::series::Labels;
use crate::promql::{Point, Points, Selection};
use crate::sim::State;
use crate::sim::control::{Pod, Run};
use crate::sim::mesh::{BUCKETS, Counter, Metric, Series, serves};

/// Points of a window, and the longest step between two of them in seconds.
const POINTS: f64 = 20.0;
const LONGEST_STEP_S: i64 = 180;
/// What the charts of Istio ask for istiod, in bytes, and allow a proxy, in cores.
const ISTIOD_REQUEST: f64 = 2_147_483_648.0;
const PROXY_LIMIT: f64 = 2.0;
/// Bytes that istiod takes, and more for each proxy.
const ISTIOD_BYTES: (f64, f64) = (150e6, 1e6);
/// Processor seconds of a proxy for a second of its life, and for a request.
const PROXY_CPU: (f64, f64) = (0.01, 0.000_3);
/// Handshakes for a request, and connections of the outbox to the world outside for a mail.
const HANDSHAKES: f64 = 0.01;
const CONNECTIONS: f64 = 0.1;

/// The simulated cluster as Prometheus would have scraped it.
pub(super) struct Scraped<'s>(pub(super) &'s State);

/// A series: its labels, the second since which it is there, and its value in each.
struct Row<'s> {
    labels: Labels,
    since: i64,
    value: Box<dyn Fn(i64) -> f64 + 's>,
}

impl Points for Scraped<'_> {
    fn select(&self, of: &Selection<'_>, see: &mut dyn FnMut(&Labels, &[Point])) {
        for row in self.rows(of) {
            if !takes(of, &row.labels) {
                continue;
            }
            let points = self.points(of, &row);
            if !points.is_empty() {
                see(&row.labels, &points);
            }
        }
    }
}

impl<'s> Scraped<'s> {
    fn points(&self, of: &Selection<'_>, row: &Row<'_>) -> Vec<Point> {
        // What lies before a series began has no points, and needs none.
        let span_s = of.to_s - of.after_s.max(seconds(row.since.min(self.0.mesh.counted())));
        #[expect(clippy::cast_possible_truncation, reason = "a window has fewer seconds than 2^63")]
        let (to, step) = (of.to_s.floor() as i64, (span_s / POINTS).ceil() as i64);
        let (to, step) = (to.min(self.0.mesh.counted()), step.clamp(1, LONGEST_STEP_S));
        let mut points = Vec::new();
        let mut second = to;
        while second >= row.since && seconds(second) > of.after_s {
            points.push(Point { at_s: seconds(second), value: (row.value)(second) });
            second -= step;
        }
        points.reverse();
        points
    }

    /// The series of a metric: all that are asked for, and perhaps others.
    fn rows(&self, of: &Selection<'_>) -> Vec<Row<'s>> {
        let plane = &self.0.mesh.plane;
        match of.metric {
            "istio_requests_total" => self.both_sides(of, Metric::Requests),
            "istio_request_duration_milliseconds_sum" => self.both_sides(of, Metric::DurationSum),
            "istio_request_duration_milliseconds_count" => self.both_sides(of, Metric::DurationCount),
            "istio_request_duration_milliseconds_bucket" => self.buckets(of),
            "envoy_cluster_upstream_rq_pending_overflow" => self.clients(of, Metric::PendingOverflow),
            "envoy_cluster_upstream_rq_active_overflow" => self.clients(of, Metric::ActiveOverflow),
            "envoy_listener_ssl_handshake" => {
                let served = self.servers(Metric::Requests).into_iter();
                served.map(|(labels, counters)| sum(labels, counters, HANDSHAKES)).collect()
            }
            "istio_tcp_connections_opened_total" => vec![self.connections()],
            "up" => self.up(),
            "pilot_xds" => vec![self.connected()],
            "container_memory_working_set_bytes" => self.istiods(self.memory()),
            "kube_pod_container_resource_requests" => self.istiods(ISTIOD_REQUEST),
            "container_cpu_usage_seconds_total" => self.cpu(),
            "kube_pod_container_resource_limits" => self.limits(false),
            "kube_pod_init_container_resource_limits" => self.limits(true),
            metric => {
                plane.of(metric).map(|(labels, counter)| sum(labels.clone(), vec![counter], 1.0)).collect()
            }
        }
    }

    /// The clients' view, a series for each client.
    fn clients(&self, of: &Selection<'_>, metric: Metric) -> Vec<Row<'s>> {
        let counters = self.0.mesh.counters.of(metric).map(|(_, counter)| counter);
        let wanted = counters.filter(|counter| takes(of, counter.labels()));
        wanted.map(|counter| sum(counter.labels().clone(), vec![counter], 1.0)).collect()
    }

    fn both_sides(&self, of: &Selection<'_>, metric: Metric) -> Vec<Row<'s>> {
        let mut rows = self.clients(of, metric);
        rows.extend(self.servers(metric).into_iter().map(|(labels, counters)| sum(labels, counters, 1.0)));
        rows
    }

    /// The servers' view: what reached them, a series for each of their workloads.
    fn servers(&self, metric: Metric) -> Vec<(Labels, Vec<&'s Counter>)> {
        let mut found: BTreeMap<Series, Vec<&Counter>> = BTreeMap::new();
        for (series, counter) in self.0.mesh.counters.of(metric) {
            if let Some(served) = series.served() {
                found.entry(served).or_default().push(counter);
            }
        }
        found.into_iter().map(|(series, counters)| (series.labels(), counters)).collect()
    }

    /// Buckets as Prometheus has them: each holds what lies below it as well.
    fn buckets(&self, of: &Selection<'_>) -> Vec<Row<'s>> {
        let mut groups: BTreeMap<Series, Vec<(usize, &Counter)>> = BTreeMap::new();
        for number in 0..=BUCKETS.len() {
            for (series, counter) in self.0.mesh.counters.of(Metric::Bucket(number)) {
                let views = [Some(series.of(Metric::Requests)), series.served()];
                for view in views.into_iter().flatten() {
                    groups
                        .entry(Series { metric: Metric::Requests, ..view })
                        .or_default()
                        .push((number, counter));
                }
            }
        }
        let mut rows = Vec::new();
        for (series, counters) in groups {
            let mut labels = series.labels();
            let since = counters.iter().map(|(_, counter)| counter.begun()).min();
            for number in 0..=BUCKETS.len() {
                let bound = BUCKETS.get(number).map_or_else(|| "+Inf".to_owned(), f64::to_string);
                labels.insert("le".to_owned(), bound);
                if takes(of, &labels) {
                    let below = counters.iter().filter(|(bucket, _)| *bucket <= number);
                    let row = sum(labels.clone(), below.map(|(_, counter)| *counter).collect(), 1.0);
                    rows.push(Row { since: since.unwrap_or(row.since), ..row });
                }
            }
        }
        rows
    }

    /// The outbox hands its mails to the world outside, several over one connection.
    fn connections(&self) -> Row<'s> {
        let mails = self.0.mesh.counters.of(Metric::Requests);
        let mails = mails.filter(|(series, _)| series.is_of("outbox") && series.code == 200);
        let labels = labels(&[
            ("reporter", "source"),
            ("source_workload", "outbox-v1"),
            ("source_workload_namespace", "mail"),
            ("destination_workload", "unknown"),
            ("destination_workload_namespace", "unknown"),
        ]);
        sum(labels, mails.map(|(_, counter)| counter).collect(), CONNECTIONS)
    }

    fn pods(&self) -> impl Iterator<Item = (&'s (String, String), &'s Pod)> + use<'s> {
        self.0.control.pods.iter()
    }

    /// Proxies and istiods that Prometheus asks: a proxy that hangs does not answer it either.
    fn up(&self) -> Vec<Row<'s>> {
        let asked = self.pods().filter_map(|(place, pod)| {
            let job =
                if pod.proxy.is_some() { "envoy-stats" } else { is_istiod(place).then_some("istiod")? };
            let hung = pod.proxy.and_then(|proxy| proxy.hung).unwrap_or(i64::MAX);
            let runs = pod.containers.iter().all(|container| container.running());
            let value = move |second: i64| f64::from(u8::from(runs && second < hung));
            Some(Row { labels: of_pod(place, &[("job", job)]), since: pod.starts, value: Box::new(value) })
        });
        asked.collect()
    }

    fn connected(&self) -> Row<'s> {
        let proxies = self.pods().filter(|(_, pod)| pod.proxy.is_some_and(|proxy| proxy.configured)).count();
        let count = if serves(&self.0.control) { count(proxies) } else { 0.0 };
        Row {
            labels: labels(&[("version", "1.31.0")]),
            since: self.0.mesh.counted(),
            value: Box::new(move |_| count),
        }
    }

    /// What istiod holds in memory: the more, the more proxies there are.
    fn memory(&self) -> f64 {
        let proxies = self.pods().filter(|(_, pod)| pod.proxy.is_some()).count();
        ISTIOD_BYTES.0 + ISTIOD_BYTES.1 * count(proxies)
    }

    fn istiods(&self, value: f64) -> Vec<Row<'s>> {
        let istiods = self.pods().filter(|(place, pod)| is_istiod(place) && pod.ready.0);
        let row = |(place, pod): (&(String, String), &Pod)| Row {
            labels: of_pod(place, &[("container", "discovery"), ("resource", "memory")]),
            since: pod.starts,
            value: Box::new(move |_| value),
        };
        istiods.map(row).collect()
    }

    fn cpu(&self) -> Vec<Row<'s>> {
        let row = |(place, pod): (&'s (String, String), &'s Pod)| {
            let Run::Running(since) = pod.proxy_container()?.run else { return None };
            let sent = self.0.mesh.counters.of(Metric::DurationCount);
            let sent: Vec<&Counter> =
                sent.filter(|(series, _)| *series.pod == place.1).map(|(_, counter)| counter).collect();
            let value = move |second: i64| {
                let requests: f64 = sent.iter().map(|counter| counter.at(second)).sum();
                PROXY_CPU.0 * seconds(second - since) + PROXY_CPU.1 * requests
            };
            Some(Row {
                labels: of_pod(place, &[("container", "istio-proxy")]),
                since,
                value: Box::new(value),
            })
        };
        self.pods().filter_map(row).collect()
    }

    /// What proxies may use; native sidecars stand among the init containers.
    fn limits(&self, native: bool) -> Vec<Row<'s>> {
        let proxies =
            self.pods().filter(|(_, pod)| pod.proxy_container().is_some_and(|proxy| proxy.native == native));
        let row = |(place, pod): (&(String, String), &Pod)| Row {
            labels: of_pod(place, &[("container", "istio-proxy"), ("resource", "cpu")]),
            since: pod.bound,
            value: Box::new(|_| PROXY_LIMIT),
        };
        proxies.map(row).collect()
    }
}

/// Counters together, times a factor.
fn sum(labels: Labels, counters: Vec<&Counter>, factor: f64) -> Row<'_> {
    let since = counters.iter().map(|counter| counter.begun()).min().unwrap_or(i64::MAX);
    let value = move |second: i64| counters.iter().map(|counter| counter.at(second)).sum::<f64>() * factor;
    Row { labels, since, value: Box::new(value) }
}

fn takes(of: &Selection<'_>, labels: &Labels) -> bool {
    of.takes(|name| labels.get(name).map(String::as_str))
}

fn is_istiod(place: &(String, String)) -> bool {
    place.0 == "istio-system" && place.1.starts_with("istiod-")
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn of_pod(place: &(String, String), more: &[(&str, &str)]) -> Labels {
    labels(&[more, &[("namespace", place.0.as_str()), ("pod", place.1.as_str())]].concat())
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970, far below 2^52")]
fn seconds(second: i64) -> f64 {
    second as f64
}

#[expect(clippy::cast_precision_loss, reason = "small numbers of pods")]
fn count(number: usize) -> f64 {
    number as f64
}
