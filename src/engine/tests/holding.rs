//! What must not last is taken back, however it went.

use super::desk::{Desk, done, later, reading};
use super::scene::{desk, facts, host, of};
use crate::model::action::Action;
use crate::model::effect::{Effect, Execute};
use crate::model::event::{EventKind, InForce};
use crate::model::facts::Facts;
use crate::model::incident::{IncidentId, Phase};
use crate::model::indicator::Level;
use crate::model::plan::{Direction, Outcome};
use crate::model::reason::Reason;
use crate::model::subject::Subject;

/// A service whose load is shed; the write was asked for.
pub(super) fn shed() -> Desk {
    let mut desk = desk();
    let signal = of("traffic.overload", Subject::service("shop", "cart"), &desk);
    desk.says(signal);
    desk.acts_on(facts("cart-1"));
    let write = desk.write().expect("it acts");
    assert!(matches!(write.action, Action::ShedLoad { .. }));
    desk
}

/// The rule with our limits on it, or without them.
fn on_the_rule(shed: bool) -> Facts {
    let mut facts = facts("cart-1");
    facts.destination_rule.as_mut().unwrap().shed = shed;
    facts
}

pub(super) fn restores(desk: &Desk) -> bool {
    desk.write().is_some_and(|write| {
        let Action::Restore { target, uid, host: of, .. } = &write.action else { return false };
        write.direction == Direction::Undo
            && *target == Subject::destination_rule("shop", "cart")
            && (uid.as_str(), of.as_str()) == ("d", host().as_str())
    })
}

// Mutations: `Case::end` that ends at once; `Held` whose case is never overdue; `expire` that counts from the
// signal; `after_undo` without the ending that was held.
#[test]
fn a_shed_is_taken_back_when_it_expires_and_then_its_case_ends_as_it_went() {
    for (level, phase) in [(Level::Healthy, Phase::Resolved), (Level::Unknown, Phase::Escalated)] {
        let mut desk = shed();
        desk.at = later(desk.at, 3);
        let written = desk.at;
        desk.executes(done());
        desk.probes(level);
        assert_eq!(desk.case().phase, Phase::Holding, "{level:?}");
        assert!(matches!(desk.asked[..], [Effect::Notify { .. }]), "people hear of it");
        desk.at = later(written, 599);
        assert!(desk.hear(EventKind::Tick).is_empty(), "not yet");
        desk.wake();
        assert_eq!(desk.at, later(written, 600));
        assert!(restores(&desk), "{:?}", desk.asked);
        desk.executes(done());
        assert_eq!(desk.case().phase, phase);
        let reason = &desk.case().reasons.last().unwrap().reason;
        assert!(matches!(reason, Reason::Recovered { .. } | Reason::Inconclusive { .. }), "{reason:?}");
    }
}

// Mutations: an undo that waits for the expiry; `expire` that leaves `expires_at` after an undo.
#[test]
fn a_shed_that_did_not_help_is_taken_back_at_once_and_only_once() {
    let mut desk = shed();
    desk.executes(done());
    desk.probes(Level::Critical);
    assert!(restores(&desk));
    desk.executes(Outcome::AlreadyDone);
    assert_eq!((desk.case().phase, desk.case().expires_at), (Phase::Inspecting, None), "the next rung");
}

// Mutation: `expire` that forgets nothing of a write that was surely not made.
#[test]
fn a_shed_that_was_surely_not_made_is_not_taken_back() {
    let mut desk = shed();
    assert!(desk.case().expires_at.is_some(), "it may be written from now on");
    desk.executes(Outcome::Failed { why: "admission".to_owned() });
    assert_eq!(desk.case().phase, Phase::Escalated);
    assert!(desk.state.next_wake().is_none());
}

const SHIPPED: &str = include_str!("../../../playbooks/shed-with-destination-rule.rhai");

/// How many requests the shed lets each client have under way.
fn limit(desk: &Desk) -> Option<u32> {
    let Some(Effect::Execute(Execute { action: Action::ShedLoad { limits, .. }, .. })) = desk.asked.first()
    else {
        panic!("it sheds: {:?}", desk.asked)
    };
    limits.max_requests
}

