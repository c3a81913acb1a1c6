//! Rehearse: the very patch as a server-side dry run, before a plan is shown to anybody.

use super::{Effectors, Prepared, Run, Specs, mutated};
use crate::cluster::{resource, spec_diff, told};
use crate::model::action::Action;
use crate::model::plan::{Direction, Plan, Rehearsal};
use crate::model::subject::Subject;

impl Effectors {
    /// Dry-runs the writing step of the plan.
    pub async fn rehearse(&self, plan: &Plan, specs: &Specs) -> Rehearsal {
        let writing = plan.steps.iter().find(|step| step.target().is_some());
        let Some(step @ Action::RollbackRoute { target, .. }) = writing else {
            return Rehearsal::Accepted { diff: String::new() };
        };
        let (body, route, wanted) = match self.prepare(step, Direction::Forward, specs).await {
            Ok(Prepared::Patch { body, route, wanted }) => (body, route, wanted),
            Ok(Prepared::AlreadyDone) => return Rehearsal::Accepted { diff: String::new() },
            Ok(Prepared::NotYet(why)) => return Rehearsal::Unreadable { why },
            Ok(Prepared::Stale(why) | Prepared::Impossible(why)) => return Rehearsal::Refused { why },
            Err(error) => return refused(&error, "get", target, String::new()),
        };
        let diff = spec_diff(&route.spec, &wanted);
        match self.patch(target, &body, Run::Dry).await {
            Ok(answer) => match mutated(&answer, step) {
                None => Rehearsal::Accepted { diff },
                Some(why) => Rehearsal::Refused { why },
            },
            Err(error) => refused(&error, "patch", target, diff),
        }
    }
}

fn refused(error: &kube::Error, verb: &str, target: &Subject, diff: String) -> Rehearsal {
    let kube::Error::Api(status) = error else { return Rehearsal::Unreadable { why: told(error) } };
    match status.code {
        403 => Rehearsal::Forbidden {
            verb: verb.to_owned(),
            resource: resource(target),
            namespace: target.namespace.clone(),
            diff,
        },
        // 5xx and 429 say nothing about the patch; everything else the server said about it.
        429 | 500.. => Rehearsal::Unreadable { why: status.message.clone() },
        _ => Rehearsal::Refused { why: status.message.clone() },
    }
}
