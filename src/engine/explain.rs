//! Explain: why we did, and why we did not, in sentences.

use crate::model::change::Change;
use crate::model::facts::ManagedBy;
use crate::model::incident::{Incident, Phase};
use crate::model::plan::{Direction, Outcome};
use crate::model::storm::{Domain, Storm};
use crate::model::verdict::Verdict;

/// The case in one sentence, as notifications carry it.
#[must_use]
pub fn sentence(case: &Incident) -> String {
    let what = format!("{} on {}", case.symptom, case.subject);
    let plan = case.plan.as_ref().and_then(|plan| plan.steps.first()).map(ToString::to_string);
    let why = case.reasons.last().map(|timed| timed.reason.to_string()).unwrap_or_default();
    match (case.phase, plan) {
        (Phase::AwaitingApproval, Some(plan)) => {
            format!("{}: {what}: approval is needed to {plan}; run meshmend approve {}", case.id, case.id)
        }
        (Phase::Resolved, Some(plan)) if !case.steps.is_empty() => {
            format!("{}: {what}: {why} after we did: {plan}", case.id)
        }
        (Phase::Expired, Some(plan)) => format!("{}: {what}: {why}; the plan was to {plan}", case.id),
        (phase, _) if why.is_empty() => format!("{}: {what}: {phase}", case.id),
        (phase, _) => format!("{}: {what}: {phase}: {why}", case.id),
    }
}

/// What people are told when a storm begins.
#[must_use]
pub fn storm_began(storm: &Storm) -> String {
    let Storm { domain, ill, of, bound, incident, .. } = storm;
    format!(
        "storm: {ill} of {of} {domain} are ill at once ({bound} are the bound), noticed on {incident}: \
         new acts there are held; please look for a common reason"
    )
}

/// What people are told when a storm is over.
#[must_use]
pub fn storm_ended(domain: &Domain) -> String {
    format!("the storm of {domain} is over: acts may start again")
}

/// What people are told when a breaker opens; `None` for any other change.
#[must_use]
pub fn breaker(change: &Change) -> Option<String> {
    let Change::BreakerTripped { policy, playbook, failures, until, .. } = change else { return None };
    Some(format!(
        "{failures} acts of playbook {playbook} failed or did not help: the breaker of policy {policy} holds \
         new ones until {until}, then one may try"
    ))
}

/// The whole case for people, one thought a line: what was heard, what was found, who was asked, what
/// they said, what the gate said, what was done and what came of it.
#[must_use]
pub fn lines(case: &Incident) -> Vec<String> {
    let mut lines = vec![format!("{}  {} on {}", case.id, case.symptom, case.subject)];
    let value = case.value.map(|value| format!(", value {value:.4}")).unwrap_or_default();
    lines.push(format!(
        "heard      {} {}, severity {}{value}, first at {}",
        case.signals,
        if case.signals == 1 { "signal" } else { "signals" },
        case.severity,
        case.opened_at
    ));
    facts(case, &mut lines);
    for passed in &case.passed_over {
        lines.push(format!("not used   {}: {}", passed.playbook, passed.reason));
    }
    if let Some(plan) = &case.plan {
        lines.push(format!("playbook   {} (plan {})", plan.playbook, plan.identity()));
        lines.extend(plan.steps.iter().map(|step| format!("plan       {step}")));
    }
    for check in &case.checks {
        let mark = if check.passed { "passed" } else { "stopped" };
        lines.push(format!("gate       {mark}  {}: {}", check.name, check.detail));
    }
    verdict(case, &mut lines);
    for result in &case.steps {
        let (word, number) = match result.direction {
            Direction::Forward => ("did       ", result.step + 1),
            Direction::Undo => ("took back ", result.step + 1),
        };
        lines.push(format!("{word} step {number}: {}", outcome(&result.outcome)));
    }
    if let Some(probe) = &case.last_probe {
        let figure = probe.figure.map(|f| format!("{:.4} of {:.0} samples", f.value, f.samples));
        let figure = figure.unwrap_or_else(|| probe.why.clone());
        lines.push(format!("measured   {}: {} ({figure})", probe.indicator, probe.level));
    }
    lines.extend(case.reasons.iter().map(|timed| format!("{}  {}", timed.at, timed.reason)));
    lines.push(format!("now        {} since {}", case.phase, case.phase_since));
    lines
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { detail } => format!("done, {detail}"),
        Outcome::AlreadyDone => "nothing was left to do".to_owned(),
        Outcome::Stale { why } => format!("not done, something changed: {why}"),
        Outcome::Failed { why } => format!("failed, {why}"),
        Outcome::Unknown { why } => format!("not known whether it was done: {why}"),
    }
}

fn facts(case: &Incident, lines: &mut Vec<String>) {
    let Some(findings) = &case.findings else { return };
    if let Some(route) = &findings.facts.route {
        lines.push(format!(
            "found      revision {} by {:?}, {} s old, owned by {}",
            route.spec_hash.short(),
            route.changed_by,
            route.changed_s,
            if route.managed_by == ManagedBy::None { "no tool" } else { route.managed_by.as_str() }
        ));
        let good = route.last_good.as_ref().map_or_else(
            || "no other revision is known to be good".to_owned(),
            |good| format!("last good revision {}, proven {} s ago", good.spec_hash.short(), good.age_s),
        );
        lines.push(format!("found      {good}"));
    }
    if let Some(traffic) = &findings.facts.traffic {
        lines.push(format!(
            "found      {:.0} requests in {} s, error rate {:.4}",
            traffic.requests, traffic.window_s, traffic.error_rate
        ));
    }
    lines.extend(findings.missing.iter().map(|(fact, why)| format!("not found  {fact}: {why}")));
}

fn verdict(case: &Incident, lines: &mut Vec<String>) {
    match &case.verdict {
        Some(Verdict::Allow) => lines.push("verdict    go".to_owned()),
        Some(Verdict::Ask { expires_s }) => {
            lines.push(format!("verdict    ask people; the question stands {expires_s} s"));
        }
        Some(Verdict::Hold { holds }) => {
            lines.extend(holds.iter().map(|hold| match hold.until {
                Some(until) => format!("verdict    not now: {}, until {until}", hold.reason),
                None => format!("verdict    not now: {}", hold.reason),
            }));
        }
        Some(Verdict::Refuse { reasons }) => {
            lines.extend(reasons.iter().map(|reason| format!("verdict    no: {reason}")));
        }
        None => {}
    }
}
