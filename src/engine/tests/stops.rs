//! Storms, breakers, windows, freezes and claims, at their edges.

use super::desk::{Desk, done, later, signal};
use crate::engine::State;
use crate::model::action::Action;
use crate::model::change::Change;
use crate::model::effect::Effect;
use crate::model::event::EventKind;
use crate::model::incident::{IncidentId, Phase};
use crate::model::indicator::Level;
use crate::model::plan::{Direction, Outcome, Rehearsal};
use crate::model::reason::Reason;
use crate::model::signal::{Signal, SignalState};
use crate::model::subject::Subject;

/// Far beyond what these stories touch at once, so that only what they are about holds.
const WIDE: &str =
    "concurrent: { namespace: { share: 100%, absolute: 50 }, mesh: { share: 100%, absolute: 50 } }";
pub(super) const ENFORCE: &str = "mode: enforce\nattempts: { max: 9, refill: 1h }";

fn wide(more: &str) -> Desk {
    Desk::under(&format!("{ENFORCE}\nblastRadius: {{ {WIDE}{more} }}"))
}

/// The reasons that hold the newest case.
fn holds(desk: &Desk) -> Vec<Reason> {
    desk.case().holds().iter().map(|hold| hold.reason.clone()).collect()
}

fn told(desk: &Desk) -> Vec<String> {
    let news = |effect: &Effect| {
        if let Effect::Notify { sentence, .. } = effect { Some(sentence.clone()) } else { None }
    };
    desk.asked.iter().filter_map(news).collect()
}

/// A route of this name goes wrong, and its case comes to the gate.
pub(super) fn acts(desk: &mut Desk, name: &str) -> bool {
    desk.breaks(name);
    desk.plans();
    desk.write().is_some()
}

fn resolves(desk: &mut Desk, id: &str) -> Vec<Change> {
    let subject = desk.state.incidents[&IncidentId(id.into())].subject.clone();
    let over = Signal { state: SignalState::Resolved, ..signal(subject, desk.at) };
    desk.hear(EventKind::Signal { signal: over })
}

// Mutations: `ill < most` to `ill <= most` in `gate::stops`; `ceil` to `floor` in `StormBound::bound`; a storm
// that begins anew at every case.
#[test]
fn a_storm_begins_exactly_at_its_share_and_people_hear_of_it_once() {
    // 100 routes in the namespace and the mesh: four of them are a storm.
    for (share, calm) in [("3.5%", 3), ("4%", 3), ("4.01%", 4)] {
        let mut desk = wide(&format!(", storm: {{ namespace: {share}, mesh: 100% }}"));
        for number in 1..=calm {
            assert!(acts(&mut desk, &number.to_string()), "{number} of {share}");
        }
        assert!(!acts(&mut desk, "last"), "{share}");
        let (ill, bound) = (calm + 1, calm + 1);
        let domain = "VirtualServices in namespace shop".to_owned();
        assert_eq!(holds(&desk), [Reason::Storm { domain, ill, bound }]);
        assert!(matches!(&told(&desk)[..], [news] if news.starts_with("storm: ")), "{:?}", desk.asked);
        assert!(!acts(&mut desk, "one more"));
        assert!(told(&desk).is_empty(), "they know");
    }
}

// Mutation: `least` left out of `StormBound::bound`.
#[test]
fn a_storm_has_a_least_number_whatever_the_share() {
    for (least, number) in [(2, 1), (3, 2), (4, 3)] {
        let storm = format!(", storm: {{ namespace: {{ share: 0%, least: {least} }}, mesh: 100% }}");
        let mut desk = wide(&storm);
        let acted = (0..6).take_while(|name| acts(&mut desk, &name.to_string())).count();
        assert_eq!(acted, number, "at least {least}");
    }
}

