//! What operators do: pauses hold, and aborts end in every phase.

use super::desk::{Desk, done, later, signal};
use super::stops::{BREAKER, ENFORCE, acts};
use crate::model::change::Change;
use crate::model::event::{EventKind, InForce, Vote};
use crate::model::incident::Phase;
use crate::model::indicator::Level;
use crate::model::pause::Reach;
use crate::model::plan::{Direction, Outcome};
use crate::model::reason::Reason;

fn pause(desk: &mut Desk, reach: Reach, for_s: u64) -> Vec<Change> {
    let (by, reason) = ("alice".to_owned(), "migration".to_owned());
    desk.hear(EventKind::Paused { reach, by, reason, for_s })
}

// Mutations: `reaches` that is always true, or never; `at < pause.until` to `<=`; a resume that wakes nobody.
#[test]
fn a_pause_holds_new_acts_within_its_reach_until_it_ends_or_is_ended() {
    let reaches = [
        (Reach::All, true),
        (Reach::Namespace("shop".to_owned()), true),
        (Reach::Namespace("shop-eu".to_owned()), false),
        (Reach::Playbook("roll-back-virtual-service".to_owned()), true),
        (Reach::Playbook("other".to_owned()), false),
    ];
    for (reach, holding) in reaches {
        let mut desk = Desk::under(ENFORCE);
        let start = desk.at;
        pause(&mut desk, reach.clone(), 600);
        assert_eq!(acts(&mut desk, "cart"), !holding, "{reach}");
        if !holding {
            continue;
        }
        desk.at = later(start, 599);
        desk.hear(EventKind::Tick);
        assert_eq!(desk.case().phase, Phase::Planned, "a second early");
        desk.wake();
        assert_eq!(desk.at, later(start, 600));
        desk.hear(EventKind::Tick);
        assert_eq!((desk.case().phase, desk.state.pauses.len()), (Phase::Inspecting, 0));

        pause(&mut desk, reach.clone(), 600);
        desk.plans();
        assert!(desk.write().is_none());
        desk.hear(EventKind::Resumed { reach: reach.clone(), by: "bob".to_owned() });
        desk.wake();
        assert!(desk.write().is_some(), "{reach} was resumed");
        assert!(desk.hear(EventKind::Resumed { reach, by: "bob".to_owned() }).is_empty());
    }
}

// Mutations: `LONGEST_PAUSE_S` left out; a pause for no time; a second pause beside the first.
#[test]
fn a_pause_has_an_end_within_a_week_and_one_again_replaces_it() {
    let mut desk = Desk::under(ENFORCE);
    assert!(pause(&mut desk, Reach::All, 0).is_empty());
    pause(&mut desk, Reach::All, u64::MAX);
    assert_eq!(desk.state.pauses[0].until, later(desk.at, 7 * 86_400));
    pause(&mut desk, Reach::All, 60);
    assert_eq!(desk.state.pauses.len(), 1);
    assert_eq!(desk.state.next_wake(), Some(later(desk.at, 60)));
}

// Mutation: pauses, storms and breakers asked for an undo.
#[test]
fn harm_is_taken_back_whatever_holds_new_acts() {
    let mut desk = Desk::under(&format!("{ENFORCE}{BREAKER}"));
    assert!(acts(&mut desk, "cart"));
    desk.executes(done());
    pause(&mut desk, Reach::All, 86_400);
    desk.probes(Level::Critical);
    assert_eq!(desk.write().expect("it is taken back").direction, Direction::Undo);
}

/// How a stopped case ends, with what was wanted of what it did.
fn aborted(in_force: InForce) -> Reason {
    Reason::Aborted { by: "alice".to_owned(), comment: "stop".to_owned(), in_force }
}

const KEPT: InForce = InForce::Keep;
const UNDO: Option<InForce> = Some(InForce::Undo);

