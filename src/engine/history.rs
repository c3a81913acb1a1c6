//! History: revisions of routes, and which of them is the last known good one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::case::Case;
use super::deadlines::{KEYS_KEPT, REVISIONS_KEPT};
use super::state::State;
use crate::model::change::Change;
use crate::model::digest::Digest;
use crate::model::history::{
    FIELD_MANAGER, LastGood, Proof, Revision, RevisionProven, RevisionSeen, Standing,
};
use crate::model::incident::Phase;
use crate::model::reason::Reason;
use crate::model::subject::Subject;
use crate::rules::Rules;

/// What is known about one route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteHistory {
    /// Uid of the object.
    pub uid: String,
    /// Hash of the spec in force; `None` while the object does not exist.
    pub in_force: Option<Digest>,
    /// Since when it has been in force.
    pub since: Option<Timestamp>,
    /// Revisions, oldest first sight first.
    pub revisions: Vec<Revision>,
    /// When the object vanished; `None` while it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_at: Option<Timestamp>,
    /// Specs that we wrote ourselves: they never become good by carrying traffic.
    pub ours: Vec<Digest>,
}

impl RouteHistory {
    /// A revision by its hash.
    #[must_use]
    pub fn revision(&self, spec_hash: &Digest) -> Option<&Revision> {
        self.revisions.iter().find(|revision| revision.spec_hash == *spec_hash)
    }

    fn revision_mut(&mut self, spec_hash: &Digest) -> Option<&mut Revision> {
        self.revisions.iter_mut().find(|revision| revision.spec_hash == *spec_hash)
    }
}

/// The good revisions of a route, newest first, with the uid of the object they belong to.
pub(super) fn good_revisions(state: &State, subject: &Subject) -> (String, Vec<LastGood>) {
    let Some(route) = state.routes.get(subject) else { return (String::new(), Vec::new()) };
    let good = route.revisions.iter().filter_map(|revision| match &revision.standing {
        Standing::Good { at, destinations, .. } => Some(LastGood {
            spec_hash: revision.spec_hash,
            at: *at,
            manager: revision.manager.clone(),
            destinations: destinations.clone(),
        }),
        Standing::Seen | Standing::Bad { .. } => None,
    });
    let mut good: Vec<LastGood> = good.collect();
    good.sort_by_key(|revision| std::cmp::Reverse(revision.at));
    (route.uid.clone(), good)
}

/// A revision was seen. Seeing the one in force again changes nothing.
pub(super) fn seen(state: &State, revision: &RevisionSeen) -> Vec<Change> {
    let known = state.routes.get(&revision.subject);
    let same =
        known.is_some_and(|route| route.in_force == Some(revision.spec_hash) && route.uid == revision.uid);
    if same { Vec::new() } else { vec![Change::RevisionInForce { revision: revision.clone() }] }
}

/// A revision earned trust by traffic, or a person gave it.
pub(super) fn proven(state: &State, now: Timestamp, proven: &RevisionProven) -> Vec<Change> {
    let Some(route) = state.routes.get(&proven.subject) else { return Vec::new() };
    let Some(revision) = route.revision(&proven.spec_hash) else { return Vec::new() };
    let by_traffic = matches!(proven.proof, Proof::Traffic { .. });
    if let Standing::Good { at, .. } = revision.standing {
        // Good again, since it came back into force: it is the last known good one now. A person's word
        // always counts anew.
        let again = route.in_force == Some(proven.spec_hash) && route.since.is_some_and(|since| at < since);
        if (by_traffic && !again) || now <= at {
            return Vec::new();
        }
    }
    let earns = route.in_force == Some(proven.spec_hash)
        && !revision.managed_by.is_canary()
        && !route.ours.contains(&proven.spec_hash)
        // A new journal does not remember what we wrote; the object does.
        && revision.manager != FIELD_MANAGER
        // Traffic does not acquit a revision that an incident was attributed to; a person may.
        && !matches!(revision.standing, Standing::Bad { .. });
    if by_traffic && !earns {
        return Vec::new();
    }
    vec![Change::RevisionGood {
        subject: proven.subject.clone(),
        spec_hash: proven.spec_hash,
        proof: proven.proof.clone(),
        destinations: proven.destinations.clone(),
    }]
}

