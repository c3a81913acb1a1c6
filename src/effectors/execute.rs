//! Execute: the one place that writes to the cluster. Every write needs a permit.

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::Value;

use super::{Effectors, FIELD_MANAGER, Prepared, Specs};
use crate::cluster::{VirtualService, limited, told};
use crate::engine::gate::Permit;
use crate::model::action::Action;
use crate::model::digest::Digest;
use crate::model::effect::Execute;
use crate::model::plan::Outcome;
use crate::model::subject::Subject;

impl Effectors {
    /// Does one step: fresh facts, preconditions, dry run, permit, write.
    /// The permit is taken by value: it is used up by the step it permits.
    pub async fn execute(&self, execute: &Execute, permit: Permit, specs: &Specs) -> Outcome {
        let (body, target) = match self.prepare(&execute.action, specs).await {
            Ok(Prepared::Patch { body, route, .. }) => (body, route.subject),
            Ok(Prepared::AlreadyDone) => return Outcome::AlreadyDone,
            Ok(Prepared::Stale(why)) => return Outcome::Stale { why },
            Ok(Prepared::Impossible(why)) => return Outcome::Failed { why },
            // Nothing was sent that could have changed anything.
            Err(error) => {
                return Outcome::Failed { why: format!("the object could not be read: {}", told(&error)) };
            }
        };
        if let Err(error) = self.patch(&target, &body, Run::Dry).await {
            let outcome = failed(&error);
            // A dry run changes nothing, so nothing is unknown about it.
            if let Outcome::Unknown { why } = outcome {
                return Outcome::Failed { why: format!("the dry run failed: {why}") };
            }
            return outcome;
        }
        // The last thing before the write, so that nothing slow can come in between.
        if let Err(why) = permit.covers(execute, self.clock.now()) {
            return Outcome::Failed { why };
        }
        match self.patch(&target, &body, Run::Real).await {
            Ok(written) => written_as_wanted(&written, execute),
            Err(error) => failed(&error),
        }
    }

    async fn patch(&self, target: &Subject, body: &Value, run: Run) -> Result<VirtualService, kube::Error> {
        let api: Api<VirtualService> = Api::namespaced(self.cluster.client.clone(), &target.namespace);
        let params = PatchParams {
            dry_run: matches!(run, Run::Dry),
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        limited(api.patch(&target.name, &params, &Patch::Merge(body))).await
    }
}

#[derive(Clone, Copy)]
enum Run {
    Dry,
    Real,
}

/// An admission webhook may have changed what we sent: then the old spec is not what is in force.
fn written_as_wanted(written: &VirtualService, execute: &Execute) -> Outcome {
    let found = Digest::of_json(&written.spec);
    if matches!(&execute.action, Action::RollbackRoute { to, .. } if *to == found) {
        return Outcome::Done { detail: format!("revision {} restored", found.short()) };
    }
    let found = found.short();
    Outcome::Failed {
        why: format!("the server made revision {found} of what was sent: something mutates the object"),
    }
}

/// What an error of a write means. Only what the server surely did not do counts as failed.
fn failed(error: &kube::Error) -> Outcome {
    let kube::Error::Api(status) = error else { return Outcome::Unknown { why: told(error) } };
    let why = status.message.clone();
    match status.code {
        404 | 409 => Outcome::Stale { why },
        403 => Outcome::Failed {
            why: format!("a right is missing (patch virtualservices.networking.istio.io): {why}"),
        },
        ..=499 => Outcome::Failed { why },
        _ => Outcome::Unknown { why },
    }
}
