//! What no playbook can talk us into. These checks stand in Rust, beside those that scripts make in words.

use crate::model::action::Action;
use crate::model::digest::Digest;
use crate::model::facts::{Facts, LastGoodFacts, ManagedBy, RouteFacts};
use crate::model::reason::Reason;
use crate::model::subject::Subject;

/// Refuses a step that the facts do not bear.
///
/// # Errors
/// The first reason that speaks against it.
pub(super) fn check(step: &Action, subject: &Subject, facts: &Facts) -> Result<(), Reason> {
    match step {
        Action::Notify { .. } => Ok(()),
        Action::RestartSidecar { .. }
        | Action::EvictPod { .. }
        | Action::RolloutRestart { .. }
        | Action::ShedLoad { .. }
        | Action::RotateCertificate { .. }
        | Action::Restore { .. } => Err(Reason::InvalidPlan { text: "this act is not wired yet".to_owned() }),
        Action::RollbackRoute { target, uid, from, to } => {
            let Some(route) = &facts.route else {
                let why = "a rollback needs it".to_owned();
                return Err(Reason::FactUnknown { fact: "route".to_owned(), why });
            };
            let names_facts = target == subject
                && target.namespace == route.namespace
                && target.name == route.name
                && *uid == route.uid
                && *from == route.spec_hash;
            if !names_facts {
                let text = "it names another object or revision than the facts".to_owned();
                return Err(Reason::InvalidPlan { text });
            }
            rollback(route, to)
        }
    }
}

fn rollback(route: &RouteFacts, to: &Digest) -> Result<(), Reason> {
    if route.managed_by != ManagedBy::None {
        return Err(Reason::Managed { by: route.managed_by.as_str().to_owned() });
    }
    if route.delegate {
        return Err(Reason::Delegates);
    }
    if route.wildcard {
        return Err(Reason::WildcardHost);
    }
    if let Some(by) = route.shadowed_by.first() {
        return Err(Reason::NotInForce { by: by.clone() });
    }
    if route.current_good {
        return Err(Reason::CurrentIsGood);
    }
    let Some(good) = route.last_good.as_ref().filter(|good| good.spec_hash == *to) else {
        return Err(Reason::NoGoodRevision);
    };
    destinations(good)
}

/// Every destination with weight is defined and has at least half of the ready endpoints it had when
/// proven, and at least one.
fn destinations(good: &LastGoodFacts) -> Result<(), Reason> {
    if good.destinations.is_empty() {
        return Err(Reason::InvalidPlan { text: "the good revision leads nowhere".to_owned() });
    }
    for destination in good.destinations.iter().filter(|destination| destination.weight > 0) {
        let host = destination.host.clone();
        let subset = destination.subset.clone().unwrap_or_default();
        if !destination.defined {
            return Err(Reason::UndefinedSubset { host, subset });
        }
        let needed = destination.ready_when_proven.unwrap_or(0).div_ceil(2).max(1);
        if destination.ready < needed {
            return Err(Reason::TooFewEndpoints { host, subset, ready: destination.ready, needed });
        }
    }
    Ok(())
}
