//! The admin ports of Istio's proxies: all that is read of them is heard in one go, because several indicators
//! tell of it, and not more often than it changes what anybody does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt as _;

use super::Boards;
use super::aged::Aged;
use super::survey::{Asking, Scope};
use crate::cluster::{Mesh, Pod, PodPort};
use crate::model::subject::Subject;
use crate::sources::envoy::{ClusterStatus, Configuration, EnvoyAdmin, Leaf, ServerInfo, Stat};

/// Connections under way at once, as for the readiness of proxies.
const AT_ONCE: usize = 64;
/// So many proxies the agent asks by itself. Each takes five questions, and they go through the API server.
const MOST: usize = 200;

/// What one proxy said, page by page.
pub(super) struct Heard {
    pub(super) server: Result<ServerInfo, String>,
    pub(super) leaves: Result<Vec<Leaf>, String>,
    pub(super) configuration: Result<Configuration, String>,
    /// Updates of clusters that it rejected since it started.
    pub(super) rejected_clusters: Result<u64, String>,
}

/// Hosts of one cluster as one client's proxy sees them: seen, and kept out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts {
    pub(super) all: usize,
    pub(super) ejected: usize,
}

impl Hosts {
    /// Whether more of its hosts are kept out; of two that keep out as many, whether it has more.
    fn is_worse_than(self, other: Self) -> bool {
        (self.ejected * other.all, self.all) > (other.ejected * self.all, other.all)
    }
}

/// Requests to hosts, and those of them that they failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Requests {
    pub(super) all: u64,
    pub(super) failed: u64,
}

/// What all proxies said.
#[derive(Default)]
pub(super) struct AllHeard {
    pub(super) proxies: BTreeMap<Subject, Heard>,
    /// Of the clusters that lead to a service, at all of its clients, the one that keeps out the largest share; by
    /// host name of the service.
    pub(super) hosts: BTreeMap<String, Hosts>,
    /// Requests to the hosts of each service since each proxy started, by proxy and host name.
    counted: BTreeMap<(Subject, String), Requests>,
    /// How many came since the look before, by host name; nothing where there was none.
    pub(super) grown: Option<BTreeMap<String, Requests>>,
    /// Why there may be more.
    pub(super) gaps: Vec<String>,
}

/// What is kept of it.
pub(super) type Kept = Aged<AllHeard>;

impl Boards {
    /// What the admin ports of these pods say.
    ///
    /// # Errors
    /// There is no way to them.
    pub(super) async fn admin_ports(
        &self,
        scope: &Scope,
        pods: &[Arc<Pod>],
    ) -> Result<Arc<AllHeard>, String> {
        let admin = self.admin.as_ref().ok_or(
            "no way to the admin ports of proxies is configured: they are reached by port-forward only \
             (sources.proxies, via: port_forward)",
        )?;
        if scope.asking == Asking::Unasked {
            return Err("admin ports are asked only for those who look".to_owned());
        }
        let running = scope.asking == Asking::Rounds;
        Ok(self
            .heard
            .get(scope.asking.oldest(), |before| async move {
                let mut all = hear(admin, pods, running).await;
                all.grown = before.map(|before| grown(&before.counted, &all.counted));
                all
            })
            .await)
    }
}

