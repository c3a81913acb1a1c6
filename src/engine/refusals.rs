//! What no playbook can talk us into. These checks stand in Rust, beside those that scripts make in words.

mod pod;
mod route;
mod shed;

use crate::model::action::Action;
use crate::model::facts::{CertificateFacts, Facts};
use crate::model::incident::Incident;
use crate::model::reason::Reason;

/// Above this share of its life, in percent, nobody has to hurry a certificate: cert-manager renews at a
/// third by itself.
const DUE_PERCENT: i64 = 34;

/// Refuses a step that the facts do not bear. `asked` tells which facts the playbook asks for: a check whose
/// fact was never read would pass for nothing.
///
/// # Errors
/// The first reason that speaks against it.
pub(super) fn check(
    step: &Action,
    incident: &Incident,
    facts: &Facts,
    asked: &dyn Fn(&str) -> bool,
) -> Result<(), Reason> {
    let needed: &[&str] = match step {
        Action::Notify { .. } => &[],
        Action::RollbackRoute { target, .. } if target.kind == "DestinationRule" => &["destination_rule"],
        Action::RollbackRoute { .. } => &["route"],
        Action::RestartSidecar { .. } => &["pod", "proxy", "control_plane", "budget"],
        Action::EvictPod { .. } => &["pod", "control_plane", "budget"],
        Action::RolloutRestart { .. } => &["workload", "control_plane"],
        Action::ShedLoad { .. } => &["destination_rule", "traffic"],
        Action::RotateCertificate { .. } => &["certificate"],
        Action::Restore { .. } => return invalid("a restore is never planned"),
    };
    if let Some(fact) = needed.iter().find(|fact| !asked(fact)) {
        return invalid(&format!("{} must know {fact}: add it to needs in about()", step.name()));
    }
    match step {
        Action::Notify { .. } | Action::Restore { .. } => Ok(()),
        Action::RollbackRoute { target, uid, from, to } => {
            route::check(target, (uid, from, to), &incident.subject, facts)
        }
        Action::RestartSidecar { .. } => pod::restart(step, incident, facts),
        Action::EvictPod { target, uid } => pod::evict((target, uid), incident, facts),
        Action::RolloutRestart { target, uid, generation, .. } => {
            pod::rollout((target, uid, *generation), incident, facts)
        }
        Action::ShedLoad { .. } => shed::check(step, &incident.subject, facts),
        Action::RotateCertificate { target, uid, revision } => {
            let found = need(facts.certificate.as_ref(), "certificate")?;
            let same = target.namespace == found.namespace && target.name == found.name;
            named(same && *uid == found.uid && *revision == found.revision)?;
            certificate(found)
        }
    }
}

fn certificate(found: &CertificateFacts) -> Result<(), Reason> {
    if found.issuing {
        return Err(Reason::AlreadyIssuing);
    }
    if !found.issuer_ready {
        return Err(Reason::IssuerNotReady);
    }
    let left = 100 * found.not_after_s.max(0) / found.life_s.max(1);
    if left > DUE_PERCENT && found.renewal_s > 0 {
        return Err(Reason::NotDue { left_percent: u32::try_from(left).unwrap_or(100) });
    }
    Ok(())
}

/// A fact that the act cannot do without.
fn need<'f, T>(fact: Option<&'f T>, name: &str) -> Result<&'f T, Reason> {
    let why = || "the act needs it, and there is none".to_owned();
    fact.ok_or_else(|| Reason::FactUnknown { fact: name.to_owned(), why: why() })
}

/// A script names what the facts name, or the plan is not one.
fn named(same: bool) -> Result<(), Reason> {
    if same { Ok(()) } else { invalid("it names another object or revision than the facts") }
}

fn invalid(text: &str) -> Result<(), Reason> {
    Err(Reason::InvalidPlan { text: text.to_owned() })
}
