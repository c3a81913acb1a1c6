//! Execute: the one place that writes to the cluster. Every write needs a permit.

use super::act::{Errand, Prepared, failed, not_sent, unsent};
use super::evict;
use super::wire::{Run, Write};
use super::{Effectors, Specs};
use crate::engine::gate::Permit;
use crate::model::action::Action;
use crate::model::effect::Execute;
use crate::model::plan::{Direction, Outcome};

/// How often a write that raced with others is prepared anew, where the others are known to write often and
/// elsewhere in the object. Each try is a read and two requests, so that three fit into a permit.
const RACES: usize = 3;

/// What came of one try.
enum Tried {
    Ended(Outcome),
    /// Refused because somebody else wrote since we read: surely nothing was written.
    Raced(Outcome),
}

impl Effectors {
    /// Does one step: fresh facts, preconditions, dry run, brake, permit, write.
    ///
    /// The permit is taken by value: it is used up by the step it permits.
    pub async fn execute(&self, execute: &Execute, permit: Permit, specs: &Specs) -> Outcome {
        if let Action::RestartSidecar { .. } = &execute.action {
            return self.restart_sidecar(execute, &permit).await;
        }
        // cert-manager writes the same status all the time, about something else.
        let races = if matches!(execute.action, Action::RotateCertificate { .. }) { RACES } else { 1 };
        for _ in 1..races {
            match self.attempt(execute, &permit, specs).await {
                Tried::Ended(outcome) => return outcome,
                Tried::Raced(_) => {}
            }
        }
        match self.attempt(execute, &permit, specs).await {
            Tried::Ended(outcome) | Tried::Raced(outcome) => outcome,
        }
    }

    async fn attempt(&self, execute: &Execute, permit: &Permit, specs: &Specs) -> Tried {
        let way = execute.direction;
        let incident = execute.incident.to_string();
        let errand = Errand { incident: &incident, way, specs };
        let write = match self.prepare(&execute.action, errand).await {
            Ok(Prepared::Send(write)) => write,
            Ok(Prepared::AlreadyDone) => return Tried::Ended(Outcome::AlreadyDone),
            Ok(Prepared::Moot(why)) => return Tried::Ended(Outcome::Moot { why }),
            // Somebody came in between: what was rolled back is theirs now.
            Ok(Prepared::Stale(why)) if is_theirs(execute) => return Tried::Ended(Outcome::Moot { why }),
            Ok(Prepared::Stale(why) | Prepared::NotYet(why)) => return Tried::Ended(Outcome::Stale { why }),
            Ok(Prepared::Impossible(why)) => return Tried::Ended(Outcome::Failed { why }),
            Err(trouble) => return Tried::Ended(not_sent(way, trouble.right, &trouble.error)),
        };
        match self.wire.send(&write, Run::Dry).await {
            Ok(answer) => {
                if let Some(why) = write.expect.unmet(&answer) {
                    return Tried::Ended(Outcome::Failed { why });
                }
            }
            Err(error) => return ended(&write, &error, not_sent(way, write.right, &error)),
        }
        if let Err(why) = self.writes.pass_within(self.clock.until(permit.not_after())).await {
            return Tried::Ended(unsent(way, why));
        }
        // The last thing before the write, so that nothing slow can come in between.
        if let Err(why) = permit.covers(execute, self.clock.now()) {
            return Tried::Ended(unsent(way, why));
        }
        match self.wire.send(&write, Run::Real).await {
            Ok(answer) => Tried::Ended(match write.expect.unmet(&answer) {
                None => Outcome::Done { detail: write.done },
                // Written, but not what was wanted: what is in force now has to be read.
                Some(why) => Outcome::Unknown { why },
            }),
            Err(error) => ended(&write, &error, failed(write.right, &error)),
        }
    }
}

/// Whether nothing of ours is left once a precondition does not hold. What bears a mark is ours as long as it
/// bears it.
fn is_theirs(execute: &Execute) -> bool {
    execute.direction == Direction::Undo && matches!(execute.action, Action::RollbackRoute { .. })
}

fn ended(write: &Write, error: &kube::Error, outcome: Outcome) -> Tried {
    if matches!(error, kube::Error::Api(status) if status.code == 409) {
        return Tried::Raced(outcome);
    }
    Tried::Ended(evict::refusal(write, error).map_or(outcome, |why| Outcome::Failed { why }))
}
