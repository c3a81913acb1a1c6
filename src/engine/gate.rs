//! The gate: the only door to a write.

mod budgets;
mod findings;
mod radius;
mod standing;
mod stops;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::act;
use super::case::Case;
use super::deadlines::{FACTS_FRESH, seconds};
use super::select;
use super::state::State;
use crate::model::action::Action;
use crate::model::change::{Change, Charge};
use crate::model::digest::Digest;
use crate::model::effect::Execute;
use crate::model::incident::{Incident, Phase};
use crate::model::plan::{Direction, Plan};
use crate::model::reason::Reason;
use crate::model::subject::Subject;
use crate::model::verdict::Verdict;
use crate::rules::{Act, Rules, Ruling};
use findings::Findings;

/// An act at the gate.
struct Asked<'a> {
    case: &'a Case<'a>,
    ruling: Ruling,
    charge: Charge,
}

/// Leave to do one step, minted from a committed change only. It cannot be copied, stored or made
/// elsewhere, and no write may begin after `not_after`.
#[derive(Debug)]
pub struct Permit {
    plan: Digest,
    step: usize,
    direction: Direction,
    target: Subject,
    not_after: Timestamp,
}

impl Permit {
    /// Whether this permit covers the step at this time. Asked right before every write.
    ///
    /// # Errors
    /// Says what does not fit: another plan, step, direction or target, or the time is up.
    pub fn covers(&self, execute: &Execute, now: Timestamp) -> Result<(), String> {
        if self.plan != execute.plan || self.step != execute.step || self.direction != execute.direction {
            return Err("the permit names another step".to_owned());
        }
        if Some(&self.target) != execute.action.target() {
            return Err(format!("the permit names another target: {}", self.target));
        }
        if now > self.not_after {
            return Err(format!("the permit ended at {}", self.not_after));
        }
        Ok(())
    }

    /// When it ends.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

/// Mints the permit of a committed `StepStarted`. Only the driver calls this, after the commit and never
/// while folding (`tests/tidy.rs` looks).
#[must_use]
pub fn permit(state: &State, change: &Change) -> Option<Permit> {
    let Change::StepStarted { incident, plan, step, direction, permit_until, .. } = change else {
        return None;
    };
    let known = state.incidents.get(incident)?.plan.as_ref()?;
    let target = known.steps.get(*step)?.target()?.clone();
    (known.identity() == *plan).then_some(Permit {
        plan: *plan,
        step: *step,
        direction: *direction,
        target,
        not_after: *permit_until,
    })
}

/// Asks the gate and does what it says.
pub(super) fn pass(mut case: Case<'_>) -> Vec<Change> {
    let Some(plan) = case.incident.plan.clone() else { return case.changes };
    let Some(charge) = charge(&case, &plan) else { return case.changes };
    let now = wall_time(case.state, case.at);
    let Some(ruling) = ruling(case.rules, &case.incident, now) else { return case.changes };
    let asked = Asked { case: &case, ruling, charge };
    let found = judge(&asked);
    let (refills, Asked { charge, .. }) = (budgets::refills(&asked), asked);
    let (storms, trials) = (found.storms.clone(), found.trials.clone());
    let (verdict, checks) = found.verdict();
    let incident = case.id();
    if verdict == Verdict::Allow && !fresh(&case) {
        select::inspect(&mut case);
        return case.changes;
    }
    for storm in storms {
        case.push(Change::StormBegan { incident: incident.clone(), storm });
    }
    case.push(Change::Gated { incident: incident.clone(), verdict: verdict.clone(), checks });
    match verdict {
        Verdict::Hold { .. } => case.changes,
        Verdict::Refuse { reasons } => {
            let reason = reasons.into_iter().next().unwrap_or(Reason::NotRehearsed);
            case.end(Phase::Escalated, reason)
        }
        Verdict::Ask { expires_s } => {
            let expires = case.after(seconds(expires_s));
            case.push(Change::ApprovalAsked { incident, plan: plan.identity(), expires });
            case.changes
        }
        Verdict::Allow => {
            if refills {
                case.push(Change::AttemptsRefilled { key: charge.key.budget() });
            }
            for policy in trials {
                let (incident, playbook) = (incident.clone(), plan.playbook.clone());
                case.push(Change::BreakerTried { incident, policy, playbook });
            }
            case.push(Change::Charged { incident, charge });
            act::start(&mut case, 0);
            case.changes
        }
    }
}

/// All checks, in the order in which people read them. Each says what it compared, passed or not.
fn judge(asked: &Asked<'_>) -> Findings {
    let mut findings = Findings::default();
    standing::scope(asked, &mut findings);
    standing::rehearsal(asked, &mut findings);
    standing::freeze(asked, &mut findings);
    standing::mode(asked, &mut findings);
    stops::process(asked, &mut findings);
    stops::pause(asked, &mut findings);
    stops::window(asked, &mut findings);
    budgets::limits(asked, &mut findings);
    budgets::cooldown(asked, &mut findings);
    budgets::attempts(asked, &mut findings);
    radius::claim(asked, &mut findings);
    radius::concurrent(asked, &mut findings);
    stops::storm(asked, &mut findings);
    stops::breaker(asked, &mut findings);
    findings
}

fn charge(case: &Case<'_>, plan: &Plan) -> Option<Charge> {
    let step = plan.steps.iter().find(|step| step.target().is_some())?;
    Some(Charge {
        at: case.at,
        key: case.incident.key.clone(),
        target: step.target()?.clone(),
        playbook: plan.playbook.clone(),
        action: step.name().to_owned(),
        wrote: true,
    })
}

/// What the policies say about the plan of a case; `None` for one that writes nothing.
pub(super) fn ruling(rules: &Rules, incident: &Incident, at: Timestamp) -> Option<Ruling> {
    let plan = incident.plan.as_ref()?;
    let writing = || plan.steps.iter().filter(|step| step.target().is_some());
    let act = Act {
        playbook: &plan.playbook,
        actions: writing().map(Action::name).collect(),
        target: writing().find_map(Action::target)?,
        labels: incident.findings.as_ref().map_or(&NO_LABELS, |findings| &findings.labels),
    };
    Some(rules.policies.ruling(&act, at))
}

/// Labels of a target that was not looked at: no policy selects it by them.
static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

fn fresh(case: &Case<'_>) -> bool {
    case.incident.found_at.is_some_and(|found| case.at.duration_since(found) <= FACTS_FRESH)
}

/// What the wall clock shows at this engine time.
fn wall_time(state: &State, at: Timestamp) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(state.skew_s)).unwrap_or(at)
}
