//! What holds in every run, whatever the world answers.
//!
//! Random events alone would never reach an undo or a third act in a window; here the world answers the
//! engine's own effects at random. The last test counts that the runs reach what the properties are about.
//! Beside each property stands the mutation that it must catch; each was tried by hand.

mod acts;
mod commits;
mod stops;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use meshmend::engine::{State, apply, decide, effects};
use meshmend::model::action::Action;
use meshmend::model::change::Change;
use meshmend::model::digest::Digest;
use meshmend::model::effect::{Effect, Execute};
use meshmend::model::event::{Event, EventKind, InForce, Vote};
use meshmend::model::incident::{Incident, IncidentId, IncidentKey, Phase};
use meshmend::model::indicator::Level;
use meshmend::model::plan::{Direction, Outcome};
use meshmend::model::reason::Reason;
use meshmend::model::signal::SignalState;
use meshmend::model::subject::Subject;
use meshmend::model::verdict::Mode;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use smol_str::SmolStr;

use super::world::{Bounds, Launched, Logged, Tape, Turn, World, deployment, fold, run, tally, variants};

type Checked = Result<(), TestCaseError>;

/// The same runs every time: a property that fails in CI fails on every machine.
fn holds(cases: u32, property: impl Fn(Tape) -> Checked) {
    let config = Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x6d65_7368),
        max_shrink_iters: 600,
        ..Config::default()
    };
    let tapes = vec(any::<u16>(), 1..900);
    match TestRunner::new(config).run(&tapes, |cells| property(Tape::new(cells))) {
        Err(TestError::Fail(why, tape)) => panic!("{why}\non the tape {tape:?}"),
        Err(TestError::Abort(why)) => panic!("the runs were aborted: {why}"),
        Ok(()) => {}
    }
}

/// The records and launches of a turn.
fn records<'w>(world: &'w World, turn: &Turn) -> &'w [Logged] {
    &world.log[world.log.len() - turn.records..]
}

fn launches<'w>(world: &'w World, turn: &Turn) -> &'w [Launched] {
    &world.pending[world.pending.len() - turn.launches..]
}

/// Writes forward that a turn started, with their case.
fn acts<'w>(world: &'w World, turn: &Turn) -> impl Iterator<Item = (&'w Execute, &'w Incident)> {
    launches(world, turn).iter().filter_map(|launched| {
        let Effect::Execute(execute) = &launched.effect else { return None };
        let forward = execute.direction == Direction::Forward;
        forward.then(|| (execute, world.state.incidents[&execute.incident].as_ref()))
    })
}

fn seconds(span: i64) -> SignedDuration {
    SignedDuration::from_secs(span)
}

// === budgets ===

struct Act {
    at: Timestamp,
    key: IncidentKey,
    target: Subject,
    playbook: String,
    /// Whether anything may have been written: an act that surely was not made gives nothing to rest from.
    wrote: bool,
}

/// Counts acts as a person with pen and paper would, from what was launched.
#[derive(Default)]
struct Budgets {
    acts: Vec<Act>,
    /// Since when a key has been well, as far as anybody said; and its longest healthy time since the last
    /// act, with the acts since it last had enough of it.
    well_since: BTreeMap<IncidentKey, Timestamp>,
    quiet: BTreeMap<IncidentKey, SignedDuration>,
    spent: BTreeMap<IncidentKey, u32>,
    firing: BTreeMap<IncidentKey, BTreeSet<(SmolStr, Option<SmolStr>)>>,
}

impl Budgets {
    fn check(&mut self, world: &World, turn: &Turn) -> Checked {
        for logged in records(world, turn) {
            self.listen(world, logged);
            self.strike(world, logged);
        }
        for (execute, case) in acts(world, turn) {
            let act = Act {
                at: turn.now,
                key: case.key.clone(),
                target: execute.action.target().expect("a write has a target").clone(),
                playbook: case.plan.as_ref().expect("an act has a plan").playbook.clone(),
                wrote: true,
            };
            self.within_limits(&act, world.bounds())?;
            self.within_attempts(&act, world.bounds())?;
            self.acts.push(act);
        }
        Ok(())
    }

