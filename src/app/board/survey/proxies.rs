//! The survey of proxies: each is asked now, and one that keeps silent twice more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Asking, Readings, Scope, found};
use crate::app::board::{Boards, proxies};
use crate::cluster::{Pod, Watched};
use crate::health::{Asked, Found, Misses, Taken};
use crate::model::proxy::Echo;
use crate::rules::Check;
use crate::sources::proxy_check::Target;

/// So often a silent proxy is asked, as by the agent; only closer together, because somebody waits.
const ROUNDS: usize = 3;
const BETWEEN: Duration = Duration::from_secs(2);
/// Silence that began within this time began together.
const TOGETHER_S: u64 = 10;

impl Boards {
    /// The pods with a proxy that are to be well now, or say why not.
    pub(super) fn asked(&self, scope: &Scope) -> Vec<Arc<Pod>> {
        let ours = |pod: &Arc<Pod>| {
            let proxy = pod.proxy.as_ref().is_some_and(|proxy| scope.is_of(proxy.mesh));
            proxy && !pod.terminating && !pod.is_over() && scope.holds(&pod.subject())
        };
        self.cluster.proxies().into_iter().filter(ours).collect()
    }

    /// A pod that was made just now may still pull its images.
    pub(super) fn is_young(&self, pod: &Pod) -> Option<String> {
        let now = self.clock.elsewhere();
        let old = pod.created.is_some_and(|at| now.duration_since(at) >= proxies::OLD_ENOUGH);
        (!old).then(|| "its pod was made less than a minute ago".to_owned())
    }

    /// Why nothing is said of the proxy of a pod yet.
    pub(super) fn too_early(&self, pod: &Pod) -> Option<String> {
        if let Some(why) = self.is_young(pod) {
            return Some(why);
        }
        (!pod.others_ready).then(|| "its pod's other containers are not ready".to_owned())
    }

    /// Whether each proxy answers.
    pub(super) async fn read_proxies(&self, scope: &Scope) -> Readings {
        let pods = self.asked(scope);
        let gaps = self.cluster.gaps(Watched::Pods);
        let ripe = pods.iter().filter(|pod| self.too_early(pod).is_none());
        let targets: Vec<Target> = ripe.filter_map(|pod| proxies::target(pod)).collect();
        let told = match scope.asking {
            Asking::Now => self.ask_thrice(targets, &pods).await,
            Asking::Rounds | Asking::Unasked => self.heard_last(&pods),
        };
        let read = |pod: &Arc<Pod>| {
            let way = proxies::target(pod).map(|target| target.way()).unwrap_or_default();
            let (found, note) = if let Some(why) = self.too_early(pod) {
                (Found::Idle(why), String::new())
            } else if self.check.is_none() {
                (Found::Unread("no source proxies is configured".to_owned()), String::new())
            } else {
                let other = || (Found::Unread(format!("its pod is {}", pod.phase)), String::new());
                told.get(&*pod.uid).cloned().unwrap_or_else(other)
            };
            Taken { note, ..self.taken("proxy_check", (pod.subject(), found), way) }
        };
        (pods.iter().map(read).collect(), gaps)
    }

    /// What the rounds of the running agent heard last, by the uid of each pod.
    fn heard_last(&self, pods: &[Arc<Pod>]) -> BTreeMap<String, (Found, String)> {
        let indicators = self.checked(Check::ProxyLiveness);
        let Some(indicator) = indicators.first() else { return BTreeMap::new() };
        let board = self.lock();
        let last = pods.iter().map(|pod| {
            let probe = board.last(&indicator.id, &pod.subject());
            let found = match probe.map(|probe| (probe.figure, &probe.why)) {
                Some((Some(figure), _)) => Found::Figure(figure),
                Some((None, why)) => Found::Unread(why.clone()),
                None => Found::Unread("it was not asked yet".to_owned()),
            };
            (pod.uid.to_string(), (found, String::new()))
        });
        last.collect()
    }

    /// What is known of each by its pod's uid, with the words of its silence.
    async fn ask_thrice(
        &self,
        mut targets: Vec<Target>,
        pods: &[Arc<Pod>],
    ) -> BTreeMap<String, (Found, String)> {
        let mut told = BTreeMap::new();
        let Some(check) = &self.check else { return told };
        let nodes: BTreeMap<&str, &str> = pods.iter().map(|pod| (&*pod.uid, &*pod.node)).collect();
        let mut misses = Misses::new(TOGETHER_S);
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(BETWEEN).await;
            }
            let mut silent = Vec::new();
            for (target, echo) in check.all(targets).await {
                let asked = Asked { uid: &target.uid, node: nodes.get(&*target.uid).copied().unwrap_or("") };
                let note = if let Echo::Missed(why) = &echo { why.clone() } else { String::new() };
                let missed = matches!(echo, Echo::Missed(_));
                let found = found(misses.take(&asked, echo, self.clock.now()));
                told.insert(target.uid.clone(), (found, note));
                if missed {
                    silent.push(target);
                }
            }
            if silent.is_empty() {
                break;
            }
            targets = silent;
        }
        told
    }
}
