//! Verify: did it help? Soak, probe, and then recovered, not recovered, or inconclusive.

use jiff::Timestamp;

use super::abort;
use super::act;
use super::case::Case;
use super::deadlines::{PROBE_GRACE, seconds};
use super::select;
use crate::model::action::Action;
use crate::model::change::Change;
use crate::model::incident::{Ending, Phase};
use crate::model::indicator::{Level, Probe};
use crate::model::plan::Recover;
use crate::model::reason::Reason;
use crate::rules::Next;

fn recover(case: &Case<'_>) -> Option<Recover> {
    case.incident.plan.as_ref().and_then(|plan| plan.recover.clone())
}

/// All steps are done: wait for them to take effect.
pub(super) fn soak(case: &mut Case<'_>) {
    let Some(recover) = recover(case) else { return };
    let (incident, until) = (case.id(), case.after(seconds(recover.soak_s)));
    case.push(Change::SoakStarted { incident, until });
}

/// Asks for the next probe. Three of them fit into the hold time, at least one in ten seconds.
pub(super) fn probe(case: &mut Case<'_>) {
    let Some(recover) = recover(case) else { return };
    let every = seconds((recover.hold_s / 3).clamp(1, 10));
    let since = case.incident.probe_since.unwrap_or(case.at);
    let longest = seconds(recover.within_s.saturating_add(recover.hold_s));
    let end = since.saturating_add(longest).and_then(|at| at.saturating_add(PROBE_GRACE));
    let change = Change::ProbeStarted {
        incident: case.id(),
        probe: case.incident.probe + 1,
        indicator: recover.indicator,
        since,
        next: case.after(every),
        deadline: end.unwrap_or(Timestamp::MAX),
    };
    case.push(change);
}

/// A probe answered. A slow one counts too, if nothing newer was measured meanwhile; each counts once.
pub(super) fn probed(mut case: Case<'_>, probe: u32, reading: &Probe) -> Vec<Change> {
    let counted = case.incident.last_probe.as_ref().is_some_and(|last| last.at >= reading.at);
    if case.incident.phase != Phase::Probing || probe > case.incident.probe || counted {
        return Vec::new();
    }
    let (Some(recover), Some(since)) = (recover(&case), case.incident.probe_since) else { return Vec::new() };
    if reading.at < since {
        return Vec::new();
    }
    let good = matches!(reading.level, Level::Healthy | Level::Warning);
    let good_since = good.then(|| case.incident.good_since.unwrap_or(case.at));
    let incident = case.id();
    case.push(Change::Probed { incident, reading: reading.clone(), good_since });

    let held = good_since.is_some_and(|start| case.at.duration_since(start) >= seconds(recover.hold_s));
    if held {
        return recovered(case, reading);
    }
    if case.at.duration_since(since) < seconds(recover.within_s) {
        return case.changes;
    }
    let value = reading.figure.map(|figure| figure.value);
    match reading.level {
        Level::Critical => {
            case.note(Reason::NotRecovered { value });
            act::undo(case)
        }
        Level::Unknown => case.end(Phase::Escalated, Reason::Inconclusive { why: reading.why.clone() }),
        // Not critical any more, only not for long enough yet.
        Level::Healthy | Level::Warning => case.changes,
    }
}

fn recovered(mut case: Case<'_>, reading: &Probe) -> Vec<Change> {
    let steps = case.incident.plan.as_ref().map(|plan| plan.steps.clone()).unwrap_or_default();
    for step in steps {
        if let Action::RollbackRoute { target: subject, from: spec_hash, .. } = step {
            let incident = case.id();
            case.push(Change::RevisionBad { subject, spec_hash, incident });
        }
    }
    case.end(Phase::Resolved, Reason::Recovered { value: reading.figure.map(|figure| figure.value) })
}

/// Everything is taken back. After a failed step people decide; after an act that did not help, the
/// next rung of the playbook does.
#[expect(clippy::wildcard_enum_match_arm, reason = "three reasons tell why it was taken back")]
pub(super) fn after_undo(case: Case<'_>) -> Vec<Change> {
    if case.incident.is_aborted() {
        return abort::end(case);
    }
    if let Some(Ending { phase, reason }) = case.incident.after.clone() {
        // It began again while the act held it down: that is a new illness for the same case.
        if phase == Phase::Resolved && !case.incident.firing.is_empty() {
            return select::again(case);
        }
        return case.end(phase, reason);
    }
    if let Some(reason) = fought(&case) {
        return case.end(Phase::Escalated, reason);
    }
    let failed = case.incident.reasons.iter().rev().find_map(|timed| match &timed.reason {
        reason @ (Reason::StepFailed { .. } | Reason::Stale { .. }) => Some(Some(reason.clone())),
        Reason::NotRecovered { .. } => Some(None),
        _ => None,
    });
    match failed.flatten() {
        Some(reason) => case.end(Phase::Escalated, reason),
        None => next_rung(case),
    }
}

/// Somebody takes back whatever we do: once may be chance, twice is a fight, which people have to settle.
fn fought(case: &Case<'_>) -> Option<Reason> {
    let all = case.incident.reasons.iter().map(|timed| &timed.reason);
    let mut taken_back = all.filter(|reason| matches!(reason, Reason::TakenBack { .. }));
    taken_back.nth(1).cloned()
}

/// Asks the playbook whether to try again; budgets and the gate are asked again as for any act.
pub(super) fn next_rung(mut case: Case<'_>) -> Vec<Change> {
    let next = case.playbook().map(|playbook| playbook.next(&case.incident));
    match next {
        Some(Next::Retry) if !case.incident.firing.is_empty() => {
            case.note(Reason::Retried);
            select::again(case)
        }
        // Nobody fires any more, but we measured otherwise: that is for people to look at.
        Some(Next::Retry) => {
            let value = case.incident.last_probe.as_ref().and_then(|probe| probe.figure);
            case.end(Phase::Escalated, Reason::NotRecovered { value: value.map(|figure| figure.value) })
        }
        Some(Next::Escalate(text)) => case.end(Phase::Escalated, Reason::PlaybookEscalated { text }),
        None => {
            let text = "the playbook is not loaded any more".to_owned();
            case.end(Phase::Escalated, Reason::PlaybookEscalated { text })
        }
    }
}
