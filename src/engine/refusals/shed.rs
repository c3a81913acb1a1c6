//! What speaks against shedding load.

use super::{invalid, named, need};
use crate::model::action::Action;
use crate::model::facts::{Facts, ManagedBy};
use crate::model::reason::Reason;
use crate::model::subject::Subject;

/// Refuses a shed that the facts do not bear.
///
/// # Errors
/// The first reason that speaks against it.
pub(super) fn check(step: &Action, subject: &Subject, facts: &Facts) -> Result<(), Reason> {
    let Action::ShedLoad { target, uid, from, host, .. } = step else { return Ok(()) };
    if subject.kind != "Service" {
        return invalid("load is shed for a Service");
    }
    named(*host == format!("{}.{}.svc.cluster.local", subject.name, subject.namespace))?;
    if let Some(ready) = facts.traffic.as_ref().and_then(|traffic| traffic.ready_endpoints)
        && ready < 2
    {
        return Err(Reason::TooFewToShed { ready });
    }
    let Some(rule) = &facts.destination_rule else {
        // None matches, and that was looked for: the fact was asked for and is not among the missing.
        let fresh = uid.is_empty() && from.is_none() && target.namespace == subject.namespace;
        return named(fresh);
    };
    if uid.is_empty() {
        // A second rule would be ignored, or take the place of the first with its subsets.
        return Err(Reason::SeveralRules { others: format!("{}/{}", rule.namespace, rule.name) });
    }
    let same = target.namespace == rule.namespace && target.name == rule.name && *host == rule.host;
    named(same && *uid == rule.uid && *from == Some(rule.spec_hash))?;
    if rule.managed_by != ManagedBy::None {
        return Err(Reason::Managed { by: rule.managed_by.as_str().to_owned() });
    }
    if rule.shed {
        return Err(Reason::AlreadyShed);
    }
    if !rule.others.is_empty() {
        return Err(Reason::SeveralRules { others: rule.others.join(", ") });
    }
    if rule.outlier.is_some() {
        return Err(Reason::Ejecting);
    }
    need(facts.traffic.as_ref(), "traffic").map(|_| ())
}
