//! The watches: every revision of every routing object.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use kube::Api;
use kube::runtime::watcher;
use tokio::sync::mpsc;

use super::client::told;
use super::object::{Kind, Object};
use super::route::Route;
use super::store::Cluster;
use crate::model::digest::canonical;
use crate::model::history::RevisionSeen;
use crate::model::mark::Marked;
use crate::model::record::Blob;
use crate::model::subject::Subject;

/// What the watch of routes saw.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A revision that was not in force before; its spec travels along.
    Revision(RevisionSeen, Blob),
    /// A route vanished.
    Gone(Subject),
    /// The mark of a shed is on an object, and was not, or was another one.
    Marked(Marked),
    /// It is gone.
    Unmarked(Subject),
    /// Another object that cases may be about vanished: a pod, a workload, a service, a certificate.
    Vanished(Subject),
}

impl Cluster {
    /// The watches, to be run until the process ends. A watch that breaks is taken up again with growing
    /// pauses; one that is too old (410) starts over with a list.
    pub fn watches(self: &Arc<Self>, out: &mpsc::Sender<Seen>) -> Vec<BoxFuture<'static, ()>> {
        let all = self.namespaces.iter().any(|namespace| namespace == "*");
        let scopes: Vec<Option<String>> =
            if all { vec![None] } else { self.namespaces.iter().cloned().map(Some).collect() };
        let mut beside = self.tended(&scopes, out);
        self.synced.send_modify(|synced| synced.of = scopes.len() * 3 + beside.len());
        let routes = scopes.into_iter().map(|scope| {
            let (cluster, out) = (Arc::clone(self), out.clone());
            async move {
                let routes = cluster.watch_routes(scope.as_deref(), Route::of, &out);
                let rules = cluster.watch_routes(scope.as_deref(), Route::of_rule, &out);
                let http = cluster.watch_routes(scope.as_deref(), Route::of_http, &out);
                futures::join!(routes, rules, http);
            }
            .boxed()
        });
        beside.extend(routes);
        beside
    }

    async fn watch_routes<K: Kind>(
        &self,
        scope: Option<&str>,
        read: fn(Object<K>) -> Route,
        out: &mpsc::Sender<Seen>,
    ) {
        let mut watch = Watch::<K>::new(self, &format!("{}s", K::KIND), scope);
        let mut listed: BTreeSet<Subject> = BTreeSet::new();
        loop {
            match watch.next().await {
                watcher::Event::Init => listed.clear(),
                watcher::Event::InitApply(object) => {
                    let route = read(object);
                    listed.insert(route.subject.clone());
                    self.take_route(route, out).await;
                }
                watcher::Event::Apply(object) => self.take_route(read(object), out).await,
                watcher::Event::Delete(object) => self.drop_route(&read(object).subject, out).await,
                watcher::Event::InitDone => {
                    self.drop_unlisted::<K>(scope, &listed, out).await;
                    watch.listed();
                }
            }
        }
    }

    async fn take_route(&self, route: Route, out: &mpsc::Sender<Seen>) {
        let known = self.route(&route.subject);
        let same =
            known.as_ref().is_some_and(|known| known.uid == route.uid && known.spec_hash == route.spec_hash);
        let marks = mark_seen(known.as_deref(), &route);
        let seen = RevisionSeen {
            subject: route.subject.clone(),
            uid: route.uid.clone(),
            spec_hash: route.spec_hash,
            manager: route.manager.clone(),
            managed_by: route.managed_by,
        };
        let blob = (!same).then(|| Blob::new(canonical(&route.spec)));
        self.stores().routes.insert(route.subject.clone(), Arc::new(route));
        if let Some(blob) = blob {
            // The driver is gone only when the process ends.
            out.send(Seen::Revision(seen, blob)).await.ok();
        }
        if let Some(seen) = marks {
            out.send(seen).await.ok();
        }
    }

    async fn drop_route(&self, subject: &Subject, out: &mpsc::Sender<Seen>) {
        let Some(known) = self.stores().routes.remove(subject) else { return };
        out.send(Seen::Gone(subject.clone())).await.ok();
        if known.shed {
            out.send(Seen::Unmarked(subject.clone())).await.ok();
        }
    }

    /// What a fresh list does not hold any more vanished while nobody looked.
    async fn drop_unlisted<K: Kind>(
        &self,
        scope: Option<&str>,
        listed: &BTreeSet<Subject>,
        out: &mpsc::Sender<Seen>,
    ) {
        let gone: Vec<Subject> = {
            let stores = self.stores();
            let kind = stores.routes.values().filter(|route| route.is::<K>()).map(|route| &route.subject);
            let ours = kind.filter(|s| scope.is_none_or(|namespace| s.namespace == namespace));
            ours.filter(|subject| !listed.contains(*subject)).cloned().collect()
        };
        for subject in gone {
            self.drop_route(&subject, out).await;
        }
    }
}