    /// Strikes out what turned out to have written nothing.
    fn strike(&mut self, world: &World, logged: &Logged) {
        for change in &logged.changes {
            let Change::StepEnded { incident, step: 0, direction: Direction::Forward, outcome } = change
            else {
                continue;
            };
            let nothing = matches!(outcome, Outcome::Stale { .. } | Outcome::Failed { .. });
            let key = world.state.incidents.get(incident).map(|case| &case.key);
            if let Some(act) = self.acts.iter_mut().rev().find(|act| nothing && Some(&act.key) == key) {
                act.wrote = false;
            }
        }
    }

    fn within_limits(&self, act: &Act, bounds: &Bounds) -> Checked {
        for (per, limit, window) in bounds.limits {
            let same = |old: &&Act| match *per {
                "target" => old.key.owner == act.key.owner,
                "playbook" => old.playbook == act.playbook,
                "namespace" => old.target.namespace == act.target.namespace,
                _ => true,
            };
            let recent = self.acts.iter().filter(|old| act.at.duration_since(old.at) < seconds(*window));
            let count = recent.filter(same).count() + 1;
            prop_assert!(count <= *limit, "{count} acts per {per} within {window} s, {limit} are allowed");
        }
        let last = self.acts.iter().rev().find(|old| old.target == act.target && old.wrote);
        let rested = last.is_none_or(|last| act.at.duration_since(last.at) >= seconds(bounds.cooldown_s));
        prop_assert!(rested, "the target {} did not rest", act.target);
        Ok(())
    }

    fn within_attempts(&mut self, act: &Act, bounds: &Bounds) -> Checked {
        // What is spent on a pod is spent on its owner: a replacement begins with nothing.
        let key = act.key.budget();
        let quiet = self.quiet.remove(&key).unwrap_or(SignedDuration::ZERO);
        let spent = self.spent.entry(key).or_default();
        if quiet >= seconds(bounds.attempts.1) {
            *spent = 0;
        }
        *spent += 1;
        let max = bounds.attempts.0;
        prop_assert!(
            *spent <= max,
            "attempt {spent} on {} without a healthy period, {max} are allowed",
            act.key
        );
        Ok(())
    }

    /// A key is well from the end of its last firing source, or from a verified recovery, to the next
    /// firing signal.
    fn listen(&mut self, world: &World, logged: &Logged) {
        let at = logged.event.at;
        if let EventKind::Signal { signal } = &logged.event.kind {
            let id = logged.changes.iter().find_map(Change::incident);
            let key = id.and_then(|id| world.state.incidents.get(id)).map(|case| case.key.clone());
            let Some(key) = key else { return };
            let said = (signal.source.clone(), key.member.clone());
            let key = key.budget();
            let firing = self.firing.entry(key.clone()).or_default();
            if signal.state == SignalState::Firing {
                firing.insert(said);
                if let Some(since) = self.well_since.remove(&key) {
                    let quiet = self.quiet.entry(key).or_default();
                    *quiet = (*quiet).max(at.duration_since(since));
                }
            } else if firing.remove(&said) && firing.is_empty() {
                self.well_since.entry(key).or_insert(at);
            }
        }
        for change in &logged.changes {
            if let Change::Ended { incident, reason: Reason::Recovered { .. }, .. } = change
                && let Some(case) = world.state.incidents.get(incident)
            {
                let firing = self.firing.entry(case.key.budget()).or_default();
                firing.retain(|(_, member)| *member != case.key.member);
                if firing.is_empty() {
                    self.well_since.entry(case.key.budget()).or_insert(at);
                }
            }
        }
    }
}

