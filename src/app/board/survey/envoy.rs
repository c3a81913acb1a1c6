//! The survey of what Istio's proxies say at their admin ports.

use std::sync::Arc;

use super::{Readings, Scope, count, found};
use crate::app::board::Boards;
use crate::app::board::admin::Heard;
use crate::cluster::{Mesh, Pod, Watched};
use crate::health::{Found, ONE_LOOK, Taken};
use crate::model::indicator::Figure;
use crate::model::subject::Subject;

fn figure(value: f64) -> Found {
    Found::Figure(Figure { value, samples: 1.0 })
}

impl Boards {
    /// Whether each proxy takes traffic.
    pub(super) async fn read_states(&self, scope: &Scope) -> Readings {
        self.read_admin(scope, "/server_info", |heard| match &heard.server {
            Ok(server) if server.is_live() => (figure(1.0), String::new()),
            Ok(server) => (figure(0.0), format!("{} after {} s", server.state, server.uptime_s())),
            Err(why) => (Found::Unread(why.clone()), String::new()),
        })
        .await
    }

    /// Life that the certificate of each workload has left: of the one that ends first.
    pub(super) async fn read_leaves(&self, scope: &Scope) -> Readings {
        let now = self.clock.elsewhere();
        self.read_admin(scope, "/certs", |heard| {
            let leaves = match &heard.leaves {
                Ok(leaves) => leaves,
                Err(why) => return (Found::Unread(why.clone()), String::new()),
            };
            let first = leaves.iter().min_by_key(|leaf| leaf.expires);
            first.map_or_else(
                || {
                    (
                        Found::Idle("its proxy has no certificate: it speaks plain text".to_owned()),
                        String::new(),
                    )
                },
                |leaf| {
                    let note = format!("{} expires at {}", leaf.identity, leaf.expires);
                    (figure(leaf.left(now)), note)
                },
            )
        })
        .await
    }

    /// Whether each proxy takes what it is sent, as it says itself: for when istiod cannot be asked.
    pub(super) async fn read_rejections(&self, scope: &Scope) -> Readings {
        self.read_admin(scope, "/config_dump and cluster_manager.cds.update_rejected", accepts).await
    }

    /// Share of each service's hosts that outlier detection keeps out, where a client keeps out most.
    pub(super) async fn read_ejected(&self, scope: &Scope) -> Readings {
        let heard = match self.admin_ports(scope, &self.asked(scope)).await {
            Ok(heard) => heard,
            Err(why) => return (Vec::new(), vec![why]),
        };
        let read = heard.hosts.iter().filter_map(|(host, hosts)| {
            let service = service(host)?;
            let figure = Figure { value: count(hosts.ejected) / count(hosts.all), samples: count(hosts.all) };
            let way = format!("GET /clusters at port 15000 of every proxy, for {host}");
            Some(self.taken("envoy", (service, Found::Figure(figure)), way))
        });
        (read.collect(), heard.gaps.clone())
    }

    /// Share of the requests to each service that its hosts failed since the look before, over all of its clients.
    pub(super) async fn read_upstream(&self, scope: &Scope) -> Readings {
        let heard = match self.admin_ports(scope, &self.asked(scope)).await {
            Ok(heard) => heard,
            Err(why) => return (Vec::new(), vec![why]),
        };
        let Some(grown) = &heard.grown else {
            return (Vec::new(), vec![ONE_LOOK.to_owned()]);
        };
        let read = grown.iter().filter_map(|(host, requests)| {
            let (all, failed) = (count(requests.all), count(requests.failed));
            let found = if requests.all == 0 {
                Found::Idle("no requests between the last two looks".to_owned())
            } else {
                Found::Figure(Figure { value: failed / all, samples: all })
            };
            let way = format!("GET /clusters at port 15000 of every proxy, twice, for {host}");
            Some(self.taken("envoy", (service(host)?, found), way))
        });
        (read.collect(), heard.gaps.clone())
    }