// Mutations: `abort::one` that ends only what is planned; one that ends while a step runs.
#[test]
fn an_abort_ends_what_waits() {
    let waits: [fn(&mut Desk); 3] = [|_| {}, |desk| drop(desk.finds("bad")), |desk| drop(desk.plans())];
    for wait in waits {
        for in_force in [None, UNDO] {
            let mut desk = Desk::under("mode: suggest");
            desk.breaks("cart");
            wait(&mut desk);
            desk.aborts(in_force);
            assert_eq!(desk.ended(), (Phase::Suppressed, &aborted(in_force.unwrap_or_default())));
            assert!(desk.abort().is_empty() && desk.aborts(UNDO).is_empty());
        }
    }
}

/// A case whose rollback is in force: just written, being measured, or measured as healthy.
fn in_force() -> [Desk; 3] {
    let measured: [fn(&mut Desk); 3] = [
        |_| {},
        |desk| drop(desk.wake()),
        |desk| {
            desk.wake();
            let (incident, probe, at) = (desk.id(), desk.case().probe, desk.at);
            let reading = super::desk::reading(Level::Healthy, at);
            desk.hear(EventKind::Probed { incident, probe, reading });
        },
    ];
    measured.map(|measure| {
        let mut desk = Desk::under(ENFORCE);
        acts(&mut desk, "cart");
        desk.executes(done());
        measure(&mut desk);
        assert!(matches!(desk.case().phase, Phase::Soaking | Phase::Probing));
        desk
    })
}

// Mutation: `abort::one` that takes back whatever is in force writes the bad revision back without a question.
#[test]
fn an_abort_keeps_what_is_in_force_unless_told_otherwise() {
    for (desk, healthy) in in_force().into_iter().zip([false, false, true]) {
        let mut desk = desk;
        desk.abort();
        assert!(desk.write().is_none(), "nothing is written");
        assert_eq!(desk.ended(), (Phase::Suppressed, &aborted(KEPT)));
        assert!(desk.case().in_force().is_some() && desk.case().probed_healthy() == healthy);
        assert!(desk.state.next_wake().is_none(), "nothing follows");
    }
    for mut desk in in_force() {
        desk.aborts(UNDO);
        let undo = desk.write().expect("it is undone");
        assert_eq!(undo.direction, Direction::Undo);
        assert!(desk.case().in_force().is_none());
        desk.executes(done());
        assert_eq!(desk.ended(), (Phase::Suppressed, &aborted(InForce::Undo)), "no next rung");
        assert!(desk.aborts(UNDO).is_empty(), "once");
    }
}

// Mutations: `again` that knows open cases only; one without `Reopened`, whose undo nobody waits for; `is_taken`
// that is never true.
#[test]
fn what_an_abort_kept_is_undone_later_on_demand() {
    for mut desk in in_force() {
        desk.abort();
        desk.at = later(desk.at, 600);
        assert!(desk.aborts(Some(KEPT)).is_empty() && desk.abort().is_empty());
        desk.aborts(UNDO);
        let undo = desk.write().expect("it is undone");
        assert_eq!((undo.direction, desk.state.open_count()), (Direction::Undo, 1));
        // Nobody answers: it is tried again, and found done.
        desk.wake();
        assert_eq!((desk.case().phase, desk.write()), (Phase::Holding, None));
        // Mutation: an operator who can start a second write while the first may still arrive.
        assert!(desk.aborts(UNDO).is_empty());
        desk.wake();
        assert!(desk.write().is_some());
        desk.executes(Outcome::AlreadyDone);
        assert_eq!(desk.ended(), (Phase::Suppressed, &aborted(InForce::Undo)));
        assert_eq!(desk.state.open_count(), 0);
        assert!(desk.aborts(UNDO).is_empty());
    }
    // Another case is about the same by now: its own act would be undone.
    let [mut desk, ..] = in_force();
    desk.abort();
    let first = desk.id();
    desk.at = later(desk.at, 60);
    desk.hear(EventKind::Signal { signal: signal(desk.case().subject.clone(), desk.at) });
    assert_ne!(desk.id(), first);
    let (by, comment, in_force) = ("alice".to_owned(), String::new(), UNDO);
    assert!(desk.hear(EventKind::Aborted { incident: first, by, comment, in_force }).is_empty());
}

