//! What holds for the acts on proxies, rules and certificates: judged by how the world really was, and not by
//! what the engine believed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use meshmend::model::action::Action;
use meshmend::model::event::EventKind;
use meshmend::model::incident::IncidentId;
use meshmend::model::signal::SignalState;
use proptest::prelude::*;

use super::super::world::{Turn, World, istiod, run};
use super::{Checked, TURNS, acts, holds, records, seconds};

/// What may not be true when a proxy, a pod or a workload is started anew.
fn safe_by_the_truth(world: &World, turn: &Turn) -> Checked {
    for (execute, case) in acts(world, turn) {
        let one = matches!(execute.action, Action::RestartSidecar { .. } | Action::EvictPod { .. });
        if !one && !matches!(execute.action, Action::RolloutRestart { .. }) {
            continue;
        }
        let truth = world.truths.get(&(case.id.clone(), case.inspection));
        let Some(truth) = truth else {
            return Err(TestCaseError::fail(format!("an act without a look: {execute:?}")));
        };
        prop_assert!(!truth.down, "without a control plane: {execute:?}");
        prop_assert!(!one || !truth.rejected, "the proxy rejects its configuration: {execute:?}");
        prop_assert!(!one || !truth.no_budget, "the budget has no room: {execute:?}");
    }
    Ok(())
}

// Mutations: each of `control_plane`, `accepts` and `budget` left out of `refusals::pod`.
#[test]
fn nothing_is_started_anew_that_would_not_come_up_again() {
    holds(250, |mut tape| run(&mut tape, &mut safe_by_the_truth).map(|_| ()));
}

/// Who says that the control plane is down, as far as it was heard.
#[derive(Default)]
struct Down(BTreeSet<String>);

impl Down {
    fn check(&mut self, world: &World, turn: &Turn) -> Checked {
        let before = !self.0.is_empty();
        for logged in records(world, turn) {
            let EventKind::Signal { signal } = &logged.event.kind else { continue };
            if signal.subject != istiod() {
                continue;
            }
            let _ = match signal.state {
                SignalState::Firing => self.0.insert(signal.source.to_string()),
                SignalState::Resolved => self.0.remove(signal.source.as_str()),
            };
        }
        if before && !self.0.is_empty() {
            let mut dependent = acts(world, turn).filter(|(_, case)| case.depends_on == Some(istiod()));
            let act = dependent.next().map(|(execute, _)| execute);
            prop_assert!(act.is_none(), "started although the control plane is down: {act:?}");
        }
        Ok(())
    }
}

// Mutations: `firing`, `select::again` or `resume` without the cause; `down` that counts one source only.
#[test]
fn nothing_is_done_about_what_a_dead_control_plane_explains() {
    holds(250, |mut tape| {
        let mut down = Down::default();
        run(&mut tape, &mut |world, turn| down.check(world, turn)).map(|_| ())
    });
}

/// What each case asked for last.
#[derive(Default)]
struct Made(BTreeMap<IncidentId, Action>);

impl Made {
    fn check(&mut self, world: &World, turn: &Turn) -> Checked {
        for (execute, case) in acts(world, turn) {
            let target = execute.action.target().expect("a write has a target");
            let again = self.0.get(&case.id) == Some(&execute.action);
            let stands = world.ground.applied.get(target) == Some(&execute.action);
            prop_assert!(!again || !stands, "made, untouched since, and made again: {execute:?}");
            self.0.insert(case.id.clone(), execute.action.clone());
        }
        Ok(())
    }
}

// Mutations: `executed` that takes an unknown outcome for a failure that may be tried again; `resume` that
// starts the step again; `standing` that takes what was done for not done.
#[test]
fn an_unknown_outcome_never_leads_to_an_act_made_twice() {
    holds(250, |mut tape| {
        let mut made = Made::default();
        run(&mut tape, &mut |world, turn| made.check(world, turn)).map(|_| ())
    });
}

/// Limits of ours on the rule always have a case that will take them back.
fn has_a_case(world: &World) -> Checked {
    let cared = world.state.open_incidents().any(|case| case.expires_at.is_some());
    prop_assert!(cared || !world.ground.fleet.is_shed(), "limits are left behind");
    Ok(())
}

/// The longest that a shed stays once nothing is lost any more: its own time, then the reading back of an answer
/// that was lost, or two of the longest pauses because a try fails now and then, and the pace.
const LONGEST: SignedDuration = SignedDuration::from_secs(600 + 600 + 60);

// Mutations: `expire` that begins with the answer; a later step that forgets the time of the first; `Case::end`
// that does not hold; `undoable` without `may_last`; `owed::again` that gives up, or waits for an hour.
#[test]
fn limits_are_always_taken_back() {
    let mut shed = 0;
    let sheds = std::cell::RefCell::new(&mut shed);
    holds(250, |mut tape| {
        let mut world = run(&mut tape, &mut |world, _| {
            **sheds.borrow_mut() += usize::from(world.ground.fleet.is_shed());
            has_a_case(world)
        })?;
        world.revive();
        let end: Timestamp = world.now.saturating_add(LONGEST).expect("the span is small");
        world.settle(&mut tape, TURNS, &mut |world, _| {
            has_a_case(world)?;
            let late = world.now.duration_since(end);
            prop_assert!(
                late <= seconds(0) || !world.ground.fleet.is_shed(),
                "limits still there {late:?} after they had to be gone"
            );
            Ok(())
        })?;
        prop_assert!(!world.ground.fleet.is_shed(), "limits that nobody takes back");
        Ok(())
    });
    assert!(shed >= 500, "limits stood for {shed} turns only: the property was hardly tried");
}