// Mutations: cases of other kinds counted; recovered ones counted.
#[test]
fn a_storm_counts_the_subjects_of_the_kind_that_is_ill() {
    let mut desk = wide(", storm: { namespace: { share: 0%, least: 3 }, mesh: 100% }");
    for name in ["a", "b", "c"] {
        let subject = Subject::new("", "Service", "shop", name);
        desk.hear(EventKind::Signal { signal: signal(subject, desk.at) });
    }
    assert!(acts(&mut desk, "one"));
    desk.executes(done());
    desk.probes(Level::Healthy);
    assert_eq!(desk.case().phase, Phase::Resolved);
    assert!(acts(&mut desk, "two") && acts(&mut desk, "three"), "one is well again");
    assert!(!acts(&mut desk, "four"));
}

/// A policy refuses: the case of this route ends while the route stays as ill as it was.
fn ends_refused(desk: &mut Desk, name: &str) {
    desk.breaks(name);
    desk.finds("bad");
    desk.rehearses(Rehearsal::Refused { why: "denied by a webhook".to_owned() });
    assert_eq!(desk.case().phase, Phase::Escalated, "{name}");
}

// Mutation: `ill_subject` that knows open cases only lets the fourth of four ill routes through, as the only one.
#[test]
fn a_case_that_ends_while_its_subject_is_ill_stays_counted_until_the_subject_is_well() {
    let mut desk = wide(", storm: { namespace: { share: 0%, least: 3 }, mesh: 100%, cooldown: 5m }");
    for name in ["one", "two", "three"] {
        ends_refused(&mut desk, name);
    }
    assert_eq!(desk.state.open_count(), 0, "people have them all");
    assert!(!acts(&mut desk, "four"), "four of four are ill");
    assert!(matches!(holds(&desk)[..], [Reason::Storm { ill: 4, bound: 3, .. }]), "{:?}", holds(&desk));
    // The case expires, the storm does not: mutation: a storm that is over because cases expired.
    let planned = desk.case().deadline.expect("a plan has an end");
    desk.at = planned;
    desk.hear(EventKind::Tick);
    assert_eq!((desk.case().phase, desk.state.open_count()), (Phase::Expired, 0));
    assert_eq!(desk.state.storms[0].calm_since, None, "four are ill, whoever looks after them");
    // A snapshot knows it too. Mutation: `count_ill` over open cases only.
    let snapshot = desk.state.to_snapshot().expect("it serialises");
    desk.state = State::from_snapshot(&snapshot).expect("it is of this version");
    assert_eq!(desk.state.ill_subjects().count(), 4);
    // A sender's repeat changes nothing; its word that all is well does, and so does the end of the subject.
    let repeat = signal(Subject::virtual_service("shop", "one"), later(desk.at, -7_200));
    desk.hear(EventKind::Signal { signal: repeat });
    assert_eq!(desk.state.ill_subjects().count(), 4);
    resolves(&mut desk, "j-00001");
    // Mutation: `SubjectVanished` that nobody folds.
    desk.hear(EventKind::RouteGone { subject: Subject::virtual_service("shop", "two") });
    assert_eq!(desk.state.ill_subjects().count(), 2);
    desk.hear(EventKind::Tick);
    let calm = desk.state.storms[0].calm_since.expect("two are ill");
    desk.at = later(calm, 300);
    desk.hear(EventKind::Tick);
    assert!(desk.state.storms.is_empty());
}

// Mutation: `leaves_ill` of a recovery: alerts that began before it repeat until they notice.
#[test]
fn a_measured_recovery_makes_a_subject_well_whatever_is_still_said() {
    let mut desk = wide("");
    assert!(acts(&mut desk, "one"));
    let began = desk.at;
    desk.executes(done());
    desk.probes(Level::Healthy);
    assert_eq!(desk.case().phase, Phase::Resolved);
    let repeat = signal(Subject::virtual_service("shop", "one"), began);
    let changes = desk.hear(EventKind::Signal { signal: repeat });
    assert!(matches!(changes[..], [Change::Ignored { .. }]), "{changes:?}");
    assert_eq!(desk.state.ill_subjects().count(), 0);
}