// Mutations: `Incident::rung` that counts every act; `unwritten` that counts in the case alone, or after an
// act that was written.
#[test]
fn a_rung_that_was_not_written_is_tried_again_before_the_next_one() {
    // The indicator that these findings hold.
    let text = SHIPPED.replace("traffic.success_rate", "traffic.route_error_rate");
    let mut desk = Desk::with("mode: enforce\nattempts: { max: 5, refill: 1h }", &[("shed.rhai", &text)]);
    let signal = of("traffic.overload", Subject::service("shop", "cart"), &desk);
    desk.says(signal);
    desk.acts_on(facts("cart-1"));
    // 40 requests under way of 4 clients.
    assert_eq!(limit(&desk), Some(7), "70 % of them");
    desk.executes(Outcome::Unknown { why: "killed".to_owned() });
    desk.wake();
    let id = desk.id();
    desk.finds_of(&id, on_the_rule(false));
    assert_eq!(desk.case().attempts, 1, "it is charged all the same");
    desk.acts_on(facts("cart-1"));
    assert_eq!(limit(&desk), Some(7), "the write did not arrive: the same again");
    desk.executes(done());
    desk.probes(Level::Critical);
    desk.executes(done());
    desk.acts_on(facts("cart-1"));
    assert_eq!(limit(&desk), Some(4), "that did not help: 45 %");
    assert_eq!(desk.case().attempts, 3);
    desk.executes(Outcome::Failed { why: "admission".to_owned() });
    let known = &desk.state.attempts[&desk.case().key];
    assert_eq!((known.spent, known.unwritten), (3, 2), "the next case begins where this one ended");
}

/// The shed expires, and its restore was asked for.
pub(super) fn expired() -> Desk {
    let mut desk = shed();
    desk.executes(done());
    desk.probes(Level::Healthy);
    desk.wake();
    assert!(restores(&desk));
    desk
}

// Mutations: `owed::again` that ends the case, or whose pause stays, or grows on; `told_at` that finds nothing, or
// always something; `fold` that lists every try; `resume` that reads it back instead.
#[test]
fn a_restore_that_does_not_work_is_tried_until_it_does_and_people_are_reminded() {
    let why = || "failed calling webhook".to_owned();
    for outcome in
        [Outcome::Failed { why: why() }, Outcome::Stale { why: why() }, Outcome::Unknown { why: why() }]
    {
        let mut desk = expired();
        let (began, mut pauses, mut told) = (desk.at, Vec::new(), Vec::new());
        for tries in 0..120 {
            let tried = desk.at;
            assert!(restores(&desk), "{tries}: {:?}", desk.asked);
            if tries == 60 {
                desk.start();
            } else {
                desk.executes(outcome.clone());
            }
            assert_eq!(desk.case().phase, Phase::Holding);
            if desk.asked.iter().any(|effect| matches!(effect, Effect::Notify { .. })) {
                told.push(desk.at.duration_since(began).as_secs());
            }
            desk.wake();
            pauses.push(desk.at.duration_since(tried).as_secs());
        }
        assert_eq!(pauses[..6], [30, 60, 120, 240, 300, 300]);
        assert!(pauses.iter().all(|pause| *pause <= 300), "{pauses:?}");
        assert_eq!(told[0], 30, "one failure is no news");
        let apart = told.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(apart.into_iter().all(|apart| (3_600..3_900).contains(&apart)), "{told:?}");
        assert!(desk.case().steps.len() < 5, "{:?}", desk.case().steps);
        assert_eq!(desk.state.overdue(desk.at), (1, 0));
        desk.executes(done());
        assert!(matches!(desk.ended(), (Phase::Resolved, Reason::Recovered { .. })), "{:?}", desk.ended());
        assert_eq!((desk.state.overdue(desk.at), desk.state.next_wake()), ((0, 0), None));
    }
}

// Mutations: a moot restore that is tried again, or ends without people.
#[test]
fn what_is_somebody_elses_by_now_is_over() {
    let mut desk = expired();
    desk.executes(Outcome::Moot { why: "it bears no mark".to_owned() });
    assert!(matches!(desk.ended(), (Phase::Escalated, Reason::UndoFailed { .. })), "{:?}", desk.ended());
    assert!(matches!(desk.asked[..], [Effect::Notify { .. }]));
    assert!(desk.state.next_wake().is_none());
}

