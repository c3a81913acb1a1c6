//! What was heard about a key, over all its cases: who says it is ill, since when it is well, and which
//! control planes are down.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use smol_str::SmolStr;

use super::deadlines::{ENDED_KEPT, KEYS_KEPT, believed};
use super::ledger::Attempts;
use super::state::{Down, State};
use crate::model::change::Change;
use crate::model::incident::{IncidentId, IncidentKey};
use crate::model::reason::Reason;
use crate::model::signal::Symptom;

/// How long proxies get to catch up by themselves once their control plane is back: an istiod pushes to all
/// of them within seconds, and a stale one is only told after minutes.
const CATCH_UP: SignedDuration = SignedDuration::from_secs(45);

/// What changes the health of a key, whether its case is open or over. What is said of a member counts for
/// the budget of its owner too.
#[expect(clippy::wildcard_enum_match_arm, reason = "most changes say nothing about health")]
pub(super) fn listen(state: &mut State, at: Timestamp, change: &Change) {
    // Asked first: keys are long, there may be many, and most changes say nothing about health.
    let concerns = matches!(
        change,
        Change::Opened { .. }
            | Change::Attached { .. }
            | Change::Ignored { .. }
            | Change::SourceResolved { .. }
            | Change::Ended { reason: Reason::Recovered { .. }, .. }
    );
    if !concerns {
        return;
    }
    let State { incidents, attempts, .. } = state;
    let key = match change {
        // Their case may be forgotten by now.
        Change::Ignored { key, .. } | Change::SourceResolved { key, .. } => key,
        _ => match change.incident().and_then(|id| incidents.get(id)) {
            Some(case) => &case.key,
            None => return,
        },
    };
    note(attempts, at, key, "", change);
    if let Some(member) = &key.member {
        note(attempts, at, &key.budget(), member, change);
    }
    match change {
        // Only one family in ten thousand keys: the clone is no cost.
        Change::Opened { .. }
        | Change::Attached { .. }
        | Change::Ignored { .. }
        | Change::SourceResolved { .. }
        | Change::Ended { reason: Reason::Recovered { .. }, .. }
            if key.family == Symptom::CONTROL_PLANE =>
        {
            let key = key.clone();
            control_plane(state, at, &key, change);
        }
        _ => {}
    }
}

/// Notes one change for one key. Sources of a member are told apart by its name.
#[expect(clippy::wildcard_enum_match_arm, reason = "most changes say nothing about health")]
fn note(
    attempts: &mut BTreeMap<IncidentKey, Attempts>,
    at: Timestamp,
    key: &IncidentKey,
    member: &str,
    change: &Change,
) {
    // Looked up first, because the key is long and nearly always known.
    if !attempts.contains_key(key) {
        attempts.insert(key.clone(), Attempts::default());
    }
    let Some(known) = attempts.get_mut(key) else { return };
    match change {
        Change::Opened { signal, .. } => {
            known.ill(at, &signal.source, member);
            known.told(believed(at, signal.at));
        }
        Change::Attached { source, began, .. } => {
            known.ill(at, source, member);
            known.told(believed(at, *began));
        }
        Change::Ignored { source, .. } => known.ill(at, source, member),
        Change::SourceResolved { source, .. } => known.resolved(at, source, member),
        Change::Held { reason: Reason::Recovered { .. }, .. }
        | Change::Ended { reason: Reason::Recovered { .. }, .. } => known.recovered(at, member),
        _ => {}
    }
}

/// Keeps the list of control planes that somebody says are down, and lets go of what they explain once
/// nobody says so any more, or a recovery was measured. Whether their own cases are open or long with people
/// makes no difference.
#[expect(clippy::wildcard_enum_match_arm, reason = "five changes tell of control planes")]
fn control_plane(state: &mut State, at: Timestamp, key: &IncidentKey, change: &Change) {
    match change {
        Change::Opened { incident, signal, .. } => {
            down(state, key, incident, (&signal.source, Some(&signal.symptom)));
        }
        Change::Attached { incident, source, symptom, .. }
        | Change::Ignored { incident, source, symptom, .. } => {
            down(state, key, incident, (source, symptom.as_ref()));
        }
        Change::SourceResolved { source, .. } => {
            let Some(down) = state.down.get_mut(&key.owner) else { return };
            down.sources.remove(source.as_str());
            if down.sources.is_empty() {
                free(state, at, key);
            }
        }
        Change::Ended { .. } => free(state, at, key),
        _ => {}
    }
}

/// Notes that a source says it is down. Changes that name no symptom are about that of their case.
fn down(
    state: &mut State,
    key: &IncidentKey,
    incident: &IncidentId,
    (source, symptom): (&SmolStr, Option<&Symptom>),
) {
    let own = state.incidents.get(incident).map(|case| &case.symptom);
    if symptom.or(own).is_some_and(|symptom| symptom.as_str() == Symptom::CONTROL_PLANE_DOWN) {
        let known = state.down.entry(key.owner.clone()).or_insert_with(|| Down::of(incident));
        known.sources.insert(source.clone());
    }
}

/// What this control plane explained is looked at again, after a while.
fn free(state: &mut State, at: Timestamp, key: &IncidentKey) {
    state.down.remove(&key.owner);
    let explained: Vec<_> = state
        .open_incidents()
        .filter(|case| case.cause.is_some() && case.depends_on.as_ref() == Some(&key.owner))
        .map(|case| case.id.clone())
        .collect();
    for id in explained {
        if let Some(case) = state.case_mut(&id) {
            case.cause = None;
            case.inspect_at = at.saturating_add(CATCH_UP).ok();
        }
        state.index(&id);
    }
}

/// Forgets keys whose last case ended long ago. How a case ended is remembered longer than the case itself,
/// or its sender's next repeat would open it again; looked through only when their number has doubled, so
/// that a storm costs no more than its size.
pub(super) fn forget(state: &mut State, at: Timestamp) {
    if state.ended.len() < 2 * state.ended_kept.max(ENDED_KEPT) {
        return;
    }
    let oldest = at.saturating_sub(KEYS_KEPT).unwrap_or(Timestamp::MIN);
    state.ended.retain(|_, end| end.at > oldest);
    let (open, ended) = (&state.open, &state.ended);
    state.attempts.retain(|key, known| {
        // A budget belongs to the owner; what a member spent goes with it.
        let spent = known.spent > 0 && key.member.is_none();
        spent || open.contains_key(key) || ended.contains_key(key)
    });
    state.ended_kept = state.ended.len();
    state.count_ill();
}
