//! What goes wrong or otherwise in a world, from one second to another.

use smol_str::SmolStr;

use super::shape::{EntryId, ServiceId, WorkloadId};

/// A change with its time: from a second on, until before another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) what: What,
}

/// What changes. Where several hold for one thing, shares are joined as independent, factors multiplied.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// A share of what a workload serves fails with this code (of gRPC services: this status).
    Fails { workload: WorkloadId, share: f64, code: u16 },
    /// A share of what one pod of a workload serves fails; the pod is the one at this place by name.
    PodFails { workload: WorkloadId, place: usize, share: f64, code: u16 },
    /// Its own work takes so many times as long, and its pods carry so much less.
    Slow { workload: WorkloadId, factor: f64 },
    /// Its pods carry so much of what they carried.
    Carries { workload: WorkloadId, factor: f64 },
    /// Connections to and from pods of a node fail.
    NodeIll { node: SmolStr, share: f64 },
    /// An entry is asked so many times as often.
    Rush { entry: EntryId, factor: f64 },
    /// How istiod is.
    Istiod(Istiod),
    /// These proxies get no configuration: a share of a workload's.
    CutOff { workload: WorkloadId, share: f64 },
    /// Pushes of this service's endpoints come so many seconds late.
    EndpointsLate { service: ServiceId, seconds: i64 },
}

/// How istiod is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Istiod {
    /// No replica is ready.
    Down,
    /// Ready, and pushes nothing.
    Silent,
    /// Pushes come so many seconds late.
    Late(f64),
    /// This share of the proxies is connected to a replica that pushes nothing.
    Partial(f64),
}
