//! Effects: what the outside is asked for once a change is durable. Never called when folding.

use std::sync::Arc;

use super::explain;
use super::history::good_revisions;
use super::state::State;
use crate::model::action::Action;
use crate::model::change::Change;
use crate::model::effect::{Effect, Execute, GoodRevisions, Inspect};
use crate::model::incident::{Incident, IncidentId, Phase, StepResult, Timed};
use crate::model::plan::{Direction, Outcome};
use crate::model::reason::Reason;
use crate::model::subject::{ROOT_NAMESPACE, Subject};

/// What this committed change asks for. `state` already holds the whole batch.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "most changes ask the outside for nothing")]
pub fn effects(state: &State, change: &Change) -> Vec<Effect> {
    let known = |id: &IncidentId| state.incidents.get(id);
    match change {
        Change::InspectionStarted { incident, inspection, needs, indicators, uid, good, .. } => {
            known(incident).map_or_else(Vec::new, |case| {
                vec![Effect::Inspect(Inspect {
                    incident: incident.clone(),
                    inspection: *inspection,
                    subject: case.subject.clone(),
                    needs: needs.clone(),
                    indicators: indicators.clone(),
                    uid: uid.clone(),
                    good: good.clone(),
                    owner: case.key.owner.clone(),
                    rules: rules(state, case, needs),
                })]
            })
        }
        Change::Planned { incident, plan, .. } if plan.writes() && plan.rehearses() => {
            vec![Effect::Rehearse { incident: incident.clone(), plan: plan.clone() }]
        }
        Change::StepStarted { incident, step, direction, .. } => {
            known(incident).and_then(|case| run(case, *step, *direction)).into_iter().collect()
        }
        Change::ProbeStarted { incident, probe, indicator, since, .. } => {
            known(incident).map_or_else(Vec::new, |case| {
                vec![Effect::Probe {
                    incident: incident.clone(),
                    probe: *probe,
                    indicator: indicator.clone(),
                    subject: case.subject.clone(),
                    owner: case.key.owner.clone(),
                    since: *since,
                }]
            })
        }
        Change::Held { incident, .. } => known(incident).map(tell).into_iter().collect(),
        Change::ApprovalAsked { incident, .. } => known(incident).map(tell).into_iter().collect(),
        Change::Ended { incident, .. } => {
            known(incident).filter(|case| newsworthy(case)).map(tell).into_iter().collect()
        }
        Change::StormBegan { incident, storm } => news(state, incident, explain::storm_began(storm)),
        Change::StormEnded { incident, domain } => news(state, incident, explain::storm_ended(domain)),
        Change::BreakerTripped { incident, again: false, .. } => {
            explain::breaker(change).map_or_else(Vec::new, |sentence| news(state, incident, sentence))
        }
        Change::Noted { incident, reason: Reason::StillOwed { .. } } => {
            known(incident).map(tell).into_iter().collect()
        }
        Change::Noted { incident, reason: Reason::Restarted } => {
            known(incident).filter(|case| owes_news(case)).map(tell).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// Good revisions of the DestinationRules that may be in force for the subject: those of its own namespace
/// and of the root namespace, where the playbooks ask for the rule at all.
fn rules(state: &State, case: &Incident, needs: &[String]) -> Vec<GoodRevisions> {
    if !needs.iter().any(|need| need == "destination_rule") {
        return Vec::new();
    }
    let near = |subject: &&Subject| {
        subject.kind == "DestinationRule"
            && (subject.namespace == case.subject.namespace || subject.namespace == ROOT_NAMESPACE)
    };
    let good = state.routes.keys().filter(near).map(|subject| {
        let (uid, good) = good_revisions(state, subject);
        GoodRevisions { subject: subject.clone(), uid, good }
    });
    good.filter(|revisions| !revisions.good.is_empty()).collect()
}

/// People hear of every question, of every end that needs them, and of every act of ours.
fn newsworthy(case: &Incident) -> bool {
    let told = case.steps.iter().any(|step| {
        matches!(step.outcome, Outcome::Done { .. }) && case.plan.as_ref().is_some_and(|plan| !plan.writes())
    });
    // Nobody was told of it, and nothing was done about it.
    let owed = |timed: &Timed| matches!(timed.reason, Reason::StillOwed { .. });
    let done = |step: &StepResult| matches!(step.outcome, Outcome::Done { .. });
    if case.is_orphan() && !case.reasons.iter().any(owed) && !case.steps.iter().any(done) {
        return false;
    }
    match case.phase {
        // The plan itself was to tell people: they know.
        Phase::Escalated => !told,
        Phase::AwaitingApproval | Phase::Expired | Phase::Holding => true,
        Phase::Resolved | Phase::Suppressed | Phase::Gone => !case.steps.is_empty(),
        Phase::Open
        | Phase::Inspecting
        | Phase::Planned
        | Phase::Executing
        | Phase::Soaking
        | Phase::Probing => false,
    }
}

/// Whether there are news that no notification has delivered yet.
pub(super) fn owes_news(case: &Incident) -> bool {
    newsworthy(case) && !case.notified.iter().any(|outcome| matches!(outcome, Outcome::Done { .. }))
}

/// News that are about more than the case on which people hear of them.
fn news(state: &State, incident: &IncidentId, sentence: String) -> Vec<Effect> {
    let case = state.incidents.get(incident).cloned();
    case.map(|incident| Effect::Notify { sentence, incident, step: None }).into_iter().collect()
}

fn tell(case: &Arc<Incident>) -> Effect {
    Effect::Notify { sentence: explain::sentence(case), incident: Arc::clone(case), step: None }
}

fn run(case: &Arc<Incident>, step: usize, direction: Direction) -> Option<Effect> {
    let plan = case.plan.as_ref()?;
    let planned = plan.steps.get(step)?;
    let action = match direction {
        Direction::Forward => planned.clone(),
        Direction::Undo => planned.inverse()?,
    };
    if let Action::Notify { text } = action {
        let incident = Arc::clone(case);
        return Some(Effect::Notify { sentence: text, incident, step: Some(step) });
    }
    let incident = case.id.clone();
    let run = case.runs();
    Some(Effect::Execute(Execute { incident, plan: plan.identity(), step, direction, run, action }))
}
