//! Execute: the one place that writes to the cluster. Every write needs a permit.

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::Value;

use super::{Effectors, FIELD_MANAGER, Prepared, Specs};
use crate::cluster::{VirtualService, limited};
use crate::engine::gate::Permit;
use crate::model::digest::Digest;
use crate::model::effect::Execute;
use crate::model::plan::Outcome;
use crate::model::subject::Subject;

impl Effectors {
    /// Does one step: fresh facts, preconditions, dry run, permit, write.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is used up by the step it permits")]
    pub async fn execute(&self, execute: &Execute, permit: Permit, specs: &Specs) -> Outcome {
        let (body, target) = match self.prepare(&execute.action, specs).await {
            Ok(Prepared::Patch { body, route, .. }) => (body, route.subject),
            Ok(Prepared::AlreadyDone) => return Outcome::AlreadyDone,
            Ok(Prepared::Stale(why)) => return Outcome::Stale { why },
            Ok(Prepared::Impossible(why)) => return Outcome::Failed { why },
            // Nothing was sent that could have changed anything.
            Err(error) => return Outcome::Failed { why: format!("the object could not be read: {error}") },
        };
        if let Err(error) = self.patch(&target, &body, Run::Dry).await {
            return match failed(&error) {
                Outcome::Unknown { why } => Outcome::Failed { why: format!("the dry run failed: {why}") },
                other => other,
            };
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
    match &execute.action {
        crate::model::action::Action::RollbackRoute { to, .. } if found == *to => {
            Outcome::Done { detail: format!("revision {} restored", to.short()) }
        }
        _ => Outcome::Failed {
            why: format!(
                "the server made revision {} of what was sent: something mutates the object",
                found.short()
            ),
        },
    }
}

/// What an error of a write means. Only what the server surely did not do counts as failed.
fn failed(error: &kube::Error) -> Outcome {
    match error {
        kube::Error::Api(status) if status.code == 409 || status.code == 404 => {
            Outcome::Stale { why: status.message.clone() }
        }
        kube::Error::Api(status) if status.is_forbidden() => Outcome::Failed {
            why: format!(
                "a right is missing (patch virtualservices.networking.istio.io): {}",
                status.message
            ),
        },
        kube::Error::Api(status) if status.code < 500 => Outcome::Failed { why: status.message.clone() },
        other => Outcome::Unknown { why: other.to_string() },
    }
}
