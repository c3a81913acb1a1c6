//! What outlives an answer, a case or a process: unreadable facts, slow probes, news, illnesses, good revisions.

use super::desk::{Desk, done, findings, hash, later, reading, seen, signal};
use crate::model::change::Change;
use crate::model::effect::Effect;
use crate::model::event::{EventKind, Vote};
use crate::model::history::{Proof, RevisionProven};
use crate::model::incident::Phase;
use crate::model::indicator::Level;
use crate::model::signal::{Signal, SignalState};
use crate::model::subject::Subject;

const ENFORCE: &str = "mode: enforce";

/// The last inspection finds no traffic, which may come back, or not.
fn finds_no_traffic(desk: &mut Desk, hopeless: &[&str]) {
    let mut found = findings(&desk.case().subject, "bad", desk.at);
    found.facts.traffic = None;
    found.missing.insert("traffic".to_owned(), "Prometheus did not answer".to_owned());
    found.hopeless = hopeless.iter().map(|fact| (*fact).to_owned()).collect();
    let (incident, inspection) = (desk.id(), desk.case().inspection);
    desk.hear(EventKind::Inspected { incident, inspection, findings: Box::new(found) });
}

fn tells(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Notify { .. }))
}

// Mutations: `hopes` that is never true, or without its bound.
#[test]
fn a_hiccup_of_prometheus_ends_no_case_and_a_long_one_does() {
    let mut desk = Desk::under(ENFORCE);
    desk.breaks("cart");
    for _ in 0..3 {
        finds_no_traffic(&mut desk, &[]);
        assert_eq!(desk.case().phase, Phase::Inspecting);
        desk.wake();
    }
    desk.plans();
    assert!(desk.write().is_some(), "it came back in time");

    desk.breaks("pay");
    let began = desk.at;
    while desk.case().phase == Phase::Inspecting {
        finds_no_traffic(&mut desk, &[]);
        if desk.case().phase == Phase::Inspecting {
            desk.wake();
        }
    }
    assert_eq!(desk.case().plan.as_ref().unwrap().playbook, "notify-only");
    assert_eq!(desk.at.duration_since(began).as_secs(), 50);
}

#[test]
fn what_will_never_be_readable_is_not_waited_for() {
    let mut desk = Desk::under(ENFORCE);
    desk.breaks("cart");
    finds_no_traffic(&mut desk, &["traffic"]);
    assert_eq!(desk.case().plan.as_ref().unwrap().playbook, "notify-only");
}

// Mutation: counting only the answer to the newest probe.
#[test]
fn a_probe_that_is_answered_late_counts_if_nothing_newer_was_measured() {
    let mut desk = Desk::under(ENFORCE);
    desk.breaks("cart");
    desk.plans();
    desk.executes(done());
    desk.wake();
    let first = desk.case().probe;
    let measured = later(desk.at, 9);
    desk.wake();
    assert!(desk.case().probe > first, "the next one is under way");
    let incident = desk.id();
    let late = EventKind::Probed { incident, probe: first, reading: reading(Level::Healthy, measured) };
    assert!(!desk.hear(late.clone()).is_empty());
    assert!(desk.hear(late).is_empty(), "and counts once");
}

// Mutation: keeping `notified` when the case ends.
#[test]
fn news_of_an_end_are_owed_whatever_was_delivered_before() {
    let mut desk = Desk::under("mode: suggest");
    desk.breaks("cart");
    desk.plans();
    assert!(tells(&desk.asked), "people are asked");
    let incident = desk.id();
    desk.hear(EventKind::Notified { incident, step: None, outcome: done() });
    assert!(!desk.start().iter().any(|change| matches!(change, Change::Noted { .. })), "they know");
    desk.votes(Vote::Approve);
    desk.plans();
    desk.executes(done());
    desk.probes(Level::Healthy);
    assert_eq!(desk.case().phase, Phase::Resolved);
    desk.start();
    assert!(tells(&desk.asked), "nobody heard of the end before the process died");
}

// Mutation: resolving only what has an open case.
#[test]
fn an_illness_is_remembered_beyond_its_case_until_its_source_says_otherwise() {
    let mut desk = Desk::under("mode: observe");
    desk.breaks("cart");
    finds_no_traffic(&mut desk, &["traffic"]);
    let incident = desk.id();
    desk.hear(EventKind::Notified { incident, step: Some(0), outcome: done() });
    assert_eq!(desk.case().phase, Phase::Escalated);
    assert_eq!(desk.state.fired_by("prometheus").count(), 1);
    let subject = desk.case().subject.clone();
    desk.state.incidents.clear();
    let over = Signal { state: SignalState::Resolved, ..signal(subject, desk.at) };
    desk.hear(EventKind::Signal { signal: over });
    assert_eq!(desk.state.fired_by("prometheus").count(), 0);
}

// Mutation: believing any clock.
#[test]
fn a_clock_that_is_years_ahead_mutes_nobody_for_years() {
    let mut desk = Desk::under("mode: observe");
    let subject = Subject::virtual_service("shop", "cart");
    let symptom = "gateway.lost".parse().unwrap();
    let ahead = Signal { symptom, ..signal(subject, later(desk.at, 10 * 365 * 86_400)) };
    desk.hear(EventKind::Signal { signal: ahead.clone() });
    assert!(matches!(&desk.hear(EventKind::Signal { signal: ahead.clone() })[..], [Change::Ignored { .. }]));
    desk.at = later(desk.at, 2 * 86_400);
    let now = Signal { at: desk.at, ..ahead };
    assert!(matches!(&desk.hear(EventKind::Signal { signal: now })[..], [Change::Opened { .. }, ..]));
}

// Mutation: a revision that is good stays as old as its first proof.
#[test]
fn the_revision_people_went_back_to_is_the_last_good_one() {
    let mut desk = Desk::under(ENFORCE);
    let subject = Subject::virtual_service("shop", "cart");
    let proof = |desk: &Desk| Proof::Traffic { requests: 500.0, since: desk.at };
    for spec in ["one", "two", "one"] {
        desk.at = later(desk.at, 600);
        desk.hear(seen(&subject, spec));
        desk.at = later(desk.at, 600);
        let (spec_hash, destinations) = (hash(spec), Vec::new());
        let revision =
            RevisionProven { subject: subject.clone(), spec_hash, proof: proof(&desk), destinations };
        let proven = EventKind::RevisionProven { revision };
        assert_eq!(desk.hear(proven.clone()).len(), 1, "{spec}");
        desk.at = later(desk.at, 60);
        assert!(desk.hear(proven).is_empty(), "once is enough while it is in force");
    }
    desk.hear(seen(&subject, "three"));
    desk.hear(EventKind::Signal { signal: signal(subject, desk.at) });
    let Some(Effect::Inspect(inspect)) = desk.asked.first() else { panic!("{:?}", desk.asked) };
    let good: Vec<_> = inspect.good.iter().map(|good| good.spec_hash).collect();
    assert_eq!(good, [hash("one"), hash("two")]);
}
