//! The proofs: name and what is done.

mod agent;
mod ground;
mod kubelet;

use futures::future::LocalBoxFuture;

use crate::ground::Ground;

/// A proof.
pub(crate) type Proof = for<'g> fn(&'g Ground) -> LocalBoxFuture<'g, anyhow::Result<()>>;

/// All of them.
pub(crate) const PROOFS: &[(&str, Proof)] = &[
    ("the_ground_carries_traffic_and_its_pods_live", |g| Box::pin(ground::carries(g))),
    ("pods_start_and_end_as_a_kubelet_has_it", |g| Box::pin(kubelet::lives(g))),
    ("an_agent_sees_the_ground_and_restarts_a_frozen_proxy", |g| Box::pin(agent::acts(g))),
];
