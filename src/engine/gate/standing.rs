//! Whether the act may be made at all: scope, dry run, freeze, mode, approval.

use super::Asked;
use super::findings::Findings;
use crate::engine::deadlines::REHEARSE_AGAIN;
use crate::model::plan::Rehearsal;
use crate::model::reason::Reason;
use crate::model::verdict::Mode;
use crate::rules::APPROVAL_EXPIRES_S;

pub(super) fn scope(asked: &Asked<'_>, findings: &mut Findings) {
    let ruling = &asked.ruling;
    match &ruling.excluded_by {
        Some(by) => {
            findings.refused("scope", "", Reason::OutOfScope { what: format!("excluded by {by}") });
        }
        None if ruling.in_scope => {
            findings.passed("scope", format!("policies: {}", ruling.policies.join(", ")));
        }
        None => {
            let reason = Reason::OutOfScope { what: "no policy covers it".to_owned() };
            findings.held("scope", "", reason, None);
        }
    }
}

pub(super) fn rehearsal(asked: &Asked<'_>, findings: &mut Findings) {
    match &asked.case.incident.rehearsal {
        None => findings.held("rehearsal", "", Reason::NotRehearsed, None),
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
            match asked.ruling.mode {
                Mode::Observe => findings.held("rehearsal", "", reason, None),
                Mode::Suggest | Mode::Enforce => findings.refused("rehearsal", "", reason),
            }
        }
        Some(Rehearsal::Refused { why }) => {
            findings.refused("rehearsal", "", Reason::RehearsalFailed { why: why.clone() });
        }
        Some(Rehearsal::Unreadable { why }) => {
            let reason = Reason::RehearsalFailed { why: why.clone() };
            findings.held("rehearsal", "", reason, Some(asked.case.after(REHEARSE_AGAIN)));
        }
    }
}

pub(super) fn freeze(asked: &Asked<'_>, findings: &mut Findings) {
    let Some(freeze) = &asked.ruling.frozen else {
        return findings.passed("freeze", format!("none of {} is in force", asked.ruling.freezes));
    };
    let reason = Reason::Frozen { policy: freeze.policy.clone(), reason: freeze.reason.clone() };
    let inputs = format!("{} to {}", freeze.from, freeze.to);
    findings.held("freeze", &inputs, reason, Some(asked.engine_time(freeze.to)));
}

pub(super) fn mode(asked: &Asked<'_>, findings: &mut Findings) {
    let ruling = &asked.ruling;
    let from = format!("{} by {}", ruling.mode, ruling.mode_from);
    let asks = match ruling.mode {
        // The freeze has said it, and until when.
        Mode::Observe if ruling.frozen.is_some() && ruling.mode_from.starts_with("a freeze") => {
            return findings.held_as_said("mode", from);
        }
        Mode::Observe => return findings.held("mode", &from, Reason::ModeObserve, None),
        Mode::Suggest => true,
        Mode::Enforce => ruling.approval.is_some(),
    };
    findings.passed("mode", from);
    if asks {
        approval(asked, findings);
    }
}

fn approval(asked: &Asked<'_>, findings: &mut Findings) {
    let (case, rule) = (asked.case, asked.ruling.approval.as_ref());
    let granted = case.incident.approval.as_ref().and_then(|approval| {
        let same = case.incident.plan.as_ref().is_some_and(|plan| plan.identity() == approval.plan);
        approval.granted_by.as_ref().filter(|_| same && case.at < approval.expires)
    });
    match granted {
        Some(by) => findings.passed("approval", format!("approved by {by}")),
        None => {
            let from = rule.map_or("default", |rule| rule.policy.as_str());
            findings.asks(from, rule.map_or(APPROVAL_EXPIRES_S, |rule| rule.expires_s));
        }
    }
}