// Mutations: `expire` that begins with the answer; `undoable` without `may_last`; `Held` that stays reconciling.
#[test]
fn a_shed_of_which_nobody_knows_whether_it_was_made_is_taken_back_too() {
    for restarted in [false, true] {
        let mut desk = shed();
        let began = desk.at;
        if restarted {
            desk.at = later(desk.at, 2);
            desk.start();
        } else {
            desk.executes(Outcome::Unknown { why: "time-out".to_owned() });
        }
        let id = desk.id();
        while desk.case().phase == Phase::Executing {
            desk.wake();
            let mut findings = super::scene::found(on_the_rule(true), &desk);
            findings.facts.destination_rule = None;
            findings.missing.insert("destination_rule".to_owned(), "nobody answers".to_owned());
            desk.finds_all(&id, findings);
            assert!(desk.at < later(began, 700));
        }
        assert_eq!(desk.case().phase, Phase::Holding);
        desk.wake();
        assert!(restores(&desk), "{:?}", desk.asked);
        desk.executes(done());
        assert!(
            matches!(desk.ended(), (Phase::Escalated, Reason::OutcomeUnknown { .. })),
            "{:?}",
            desk.ended()
        );
    }
}

/// A person stopped it, and nothing is left to do.
/// Ways to a shed that is in force: just written, soaked, and seen to help.
pub(super) const IN_FORCE: [fn(&mut Desk); 3] = [
    |desk| drop(desk.executes(done())),
    |desk| {
        desk.executes(done());
        desk.wake();
    },
    |desk| {
        desk.executes(done());
        desk.probes(Level::Healthy);
    },
];

pub(super) fn aborted_ends(desk: &Desk) {
    assert!(matches!(desk.ended(), (Phase::Suppressed, Reason::Aborted { .. })), "{:?}", desk.ended());
    assert!(desk.state.next_wake().is_none());
}

// Mutations: `take_back` that ends the case; `undoable` that asks for `Done` only; `not_done` that tries again;
// `forward` that takes back what was surely not made.
#[test]
fn a_shed_that_is_to_be_undone_is_taken_back_whatever_became_of_it() {
    for until in IN_FORCE {
        let mut desk = shed();
        until(&mut desk);
        desk.aborts(Some(InForce::Undo));
        assert!(restores(&desk), "{:?}", desk.case().phase);
        desk.executes(done());
        aborted_ends(&desk);
    }
    // While the write runs nobody can call it back: its outcome decides.
    let failed = Outcome::Failed { why: "no".to_owned() };
    for (outcome, made) in [(done(), true), (Outcome::AlreadyDone, false), (failed, false)] {
        let mut desk = shed();
        let write = desk.write().unwrap();
        desk.aborts(Some(InForce::Undo));
        desk.executes_as(write, outcome);
        assert_eq!(restores(&desk), made);
        if made {
            desk.executes(done());
        }
        aborted_ends(&desk);
    }
    for made in [true, false] {
        let mut desk = shed();
        let (id, write) = (desk.id(), desk.write().unwrap());
        desk.aborts(Some(InForce::Undo));
        desk.executes_as(write, Outcome::Unknown { why: "time-out".to_owned() });
        desk.wake();
        desk.finds_of(&id, on_the_rule(made));
        assert_eq!(restores(&desk), made);
        if made {
            desk.executes(done());
        }
        aborted_ends(&desk);
    }
}