// Mutations: a storm that ends without its rest; `over <= at` to `over < at` in `stops::tick`; a storm that
// comes back within the rest and is told again.
#[test]
fn after_a_storm_acts_rest_and_start_again_only_if_it_stays_calm() {
    let mut desk = wide(", storm: { namespace: { share: 0%, least: 3 }, mesh: 100%, cooldown: 5m }");
    assert!(acts(&mut desk, "one") && acts(&mut desk, "two"));
    assert!(!acts(&mut desk, "three"));
    let held = desk.id();
    acts(&mut desk, "four");
    let fourth = desk.id();
    resolves(&mut desk, fourth.as_str());
    assert_eq!(desk.state.storms[0].calm_since, None, "three are still ill");
    desk.executes_of("j-00001", done());
    desk.probes_of("j-00001", Level::Healthy);
    desk.hear(EventKind::Tick);
    let calm = desk.state.storms[0].calm_since.expect("two are ill");

    acts(&mut desk, "five");
    desk.hear(EventKind::Tick);
    assert_eq!(desk.state.storms[0].calm_since, None, "it came back");
    assert!(told(&desk).is_empty(), "people know of this storm");
    let fifth = desk.id();
    desk.at = later(calm, 60);
    resolves(&mut desk, fifth.as_str());
    desk.hear(EventKind::Tick);
    let calm = desk.state.storms[0].calm_since.expect("two are ill again");
    desk.hear(EventKind::Tick);
    desk.at = later(calm, 299);
    desk.hear(EventKind::Tick);
    assert_eq!(desk.state.storms.len(), 1, "a second early");
    assert!(matches!(desk.state.incidents[&held].holds(), [hold] if hold.until == Some(later(calm, 300))));
    desk.at = later(calm, 300);
    desk.hear(EventKind::Tick);
    assert!(desk.state.storms.is_empty());
    assert!(told(&desk)[0].contains("is over"), "{:?}", desk.asked);
    desk.hear(EventKind::Tick);
    assert_eq!(desk.state.incidents[&held].phase, Phase::Inspecting, "its turn has come, on fresh facts");
}

// Mutation: `reloaded` that keeps storms under other rules.
#[test]
fn under_other_rules_a_storm_is_looked_for_anew() {
    let mut desk = wide(", storm: { namespace: { share: 0%, least: 1 }, mesh: 100% }");
    desk.hear(EventKind::RulesLoaded { rules: Default::default() });
    assert!(!acts(&mut desk, "one"));
    let other = wide(", storm: { namespace: { share: 0%, least: 2 }, mesh: 100% }");
    desk.hear(EventKind::RulesLoaded { rules: Default::default() });
    assert_eq!(desk.state.storms.len(), 1, "the same rules, loaded by a restart");
    desk.rules = other.rules;
    desk.hear(EventKind::RulesLoaded { rules: Default::default() });
    assert!(desk.state.storms.is_empty());
    desk.hear(EventKind::Tick);
    assert!(desk.write().is_some(), "one is no storm under them");
}

pub(super) const BREAKER: &str = "\nbreaker: { failures: 3, window: 1h, pause: 30m }";

fn fails(desk: &mut Desk, name: &str) {
    assert!(acts(desk, name), "{name}");
    desk.executes(Outcome::Failed { why: "no".to_owned() });
}

// Mutations: `failures >= rule.failures` to `>`; the window without its start; a breaker that tells people at
// every failure.
#[test]
fn a_breaker_opens_at_its_number_of_failures_within_its_window() {
    let mut desk = Desk::under(&format!("{ENFORCE}{BREAKER}"));
    fails(&mut desk, "one");
    desk.at = later(desk.at, 3_600);
    fails(&mut desk, "two");
    fails(&mut desk, "three");
    assert!(told(&desk).iter().all(|news| !news.contains("breaker")), "the first is a whole window ago");
    fails(&mut desk, "four");
    assert_eq!(told(&desk).iter().filter(|news| news.contains("breaker")).count(), 1);
    assert!(!acts(&mut desk, "five"));
    assert_eq!(holds(&desk), [Reason::BreakerOpen { policy: "p".to_owned(), failures: 3 }]);
    assert_eq!(desk.case().holds()[0].until, Some(later(desk.at, 1_800)));
}

