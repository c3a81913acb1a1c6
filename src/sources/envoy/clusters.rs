//! `/clusters?format=json`: how each cluster's hosts are. It does not depend on the statsMatcher.
//!
//! Envoy leaves out fields with their default value: a flag that is not there is false, a count zero.

use serde::Deserialize;

use super::json;

pub(super) const PATH: &str = "/clusters?format=json";

/// One cluster as a proxy sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Its name: `outbound|80|v1|cart.shop.svc.cluster.local`.
    pub name: String,
    /// Hosts.
    pub hosts: usize,
    /// Those that outlier detection keeps out.
    pub ejected: usize,
    /// Those that fail health checks, or that the control plane does not call healthy; also ejected ones.
    pub unhealthy: usize,
    /// Connections made to its hosts.
    pub connections: u64,
    /// Connections that failed.
    pub connect_failures: u64,
    /// Requests sent to its hosts.
    pub requests: u64,
    /// Requests that failed: 5xx, resets.
    pub errors: u64,
    /// Requests that did not.
    pub successes: u64,
}

impl ClusterStatus {
    /// The host name of the service an outbound cluster leads to.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        let mut parts = self.name.split('|');
        let outbound = parts.next() == Some("outbound");
        let host = parts.nth(2).filter(|host| !host.is_empty());
        host.filter(|_| outbound && parts.next().is_none())
    }
}

#[derive(Deserialize)]
struct Written {
    // An Envoy always has clusters: one that lists none was not asked, or did not answer whole.
    cluster_statuses: Vec<Status>,
}

#[derive(Deserialize)]
struct Status {
    name: String,
    #[serde(default)]
    host_statuses: Vec<Host>,
}

#[derive(Deserialize)]
struct Host {
    stats: Vec<Count>,
    health_status: Health,
}

#[derive(Deserialize)]
struct Count {
    name: String,
    #[serde(default)]
    value: Option<String>,
}

#[derive(Deserialize)]
struct Health {
    #[serde(default)]
    failed_outlier_check: bool,
    #[serde(default)]
    failed_active_health_check: bool,
    #[serde(default)]
    pending_dynamic_removal: bool,
    #[serde(default)]
    eds_health_status: Option<String>,
}

pub(in super::super) fn read(body: &[u8]) -> Result<Vec<ClusterStatus>, String> {
    let written: Written = json(body)?;
    written.cluster_statuses.into_iter().map(cluster).collect()
}

fn cluster(status: Status) -> Result<ClusterStatus, String> {
    let mut found = ClusterStatus { name: status.name, ..ClusterStatus::default() };
    for host in status.host_statuses {
        let health = &host.health_status;
        if health.pending_dynamic_removal {
            continue;
        }
        found.hosts += 1;
        found.ejected += usize::from(health.failed_outlier_check);
        let eds = health.eds_health_status.as_deref();
        let told = matches!(eds, None | Some("HEALTHY" | "UNKNOWN"));
        let failed = health.failed_outlier_check || health.failed_active_health_check;
        found.unhealthy += usize::from(failed || !told);
        for count in host.stats {
            let sum = match count.name.as_str() {
                "cx_total" => &mut found.connections,
                "cx_connect_fail" => &mut found.connect_failures,
                "rq_total" => &mut found.requests,
                "rq_error" => &mut found.errors,
                "rq_success" => &mut found.successes,
                _ => continue,
            };
            // 64-bit numbers are texts in the JSON of protocol buffers.
            let value = count.value.as_deref().unwrap_or("0");
            let value: u64 = value
                .parse()
                .map_err(|_| format!("unexpected answer: {} of {} is {value:?}", count.name, found.name))?;
            *sum = sum.saturating_add(value);
        }
    }
    Ok(found)
}
