//! A control plane that is down explains what its proxies suffer.

use super::desk::{Desk, done, later};
use super::scene::{desk, down, facts, istiod, of, of_pod, over};
use crate::model::change::Change;
use crate::model::effect::Effect;
use crate::model::event::EventKind;
use crate::model::incident::{Incident, Phase};
use crate::model::indicator::Level;
use crate::model::plan::{Outcome, Rehearsal};
use crate::model::reason::Reason;
use crate::model::signal::Signal;
use crate::model::subject::Subject;

fn pod(number: usize) -> String {
    format!("cart-{number:03}")
}

fn ill(desk: &mut Desk, number: usize) {
    let signal = of_pod("data_plane.proxy_hung", &pod(number), desk);
    desk.says(signal);
}

fn explained(desk: &Desk) -> Vec<&Incident> {
    desk.state.open_incidents().filter(|case| case.cause.is_some()).collect()
}

fn parent(desk: &Desk) -> Incident {
    desk.of_subject("istiod").clone()
}

// Mutations: `firing` without `cause::of`; `cause::explains` that explains nothing, or only what comes after;
// `waits` without `Planned`; a parent that explains only while its own case is open; `free` that does nothing,
// or does not wait; `resume` that inspects what is explained.
#[test]
fn one_dead_control_plane_and_five_hundred_ill_proxies_lead_to_no_act() {
    let mut desk = desk();
    for number in 0..100 {
        ill(&mut desk, number);
        let id = desk.id();
        match number % 3 {
            0 => {}
            1 => drop(desk.finds_of(&id, facts(&pod(number)))),
            _ => drop(desk.finds_of(&id, {
                let mut facts = facts(&pod(number));
                facts.control_plane.as_mut().unwrap().ready_replicas = 0;
                facts
            })),
        }
    }
    let dead = down(&desk);
    let mut asked = Vec::new();
    desk.says(dead.clone());
    assert_eq!(parent(&desk).phase, Phase::Escalated, "no playbook knows what to do about it");
    asked.append(&mut desk.asked);
    for number in 100..500 {
        desk.at = later(desk.at, 1);
        ill(&mut desk, number);
        asked.append(&mut desk.asked);
        if number % 100 == 50 {
            desk.says(dead.clone());
            desk.start();
            asked.append(&mut desk.asked);
        }
    }
    // Whoever was asked before answers late.
    for number in 0..100 {
        let id = desk.of_subject(&pod(number)).id.clone();
        desk.finds_of(&id, facts(&pod(number)));
        asked.append(&mut desk.asked);
    }
    for _ in 0..20 {
        desk.at = later(desk.at, 360);
        desk.hear(EventKind::Tick);
        asked.append(&mut desk.asked);
    }
    let acts = asked.iter().find(|effect| !matches!(effect, Effect::Notify { .. }));
    assert!(acts.is_none(), "started although it is explained: {acts:?}");
    assert_eq!((explained(&desk).len(), parent(&desk).explains), (500, 500));
    assert!(explained(&desk).iter().all(|case| case.cause.as_ref() == Some(&parent(&desk).id)));

    for number in 0..50 {
        let signal = over(&of_pod("data_plane.proxy_hung", &pod(number), &desk));
        desk.says(signal);
        assert_eq!(desk.of_subject(&pod(number)).phase, Phase::Resolved, "it resolved meanwhile");
    }
    desk.says(over(&dead));
    assert!(explained(&desk).is_empty() && desk.asked.is_empty(), "they get a while to catch up");
    let back = desk.at;
    desk.start();
    let news = |effect: &Effect| matches!(effect, Effect::Notify { .. });
    assert!(desk.asked.iter().all(news), "also after a restart: {:?}", desk.asked);
    desk.wake();
    assert_eq!(desk.at, later(back, 45));
    let inspected = desk.asked.iter().filter(|effect| matches!(effect, Effect::Inspect(_))).count();
    assert_eq!(inspected, 450, "each of them is looked at again, once");
}

// Mutations: `down` that asks for a named symptom; `Ignored` that adds no source.
#[test]
fn what_is_explained_is_let_go_only_when_nobody_says_any_more_that_it_is_down() {
    for ended in [false, true] {
        let mut desk = desk();
        let first = down(&desk);
        let second = Signal { source: "alertmanager".into(), ..first.clone() };
        let mut slow = of("control_plane.slow", istiod(), &desk);
        slow.source = "prometheus".into();
        if ended {
            desk.says(first.clone());
        } else {
            // A case that stays open: it is gated for long.
            desk = observed();
            desk.says(first.clone());
        }
        desk.says(second.clone());
        desk.says(slow);
        ill(&mut desk, 1);
        desk.says(over(&first));
        assert_eq!(explained(&desk).len(), 1, "the second one still says so");
        desk.says(over(&second));
        assert!(explained(&desk).is_empty(), "that it is slow explains nothing");
    }
}

