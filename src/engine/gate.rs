//! The gate: the only door to a write.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::act;
use super::case::Case;
use super::deadlines::{FACTS_FRESH, REHEARSE_AGAIN, seconds};
use super::select;
use super::state::State;
use crate::model::action::Action;
use crate::model::change::{Change, Charge};
use crate::model::digest::Digest;
use crate::model::effect::Execute;
use crate::model::incident::{Incident, Phase};
use crate::model::plan::{Direction, Plan, Rehearsal};
use crate::model::reason::{Hold, Reason};
use crate::model::subject::Subject;
use crate::model::verdict::{Check, Mode, Verdict};
use crate::rules::{APPROVAL_EXPIRES_S, Act, Ruling, Share};

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

/// What the checks found, sorted by what follows from it.
#[derive(Default)]
struct Findings {
    checks: Vec<Check>,
    holds: Vec<Hold>,
    refusals: Vec<Reason>,
    ask_s: Option<u64>,
}

impl Findings {
    fn passed(&mut self, name: &str, detail: String) {
        self.checks.push(Check { name: name.to_owned(), passed: true, detail });
    }

    fn held(&mut self, name: &str, reason: Reason, until: Option<Timestamp>) {
        self.checks.push(Check { name: name.to_owned(), passed: false, detail: reason.to_string() });
        self.holds.push(Hold { reason, until });
    }

    fn refused(&mut self, name: &str, reason: Reason) {
        self.checks.push(Check { name: name.to_owned(), passed: false, detail: reason.to_string() });
        self.refusals.push(reason);
    }

    fn verdict(self) -> (Verdict, Vec<Check>) {
        let verdict = if !self.refusals.is_empty() {
            Verdict::Refuse { reasons: self.refusals }
        } else if !self.holds.is_empty() {
            Verdict::Hold { holds: self.holds }
        } else if let Some(expires_s) = self.ask_s {
            Verdict::Ask { expires_s }
        } else {
            Verdict::Allow
        };
        (verdict, self.checks)
    }
}

/// Asks the gate and does what it says.
pub(super) fn pass(mut case: Case<'_>) -> Vec<Change> {
    let Some(plan) = case.incident.plan.clone() else { return case.changes };
    let Some(charge) = charge(&case, &plan) else { return case.changes };
    let ruling = ruling(&case, &plan, &charge.target);
    let (verdict, checks) = judge(&case, &ruling, &charge);
    let incident = case.id();
    if verdict == Verdict::Allow && !fresh(&case) {
        select::inspect(&mut case);
        return case.changes;
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
            if refills(&case, &ruling) {
                case.push(Change::AttemptsRefilled { key: charge.key.budget() });
            }
            case.push(Change::Charged { incident, charge });
            act::start(&mut case, 0);
            case.changes
        }
    }
}

