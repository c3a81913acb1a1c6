//! Decisions of the engine, one story each; what holds in every story is in `tests/agent/properties.rs`.

mod cause;
mod crowd;
mod desk;
mod fight;
mod holding;
mod kept;
mod memory;
mod nobody;
mod operators;
mod orphans;
mod owed;
mod owner;
mod refusal;
mod scene;
mod standing;
mod stops;

use jiff::SignedDuration;

use crate::model::change::Change;
use crate::model::effect::{Effect, Execute};
use crate::model::event::{EventKind, Vote};
use crate::model::incident::{IncidentId, Phase};
use crate::model::indicator::Level;
use crate::model::plan::{Direction, Outcome, Rehearsal};
use crate::model::reason::Reason;
use crate::model::signal::{Signal, SignalState};
use crate::model::subject::Subject;
use crate::model::verdict::Verdict;
use desk::{Desk, done, later, signal};

const ENFORCE: &str = "mode: enforce";

// Mutation: `resolved` that ends nothing while a plan waits.
#[test]
fn an_alert_that_resolves_before_the_act_ends_the_case() {
    let mut desk = Desk::under(ENFORCE);
    desk.breaks("cart");
    desk.finds("bad");
    let over = Signal { state: SignalState::Resolved, ..signal(desk.case().subject.clone(), desk.at) };
    desk.hear(EventKind::Signal { signal: over });
    assert_eq!(desk.ended(), (Phase::Resolved, &Reason::SignalResolved));
    assert!(desk.rehearses(Rehearsal::Accepted { diff: String::new() }).is_empty(), "the answer is late");
}

// Mutation: `as_if_new` that leaves `draining` as it is.
#[test]
fn a_preview_beside_a_stopped_agent_is_not_held_by_its_drain() {
    let mut desk = Desk::under(ENFORCE);
    desk.hear(EventKind::Drain);
    let subject = Subject::virtual_service("shop", "cart");
    desk.state = std::mem::take(&mut desk.state).as_if_new(&signal(subject, desk.at));
    desk.breaks("cart");
    desk.plans();
    assert_eq!(desk.case().phase, Phase::Executing);
}

// Mutation: `gate::pass` that plans with the next candidate after a refusal.
#[test]
fn a_refusal_of_the_gate_never_falls_through_to_the_next_playbook() {
    let mut desk = Desk::under(ENFORCE);
    desk.breaks("cart");
    assert_eq!(desk.case().candidates, ["roll-back-virtual-service", "notify-only"]);
    desk.finds("bad");
    desk.rehearses(Rehearsal::Refused { why: "quota".to_owned() });
    assert_eq!(desk.ended(), (Phase::Escalated, &Reason::RehearsalFailed { why: "quota".to_owned() }));
    assert_eq!(desk.case().plan.as_ref().unwrap().playbook, "roll-back-virtual-service");

    // A refusal of the playbook itself does: the next one may know better.
    desk.breaks("pay");
    desk.finds("good");
    assert_eq!(desk.case().plan.as_ref().unwrap().playbook, "notify-only");
}

// Mutations: `stale <= 1` to `stale <= 2`, or to `stale < 1`.
#[test]
fn a_stale_step_is_inspected_once_more_and_then_escalated() {
    let mut desk = Desk::under(ENFORCE);
    desk.breaks("cart");
    desk.plans();
    let stale = || Outcome::Stale { why: "another revision".to_owned() };
    desk.executes(stale());
    assert_eq!(desk.case().phase, Phase::Inspecting);
    desk.plans();
    desk.executes(stale());
    assert_eq!(desk.ended(), (Phase::Escalated, &Reason::Stale { why: "another revision".to_owned() }));
}

// Mutations: `>=` to `>` in `gate::limits`; `old.at > start` to `>=` in `Ledger::within`.
#[test]
fn a_limit_lets_its_number_of_acts_pass_and_holds_the_next_until_the_first_leaves_the_window() {
    let limits = "mode: enforce\nlimits: [{ per: cluster, acts: 2, window: 10m }]";
    let mut desk = Desk::under(&format!("{limits}\nblastRadius: {{ concurrent: {WIDE} }}"));
    let start = desk.at;
    for name in ["one", "two"] {
        desk.breaks(name);
        desk.plans();
        assert!(desk.write().is_some(), "{name} is within the limit");
        desk.at = later(desk.at, 5);
    }
    desk.breaks("three");
    desk.plans();
    assert!(desk.write().is_none());
    let Some(Verdict::Hold { holds }) = &desk.case().verdict else { panic!("{:?}", desk.case().verdict) };
    let reason = Reason::LimitReached { per: "cluster".to_owned(), acts: 2, window_s: 600 };
    assert_eq!((&holds[0].reason, holds[0].until), (&reason, Some(later(start, 600))));

    desk.at = later(start, 599);
    desk.hear(EventKind::Tick);
    assert_eq!(desk.case().phase, Phase::Planned, "one second early");
    desk.at = later(start, 600);
    desk.hear(EventKind::Tick);
    assert_eq!(desk.case().phase, Phase::Inspecting, "its turn has come, on fresh facts");
    desk.plans();
    assert!(desk.write().is_some());
}

