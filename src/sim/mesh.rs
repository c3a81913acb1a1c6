//! The mesh: requests follow the routes in force, second by second, and some of them fail.
//!
//! A service has capacity. What comes above it waits; who waits longer than the route allows is timed out
//! while the server still works for it, and what finds the queue full is refused. Limits of the
//! DestinationRule in force turn requests away at the clients' proxies before they wait.

mod counters;
mod lanes;
mod limits;
mod plane;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::control::{Control, hash};
use super::store::Store;
use super::world::{SERVICES, Service};

pub(super) use counters::{BUCKETS, Counter, Counters, Metric, Series};
use lanes::{Lane, View};
pub(super) use plane::{Plane, serves};

/// Traffic of all services.
pub(super) struct Mesh {
    seed: u64,
    /// The second up to which is counted.
    counted: i64,
    pub(super) counters: Counters,
    pub(super) plane: Plane,
    /// The services as the objects of a version make them.
    views: (u64, Vec<View>),
    queues: BTreeMap<(usize, String), Queue>,
}

/// What waits at one cluster of endpoints, and which endpoints are put aside for a while.
#[derive(Default)]
struct Queue {
    waiting: f64,
    aside: BTreeMap<String, i64>,
}

/// What became of the requests of a second: answer code, flags, requests, milliseconds each took.
struct Outcome {
    code: u16,
    flags: &'static str,
    requests: f64,
    millis: f64,
}

/// How long a request takes where nothing waits.
const CALM_MS: f64 = 20.0;
/// What a proxy answers by itself takes no time to speak of.
const QUICK_MS: f64 = 1.0;
/// A server takes in so many seconds of work before it refuses connections: a little more than clients
/// wait, so that an overloaded one works for those who have left.
const BACKLOG_S: f64 = 5.5;
/// Requests are timed out from this share of the limit on, and nearly all of them from the other on.
const LATE: (f64, f64) = (0.8, 1.1);
/// Some get through even then.
const LUCKY: f64 = 0.1;
/// Of the requests that meet a hung proxy so many are not saved by a retry on another endpoint.
const LOST: f64 = 0.05;
/// A route that stays bad although it was rolled back fails so many.
const STUBBORN: f64 = 0.55;

impl Mesh {
    pub(super) fn new(seed: u64, at: Timestamp) -> Self {
        Self {
            seed,
            counted: at.as_second(),
            counters: Counters::default(),
            plane: Plane::default(),
            views: (0, Vec::new()),
            queues: BTreeMap::new(),
        }
    }

    /// A mesh of which nobody remembers anything but quiet.
    pub(super) fn quiet(seed: u64, at: Timestamp, control: &Control) -> Self {
        Self { plane: Plane::after_quiet(control, at.as_second()), ..Self::new(seed, at) }
    }

    /// Counts the requests of one second, under the routes that are in force.
    pub(super) fn count(&mut self, store: &Store, control: &Control, second: i64) {
        self.counted = second;
        self.plane.count(control, second);
        if self.views.0 != store.version() {
            self.views =
                (store.version(), SERVICES.iter().map(|service| lanes::view(store, service)).collect());
        }
        let views = std::mem::take(&mut self.views.1);
        for (index, (service, view)) in SERVICES.iter().zip(&views).enumerate() {
            self.serve(index, service, view, control);
        }
        self.views.1 = views;
    }

    fn serve(&mut self, index: usize, service: &Service, view: &View, control: &Control) {
        let clients: Vec<&(Arc<str>, Arc<str>)> = view
            .clients
            .iter()
            .filter(|(namespace, pod)| control.pod(namespace, pod).is_some_and(sends))
            .collect();
        if clients.is_empty() {
            return;
        }
        let rush = control.faults.rush.as_ref();
        let rush = rush.filter(|(host, _, end)| *host == service.host() && self.counted < *end);
        let factor = rush.map_or(1.0, |(_, factor, _)| *factor);
        let requests = service.rate * (0.95 + 0.1 * self.noise(service.name)) * factor;
        for lane in &view.lanes {
            let queue = self.queues.entry((index, lane.subset.clone())).or_default();
            let arrived = requests * lane.share;
            let come = Come { arrived, clients: count(clients.len()), second: self.counted };
            let mut outcomes = pass(service, lane, queue, come, control);
            if control.faults.stubborn && rush.is_some() {
                outcomes =
                    vec![Outcome { code: 504, flags: "UT", requests: arrived, millis: lane.timeout_ms }];
            }
            let overflow =
                if lane.limits.pending_binds() { Metric::PendingOverflow } else { Metric::ActiveOverflow };
            for (namespace, pod) in &clients {
                let series = Series::new(index, &lane.subset, namespace, pod);
                for outcome in &outcomes {
                    let share = outcome.requests / count(clients.len());
                    self.counters.request(
                        &series,
                        (outcome.code, outcome.flags),
                        share,
                        outcome.millis,
                        self.counted,
                    );
                    if outcome.flags == "UO" {
                        self.counters.add(series.of(overflow), share, self.counted);
                    }
                }
                for metric in [Metric::PendingOverflow, Metric::ActiveOverflow] {
                    self.counters.exist(series.of(metric), self.counted);
                }
            }
        }
    }

