//! The mesh: requests follow the routes in force, second by second, and some of them fail.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde_json::Value;

use super::store::Store;
use super::world::{SERVICES, Service, key};

/// Seconds of counters that are kept: longer than any window that is asked for.
const KEPT: usize = 900;

/// Counters at the end of a second.
#[derive(Clone, Copy, Default)]
struct Point {
    all: f64,
    bad: f64,
}

/// Request counters by host, one point a second.
pub(super) struct Mesh {
    seed: u64,
    /// The second up to which is counted.
    counted: i64,
    points: BTreeMap<String, VecDeque<Point>>,
}

fn host(service: &Service) -> String {
    format!("{}.{}.svc.cluster.local", service.name, service.namespace)
}

impl Mesh {
    pub(super) fn new(seed: u64, at: Timestamp) -> Self {
        let points =
            SERVICES.iter().map(|service| (host(service), VecDeque::from([Point::default()]))).collect();
        Self { seed, counted: at.as_second(), points }
    }

    /// Counts the requests of every whole second until now, under the routes that are in force.
    pub(super) fn catch_up(&mut self, store: &Store, now: Timestamp) {
        while self.counted < now.as_second() {
            self.counted += 1;
            for service in &SERVICES {
                let requests = service.rate * (0.95 + 0.1 * self.noise(service.name));
                let share = failing(store, service);
                let points = self.points.entry(host(service)).or_default();
                let last = points.back().copied().unwrap_or_default();
                points.push_back(Point { all: last.all + requests, bad: last.bad + requests * share });
                if points.len() > KEPT {
                    points.pop_front();
                }
            }
        }
    }

    /// Requests and failures of a host in the last seconds; `None` for a host nobody calls.
    pub(super) fn increase(&self, host: &str, seconds: i64) -> Option<(f64, f64)> {
        let points = self.points.get(host)?;
        let back = usize::try_from(seconds.max(0)).unwrap_or(KEPT);
        let last = points.back()?;
        let first = points.get(points.len().saturating_sub(1 + back)).or_else(|| points.front())?;
        Some((last.all - first.all, last.bad - first.bad))
    }

    /// A number between 0 and 1 that follows from the seed, the service and the second.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
    fn noise(&self, name: &str) -> f64 {
        let mut x = self.seed ^ self.counted.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for byte in name.bytes() {
            x = (x ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        x ^= x >> 31;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x ^= x >> 29;
        (x >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Share of a service's requests that fail under the VirtualService in force. Weights that lead to no
/// subset fail whole, as Envoy answers 503 then.
fn failing(store: &Store, service: &Service) -> f64 {
    let route = store.get(&key("virtualservices", service.namespace, service.name));
    let rule = route.and_then(|route| route.pointer("/spec/http/0/route")).and_then(Value::as_array);
    let Some(rule) = rule else {
        // Without a route the service balances over all its pods.
        return service.subsets.first().map_or(1.0, |(_, share, _)| *share);
    };
    let weight = |entry: &Value| match entry.get("weight").and_then(Value::as_f64) {
        Some(weight) => weight,
        None if rule.len() == 1 => 100.0,
        None => 0.0,
    };
    let total: f64 = rule.iter().map(weight).sum();
    if total <= 0.0 {
        return 1.0;
    }
    let failed: f64 = rule
        .iter()
        .map(|entry| {
            let subset = entry.pointer("/destination/subset").and_then(Value::as_str);
            let known = service.subsets.iter().find(|(name, _, _)| Some(*name) == subset);
            weight(entry) * known.map_or(1.0, |(_, share, _)| *share)
        })
        .sum();
    failed / total
}
