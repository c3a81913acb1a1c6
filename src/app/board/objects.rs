//! What the watches already hold: crashing proxies, control planes without a replica, and certificates that
//! were not renewed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{Boards, Closed, Whom};
use crate::app::queue::Input;
use crate::cluster::{Certificate, Pod, Watched, Workload};
use crate::health::{CRASHING, Container, Crashes, EXPIRING, Life, Seen};
use crate::model::indicator::{Figure, Reading};
use crate::model::signal::Signal;
use crate::rules::Check;

/// The watches know at once; looking at what they hold costs nothing but a walk over it.
const EVERY: Duration = Duration::from_secs(2);

impl Boards {
    /// Looks at what the watches hold, again and again, until the driver is gone.
    pub async fn watch_objects(self: Arc<Self>, out: mpsc::Sender<Input>) {
        let mut crashes = Crashes::default();
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.look(&mut crashes, &out).await.is_err() {
                return;
            }
        }
    }

    async fn look(&self, crashes: &mut Crashes, out: &mpsc::Sender<Input>) -> Result<(), Closed> {
        let at = self.clock.now();
        let mut signals = self.crashing(crashes, at);
        signals.extend(self.planes(at));
        signals.extend(self.expiring(at));
        signals.extend(self.odd_pods(at));
        signals.extend(self.idle_rules(at));
        self.owners.tell(signals, &self.cluster, out).await?;
        self.tell_vanished(&self.checked(Check::ControlPlaneReady), Watched::Deployments, out).await?;
        self.owners.retain(|pod| self.may_be_there(pod, Watched::Pods), at);
        Ok(())
    }

    fn crashing(&self, crashes: &mut Crashes, at: Timestamp) -> Vec<Signal> {
        let pods = self.cluster.proxies();
        let uids: BTreeSet<&str> = pods.iter().map(|pod| &*pod.uid).collect();
        crashes.retain(|uid| uids.contains(uid));
        let seen = |pod: &Arc<Pod>| {
            let proxy = pod.proxy.as_ref().filter(|_| !pod.is_over() && !pod.terminating)?;
            let now =
                Container { restarts: proxy.restarts, backs_off: proxy.backs_off(), ready: proxy.ready };
            let mut labels = BTreeMap::from([("restarts".to_owned(), proxy.restarts.to_string())]);
            if let Some(end) = &proxy.last_end {
                labels.insert("reason".to_owned(), end.reason.to_string());
                labels.insert("exit_code".to_owned(), end.exit_code.to_string());
            }
            let (subject, value) = (pod.subject(), Some(f64::from(proxy.restarts)));
            Some(Seen { subject, met: crashes.take(&pod.uid, now, at), value, labels, at })
        };
        let seen: Vec<Seen> = pods.iter().filter_map(seen).collect();
        let mut conditions = self.conditions();
        let mut signals: Vec<Signal> =
            seen.into_iter().filter_map(|seen| conditions.take(&CRASHING, seen)).collect();
        signals.extend(conditions.retain(&CRASHING, |pod| self.may_be_there(pod, Watched::Pods), at));
        signals
    }

    fn planes(&self, at: Timestamp) -> Vec<Signal> {
        let mut signals = Vec::new();
        for plane in self.cluster.control_planes() {
            for indicator in self.checked(Check::ControlPlaneReady) {
                let (subject, figure) = (plane.subject(), ready(&plane.workload));
                let reading = Reading { indicator: indicator.id, subject, figure, at };
                signals.extend(self.take(&reading).map(|mut signal| {
                    signal.labels.insert("revision".to_owned(), plane.revision.clone());
                    signal
                }));
            }
        }
        signals
    }

    fn expiring(&self, at: Timestamp) -> Vec<Signal> {
        // Its times are wall clock times of the issuer.
        let now = self.clock.elsewhere();
        let mut conditions = self.conditions();
        let seen = self.cluster.certificates().into_iter().map(|certificate| {
            let life = life(&certificate);
            let mut labels = BTreeMap::new();
            if let Some(end) = certificate.not_after {
                labels.insert("not_after".to_owned(), end.to_string());
            }
            let value = life.left(now).ok().map(|figure| figure.value);
            Seen { subject: certificate.subject(), met: life.expiring(now), value, labels, at }
        });
        let mut signals: Vec<Signal> = seen.filter_map(|seen| conditions.take(&EXPIRING, seen)).collect();
        let there = |subject: &_| self.may_be_there(subject, Watched::Certificates);
        signals.extend(conditions.retain(&EXPIRING, there, at));
        signals
    }

    /// Share of its life that a certificate has left, short while its renewal is overdue.
    pub(super) fn validity(&self, whom: &Whom<'_>) -> Result<Figure, String> {
        let found = self.cluster.certificate(whom.subject);
        let found = found.ok_or_else(|| format!("{} is not in our cache", whom.subject))?;
        life(&found).validity(self.clock.elsewhere())
    }

    /// Share of a control plane's replicas that are ready.
    pub(super) fn discovery(&self, whom: &Whom<'_>) -> Result<Figure, String> {
        let found = self.cluster.control_plane(whom.subject);
        let found = found.ok_or_else(|| format!("{} is no control plane that we see", whom.subject))?;
        ready(&found.workload)
    }
}

pub(super) fn life(certificate: &Certificate) -> Life {
    Life {
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        renewal: certificate.renewal,
        issuing: certificate.issuing,
    }
}

/// A control plane of which nobody wants a replica was switched off, not lost.
pub(super) fn ready(workload: &Workload) -> Result<Figure, String> {
    if workload.replicas == 0 {
        return Err(format!("{} is scaled to zero", workload.subject()));
    }
    let (ready, all) = (f64::from(workload.ready), f64::from(workload.replicas));
    Ok(Figure { value: (ready / all).min(1.0), samples: all })
}
