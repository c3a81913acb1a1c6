//! Effectors: the engine's wishes to the world, and back as events.

mod execute;
mod inspect;
mod notify;
mod rehearse;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::clock::Clock;
use crate::cluster::{Cluster, Route, rollback_patch};
use crate::model::action::Action;
use crate::model::digest::Digest;

pub use notify::Notifier;

/// Specs by hash, read from the journal by the driver.
pub type Specs = BTreeMap<Digest, Value>;

/// Hands and eyes in the cluster.
pub struct Effectors {
    cluster: Arc<Cluster>,
    clock: Clock,
}

/// The name under which we write.
pub const FIELD_MANAGER: &str = "meshmend";

impl Effectors {
    /// Effectors for this cluster.
    #[must_use]
    pub fn new(cluster: Arc<Cluster>, clock: Clock) -> Self {
        Self { cluster, clock }
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
    /// It cannot be done.
    Impossible(String),
}

impl Effectors {
    /// Reads the object and checks the preconditions of a rollback.
    async fn prepare(&self, action: &Action, specs: &Specs) -> Result<Prepared, kube::Error> {
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
        if let Some(why) = self.unfit(&route) {
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

    /// What the engine refused when it planned is asked once more on fresh facts.
    fn unfit(&self, route: &Route) -> Option<String> {
        if route.managed_by != crate::model::facts::ManagedBy::None {
            return Some(format!("{} manages the object by now", route.managed_by.as_str()));
        }
        if route.delegates() || route.has_wildcard() {
            return Some("the object delegates or has a wildcard host by now".to_owned());
        }
        let winner = self.cluster.shadowing(route).into_iter().next();
        winner.map(|winner| format!("{winner} is in force for its host by now"))
    }
}
