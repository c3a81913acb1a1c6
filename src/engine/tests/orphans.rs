//! Limits that another agent left: taken back where the policies allow it, else told to people.

use super::desk::{Desk, done, later};
use super::scene::{desk, desk_under};
use crate::model::action::Action;
use crate::model::effect::Effect;
use crate::model::event::EventKind;
use crate::model::incident::Phase;
use crate::model::mark::Marked;
use crate::model::pause::Reach;
use crate::model::plan::Outcome;
use crate::model::reason::Reason;
use crate::model::subject::Subject;
use crate::model::verdict::Mode;

fn rule() -> Subject {
    Subject::destination_rule("shop", "cart")
}

fn marked(incident: &str, desk: &Desk) -> Box<Marked> {
    Box::new(Marked {
        subject: rule(),
        uid: "d".to_owned(),
        labels: std::collections::BTreeMap::new(),
        incident: incident.to_owned(),
        expires: Some(later(desk.at, 600)),
        was: None,
    })
}

/// A desk that saw limits of this incident, due two minutes after their expiry.
fn seen(mut desk: Desk, incident: &str) -> Desk {
    let marked = marked(incident, &desk);
    desk.hear(EventKind::MarkSeen { marked: marked.clone() });
    assert!(desk.asked.is_empty() && desk.hear(EventKind::MarkSeen { marked }).is_empty(), "told once");
    desk
}

/// Time passes until a case is opened and has had its turn.
fn due(desk: &mut Desk) {
    desk.wake();
    desk.wake();
}

fn restores(desk: &Desk, incident: &str) -> bool {
    let of = desk.write().map(|write| write.action);
    matches!(of, Some(Action::Restore { target, uid, of: Some(of), .. })
        if target == rule() && uid == "d" && of == incident)
}

fn told(desk: &Desk) -> Option<&str> {
    desk.asked.iter().find_map(|effect| match effect {
        Effect::Notify { sentence, .. } => Some(sentence.as_str()),
        Effect::Inspect(_) | Effect::Rehearse { .. } | Effect::Execute(_) | Effect::Probe { .. } => None,
    })
}

// Mutations: `due_at` without the two minutes; `ended` that ends a case whose write failed; a case for limits that
// were taken back in time.
#[test]
fn limits_of_another_agent_are_taken_back_two_minutes_after_their_expiry() {
    let mut desk = seen(desk(), "other-00001");
    let began = desk.at;
    due(&mut desk);
    assert_eq!(desk.at, later(began, 720));
    assert!(restores(&desk, "other-00001"), "{:?}", desk.asked);
    assert!(told(&desk).is_none());
    desk.executes(Outcome::Unknown { why: "failed calling webhook".to_owned() });
    assert!(
        told(&desk)
            .is_some_and(|words| words.contains("meshmend restore --namespace shop destinationrule/cart"))
    );
    desk.wake();
    assert_eq!(desk.state.overdue(desk.at), (0, 1));
    desk.executes(done());
    assert_eq!(desk.ended(), (Phase::Resolved, &Reason::Undone));
    assert!(told(&desk).is_some() && desk.state.next_wake().is_none());

    let mut desk = seen(super::scene::desk(), "other-00001");
    desk.hear(EventKind::MarkGone { subject: rule() });
    assert!(desk.state.next_wake().is_none(), "its own agent did it in time");
}

// Mutations: any of the checks of `forbidden` left out; reminders that do not come, or come with every look.
#[test]
fn where_the_policies_do_not_let_load_be_shed_people_are_told_and_reminded() {
    let within = "mode: enforce\nscope: { namespaces: [web] }";
    let asks = "mode: enforce\napprovals: [ { actions: [shed_load], votes: 1, expires: 5m } ]";
    let frozen = "mode: enforce\nfreezes: [ { from: \"2025-12-31T00:00:00Z\", to: \"2027-01-01T00:00:00Z\", reason: sale } ]";
    for policy in ["mode: observe", "mode: suggest", within, asks, frozen] {
        refused(desk_under(policy), policy);
    }
    let mut capped = desk();
    capped.rules.max_mode = Some(Mode::Observe);
    refused(capped, "--mode observe");
}

fn refused(desk: Desk, policy: &str) {
    let mut desk = seen(desk, "other-00001");
    due(&mut desk);
    let words = told(&desk).unwrap_or_default().to_owned();
    assert!(words.contains("nothing is written") && words.contains("meshmend restore"), "{policy}: {words}");
    let (began, mut again) = (desk.at, 0);
    while desk.at < later(began, 3 * 3_600) {
        // Mutation: `acts` that counts what waits for people, so that nothing else may be done in the mesh.
        assert!(desk.write().is_none() && desk.state.acting().next().is_none(), "{policy}");
        desk.wake();
        again += usize::from(told(&desk).is_some());
    }
    assert_eq!(again, 3, "{policy}: reminded each hour");
    desk.hear(EventKind::MarkGone { subject: rule() });
    assert_eq!(desk.case().phase, Phase::Resolved);
    assert!(desk.state.next_wake().is_none());
}

// Mutations: a pause that is not asked for; one that is remembered for ever.
#[test]
fn a_pause_holds_it_until_it_is_over() {
    let mut desk = seen(desk(), "other-00001");
    let (by, reason) = ("alice".to_owned(), "migration".to_owned());
    desk.hear(EventKind::Paused { reach: Reach::All, by, reason, for_s: 1_000 });
    let began = desk.at;
    due(&mut desk);
    while desk.write().is_none() {
        assert!(desk.at < later(began, 1_000 + 300), "five minutes after the pause at the latest");
        desk.wake();
    }
    assert!(desk.at >= later(began, 1_000));
}

// Mutation: asking the policies about what our own journal left.
#[test]
fn what_a_case_of_this_journal_left_is_taken_back_whatever_the_policies_say() {
    let mut desk = desk_under("mode: observe");
    desk.rules.max_mode = Some(Mode::Observe);
    let mut desk = seen(desk, "j-00001");
    due(&mut desk);
    assert!(restores(&desk, "j-00001"), "{:?}", desk.asked);
}

// Mutations: a case that an operator ended and the next tick opens again; one that a restart forgets.
#[test]
fn an_operator_may_leave_it_and_a_restart_does_not() {
    let mut desk = seen(desk(), "other-00001");
    due(&mut desk);
    desk.start();
    assert_eq!(desk.case().phase, Phase::Holding);
    desk.wake();
    assert!(restores(&desk, "other-00001"), "it was running when the agent was killed");
    desk.executes(Outcome::Stale { why: "changed".to_owned() });
    desk.abort();
    assert_eq!(desk.case().phase, Phase::Suppressed);
    assert!(desk.state.next_wake().is_none());
}