/// Far beyond what these stories touch at once.
const WIDE: &str = "{ namespace: { share: 100%, absolute: 50 }, mesh: { share: 100%, absolute: 50 } }";

// Mutation: `touched >= allowed` to `touched > allowed`.
#[test]
fn the_blast_radius_holds_exactly_the_target_beyond_it() {
    let radius = "{ namespace: { share: 3%, absolute: 9 }, mesh: { share: 100%, absolute: 9 } }";
    let mut desk = Desk::under(&format!("mode: enforce\nblastRadius: {{ concurrent: {radius} }}"));
    for (name, acts) in [("one", true), ("two", true), ("three", true), ("four", false)] {
        desk.breaks(name);
        desk.plans();
        assert_eq!(desk.write().is_some(), acts, "{name} of 3 % of 100 routes");
    }
}

// Mutations: `Phase::AwaitingApproval` overdue resolved as granted; `case.at < approval.expires` to `<=`.
#[test]
fn a_question_nobody_answered_in_time_is_denied() {
    let mut desk = Desk::under("mode: enforce\napprovals: [{ actions: [rollback_route], expires: 2m }]");
    desk.breaks("cart");
    desk.plans();
    assert_eq!(desk.case().phase, Phase::AwaitingApproval);
    desk.at = later(desk.at, 120);
    assert!(desk.votes(Vote::Approve).is_empty(), "the time is up");
    desk.hear(EventKind::Tick);
    assert_eq!(desk.ended(), (Phase::Expired, &Reason::ApprovalExpired));
    assert!(desk.votes(Vote::Approve).is_empty());
}

// Mutation: `planned` that keeps the approval of another plan.
#[test]
fn an_approval_is_void_when_the_playbook_proposes_something_else_on_fresh_facts() {
    let mut desk = Desk::under("mode: suggest");
    desk.breaks("cart");
    desk.plans();
    let asked = desk.plan();
    desk.votes(Vote::Approve);
    desk.finds("worse");
    assert_ne!(desk.plan(), asked);
    assert_eq!(desk.case().reasons.last().unwrap().reason, Reason::Superseded);
    desk.rehearses(Rehearsal::Accepted { diff: String::new() });
    assert_eq!(desk.case().phase, Phase::AwaitingApproval, "people are asked about the new plan");
    desk.votes(Vote::Approve);
    desk.finds("worse");
    desk.rehearses(Rehearsal::Accepted { diff: String::new() });
    assert!(desk.write().is_some(), "the same plan came out again");
}

// Mutations: `resume` that starts the step again; `reconcile` that does not wait for the permit's end.
#[test]
fn a_restart_while_a_step_runs_reads_the_state_and_never_executes_blindly() {
    for (found, acts) in [("good", 1), ("bad", 2)] {
        let mut desk = Desk::under("mode: enforce\nattempts: { max: 5, refill: 1h }");
        desk.breaks("cart");
        desk.plans();
        let permit_until = desk.case().permit_until.unwrap();
        desk.at = later(desk.at, 1);
        desk.start();
        assert!(desk.asked.is_empty(), "the old write may still arrive: {:?}", desk.asked);
        desk.wake();
        assert!(desk.at >= later(permit_until, 12), "no write of ours can arrive any more");
        assert!(matches!(desk.asked[..], [Effect::Inspect(_)]), "{:?}", desk.asked);
        desk.finds(found);
        assert!(desk.write().is_none());
        if found == "bad" {
            assert_eq!(desk.case().phase, Phase::Inspecting, "it never arrived: all is decided anew");
            desk.plans();
            assert!(desk.write().is_some());
        } else {
            assert_eq!(desk.case().phase, Phase::Soaking, "it had arrived");
        }
        assert_eq!(desk.case().attempts, acts, "each write is charged");
    }
}