// Mutations: `at < until` to `at <= until`; `trial ||` left out of `stops::failed`; one that is forgotten when its
// act ends (`released`); a recovery that does not close it.
#[test]
fn after_its_pause_one_act_may_try_and_only_a_recovery_closes_the_breaker() {
    // The window is shorter than the pause: what the trial does counts by itself.
    let breaker = "breaker: { failures: 3, window: 10m, pause: 30m }";
    // What is left ill by then would be a storm.
    let storm = "storm: { namespace: 100%, mesh: 100% }";
    let mut desk = Desk::under(&format!("{ENFORCE}\n{breaker}\nblastRadius: {{ {WIDE}, {storm} }}"));
    ["one", "two", "three"].iter().for_each(|name| fails(&mut desk, name));
    let opened = desk.at;
    desk.at = later(opened, 1_799);
    assert!(!acts(&mut desk, "early"));
    desk.abort();
    desk.at = later(opened, 1_800);
    assert!(acts(&mut desk, "trial"));
    let trial = desk.id();
    assert!(!acts(&mut desk, "second"));
    assert_eq!(holds(&desk), [Reason::TrialRuns { policy: "p".to_owned(), incident: trial.to_string() }]);
    desk.abort();
    // The trial fails: open again, and nobody is told of the breaker a second time.
    desk.executes_of(trial.as_str(), Outcome::Failed { why: "no".to_owned() });
    assert!(told(&desk).iter().all(|news| !news.contains("breaker")));
    let opened = desk.at;
    assert!(!acts(&mut desk, "held"));
    desk.abort();
    desk.at = later(opened, 1_800);
    // One that wrote nothing leaves its place to the next.
    assert!(acts(&mut desk, "stale"));
    desk.executes(Outcome::Stale { why: "it changed".to_owned() });
    assert!(acts(&mut desk, "helps"));
    desk.executes(done());
    desk.probes(Level::Healthy);
    assert_eq!(desk.case().phase, Phase::Resolved);
    assert!(desk.state.breakers.is_empty());
    assert!(acts(&mut desk, "free") && acts(&mut desk, "freer"));
}

// Mutation: only failed steps counted.
#[test]
fn what_did_not_help_counts_as_a_failure_and_each_playbook_for_itself() {
    let text = "//! Other.\nfn about() { #{ on: [symptom(\"config.rejected\")], needs: [\"route\"], \
        recover: #{ indicator: \"traffic.route_error_rate\", within: \"1m\", hold: \"9s\" } } }\n\
        fn plan(facts) { [rollback_route(facts.route)] }";
    let breaker = "\nbreaker: { failures: 1, window: 1h, pause: 30m }";
    let mut desk = Desk::with(&format!("{ENFORCE}{breaker}"), &[("other.rhai", text)]);
    assert!(acts(&mut desk, "one"));
    desk.executes(done());
    desk.probes(Level::Critical);
    assert_eq!(desk.state.breakers[0].playbook, "roll-back-virtual-service");
    assert_eq!(desk.write().expect("it is taken back").direction, Direction::Undo);
    desk.executes(done());
    desk.plans();
    assert!(matches!(&holds(&desk)[..], [Reason::BreakerOpen { .. }]), "the next rung is a new act");
    let subject = desk.case().subject.clone();
    desk.abort();
    let symptom = "config.rejected".parse().expect("a symptom");
    desk.hear(EventKind::Signal { signal: Signal { symptom, ..signal(subject, desk.at) } });
    desk.plans();
    assert!(desk.write().is_some(), "another playbook has its own breaker");
}

