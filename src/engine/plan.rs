//! Plan: from findings to the one plan of a case.

use super::act;
use super::case::Case;
use super::deadlines::{INSPECTING, PLANNED, READ_AGAIN, READ_TRIES};
use super::gate;
use super::late;
use super::refusals;
use crate::model::action::Action;
use crate::model::change::Change;
use crate::model::digest::Digest;
use crate::model::facts::Findings;
use crate::model::incident::{PassedOver, Phase};
use crate::model::indicator::Level;
use crate::model::plan::{Plan, Rehearsal};
use crate::model::reason::Reason;
use crate::rules::{Answer, Need, Playbook};

/// An inspection answered. A late answer (another number, another phase) changes nothing.
pub(super) fn inspected(mut case: Case<'_>, inspection: u32, findings: &Findings) -> Vec<Change> {
    let reconciling = case.incident.reconciling && case.incident.phase == Phase::Executing;
    let asked = case.incident.phase == Phase::Inspecting || reconciling;
    if !asked || case.incident.inspection != inspection || case.incident.inspect_at.is_some() {
        return Vec::new();
    }
    let incident = case.id();
    case.push(Change::Found { incident, findings: Box::new(findings.clone()) });
    if findings.gone && !(reconciling && readable_without_subject(&case, findings)) {
        return if reconciling { act::gone(case) } else { case.end(Phase::Gone, Reason::SubjectGone) };
    }
    if reconciling {
        return act::reconciled(case);
    }
    if late::arrived(&case, findings) {
        return act::arrived(case);
    }
    let chosen = choose(&mut case, findings);
    if hopes(&case, findings) {
        let (incident, until) = (case.id(), case.after(READ_AGAIN));
        let deadline = until.saturating_add(INSPECTING).unwrap_or(until);
        case.push(Change::InspectionDelayed { incident, until, deadline });
        return case.changes;
    }
    settled(case, chosen)
}

/// Whether the running step can be read back although the subject is gone: that a pod was evicted, that a
/// rule was changed, that a workload was rolled whose pod went by that.
fn readable_without_subject(case: &Case<'_>, findings: &Findings) -> bool {
    let workload = findings.facts.workload.is_some() || findings.missing.contains_key("workload");
    match case.running() {
        Some(Action::EvictPod { .. } | Action::ShedLoad { .. } | Action::Restore { .. }) => true,
        Some(Action::RolloutRestart { .. }) => workload,
        Some(
            Action::RollbackRoute { .. }
            | Action::RestartSidecar { .. }
            | Action::RotateCertificate { .. }
            | Action::Notify { .. },
        )
        | None => false,
    }
}

/// The plan of a case whose candidates ask for nothing, in the record that opens it: a look at the cluster
/// could change none of their answers, and would cost a storm of alerts one more record each.
pub(super) fn at_once(mut case: Case<'_>) -> Vec<Change> {
    let chosen = choose(&mut case, &Findings::default());
    settled(case, chosen)
}

fn settled(case: Case<'_>, chosen: Result<Plan, Reason>) -> Vec<Change> {
    match chosen {
        Ok(plan) => planned(case, plan),
        Err(reason) => case.end(Phase::Escalated, reason),
    }
}

/// Whether a better plan may come out of another look: something that a candidate needs could not be read,
/// may be readable again, and was not tried often yet. One hiccup of Prometheus must not end a case.
#[expect(clippy::wildcard_enum_match_arm, reason = "all other reasons are answers")]
fn hopes(case: &Case<'_>, findings: &Findings) -> bool {
    let hopeful = |reason: &Reason| match reason {
        Reason::FactUnknown { fact: what, .. } | Reason::IndicatorUnreadable { indicator: what, .. } => {
            !findings.hopeless.contains(what)
        }
        // Somebody will say soon that it is down, and then the case is explained by it.
        Reason::ControlPlaneDown { .. } => true,
        _ => false,
    };
    case.incident.unreadable < READ_TRIES
        && case.incident.passed_over.iter().any(|passed| hopeful(&passed.reason))
}

/// Asks the candidates in order; the first that yields a valid plan wins, the others are recorded.
fn choose(case: &mut Case<'_>, findings: &Findings) -> Result<Plan, Reason> {
    let mut chosen: Option<Plan> = None;
    let mut first_reason = None;
    for name in case.incident.candidates.clone() {
        let answer = match (&chosen, case.rules.playbooks.get(&name)) {
            (Some(plan), _) => Err(Reason::Outranked { by: plan.playbook.clone() }),
            (None, None) => {
                Err(Reason::InvalidPlan { text: "the playbook is not loaded any more".to_owned() })
            }
            (None, Some(playbook)) => propose(case, playbook, findings),
        };
        match answer {
            Ok(plan) => chosen = Some(plan),
            Err(reason) => {
                first_reason.get_or_insert_with(|| reason.clone());
                let passed = PassedOver { playbook: name, reason };
                let incident = case.id();
                case.push(Change::PassedOver { incident, passed });
            }
        }
    }
    chosen.ok_or_else(|| first_reason.unwrap_or(Reason::NoPlaybook))
}

