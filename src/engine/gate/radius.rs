//! How much at once: one act on a target or its owner at a time, and so many targets side by side.

use super::Asked;
use super::findings::Findings;
use crate::model::action::Action;
use crate::model::incident::Incident;
use crate::model::reason::Reason;
use crate::model::subject::Subject;
use crate::rules::Share;

fn others<'s>(asked: &'s Asked<'_>) -> impl Iterator<Item = &'s Incident> {
    asked.case.state.acting().filter(|other| other.id != asked.case.incident.id)
}

fn target(incident: &Incident) -> Option<&Subject> {
    incident.plan.as_ref()?.steps.iter().find_map(Action::target)
}

/// Two acts get into each other's way where their targets are equal, or where one target is the top owner of
/// the other: a workload that is rolled over takes its pods along. Members of one owner do not; how many of
/// them at once is a matter of the blast radius.
fn conflicts(asked: &Asked<'_>, other: &Incident) -> bool {
    let (mine, owner) = (&asked.charge.target, &asked.charge.key.owner);
    target(other).is_some_and(|theirs| theirs == mine || theirs == owner || other.key.owner == *mine)
}

pub(super) fn claim(asked: &Asked<'_>, findings: &mut Findings) {
    match others(asked).find(|other| conflicts(asked, other)) {
        Some(other) => {
            let reason = Reason::Claimed { incident: other.id.to_string() };
            findings.held("claim", "", reason, None);
        }
        None => {
            let (target, owner) = (&asked.charge.target, &asked.charge.key.owner);
            let owned = if target == owner { String::new() } else { format!(" or on {owner}") };
            findings.passed("claim", format!("nobody else acts on {target}{owned}"));
        }
    }
}

pub(super) fn concurrent(asked: &Asked<'_>, findings: &mut Findings) {
    let (charge, concurrent) = (&asked.charge, &asked.ruling.concurrent);
    let namespace = &charge.target.namespace;
    let near = |other: &&Incident| target(other).is_some_and(|target| target.namespace == *namespace);
    let same_owner = |other: &&Incident| other.key.owner == charge.key.owner;
    let population = &asked.case.incident.population;
    let domains: [(&str, u64, u64, &Share); 3] = [
        ("workload", count(others(asked).filter(same_owner)), population.workload, &concurrent.workload),
        ("namespace", count(others(asked).filter(near)), population.namespace, &concurrent.namespace),
        ("mesh", count(others(asked)), population.mesh, &concurrent.mesh),
    ];
    for ((domain, touched, of, share), from) in domains.into_iter().zip(&concurrent.from) {
        let allowed = share.allowed(of);
        let percent = share.share * 100.0;
        let bound = format!("{percent} % of {of}, at most {}, {from}", share.absolute);
        if touched >= allowed {
            let reason = Reason::ConcurrentReached { domain: domain.to_owned(), touched, allowed };
            findings.held("concurrent", &bound, reason, None);
        } else {
            findings.passed("concurrent", format!("{touched} of {allowed} in this {domain} ({bound})"));
        }
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    u64::try_from(items.count()).unwrap_or(u64::MAX)
}