// Mutation: a storm that is looked for where the rule lies.
#[test]
fn services_that_are_ill_in_a_namespace_are_a_storm_there_wherever_their_rules_lie() {
    let wide = "{ share: 100%, absolute: 900 }";
    let mut desk = super::scene::desk_under(&format!(
        "mode: enforce\ncooldown: 1s\nblastRadius:\n  storm: {{ namespace: {{ share: 0%, least: 3 }}, mesh: 100% }}\n  \
         concurrent: {{ workload: {wide}, namespace: {wide}, mesh: {wide} }}"
    ));
    for (number, acts) in [(1, true), (2, true), (3, false)] {
        let name = format!("s{number}");
        let signal = of("traffic.overload", Subject::service("shop", &name), &desk);
        desk.says(signal);
        let mut facts = facts("cart-1");
        let rule = facts.destination_rule.as_mut().unwrap();
        (rule.namespace, rule.name) = (format!("root-{number}"), name.clone());
        rule.host = format!("{name}.shop.svc.cluster.local");
        desk.acts_on(facts);
        assert_eq!(desk.write().is_some(), acts, "{name}: {:?}", desk.case().reasons);
    }
}

// Mutations: `resume` that ends what is held, or executes at once; news of a hold that are not owed.
#[test]
fn a_shed_that_expires_while_the_agent_is_away_is_taken_back_when_it_is_there_again() {
    let mut desk = shed();
    desk.executes(done());
    desk.probes(Level::Healthy);
    desk.at = later(desk.at, 86_400);
    desk.start();
    assert!(
        desk.write().is_none() && desk.asked.iter().any(|effect| matches!(effect, Effect::Notify { .. }))
    );
    desk.at = later(desk.at, 1);
    desk.hear(EventKind::Tick);
    assert!(restores(&desk));
    desk.executes(done());
    assert_eq!(desk.case().phase, Phase::Resolved);
    assert!(desk.state.next_wake().is_none());
}

/// Fifty services whose load is shed at the same moment.
fn fifty() -> Desk {
    let mut desk = desk();
    for number in 0..50 {
        let name = format!("s{number:02}");
        let signal = of("traffic.overload", Subject::service("shop", &name), &desk);
        desk.says(signal);
        let mut facts = facts("cart-1");
        let rule = facts.destination_rule.as_mut().unwrap();
        (rule.name, rule.host) = (name.clone(), format!("{name}.shop.svc.cluster.local"));
        desk.acts_on(facts);
        desk.executes(done());
    }
    desk
}

fn answer_probes(desk: &mut Desk) {
    let probing: Vec<(IncidentId, u32)> = desk
        .state
        .open_incidents()
        .filter(|case| case.phase == Phase::Probing)
        .map(|case| (case.id.clone(), case.probe))
        .collect();
    for (incident, probe) in probing {
        let reading = reading(Level::Healthy, desk.at);
        desk.hear(EventKind::Probed { incident, probe, reading });
    }
}

// Mutations: `restore` without its pace, or without the order of those that are due; `RestoreDelayed` that is
// not folded.
#[test]
fn fifty_sheds_that_expire_at_once_are_taken_back_one_at_a_time_and_each_once() {
    let mut desk = fifty();
    let expires = later(desk.at, 600);
    while desk.state.open_incidents().any(|case| case.phase != Phase::Holding) {
        desk.wake();
        answer_probes(&mut desk);
    }
    let (mut restored, mut last) = (Vec::new(), None);
    // The agent was slow at first.
    desk.at = later(expires, 17);
    while desk.state.open_count() > 0 {
        desk.hear(EventKind::Tick);
        let writes: Vec<Execute> = desk
            .asked
            .iter()
            .filter_map(
                |effect| if let Effect::Execute(execute) = effect { Some(execute.clone()) } else { None },
            )
            .collect();
        assert!(writes.len() <= 1, "{} at once", writes.len());
        if let Some(write) = writes.into_iter().next() {
            let rested = last.is_none_or(|last| desk.at >= later(last, 5));
            assert!(rested, "one after the other, five seconds apart");
            last = Some(desk.at);
            restored.push(write.action.target().unwrap().name.clone());
            desk.executes(done());
        }
        if let Some(next) = desk.state.next_wake() {
            desk.at = next.max(desk.at);
        }
    }
    restored.sort();
    let all: Vec<String> = (0..50).map(|number| format!("s{number:02}")).collect();
    assert_eq!(restored, all, "each exactly once");
    assert!(
        desk.at <= later(expires, 17 + 50 * 5),
        "the last one {} s late",
        desk.at.duration_since(expires)
    );
}
