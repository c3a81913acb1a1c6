//! Stops: pauses of operators, storms and breakers, from the event to the state. The gate asks them.

use jiff::{SignedDuration, Timestamp};

use super::deadlines::CHARGES_KEPT;
use super::gate;
use super::state::State;
use crate::model::change::Change;
use crate::model::incident::{Incident, IncidentId};
use crate::model::pause::{LONGEST_PAUSE_S, Pause, Reach};
use crate::model::plan::{Direction, Outcome};
use crate::model::reason::Reason;
use crate::model::storm::Breaker;
use crate::rules::{BreakerRule, Rules};

/// An operator holds new acts. What is meant to last longer than a week belongs into a policy.
pub(super) fn paused(at: Timestamp, reach: &Reach, who: (&str, &str), for_s: u64) -> Vec<Change> {
    let span = SignedDuration::from_secs(i64::try_from(for_s.min(LONGEST_PAUSE_S)).unwrap_or(0));
    let until = at.saturating_add(span).unwrap_or(at);
    if until <= at {
        return Vec::new();
    }
    let (by, reason) = (who.0.to_owned(), who.1.to_owned());
    vec![Change::PauseBegan { pause: Pause { reach: reach.clone(), by, reason, since: at, until } }]
}

/// An operator ends a pause; one that is not there is none to end.
pub(super) fn resumed(state: &State, reach: &Reach, by: &str) -> Vec<Change> {
    let known = state.pauses.iter().filter(|pause| pause.reach == *reach);
    known.map(|pause| Change::PauseEnded { reach: pause.reach.clone(), by: Some(by.to_owned()) }).collect()
}

/// Other rules have other bounds: a storm is then looked for anew.
pub(super) fn reloaded(state: &State, rules: &Rules) -> Vec<Change> {
    let other = state.rules != Some(rules.digest);
    state.storms.iter().filter(|_| other).map(ended).collect()
}

fn ended(storm: &crate::model::storm::Storm) -> Change {
    Change::StormEnded { domain: storm.domain.clone(), incident: storm.incident.clone() }
}

/// What time ends: pauses, and storms that have calmed.
pub(super) fn tick(state: &State, at: Timestamp) -> Vec<Change> {
    let over = state.pauses.iter().filter(|pause| pause.until <= at);
    let over = over.map(|pause| Change::PauseEnded { reach: pause.reach.clone(), by: None });
    let storms = state.storms.iter().filter_map(|storm| {
        let domain = || storm.domain.clone();
        match (storm.over_at(), state.ill(&storm.domain) >= storm.bound) {
            (None, false) => Some(Change::StormCalmed { domain: domain() }),
            (Some(_), true) => Some(Change::StormResumed { domain: domain() }),
            (Some(over), false) if over <= at => Some(ended(storm)),
            (None, true) | (Some(_), false) => None,
        }
    });
    over.chain(storms).collect()
}

/// When the tick has something to do.
pub(super) fn next_wake(state: &State) -> Option<Timestamp> {
    let pauses = state.pauses.iter().map(|pause| pause.until);
    let storms = state.storms.iter().filter_map(|storm| {
        let lasts = state.ill(&storm.domain) >= storm.bound;
        match storm.over_at() {
            None => (!lasts).then_some(Timestamp::MIN),
            Some(over) => Some(if lasts { Timestamp::MIN } else { over }),
        }
    });
    pauses.chain(storms).min()
}

/// Counts what was just decided: acts that failed or did not help, and acts that helped. It looks at changes
/// instead of being called where they are made, so that no way to them can forget it.
pub(super) fn heed(state: &State, rules: &Rules, at: Timestamp, changes: &mut Vec<Change>) {
    let mut news = Vec::new();
    for change in changes.iter() {
        let Some((case, helped)) = result(state, change) else { continue };
        let Some(ruling) = gate::ruling(rules, case, at) else { continue };
        for rule in &ruling.breakers {
            news.extend(if helped { closed(state, at, case, rule) } else { failed(state, at, case, rule) });
        }
    }
    changes.extend(news);
}

/// The case whose act has just failed or not helped (false), or helped (true).
#[expect(clippy::wildcard_enum_match_arm, reason = "three changes tell how an act went")]
fn result<'s>(state: &'s State, change: &Change) -> Option<(&'s Incident, bool)> {
    let case = |id: &IncidentId| state.incidents.get(id);
    match change {
        Change::StepEnded { incident, step, direction: Direction::Forward, outcome } => {
            let case = case(incident).filter(|_| matches!(outcome, Outcome::Failed { .. }))?;
            let wrote = case.plan.as_ref()?.steps.get(*step)?.target().is_some();
            wrote.then_some((case, false))
        }
        Change::Noted { incident, reason: Reason::NotRecovered { .. } } => Some((case(incident)?, false)),
        Change::Ended { incident, reason: Reason::Recovered { .. }, .. } => Some((case(incident)?, true)),
        _ => None,
    }
}