/// What a new version of an object says about its mark.
fn mark_seen(known: Option<&Route>, route: &Route) -> Option<Seen> {
    let of = |route: &Route| (route.uid.clone(), route.mark.clone());
    match (known, route.marked()) {
        (known, Some(marked)) => {
            known.is_none_or(|known| of(known) != of(route)).then_some(Seen::Marked(marked))
        }
        (Some(known), None) => known.shed.then(|| Seen::Unmarked(route.subject.clone())),
        (None, None) => None,
    }
}

/// One watch. After any error it starts over with a list: a watch that comes back without one tells nothing
/// until the next change, and until then nobody could know whether the store is whole.
struct Watch<'c, K: Kind> {
    cluster: &'c Cluster,
    api: Api<Object<K>>,
    name: String,
    stream: BoxStream<'static, watcher::Result<watcher::Event<Object<K>>>>,
    pauses: ExponentialBackoff,
    first: bool,
    optional: bool,
    absent: Absent,
}

/// What comes next where the kind is not installed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// It is, as far as we know.
    No,
    /// The empty list ends.
    Listed,
    /// Another look, after a pause.
    Again,
}

/// Pause before another look whether a kind is installed by now: nobody waits for it.
const INSTALLED_BY_NOW: Duration = Duration::from_secs(60);

/// Pauses between two tries: short at first, because most troubles are; a list every ten seconds is no
/// burden for a server that comes back.
pub(super) fn pauses() -> ExponentialBackoff {
    let (min, max) = (Duration::from_millis(800), Duration::from_secs(10));
    let policy = ExponentialBuilder::default().with_min_delay(min).with_max_delay(max);
    policy.with_jitter().without_max_times().build()
}

impl<'c, K: Kind> Watch<'c, K> {
    fn new(cluster: &'c Cluster, plural: &str, scope: Option<&str>) -> Self {
        let client = cluster.client.clone();
        let (api, name) = match scope {
            Some(namespace) => {
                (Api::namespaced(client, namespace), format!("watch of {plural} in {namespace}"))
            }
            None => (Api::all(client), format!("watch of {plural}")),
        };
        let stream = watcher(Api::clone(&api), watcher::Config::default()).boxed();
        let (optional, absent) = (K::OPTIONAL, Absent::No);
        Self { cluster, api, name, stream, pauses: pauses(), first: true, optional, absent }
    }

    /// The next event; troubles on the way are noted, and waited for.
    async fn next(&mut self) -> watcher::Event<Object<K>> {
        match std::mem::replace(&mut self.absent, Absent::No) {
            Absent::No => {}
            Absent::Listed => {
                self.absent = Absent::Again;
                return watcher::Event::InitDone;
            }
            Absent::Again => {
                tokio::time::sleep(INSTALLED_BY_NOW).await;
                self.stream = watcher(self.api.clone(), watcher::Config::default()).boxed();
            }
        }
        loop {
            match self.stream.next().await {
                Some(Ok(event)) => return event,
                // No such kind: then there are none of it, and that is no trouble.
                Some(Err(error)) if self.optional && is_not_installed(&error) => {
                    self.absent = Absent::Listed;
                    return watcher::Event::Init;
                }
                Some(Err(error)) => self.cluster.trouble(&self.name, Some(&error)),
                None => {}
            }
            tokio::time::sleep(self.pauses.next().unwrap_or(Duration::from_secs(30))).await;
            self.stream = watcher(self.api.clone(), watcher::Config::default()).boxed();
        }
    }

    /// A list was taken over as a whole: the store can be believed again.
    fn listed(&mut self) {
        self.pauses = pauses();
        self.cluster.trouble(&self.name, None);
        if std::mem::take(&mut self.first) {
            self.cluster.synced.send_modify(|synced| synced.done += 1);
        }
    }
}

/// Whether the API server does not know the kind.
fn is_not_installed(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404)
}

impl Cluster {
    /// Notes or clears the trouble of a watch, and says it once.
    fn trouble(&self, watch: &str, error: Option<&watcher::Error>) {
        let mut stores = self.stores();
        match error {
            Some(error) => {
                let why = told(error);
                if stores.troubles.insert(watch.to_owned(), why.clone()).is_none() {
                    tracing::warn!(watch, why, "watch interrupted");
                }
            }
            None => {
                if stores.troubles.remove(watch).is_some() {
                    tracing::info!(watch, "watch resumed");
                }
            }
        }
    }
}
