//! Execute: the one place that writes to the cluster. Every write needs a permit.

use super::{Effectors, Prepared, Run, Specs, mutated};
use crate::cluster::{resource, told};
use crate::engine::gate::Permit;
use crate::model::action::Action;
use crate::model::effect::Execute;
use crate::model::plan::{Direction, Outcome};
use crate::model::subject::Subject;

impl Effectors {
    /// Does one step: fresh facts, preconditions, dry run, permit, write.
    ///
    /// The permit is taken by value: it is used up by the step it permits.
    pub async fn execute(&self, execute: &Execute, permit: Permit, specs: &Specs) -> Outcome {
        let (body, target) = match self.prepare(&execute.action, execute.direction, specs).await {
            Ok(Prepared::Patch { body, route, .. }) => (body, route.subject),
            Ok(Prepared::AlreadyDone) => return Outcome::AlreadyDone,
            Ok(Prepared::Stale(why) | Prepared::NotYet(why)) => return Outcome::Stale { why },
            Ok(Prepared::Impossible(why)) => return Outcome::Failed { why },
            Err(error) => return not_sent(execute, &error),
        };
        match self.patch(&target, &body, Run::Dry).await {
            Ok(answer) => {
                if let Some(why) = mutated(&answer, &execute.action) {
                    return Outcome::Failed { why };
                }
            }
            Err(error) => return not_sent(execute, &error),
        }
        // The last thing before the write, so that nothing slow can come in between.
        if let Err(why) = permit.covers(execute, self.clock.now()) {
            return unsent(execute.direction, why);
        }
        match self.patch(&target, &body, Run::Real).await {
            Ok(answer) => match mutated(&answer, &execute.action) {
                None => Outcome::Done { detail: done(&execute.action) },
                // Written, but not what was wanted: what is in force now has to be read.
                Some(why) => Outcome::Unknown { why },
            },
            Err(error) => failed(&target, &error),
        }
    }
}

fn done(action: &Action) -> String {
    match action {
        Action::RollbackRoute { to, .. } => format!("revision {} restored", to.short()),
        Action::RestartSidecar { .. }
        | Action::EvictPod { .. }
        | Action::RolloutRestart { .. }
        | Action::ShedLoad { .. }
        | Action::RotateCertificate { .. }
        | Action::Restore { .. }
        | Action::Notify { .. } => String::new(),
    }
}

/// An error before the write. What the server refused stays refused; its own trouble is none of the object's.
fn not_sent(execute: &Execute, error: &kube::Error) -> Outcome {
    let way = execute.direction;
    let kube::Error::Api(status) = error else { return unsent(way, told(error)) };
    if status.code == 429 || status.code >= 500 {
        return unsent(way, format!("the API server could not be asked: {}", status.message));
    }
    match execute.action.target() {
        Some(target) => failed(target, error),
        None => Outcome::Failed { why: status.message.clone() },
    }
}

/// Surely nothing was written. A step forward is looked at once more, from the facts on; an undo is still
/// owed, so the object is read again and it is tried again.
fn unsent(way: Direction, why: String) -> Outcome {
    match way {
        Direction::Forward => Outcome::Stale { why },
        Direction::Undo => Outcome::Unknown { why },
    }
}

/// What an error of a write means. Only what the server surely did not do counts as failed.
fn failed(target: &Subject, error: &kube::Error) -> Outcome {
    let kube::Error::Api(status) = error else { return Outcome::Unknown { why: told(error) } };
    let why = status.message.clone();
    match status.code {
        404 | 409 => Outcome::Stale { why },
        403 => Outcome::Failed { why: format!("a right is missing (patch {}): {why}", resource(target)) },
        // Too many requests: refused unread.
        429 => Outcome::Stale { why },
        ..=499 => Outcome::Failed { why },
        _ => Outcome::Unknown { why },
    }
}