/// What one playbook proposes, after the engine's own refusals.
fn propose(case: &Case<'_>, playbook: &Playbook, findings: &Findings) -> Result<Plan, Reason> {
    // Also what a playbook can do without: that there is none is an answer, that nobody could look is not.
    let unreadable = |need: &&Need| findings.missing.contains_key(&need.fact);
    let unknown = playbook.needs.iter().find(unreadable).or_else(|| playbook.unknown(&findings.facts));
    if let Some(need) = unknown {
        let why = findings.missing.get(&need.fact).cloned();
        let why = why.unwrap_or_else(|| "the inspection did not answer it".to_owned());
        return Err(Reason::FactUnknown { fact: need.fact.clone(), why });
    }
    // Said before the script can say it in its own words: then the case waits for what explains it.
    if let Some(down) = findings.facts.control_plane.as_ref().filter(|found| found.ready_replicas == 0)
        && playbook.recover.is_some()
    {
        return Err(Reason::ControlPlaneDown { name: format!("{}/{}", down.namespace, down.name) });
    }
    let steps = match playbook.plan(&case.incident, &findings.facts) {
        Answer::Steps(steps) => steps,
        Answer::Refuse(text) => return Err(Reason::PlaybookRefused { text }),
        Answer::Failed(text) => return Err(Reason::ScriptFailed { text }),
    };
    let plan = Plan { playbook: playbook.name.clone(), steps, recover: playbook.recover.clone() };
    valid(&plan)?;
    if plan.writes() {
        readable(&plan, findings)?;
    }
    for step in &plan.steps {
        let asked = |fact: &str| playbook.needs.iter().any(|need| need.fact == fact);
        refusals::check(step, &case.incident, &findings.facts, &asked)?;
    }
    Ok(plan)
}

fn valid(plan: &Plan) -> Result<(), Reason> {
    let invalid = |text: &str| Err(Reason::InvalidPlan { text: text.to_owned() });
    if plan.steps.is_empty() {
        return invalid("it has no step");
    }
    if plan.writes() && plan.recover.is_none() {
        return invalid("it writes, but names no indicator to verify with");
    }
    let targets: Vec<_> = plan.steps.iter().filter_map(Action::target).collect();
    if targets.len() > 1 {
        return invalid("it writes to the same object twice");
    }
    // What the gate allowed is done at once. Behind another step, which may take its time, mode, limits and
    // signals could have changed meanwhile.
    if plan.steps.iter().skip(1).any(|step| step.target().is_some()) {
        return invalid("it writes after another step; the write comes first");
    }
    Ok(())
}

/// An act that could not be verified afterwards is not made.
fn readable(plan: &Plan, findings: &Findings) -> Result<(), Reason> {
    let Some(recover) = &plan.recover else { return Ok(()) };
    let indicator = recover.indicator.clone();
    match findings.indicators.get(&indicator) {
        Some(probe) if probe.level == Level::Unknown => {
            Err(Reason::IndicatorUnreadable { indicator, why: probe.why.clone() })
        }
        Some(_) => Ok(()),
        None => Err(Reason::IndicatorUnreadable { indicator, why: "it was not read".to_owned() }),
    }
}

fn planned(mut case: Case<'_>, plan: Plan) -> Vec<Change> {
    let writes = plan.writes();
    let approved = case.incident.approval.as_ref().map(|approval| approval.plan == plan.identity());
    if approved == Some(false) {
        let incident = case.id();
        case.push(Change::ApprovalVoided { incident });
        case.note(Reason::Superseded);
    }
    let (incident, deadline) = (case.id(), case.after(PLANNED));
    case.push(Change::Planned { incident, plan, deadline });
    // A plan that only tells people has nothing to rehearse and nothing to ask the gate for.
    if !writes {
        act::start(&mut case, 0);
    }
    case.changes
}

/// The dry run answered.
pub(super) fn rehearsed(mut case: Case<'_>, plan: &Digest, rehearsal: &Rehearsal) -> Vec<Change> {
    let same = case.incident.plan.as_ref().is_some_and(|known| known.identity() == *plan);
    if case.incident.phase != Phase::Planned || !same || case.incident.rehearsal.is_some() {
        return Vec::new();
    }
    let incident = case.id();
    case.push(Change::Rehearsed { incident, rehearsal: rehearsal.clone() });
    gate::pass(case)
}
