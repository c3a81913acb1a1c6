//! Proxies at work: each is asked in its turn, and those of one case on demand.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use jiff::SignedDuration;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Boards, Whom};
use crate::app::queue::Input;
use crate::cluster::{Mesh, Pod, PodPort, ProxyEyes, Sync, Watched};
use crate::health::{Asked, Misses};
use crate::model::indicator::{Figure, Reading};
use crate::model::proxy::Echo;
use crate::model::subject::Subject;
use crate::rules::{Check, Indicator, Reader};
use crate::sources::proxy_check::{Door, Target};

/// A pod that was made just now may still pull its images; its proxy comes up within a minute.
pub(super) const OLD_ENOUGH: SignedDuration = SignedDuration::from_secs(60);

/// How to ask the proxy of a pod; `None` where it has none, or does not run.
pub(super) fn target(pod: &Pod) -> Option<Target> {
    let proxy = pod.proxy.as_ref()?;
    let door = match proxy.mesh {
        Mesh::Istio => Door::Istio,
        Mesh::Linkerd => Door::Linkerd,
    };
    let ip: Option<IpAddr> = pod.ip;
    let (namespace, name) = (pod.namespace.to_string(), pod.name.to_string());
    let at = PodPort { namespace, pod: name, ip, port: door.port() };
    (&*pod.phase == "Running").then(|| Target { uid: pod.uid.to_string(), at, door })
}

impl Boards {
    /// The indicators of a check.
    pub(super) fn checked(&self, check: Check) -> Vec<Indicator> {
        let wanted = Reader::Check(check);
        self.rules.indicators.iter().filter(|indicator| indicator.reader == wanted).cloned().collect()
    }

    /// Asks all proxies, round by round, until the driver is gone.
    pub async fn watch_proxies(self: Arc<Self>, interval: Duration, out: mpsc::Sender<Input>) {
        let Some(check) = &self.check else { return };
        let misses = Mutex::new(Misses::new(interval.as_secs()));
        let mut fruitless = 0_u32;
        while !out.is_closed() {
            let start = Instant::now();
            let pods = self.ripe();
            let uids: BTreeSet<&str> = pods.iter().map(|pod| &*pod.uid).collect();
            misses.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid| uids.contains(uid));
            let targets: Vec<Target> = pods.iter().filter_map(|pod| target(pod)).collect();
            let (all, asked) = (targets.len(), AtomicU32::new(0));
            check
                .round(targets, |target, echo| {
                    if !matches!(echo, Echo::NotAsked(_)) {
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                    self.heard(target, echo, &misses, &out)
                })
                .await;
            if self.tell_vanished(&self.checked(Check::ProxyLiveness), Watched::Pods, &out).await.is_err() {
                return;
            }
            let vain = all > 0 && asked.load(Ordering::Relaxed) == 0;
            if vain && fruitless == 0 {
                tracing::warn!(proxies = all, "no proxy could be asked; whether they answer is unknown");
            }
            fruitless = if vain { fruitless.saturating_add(1) } else { 0 };
            tokio::time::sleep_until(start + check.period(fruitless)).await;
        }
    }

    /// The pods whose proxies are to answer by now.
    fn ripe(&self) -> Vec<Arc<Pod>> {
        let now = self.clock.elsewhere();
        let old = |pod: &Pod| pod.created.is_some_and(|at| now.duration_since(at) >= OLD_ENOUGH);
        let pods = self.cluster.proxies().into_iter();
        pods.filter(|pod| pod.others_ready && !pod.terminating && !pod.is_over() && old(pod)).collect()
    }

    async fn heard(&self, target: Target, echo: Echo, misses: &Mutex<Misses>, out: &mpsc::Sender<Input>) {
        let at = self.clock.now();
        let subject = Subject::pod(&target.at.namespace, &target.at.pod);
        let node = self.cluster.pod(&subject).map(|pod| pod.node.to_string()).unwrap_or_default();
        let asked = Asked { uid: &target.uid, node: &node };
        let figure = misses.lock().unwrap_or_else(PoisonError::into_inner).take(&asked, echo, at);
        for indicator in self.checked(Check::ProxyLiveness) {
            let (subject, figure) = (subject.clone(), figure.clone());
            let signal = self.take(&Reading { indicator: indicator.id, subject, figure, at });
            // The round ends by itself when the driver is gone.
            self.owners.tell(signal, &self.cluster, out).await.ok();
        }
    }

