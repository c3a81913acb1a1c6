//! How often: limits per window, the rest of a target, and the attempts of an illness.

use super::Asked;
use super::findings::Findings;
use crate::engine::deadlines::seconds;
use crate::model::duration;
use crate::model::reason::Reason;

fn span(seconds: u64) -> String {
    duration::format(std::time::Duration::from_secs(seconds))
}

pub(super) fn limits(asked: &Asked<'_>, findings: &mut Findings) {
    if asked.ruling.limits.is_empty() {
        findings.passed("limit", "no policy sets one".to_owned());
    }
    for limit in &asked.ruling.limits {
        let (acts, free_at) = asked.case.state.ledger.within(limit.per, &asked.charge, limit.window_s);
        let per = limit.per.as_str();
        let (most, window, policy) = (limit.acts, span(limit.window_s), &limit.policy);
        let inputs = format!("{acts} of {most} acts per {per} in {window}, policy {policy}");
        if acts >= limit.acts {
            let per = per.to_owned();
            let reason = Reason::LimitReached { per, acts: limit.acts, window_s: limit.window_s };
            findings.held("limit", &inputs, reason, free_at);
        } else {
            findings.passed("limit", inputs);
        }
    }
}

pub(super) fn cooldown(asked: &Asked<'_>, findings: &mut Findings) {
    let (case, ruling) = (asked.case, &asked.ruling);
    let last = case.state.ledger.last_on(&asked.charge.target);
    let until = last.and_then(|at| at.saturating_add(seconds(ruling.cooldown_s)).ok());
    let since = last.map_or_else(|| "never acted on".to_owned(), |at| format!("last acted on at {at}"));
    let inputs = format!("{since}, rests {}, {}", span(ruling.cooldown_s), ruling.cooldown_from);
    match until.filter(|until| *until > case.at) {
        Some(until) => {
            let rest = until.duration_since(case.at).as_secs_f64().ceil();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
            let reason = Reason::CoolingDown { seconds: rest as u64 };
            findings.held("cooldown", &inputs, reason, Some(until));
        }
        None => findings.passed("cooldown", inputs),
    }
}

fn spent(asked: &Asked<'_>) -> (u32, u64) {
    let known = asked.case.state.attempts.get(&asked.case.incident.key.budget());
    known.map_or((0, 0), |entry| (entry.spent, entry.quiet_s))
}

/// Whether the key was healthy long enough since the last act to get its attempts back.
pub(super) fn refills(asked: &Asked<'_>) -> bool {
    let (spent, quiet_s) = spent(asked);
    spent > 0 && quiet_s >= asked.ruling.attempts.refill_s
}

pub(super) fn attempts(asked: &Asked<'_>, findings: &mut Findings) {
    let (spent, quiet_s) = spent(asked);
    let (rule, from) = (asked.ruling.attempts, &asked.ruling.attempts_from);
    let (max, refill) = (rule.max, span(rule.refill_s));
    let inputs = format!("{spent} of {max}, healthy for {} of {refill} since, {from}", span(quiet_s));
    if spent >= max && !refills(asked) {
        findings.refused("attempts", &inputs, Reason::AttemptsSpent { attempts: max });
    } else {
        findings.passed("attempts", inputs);
    }
}
