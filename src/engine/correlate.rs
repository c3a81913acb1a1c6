//! Correlate: a signal to the case it belongs to.

use std::sync::Arc;

use jiff::Timestamp;
use smol_str::format_smolstr;

use super::apply::opened_case;
use super::case::Case;
use super::cause;
use super::deadlines::{INSPECTING, SETTLE, believed};
use super::plan;
use super::select;
use super::state::State;
use crate::model::change::Change;
use crate::model::incident::{IncidentId, IncidentKey, Phase};
use crate::model::reason::Reason;
use crate::model::signal::{Signal, SignalState, Symptom};
use crate::rules::Rules;

/// The key under which a signal's case is found. Subjects arrive resolved to their top owner.
///
/// An alert that maps to nothing is a case of its own: nobody knows what it is about, so nobody may say
/// that another one of its namespace tells the same.
pub(super) fn key(signal: &Signal) -> IncidentKey {
    let family = match signal.symptom.as_str() {
        Symptom::CUSTOM_ALERT => format_smolstr!("{} {}", Symptom::CUSTOM_ALERT, signal.source),
        _ => signal.symptom.family().into(),
    };
    match &signal.owner {
        Some(owner) => {
            IncidentKey { owner: owner.clone(), family, member: Some(signal.subject.name.clone()) }
        }
        None => IncidentKey { owner: signal.subject.clone(), family, member: None },
    }
}

/// A signal was heard.
pub(super) fn signal(state: &State, rules: &Rules, at: Timestamp, signal: &Signal) -> Vec<Change> {
    match signal.state {
        SignalState::Firing => firing(state, rules, at, signal),
        SignalState::Resolved => resolved(state, rules, at, signal),
    }
}

fn firing(state: &State, rules: &Rules, at: Timestamp, signal: &Signal) -> Vec<Change> {
    let key = key(signal);
    if let Some(open) = state.open_for(&key) {
        let mut changes = vec![Change::Attached {
            incident: open.id.clone(),
            source: signal.source.clone(),
            severity: signal.severity,
            value: signal.value,
            began: signal.at,
            symptom: (open.symptom != signal.symptom).then(|| signal.symptom.clone()),
        }];
        changes.extend(cause::explains(state, rules, at, signal, &open.id));
        return changes;
    }
    let ended = belongs_to_ended(state, &key, at, signal);
    if let Some(incident) = ended.filter(|incident| !is_another(state, (incident, &key), signal)) {
        let of_case = state.incidents.get(&incident).is_some_and(|case| case.symptom == signal.symptom);
        let symptom = (!of_case).then(|| signal.symptom.clone());
        return vec![Change::Ignored { incident, key, source: signal.source.clone(), symptom }];
    }
    let id = IncidentId::new(&state.journal, state.opened + 1);
    let (candidates, passed) = select::candidates(rules, &id, signal);
    let opened = Change::Opened {
        incident: id.clone(),
        key,
        signal: Box::new(signal.clone()),
        candidates,
        deadline: at.saturating_add(INSPECTING).unwrap_or(Timestamp::MAX),
    };
    let Some(incident) = opened_case(state, at, &opened) else { return Vec::new() };
    let mut case = Case { state, rules, at, incident: Arc::new(incident), changes: vec![opened] };
    passed.into_iter().for_each(|passed| case.push(passed));
    if let Some(down) = cause::of(&case) {
        cause::attach(&mut case, down);
        return case.changes;
    }
    let explained = cause::explains(state, rules, at, signal, &id);
    let mut changes = if case.incident.candidates.is_empty() {
        case.end(Phase::Escalated, Reason::NoPlaybook)
    } else if select::asks_nothing(&case) {
        plan::at_once(case)
    } else {
        select::inspect(&mut case);
        case.changes
    };
    changes.extend(explained);
    changes
}