// Mutations: `follow` left out of `forward`, of `not_done` or of `notified`; an abort that starts the undo while the step
// runs; one that forgets what was wanted.
#[test]
fn an_abort_lets_a_running_step_finish_and_nothing_forward_follows() {
    let ends: [(Outcome, bool); 4] = [
        (done(), true),
        (Outcome::AlreadyDone, false),
        (Outcome::Failed { why: "no".to_owned() }, false),
        (Outcome::Stale { why: "it changed".to_owned() }, false),
    ];
    for (outcome, made) in ends {
        // Said at once, said while it still runs, or not at all.
        for said in [&[None][..], &[UNDO], &[None, UNDO], &[Some(KEPT)]] {
            let mut desk = Desk::under(ENFORCE);
            acts(&mut desk, "cart");
            let running = desk.write().expect("a step runs");
            said.iter().for_each(|in_force| drop(desk.aborts(*in_force)));
            assert!(desk.asked.is_empty() && desk.case().phase == Phase::Executing, "it is let finish");
            desk.executes_as(running, outcome.clone());
            let undo = said.contains(&UNDO);
            let back = (made && undo).then_some(Direction::Undo);
            assert_eq!(desk.write().map(|undo| undo.direction), back, "{outcome:?}, {said:?}");
            if back.is_some() {
                desk.executes(done());
            }
            let wanted = if undo { InForce::Undo } else { KEPT };
            assert_eq!(desk.ended(), (Phase::Suppressed, &aborted(wanted)), "{outcome:?}, {said:?}");
            assert_eq!(desk.case().in_force().is_some(), made && !undo);
        }
    }
    for (found, made) in [("good", true), ("bad", false)] {
        let mut desk = Desk::under(ENFORCE);
        acts(&mut desk, "cart");
        let running = desk.write().expect("a step runs");
        desk.aborts(UNDO);
        desk.executes_as(running, Outcome::Unknown { why: "time-out".to_owned() });
        desk.wake();
        desk.finds(found);
        assert_eq!(desk.write().map(|undo| undo.direction), made.then_some(Direction::Undo), "{found}");
        assert_eq!(desk.case().phase.is_end(), !made);
    }
}

#[test]
fn an_abort_while_an_act_is_taken_back_ends_behind_it() {
    let mut desk = Desk::under(ENFORCE);
    acts(&mut desk, "cart");
    desk.executes(done());
    desk.probes(Level::Critical);
    let undo = desk.write().expect("it is taken back");
    desk.abort();
    assert!(desk.case().in_force().is_none() && desk.aborts(UNDO).is_empty());
    desk.executes_as(undo, done());
    assert_eq!(desk.ended(), (Phase::Suppressed, &aborted(KEPT)));
}

// Mutation: `abort::all` that looks at the playbook of candidates, or at nothing.
#[test]
fn an_abort_of_a_reach_stops_the_cases_within_it_and_no_others() {
    let mut desk = Desk::under("mode: suggest");
    for name in ["one", "two"] {
        desk.breaks(name);
        desk.plans();
    }
    let all = |reach: Reach| EventKind::AbortedAll {
        reach,
        by: "alice".to_owned(),
        comment: String::new(),
        in_force: None,
    };
    assert!(desk.hear(all(Reach::Namespace("other".to_owned()))).is_empty());
    assert!(desk.hear(all(Reach::Playbook("notify-only".to_owned()))).is_empty());
    assert_eq!(desk.hear(all(Reach::Playbook("roll-back-virtual-service".to_owned()))).len(), 2);
    assert_eq!(desk.state.open_count(), 0);
    assert!(desk.votes(Vote::Approve).is_empty(), "its question is over");
}