// Mutations: `>=` to `>` in `gate::limits`; `until > case.at` to `until < case.at` in `gate::cooldown`;
// `spent >= max` to `spent > max` in `gate::attempts`; not serialising the ledger (`#[serde(skip)]`).
#[test]
fn acts_never_exceed_the_budgets_also_across_restarts() {
    let most = RefCell::new(0);
    holds(200, |mut tape| {
        let mut budgets = Budgets::default();
        run(&mut tape, &mut |world, turn| budgets.check(world, turn))?;
        let mut most = most.borrow_mut();
        *most = budgets.acts.len().max(*most);
        Ok(())
    });
    let most = most.into_inner();
    assert!(most >= 8, "no run made more than {most} acts: the budgets were never tried");
}

// === permits ===

/// Which `StepStarted` asks for a write, and how often it got one.
#[derive(Default)]
struct Permits {
    used: BTreeSet<(usize, IncidentId, usize, bool)>,
}

impl Permits {
    fn check(&mut self, world: &World, turn: &Turn) -> Checked {
        for launched in launches(world, turn) {
            let Effect::Execute(execute) = &launched.effect else {
                prop_assert!(launched.permit.is_none(), "only writes have permits");
                continue;
            };
            let asked = world.log[launched.record].changes.iter().any(|change| {
                matches!(change, Change::StepStarted { incident, plan, step, direction, .. }
                    if *incident == execute.incident && *plan == execute.plan
                        && *step == execute.step && *direction == execute.direction)
            });
            prop_assert!(asked, "a write that no record asks for: {execute:?}");
            let restart = matches!(world.log[launched.record].event.kind, EventKind::Started { .. });
            prop_assert!(!restart, "a write because of a restart: {execute:?}");
            let undo = execute.direction == Direction::Undo;
            let first = self.used.insert((launched.record, execute.incident.clone(), execute.step, undo));
            prop_assert!(first, "one record led to two writes: {execute:?}");
            covers(launched, execute, turn.now)?;
        }
        Ok(())
    }
}

/// The permit covers exactly this step, and for a short time only.
fn covers(launched: &Launched, execute: &Execute, now: Timestamp) -> Checked {
    let Some(permit) = &launched.permit else {
        return Err(TestCaseError::fail(format!("a write without a permit: {execute:?}")));
    };
    prop_assert!(permit.covers(execute, now).is_ok(), "{:?}", permit.covers(execute, now));
    let mut others = vec![execute.clone(), execute.clone(), execute.clone(), execute.clone()];
    others[0].step += 1;
    others[1].plan = Digest::ZERO;
    others[2].direction = match execute.direction {
        Direction::Forward => Direction::Undo,
        Direction::Undo => Direction::Forward,
    };
    others[3].action = Action::EvictPod { target: Subject::pod("shop", "another"), uid: String::new() };
    for other in &others {
        prop_assert!(permit.covers(other, now).is_err(), "the permit covers {other:?} too");
    }
    let late = permit.not_after().saturating_add(seconds(1)).expect("a permit is short");
    prop_assert!(permit.covers(execute, late).is_err(), "the permit has no end");
    prop_assert!(permit.not_after().duration_since(now) <= seconds(60), "the permit is too long");
    Ok(())
}

/// Time limit of a write in the effector plus clock error, as the design has it: after the end of the
/// permit and this, a write has arrived or never will.
const WRITE_LIMIT: SignedDuration = SignedDuration::from_secs(12);

/// While a write may still arrive, nobody starts another one on its target.
fn one_write_at_a_time(world: &World, turn: &Turn) -> Checked {
    for launched in launches(world, turn) {
        let Some(number) = launched.flight else { continue };
        let target = &world.flights[number].target;
        let other = world.flights[..number].iter().find(|flight| {
            collide(&flight.target, target)
                && !flight.answered
                && turn.now < flight.not_after.saturating_add(WRITE_LIMIT).expect("a permit is short")
        });
        prop_assert!(other.is_none(), "two writes to {target} at once");
    }
    let acting: Vec<&Subject> =
        world.state.open_incidents().filter(|case| is_acting(case)).filter_map(target).collect();
    for (index, one) in acting.iter().enumerate() {
        let other = acting[..index].iter().find(|other| collide(one, other));
        prop_assert!(other.is_none(), "two cases act on {one} and {other:?}");
    }
    Ok(())
}

