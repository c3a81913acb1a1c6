//! Rehearse: the very write as a server-side dry run, before a plan is shown to anybody.

use super::act::{Errand, Prepared, refused};
use super::evict;
use super::wire::Run;
use super::{Effectors, Specs};
use crate::model::action::Action;
use crate::model::plan::{Direction, Plan, Rehearsal};

impl Effectors {
    /// Dry-runs the writing steps of the plan, up to the first that is not accepted. Each is tried on the
    /// cluster as it is, without the ones before it.
    pub async fn rehearse(&self, plan: &Plan, specs: &Specs) -> Rehearsal {
        let mut shown = Vec::new();
        for step in plan.steps.iter().filter(|step| step.target().is_some()) {
            match self.rehearse_step(step, specs).await {
                Rehearsal::Accepted { diff } => shown.push(diff),
                ended @ (Rehearsal::Forbidden { .. }
                | Rehearsal::Refused { .. }
                | Rehearsal::Unreadable { .. }) => return ended,
            }
        }
        shown.retain(|diff| !diff.is_empty());
        Rehearsal::Accepted { diff: shown.join("\n") }
    }

    async fn rehearse_step(&self, step: &Action, specs: &Specs) -> Rehearsal {
        if let Action::RestartSidecar { .. } = step {
            return self.rehearse_restart(step).await;
        }
        let namespace = step.target().map(|target| target.namespace.clone()).unwrap_or_default();
        let errand = Errand { incident: "rehearsal", way: Direction::Forward, specs };
        let write = match self.prepare(step, errand).await {
            Ok(Prepared::Send(write)) => write,
            Ok(Prepared::AlreadyDone) => return Rehearsal::Accepted { diff: String::new() },
            Ok(Prepared::NotYet(why)) => return Rehearsal::Unreadable { why },
            Ok(Prepared::Stale(why) | Prepared::Moot(why) | Prepared::Impossible(why)) => {
                return Rehearsal::Refused { why };
            }
            Err(trouble) => return refused(trouble.right, &trouble.error, &namespace, String::new()),
        };
        match self.wire.send(&write, Run::Dry).await {
            Ok(answer) => match write.expect.unmet(&answer) {
                None => Rehearsal::Accepted { diff: write.diff },
                Some(why) => Rehearsal::Refused { why },
            },
            Err(error) => match evict::refusal(&write, &error) {
                Some(why) => Rehearsal::Refused { why },
                None => refused(write.right, &error, &namespace, write.diff),
            },
        }
    }
}
