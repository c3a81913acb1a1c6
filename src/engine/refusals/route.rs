//! What speaks against putting a routing object back.

use super::{named, need};
use crate::model::digest::Digest;
use crate::model::facts::{DestinationRuleFacts, Facts, LastGoodFacts, ManagedBy, RouteFacts};
use crate::model::reason::Reason;
use crate::model::subject::Subject;

/// Refuses a rollback that the facts do not bear. What is expected: uid, revision in force, revision wanted.
///
/// # Errors
/// The first reason that speaks against it.
pub(super) fn check(
    target: &Subject,
    expected: (&String, &Digest, &Digest),
    subject: &Subject,
    facts: &Facts,
) -> Result<(), Reason> {
    let (uid, from, to) = expected;
    if target.kind == "DestinationRule" {
        let found = need(facts.destination_rule.as_ref(), "destination_rule")?;
        let same = target.namespace == found.namespace && target.name == found.name;
        named(same && *uid == found.uid && *from == found.spec_hash)?;
        return rule(found, to);
    }
    let found = need(facts.route.as_ref(), "route")?;
    let same = target == subject && target.namespace == found.namespace && target.name == found.name;
    named(same && *uid == found.uid && *from == found.spec_hash)?;
    rollback(found, to)
}

fn rule(rule: &DestinationRuleFacts, to: &Digest) -> Result<(), Reason> {
    if rule.managed_by != ManagedBy::None {
        return Err(Reason::Managed { by: rule.managed_by.as_str().to_owned() });
    }
    if rule.shed {
        return Err(Reason::AlreadyShed);
    }
    if !rule.others.is_empty() {
        return Err(Reason::SeveralRules { others: rule.others.join(", ") });
    }
    if rule.current_good {
        return Err(Reason::CurrentIsGood);
    }
    match rule.last_good.as_ref().filter(|good| good.spec_hash == *to) {
        Some(good) => leads(good),
        None => Err(Reason::NoGoodRevision),
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
    leads(good)
}

/// The same for a rule, which may be good without any subset.
fn leads(good: &LastGoodFacts) -> Result<(), Reason> {
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