    /// A number between 0 and 1 that follows from the seed, the service and the second.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
    fn noise(&self, name: &str) -> f64 {
        let x = hash(self.seed ^ self.counted.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15), name);
        (x >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Requests of a host in the last seconds, and how many of them a test of code and flags picks;
    /// `None` for a host nobody calls.
    pub(super) fn increase(
        &self,
        host: &str,
        seconds: i64,
        picks: impl Fn(u16, &str) -> bool,
    ) -> Option<(f64, f64)> {
        let index = SERVICES.iter().position(|service| service.host() == host)?;
        let ours = self.counters.of(Metric::Requests).filter(|(series, _)| series.service == index);
        let (mut all, mut bad, mut known) = (0.0, 0.0, false);
        for (series, counter) in ours {
            let more = counter.increase(self.counted, seconds);
            known = true;
            all += more;
            bad += if picks(series.code, series.flags) { more } else { 0.0 };
        }
        known.then_some((all, bad))
    }

    /// A second whose traffic is not counted here.
    pub(super) fn pass_over(&mut self, second: i64) {
        self.counted = second;
    }

    pub(super) fn counted(&self) -> i64 {
        self.counted
    }
}

/// Whether a pod's proxy sends requests on.
fn sends(pod: &super::control::Pod) -> bool {
    pod.proxy_runs() && pod.proxy.is_some_and(|proxy| proxy.answers())
}

#[expect(clippy::cast_precision_loss, reason = "small numbers of pods")]
fn count(number: usize) -> f64 {
    number as f64
}

/// The requests of a second.
#[derive(Clone, Copy)]
struct Come {
    arrived: f64,
    clients: f64,
    second: i64,
}

/// Lets the requests of a second pass through a lane.
fn pass(service: &Service, lane: &Lane, queue: &mut Queue, come: Come, control: &Control) -> Vec<Outcome> {
    let quick = |flags, requests| Outcome { code: 503, flags, requests, millis: QUICK_MS };
    if !lane.defined {
        return vec![quick("NC", come.arrived)];
    }
    queue.aside.retain(|_, until| *until > come.second);
    let pods: Vec<&(String, f64)> =
        lane.pods.iter().filter(|(pod, _)| !queue.aside.contains_key(pod)).collect();
    if pods.is_empty() {
        return vec![quick("UH", come.arrived)];
    }
    let capacity = count(pods.len()) * service.carries;
    let admitted = match lane.limits.in_flight() {
        // In a second as much can be let in as is served, and what is missing to the limit.
        Some(limit) => (limit * come.clients + capacity - queue.waiting).clamp(0.0, come.arrived),
        None => come.arrived,
    };
    let taken = (BACKLOG_S * capacity + capacity - queue.waiting).clamp(0.0, admitted);
    queue.waiting = (queue.waiting + taken - capacity).max(0.0);
    let wait_ms = 1_000.0 * queue.waiting / capacity;
    let in_time = in_time(wait_ms / lane.timeout_ms);
    let hung = |pod: &str| {
        let pod = control.pod(service.namespace, pod);
        pod.and_then(|pod| pod.proxy).is_some_and(|proxy| proxy.hung.is_some())
    };
    let lost = LOST * count(pods.iter().filter(|(pod, _)| hung(pod)).count()) / count(pods.len());
    let mut failing = pods.iter().map(|(_, share)| share).sum::<f64>() / count(pods.len());
    if control.faults.stubborn_route && service.name == "cart" {
        failing = failing.max(STUBBORN);
    }
    let on_time = taken * in_time * (1.0 - lost);
    if let Some(outlier) = lane.outlier {
        let worst = |share: f64| share >= 0.3 || in_time < 0.7;
        let bad: Vec<String> =
            pods.iter().filter(|(_, share)| worst(*share)).map(|(pod, _)| pod.clone()).collect();
        let most = (outlier.most * count(lane.pods.len())).floor().max(1.0);
        for pod in bad {
            if count(queue.aside.len()) < most {
                queue.aside.insert(pod, come.second + outlier.base_s);
            }
        }
    }
    vec![
        Outcome { code: 200, flags: "-", requests: on_time * (1.0 - failing), millis: CALM_MS + wait_ms },
        Outcome { code: 500, flags: "-", requests: on_time * failing, millis: CALM_MS + wait_ms },
        Outcome { code: 504, flags: "UT", requests: taken - on_time, millis: lane.timeout_ms },
        quick("UF", admitted - taken),
        quick("UO", come.arrived - admitted),
    ]
}

/// Share of the requests that are answered in time, by the wait's share of the time limit.
fn in_time(share: f64) -> f64 {
    let (from, to) = LATE;
    let late = ((share - from) / (to - from)).clamp(0.0, 1.0);
    1.0 - late * (1.0 - LUCKY)
}
