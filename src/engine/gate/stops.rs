//! What holds all new acts for a while: the end of the process, operators, windows, storms and breakers.
//! None of them is asked when harm is taken back.

use jiff::{SignedDuration, Timestamp};

use super::Asked;
use super::findings::Findings;
use crate::model::duration;
use crate::model::reason::Reason;
use crate::model::storm::{Domain, Storm};
use crate::rules::{BreakerRule, StormBound, opening};

impl Asked<'_> {
    /// The time by the wall clock, which windows and freezes are about. Engine time goes on evenly from the
    /// start of the run; jumps of the wall clock since then were recorded.
    pub(super) fn wall_time(&self) -> Timestamp {
        super::wall_time(self.case.state, self.case.at)
    }

    /// The engine's time at which the wall clock will show this.
    pub(super) fn engine_time(&self, wall: Timestamp) -> Timestamp {
        wall.saturating_sub(SignedDuration::from_secs(self.case.state.skew_s)).unwrap_or(wall)
    }
}

pub(super) fn process(asked: &Asked<'_>, findings: &mut Findings) {
    if asked.case.state.draining {
        findings.held("process", "", Reason::Draining, None);
    } else if asked.case.state.clock_jumped.is_some() {
        findings.held("process", "", Reason::ClockJumped, None);
    } else if asked.case.state.full {
        findings.held("process", "", Reason::JournalFull, None);
    } else {
        findings.passed("process", "running, and the clock is steady".to_owned());
    }
}

pub(super) fn pause(asked: &Asked<'_>, findings: &mut Findings) {
    let (at, charge) = (asked.case.at, &asked.charge);
    let all = &asked.case.state.pauses;
    let reaching = all.iter().filter(|pause| pause.reach.reaches(&charge.playbook, &charge.target));
    match reaching.filter(|pause| at < pause.until).max_by_key(|pause| pause.until) {
        Some(pause) => {
            let (by, reason) = (pause.by.clone(), pause.reason.clone());
            let reason = Reason::Paused { what: pause.reach.to_string(), by, reason };
            findings.held("pause", &format!("until {}", pause.until), reason, Some(pause.until));
        }
        None => findings.passed("pause", format!("none of {} reaches it", all.len())),
    }
}

pub(super) fn window(asked: &Asked<'_>, findings: &mut Findings) {
    let (now, tables) = (asked.wall_time(), &asked.ruling.windows);
    let mut closed = tables.iter().filter_map(|table| table.closed(now));
    let Some(first) = closed.next() else {
        let names: Vec<&str> = tables.iter().map(|table| table.policy.as_str()).collect();
        let names = if names.is_empty() { "no policy sets one".to_owned() } else { names.join(", ") };
        return findings.passed("window", format!("open at {now}: {names}"));
    };
    let opens = opening(tables.iter().map(AsRef::as_ref), now);
    let inputs = match opens {
        Some(at) => format!("now {now}, opens {at}"),
        None => format!("now {now}, never opens: look at meshmend windows"),
    };
    let reason = Reason::OutsideWindow { policy: first.policy, window: first.window };
    findings.held("window", &inputs, reason, opens.map(|at| asked.engine_time(at)));
}

pub(super) fn storm(asked: &Asked<'_>, findings: &mut Findings) {
    let (subject, rule) = (&asked.case.incident.subject, &asked.ruling.storm);
    let population = &asked.case.incident.population;
    // Who is ill counts, where it is ill: the rule that is written for a service may lie elsewhere.
    let namespace = Domain::of(subject, Some(&subject.namespace));
    let domains = [
        (namespace, population.namespace, &rule.namespace, &rule.from[0]),
        (Domain::of(subject, None), population.mesh, &rule.mesh, &rule.from[1]),
    ];
    for (domain, of, bound, from) in domains {
        storm_in(asked, findings, (domain, of), (bound, from));
    }
}

fn storm_in(
    asked: &Asked<'_>,
    findings: &mut Findings,
    (domain, of): (Domain, u64),
    (bound, from): (&StormBound, &str),
) {
    let (state, at) = (asked.case.state, asked.case.at);
    let ill = state.ill(&domain);
    let known = state.storms.iter().find(|storm| storm.domain == domain);
    let known = known.filter(|storm| storm.over_at().is_none_or(|over| at < over));
    let most = known.map_or_else(|| bound.bound(of), |storm| storm.bound);
    let percent = bound.share * 100.0;
    let inputs = format!(
        "{ill} {domain} ill, storm from {most}: {percent} % of {of}, at least {}, {from}",
        bound.least
    );
    let name = domain.to_string();
    match known.map(Storm::over_at) {
        Some(Some(over)) => {
            findings.held("storm", &inputs, Reason::AfterStorm { domain: name }, Some(over));
        }
        None if ill < most => findings.passed("storm", inputs),
        lasting => {
            let reason = Reason::Storm { domain: name, ill, bound: most };
            findings.held("storm", &inputs, reason, None);
            if lasting.is_none() && asked.ruling.in_scope {
                findings.storms.push(Storm {
                    domain,
                    since: at,
                    incident: asked.case.id(),
                    ill,
                    of,
                    bound: most,
                    cooldown_s: asked.ruling.storm.cooldown_s,
                    calm_since: None,
                });
            }
        }
    }
}

pub(super) fn breaker(asked: &Asked<'_>, findings: &mut Findings) {
    if asked.ruling.breakers.is_empty() {
        findings.passed("breaker", "no policy sets one".to_owned());
    }
    for rule in &asked.ruling.breakers {
        breaker_of(asked, findings, rule);
    }
}

fn breaker_of(asked: &Asked<'_>, findings: &mut Findings, rule: &BreakerRule) {
    let (state, at) = (asked.case.state, asked.case.at);
    let known = state.breaker(&rule.policy, &asked.charge.playbook);
    let failures = known.map_or(0, |breaker| breaker.within(rule.window_s, at));
    let window = duration::format(std::time::Duration::from_secs(rule.window_s));
    let (most, policy) = (rule.failures, rule.policy.clone());
    let inputs = format!("{failures} of {most} failures in {window}, policy {policy}");
    let Some((breaker, until)) = known.and_then(|breaker| Some((breaker, breaker.open_until?))) else {
        return findings.passed("breaker", inputs);
    };
    if at < until {
        let reason = Reason::BreakerOpen { policy, failures };
        return findings.held("breaker", &format!("{inputs}, until {until}"), reason, Some(until));
    }
    match breaker.trial.as_ref().filter(|trial| **trial != asked.case.incident.id) {
        Some(other) => {
            let reason = Reason::TrialRuns { policy, incident: other.to_string() };
            findings.held("breaker", &inputs, reason, None);
        }
        None => {
            findings.trials.push(policy);
            findings.passed("breaker", format!("{inputs}: open until {until}, this one may try"));
        }
    }
}