    async fn read_admin(
        &self,
        scope: &Scope,
        page: &str,
        read: impl Fn(&Heard) -> (Found, String),
    ) -> Readings {
        let istio = |pod: &Arc<Pod>| pod.is_meshed(Mesh::Istio);
        let pods: Vec<Arc<Pod>> = self.asked(scope).into_iter().filter(istio).collect();
        let heard = match self.admin_ports(scope, &pods).await {
            Ok(heard) => heard,
            Err(why) => return (Vec::new(), vec![why]),
        };
        let one = |pod: &Arc<Pod>| {
            let (found, note) = match (self.too_early(pod), heard.proxies.get(&pod.subject())) {
                (Some(why), _) => (Found::Idle(why), String::new()),
                (None, Some(heard)) => read(heard),
                (None, None) => (found(Err("its admin port was not asked yet".to_owned())), String::new()),
            };
            let way = format!("GET {page} at port 15000 of {}", pod.subject());
            Taken { note, ..self.taken("envoy", (pod.subject(), found), way) }
        };
        (pods.iter().map(one).collect(), self.cluster.gaps(Watched::Pods))
    }
}

/// Whether a proxy takes what it is sent, as far as it says. Of rejected clusters it only counts how many there
/// were: with one, nobody knows whether it still rejects.
fn accepts(heard: &Heard) -> (Found, String) {
    match (&heard.configuration, &heard.rejected_clusters) {
        (Ok(configuration), _) if !configuration.rejected.is_empty() => {
            (figure(0.0), configuration.rejected[0].details.clone())
        }
        (Err(why), _) | (_, Err(why)) => (Found::Unread(why.clone()), String::new()),
        (Ok(configuration), _) if configuration.listeners == 0 => {
            (Found::Unread("it has no listener: it got no configuration".to_owned()), String::new())
        }
        (Ok(_), Ok(0)) => (figure(1.0), String::new()),
        (Ok(_), Ok(times)) => {
            let why =
                format!("it has rejected clusters {times} times; Envoy does not say whether it still does");
            (Found::Unread(why), String::new())
        }
    }
}

/// The service of a host name of the cluster.
fn service(host: &str) -> Option<Subject> {
    let mut parts = host.split('.');
    let (name, namespace, kind) = (parts.next()?, parts.next()?, parts.next()?);
    (kind == "svc" && !name.is_empty()).then(|| Subject::new("", "Service", namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::envoy::{Configuration, Rejection};

    fn heard(rejected: usize, listeners: usize, clusters: Result<u64, String>) -> Heard {
        let one = Rejection { name: String::new(), details: "no such filter".to_owned() };
        let unread = || "not asked".to_owned();
        Heard {
            server: Err(unread()),
            leaves: Err(unread()),
            configuration: Ok(Configuration { listeners, rejected: vec![one; rejected] }),
            rejected_clusters: clusters,
        }
    }

    // Mutations: no listener as none rejected; a counter that is absent, or that counted once, as zero.
    #[test]
    fn a_proxy_accepts_only_what_it_shows_to_accept() {
        let value = |heard: &Heard| match accepts(heard).0 {
            Found::Figure(figure) => Some(figure.value),
            Found::Idle(_) | Found::Unread(_) => None,
        };
        assert_eq!(value(&heard(0, 3, Ok(0))), Some(1.0));
        assert_eq!(value(&heard(1, 3, Ok(0))), Some(0.0));
        assert_eq!(value(&heard(1, 3, Err("absent".to_owned()))), Some(0.0));
        for unknown in [heard(0, 0, Ok(0)), heard(0, 3, Ok(1)), heard(0, 3, Err("absent".to_owned()))] {
            assert_eq!(value(&unknown), None);
        }
    }

    #[test]
    fn hosts_of_the_cluster_are_services_and_others_are_not() {
        assert_eq!(service("cart.shop.svc.cluster.local"), Some(Subject::new("", "Service", "shop", "cart")));
        for other in ["api.example.com", "localhost", "", "a.b"] {
            assert_eq!(service(other), None, "{other}");
        }
    }
}
