//! `apply`: the only place where state changes. Folding the recorded changes is a restart.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::charges;
use super::deadlines::ENDED_KEPT;
use super::expiry::{expire, expiry};
use super::hear;
use super::history;
use super::late;
use super::orphan;
use super::state::{LastEnd, State, acts, waits_for_others};
use super::stops;
use crate::model::change::Change;
use crate::model::facts::Population;
use crate::model::incident::{Approval, Ending, Incident, IncidentId, Phase, StepResult, Timed};
use crate::model::plan::Direction;
use crate::model::reason::Reason;

/// Folds one change, decided on an event of the time `at`, into the state.
#[expect(clippy::wildcard_enum_match_arm, reason = "three changes tell that a subject is ill or well")]
pub fn apply(state: &mut State, at: Timestamp, change: &Change) {
    shared(state, at, change);
    stops::fold(state, at, change);
    orphan::fold(state, at, change);
    let Some(id) = change.incident() else { return };
    let mut released = false;
    if let Some(case) = state.case_mut(id) {
        let acted = acts(case);
        fold(case, at, change);
        released = acted && !acts(case);
    }
    hear::listen(state, at, change);
    match change {
        Change::Ended { incident, phase, .. } => close(state, at, incident, *phase),
        Change::Ignored { key, .. } | Change::SourceResolved { key, .. } => state.weigh(key),
        _ => {}
    }
    if released {
        stops::released(state, id);
    }
    state.index(id);
}

/// What a change does to everything but the case it belongs to.
#[expect(clippy::wildcard_enum_match_arm, reason = "most changes belong to the incident alone")]
fn shared(state: &mut State, at: Timestamp, change: &Change) {
    match change {
        Change::Opened { incident, key, .. } => {
            if let Some(case) = opened_case(state, at, change) {
                state.opened += 1;
                state.open.insert(key.clone(), incident.clone());
                state.incidents.insert(incident.clone(), Arc::new(case));
                state.weigh(key);
            }
        }
        Change::JournalNamed { journal } => {
            state.journal.clone_from(journal);
            (state.draining, state.full) = (false, false);
        }
        Change::AttemptsRefilled { .. } | Change::Charged { .. } | Change::StepEnded { .. } => {
            charges::fold(state, change);
        }
        Change::RevisionInForce { .. }
        | Change::RevisionGood { .. }
        | Change::RevisionBad { .. }
        | Change::RevisionOurs { .. }
        | Change::RouteForgotten { .. } => history::fold(&mut state.routes, at, change),
        Change::RulesInForce { digest } => {
            state.rules = Some(*digest);
            let held =
                state.open_incidents().filter(|case| case.phase == Phase::Planned && case.verdict.is_some());
            state.regate = held.map(|case| case.id.clone()).collect();
        }
        Change::ClockSettled => {
            state.clock_jumped = None;
            wake_waiting(state);
        }
        Change::Draining => state.draining = true,
        Change::SubjectVanished { subject } => state.vanished(subject),
        Change::Reopened { incident } => state.reopen(incident),
        Change::JournalFull => state.full = true,
        Change::JournalRoom => {
            state.full = false;
            wake_waiting(state);
        }
        Change::StepStarted { incident, direction, .. } => {
            let orphan = state.incidents.get(incident).is_some_and(|case| case.is_orphan());
            if orphan || *direction == Direction::Undo {
                state.restored_at = Some(at);
            }
        }
        Change::Caused { incident, cause, .. } => {
            // It waits for its cause now, and not for its turn at the gate.
            state.regate.remove(incident);
            if let Some(parent) = state.case_mut(cause) {
                parent.explains += 1;
            }
        }
        Change::Gated { incident, .. } | Change::InspectionStarted { incident, .. } => {
            state.regate.remove(incident);
        }
        _ => {}
    }
}

/// Held plans are gated again: what held them may be over.
pub(super) fn wake_waiting(state: &mut State) {
    let waiting: BTreeSet<IncidentId> =
        state.open_incidents().filter(|case| waits_for_others(case)).map(|case| case.id.clone()).collect();
    state.regate.extend(waiting);
}