fn failed(state: &State, at: Timestamp, case: &Incident, rule: &BreakerRule) -> Vec<Change> {
    let Some(playbook) = case.plan.as_ref().map(|plan| plan.playbook.clone()) else { return Vec::new() };
    let (incident, policy) = (case.id.clone(), rule.policy.clone());
    let known = state.breaker(&policy, &playbook);
    let open_until = known.and_then(|breaker| breaker.open_until);
    let failures = known.map_or(0, |breaker| breaker.within(rule.window_s, at)).saturating_add(1);
    let trial = known.is_some_and(|breaker| breaker.trial.as_ref() == Some(&case.id));
    let many = failures >= rule.failures && open_until.is_none_or(|until| until <= at);
    let mut changes = vec![Change::BreakerCounted {
        incident: incident.clone(),
        policy: policy.clone(),
        playbook: playbook.clone(),
    }];
    if trial || many {
        let pause = super::deadlines::seconds(rule.pause_s);
        let until = at.saturating_add(pause).unwrap_or(Timestamp::MAX);
        let again = open_until.is_some();
        changes.push(Change::BreakerTripped { incident, policy, playbook, failures, until, again });
    }
    changes
}

/// An act that began before the breaker opened does not close it while it is open.
fn closed(state: &State, at: Timestamp, case: &Incident, rule: &BreakerRule) -> Vec<Change> {
    let Some(playbook) = case.plan.as_ref().map(|plan| plan.playbook.clone()) else { return Vec::new() };
    let (incident, policy) = (case.id.clone(), rule.policy.clone());
    let half_open = state.breaker(&policy, &playbook).and_then(|breaker| breaker.open_until);
    let half_open = half_open.is_some_and(|until| until <= at);
    half_open.then_some(Change::BreakerClosed { incident, policy, playbook }).into_iter().collect()
}

/// Folds the changes of stops; says whether what they held may go on.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others belong to incidents and the process")]
pub(super) fn fold(state: &mut State, at: Timestamp, change: &Change) -> bool {
    match change {
        Change::PauseBegan { pause } => {
            state.pauses.retain(|known| known.reach != pause.reach);
            state.pauses.push(pause.clone());
        }
        Change::PauseEnded { reach, .. } => {
            state.pauses.retain(|known| known.reach != *reach);
            return true;
        }
        Change::StormBegan { storm, .. } => {
            state.storms.retain(|known| known.domain != storm.domain);
            state.storms.push(storm.clone());
        }
        Change::StormCalmed { domain } => {
            let known = state.storms.iter_mut().filter(|storm| storm.domain == *domain);
            known.for_each(|storm| storm.calm_since = Some(at));
            // They learn when it will be over.
            return true;
        }
        Change::StormResumed { domain } => {
            let known = state.storms.iter_mut().filter(|storm| storm.domain == *domain);
            known.for_each(|storm| storm.calm_since = None);
        }
        Change::StormEnded { domain, .. } => {
            state.storms.retain(|storm| storm.domain != *domain);
            return true;
        }
        Change::BreakerCounted { policy, playbook, .. } => {
            let oldest = at.saturating_sub(CHARGES_KEPT).unwrap_or(Timestamp::MIN);
            state.breakers.iter_mut().for_each(|known| known.failures.retain(|failed| *failed > oldest));
            state.breakers.retain(|known| known.open_until.is_some() || !known.failures.is_empty());
            of(state, policy, playbook).failures.push(at);
        }
        Change::BreakerTripped { policy, playbook, until, .. } => {
            let breaker = of(state, policy, playbook);
            breaker.open_until = Some(*until);
            breaker.trial = None;
        }
        Change::BreakerTried { incident, policy, playbook } => {
            of(state, policy, playbook).trial = Some(incident.clone());
        }
        Change::BreakerClosed { policy, playbook, .. } => {
            state.breakers.retain(|known| known.policy != *policy || known.playbook != *playbook);
            return true;
        }
        _ => {}
    }
    false
}

fn of<'s>(state: &'s mut State, policy: &str, playbook: &str) -> &'s mut Breaker {
    let known = state.breakers.iter().position(|known| known.policy == policy && known.playbook == playbook);
    let index = known.unwrap_or_else(|| {
        state.breakers.push(Breaker::new(policy, playbook));
        state.breakers.len() - 1
    });
    &mut state.breakers[index]
}

/// A case that acts no more tries no more either.
pub(super) fn released(state: &mut State, id: &IncidentId) {
    let trials = state.breakers.iter_mut().filter(|breaker| breaker.trial.as_ref() == Some(id));
    trials.for_each(|breaker| breaker.trial = None);
}
