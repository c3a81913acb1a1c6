//! What is so: services, pods, configuration on its way to proxies, requests and what becomes of them, second
//! by second. What is measured of it, and that anybody might repair it, is not known here.

pub(crate) mod change;
pub(crate) mod count;
pub(crate) mod harm;
pub(crate) mod shape;

use libtest_mimic::Trial;
use meshmend::sim::Ground;
use smol_str::SmolStr;

use change::Change;
use count::{Count, Gauge, Tally};
use harm::Harm;
use shape::{EntryId, ServiceId, Shape, WorkloadId};

/// One life of a proxy: from a start of its container to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ProxyId(pub(crate) u32);

/// A proxy that runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proxy {
    pub(crate) id: ProxyId,
    pub(crate) namespace: SmolStr,
    pub(crate) pod: SmolStr,
    pub(crate) node: SmolStr,
    pub(crate) workload: WorkloadId,
    /// The second it started.
    pub(crate) since: i64,
    /// Whether it answers a scrape.
    pub(crate) answers: bool,
    /// The version of configuration that it was sent and that it took, each with its second.
    pub(crate) sent: (u64, i64),
    pub(crate) acked: (u64, i64),
}

/// What istiod counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Plane {
    /// Pushes to proxies, and changes that called for one.
    pub(crate) pushes: f64,
    pub(crate) events: f64,
    /// Seconds that pushes waited, summed up.
    pub(crate) waited_s: f64,
}

/// The world as it is.
pub(crate) struct Truth {
    shape: Shape,
    harm: Harm,
    proxies: Vec<Proxy>,
    plane: Plane,
    changes: Vec<Change>,
}

impl Truth {
    pub(crate) fn new(shape: Shape) -> Self {
        let harm = Harm::new(shape.entries.len());
        Self { shape, harm, proxies: Vec::new(), plane: Plane::default(), changes: Vec::new() }
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Something goes otherwise from a second on; may be said before.
    pub(crate) fn apply(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Lets a second pass.
    pub(crate) fn second(&mut self, _ground: &mut Ground<'_>, _second: i64) {}

    /// The proxies that run.
    pub(crate) fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.proxies.iter()
    }

    /// What a proxy has counted since its start.
    pub(crate) fn counters(&self, _proxy: ProxyId) -> Vec<(&Count, Tally)> {
        Vec::new()
    }

    /// What a proxy shows of each cluster that it calls.
    pub(crate) fn gauges(&self, _proxy: ProxyId) -> Vec<Gauge> {
        Vec::new()
    }

    /// What istiod counts.
    pub(crate) fn plane(&self) -> Plane {
        self.plane
    }

    /// For judges: what users felt.
    pub(crate) fn harm(&self) -> &Harm {
        &self.harm
    }

    /// For judges: whether a service is called, however far away, for what an entry is asked.
    pub(crate) fn reaches(&self, entry: EntryId, service: ServiceId) -> bool {
        let mut seen = vec![false; self.shape.services.len()];
        let mut open: Vec<ServiceId> =
            self.shape.entries.get(entry.0 as usize).map(|entry| entry.to).into_iter().collect();
        while let Some(at) = open.pop() {
            if std::mem::replace(&mut seen[at.0 as usize], true) {
                continue;
            }
            let calls = self.shape.calls.iter();
            let ours = calls.filter(|call| self.shape.workload(call.from).service == Some(at));
            open.extend(ours.map(|call| call.to));
        }
        seen.get(service.0 as usize).copied().unwrap_or_default()
    }
}

/// The tests of the truth itself.
pub(crate) fn trials() -> Vec<Trial> {
    Vec::new()
}