// Mutations: the zone left out; the hold without its end; `skew_s` left out of `engine_time`.
#[test]
fn outside_of_its_window_an_act_waits_for_the_opening_by_the_wall_clock() {
    // The desk's time begins on Thursday, 2026-01-01 at 00:00 UTC, which is 01:00 in Berlin.
    let windows = format!("{ENFORCE}\nwindows: [{{ deny: \"Thu 01:00 - Thu 01:30\", zone: Europe/Berlin }}]");
    let mut desk = Desk::under(&windows);
    let start = desk.at;
    assert!(!acts(&mut desk, "cart"));
    assert!(matches!(&holds(&desk)[..], [Reason::OutsideWindow { policy, .. }] if policy == "p"));
    assert_eq!(desk.case().holds()[0].until, Some(later(start, 1_800)));
    desk.at = later(start, 1_799);
    desk.hear(EventKind::Tick);
    assert_eq!(desk.case().phase, Phase::Planned);
    desk.wake();
    assert_eq!((desk.at, desk.case().phase), (later(start, 1_800), Phase::Inspecting));
    desk.plans();
    assert!(desk.write().is_some());

    let mut desk = Desk::under(&windows);
    desk.hear(EventKind::ClockJumped { seconds: 1_000 });
    desk.wake();
    assert!(!acts(&mut desk, "cart"));
    assert_eq!(desk.case().holds()[0].until, Some(later(start, 800)), "the wall clock is ahead");
}

// Mutations: a freeze that does not cap the mode; `at < self.to` to `at <= self.to`.
#[test]
fn a_freeze_caps_the_mode_until_it_ends_and_undo_passes_it() {
    let freeze = "freezes: [{ from: \"2026-01-01 01:05\", to: \"2026-01-01 02:00\", zone: Europe/Berlin, reason: sale }]";
    let mut desk = Desk::under(&format!("{ENFORCE}\n{freeze}\nblastRadius: {{ {WIDE} }}"));
    let start = desk.at;
    assert!(acts(&mut desk, "before"));
    desk.executes(done());
    desk.probes(Level::Critical);
    let undo = desk.write().expect("it is taken back");
    assert_eq!(undo.direction, Direction::Undo);
    desk.abort();
    desk.executes_as(undo, done());
    desk.at = later(start, 300);
    assert!(!acts(&mut desk, "cart"));
    assert_eq!(holds(&desk), [Reason::Frozen { policy: "p".to_owned(), reason: "sale".to_owned() }]);
    let mode = desk.case().checks.iter().find(|check| check.name == "mode").expect("it was asked");
    assert_eq!(mode.detail, "observe by a freeze of policy p");
    assert_eq!(desk.case().holds()[0].until, Some(later(start, 3_600)));
    desk.wake();
    assert_eq!((desk.at, desk.case().phase), (later(start, 3_600), Phase::Inspecting));
}

// Mutations: `theirs == owner` or `other.key.owner == *mine` left out of `radius::conflicts`.
#[test]
fn an_act_on_an_owner_and_one_on_its_member_exclude_each_other() {
    let owner = Subject::virtual_service("shop", "owner");
    for owner_first in [true, false] {
        let mut desk = wide("");
        let names = if owner_first { ["owner", "member"] } else { ["member", "owner"] };
        for name in names {
            desk.breaks(name);
            if name == "member" {
                let id = desk.id();
                let case = desk.state.case_mut(&id).expect("it was opened");
                case.key.owner = owner.clone();
            }
            desk.plans();
        }
        assert!(desk.write().is_none(), "owner first: {owner_first}");
        assert!(matches!(&holds(&desk)[..], [Reason::Claimed { .. }, ..]), "{:?}", holds(&desk));
    }
}

// Mutation: any check that says nothing when it passes.
#[test]
fn every_check_is_shown_with_what_it_compared() {
    let mut desk = wide(", storm: { namespace: 30% }");
    acts(&mut desk, "cart");
    let names: Vec<&str> = desk.case().checks.iter().map(|check| check.name.as_str()).collect();
    let all = [
        "scope",
        "rehearsal",
        "freeze",
        "mode",
        "process",
        "pause",
        "window",
        "limit",
        "cooldown",
        "attempts",
        "claim",
        "concurrent",
        "concurrent",
        "concurrent",
        "storm",
        "storm",
        "breaker",
    ];
    assert_eq!(names, all);
    let storm = desk.case().checks.iter().find(|check| check.name == "storm").expect("it was asked");
    let words = "1 VirtualServices in namespace shop ill, storm from 30: 30 % of 100, at least 3, p";
    assert_eq!(storm.detail, words);
    assert!(matches!(desk.case().plan.as_ref().unwrap().steps[0], Action::RollbackRoute { .. }));
    desk.rehearses(Rehearsal::Accepted { diff: String::new() });
}
