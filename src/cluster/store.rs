//! What the watches have seen, for everybody who must not ask the API server again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;

use super::inventory::Inventory;
use super::object::DestinationRuleKind;
use super::precedence::{Found, disputed};
use super::route::{Leads, Route};
use super::rule::rule_for_all;
use crate::model::subject::Subject;

/// Pause between two looks at interrupted watches.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The watched stores and the client.
pub struct Cluster {
    /// The client.
    pub client: Client,
    pub(super) namespaces: Vec<String>,
    pub(super) seen: Mutex<Stores>,
    pub(super) synced: watch::Sender<Synced>,
}

#[derive(Default)]
pub(super) struct Stores {
    pub(super) routes: BTreeMap<Subject, Arc<Route>>,
    pub(super) inventory: Inventory,
    /// Last trouble of each watch of routes and rules; absent while it is fine.
    pub(super) troubles: BTreeMap<String, String>,
}

/// How many watches have delivered their first list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Synced {
    pub(super) done: usize,
    pub(super) of: usize,
}

/// What a name turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// One object of our own cache.
    Subject(Subject),
    /// Nothing, or too much: for people.
    Unclear(String),
}

impl Cluster {
    /// A cluster of which these namespaces are watched; `*` means all.
    #[must_use]
    pub fn new(client: Client, namespaces: Vec<String>) -> Self {
        let (synced, _) = watch::channel(Synced::default());
        Self { client, namespaces, seen: Mutex::default(), synced }
    }

    pub(super) fn stores(&self) -> MutexGuard<'_, Stores> {
        // A panic while holding it leaves whole entries behind, so the stores stay usable.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every watch has delivered its first list.
    pub async fn wait_synced(&self) {
        let mut synced = self.synced.subscribe();
        let ready = synced.wait_for(|synced| synced.of > 0 && synced.done >= synced.of).await;
        drop(ready);
    }