/// A desk with a playbook that starts istiod anew, in observe: its case stays open.
fn observed() -> Desk {
    istiod_desk("mode: observe")
}

fn istiod_desk(spec: &str) -> Desk {
    let about = |on: &str, needs: &str, plan: &str| {
        format!(
            "//! {on}.\nfn about() {{ #{{ on: [symptom(\"{on}\")], needs: [{needs}], recover: #{{ indicator: \
             \"traffic.route_error_rate\", within: \"1m\", hold: \"9s\" }} }} }}\nfn plan(facts) {{ [{plan}] }}\n"
        )
    };
    let rollout =
        about("control_plane.down", "\"workload\", \"control_plane\"", "rollout_restart(facts.workload)");
    let needs = "\"pod\", \"proxy\", \"control_plane\", \"budget?\"";
    let restart = about("data_plane.proxy_hung", needs, "restart_sidecar(facts.pod, facts.proxy)");
    Desk::with(spec, &[("istiod.rhai", &rollout), ("restart.rhai", &restart)])
}

// Mutation: `Ended` with a recovery that leaves the control plane in the list.
#[test]
fn a_measured_recovery_of_the_control_plane_lets_its_proxies_go() {
    let mut desk = istiod_desk("mode: enforce");
    let dead = down(&desk);
    desk.says(dead);
    let id = desk.id();
    let mut found = facts("cart-1");
    let workload = found.workload.as_mut().unwrap();
    (workload.namespace, workload.name) = ("istio-system".to_owned(), "istiod".to_owned());
    desk.finds_of(&id, found);
    desk.rehearses(Rehearsal::Accepted { diff: String::new() });
    desk.executes(done());
    desk.probes(Level::Healthy);
    assert_eq!(parent(&desk).phase, Phase::Resolved);
    ill(&mut desk, 1);
    assert!(explained(&desk).is_empty(), "nobody would ever let it go again");
}

// Mutation: `select::again` without its look at the cause.
#[test]
fn what_acted_when_it_went_down_is_explained_before_it_acts_again() {
    let mut desk = desk();
    ill(&mut desk, 1);
    desk.acts_on(facts(&pod(1)));
    let (id, write) = (desk.id(), desk.write().expect("it acts"));
    let dead = down(&desk);
    desk.says(dead);
    assert_eq!(desk.of_subject(&pod(1)).phase, Phase::Executing, "what was begun is let finish");
    let outcome = Outcome::Stale { why: "another container".to_owned() };
    let (incident, plan, step, direction, run) =
        (id.clone(), write.plan, write.step, write.direction, write.run);
    desk.hear(EventKind::Executed { incident, plan, step, direction, run, outcome });
    let case = &desk.state.incidents[&id];
    assert_eq!((case.phase, case.cause.is_some()), (Phase::Open, true));
}

// Mutation: `Caused` that leaves its case in `regate`: the driver would turn for ever.
#[test]
fn a_plan_that_was_to_be_gated_again_waits_for_its_cause_instead() {
    let mut desk = desk();
    ill(&mut desk, 1);
    desk.hear(EventKind::ClockJumped { seconds: 3_600 });
    desk.acts_on(facts(&pod(1)));
    assert!(desk.case().holds().iter().any(|hold| hold.reason == Reason::ClockJumped));
    desk.at = later(desk.at, 1);
    desk.hear(EventKind::Tick);
    let dead = down(&desk);
    desk.says(dead);
    assert_eq!(explained(&desk).len(), 1);
    assert!(desk.state.next_wake().unwrap() > desk.at, "woken for nothing");
}

// Mutation: `cause::of` that explains a case by itself, or by any control plane.
#[test]
fn another_control_plane_explains_nothing() {
    let mut desk = desk();
    let other =
        of("control_plane.down", Subject::new("apps", "Deployment", "istio-system", "istiod-1-27"), &desk);
    desk.says(other);
    ill(&mut desk, 1);
    assert!(matches!(desk.asked[..], [Effect::Inspect(_)]), "{:?}", desk.asked);
    let own = Signal { depends_on: Some(istiod()), ..down(&desk) };
    let changes = desk.says(own);
    assert!(
        !changes
            .iter()
            .any(|change| matches!(change, Change::Caused { incident, .. } if *incident == parent(&desk).id))
    );
}

// Mutation: `overdue` that lets an explained case wait for ever.
#[test]
fn what_is_explained_for_a_day_ends_suppressed() {
    let mut desk = desk();
    let dead = down(&desk);
    desk.says(dead);
    ill(&mut desk, 1);
    let began = desk.at;
    desk.wake();
    assert_eq!((desk.of_subject(&pod(1)).phase, desk.at), (Phase::Suppressed, later(began, 86_400)));
}
