//! Whether an act was made is read from the cluster, for each act by its own facts.

use super::super::standing::{self, Standing};
use super::desk::{Desk, hash, later};
use super::scene::{
    certificate, deployment, desk, evict, facts, found, of, of_pod, restart, roll_rule_back, rollout, rotate,
    shed,
};
use crate::model::action::Action;
use crate::model::effect::Effect;
use crate::model::facts::Findings;
use crate::model::incident::Phase;
use crate::model::plan::Outcome;
use crate::model::subject::Subject;

type Row = (&'static str, fn() -> Action, fn(&mut Findings), &'static str);

fn word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Done => "done",
        Standing::NotDone => "not done",
        Standing::Other(_) => "other",
        Standing::Unknown => "unknown",
    }
}

fn restore() -> Action {
    shed().inverse().unwrap()
}

const ROWS: &[Row] = &[
    ("the container is the same", restart, |_| {}, "not done"),
    (
        "another container",
        restart,
        |f| f.facts.proxy.as_mut().unwrap().container_id = "c2".to_owned(),
        "done",
    ),
    ("no container now", restart, |f| f.facts.proxy.as_mut().unwrap().container_id.clear(), "unknown"),
    ("another pod", restart, |f| f.facts.pod.as_mut().unwrap().uid = "x".to_owned(), "other"),
    ("no proxy", restart, |f| f.facts.proxy = None, "unknown"),
    ("no pod", restart, |f| f.facts.pod = None, "unknown"),
    ("it is there", evict, |_| {}, "not done"),
    ("it went", evict, |f| f.gone = true, "done"),
    ("it goes", evict, |f| f.facts.pod.as_mut().unwrap().terminating = true, "done"),
    ("another pod", evict, |f| f.facts.pod.as_mut().unwrap().uid = "x".to_owned(), "done"),
    ("no pod", evict, |f| f.facts.pod = None, "unknown"),
    ("same generation", rollout, |_| {}, "not done"),
    ("restarted", rollout, |f| rolled(f, 4, Some("2026-01-01T00:00:00Z")), "done"),
    ("scaled meanwhile", rollout, |f| rolled(f, 4, None), "not done"),
    ("another", rollout, |f| f.facts.workload.as_mut().unwrap().uid = "x".to_owned(), "other"),
    ("none", rollout, |f| f.facts.workload = None, "unknown"),
    ("its pod went", rollout, |f| went(f, 4, Some("2026-01-01T00:00:00Z")), "done"),
    ("its pod went by itself", rollout, |f| went(f, 3, None), "not done"),
    ("its pod went, and nobody could look", rollout, unseen, "unknown"),
    ("no limits", shed, |_| {}, "not done"),
    ("limits", shed, |f| f.facts.destination_rule.as_mut().unwrap().shed = true, "done"),
    ("another rule", shed, |f| f.facts.destination_rule.as_mut().unwrap().name = "x".to_owned(), "other"),
    ("no rule", shed, |f| f.facts.destination_rule = None, "not done"),
    ("unreadable", shed, |f| lost(f, "destination_rule"), "unknown"),
    ("no limits", restore, |_| {}, "done"),
    ("limits", restore, |f| f.facts.destination_rule.as_mut().unwrap().shed = true, "not done"),
    ("another rule", restore, |f| f.facts.destination_rule.as_mut().unwrap().name = "x".to_owned(), "other"),
    ("no rule", restore, |f| f.facts.destination_rule = None, "done"),
    ("unreadable", restore, |f| lost(f, "destination_rule"), "unknown"),
    ("same revision", rotate, |_| {}, "not done"),
    ("next revision", rotate, |f| f.facts.certificate.as_mut().unwrap().revision = 5, "done"),
    ("under way", rotate, |f| f.facts.certificate.as_mut().unwrap().issuing = true, "done"),
    ("another", rotate, |f| f.facts.certificate.as_mut().unwrap().uid = "x".to_owned(), "other"),
    ("none", rotate, |f| f.facts.certificate = None, "unknown"),
    ("as it was", roll_rule_back, |_| {}, "not done"),
    ("good", roll_rule_back, |f| f.facts.destination_rule.as_mut().unwrap().spec_hash = hash("good"), "done"),
    ("worse", roll_rule_back, |f| f.facts.destination_rule.as_mut().unwrap().spec_hash = hash("x"), "other"),
    ("another", roll_rule_back, |f| f.facts.destination_rule.as_mut().unwrap().uid = "x".to_owned(), "other"),
    (
        "another rule",
        roll_rule_back,
        |f| f.facts.destination_rule.as_mut().unwrap().name = "x".to_owned(),
        "unknown",
    ),
    ("none", roll_rule_back, |f| f.facts.destination_rule = None, "unknown"),
];

fn rolled(findings: &mut Findings, generation: u64, restarted_at: Option<&str>) {
    let workload = findings.facts.workload.as_mut().unwrap();
    (workload.generation, workload.restarted_at) = (generation, restarted_at.map(str::to_owned));
}

fn went(findings: &mut Findings, generation: u64, restarted_at: Option<&str>) {
    findings.gone = true;
    rolled(findings, generation, restarted_at);
}

fn unseen(findings: &mut Findings) {
    findings.gone = true;
    findings.facts.workload = None;
    findings.missing.insert("workload".to_owned(), "nobody answers".to_owned());
}

fn lost(findings: &mut Findings, fact: &str) {
    findings.facts.destination_rule = None;
    findings.missing.insert(fact.to_owned(), "nobody answers".to_owned());
}