fn target(case: &Incident) -> Option<&Subject> {
    case.plan.as_ref()?.steps.iter().find_map(Action::target)
}

/// Whether two writes get into each other's way: on one object, or on a workload and one of its pods.
fn collide(one: &Subject, other: &Subject) -> bool {
    let owner_and_pod = |one: &Subject, other: &Subject| *one == deployment() && other.kind == "Pod";
    one == other || owner_and_pod(one, other) || owner_and_pod(other, one)
}

fn is_acting(case: &Incident) -> bool {
    case.phase.is_acting() && case.plan.as_ref().is_some_and(|plan| plan.writes())
}

// Mutations: `gate::permit` with a fixed direction; `Permit::covers` that leaves out target, plan or end;
// `effects` that start a step also on `Charged`; a gate without its claim; `Phase::Probing` left out of
// `is_acting`; `act::reconcile` that inspects at once instead of after the permit's end.
#[test]
fn every_write_has_its_own_permit_and_its_target_to_itself() {
    holds(200, |mut tape| {
        let mut permits = Permits::default();
        run(&mut tape, &mut |world, turn| {
            permits.check(world, turn)?;
            one_write_at_a_time(world, turn)
        })?;
        Ok(())
    });
}

// === modes, facts, approvals ===

/// What has to be true of the case at the moment its write starts.
fn borne_by_facts(world: &World, turn: &Turn) -> Checked {
    for (execute, case) in acts(world, turn) {
        prop_assert!(world.bounds().mode != Mode::Observe, "a write in observe: {execute:?}");
        prop_assert!(case.subject.namespace.starts_with("shop"), "a write out of scope: {execute:?}");
        prop_assert!(!case.firing.is_empty(), "a write although nothing fires: {execute:?}");
        let found = case.findings.as_ref().expect("an act was planned on findings");
        for fact in asked_for(&execute.action) {
            prop_assert!(found.facts.has(fact), "a write without the {fact} it asked for");
        }
        prop_assert!(!found.missing.contains_key("budget"), "a write although the budget is unknown");
        let readable = found.indicators.values().all(|probe| probe.level != Level::Unknown);
        prop_assert!(readable && !found.indicators.is_empty(), "a write that could not be verified");
        let age = case.found_at.map(|at| turn.now.duration_since(at));
        prop_assert!(age.is_some_and(|age| age <= seconds(30)), "a write on facts {age:?} old");
    }
    Ok(())
}

/// What the playbooks of the world ask for.
fn asked_for(action: &Action) -> &'static [&'static str] {
    match action {
        Action::RollbackRoute { target, .. } if target.kind == "VirtualService" => &["route", "traffic"],
        Action::RollbackRoute { .. } | Action::ShedLoad { .. } => &["destination_rule", "traffic"],
        Action::RestartSidecar { .. } | Action::EvictPod { .. } => &["pod", "proxy", "control_plane"],
        Action::RolloutRestart { .. } => &["workload", "control_plane"],
        Action::RotateCertificate { .. } => &["certificate"],
        Action::Restore { .. } | Action::Notify { .. } => &[],
    }
}

// Mutations: `Mode::Observe` treated like enforce in `gate::mode`; `known` in `plan.rs` that is always
// true; `readable` that accepts `Level::Unknown`; a gate that takes old facts; `select::again` without its
// look whether anything still fires.
#[test]
fn nothing_is_written_in_observe_nor_on_unknown_facts_nor_for_what_is_over() {
    holds(200, |mut tape| run(&mut tape, &mut borne_by_facts).map(|_| ()));
}

/// The votes that were heard, against the acts that needed one.
#[derive(Default)]
struct Votes {
    yes: BTreeMap<IncidentId, (Digest, Timestamp)>,
    used: usize,
}