async fn hear(admin: &EnvoyAdmin, pods: &[Arc<Pod>], running: bool) -> AllHeard {
    let istio = |pod: &&Arc<Pod>| &*pod.phase == "Running" && pod.is_meshed(Mesh::Istio);
    let pods: Vec<&Arc<Pod>> = pods.iter().filter(istio).collect();
    let asked = if running { pods.len().min(MOST) } else { pods.len() };
    let mut all = AllHeard::default();
    if asked < pods.len() {
        let left = pods.len() - asked;
        all.gaps.push(format!("the agent asks {MOST} admin ports by itself, and {left} more are there"));
    }
    let targets: Vec<(Subject, PodPort)> =
        pods.iter().take(asked).map(|pod| (pod.subject(), Boards::port(pod))).collect();
    let hear = targets.into_iter().map(|(pod, at)| async move { (pod, one(admin, &at).await) });
    let mut told = futures::stream::iter(hear).buffer_unordered(AT_ONCE);
    while let Some((pod, (heard, clusters))) = told.next().await {
        match clusters {
            Ok(clusters) => clusters.into_iter().for_each(|(host, hosts, requests)| {
                // A service has a cluster for each of its ports and subsets.
                let counted = all.counted.entry((pod.clone(), host.clone())).or_default();
                counted.all = counted.all.saturating_add(requests.all);
                counted.failed = counted.failed.saturating_add(requests.failed);
                let worst = all.hosts.entry(host).or_insert(hosts);
                if hosts.is_worse_than(*worst) {
                    *worst = hosts;
                }
            }),
            Err(why) => all.gaps.push(why),
        }
        all.proxies.insert(pod, heard);
    }
    // They came in the order in which they were answered.
    all.gaps.sort();
    // One reason for all is enough: a right that is missing is missing a thousand times.
    if all.gaps.len() > 3 {
        let more = all.gaps.len() - 3;
        all.gaps.truncate(3);
        all.gaps.push(format!("and {more} more could not be read"));
    }
    let names: BTreeSet<String> = pods.iter().map(|pod| Boards::port(pod).name()).collect();
    admin.retain(|name| names.contains(name));
    all
}

type ByService = Result<Vec<(String, Hosts, Requests)>, String>;

/// What came since the look before, over the proxies that were there then. One whose counters fell has started
/// anew meanwhile, and tells next time.
fn grown(
    before: &BTreeMap<(Subject, String), Requests>,
    now: &BTreeMap<(Subject, String), Requests>,
) -> BTreeMap<String, Requests> {
    let mut grown: BTreeMap<String, Requests> = BTreeMap::new();
    for (key, now) in now {
        let Some(before) = before.get(key) else { continue };
        let (all, failed) = (now.all.checked_sub(before.all), now.failed.checked_sub(before.failed));
        if let (Some(all), Some(failed)) = (all, failed) {
            let sum = grown.entry(key.1.clone()).or_default();
            sum.all = sum.all.saturating_add(all);
            sum.failed = sum.failed.saturating_add(failed);
        }
    }
    grown
}

/// All pages of one proxy, one after the other: whoever keeps silent once is not asked again.
async fn one(admin: &EnvoyAdmin, at: &PodPort) -> (Heard, ByService) {
    let server = admin.server(at).await;
    let leaves = admin.leaves(at).await;
    let configuration = admin.configuration(at).await;
    let rejected_clusters = admin.stats(at).await.and_then(|stats| stats.get(Stat::RejectedClusters));
    let clusters = admin.clusters(at).await.map(|clusters| {
        let of = |cluster: ClusterStatus| {
            let hosts = Hosts { all: cluster.hosts, ejected: cluster.ejected };
            let requests = Requests { all: cluster.requests, failed: cluster.errors };
            Some((cluster.service()?.to_owned(), hosts, requests)).filter(|_| hosts.all > 0)
        };
        clusters.into_iter().filter_map(of).collect()
    });
    (Heard { server, leaves, configuration, rejected_clusters }, clusters)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutations: the mean of all clusters, in which a subset that is gone is lost; the cluster with most hosts.
    #[test]
    fn the_cluster_that_keeps_out_most_counts() {
        let of = |ejected, all| Hosts { all, ejected };
        assert!(of(1, 1).is_worse_than(of(1, 10)) && !of(1, 10).is_worse_than(of(1, 1)));
        assert!(of(0, 5).is_worse_than(of(0, 2)) && !of(0, 2).is_worse_than(of(0, 2)));
    }

    // Mutations: a proxy that started anew as one that failed nothing; one that was not there before with all that
    // it ever counted; the count itself for its growth.
    #[test]
    fn requests_grow_only_where_the_same_proxy_counted_before() {
        let key = |pod: &str| (Subject::pod("shop", pod), "cart".to_owned());
        let of = |all, failed| Requests { all, failed };
        let before = BTreeMap::from([(key("a"), of(100, 40)), (key("b"), of(100, 0))]);
        let now = BTreeMap::from([(key("a"), of(150, 45)), (key("b"), of(10, 10)), (key("c"), of(900, 900))]);
        assert_eq!(grown(&before, &now), BTreeMap::from([("cart".to_owned(), of(50, 5))]));
        assert!(grown(&BTreeMap::new(), &now).is_empty());
    }
}