    /// Whether every watch has delivered its first list.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        let synced = *self.synced.borrow();
        synced.of > 0 && synced.done >= synced.of
    }

    /// Waits until the stores can be believed: every watch has delivered its first list, and none is
    /// interrupted. What a half-read store does not hold is not known to be absent.
    ///
    /// # Errors
    /// They could not be believed within the limit, with the trouble of the watches.
    pub async fn wait_fresh(&self, limit: Duration) -> Result<(), String> {
        let wait = async {
            self.wait_synced().await;
            while !self.troubles().is_empty() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(limit, wait).await.map_err(|_| {
            let troubles = self.troubles().join("; ");
            format!("our view of the cluster is not complete: {troubles}").trim_end_matches(": ").to_owned()
        })
    }

    /// What is wrong with the watches now, one sentence each.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        self.stores().troubles.iter().map(|(watch, why)| format!("{watch}: {why}")).collect()
    }

    /// A routing object of the cache.
    #[must_use]
    pub fn route(&self, subject: &Subject) -> Option<Arc<Route>> {
        self.stores().routes.get(subject).cloned()
    }

    /// All routing objects of the cache.
    #[must_use]
    pub fn routes(&self) -> Vec<Arc<Route>> {
        self.stores().routes.values().cloned().collect()
    }

    /// Whether it can be seen which of two routes of one host is in force: only who sees all of them knows.
    ///
    /// # Errors
    /// Not all namespaces are watched.
    pub fn sees_precedence(&self) -> Result<(), String> {
        if self.namespaces.iter().any(|namespace| namespace == "*") {
            return Ok(());
        }
        let watched = self.namespaces.join(", ");
        Err(format!(
            "only {watched} is watched, so a route elsewhere may be in force instead; watch all namespaces (\"*\")"
        ))
    }

    /// The routes of the cache that all clients of their hosts obey, wildcards left out.
    #[must_use]
    pub fn in_force(&self) -> Vec<Arc<Route>> {
        let mut routes = self.routes();
        routes.retain(|route| !route.is::<DestinationRuleKind>());
        // Each route meets few others: those with a host of its own, and all wildcards.
        let mut by_host: BTreeMap<&str, Vec<&Arc<Route>>> = BTreeMap::new();
        for route in &routes {
            for host in &route.hosts {
                let key = if host.starts_with('*') { "*" } else { host.as_str() };
                by_host.entry(key).or_default().push(route);
            }
        }
        let alone = |route: &&Arc<Route>| {
            let keys = route.hosts.iter().map(String::as_str).chain(["*"]);
            let near = keys.filter_map(|key| by_host.get(key)).flatten().map(|near| Arc::clone(near));
            !route.has_wildcard() && disputed(&near.collect::<Vec<_>>(), route).is_empty()
        };
        routes.iter().filter(alone).cloned().collect()
    }

    /// The rules of the cache that all clients of their host obey. One that a shed of ours tightened does
    /// not count: nobody wrote it to stay.
    #[must_use]
    pub fn rules_in_force(&self) -> Vec<Arc<Route>> {
        let routes = self.routes();
        let rules: Vec<_> = routes.into_iter().filter(|route| route.is::<DestinationRuleKind>()).collect();
        let alone =
            |rule: &&Arc<Route>| !rule.shed && !rule.has_wildcard() && rivals(&rules, rule).is_empty();
        rules.iter().filter(alone).cloned().collect()
    }

    /// Where the traffic goes that an object says something about: for a rule, its host and the subsets of
    /// it that routes lead to.
    #[must_use]
    pub fn leads_of(&self, route: &Route) -> Vec<Leads> {
        if !route.is::<DestinationRuleKind>() {
            return route.leads();
        }
        let hosts = route.hosts.iter().map(|host| Leads { host: host.clone(), subset: None, weight: 100 });
        let stores = self.stores();
        let others = stores.routes.values().flat_map(|other| other.leads());
        let mut found: Vec<Leads> =
            others.filter(|to| to.subset.is_some() && route.hosts.contains(&to.host)).chain(hosts).collect();
        found.sort_unstable();
        found.dedup_by(|a, b| (&a.host, &a.subset) == (&b.host, &b.subset));
        found
    }

    /// Routing objects that are in force instead of this one, or beside it.
    #[must_use]
    pub fn shadowing(&self, route: &Route) -> Vec<String> {
        if route.is::<DestinationRuleKind>() {
            return rivals(&self.routes(), route);
        }
        disputed(&self.routes(), route).into_iter().collect()
    }

    /// The route that serves a host. Several of them are an answer for people: which one is meant is not
    /// ours to guess.
    #[must_use]
    pub fn resolve_host(&self, host: &str) -> Resolved {
        let stores = self.stores();
        let serving: Vec<&Subject> = stores
            .routes
            .values()
            .filter(|route| {
                !route.is::<DestinationRuleKind>() && route.hosts.iter().any(|known| known == host)
            })
            .map(|route| &route.subject)
            .collect();
        match serving.as_slice() {
            [one] => Resolved::Subject((*one).clone()),
            [] => Resolved::Unclear(format!("no VirtualService we see serves {host}")),
            several => {
                let names: Vec<String> =
                    several.iter().map(|s| format!("{}/{}", s.namespace, s.name)).collect();
                Resolved::Unclear(format!("several VirtualServices serve {host}: {}", names.join(", ")))
            }
        }
    }
}

/// What stands in the way of a rule that should be the only one for its host.
fn rivals(rules: &[Arc<Route>], rule: &Route) -> Vec<String> {
    let rival = |host: &String| match rule_for_all(rules, host) {
        Found::Nothing => vec!["no rule".to_owned()],
        Found::Unclear(why) => vec![why],
        Found::One(found) => {
            let others = found.merged.iter().filter(|other| other.subject != rule.subject);
            others.map(|other| format!("{}/{}", other.subject.namespace, other.subject.name)).collect()
        }
    };
    rule.hosts.iter().flat_map(rival).collect()
}