impl Votes {
    fn check(&mut self, world: &World, turn: &Turn) -> Checked {
        for logged in records(world, turn) {
            if let EventKind::Voted { incident, plan, vote: Vote::Approve, .. } = &logged.event.kind {
                self.yes.insert(incident.clone(), (*plan, logged.event.at));
            }
        }
        for (execute, case) in acts(world, turn) {
            let bounds = world.bounds();
            if bounds.mode != Mode::Suggest && bounds.approval_s.is_none() {
                continue;
            }
            let vote = self.yes.remove(&case.id);
            let fits = vote.is_some_and(|(plan, at)| {
                plan == execute.plan
                    && turn.now.duration_since(at) < seconds(bounds.approval_s.unwrap_or(900))
            });
            prop_assert!(fits, "a write without a yes to this plan: {execute:?}");
            self.used += 1;
        }
        Ok(())
    }
}

// Mutations: an approval of another plan that is neither void in `planned` nor looked at in `gate::mode`; one
// that survives `Charged`, or has no end; a vote for any plan.
#[test]
fn where_people_are_asked_each_act_has_its_own_yes() {
    let used = RefCell::new(0);
    holds(200, |mut tape| {
        let mut votes = Votes::default();
        run(&mut tape, &mut |world, turn| votes.check(world, turn))?;
        *used.borrow_mut() += votes.used;
        Ok(())
    });
    let used = used.into_inner();
    assert!(used >= 10, "only {used} acts were approved: the property was hardly tried");
}

// === verification ===

/// Writes that were done and neither measured nor taken back yet.
#[derive(Default)]
struct Unverified(BTreeSet<IncidentId>);

impl Unverified {
    fn check(&mut self, world: &World, turn: &Turn) -> Checked {
        for change in records(world, turn).iter().flat_map(|logged| &logged.changes) {
            let Some(id) = change.incident() else { continue };
            if let Change::StepEnded { step, direction, outcome: Outcome::Done { .. }, .. } = change {
                let plan = world.state.incidents.get(id).and_then(|case| case.plan.as_ref());
                let writes = plan.is_some_and(|plan| plan.steps[*step].target().is_some());
                if writes && *direction == Direction::Forward {
                    self.0.insert(id.clone());
                }
            }
            let undone = matches!(change, Change::StepStarted { direction: Direction::Undo, .. });
            if undone || matches!(change, Change::SoakStarted { .. }) {
                self.0.remove(id);
            }
            if let Change::Ended { reason, .. } = change {
                let unverified = self.0.remove(id) && !stopped_for_good(&world.state.incidents[id], reason);
                prop_assert!(!unverified, "nobody looked whether the write helped: {reason}");
            }
        }
        Ok(())
    }
}

/// A person stopped the case, and what it did has no inverse or is to stay: nothing may follow, and so there is
/// nothing to measure for. What expires is taken back also then, and what they want undone.
fn stopped_for_good(case: &Incident, reason: &Reason) -> bool {
    let steps = || case.plan.iter().flat_map(|plan| &plan.steps);
    let Reason::Aborted { in_force, .. } = reason else { return false };
    let stays = *in_force == InForce::Keep && steps().all(|step| step.expires_s().is_none());
    stays || steps().filter_map(Action::inverse).next().is_none()
}

// Mutations: a notification after the write that nobody answers ends the case (`tick::overdue`);
// `act::take_back` that ends a case without a look at what can be taken back.
#[test]
fn no_case_ends_before_its_write_was_measured_or_taken_back() {
    holds(200, |mut tape| {
        let mut unverified = Unverified::default();
        run(&mut tape, &mut |world, turn| unverified.check(world, turn)).map(|_| ())
    });
}

// === concurrency ===

fn allowed((percent, absolute): (u64, u64), of: u64) -> u64 {
    absolute.min((percent * of / 100).max(1))
}

