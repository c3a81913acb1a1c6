//! The proofs: name and what is done.

mod agent;
mod frozen;
mod ground;
mod kubelet;
mod refused;
mod shop;
mod stale;

use futures::future::LocalBoxFuture;

use crate::ground::Ground;

/// A proof.
pub(crate) type Proof = for<'g> fn(&'g Ground) -> LocalBoxFuture<'g, anyhow::Result<()>>;

/// All of them.
pub(crate) const PROOFS: &[(&str, Proof)] = &[
    // It waits longest, so it begins first.
    ("a_dead_istiod_and_fifty_stale_proxies_are_one_illness", |g| Box::pin(stale::is_explained(g))),
    ("the_ground_carries_traffic_and_its_pods_live", |g| Box::pin(ground::carries(g))),
    ("pods_start_and_end_as_a_kubelet_has_it", |g| Box::pin(kubelet::lives(g))),
    ("an_agent_hears_of_alerts_through_alertmanager", |g| Box::pin(agent::hears(g))),
    ("a_frozen_envoy_is_restarted_alone_and_early", |g| Box::pin(frozen::is_restarted(g))),
    ("what_would_come_back_with_less_is_left_alone", |g| Box::pin(refused::is_left_alone(g))),
];
