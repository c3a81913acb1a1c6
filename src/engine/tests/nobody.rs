//! Symptoms that no playbook heals: people are told of each once, nothing is done, and what a control plane that is
//! down explains is not even told.

use super::desk::{Desk, later};
use super::scene::{desk, down, istiod, of, over};
use crate::model::effect::Effect;
use crate::model::incident::Phase;
use crate::model::reason::Reason;
use crate::model::signal::Signal;
use crate::model::subject::Subject;

/// What an indicator of this name says of the mesh.
fn ill(symptom: &str, desk: &Desk) -> Signal {
    let source = format!("indicators/{symptom}").into();
    let mesh = Subject::new("", "Mesh", "", "all");
    Signal { source, depends_on: Some(istiod()), ..of(symptom, mesh, desk) }
}

/// Hears it; how often people are told. Nothing else is asked for.
fn told(desk: &mut Desk, signal: Signal) -> usize {
    desk.says(signal);
    let news = |effect: &Effect| matches!(effect, Effect::Notify { .. });
    assert!(desk.asked.iter().all(news), "{:?}", desk.asked);
    desk.asked.len()
}

const PUSH: &str = "control_plane.slow_push";
const LOAD: &str = "control_plane.uneven_load";

// Mutations: a second symptom of one family that is swallowed by the end of the first; repeats that open a case each;
// a relapse that is no news.
#[test]
fn a_symptom_without_a_playbook_is_told_once_and_each_symptom_is() {
    let mut desk = desk();
    // Both began together; the second one had to hold for longer.
    let (push, load) = (ill(PUSH, &desk), ill(LOAD, &desk));
    desk.at = later(desk.at, 300);
    assert_eq!(told(&mut desk, push.clone()), 1);
    assert_eq!(desk.ended(), (Phase::Escalated, &Reason::NoPlaybook));
    desk.at = later(desk.at, 1_800);
    assert_eq!(told(&mut desk, load.clone()), 1);
    assert_eq!(desk.case().symptom.as_str(), LOAD);
    for _ in 0..10 {
        desk.at = later(desk.at, 60);
        assert_eq!(told(&mut desk, push.clone()) + told(&mut desk, load.clone()), 0, "both are known");
    }
    assert_eq!(desk.state.open_count(), 0);
    assert_eq!(told(&mut desk, over(&push)) + told(&mut desk, over(&load)), 0);
    desk.at = later(desk.at, 600);
    let again = ill(PUSH, &desk);
    assert_eq!(told(&mut desk, again), 1, "it is ill anew");
}

// Mutations: `firing` without `cause::of`; a case that ends silently once its cause is gone.
#[test]
fn what_a_dead_control_plane_explains_is_told_only_if_it_outlasts_it() {
    for outlasts in [false, true] {
        let mut desk = desk();
        let dead = down(&desk);
        assert_eq!(told(&mut desk, dead.clone()), 1);
        let failing = ill("injection.failing", &desk);
        assert_eq!(told(&mut desk, failing.clone()), 0, "it is explained");
        assert!(desk.case().cause.is_some());
        desk.says(over(&dead));
        if !outlasts {
            assert_eq!(told(&mut desk, over(&failing)), 0);
            assert_eq!(desk.ended(), (Phase::Resolved, &Reason::SignalResolved));
            continue;
        }
        desk.wake();
        let (incident, facts) = (desk.id(), super::scene::facts("none"));
        desk.finds_of(&incident, facts);
        assert_eq!(desk.ended(), (Phase::Escalated, &Reason::NoPlaybook));
        let news = desk.asked.iter().filter(|effect| matches!(effect, Effect::Notify { .. })).count();
        assert_eq!(news, 1);
    }
}
