//! The watches that fill the inventory. Each stands for itself: a right that is missing, or a kind that is
//! not installed, leaves the others as they are.

use std::time::Duration;

use backon::ExponentialBackoff;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Resource as _};
use tokio::sync::mpsc;

use super::client::told;
use super::inventory::{Inventory, Standing, Watched};
use super::names::Names;
use super::shelf::Shelf;
use super::store::Cluster;
use super::watch::{Seen, pauses};
use crate::model::subject::Subject;

/// A kind that is not installed may be installed later; nobody waits for it.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// A kind that is kept.
pub(super) trait Kept: Send + Sync + 'static {
    /// What is watched.
    type Resource: Clone + Send + Sync + 'static;
    /// What arrives.
    type Object: kube::Resource<DynamicType = ()> + Send + Sync + 'static;
    /// What is kept of it.
    type Value: Send + Sync + 'static;
    /// Its name.
    const WATCHED: Watched;

    /// A fresh watch, which begins with a list.
    fn stream(api: Api<Self::Resource>) -> Stream<Self::Object>;
    /// What is kept of an object.
    fn of(object: &Self::Object, names: &mut Names) -> Self::Value;
    /// Where it is kept.
    fn shelf(inventory: &mut Inventory) -> &mut Shelf<Self::Value>;
    /// Its uid and what it is called, where cases are about objects of this kind.
    fn subject(value: &Self::Value) -> Option<(&str, Subject)>;
}

/// The events of a watch.
pub(super) type Stream<O> = BoxStream<'static, watcher::Result<watcher::Event<O>>>;

impl Cluster {
    /// Runs one watch until the process ends.
    pub(super) async fn tend<K: Kept>(
        &self,
        api: Api<K::Resource>,
        scope: Option<&str>,
        out: &mpsc::Sender<Seen>,
    ) {
        let mut watch = Tended::<K>::new(self, api, scope);
        let mut list = 0_u32;
        loop {
            let gone = match watch.next().await {
                watcher::Event::Init => {
                    list = list.wrapping_add(1);
                    Vec::new()
                }
                watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                    self.keep::<K>(&object, list).into_iter().collect()
                }
                watcher::Event::Delete(object) => self.lose::<K>(&object).into_iter().collect(),
                watcher::Event::InitDone => {
                    watch.stands(Standing::Whole);
                    let mut stores = self.stores();
                    let gone = K::shelf(&mut stores.inventory).sweep(scope, list);
                    stores.inventory.names.forget_unused();
                    gone.iter().filter_map(|old| K::subject(old).map(|(_, subject)| subject)).collect()
                }
            };
            for subject in gone {
                // The driver is gone only when the process ends.
                out.send(Seen::Vanished(subject)).await.ok();
            }
        }
    }

    /// Keeps an object; the answer is the one of the same name that it replaces, if that was another one.
    fn keep<K: Kept>(&self, object: &K::Object, list: u32) -> Option<Subject> {
        let mut stores = self.stores();
        let new = K::of(object, &mut stores.inventory.names);
        let (namespace, name) = place(object.meta());
        let namespace = stores.inventory.names.text(namespace);
        let uid = K::subject(&new).map(|(uid, _)| uid.to_owned());
        let old = K::shelf(&mut stores.inventory).put(&namespace, name, list, new)?;
        K::subject(&old).filter(|(known, _)| uid.as_deref() != Some(known)).map(|(_, subject)| subject)
    }

    fn lose<K: Kept>(&self, object: &K::Object) -> Option<Subject> {
        let (namespace, name) = place(object.meta());
        let mut stores = self.stores();
        let old = K::shelf(&mut stores.inventory).remove(namespace, name)?;
        stores.inventory.names.forget_unused();
        K::subject(&old).map(|(_, subject)| subject)
    }
}

fn place(meta: &ObjectMeta) -> (&str, &str) {
    (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// One watch. As with routes, it starts over with a list after any error.
struct Tended<'c, K: Kept> {
    cluster: &'c Cluster,
    api: Api<K::Resource>,
    scope: Option<String>,
    stream: Stream<K::Object>,
    pauses: ExponentialBackoff,
    answered: bool,
}

impl<'c, K: Kept> Tended<'c, K> {
    fn new(cluster: &'c Cluster, api: Api<K::Resource>, scope: Option<&str>) -> Self {
        let stream = K::stream(api.clone());
        let scope = scope.map(str::to_owned);
        Self { cluster, api, scope, stream, pauses: pauses(), answered: false }
    }

    async fn next(&mut self) -> watcher::Event<K::Object> {
        loop {
            let pause = match self.stream.next().await {
                Some(Ok(event)) => return event,
                Some(Err(error)) => self.failed(&error),
                None => None,
            };
            let pause = pause.or_else(|| self.pauses.next()).unwrap_or(Duration::from_secs(30));
            tokio::time::sleep(pause).await;
            self.stream = K::stream(self.api.clone());
        }
    }

    /// Notes why the watch broke; the answer is a pause, if the usual one is not right.
    fn failed(&mut self, error: &watcher::Error) -> Option<Duration> {
        match answer(error) {
            Some(404) => {
                self.stands(Standing::NotInstalled);
                return Some(LOOK_AGAIN);
            }
            Some(403) => self.stands(Standing::Forbidden(told(error))),
            // A conversion webhook that is down takes its kind away and no other.
            Some(500) => self.stands(Standing::Interrupted(told(error))),
            _ => self.note(Standing::Interrupted(told(error))),
        }
        None
    }

    /// The API server answered for this kind, if only to refuse: nobody waits for it any longer.
    fn stands(&mut self, standing: Standing) {
        if standing == Standing::Whole {
            self.pauses = pauses();
        }
        self.note(standing);
        if !std::mem::replace(&mut self.answered, true) {
            self.cluster.synced.send_modify(|synced| synced.done += 1);
        }
    }

    /// Notes how the watch stands, and says it once.
    fn note(&self, new: Standing) {
        let key = (K::WATCHED, self.scope.clone());
        let place = self.scope.as_ref().map(|scope| format!(" in {scope}")).unwrap_or_default();
        let watch = format!("watch of {}{place}", K::WATCHED);
        let old = self.cluster.stores().inventory.standing.insert(key, new.clone());
        let told =
            |standing: &Standing| matches!(standing, Standing::Interrupted(_) | Standing::Forbidden(_));
        let silent = old.as_ref().is_none_or(|old| !told(old));
        match &new {
            Standing::Interrupted(why) if silent => tracing::warn!(watch, why, "watch interrupted"),
            Standing::Forbidden(why) if silent => tracing::warn!(watch, why, "watch not allowed"),
            Standing::NotInstalled if old != Some(Standing::NotInstalled) => {
                tracing::info!(watch, "not installed");
            }
            Standing::Whole if !silent => tracing::info!(watch, "watch resumed"),
            Standing::Interrupted(_)
            | Standing::Forbidden(_)
            | Standing::NotInstalled
            | Standing::Whole
            | Standing::Unread => {}
        }
    }
}

/// The code of the API server's answer, if it was one.
fn answer(error: &watcher::Error) -> Option<u16> {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status,
        watcher::Error::WatchError(status) => status,
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => return None,
    };
    Some(status.code)
}
