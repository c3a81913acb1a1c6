//! `/stats?format=json`: the counters that are read, and why one is not there.
//!
//! Istio lets Envoy make few of them (`statsMatcher`): one that is absent was never counted, which is not zero.

use serde::Deserialize;

use super::json;

/// What is read. Each is a sum over all clusters, listeners or connections of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stat {
    /// TLS handshakes that listeners completed.
    Handshakes,
    /// TLS connections that failed before that.
    ConnectionErrors,
    /// Requests that an authorization policy let through.
    Allowed,
    /// Requests that one denied.
    Denied,
    /// Updates of clusters that were rejected since the proxy started.
    RejectedClusters,
    /// Updates of listeners that were.
    RejectedListeners,
    /// Requests that a full pool turned away.
    PendingOverflow,
    /// Hosts that outlier detection keeps out now.
    Ejections,
}

impl Stat {
    /// All of them, with the ends of their names; those of listeners are told from those of clusters by their
    /// start. Tests hold them against recorded names.
    const ALL: [(Self, &'static str, &'static str); 8] = [
        (Self::Handshakes, "listener.", ".ssl.handshake"),
        (Self::ConnectionErrors, "listener.", ".ssl.connection_error"),
        (Self::Allowed, "http.", ".rbac.allowed"),
        (Self::Denied, "http.", ".rbac.denied"),
        (Self::RejectedClusters, "cluster_manager", ".cds.update_rejected"),
        (Self::RejectedListeners, "listener_manager", ".lds.update_rejected"),
        (Self::PendingOverflow, "cluster.", ".upstream_rq_pending_overflow"),
        (Self::Ejections, "cluster.", ".outlier_detection.ejections_active"),
    ];

    fn of(name: &str) -> Option<Self> {
        // The agent's own stream to istiod has a pool too: it is not the mesh's traffic.
        if name.starts_with("cluster.xds-grpc") || name.starts_with("cluster.sds-grpc") {
            return None;
        }
        let fits = |(_, start, end): &&(Self, &str, &str)| name.starts_with(start) && name.ends_with(end);
        Self::ALL.iter().find(fits).map(|(stat, ..)| *stat)
    }

    fn end(self) -> &'static str {
        let of = Self::ALL.iter().find(|(stat, ..)| *stat == self);
        of.map_or("", |(_, _, end)| end.trim_start_matches('.'))
    }
}

/// The counters of one proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats(std::collections::BTreeMap<Stat, u64>);

impl Stats {
    /// One of them.
    ///
    /// # Errors
    /// Envoy does not make it; the text names the annotation that would let it.
    pub fn get(&self, stat: Stat) -> Result<u64, String> {
        self.0.get(&stat).copied().ok_or_else(|| {
            let end = stat.end();
            format!(
                "Envoy has no stat that ends in {end}: none was needed yet, or its statsMatcher leaves it out \
                 (annotation sidecar.istio.io/statsInclusionSuffixes: {end}, then make the pod anew)"
            )
        })
    }
}

/// The path with a filter for what is read: whole pages are a hundred kilobytes and more.
pub(super) fn path() -> String {
    let ends: Vec<String> = Stat::ALL.iter().map(|(_, _, end)| end.replace('.', "%5C.")).collect();
    format!("/stats?format=json&filter=({})%24", ends.join("%7C"))
}

#[derive(Deserialize)]
struct Written {
    stats: Vec<Line>,
}

/// Histograms are a line without a name.
#[derive(Deserialize)]
struct Line {
    name: Option<String>,
    value: Option<serde_json::Value>,
}

pub(in super::super) fn read(body: &[u8]) -> Result<Stats, String> {
    let written: Written = json(body)?;
    let mut found = Stats::default();
    for line in written.stats {
        let Some(name) = line.name else { continue };
        let Some(stat) = Stat::of(&name) else { continue };
        // Envoy writes zeros too: a line without a value is no line of its.
        let value = line.value.as_ref().and_then(serde_json::Value::as_u64);
        let value =
            value.ok_or_else(|| format!("unexpected answer: {name} has the value {:?}", line.value))?;
        let sum = found.0.entry(stat).or_default();
        *sum = sum.saturating_add(value);
    }
    Ok(found)
}