// Mutations: `next_rung` without the undo; `next` of the playbook never asked.
#[test]
fn what_did_not_help_is_undone_tried_once_more_and_then_handed_to_people() {
    let mut desk = Desk::under("mode: enforce\nattempts: { max: 9, refill: 1h }");
    desk.breaks("cart");
    for rung in 1..=2 {
        desk.plans();
        desk.executes(done());
        desk.probes(Level::Critical);
        let undo = desk.write().unwrap();
        assert_eq!((undo.direction, desk.case().attempts), (Direction::Undo, rung));
        assert_eq!(undo.action, desk.case().plan.as_ref().unwrap().steps[0].inverse().unwrap());
        desk.executes(done());
    }
    let text = "two rollbacks did not help".to_owned();
    assert_eq!(desk.ended(), (Phase::Escalated, &Reason::PlaybookEscalated { text }));
}

// Mutation: `rehearse_again` without its count.
#[test]
fn people_are_told_of_a_dry_run_that_can_never_be_tried() {
    let mut desk = Desk::under(ENFORCE);
    desk.breaks("cart");
    let start = desk.at;
    while desk.case().phase != Phase::Escalated {
        desk.finds("bad");
        desk.rehearses(Rehearsal::Unreadable { why: "the webhook is down".to_owned() });
        desk.wake();
        assert!(desk.at.duration_since(start) < SignedDuration::from_mins(15), "nobody was told");
    }
    assert!(matches!(desk.asked[..], [Effect::Notify { .. }]));
}

// Mutation: `valid` without its last look.
#[test]
fn a_plan_that_does_something_else_before_it_writes_is_not_valid() {
    let text = "//! Tells first.\nfn about() { #{ on: [symptom(\"traffic.route_errors\")], needs: [\"route\"], \
        priority: 99, recover: #{ indicator: \"traffic.route_error_rate\", within: \"1m\", hold: \"9s\" } } }\n\
        fn plan(facts) { [notify(\"soon\"), rollback_route(facts.route)] }";
    let mut desk = Desk::with(ENFORCE, &[("tells-first.rhai", text)]);
    desk.breaks("cart");
    desk.finds("bad");
    let passed = desk.case().passed_over.first().unwrap();
    assert_eq!(passed.playbook, "tells-first");
    assert!(matches!(&passed.reason, Reason::InvalidPlan { text } if text.contains("comes first")));
}

// Mutations: time without a signal counted as health; health from the first source that resolved; `>=` to `>`
// in `gate::refills`.
#[test]
fn attempts_come_back_only_when_everybody_has_said_for_long_enough_that_it_is_well() {
    let mut desk = Desk::under("mode: enforce\nattempts: { max: 1, refill: 1h }");
    desk.breaks("cart");
    let subject = desk.case().subject.clone();
    let says = |desk: &mut Desk, source: &str, state: SignalState| {
        let source = source.to_owned();
        desk.hear(EventKind::Signal {
            signal: Signal { source: source.into(), state, ..signal(subject.clone(), desk.at) },
        });
    };
    says(&mut desk, "alertmanager", SignalState::Firing);
    desk.plans();
    desk.executes(Outcome::Failed { why: "no".to_owned() });
    let rounds: [(&[&str], i64, bool); 4] = [
        (&[], 7_200, false),
        (&["prometheus"], 7_200, false),
        (&["prometheus", "alertmanager"], 3_599, false),
        (&["prometheus"], 3_600, true),
    ];
    for (resolved, seconds, acts) in rounds {
        resolved.iter().for_each(|source| says(&mut desk, source, SignalState::Resolved));
        desk.at = later(desk.at, seconds);
        says(&mut desk, "prometheus", SignalState::Firing);
        desk.plans();
        assert_eq!(desk.write().is_some(), acts, "{resolved:?} resolved, then {seconds} s");
        if !acts {
            assert_eq!(desk.ended(), (Phase::Escalated, &Reason::AttemptsSpent { attempts: 1 }));
        }
    }
}

// Mutations: forgetting cases by their ids instead of by the time they ended; forgetting how a case ended together with the case.
#[test]
fn the_newest_ended_cases_are_remembered_also_when_their_numbers_grow_a_digit() {
    let mut desk = Desk::under(ENFORCE);
    desk.state.opened = 99_699;
    desk.breaks("cart");
    let (long, route) = (desk.id(), desk.case().subject.clone());
    let lost = |name: &str, desk: &Desk| {
        let symptom = "gateway.lost".parse().unwrap();
        Signal { symptom, ..signal(Subject::virtual_service("shop", name), desk.at) }
    };
    for number in 0..600 {
        desk.at = later(desk.at, 1);
        desk.hear(EventKind::Signal { signal: lost(&number.to_string(), &desk) });
    }
    let over = Signal { state: SignalState::Resolved, ..signal(route, desk.at) };
    desk.hear(EventKind::Signal { signal: over });
    assert_eq!(desk.state.incidents.len(), 500);
    assert!(desk.state.incidents.contains_key(&long), "it was opened first, but ended last");
    assert!(!desk.state.incidents.contains_key(&IncidentId::new("j", 99_701)), "the first to end went first");
    for (name, id) in [("599", "j-100300"), ("0", "j-99701")] {
        let repeat = Signal { at: later(desk.at, -3_600), ..lost(name, &desk) };
        let changes = desk.hear(EventKind::Signal { signal: repeat });
        assert!(
            matches!(&changes[..], [Change::Ignored { incident, .. }] if incident.as_str() == id),
            "{name}"
        );
    }
}

