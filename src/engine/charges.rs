//! Charges: what acts cost, and what of it comes back.

use super::state::State;
use crate::model::change::Change;
use crate::model::incident::{IncidentId, Phase};
use crate::model::plan::{Direction, Outcome};

/// What acts cost: one is charged to its target and its owner, and given back after a healthy period.
#[expect(clippy::wildcard_enum_match_arm, reason = "three changes touch the budgets")]
pub(super) fn fold(state: &mut State, change: &Change) {
    match change {
        Change::AttemptsRefilled { key } => {
            // Its members lie right behind it in the order of keys.
            let own = state.attempts.range_mut(key.clone()..).take_while(|(own, _)| own.budget() == *key);
            own.for_each(|(_, attempts)| attempts.refill());
            let open: Vec<IncidentId> = state
                .open
                .range(key.clone()..)
                .take_while(|(own, _)| own.budget() == *key)
                .map(|(_, id)| id.clone())
                .collect();
            for id in open {
                let case = state.case_mut(&id);
                case.into_iter().for_each(|case| (case.attempts, case.unwritten) = (0, 0));
            }
        }
        Change::Charged { charge, .. } => {
            state.ledger.charge(charge);
            state.attempts.entry(charge.key.budget()).or_default().spend();
            if charge.key.member.is_some() {
                state.attempts.entry(charge.key.clone()).or_default().spend();
            }
        }
        Change::StepEnded { incident, step: 0, direction: Direction::Forward, outcome } => {
            written(state, incident, outcome);
        }
        _ => {}
    }
}

/// A first step that surely wrote nothing: its target has nothing to rest from. A write that was taken for lost
/// and arrived after all takes that back.
fn written(state: &mut State, incident: &IncidentId, outcome: &Outcome) {
    let Some(case) = state.case_mut(incident) else { return };
    let late = case.phase != Phase::Executing && matches!(outcome, Outcome::Done { .. });
    let key = case.key.clone();
    if late {
        case.unwritten = case.unwritten.saturating_sub(1);
        state.ledger.wrote_late(&key);
        let known = state.attempts.entry(key).or_default();
        known.unwritten = known.unwritten.saturating_sub(1);
    } else if matches!(outcome, Outcome::Stale { .. } | Outcome::Failed { .. }) {
        case.unwritten += 1;
        state.ledger.wrote_nothing(&key);
        state.attempts.entry(key).or_default().unwritten += 1;
    }
}
