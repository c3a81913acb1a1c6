//! The proofs: name and what is done.

mod agent;
mod bad_route;
mod ground;
mod kubelet;
mod managed_route;
mod no_help;
mod overload;
mod routing;

use futures::future::LocalBoxFuture;

use crate::ground::Ground;

/// A proof.
pub(crate) type Proof = for<'g> fn(&'g Ground) -> LocalBoxFuture<'g, anyhow::Result<()>>;

/// All of them.
pub(crate) const PROOFS: &[(&str, Proof)] = &[
    ("the_ground_carries_traffic_and_its_pods_live", |g| Box::pin(ground::carries(g))),
    ("pods_start_and_end_as_a_kubelet_has_it", |g| Box::pin(kubelet::lives(g))),
    ("an_agent_sees_the_ground_and_restarts_a_frozen_proxy", |g| Box::pin(agent::acts(g))),
    ("a_bad_route_is_rolled_back_and_nothing_else_is_touched", |g| Box::pin(bad_route::rolled_back(g))),
    ("a_route_is_not_rolled_back_to_a_version_that_is_gone", |g| Box::pin(bad_route::gone(g))),
    ("a_bad_route_of_argo_cd_is_left_to_argo_cd", |g| Box::pin(managed_route::refused(g))),
    ("a_route_that_a_script_makes_bad_again_is_rolled_back_twice_at_most", |g| {
        Box::pin(managed_route::fought(g))
    }),
    ("an_act_that_does_not_help_is_undone_and_not_repeated_for_ever", |g| Box::pin(no_help::undone(g))),
    ("an_overload_is_shed_in_steps_and_taken_back_exactly", |g| Box::pin(overload::shed(g))),
];
