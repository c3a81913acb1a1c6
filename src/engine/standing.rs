//! Standing: whether a step whose outcome nobody knows was done, read from the state of the cluster and
//! never from a mark that a write might not have left.

use crate::model::action::Action;
use crate::model::facts::{Facts, Findings};
use crate::model::subject::Subject;

/// What the state says about a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was done.
    Done,
    /// It was surely not done.
    NotDone,
    /// Somebody else came in between; the words are for people.
    Other(String),
    /// Not to be seen from these findings: they are read again.
    Unknown,
}

/// The facts that tell whether a step was done.
pub(super) fn facts(action: &Action) -> &'static [&'static str] {
    match action {
        Action::RollbackRoute { target, .. } if target.kind == "DestinationRule" => &["destination_rule"],
        Action::RollbackRoute { .. } => &["route"],
        Action::RestartSidecar { .. } => &["pod", "proxy"],
        Action::EvictPod { .. } => &["pod"],
        Action::RolloutRestart { .. } => &["workload"],
        Action::ShedLoad { .. } | Action::Restore { .. } => &["destination_rule"],
        Action::RotateCertificate { .. } => &["certificate"],
        Action::Notify { .. } => &[],
    }
}

/// What these findings say about a step.
pub(super) fn of(action: &Action, findings: &Findings) -> Standing {
    let facts = &findings.facts;
    match action {
        Action::RollbackRoute { target, uid, from, to } => {
            let Some((found_uid, hash)) = spec_of(target, facts) else { return Standing::Unknown };
            if found_uid == *uid && hash == *to {
                Standing::Done
            } else if found_uid == *uid && hash == *from {
                Standing::NotDone
            } else {
                Standing::Other(format!("another revision is in force: {}", hash.short()))
            }
        }
        Action::RestartSidecar { uid, container_id, .. } => match (&facts.pod, &facts.proxy) {
            (Some(pod), _) if pod.uid != *uid => Standing::Other("the pod was replaced".to_owned()),
            (_, Some(proxy)) if proxy.container_id.is_empty() => Standing::Unknown,
            (Some(_), Some(proxy)) if proxy.container_id != *container_id => Standing::Done,
            (Some(_), Some(_)) => Standing::NotDone,
            _ => Standing::Unknown,
        },
        Action::EvictPod { uid, .. } => match &facts.pod {
            _ if findings.gone => Standing::Done,
            Some(pod) if pod.uid != *uid || pod.terminating => Standing::Done,
            Some(_) => Standing::NotDone,
            None => Standing::Unknown,
        },
        Action::RolloutRestart { uid, generation, restarted_at, .. } => match &facts.workload {
            Some(workload) if workload.uid != *uid => Standing::Other("the workload was replaced".to_owned()),
            // A scale raises the generation as well, and restarts nothing.
            Some(workload) if workload.generation > *generation && workload.restarted_at != *restarted_at => {
                Standing::Done
            }
            Some(_) => Standing::NotDone,
            None => Standing::Unknown,
        },
        Action::ShedLoad { .. } | Action::Restore { .. }
            if findings.missing.contains_key("destination_rule") =>
        {
            Standing::Unknown
        }
        Action::ShedLoad { target, .. } => shed(target, facts, Standing::Done, Standing::NotDone),
        Action::Restore { target, .. } => shed(target, facts, Standing::NotDone, Standing::Done),
        Action::RotateCertificate { uid, revision, .. } => match &facts.certificate {
            Some(found) if found.uid != *uid => Standing::Other("the certificate was replaced".to_owned()),
            Some(found) if found.issuing || found.revision > *revision => Standing::Done,
            Some(_) => Standing::NotDone,
            None => Standing::Unknown,
        },
        // A notification is told again rather than read back.
        Action::Notify { .. } => Standing::Unknown,
    }
}

/// Uid and hash of the routing object, from the fact that is about it.
fn spec_of(target: &Subject, facts: &Facts) -> Option<(String, crate::model::digest::Digest)> {
    if target.kind == "DestinationRule" {
        let rule = facts.destination_rule.as_ref()?;
        let same = rule.namespace == target.namespace && rule.name == target.name;
        return same.then(|| (rule.uid.clone(), rule.spec_hash));
    }
    facts.route.as_ref().map(|route| (route.uid.clone(), route.spec_hash))
}

/// Whether our limits are on the rule. What could not be read is unknown; no rule at all bears none.
fn shed(target: &Subject, facts: &Facts, on: Standing, off: Standing) -> Standing {
    match &facts.destination_rule {
        Some(rule) if rule.namespace != target.namespace || rule.name != target.name => {
            Standing::Other(format!("{}/{} is in force by now", rule.namespace, rule.name))
        }
        Some(rule) if rule.shed => on,
        Some(_) => off,
        None => off,
    }
}