// Mutation: comparing only plan, step and direction.
#[test]
fn a_late_answer_to_an_earlier_run_of_the_same_step_is_none_to_a_later_one() {
    let mut desk = Desk::under(ENFORCE);
    desk.breaks("cart");
    desk.plans();
    let first = desk.write().expect("the step runs");
    desk.executes(Outcome::Stale { why: "it changed".to_owned() });
    desk.plans();
    let second = desk.write().expect("it runs once more");
    assert_eq!((first.plan, first.step), (second.plan, second.step));
    let Execute { incident, plan, step, direction, run, .. } = first;
    let outcome = Outcome::Failed { why: "the permit ended".to_owned() };
    let changes = desk.hear(EventKind::Executed { incident, plan, step, direction, run, outcome });
    assert!(changes.is_empty(), "{changes:?}");
    assert_eq!(desk.case().phase, Phase::Executing);
}

// Mutations: ending a case that acts, which would leave its claim and its undo to nobody; ending none.
#[test]
fn a_pod_that_vanishes_ends_what_waits_for_it_and_not_what_acts() {
    let looks = ("restart-sidecar.rhai", include_str!("../../playbooks/restart-sidecar.rhai"));
    let mut desk = Desk::with(ENFORCE, &[looks]);
    let pod = Subject::pod("shop", "cart-1");
    let owner = Some(Subject::new("apps", "Deployment", "shop", "cart"));
    // A symptom whose playbook looks before it acts: what is only told does not wait.
    let symptom = "data_plane.proxy_hung".parse().expect("it is a symptom");
    desk.hear(EventKind::Signal { signal: Signal { owner, symptom, ..signal(pod.clone(), desk.at) } });
    assert!(desk.hear(EventKind::SubjectGone { subject: Subject::pod("shop", "cart-2") }).is_empty());
    desk.hear(EventKind::SubjectGone { subject: pod.clone() });
    assert_eq!(desk.ended(), (Phase::Gone, &Reason::SubjectGone));
    assert!(desk.hear(EventKind::SubjectGone { subject: pod }).is_empty(), "it is told once");

    desk.breaks("cart");
    desk.plans();
    assert_eq!(desk.case().phase, Phase::Executing);
    let subject = desk.case().subject.clone();
    assert!(desk.hear(EventKind::SubjectGone { subject }).is_empty());
}

/// Hears an alert that maps to nothing.
fn unknown_alert(desk: &mut Desk) -> Vec<Change> {
    let mut signal = signal(Subject::of_namespace("shop"), desk.at);
    signal.symptom = "custom.alert".parse().expect("it is a symptom");
    desk.hear(EventKind::Signal { signal })
}

// Mutations: an inspection for candidates that ask for nothing, which costs a storm of alerts one more record
// each; none for candidates of which the best one asks for something.
#[test]
fn people_are_told_in_the_record_that_opens_a_case_where_nothing_is_to_be_looked_at() {
    let mut desk = Desk::under(ENFORCE);
    let changes = unknown_alert(&mut desk);
    assert!(
        matches!(
            &changes[..],
            [Change::Opened { .. }, Change::Planned { .. }, Change::StepStarted { step: 0, .. }]
        ),
        "{changes:?}"
    );
    assert!(matches!(&desk.asked[..], [Effect::Notify { step: Some(0), .. }]), "{:?}", desk.asked);

    // The same playbook behind one that has to look: first the look.
    let looks = "//! Looks.\nfn about() { #{ on: [symptom(\"custom.alert\")], priority: 1,\
                 needs: [\"route\"] } }\nfn plan(facts) { refuse(\"no\") }\n";
    let mut desk = Desk::with(ENFORCE, &[("looks.rhai", looks)]);
    let changes = unknown_alert(&mut desk);
    assert!(matches!(&changes[..], [Change::Opened { .. }, Change::InspectionStarted { .. }]), "{changes:?}");
}