/// The checks of the gate for a plan, for people who ask what would happen.
fn judge(case: &Case<'_>, ruling: &Ruling, charge: &Charge) -> (Verdict, Vec<Check>) {
    let mut findings = Findings::default();
    scope(ruling, &mut findings);
    rehearsal(case, ruling, &mut findings);
    mode(case, ruling, &mut findings);
    process(case.state, &mut findings);
    limits(case, ruling, charge, &mut findings);
    cooldown(case, ruling, charge, &mut findings);
    attempts(case, ruling, &mut findings);
    claim(case, charge, &mut findings);
    concurrent(case, ruling, charge, &mut findings);
    findings.verdict()
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

fn ruling(case: &Case<'_>, plan: &Plan, target: &Subject) -> Ruling {
    case.rules.policies.ruling(&Act {
        playbook: &plan.playbook,
        actions: plan.steps.iter().filter(|step| step.target().is_some()).map(Action::name).collect(),
        target,
        labels: case.incident.findings.as_ref().map_or(&NO_LABELS, |findings| &findings.labels),
    })
}

/// Labels of a target that was not looked at: no policy selects it by them.
static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

fn fresh(case: &Case<'_>) -> bool {
    case.incident.found_at.is_some_and(|found| case.at.duration_since(found) <= FACTS_FRESH)
}

fn scope(ruling: &Ruling, findings: &mut Findings) {
    match &ruling.excluded_by {
        Some(by) => findings.refused("scope", Reason::OutOfScope { what: format!("excluded by {by}") }),
        None if ruling.in_scope => {
            findings.passed("scope", format!("policies: {}", ruling.policies.join(", ")))
        }
        None => findings.held("scope", Reason::OutOfScope { what: "no policy covers it".to_owned() }, None),
    }
}

fn rehearsal(case: &Case<'_>, ruling: &Ruling, findings: &mut Findings) {
    match &case.incident.rehearsal {
        None => findings.held("rehearsal", Reason::NotRehearsed, None),
        Some(Rehearsal::Accepted { .. }) => {
            findings.passed("rehearsal", "the API server accepted the dry run".to_owned());
        }
        Some(Rehearsal::Forbidden { verb, resource, namespace, .. }) => {
            let reason = Reason::RightMissing {
                verb: verb.clone(),
                resource: resource.clone(),
                namespace: namespace.clone(),
            };
            // Observing without the right to act is a normal way to start: a finding, not a refusal.
            match ruling.mode {
                Mode::Observe => findings.held("rehearsal", reason, None),
                Mode::Suggest | Mode::Enforce => findings.refused("rehearsal", reason),
            }
        }
        Some(Rehearsal::Refused { why }) => {
            findings.refused("rehearsal", Reason::RehearsalFailed { why: why.clone() });
        }
        Some(Rehearsal::Unreadable { why }) => {
            let reason = Reason::RehearsalFailed { why: why.clone() };
            findings.held("rehearsal", reason, Some(case.after(REHEARSE_AGAIN)));
        }
    }
}

fn mode(case: &Case<'_>, ruling: &Ruling, findings: &mut Findings) {
    let from = format!("{} by {}", ruling.mode, ruling.mode_from);
    let asked = match ruling.mode {
        Mode::Observe => {
            findings.checks.push(Check { name: "mode".to_owned(), passed: false, detail: from });
            findings.holds.push(Hold { reason: Reason::ModeObserve, until: None });
            return;
        }
        Mode::Suggest => true,
        Mode::Enforce => ruling.approval.is_some(),
    };
    findings.passed("mode", from);
    if !asked {
        return;
    }
    let granted = case.incident.approval.as_ref().and_then(|approval| {
        let same = case.incident.plan.as_ref().is_some_and(|plan| plan.identity() == approval.plan);
        approval.granted_by.as_ref().filter(|_| same && case.at < approval.expires)
    });
    match granted {
        Some(by) => findings.passed("approval", format!("approved by {by}")),
        None => {
            findings.ask_s = Some(ruling.approval.as_ref().map_or(APPROVAL_EXPIRES_S, |rule| rule.expires_s));
            findings.checks.push(Check {
                name: "approval".to_owned(),
                passed: false,
                detail: Reason::ApprovalNeeded.to_string(),
            });
        }
    }
}

fn process(state: &State, findings: &mut Findings) {
    if state.draining {
        findings.held("process", Reason::Draining, None);
    } else if state.clock_jumped.is_some() {
        findings.held("process", Reason::ClockJumped, None);
    }
}

fn limits(case: &Case<'_>, ruling: &Ruling, charge: &Charge, findings: &mut Findings) {
    for limit in &ruling.limits {
        let (acts, free_at) = case.state.ledger.within(limit.per, charge, limit.window_s);
        let per = limit.per.as_str().to_owned();
        if acts >= limit.acts {
            let reason = Reason::LimitReached { per, acts: limit.acts, window_s: limit.window_s };
            findings.held("limit", reason, free_at);
        } else {
            findings.passed("limit", format!("{acts} of {} acts per {per} ({})", limit.acts, limit.policy));
        }
    }
}

fn cooldown(case: &Case<'_>, ruling: &Ruling, charge: &Charge, findings: &mut Findings) {
    let last = case.state.ledger.last_on(&charge.target);
    let until = last.and_then(|at| at.saturating_add(seconds(ruling.cooldown_s)).ok());
    match until.filter(|until| *until > case.at) {
        Some(until) => {
            let rest = until.duration_since(case.at).as_secs_f64().ceil();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
            let reason = Reason::CoolingDown { seconds: rest as u64 };
            findings.held("cooldown", reason, Some(until));
        }
        None => findings.passed("cooldown", format!("{} s", ruling.cooldown_s)),
    }
}

fn spent(case: &Case<'_>) -> (u32, u64) {
    case.state.attempts.get(&case.incident.key.budget()).map_or((0, 0), |entry| (entry.spent, entry.quiet_s))
}

/// Whether the key was healthy long enough since the last act to get its attempts back.
fn refills(case: &Case<'_>, ruling: &Ruling) -> bool {
    let (spent, quiet_s) = spent(case);
    spent > 0 && quiet_s >= ruling.attempts.refill_s
}

fn attempts(case: &Case<'_>, ruling: &Ruling, findings: &mut Findings) {
    let (spent, _) = spent(case);
    let max = ruling.attempts.max;
    if spent >= max && !refills(case, ruling) {
        findings.refused("attempts", Reason::AttemptsSpent { attempts: max });
    } else {
        findings.passed("attempts", format!("{spent} of {max}"));
    }
}

fn others<'s>(case: &'s Case<'_>) -> impl Iterator<Item = &'s Incident> {
    case.state.acting().filter(|other| other.id != case.incident.id)
}

fn target(incident: &Incident) -> Option<&Subject> {
    incident.plan.as_ref()?.steps.iter().find_map(Action::target)
}

fn claim(case: &Case<'_>, charge: &Charge, findings: &mut Findings) {
    match others(case).find(|other| target(other) == Some(&charge.target)) {
        Some(other) => findings.held("claim", Reason::Claimed { incident: other.id.to_string() }, None),
        None => findings.passed("claim", "nobody else acts on the target".to_owned()),
    }
}

fn concurrent(case: &Case<'_>, ruling: &Ruling, charge: &Charge, findings: &mut Findings) {
    let namespace = &charge.target.namespace;
    let mesh = count(others(case));
    let same_namespace = count(
        others(case).filter(|other| target(other).is_some_and(|target| target.namespace == *namespace)),
    );
    let same_owner = count(others(case).filter(|other| other.key.owner == charge.key.owner));
    let population = &case.incident.population;
    let domains: [(&str, u64, u64, &Share); 3] = [
        ("workload", same_owner, population.workload, &ruling.concurrent.workload),
        ("namespace", same_namespace, population.namespace, &ruling.concurrent.namespace),
        ("mesh", mesh, population.mesh, &ruling.concurrent.mesh),
    ];
    for (domain, touched, of, share) in domains {
        let allowed = share.allowed(of);
        if touched >= allowed {
            let reason = Reason::ConcurrentReached { domain: domain.to_owned(), touched, allowed };
            findings.held("concurrent", reason, None);
        } else {
            findings.passed("concurrent", format!("{touched} of {allowed} in this {domain}"));
        }
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    u64::try_from(items.count()).unwrap_or(u64::MAX)
}