fn within_the_blast_radius(world: &World, turn: &Turn) -> Checked {
    for (execute, case) in acts(world, turn) {
        let others: Vec<&Incident> =
            world.state.open_incidents().filter(|other| other.id != case.id && is_acting(other)).collect();
        let target = execute.action.target().expect("a write has a target");
        let near = others.iter().filter(|other| other.subject.namespace == target.namespace).count();
        let (near, all) =
            (u64::try_from(near).unwrap_or(0) + 1, u64::try_from(others.len()).unwrap_or(0) + 1);
        let bounds = world.bounds();
        let most = allowed(bounds.namespace, case.population.namespace);
        prop_assert!(near <= most, "{near} targets of a namespace at once, {most} are allowed");
        let most = allowed(bounds.mesh, case.population.mesh);
        prop_assert!(all <= most, "{all} targets at once, {most} are allowed");
    }
    Ok(())
}

// Mutations: `touched >= allowed` to `touched > allowed` in `gate::concurrent`; a tick that lets every case act
// that was let through (`moved` ignored).
#[test]
fn no_more_targets_are_touched_at_once_than_the_blast_radius_allows() {
    holds(200, |mut tape| run(&mut tape, &mut within_the_blast_radius).map(|_| ()));
}

// === memory ===

// Mutations: a field of `State` or `Attempts` marked `#[serde(skip)]` (tried: `regate`, `firing`); `apply` that
// leaves the wake of an ended case in the index.
#[test]
fn folding_the_records_is_the_run() {
    holds(200, |mut tape| {
        let world = run(&mut tape, &mut |_, _| Checked::Ok(()))?;
        let log: Vec<Logged> = world
            .log
            .iter()
            .map(|logged| {
                let bytes = serde_json::to_vec(&logged.changes).expect("changes are JSON");
                let changes = serde_json::from_slice(&bytes).expect("what was written can be read");
                Logged { event: logged.event.clone(), changes, rules: logged.rules }
            })
            .collect();
        let folded = fold(&log, &mut tape);
        prop_assert!(folded == world.state, "the fold differs from the run");
        let snapshot = folded.to_snapshot().expect("a state can be written");
        let read = State::from_snapshot(&snapshot).expect("what was written can be read");
        prop_assert!(read == world.state, "the snapshot differs from the run");
        prop_assert!(read.next_wake() == world.state.next_wake(), "the snapshot wakes at another time");
        Ok(())
    });
}

// Mutation: `decide` that looks at anything outside of its arguments (tried: a static counter in the
// incident's id).
#[test]
fn deciding_the_recorded_events_again_gives_the_recorded_changes() {
    holds(150, |mut tape| {
        let world = run(&mut tape, &mut |_, _| Checked::Ok(()))?;
        let mut state = State::default();
        for logged in &world.log {
            let bytes = serde_json::to_vec(&logged.event).expect("events are JSON");
            let event = serde_json::from_slice(&bytes).expect("what was written can be read");
            let decided = decide(&state, &variants()[logged.rules].rules, &event);
            prop_assert_eq!(&decided, &logged.changes, "another decision on {:?}", event.kind.name());
            logged.changes.iter().for_each(|change| apply(&mut state, event.at, change));
        }
        Ok(())
    });
}

// === the same event twice ===

fn is_new(change: &Change) -> bool {
    matches!(
        change,
        Change::Opened { .. }
            | Change::Planned { .. }
            | Change::Charged { .. }
            | Change::StepStarted { .. }
            | Change::ApprovalAsked { .. }
            | Change::Ended { .. }
    )
}

