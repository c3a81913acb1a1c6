//! The shape of an act: what it makes of fresh facts, and what an error of each step means.

use super::wire::{Kind, Right, Trouble, Write};
use super::{Effectors, Specs};
use crate::cluster::told;
use crate::model::action::Action;
use crate::model::plan::{Direction, Outcome, Rehearsal};

/// A write as it would be sent, or why there is none.
pub(super) enum Prepared {
    /// Send this.
    Send(Box<Write>),
    /// The object is already as wanted.
    AlreadyDone,
    /// A precondition does not hold.
    Stale(String),
    /// Nothing of ours is left to take back.
    Moot(String),
    /// It cannot be done yet.
    NotYet(String),
    /// It cannot be done.
    Impossible(String),
}

impl Prepared {
    pub(super) fn send(write: Write) -> Self {
        Self::Send(Box::new(write))
    }

    pub(super) fn stale(why: &str) -> Self {
        Self::Stale(why.to_owned())
    }

    pub(super) fn moot(why: &str) -> Self {
        Self::Moot(why.to_owned())
    }

    pub(super) fn impossible(why: &str) -> Self {
        Self::Impossible(why.to_owned())
    }
}

/// For which incident and which way; a rehearsal comes before there is a step.
#[derive(Clone, Copy)]
pub(super) struct Errand<'e> {
    pub(super) incident: &'e str,
    pub(super) way: Direction,
    pub(super) specs: &'e Specs,
}

impl Effectors {
    /// Reads what the act is about and checks its preconditions.
    pub(super) async fn prepare(&self, action: &Action, errand: Errand<'_>) -> Result<Prepared, Trouble> {
        match action {
            Action::RollbackRoute { target, .. } => {
                let resource = Kind::of(target).map_or("routing objects", |kind| kind.resource);
                let prepared = self.prepare_rollback(action, errand.way, errand.specs).await;
                prepared.map_err(|error| Trouble {
                    right: Right { verb: "get", resource },
                    error: Box::new(error),
                })
            }
            Action::EvictPod { target, uid } => self.prepare_eviction(target, uid).await,
            Action::RolloutRestart { target, uid, generation, .. } => {
                self.prepare_rollout(target, uid, *generation).await
            }
            Action::ShedLoad { .. } => self.prepare_shed(action, errand.incident).await,
            Action::RotateCertificate { target, uid, revision } => {
                self.prepare_rotation(target, uid, *revision, errand.incident).await
            }
            Action::Restore { .. } => self.prepare_restore(action, errand.incident).await,
            // A restart is no write of an object, and people are told elsewhere.
            Action::RestartSidecar { .. } | Action::Notify { .. } => {
                Ok(Prepared::impossible("this action writes to no object"))
            }
        }
    }
}

/// An error before the write. What the server refused stays refused; its own trouble is none of the object's.
pub(super) fn not_sent(way: Direction, right: Right, error: &kube::Error) -> Outcome {
    let outcome = failed(right, error);
    let kube::Error::Api(status) = error else { return unsent(way, told(error)) };
    if status.code == 429 || status.code >= 500 {
        return unsent(way, format!("the API server could not be asked: {}", status.message));
    }
    outcome
}

/// Surely nothing was written. A step forward is looked at once more, from the facts on; an undo is still
/// owed, so the object is read again and it is tried again.
pub(super) fn unsent(way: Direction, why: String) -> Outcome {
    match way {
        Direction::Forward => Outcome::Stale { why },
        Direction::Undo => Outcome::Unknown { why },
    }
}

/// What an error of a write means. Only what the server surely did not do counts as failed.
pub(super) fn failed(right: Right, error: &kube::Error) -> Outcome {
    let kube::Error::Api(status) = error else { return Outcome::Unknown { why: told(error) } };
    let why = status.message.clone();
    match status.code {
        404 | 409 => Outcome::Stale { why },
        403 if denied_by_admission(&why) => Outcome::Failed { why: format!("denied by admission: {why}") },
        403 => {
            Outcome::Failed { why: format!("a right is missing ({} {}): {why}", right.verb, right.resource) }
        }
        // Too many requests: refused unread.
        429 => Outcome::Stale { why },
        ..=499 => Outcome::Failed { why },
        _ => Outcome::Unknown { why },
    }
}

/// What an error of a dry run says about the plan.
pub(super) fn refused(right: Right, error: &kube::Error, namespace: &str, diff: String) -> Rehearsal {
    let kube::Error::Api(status) = error else { return Rehearsal::Unreadable { why: told(error) } };
    match status.code {
        403 if denied_by_admission(&status.message) => {
            Rehearsal::Refused { why: format!("denied by admission: {}", status.message) }
        }
        403 => Rehearsal::Forbidden {
            verb: right.verb.to_owned(),
            resource: right.resource.to_owned(),
            namespace: namespace.to_owned(),
            diff,
        },
        // 5xx and 429 say nothing about the patch; everything else the server said about it.
        429 | 500.. => Rehearsal::Unreadable { why: status.message.clone() },
        _ => Rehearsal::Refused { why: status.message.clone() },
    }
}

/// A policy or a webhook may answer 403 as well. That is no missing right: more rights would not help.
fn denied_by_admission(message: &str) -> bool {
    message.contains("ValidatingAdmissionPolicy") || message.contains("admission webhook")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    const PATCH: Right = Right { verb: "patch", resource: "deployments.apps" };

    fn error(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status::failure(message, "X").with_code(code)))
    }

    // Mutations: a 5xx of a write taken for "nothing happened"; the verb of another act in a 403.
    #[test]
    fn only_what_surely_did_not_happen_counts_as_not_done() {
        let name = |code| failed(PATCH, &error(code, "no")).name();
        for (code, word) in [(404, "stale"), (409, "stale"), (429, "stale"), (400, "failed"), (422, "failed")]
        {
            assert_eq!(name(code), word, "{code}");
        }
        for code in [500, 502, 503, 504] {
            assert_eq!(name(code), "unknown", "{code}");
            // Before the write the same is no more than trouble of the server's own.
            assert_eq!(not_sent(Direction::Forward, PATCH, &error(code, "no")).name(), "stale");
            assert_eq!(not_sent(Direction::Undo, PATCH, &error(code, "no")).name(), "unknown");
        }
        let lost = kube::Error::Service("no answer within 10 s".into());
        assert_eq!(failed(PATCH, &lost).name(), "unknown");
        let Outcome::Failed { why } = failed(PATCH, &error(403, "no")) else { panic!("403 is refused") };
        assert!(why.contains("a right is missing (patch deployments.apps)"), "{why}");
    }

    // Mutation: reading every 403 as a missing right.
    #[test]
    fn a_denial_by_admission_is_no_missing_right() {
        let policy = "deployments.apps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: x";
        let Outcome::Failed { why } = failed(PATCH, &error(403, policy)) else { panic!("it is refused") };
        assert!(why.starts_with("denied by admission: "), "{why}");
        let rehearsal = refused(PATCH, &error(403, policy), "shop", String::new());
        assert!(matches!(rehearsal, Rehearsal::Refused { .. }), "{rehearsal:?}");
        let rehearsal = refused(PATCH, &error(403, "cannot patch"), "shop", String::new());
        assert!(matches!(rehearsal, Rehearsal::Forbidden { verb, .. } if verb == "patch"));
    }
}
