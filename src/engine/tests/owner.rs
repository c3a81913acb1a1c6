//! Cases are of pods, budgets of their owners.

use super::desk::{Desk, done, later};
use super::scene::{desk, desk_with, facts, of_pod, over};
use crate::model::incident::Phase;
use crate::model::indicator::Level;
use crate::model::plan::Outcome;
use crate::model::reason::Reason;
use crate::model::signal::Signal;

const HUNG: &str = "data_plane.proxy_hung";

fn ill(desk: &mut Desk, pod: &str) {
    desk.at = later(desk.at, 1);
    let signal = of_pod(HUNG, pod, desk);
    desk.says(signal);
}

fn well(desk: &mut Desk, pod: &str) {
    let signal = over(&of_pod(HUNG, pod, desk));
    desk.says(signal);
}

/// Falls ill and is acted on, if the gate lets it.
fn acts(desk: &mut Desk, pod: &str) -> bool {
    ill(desk, pod);
    desk.acts_on(facts(pod));
    desk.write().is_some()
}

fn refused() -> Outcome {
    Outcome::Failed { why: "no".to_owned() }
}

// Mutation: `key` without its member, or without its owner.
#[test]
fn two_pods_of_one_workload_are_two_cases_with_one_budget() {
    let mut desk = desk();
    ill(&mut desk, "cart-1");
    ill(&mut desk, "cart-2");
    assert_eq!(desk.state.open_count(), 2);
    let keys: Vec<_> = desk.state.open_incidents().map(|case| case.key.clone()).collect();
    assert_ne!(keys[0], keys[1]);
    assert_eq!(keys[0].budget(), keys[1].budget());
}

// Mutations: `gate::spent` and `budgets` that look at the member's own key; `Per::Target` that compares targets.
#[test]
fn a_replacement_inherits_what_was_spent_on_the_pod_it_replaces() {
    let mut desk = desk_with("attempts: { max: 2, refill: 1h }");
    for pod in ["cart-1", "cart-2"] {
        assert!(acts(&mut desk, pod), "{pod}");
        desk.executes(refused());
    }
    assert!(!acts(&mut desk, "cart-3"));
    assert_eq!(desk.ended(), (Phase::Escalated, &Reason::AttemptsSpent { attempts: 2 }));

    let mut desk =
        desk_with("attempts: { max: 9, refill: 1h }\nlimits: [{ per: target, acts: 2, window: 1h }]");
    for (pod, allowed) in [("cart-1", true), ("cart-2", true), ("cart-3", false)] {
        assert_eq!(acts(&mut desk, pod), allowed, "{pod}");
    }
}

// Mutations: `recovered` of a member that clears the sources of all; one that clears none.
#[test]
fn the_owner_is_well_once_all_its_members_are() {
    let mut desk = desk_with("attempts: { max: 1, refill: 1h }");
    ill(&mut desk, "cart-2");
    assert!(acts(&mut desk, "cart-1"));
    desk.executes(done());
    desk.probes(Level::Healthy);
    assert_eq!(desk.case().phase, Phase::Resolved);
    desk.at = later(desk.at, 7_200);
    assert!(!acts(&mut desk, "cart-3"), "cart-2 is ill to this hour");
    well(&mut desk, "cart-2");
    well(&mut desk, "cart-3");
    desk.at = later(desk.at, 3_600);
    assert!(acts(&mut desk, "cart-4"), "all are well for an hour");
}

// Mutation: `AttemptsRefilled` that leaves the members alone, or the case that is open.
#[test]
fn what_was_spent_on_a_pod_is_given_back_with_what_was_spent_on_its_owner() {
    let mut desk = desk_with("attempts: { max: 3, refill: 1h }");
    for _ in 0..3 {
        assert!(acts(&mut desk, "cart-1"));
        desk.executes(refused());
    }
    assert_eq!(desk.case().attempts, 3);
    well(&mut desk, "cart-1");
    desk.at = later(desk.at, 3_600);
    assert!(acts(&mut desk, "cart-1"));
    assert_eq!(desk.case().attempts, 1, "its playbook would give up on what was long ago");
}

// Mutations: `as_member` that finds nothing, or looks at neither namespace nor source.
#[test]
fn a_pod_that_went_ends_its_case_by_its_own_name() {
    let mut desk = desk();
    ill(&mut desk, "cart-1");
    let bare = |desk: &Desk| Signal { owner: None, depends_on: None, ..over(&of_pod(HUNG, "cart-1", desk)) };
    let mut elsewhere = bare(&desk);
    elsewhere.subject.namespace = "pay".into();
    let mut other = bare(&desk);
    other.source = "prometheus".into();
    assert!(desk.says(elsewhere).is_empty());
    assert!(desk.says(other).is_empty());
    assert_eq!(desk.state.open_count(), 1);
    let gone = bare(&desk);
    desk.says(gone);
    assert_eq!(desk.ended(), (Phase::Resolved, &Reason::SignalResolved));
    assert_eq!(desk.state.fired_by("watch").count() + desk.state.fired_by("watch cart-1").count(), 0);
}