// Mutations: `executed` and `inspected` without their look at the phase; `probed` without `counted`;
// `rehearsed` without its look at the rehearsal; `belongs_to_ended` that is never true.
#[test]
fn the_same_event_twice_causes_nothing_new() {
    holds(200, |mut tape| {
        run(&mut tape, &mut |world, turn| {
            if let Some(logged) = records(world, turn).last() {
                // A start is no message that could come twice, and time that passed is work that is due.
                let once = matches!(logged.event.kind, EventKind::Started { .. } | EventKind::Tick);
                if once {
                    return Ok(());
                }
                let mut state = world.state.clone();
                let changes = decide(&state, world.rules(), &logged.event);
                changes.iter().for_each(|change| apply(&mut state, logged.event.at, change));
                let kind = logged.event.kind.name();
                // A signal counts, rules are loaded again, and the news of an end may be sent twice.
                let counts = matches!(
                    logged.event.kind,
                    EventKind::Signal { .. }
                        | EventKind::Notified { .. }
                        | EventKind::RulesLoaded { .. }
                        | EventKind::ClockJumped { .. }
                        | EventKind::Paused { .. }
                );
                prop_assert!(counts || changes.is_empty(), "{kind} a second time: {changes:?}");
                let new = changes.iter().find(|change| is_new(change));
                prop_assert!(new.is_none(), "{kind} a second time: {new:?}");
                let asked: Vec<Effect> = changes.iter().flat_map(|change| effects(&state, change)).collect();
                prop_assert!(asked.is_empty(), "{kind} a second time: {asked:?}");
            }
            Ok(())
        })?;
        Ok(())
    });
}

// === ends ===

/// Turns and hours within which everything ends once the cluster answers.
const TURNS: usize = 3_000;
const HOURS: i64 = 8;

// Mutations: `overdue` that does nothing for `Phase::Soaking` or `Phase::Planned`.
#[test]
fn every_incident_ends_if_the_cluster_answers() {
    holds(200, |mut tape| {
        let mut world = run(&mut tape, &mut |_, _| Checked::Ok(()))?;
        world.revive();
        let since = world.now;
        let turns = world.settle(&mut tape, TURNS, &mut |_, _| Checked::Ok(()))?;
        let open: Vec<_> = world.state.open_incidents().map(|case| (case.phase, case.holds())).collect();
        prop_assert!(turns < TURNS, "still open after {turns} turns: {open:?}");
        let span = world.now.duration_since(since);
        prop_assert!(span < SignedDuration::from_hours(HOURS), "it took {span:?}");
        Ok(())
    });
}

// Mutations: `wake_waiting` not called when a case stops acting; a tick that lets the gate judge on what an
// earlier case of the same tick has just ended (`moved` ignored).
#[test]
fn no_plan_is_held_by_what_is_over() {
    holds(120, |mut tape| {
        run(&mut tape, &mut |world, turn| {
            if world.state.next_wake().is_some_and(|at| at <= turn.now) || world.state.draining {
                return Ok(());
            }
            let mut state = world.state.clone();
            for kind in [EventKind::RulesLoaded { rules: Default::default() }, EventKind::Tick] {
                let event = Event { at: turn.now, kind };
                let changes = decide(&state, world.rules(), &event);
                let goes_on = changes.iter().find(|change| {
                    matches!(change, Change::Charged { .. } | Change::ApprovalAsked { .. })
                        || matches!(change, Change::InspectionStarted { incident, .. }
                            if state.incidents[incident].holds().iter().all(|hold| hold.until.is_none()))
                });
                let held = goes_on.and_then(Change::incident).map(|id| state.incidents[id].holds());
                prop_assert!(goes_on.is_none(), "held by what is over: {held:?}");
                changes.iter().for_each(|change| apply(&mut state, turn.now, change));
            }
            Ok(())
        })?;
        Ok(())
    });
}

// Mutation: `Gated` that leaves its case in `regate`, which would fill the journal in a tight loop.
#[test]
fn ticks_of_one_moment_come_to_an_end() {
    holds(200, |mut tape| {
        run(&mut tape, &mut |world, turn| {
            let due = |state: &State| state.next_wake().is_some_and(|at| at <= turn.now);
            if !due(&world.state) {
                return Ok(());
            }
            let mut state = world.state.clone();
            let most = 2 * state.open_incidents().count() + 3;
            for _ in 0..most {
                let event = Event { at: turn.now, kind: EventKind::Tick };
                let changes = decide(&state, world.rules(), &event);
                prop_assert!(!changes.is_empty(), "woken for nothing at {}", turn.now);
                changes.iter().for_each(|change| apply(&mut state, turn.now, change));
                if !due(&state) {
                    return Ok(());
                }
            }
            Err(TestCaseError::fail(format!("still due after {most} ticks of one moment")))
        })
        .map(|_| ())
    });
}