fn close(state: &mut State, at: Timestamp, id: &IncidentId, phase: Phase) {
    let case = state.incidents.get(id).map(|case| (case.key.clone(), case.subject.clone()));
    let Some((key, subject)) = case else { return };
    state.open.remove(&key);
    // Left alone, whoever decided that: nothing of it is begun again in this run.
    if state.incidents.get(id).is_some_and(|case| case.is_orphan()) {
        state.marks.remove(&subject);
    }
    state.regate.remove(id);
    let subject = (subject != key.owner).then_some(subject);
    let end = LastEnd { incident: id.clone(), phase, at, subject, vanished: false };
    state.ended.insert(key.clone(), end);
    state.weigh(&key);
    hear::forget(state, at);
    state.keep_newest(id, ENDED_KEPT);
}

/// The case as it is when it opens; `None` for any other change.
pub(super) fn opened_case(state: &State, at: Timestamp, change: &Change) -> Option<Incident> {
    let Change::Opened { incident: id, key, signal, candidates, deadline } = change else { return None };
    let (attempts, unwritten) =
        state.attempts.get(key).map_or((0, 0), |known| (known.spent, known.unwritten));
    Some(Incident {
        id: id.clone(),
        key: key.clone(),
        symptom: signal.symptom.clone(),
        subject: signal.subject.clone(),
        alert: signal.alert.clone(),
        labels: signal.labels.clone(),
        severity: signal.severity,
        value: signal.value,
        opened_at: at,
        signals: 1,
        firing: BTreeSet::from([signal.source.clone()]),
        phase: Phase::Open,
        phase_since: at,
        deadline: Some(*deadline),
        attempts,
        unwritten,
        inspection: 0,
        inspect_at: None,
        unreadable: 0,
        found_at: None,
        findings: None,
        candidates: candidates.clone(),
        passed_over: Vec::new(),
        plan: None,
        rehearsal: None,
        verdict: None,
        checks: Vec::new(),
        approval: None,
        step: 0,
        direction: Direction::Forward,
        permit_until: None,
        steps: Vec::new(),
        stale: 0,
        reconciling: false,
        probe_since: None,
        probe: 0,
        probe_at: None,
        good_since: None,
        last_probe: None,
        population: Population::default(),
        reasons: Vec::new(),
        notified: Vec::new(),
        depends_on: signal.depends_on.clone(),
        cause: None,
        explains: 0,
        undo_tries: 0,
        repeats: 0,
        expires_at: None,
        after: None,
        others: BTreeSet::new(),
    })
}