/// A sender that repeats itself does not make a new case: what began before the end of the last case of
/// this key belongs to it. After a recovery that holds only for a while, because a wrongness that still
/// fires then has not gone.
fn belongs_to_ended(state: &State, key: &IncidentKey, at: Timestamp, signal: &Signal) -> Option<IncidentId> {
    let end = state.ended.get(key)?;
    // A sender's clock may be ahead of ours; what it told us before is no news either.
    let told = state.attempts.get(key).and_then(|known| known.began);
    let began = believed(at, signal.at);
    let began_before = began <= end.at || told.is_some_and(|told| began <= told);
    let settling = at.duration_since(end.at) < SETTLE;
    let over = match end.phase {
        Phase::Resolved => settling,
        // What vanished and is there again is looked at anew.
        Phase::Gone => false,
        Phase::Escalated | Phase::Suppressed | Phase::Expired => true,
        Phase::Open
        | Phase::Inspecting
        | Phase::Planned
        | Phase::AwaitingApproval
        | Phase::Executing
        | Phase::Soaking
        | Phase::Probing
        | Phase::Holding => false,
    };
    (began_before && over).then(|| end.incident.clone())
}

/// Whether a signal tells something else than a case that ended with people told, because no playbook took its
/// symptom: a playbook may take this one, and what people know of the first says nothing of the second. A source
/// that said so before repeats itself.
fn is_another(state: &State, (ended, key): (&IncidentId, &IncidentKey), signal: &Signal) -> bool {
    let case = state.incidents.get(ended);
    let other = case.is_some_and(|case| case.candidates.is_empty() && case.symptom != signal.symptom);
    let said = || state.attempts.get(key).is_some_and(|known| known.firing.contains(&signal.source));
    other && !said()
}

/// A source says that it is over. That is news also when another source opened the case, or when the case
/// is over: the healthy time that brings attempts back begins with the last of them.
fn resolved(state: &State, rules: &Rules, at: Timestamp, signal: &Signal) -> Vec<Change> {
    let Some((key, id)) = fired(state, signal) else { return Vec::new() };
    let (incident, source) = (id.clone(), signal.source.clone());
    let change = Change::SourceResolved { incident, key, source };
    // The case itself may be forgotten; its key is not.
    let Some(mut case) = Case::of(state, rules, at, &id) else { return vec![change] };
    case.push(change);
    let phase = case.incident.phase;
    if case.incident.firing.is_empty() && !phase.is_acting() && !phase.is_end() {
        return case.end(Phase::Resolved, Reason::SignalResolved);
    }
    case.changes
}

/// The key that the source of this signal said to be ill, with its open or last case.
fn fired(state: &State, signal: &Signal) -> Option<(IncidentKey, IncidentId)> {
    let said = |key: &IncidentKey| {
        state.attempts.get(key).is_some_and(|known| known.firing.contains(&signal.source))
    };
    let own = key(signal);
    if said(&own) {
        let ended = || state.ended.get(&own).map(|end| &end.incident);
        return state.open.get(&own).or_else(ended).map(|id| (own.clone(), id.clone()));
    }
    if let Some(found) = as_member(state, signal) {
        return Some(found);
    }
    // An alert speaks for itself alone, also when its labels lead elsewhere by now: a route came or went.
    let open = || state.open.iter().find(|(key, _)| said(key)).map(|(key, id)| (key.clone(), id.clone()));
    signal.alert.is_some().then(open).flatten()
}

/// A pod that went takes the knowledge of its owner with it: its case is found by its own name.
fn as_member(state: &State, signal: &Signal) -> Option<(IncidentKey, IncidentId)> {
    let subject = &signal.subject;
    let (key, _) = state.attempts.iter().find(|(key, known)| {
        key.member.as_deref() == Some(subject.name.as_str())
            && key.owner.namespace == subject.namespace
            && key.family == signal.symptom.family()
            && known.firing.contains(&signal.source)
    })?;
    let ended = || state.ended.get(key).map(|end| &end.incident);
    state.open.get(key).or_else(ended).map(|id| (key.clone(), id.clone()))
}
