//! Rollback: the spec of a routing object becomes exactly what it was.

use super::act::Prepared;
use super::wire::{Expect, Kind, Write};
use super::{Effectors, Specs};
use crate::cluster::{Route, rollback_patch, spec_diff};
use crate::model::action::Action;
use crate::model::facts::{Destination, ManagedBy};
use crate::model::plan::Direction;

impl Effectors {
    /// Reads the object and checks the preconditions of a rollback.
    pub(super) async fn prepare_rollback(
        &self,
        action: &Action,
        way: Direction,
        specs: &Specs,
    ) -> Result<Prepared, kube::Error> {
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
        let Some(kind) = Kind::of(target) else {
            return Ok(Prepared::Impossible(format!("{target} is no routing object we can write")));
        };
        // The version makes the server refuse (409) if anybody writes between our read and our write.
        let body = serde_json::json!({
            "metadata": { "resourceVersion": route.resource_version },
            "spec": patch,
        });
        Ok(Prepared::send(Write {
            expect: Expect::Spec(*to),
            diff: spec_diff(&route.spec, &wanted),
            done: format!("revision {} restored", to.short()),
            ..Write::merge(kind, target, body)
        }))
    }

    /// What the engine refused when it planned is asked once more on fresh facts. An undo leads back to
    /// where traffic went before us, whoever is there.
    async fn unfit(&self, route: &Route, way: Direction, wanted: &serde_json::Value) -> Option<String> {
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
    async fn led(&self, route: &Route, wanted: &serde_json::Value) -> Result<Vec<Destination>, String> {
        if route.subject.kind == "DestinationRule" {
            return self.cluster.look_if(route, wanted).await;
        }
        let leads = crate::cluster::leads(&route.subject, wanted);
        self.cluster.look(&route.subject.namespace, &leads).await
    }
}
