//! What proxies count: one row for each series, with no names of metrics or labels. Those who observe make
//! these of them.

use smol_str::SmolStr;

use super::shape::{ServiceId, WorkloadId};

/// Who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Reporter {
    Source,
    Destination,
}

/// What became of a request, as the rows of the table of situations have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Situation {
    /// The app answered, well or with an error of its own.
    Answered,
    /// The last of several attempts was an error of the app (`URX`).
    Exhausted,
    /// No endpoint is there or in use (`UH`).
    NoEndpoint,
    /// The subset or host has no cluster (`NC`).
    NoCluster,
    /// No route matches (`NR`).
    NoRoute,
    /// A limit of the client's proxy (`UO` at the source, nothing at the destination).
    Overflow,
    /// A limit of the server's proxy (`UO` at the destination, the source sees a plain 503).
    InboundOverflow,
    /// No connection to the endpoint (`UF`, `URX,UF`).
    NoConnection,
    /// The server's proxy found its app away, or its queue full (`UF` or `UC` at the destination, a plain 503
    /// at the source).
    AppAway,
    /// The connection was cut (`UC` at the source, `DC` or nothing at the destination).
    Cut,
    /// The route's time was over (`UT` at the source, `DC` at the destination).
    TimedOut,
    /// The client gave up (`DC`).
    GaveUp,
    /// Aborted by a fault of the route (`FI`).
    Aborted,
    /// Delayed by a fault of the route (`DI`).
    Delayed,
}

/// A series of one proxy, without the proxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Count {
    pub(crate) reporter: Reporter,
    pub(crate) situation: Situation,
    /// The host as the client sent it.
    pub(crate) asked: SmolStr,
    pub(crate) service: Option<ServiceId>,
    /// Empty without one.
    pub(crate) subset: SmolStr,
    /// Whose pods answered, or were chosen to.
    pub(crate) server: Option<WorkloadId>,
    /// Whose pods called.
    pub(crate) client: Option<WorkloadId>,
    /// 0 when no response began.
    pub(crate) code: u16,
    /// `-` without any.
    pub(crate) flags: &'static str,
    pub(crate) grpc: Option<u8>,
}

/// Upper bounds of Istio's histogram of durations, in milliseconds; the last bucket has none.
pub(crate) const BOUNDS_MS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];
/// Buckets with the one above all bounds.
pub(crate) const BUCKETS: usize = BOUNDS_MS.len() + 1;

/// What was counted of a series since its proxy started. Fractions are kept here; a proxy shows whole ones.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) requests: f64,
    /// Sum of the durations.
    pub(crate) millis: f64,
    /// Requests in each bucket, not summed up.
    pub(crate) buckets: [f64; BUCKETS],
}

/// What a proxy shows beside its requests, towards one cluster.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gauge {
    pub(crate) service: ServiceId,
    pub(crate) subset: SmolStr,
    /// Requests under way, open streams included.
    pub(crate) active: f64,
    /// Counters of what was turned away by the limit of requests, and by that of those that wait.
    pub(crate) active_overflow: f64,
    pub(crate) pending_overflow: f64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self, share: f64) {
        self.requests += other.requests * share;
        self.millis += other.millis * share;
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs * share;
        }
    }
}
