//! istiod at work: the words of all replicas together, polled, and read anew for one case.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Boards, Whom};
use crate::app::queue::Input;
use crate::cluster::{Mesh, Pod, PodPort, Sync, Watched};
use crate::health::{Merged, REJECTED, REPLICA_STALE, Replica, STALE, Seen};
use crate::model::facts::SyncState;
use crate::model::indicator::Figure;
use crate::model::signal::Signal;
use crate::model::subject::{ROOT_NAMESPACE, Subject};

/// A hundred inspections at once are one question.
const FRESH: Duration = Duration::from_secs(2);

/// The last picture, and when it was taken.
pub(super) type Picture = tokio::sync::Mutex<Option<(Instant, Arc<Merged>)>>;

impl Boards {
    /// Asks all replicas, again and again, until the driver is gone.
    pub async fn watch_istiod(self: Arc<Self>, every: Duration, out: mpsc::Sender<Input>) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Ok(merged) = self.picture().await else { return };
            if self.tell_sync(&merged, &out).await.is_err() {
                return;
            }
        }
    }

    /// What all replicas say, at most two seconds old.
    pub(super) async fn picture(&self) -> Result<Arc<Merged>, String> {
        let istiod = self.istiod.as_ref().ok_or("no source istiod is configured")?;
        let mut last = self.picture.lock().await;
        if let Some((at, merged)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(merged));
        }
        let told = istiod.read(&self.replicas()).await;
        let mut replicas: Vec<Replica> =
            told.into_iter().map(|(name, told)| Replica { name, told }).collect();
        // A replica that we do not see was not asked.
        if let Err(why) = self.cluster.whole(Watched::Pods, ROOT_NAMESPACE) {
            replicas.push(Replica { name: "others".to_owned(), told: Err(why) });
        }
        let merged = Arc::new(Merged::of(replicas));
        *last = Some((Instant::now(), Arc::clone(&merged)));
        Ok(merged)
    }

    /// The replicas of every revision. One that is being deleted still has its connections.
    pub(super) fn replicas(&self) -> Vec<PodPort> {
        let planes = self.cluster.control_planes().into_iter();
        let istiods = planes.filter(|plane| plane.mesh == Mesh::Istio);
        let pods = istiods.flat_map(|plane| self.cluster.replicas_of_control_plane(&plane.subject()));
        let running = pods.filter(|pod| &*pod.phase == "Running");
        running.map(|pod| Self::port(&pod)).collect()
    }

    /// Where a pod is; the source knows at which port.
    pub(super) fn port(pod: &Pod) -> PodPort {
        PodPort { namespace: pod.namespace.to_string(), pod: pod.name.to_string(), ip: pod.ip, port: 0 }
    }

    async fn tell_sync(&self, merged: &Merged, out: &mpsc::Sender<Input>) -> Result<(), super::Closed> {
        let at = self.clock.now();
        let proxies = self.cluster.proxies();
        let istio = |mesh| mesh == Mesh::Istio;
        let ours = proxies.iter().filter(|pod| pod.proxy.as_ref().is_some_and(|proxy| istio(proxy.mesh)));
        let mut signals = Vec::new();
        for pod in ours {
            let subject = pod.subject();
            let sync = merged.sync(&subject);
            self.waits().take(&subject, &sync, at);
            let is = |wanted: SyncState| match &sync {
                // That nobody knows it is neither of them: it may just have lost its connection.
                Ok(sync) if sync.state == SyncState::Disconnected => {
                    Err("no replica of the control plane knows it".to_owned())
                }
                Ok(sync) => Ok(sync.state == wanted),
                Err(why) => Err(why.clone()),
            };
            let labels = sync.as_ref().map_or_else(|_| BTreeMap::new(), evidence);
            for (condition, state) in [(&STALE, SyncState::Stale), (&REJECTED, SyncState::Rejected)] {
                let (subject, labels) = (subject.clone(), labels.clone());
                let seen = Seen { subject, met: is(state), value: None, labels, at };
                signals.extend(self.conditions().take(condition, seen));
            }
        }
        for condition in [&STALE, &REJECTED] {
            signals.extend(self.conditions().retain(
                condition,
                |pod| self.may_be_there(pod, Watched::Pods),
                at,
            ));
        }
        signals.extend(self.stale_replicas(merged, at));
        self.waits().retain(|pod| self.may_be_there(pod, Watched::Pods));
        self.owners.tell(signals, &self.cluster, out).await
    }

    /// The edges of replicas most of whose proxies are stale.
    fn stale_replicas(&self, merged: &Merged, at: Timestamp) -> Vec<Signal> {
        let seen = merged.stale_replicas().filter_map(|(name, stale, (count, all))| {
            let (namespace, pod) = name.split_once('/')?;
            let labels = BTreeMap::from([
                ("stale".to_owned(), count.to_string()),
                ("proxies".to_owned(), all.to_string()),
            ]);
            let subject = Subject::pod(namespace, pod);
            // One that is not ready is told as that, and what its proxies lack follows from it; when it is ready
            // again they have all the time that they had before.
            let is_ready = self.cluster.pod(&subject).is_some_and(|pod| pod.ready);
            Some(Seen { subject, met: Ok(stale && is_ready), value: None, labels, at })
        });
        let mut conditions = self.conditions();
        let mut signals: Vec<Signal> =
            seen.filter_map(|seen| conditions.take(&REPLICA_STALE, seen)).collect();
        signals.extend(conditions.retain(&REPLICA_STALE, |pod| self.may_be_there(pod, Watched::Pods), at));
        signals
    }

    /// Where a proxy stands, read fresh. Only Istio's control plane tells.
    pub(super) async fn sync_of(&self, pod: &Subject) -> Result<Sync, String> {
        let found = self.cluster.pod(pod).ok_or_else(|| format!("{pod} is not in our cache"))?;
        let proxy = found.proxy.as_ref().ok_or_else(|| format!("{pod} has no proxy"))?;
        if proxy.mesh != Mesh::Istio {
            let mesh = proxy.mesh.as_str();
            return Err(format!("{mesh}'s control plane does not tell where its proxies stand"));
        }
        let sync = self.picture().await?.sync(pod);
        let stale_s = self.waits().take(pod, &sync, self.clock.now());
        let sync = sync?;
        Ok((sync.state, sync.error, stale_s))
    }

    /// Share of the proxies of a subject that acknowledged what they were sent.
    pub(super) async fn distribution(&self, whom: &Whom<'_>) -> Result<Figure, String> {
        let merged = self.picture().await?;
        let (mut well, mut all) = (0_u32, 0_u32);
        for pod in self.members(whom)? {
            all += 1;
            if merged.sync(&pod.subject())?.state == SyncState::Synced {
                well += 1;
            }
        }
        Ok(Figure { value: f64::from(well) / f64::from(all.max(1)), samples: f64::from(all) })
    }

    fn waits(&self) -> std::sync::MutexGuard<'_, crate::health::Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a proxy stands, in words; empty where it is synced.
pub(super) fn standing(sync: &crate::health::Sync) -> String {
    let types = sync.types.join(", ");
    match (sync.state, &sync.error) {
        (SyncState::Synced, _) => String::new(),
        (SyncState::Stale, _) => format!("stale: {types}"),
        (SyncState::Rejected, error) => {
            let error = error.as_deref().unwrap_or_default();
            format!("rejected {types}: {}", error.chars().take(LONGEST).collect::<String>())
        }
        (SyncState::Disconnected, _) => "no replica of istiod knows it".to_owned(),
    }
}

/// An error may quote the whole configuration; its begin says what is wrong.
const LONGEST: usize = 500;

/// What a signal carries along for those who read it.
fn evidence(sync: &crate::health::Sync) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    if !sync.types.is_empty() {
        labels.insert("types".to_owned(), sync.types.join(","));
    }
    if let Some(error) = &sync.error {
        labels.insert("error".to_owned(), error.chars().take(LONGEST).collect());
    }
    labels
}