// Mutation for each row: its arm in `standing::of`, or its guard.
#[test]
fn each_act_is_recognised_by_what_it_leaves() {
    let desk = desk();
    for (what, action, edit, expected) in ROWS {
        let mut findings = found(facts("cart-1"), &desk);
        edit(&mut findings);
        let standing = standing::of(&action(), &findings);
        assert_eq!(word(&standing), *expected, "{what}: {:?}", action());
    }
}

fn acting(action: fn() -> Action) -> Desk {
    let mut desk = desk();
    let signal = match action() {
        Action::RestartSidecar { .. } => of_pod("data_plane.proxy_hung", "cart-1", &desk),
        Action::EvictPod { .. } => of_pod("data_plane.proxy_crashing", "cart-1", &desk),
        Action::RolloutRestart { .. } => of("data_plane.outdated", deployment(), &desk),
        Action::RotateCertificate { .. } => of("security.certificate_expiring", certificate(), &desk),
        Action::ShedLoad { .. }
        | Action::RollbackRoute { .. }
        | Action::Restore { .. }
        | Action::Notify { .. } => of("traffic.overload", Subject::service("shop", "cart"), &desk),
    };
    desk.says(signal);
    desk.acts_on(facts("cart-1"));
    assert_eq!(desk.write().map(|write| write.action), Some(action()));
    desk
}

fn planned(action: fn() -> Action) -> bool {
    ![restore(), roll_rule_back()].contains(&action())
}

// Mutations: `executed` that takes an unknown outcome for a failure; `resume` that starts the step again;
// `select::inspect` that does not ask for the facts of the step; `inspected` that ends a case whose pod was
// evicted, or rolled away.
#[test]
fn an_act_without_an_answer_is_read_back_and_never_made_twice() {
    for (what, action, edit, expected) in ROWS.iter().filter(|row| planned(row.1)) {
        for restarted in [false, true] {
            let mut desk = acting(*action);
            let until = desk.case().permit_until.unwrap();
            if restarted {
                desk.start();
            } else {
                desk.executes(Outcome::Unknown { why: "time-out".to_owned() });
            }
            assert!(!desk.asked.iter().any(|effect| matches!(effect, Effect::Inspect(_))), "too early");
            desk.wake();
            assert!(desk.at >= later(until, 12), "a write of ours may still arrive");
            let Some(Effect::Inspect(inspect)) = desk.asked.first() else { panic!("{:?}", desk.asked) };
            for fact in standing::facts(&action()) {
                assert!(inspect.needs.iter().any(|need| need == fact), "{what}: {fact} is not asked for");
            }
            let mut findings = found(facts("cart-1"), &desk);
            edit(&mut findings);
            let id = desk.id();
            desk.finds_all(&id, findings);
            assert!(desk.write().is_none(), "{what}: {:?}", desk.asked);
            let case = desk.case();
            match *expected {
                "done" => assert_eq!(case.phase, Phase::Soaking, "{what}"),
                "not done" => assert_eq!(case.phase, Phase::Inspecting, "{what}: all is decided anew"),
                // What may have been written, and must not last, is still to be taken back.
                "other" if case.expires_at.is_some() => assert_eq!(case.phase, Phase::Holding, "{what}"),
                "other" => assert_eq!(case.phase, Phase::Escalated, "{what}"),
                _ => assert!(case.reconciling && case.phase == Phase::Executing, "{what}: read again"),
            }
        }
    }
}

// Mutation: a workload that is gone as its pod is, read again for ten minutes.
#[test]
fn a_rollout_of_what_is_gone_altogether_is_over() {
    let mut desk = acting(rollout);
    desk.executes(Outcome::Unknown { why: "time-out".to_owned() });
    desk.wake();
    let mut findings = found(facts("cart-1"), &desk);
    (findings.gone, findings.facts.workload) = (true, None);
    let id = desk.id();
    desk.finds_all(&id, findings);
    assert_eq!(desk.case().phase, Phase::Gone);
}

// Mutation: ending it as any case whose subject went: it has no step, and nobody is told of an act that was begun.
#[test]
fn people_are_told_of_an_act_on_what_went_before_it_could_be_read_back() {
    for killed in [true, false] {
        let mut desk = acting(restart);
        if killed {
            desk.start();
        } else {
            desk.executes(Outcome::Unknown { why: "time-out".to_owned() });
        }
        desk.wake();
        let mut findings = found(facts("cart-1"), &desk);
        findings.gone = true;
        let id = desk.id();
        desk.finds_all(&id, findings);
        assert_eq!((desk.case().phase, desk.case().steps.len()), (Phase::Gone, 1));
        assert!(matches!(desk.asked[..], [Effect::Notify { .. }]), "{:?}", desk.asked);
    }
}

// Mutation: `Standing::Unknown` that inspects without end.
#[test]
fn what_cannot_be_read_back_for_ten_minutes_is_for_people() {
    let mut desk = acting(restart);
    let began = desk.at;
    desk.executes(Outcome::Unknown { why: "time-out".to_owned() });
    let id = desk.id();
    while desk.case().phase == Phase::Executing {
        desk.wake();
        let mut findings = found(facts("cart-1"), &desk);
        findings.facts.proxy = None;
        desk.finds_all(&id, findings);
    }
    assert_eq!(desk.case().phase, Phase::Escalated);
    assert_eq!(desk.at, later(began, 600));
}
