//! Explain: why we did, and why we did not, in sentences.

use crate::model::action::Action;
use crate::model::change::Change;
use crate::model::facts::{Facts, LastGoodFacts, ManagedBy};
use crate::model::incident::{Incident, Phase};
use crate::model::plan::{Direction, Outcome};
use crate::model::reason::Reason;
use crate::model::storm::{Domain, Storm};
use crate::model::subject::Subject;
use crate::model::verdict::Verdict;

/// The case in one sentence, as notifications carry it.
#[must_use]
pub fn sentence(case: &Incident) -> String {
    let what = format!("{} on {}", case.symptom, case.subject);
    let plan = case.plan.as_ref().and_then(|plan| plan.steps.first()).map(ToString::to_string);
    let why = case.reasons.last().map(|timed| timed.reason.to_string()).unwrap_or_default();
    if let Some(left) = orphan(case) {
        return match (case.phase, by_hand(case)) {
            (Phase::Holding, Some(line)) => format!("{}: {what}: {left}: {why}; by hand: {line}", case.id),
            (Phase::Resolved, _) if case.steps.iter().any(|step| step.outcome.name() == "done") => {
                format!("{}: {what}: {left}: they were taken back", case.id)
            }
            _ => format!("{}: {what}: {left}: {why}", case.id),
        };
    }
    match (case.phase, plan) {
        (Phase::AwaitingApproval, Some(plan)) => {
            format!("{}: {what}: approval is needed to {plan}; run meshmend approve {}", case.id, case.id)
        }
        (Phase::Resolved, Some(plan)) if !case.steps.is_empty() => {
            format!("{}: {what}: {why} after we did: {plan}", case.id)
        }
        (Phase::Holding, Some(plan)) => {
            let until = case.expires_at.map(|until| format!(", until {until}")).unwrap_or_default();
            let line = by_hand(case).filter(|_| case.undo_tries > 0);
            let line = line.map(|line| format!("; by hand: {line}")).unwrap_or_default();
            format!("{}: {what}: {why}; in force: {plan}{until}{line}", case.id)
        }
        (Phase::Suppressed, _) if case.in_force().is_some() => {
            let id = &case.id;
            let act = case.in_force().map(ToString::to_string).unwrap_or_default();
            format!("{id}: {what}: {why}; still in force: {act}; undo it with meshmend abort {id} --undo")
        }
        (Phase::Expired, Some(plan)) => format!("{}: {what}: {why}; the plan was to {plan}", case.id),
        (phase, _) if why.is_empty() => format!("{}: {what}: {phase}", case.id),
        (phase, _) => format!("{}: {what}: {phase}: {why}", case.id),
    }
}

/// What is known of limits that another agent left.
fn orphan(case: &Incident) -> Option<String> {
    let mut reasons = case.reasons.iter().map(|timed| &timed.reason);
    reasons.find(|reason| matches!(reason, Reason::Orphaned { .. })).map(ToString::to_string)
}

/// The command that takes the limits of a case back without an agent.
fn by_hand(case: &Incident) -> Option<String> {
    let steps = &case.plan.as_ref()?.steps;
    let limits = |step: &&Action| matches!(step, Action::ShedLoad { .. } | Action::Restore { .. });
    let Subject { namespace, name, .. } = steps.iter().rfind(limits)?.target()?;
    Some(format!("meshmend restore --namespace {namespace} destinationrule/{name}"))
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
    if let Some(cause) = &case.cause {
        lines.push(format!("explained  by {cause}: nothing is done while that lasts"));
    }
    if case.explains > 0 {
        lines.push(format!("explains   {} other incidents, which wait for this one", case.explains));
    }
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
    if let Some(until) = case.expires_at {
        lines.push(format!("expires    what was done is taken back at {until}"));
    }
    if case.undo_tries > 0 {
        let line = by_hand(case).map(|line| format!("; by hand: {line}")).unwrap_or_default();
        lines.push(format!("owed       tried {} times in vain to take it back{line}", case.undo_tries));
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
        Outcome::Moot { why } => format!("nothing of ours was left: {why}"),
        Outcome::Failed { why } => format!("failed, {why}"),
        Outcome::Unknown { why } => format!("not known whether it was done: {why}"),
    }
}

fn facts(case: &Incident, lines: &mut Vec<String>) {
    let Some(findings) = &case.findings else { return };
    lines.extend(found(&findings.facts).into_iter().map(|line| format!("found      {line}")));
    lines.extend(findings.missing.iter().map(|(fact, why)| format!("not found  {fact}: {why}")));
}

/// What an inspection found, the most telling first.
#[must_use]
pub fn found(facts: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(route) = &facts.route {
        let (hash, ago) = (route.spec_hash.short(), route.changed_s);
        lines.push(format!(
            "revision {hash} was written by {:?} {ago} s ago, {}",
            route.changed_by,
            owned(route.managed_by)
        ));
        lines.push(good(route.last_good.as_ref()));
    }
    if let Some(proxy) = &facts.proxy {
        let answers = if proxy.answering { "answers" } else { "does not answer" };
        let restarts = proxy.restarts;
        lines.push(
            format!("{} {answers}, {:?}, {restarts} restarts so far", proxy.container, proxy.sync)
                .to_lowercase(),
        );
    }
    if let Some(pod) = &facts.pod {
        let ready = if pod.ready { "ready" } else { "not ready" };
        let (kind, name) = (&pod.owner.kind, &pod.owner.name);
        lines.push(format!("the pod is {ready}, {} s old, of {kind} {name}", pod.age_s));
    }
    if let Some(found) = &facts.control_plane {
        let (ready, of) = (found.ready_replicas, found.replicas);
        lines.push(format!("{ready} of {of} replicas of {}/{} are ready", found.namespace, found.name));
    }
    if let Some(budget) = &facts.budget {
        lines.push(format!("budget {} allows {} disruptions", budget.name, budget.disruptions_allowed));
    }
    if let Some(rule) = &facts.destination_rule {
        let (namespace, name, owned) = (&rule.namespace, &rule.name, owned(rule.managed_by));
        lines.push(format!(
            "rule {namespace}/{name} is in force, revision {}, {owned}",
            rule.spec_hash.short()
        ));
    }
    if let Some(found) = &facts.certificate {
        let (left, revision) = (found.not_after_s, found.revision);
        lines.push(format!("the certificate ends in {left} s, revision {revision}"));
    }
    if let Some(traffic) = &facts.traffic {
        let mut line = format!(
            "{:.0} requests in {} s, error rate {:.4}",
            traffic.requests, traffic.window_s, traffic.error_rate
        );
        if let (Some(concurrency), Some(clients)) = (traffic.concurrency, traffic.clients) {
            line.push_str(&format!(", {concurrency:.1} under way from {clients} clients"));
        }
        lines.push(line);
    }
    lines
}

fn owned(by: ManagedBy) -> String {
    format!("owned by {}", if by == ManagedBy::None { "no tool" } else { by.as_str() })
}

fn good(good: Option<&LastGoodFacts>) -> String {
    good.map_or_else(
        || "no other revision is known to be good".to_owned(),
        |good| format!("last good revision {}, proven {} s ago", good.spec_hash.short(), good.age_s),
    )
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
