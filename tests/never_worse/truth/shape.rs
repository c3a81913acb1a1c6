//! The shape of a world: services, the workloads behind them, who calls whom, and what comes from outside.
//! All of it is drawn before the run.

use smol_str::SmolStr;

/// A service, by its place in the shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ServiceId(pub(crate) u32);

/// A workload, by its place in the shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkloadId(pub(crate) u32);

/// An entry, by its place in the shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryId(pub(crate) u32);

/// Everything of a world that does not change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    /// Every draw follows from it.
    pub(crate) seed: u64,
    pub(crate) services: Vec<Service>,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) calls: Vec<Call>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) pushes: Pushes,
}

/// A Kubernetes Service.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) namespace: SmolStr,
    pub(crate) name: SmolStr,
    /// Its calls are gRPC: failures are HTTP 200 with a status of their own.
    pub(crate) grpc: bool,
}

/// A Deployment, StatefulSet or DaemonSet of that name.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) namespace: SmolStr,
    pub(crate) name: SmolStr,
    /// The service that its pods are behind; gateways and jobs have none.
    pub(crate) service: Option<ServiceId>,
    /// Labels `app` and `version`.
    pub(crate) app: SmolStr,
    pub(crate) version: SmolStr,
    pub(crate) server: Server,
}

/// How a pod of a workload serves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Server {
    /// Requests per second of its own work that a pod carries.
    pub(crate) carries: f64,
    /// Share of that which is left once it is saturated.
    pub(crate) collapse: f64,
    /// Median milliseconds of its own work, and the ratio of the 99th percentile to it.
    pub(crate) millis: f64,
    pub(crate) tail: f64,
    /// Requests that a pod has under way at most, waiting for others included.
    pub(crate) threads: f64,
    /// Requests that wait at a pod before it refuses.
    pub(crate) backlog: f64,
    /// Share of requests that fail in health.
    pub(crate) errors: f64,
    /// Seconds from readiness to full capacity, and the share of it at the start.
    pub(crate) warm_up_s: i64,
    pub(crate) cold: f64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            carries: 100.0,
            collapse: 0.6,
            millis: 8.0,
            tail: 5.0,
            threads: f64::INFINITY,
            backlog: 1_000.0,
            errors: 0.0,
            warm_up_s: 0,
            cold: 1.0,
        }
    }
}

/// A workload calls a service for each request that it serves.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) from: WorkloadId,
    pub(crate) to: ServiceId,
    /// Calls for each request; below one where only some need it.
    pub(crate) per_request: f64,
    /// A failure fails the request that needed it.
    pub(crate) needed: bool,
    pub(crate) client: Client,
}

/// How an app calls.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Client {
    /// The host as the app sends it: `cart`, `cart:80`, `cart.shop.svc.cluster.local`; empty is the last.
    pub(crate) asked: SmolStr,
    /// Milliseconds after which the app gives up; `None` waits for ever.
    pub(crate) patience_ms: Option<f64>,
    /// Attempts of the app itself, on failures and timeouts.
    pub(crate) tries: u32,
    /// Share of calls that are streams, and how many seconds these stay open.
    pub(crate) streams: f64,
    pub(crate) stream_s: f64,
}

impl Default for Client {
    fn default() -> Self {
        Self { asked: SmolStr::default(), patience_ms: None, tries: 1, streams: 0.0, stream_s: 60.0 }
    }
}

/// Demand that comes from outside the mesh, or from jobs in it: at a gateway's pods, for a service.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) at: WorkloadId,
    pub(crate) to: ServiceId,
    pub(crate) load: Load,
    pub(crate) client: Client,
}

/// How much is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// Requests per second, on average over a day.
    pub(crate) rps: f64,
    /// Peak over trough of the day, and the second of the day of its peak.
    pub(crate) swing: f64,
    pub(crate) peak_s: i64,
    /// Bursts: the deviation of the logarithm of the rate, drawn anew every ten seconds.
    pub(crate) burst: f64,
    /// Callers that wait for an answer before they ask again, with milliseconds in between; `None` comes
    /// whatever happens, and then `rps` counts.
    pub(crate) closed: Option<(f64, f64)>,
}

/// How fast configuration goes out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pushes {
    /// Median seconds from the push to a proxy, and the ratio of the 90th percentile to it.
    pub(crate) delay_s: f64,
    pub(crate) spread: f64,
}

impl Default for Pushes {
    fn default() -> Self {
        Self { delay_s: 0.2, spread: 10.0 }
    }
}

impl Service {
    /// The host in full.
    pub(crate) fn host(&self) -> SmolStr {
        smol_str::format_smolstr!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }
}

impl Shape {
    pub(crate) fn service(&self, id: ServiceId) -> &Service {
        &self.services[id.0 as usize]
    }

    pub(crate) fn workload(&self, id: WorkloadId) -> &Workload {
        &self.workloads[id.0 as usize]
    }
}