/// A route vanished: its waiting cases are over.
pub(super) fn gone(state: &State, rules: &Rules, at: Timestamp, subject: &Subject) -> Vec<Change> {
    if state.routes.get(subject).is_none_or(|route| route.in_force.is_none()) {
        return Vec::new();
    }
    let mut changes = vec![Change::RouteForgotten { subject: subject.clone() }];
    changes.extend(end_waiting(state, rules, at, subject));
    changes
}

/// A subject vanished: its waiting cases are over, and it counts as ill no more. One that is acting goes on to
/// its end: the act may be why the subject is gone.
pub(super) fn end_waiting(state: &State, rules: &Rules, at: Timestamp, subject: &Subject) -> Vec<Change> {
    let waiting = state
        .open_incidents()
        .filter(|incident| incident.subject == *subject && !incident.phase.is_acting())
        .filter_map(|incident| Case::of(state, rules, at, &incident.id));
    let mut changes: Vec<Change> =
        waiting.flat_map(|case| case.end(Phase::Gone, Reason::SubjectGone)).collect();
    if state.is_left_ill(subject) {
        changes.push(Change::SubjectVanished { subject: subject.clone() });
    }
    changes
}

/// Folds the changes of routes; `apply` hands over no others.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others belong to incidents and the process")]
pub(super) fn fold(routes: &mut BTreeMap<Subject, RouteHistory>, at: Timestamp, change: &Change) {
    match change {
        Change::RevisionInForce { revision } => {
            let route = routes.entry(revision.subject.clone()).or_default();
            if route.uid != revision.uid {
                // A replacement of the same name is another object with a history of its own.
                *route = RouteHistory { uid: revision.uid.clone(), ..RouteHistory::default() };
            }
            (route.in_force, route.since, route.gone_at) = (Some(revision.spec_hash), Some(at), None);
            if route.revision(&revision.spec_hash).is_none() {
                route.revisions.push(Revision {
                    spec_hash: revision.spec_hash,
                    manager: revision.manager.clone(),
                    managed_by: revision.managed_by,
                    seen_at: at,
                    standing: Standing::Seen,
                });
            }
            prune(route);
        }
        Change::RevisionGood { subject, spec_hash, proof, destinations } => {
            if let Some(revision) = routes.get_mut(subject).and_then(|route| route.revision_mut(spec_hash)) {
                let (proof, destinations) = (proof.clone(), destinations.clone());
                revision.standing = Standing::Good { at, proof, destinations };
            }
        }
        Change::RevisionBad { subject, spec_hash, incident } => {
            if let Some(revision) = routes.get_mut(subject).and_then(|route| route.revision_mut(spec_hash)) {
                revision.standing = Standing::Bad { incident: incident.to_string() };
            }
        }
        Change::RevisionOurs { subject, spec_hash } => {
            if let Some(route) = routes.get_mut(subject).filter(|route| !route.ours.contains(spec_hash)) {
                route.ours.push(*spec_hash);
            }
        }
        Change::RouteForgotten { subject } => {
            if let Some(route) = routes.get_mut(subject) {
                (route.in_force, route.gone_at) = (None, Some(at));
            }
            let oldest = at.saturating_sub(KEYS_KEPT).unwrap_or(Timestamp::MIN);
            routes.retain(|_, route| route.gone_at.is_none_or(|gone| gone > oldest));
        }
        _ => {}
    }
}

/// Drops the oldest revision beyond the cap, never the one in force nor the newest good one.
fn prune(route: &mut RouteHistory) {
    while route.revisions.len() > REVISIONS_KEPT {
        let good_at = |revision: &Revision| match revision.standing {
            Standing::Good { at, .. } => Some(at),
            Standing::Seen | Standing::Bad { .. } => None,
        };
        let good = route.revisions.iter().enumerate().filter(|(_, revision)| good_at(revision).is_some());
        let newest_good = good.max_by_key(|(_, revision)| good_at(revision)).map(|(index, _)| index);
        let oldest = route.revisions.iter().enumerate().position(|(index, revision)| {
            Some(index) != newest_good && Some(revision.spec_hash) != route.in_force
        });
        let Some(oldest) = oldest else { return };
        route.revisions.remove(oldest);
    }
}
