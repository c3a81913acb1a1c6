//! The proofs: name and what is done.

mod agent;
mod bad_route;
mod board;
mod busy;
mod certs;
mod frozen;
mod ground;
mod killed;
mod killed_pods;
mod killed_restart;
mod killed_routing;
mod kubelet;
mod looks_only;
mod managed_route;
mod metrics_gone;
mod no_help;
mod overload;
mod promql;
mod refused;
mod renewals;
mod rounds;
mod routing;
mod server_gone;
mod shop;
mod stale;

use futures::future::LocalBoxFuture;

use crate::ground::Ground;

/// A proof.
pub(crate) type Proof = for<'g> fn(&'g Ground) -> LocalBoxFuture<'g, anyhow::Result<()>>;

/// All of them; the longest first, so that it does not run alone in the end.
pub(crate) const PROOFS: &[(&str, Proof)] = &[
    ("the_ground_carries_traffic_and_its_pods_live", |g| Box::pin(ground::carries(g))),
    ("pods_start_and_end_as_a_kubelet_has_it", |g| Box::pin(kubelet::lives(g))),
    ("a_bad_route_is_rolled_back_and_nothing_else_is_touched", |g| Box::pin(bad_route::rolled_back(g))),
    ("a_route_is_not_rolled_back_to_a_version_that_is_gone", |g| Box::pin(bad_route::gone(g))),
    ("a_bad_route_of_argo_cd_is_left_to_argo_cd", |g| Box::pin(managed_route::refused(g))),
    ("a_route_that_a_script_makes_bad_again_is_rolled_back_twice_at_most", |g| {
        Box::pin(managed_route::fought(g))
    }),
    ("an_act_that_does_not_help_is_undone_and_not_repeated_for_ever", |g| Box::pin(no_help::undone(g))),
    ("an_overload_is_shed_in_steps_and_taken_back_exactly", |g| Box::pin(overload::shed(g))),
    ("an_agent_hears_of_alerts_through_alertmanager", |g| Box::pin(agent::hears(g))),
    ("a_frozen_envoy_is_restarted_alone_and_early", |g| Box::pin(frozen::is_restarted(g))),
    ("what_would_come_back_with_less_is_left_alone", |g| Box::pin(refused::is_left_alone(g))),
    ("nothing_is_done_while_prometheus_cannot_be_believed", |g| Box::pin(metrics_gone::waits(g))),
    ("an_api_server_that_fails_in_an_act_costs_time_and_nothing_else", |g| {
        Box::pin(server_gone::ends_well(g))
    }),
    ("an_agent_killed_between_drain_and_quit_restarts_the_sidecar_once", |g| {
        Box::pin(killed_restart::halfway(g))
    }),
    ("a_certificate_near_its_end_is_renewed_once_and_a_renewal_that_hangs_is_told", |g| {
        Box::pin(renewals::told(g))
    }),
    ("an_agent_killed_in_a_rollback_or_a_shed_finishes_it_once", |g| {
        Box::pin(killed_routing::finished_once(g))
    }),
    ("an_agent_killed_in_an_act_on_pods_or_certificates_finishes_it_once", |g| {
        Box::pin(killed_pods::finished_once(g))
    }),
    ("our_promql_gives_the_figures_of_a_real_prometheus", |g| Box::pin(promql::is_that_of_prometheus(g))),
    ("in_mode_observe_four_faults_lead_to_four_plans_and_no_write", |g| {
        Box::pin(looks_only::writes_nothing(g))
    }),
];

/// Those that run after all others, one after the other: a machine with five control planes on two cores is not
/// quiet, and what answers late there is told as unknown. Fifty proxies are work enough for it.
pub(crate) const ALONE: &[(&str, Proof)] = &[
    ("fifty_stale_proxies_are_symptoms_of_an_istiod_that_is_down", |g| Box::pin(stale::is_explained(g))),
    ("each_fault_of_the_data_plane_moves_exactly_its_own_indicators", |g| {
        Box::pin(board::faults::of_proxies(g))
    }),
    ("each_fault_of_what_the_mesh_needs_moves_exactly_its_own_indicators", |g| {
        Box::pin(board::faults::of_dependencies(g))
    }),
    ("a_quiet_mesh_is_quiet_for_five_minutes", |g| Box::pin(board::is_quiet(g))),
];
