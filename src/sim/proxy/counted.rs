//! What a proxy tells of the requests it sent: the page of its agent, and `/clusters` at its admin port. What it
//! served is counted by workload here, not by pod, so that no page has it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::model::series::Labels;
use crate::sim::State;
use crate::sim::mesh::{Counter, Metric, Series};
use crate::sim::world::SERVICES;

/// Metrics of Istio on the page, by what counts them.
const METRICS: [(&str, Metric); 3] = [
    ("istio_requests_total", Metric::Requests),
    ("istio_request_duration_milliseconds_sum", Metric::DurationSum),
    ("istio_request_duration_milliseconds_count", Metric::DurationCount),
];
/// Labels that Prometheus adds: no page has them.
const ADDED: [&str; 2] = ["namespace", "pod"];

/// Counters of one pod.
fn of<'s>(state: &'s State, pod: &'s str, metric: Metric) -> impl Iterator<Item = (&'s Series, &'s Counter)> {
    state.mesh.counters.of(metric).filter(move |(series, _)| *series.pod == *pod)
}

/// `/stats/prometheus` of the agent.
pub(super) fn page(state: &State, pod: &str) -> String {
    let now = state.mesh.counted();
    let mut text = String::new();
    for (name, metric) in METRICS {
        writeln!(text, "# TYPE {name} counter").ok();
        for (_, counter) in of(state, pod, metric) {
            writeln!(text, "{name}{{{}}} {}", written(counter.labels()), counter.at(now)).ok();
        }
    }
    text
}

fn written(labels: &Labels) -> String {
    let own = labels.iter().filter(|(name, _)| !ADDED.contains(&name.as_str()));
    own.map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(",")
}

/// `/clusters?format=json`: every service of the mesh, with one line for all of its hosts.
pub(super) fn clusters(state: &State, pod: &str) -> Value {
    let now = state.mesh.counted();
    let mut sent: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for (series, counter) in of(state, pod, Metric::Requests) {
        let sum = sent.entry(series.service).or_default();
        sum.0 += counter.at(now);
        sum.1 += if series.code >= 500 { counter.at(now) } else { 0.0 };
    }
    let cluster = |(number, service): (usize, &crate::sim::world::Service)| {
        let (all, failed) = sent.get(&number).copied().unwrap_or_default();
        let count = |name: &str, value: f64| json!({ "name": name, "value": format!("{value:.0}") });
        let stats =
            json!([count("rq_total", all), count("rq_error", failed), count("rq_success", all - failed)]);
        json!({
            "name": format!("outbound|80||{}", service.host()), "added_via_api": true,
            "host_statuses": [{ "stats": stats, "health_status": { "eds_health_status": "HEALTHY" } }],
        })
    };
    json!({ "cluster_statuses": SERVICES.iter().enumerate().map(cluster).collect::<Vec<_>>() })
}