/// Folds a change into the incident it belongs to. Changes of other things leave it alone.
#[expect(
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    reason = "one arm per change of a case; splitting the table would hide it"
)]
pub(super) fn fold(case: &mut Incident, at: Timestamp, change: &Change) {
    match change {
        Change::Attached { source, severity, value, symptom, .. } => {
            case.signals += 1;
            case.others.extend(symptom.clone());
            case.severity = case.severity.max(*severity);
            case.value = value.or(case.value);
            if !case.firing.contains(source.as_str()) {
                case.firing.insert(source.clone());
            }
        }
        Change::SourceResolved { source, .. } => {
            case.firing.remove(source.as_str());
        }
        Change::PassedOver { passed, .. } => case.passed_over.push(passed.clone()),
        Change::InspectionStarted { inspection, deadline, .. } => {
            case.inspection = *inspection;
            case.inspect_at = None;
            // The next rung may follow a probe without an undo in between.
            case.probe_at = None;
            case.deadline = Some(*deadline);
            if !case.reconciling {
                case.after = None;
                enter(case, at, Phase::Inspecting);
                case.passed_over.retain(|passed| passed.reason == Reason::NotApplicable);
            }
        }
        Change::InspectionDelayed { until, deadline, .. } => {
            case.inspect_at = Some(*until);
            if case.phase == Phase::Inspecting {
                case.unreadable += 1;
            }
            case.deadline = Some(*deadline);
        }
        Change::Found { findings, .. } => {
            case.population = findings.population;
            case.findings = Some((**findings).clone());
            case.found_at = Some(at);
        }
        Change::Planned { plan, deadline, .. } => {
            enter(case, at, Phase::Planned);
            case.unreadable = 0;
            case.plan = Some(plan.clone());
            case.deadline = Some(*deadline);
            case.rehearsal = None;
            case.verdict = None;
            case.checks.clear();
        }
        Change::Rehearsed { rehearsal, .. } => case.rehearsal = Some(rehearsal.clone()),
        Change::Gated { verdict, checks, .. } => {
            case.verdict = Some(verdict.clone());
            case.checks.clone_from(checks);
        }
        Change::ApprovalAsked { plan, expires, .. } => {
            enter(case, at, Phase::AwaitingApproval);
            // What was delivered before was other news.
            case.notified.clear();
            case.deadline = Some(*expires);
            case.approval = Some(Approval { plan: *plan, expires: *expires, granted_by: None });
        }
        Change::ApprovalGranted { by, .. } => {
            if let Some(approval) = &mut case.approval {
                approval.granted_by = Some(by.clone());
            }
            case.reasons.push(Timed { at, reason: Reason::Approved { by: by.clone() } });
        }
        Change::ApprovalVoided { .. } => case.approval = None,
        Change::Charged { .. } => {
            case.attempts += 1;
            // An approval is good for one act.
            case.approval = None;
        }
        Change::StepStarted { step, direction, permit_until, deadline, .. } => {
            enter(case, at, Phase::Executing);
            case.step = *step;
            case.direction = *direction;
            case.permit_until = Some(*permit_until);
            case.deadline = Some(*deadline);
            case.reconciling = false;
            case.probe_at = None;
            // A later step takes nothing from the time of the one before it.
            if let Some(expires_at) = expiry(case, at, *step).filter(|_| *direction == Direction::Forward) {
                case.expires_at = Some(expires_at);
            }
        }
        Change::StepEnded { step, direction, outcome, .. } => {
            let result = StepResult { step: *step, direction: *direction, outcome: outcome.clone() };
            // What is tried for days with the same answer is told once.
            if case.takes_back() && case.steps.last() == Some(&result) {
                case.repeats += 1;
            } else {
                case.steps.push(result);
            }
            case.reconciling = false;
            if late::raced(outcome) {
                case.stale += 1;
            }
            expire(case, at, *step, *direction, outcome);
        }
        Change::UndoDelayed { until, .. } => {
            enter(case, at, Phase::Holding);
            case.undo_tries += 1;
            case.reconciling = false;
            case.inspect_at = None;
            case.probe_at = None;
            case.deadline = Some(*until);
        }
        Change::Reconciling { .. } => case.reconciling = true,
        Change::SoakStarted { until, .. } => {
            enter(case, at, Phase::Soaking);
            case.deadline = Some(*until);
            case.good_since = None;
            case.last_probe = None;
            case.probe_since = None;
        }
        Change::ProbeStarted { probe, since, next, deadline, .. } => {
            enter(case, at, Phase::Probing);
            case.probe = *probe;
            case.probe_since = Some(*since);
            case.probe_at = Some(*next);
            case.deadline = Some(*deadline);
        }
        Change::Probed { reading, good_since, .. } => {
            case.last_probe = Some(reading.clone());
            case.good_since = *good_since;
        }
        Change::Noted { reason, .. } => {
            // What was delivered before was other news.
            if matches!(reason, Reason::StillOwed { .. }) {
                case.notified.clear();
            }
            case.reasons.push(Timed { at, reason: reason.clone() });
        }
        Change::Held { until, phase, reason, .. } => {
            if case.after.is_none() {
                case.reasons.push(Timed { at, reason: reason.clone() });
                // A measured recovery counts more than what any source said before; what is said from now
                // on is news.
                if *phase == Phase::Resolved {
                    case.firing.clear();
                }
                case.after = Some(Ending { phase: *phase, reason: reason.clone() });
            }
            enter(case, at, Phase::Holding);
            case.reconciling = false;
            case.inspect_at = None;
            case.notified.clear();
            case.deadline = Some(*until);
            case.probe_at = None;
        }
        Change::RestoreDelayed { until, .. } => {
            enter(case, at, Phase::Holding);
            case.deadline = Some(*until);
        }
        Change::Caused { cause, deadline, .. } => {
            enter(case, at, Phase::Open);
            case.cause = Some(cause.clone());
            case.deadline = Some(*deadline);
            case.inspect_at = None;
            case.probe_at = None;
            case.unreadable = 0;
            case.plan = None;
            case.approval = None;
            case.rehearsal = None;
            case.verdict = None;
            case.checks.clear();
        }
        Change::Ended { phase, reason, .. } => {
            enter(case, at, *phase);
            case.notified.clear();
            case.deadline = None;
            case.inspect_at = None;
            case.probe_at = None;
            case.reconciling = false;
            case.reasons.push(Timed { at, reason: reason.clone() });
        }
        Change::NotificationEnded { outcome, .. } => case.notified.push(outcome.clone()),
        _ => {}
    }
}

fn enter(case: &mut Incident, at: Timestamp, phase: Phase) {
    if case.phase != phase {
        case.phase = phase;
        case.phase_since = at;
    }
}