/// Every end that needs people asks for a notification, unless the plan itself was one.
fn people_are_told(world: &World, turn: &Turn) -> Checked {
    for change in records(world, turn).iter().flat_map(|logged| &logged.changes) {
        let Change::Ended { incident, phase: Phase::Escalated | Phase::Expired, reason } = change else {
            continue;
        };
        let told = launches(world, turn).iter().any(|launched| {
            matches!(&launched.effect, Effect::Notify { incident: case, .. } if case.id == *incident)
        });
        let itself = matches!(reason, Reason::Notified | Reason::NotificationFailed { .. });
        prop_assert!(told || itself, "nobody was told: {reason}");
    }
    Ok(())
}

// Mutation: `newsworthy` without `Expired`.
#[test]
fn every_end_that_needs_people_is_told_to_them() {
    holds(100, |mut tape| run(&mut tape, &mut people_are_told).map(|_| ()));
}

// === what the runs reach ===

/// What a fixed set of runs has to reach at least this often, or the properties above prove nothing.
const REACHED: &[(&str, usize)] = &[
    ("charged", 150),
    ("undo", 60),
    ("recovered", 20),
    ("not_recovered", 30),
    ("inconclusive", 3),
    ("undone", 20),
    ("retried", 15),
    ("stale", 15),
    ("unknown", 15),
    ("already_done", 3),
    ("reconciling", 15),
    ("restarted", 2),
    ("approval_asked", 20),
    ("approval_granted", 10),
    ("denied", 2),
    ("superseded", 1),
    ("approval_expired", 1),
    ("limit_reached", 20),
    ("cooling_down", 20),
    ("attempts_spent", 3),
    ("attempts_refilled", 1),
    ("concurrent_reached", 5),
    ("claimed", 2),
    ("playbook_refused", 10),
    ("fact_unknown", 10),
    ("indicator_unreadable", 5),
    ("mode_observe", 10),
    ("out_of_scope", 3),
    ("right_missing", 3),
    ("rehearsal_failed", 5),
    ("undo_delayed", 1),
    ("step_failed", 5),
    ("draining", 1),
    ("clock_jumped", 1),
    ("subject_gone", 3),
    ("signal_resolved", 5),
    ("no_playbook", 3),
    ("ignored", 5),
    ("notified", 5),
    ("notification_failed", 1),
    ("paused", 5),
    ("pause_ended", 5),
    ("aborted", 10),
    ("storm_began", 5),
    ("storm_ended", 2),
    ("after_storm", 2),
    ("breaker_tripped", 3),
    ("breaker_open", 3),
    ("breaker_tried", 1),
    ("breaker_closed", 1),
    ("caused", 20),
    ("held", 20),
    ("proxy_rejects", 2),
    ("no_budget", 2),
    ("being_replaced", 2),
];

// Mutation: a world that answers every execution with `Failed`.
#[test]
fn the_runs_reach_acts_undos_approvals_and_refusals() {
    let mut counts = BTreeMap::new();
    for seed in 0..200 {
        let mut tape = Tape::of(seed, 600);
        let world = run(&mut tape, &mut |_, _| Ok::<(), String>(())).expect("nothing is checked");
        tally(&world.log, &mut counts);
    }
    let missing: Vec<String> = REACHED
        .iter()
        .map(|(word, least)| (word, least, counts.get(*word).copied().unwrap_or(0)))
        .filter(|(_, least, found)| found < *least)
        .map(|(word, least, found)| format!("{word}: {found} of {least}"))
        .collect();
    assert!(missing.is_empty(), "hardly reached: {missing:?}\nof {counts:#?}");
}