    /// The pods that stand for a subject: the pod itself while it is there, or all of its owner.
    pub(super) fn members(&self, whom: &Whom<'_>) -> Result<Vec<Arc<Pod>>, String> {
        let living = |pod: &Arc<Pod>| pod.proxy.is_some() && !pod.terminating && !pod.is_over();
        if let Some(pod) = self.cluster.pod(whom.subject).filter(living) {
            return Ok(vec![pod]);
        }
        let owner = if whom.subject.kind == "Pod" { whom.owner } else { whom.subject };
        self.cluster.whole(Watched::Pods, &owner.namespace)?;
        let pods: Vec<Arc<Pod>> = self.cluster.pods_of(owner).into_iter().filter(living).collect();
        if pods.is_empty() { Err(format!("{owner} has no pod with a proxy")) } else { Ok(pods) }
    }

    /// Share of the proxies of a subject that answer now.
    pub(super) async fn liveness(&self, whom: &Whom<'_>) -> Result<Figure, String> {
        let check = self.check.as_ref().ok_or("no source proxies is configured")?;
        let pods = self.members(whom)?;
        let echoes = pods.iter().map(|pod| async {
            match target(pod) {
                Some(target) => check.ask(&target).await,
                None => Echo::NotReady(format!("{} is {}", pod.subject(), pod.phase)),
            }
        });
        share(futures::future::join_all(echoes).await)
    }
}

/// A share of proxies. One that could not be asked makes the whole unknown.
fn share(echoes: Vec<Echo>) -> Result<Figure, String> {
    let (mut well, mut all) = (0_u32, 0_u32);
    for echo in echoes {
        all += 1;
        match echo {
            Echo::Ready => well += 1,
            Echo::NotReady(_) | Echo::Missed(_) => {}
            Echo::NotAsked(why) => return Err(why),
        }
    }
    if all == 0 {
        return Err("there is no proxy to ask".to_owned());
    }
    Ok(Figure { value: f64::from(well) / f64::from(all), samples: f64::from(all) })
}

impl ProxyEyes for Boards {
    fn answering(&self, pod: &Subject) -> BoxFuture<'_, Result<bool, String>> {
        let pod = pod.clone();
        async move {
            let check = self.check.as_ref().ok_or("no source proxies is configured")?;
            let found = self.cluster.pod(&pod).ok_or_else(|| format!("{pod} is not in our cache"))?;
            let target = target(&found).ok_or_else(|| format!("{pod} does not run a proxy"))?;
            match check.ask(&target).await {
                Echo::Ready | Echo::NotReady(_) => Ok(true),
                Echo::Missed(_) => Ok(false),
                Echo::NotAsked(why) => Err(why),
            }
        }
        .boxed()
    }

    fn sync(&self, pod: &Subject) -> BoxFuture<'_, Result<Sync, String>> {
        let pod = pod.clone();
        async move { self.sync_of(&pod).await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutation: leaving those out that could not be asked makes a healthy Deployment of one proxy that was.
    #[test]
    fn a_share_counts_everybody_or_nobody() {
        let value = |echoes: &[Echo]| share(echoes.to_vec()).map(|figure| figure.value).ok();
        let (silent, away) = (Echo::Missed(String::new()), Echo::NotAsked(String::new()));
        let starting = Echo::NotReady(String::new());
        assert_eq!(value(&[Echo::Ready, Echo::Ready]), Some(1.0));
        assert_eq!(value(&[Echo::Ready, silent.clone()]), Some(0.5));
        assert_eq!(value(&[starting, silent]), Some(0.0));
        assert_eq!(value(&[Echo::Ready, away]), None);
        assert_eq!(value(&[]), None);
    }
}
