//! Effectors: the engine's wishes to the world, and back as events.

mod execute;
mod inspect;
mod notify;
mod rehearse;
mod rule;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::api::PatchParams;
use serde_json::Value;

use crate::clock::Clock;
use crate::cluster::{Cluster, ProxyEyes, Route, rollback_patch};
use crate::model::action::Action;
use crate::model::digest::Digest;
use crate::model::facts::{Destination, ManagedBy};
use crate::model::history::FIELD_MANAGER;
use crate::model::plan::Direction;
use crate::model::subject::Subject;

pub use notify::Notifier;

/// Specs by hash, read from the journal by the driver.
pub type Specs = BTreeMap<Digest, Value>;

/// Hands and eyes in the cluster.
pub struct Effectors {
    cluster: Arc<Cluster>,
    clock: Clock,
    eyes: Option<Arc<dyn ProxyEyes>>,
}

impl Effectors {
    /// Effectors for this cluster.
    #[must_use]
    pub fn new(cluster: Arc<Cluster>, clock: Clock) -> Self {
        Self { cluster, clock, eyes: None }
    }

    /// With eyes on proxies; without them the fact `proxy` cannot be read.
    #[must_use]
    pub fn with_eyes(self, eyes: Arc<dyn ProxyEyes>) -> Self {
        Self { eyes: Some(eyes), ..self }
    }

    /// Waits until the watched stores can be believed.
    ///
    /// # Errors
    /// They could not within the limit, and why.
    pub async fn fresh(&self, limit: Duration) -> Result<(), String> {
        self.cluster.wait_fresh(limit).await
    }
}

/// A write as it would be sent, or why there is none.
enum Prepared {
    /// Send this merge patch.
    Patch { body: Value, route: Box<Route>, wanted: Value },
    /// The object is already as wanted.
    AlreadyDone,
    /// A precondition does not hold.
    Stale(String),
    /// It cannot be done yet.
    NotYet(String),
    /// It cannot be done.
    Impossible(String),
}

/// A dry run changes nothing.
#[derive(Clone, Copy)]
enum Run {
    Dry,
    Real,
}

impl Effectors {
    /// Reads the object and checks the preconditions of a rollback.
    async fn prepare(&self, action: &Action, way: Direction, specs: &Specs) -> Result<Prepared, kube::Error> {
        let Action::RollbackRoute { target, uid, from, to } = action else {
            return Ok(Prepared::Impossible("this action writes nothing".to_owned()));
        };
        let Some(route) = self.cluster.get_route(target).await? else {
            return Ok(Prepared::Stale("the object does not exist any more".to_owned()));
        };
        if route.uid != *uid {
            return Ok(Prepared::Stale("it is another object of the same name".to_owned()));
        }
        if route.spec_hash == *to {
            return Ok(Prepared::AlreadyDone);
        }
        if route.spec_hash != *from {
            let found = route.spec_hash.short();
            return Ok(Prepared::Stale(format!("expected revision {}, found {found}", from.short())));
        }
        let Some(wanted) = specs.get(to).cloned() else {
            return Ok(Prepared::Impossible(format!("the journal does not hold revision {}", to.short())));
        };
        if !specs.contains_key(from) {
            let why =
                format!("the journal does not hold revision {} yet: it could not be put back", from.short());
            return Ok(Prepared::NotYet(why));
        }
        let troubles = self.cluster.troubles();
        if way == Direction::Forward && !troubles.is_empty() {
            return Ok(Prepared::NotYet(format!(
                "our view of the cluster is not complete: {}",
                troubles.join("; ")
            )));
        }
        if let Some(why) = self.unfit(&route, way, &wanted).await {
            return Ok(Prepared::Stale(why));
        }
        let patch = match rollback_patch(&route.spec, &wanted) {
            Ok(patch) => patch,
            Err(why) => return Ok(Prepared::Impossible(why)),
        };
        // The version makes the server refuse (409) if anybody writes between our read and our write.
        let body = serde_json::json!({
            "metadata": { "resourceVersion": route.resource_version },
            "spec": patch,
        });
        Ok(Prepared::Patch { body, route: Box::new(route), wanted })
    }

    /// What the engine refused when it planned is asked once more on fresh facts. An undo leads back to
    /// where traffic went before us, whoever is there.
    async fn unfit(&self, route: &Route, way: Direction, wanted: &Value) -> Option<String> {
        if route.managed_by != ManagedBy::None {
            return Some(format!("{} manages the object by now", route.managed_by.as_str()));
        }
        if way == Direction::Undo {
            return None;
        }
        if route.delegates() || route.has_wildcard() {
            return Some("the object delegates or has a wildcard host by now".to_owned());
        }
        if let Some(winner) = self.cluster.shadowing(route).into_iter().next() {
            return Some(format!("{winner} is in force for its host by now"));
        }
        if route.shed {
            return Some("limits of ours are on the object by now".to_owned());
        }
        let found = match self.led(route, wanted).await {
            Ok(found) => found,
            Err(why) => return Some(format!("nobody could look where it leads: {why}")),
        };
        let dead = found.into_iter().find(|to| !to.defined || to.ready_endpoints == 0)?;
        Some(format!(
            "{} subset {:?} has no ready endpoint by now",
            dead.host,
            dead.subset.unwrap_or_default()
        ))
    }

    /// Where traffic would go.
    async fn led(&self, route: &Route, wanted: &Value) -> Result<Vec<Destination>, String> {
        if route.subject.kind == "DestinationRule" {
            return self.cluster.look_if(route, wanted).await;
        }
        let leads = crate::cluster::leads(&route.subject, wanted);
        self.cluster.look(&route.subject.namespace, &leads).await
    }

    /// Sends the patch.
    async fn patch(&self, target: &Subject, body: &Value, run: Run) -> Result<Route, kube::Error> {
        let params = PatchParams {
            dry_run: matches!(run, Run::Dry),
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.cluster.patch_route(target, &params, body).await
    }
}

/// An admission webhook may change what we send: then the old spec is not what would be in force.
fn mutated(answer: &Route, action: &Action) -> Option<String> {
    let found = answer.spec_hash;
    if matches!(action, Action::RollbackRoute { to, .. } if *to == found) {
        return None;
    }
    let found = found.short();
    Some(format!("the server makes revision {found} of what is sent: something mutates the object"))
}
