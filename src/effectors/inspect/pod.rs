//! Facts about a pod, its proxy, its budget, its workload and its control plane.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Effectors, miss};
use crate::cluster::{ContainerState, Pod, Proxy};
use crate::model::effect::Inspect;
use crate::model::facts::{
    BudgetFacts, ControlPlaneFacts, Findings, OwnerFacts, PodFacts, ProxyFacts, SyncState, WorkloadFacts,
};
use crate::model::subject::Subject;

impl Effectors {
    /// Reads what was asked about a pod.
    pub(super) async fn inspect_pod(&self, inspect: &Inspect, findings: &mut Findings) {
        let pod = match self.cluster.read_pod(&inspect.subject).await {
            Ok(Some(pod)) => pod,
            Ok(None) => {
                findings.gone = true;
                self.outlived_by(inspect, findings).await;
                return;
            }
            Err(why) => {
                for need in ["pod", "proxy", "control_plane", "workload", "budget"] {
                    miss(findings, inspect, need, Err::<(), _>(format!("the pod could not be read: {why}")));
                }
                return;
            }
        };
        let owner = self.cluster.owner_of(&pod);
        let wants = |need: &str| inspect.needs.iter().any(|known| known == need);
        findings.labels =
            pod.labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        findings.facts.pod = Some(self.pod_facts(&pod, &owner, findings.labels.clone()));
        if wants("proxy") {
            findings.facts.proxy = miss(findings, inspect, "proxy", self.proxy_facts(&pod).await);
            if self.eyes.is_none() {
                findings.hopeless.insert("proxy".to_owned());
            }
        }
        if wants("workload") && rolls_out(&owner) {
            findings.facts.workload = miss(findings, inspect, "workload", self.workload_facts(&owner).await);
        }
        if wants("budget") {
            findings.facts.budget =
                miss(findings, inspect, "budget", self.budget_facts(&pod).await).flatten();
        }
        if wants("control_plane") {
            let plane = match self.cluster.control_plane_of(&pod) {
                Ok(plane) => self.control_plane_facts(&plane).await,
                Err(why) => Err(why),
            };
            findings.facts.control_plane = miss(findings, inspect, "control_plane", plane);
        }
    }

    /// The workload of a pod that is gone: a rollout takes the pod away on whose account it was made.
    async fn outlived_by(&self, inspect: &Inspect, findings: &mut Findings) {
        if inspect.needs.iter().any(|need| need == "workload") && rolls_out(&inspect.owner) {
            let found = self.workload_facts_if_any(&inspect.owner).await;
            findings.facts.workload = miss(findings, inspect, "workload", found).flatten();
        }
    }

    fn pod_facts(&self, pod: &Pod, owner: &Subject, labels: BTreeMap<String, String>) -> PodFacts {
        PodFacts {
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            uid: pod.uid.to_string(),
            node: pod.node.to_string(),
            phase: pod.phase.to_string(),
            restart_policy: pod.restart_policy.to_string(),
            owner: OwnerFacts { kind: owner.kind.to_string(), name: owner.name.to_string() },
            labels,
            ready: pod.ready,
            others_ready: pod.others_ready,
            terminating: pod.terminating,
            age_s: pod.created.map_or(0, |created| self.since(created)),
        }
    }

    async fn proxy_facts(&self, pod: &Pod) -> Result<ProxyFacts, String> {
        let proxy = pod.proxy.as_ref().ok_or_else(|| format!("{} has no proxy", pod.subject()))?;
        let eyes = self.eyes.as_ref().ok_or("nothing is configured that could ask proxies")?;
        let subject = pod.subject();
        let (answering, sync) = futures::join!(eyes.answering(&subject), eyes.sync(&subject));
        let answering = answering.map_err(|why| format!("the proxy could not be asked: {why}"))?;
        let (sync, last_error, stale_s) =
            sync.map_err(|why| format!("nobody says where its configuration stands: {why}"))?;
        Ok(ProxyFacts {
            mesh: proxy.mesh.as_str().to_owned(),
            container: proxy.mesh.container().to_owned(),
            container_id: proxy.container_id.to_string(),
            native: proxy.native,
            version: proxy.version().to_owned(),
            ready: proxy.ready,
            restarts: proxy.restarts,
            last_restart_s: last_restart(proxy).map(|at| self.since(at)),
            answering,
            sync,
            rejected: sync == SyncState::Rejected,
            stale_s,
            last_error,
        })
    }

    /// The one budget that selects the pod.
    async fn budget_facts(&self, pod: &Pod) -> Result<Option<BudgetFacts>, String> {
        let found = self.cluster.read_budgets(pod).await?;
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(BudgetFacts {
                name: one.name.to_string(),
                disruptions_allowed: one.disruptions_allowed,
                current_healthy: one.current_healthy,
                desired_healthy: one.desired_healthy,
                unhealthy_policy: one.unhealthy_policy.to_string(),
            })),
            several => {
                let names: Vec<&str> = several.iter().map(|budget| &*budget.name).collect();
                Err(format!(
                    "several budgets select the pod, so that it cannot be evicted at all: {}",
                    names.join(", ")
                ))
            }
        }
    }

    /// A workload by its name.
    pub(super) async fn workload_facts(&self, owner: &Subject) -> Result<WorkloadFacts, String> {
        let found = self.workload_facts_if_any(owner).await?;
        found.ok_or_else(|| format!("{owner} does not exist any more"))
    }

    async fn workload_facts_if_any(&self, owner: &Subject) -> Result<Option<WorkloadFacts>, String> {
        let Some(found) = self.cluster.read_workload(owner).await? else { return Ok(None) };
        let workload = &found.workload;
        Ok(Some(WorkloadFacts {
            kind: workload.kind.to_owned(),
            namespace: workload.namespace.to_string(),
            name: workload.name.to_string(),
            uid: workload.uid.to_string(),
            generation: workload.generation,
            restarted_at: found.restarted_at,
            replicas: workload.replicas,
            ready: workload.ready,
            updating: workload.updating,
            age_of_change_s: found.changed.map_or(0, |at| self.since(at)),
            managed_by: found.managed_by,
        }))
    }

    /// A control plane by its Deployment. Which revision it is of is known from the watch; how many replicas
    /// are ready is read now.
    pub(super) async fn control_plane_facts(
        &self,
        deployment: &Subject,
    ) -> Result<ControlPlaneFacts, String> {
        let plane = self.cluster.control_plane(deployment);
        let plane = plane.ok_or_else(|| format!("{deployment} is no control plane we know"))?;
        let found = self.cluster.read_workload(deployment).await?;
        let found = found.ok_or_else(|| format!("{deployment} does not exist any more"))?;
        Ok(ControlPlaneFacts {
            mesh: plane.mesh.as_str().to_owned(),
            revision: plane.revision,
            namespace: deployment.namespace.to_string(),
            name: deployment.name.to_string(),
            replicas: found.workload.replicas,
            ready_replicas: found.workload.ready,
            version: found.workload.version().to_owned(),
        })
    }

    /// Seconds since then; a clock that is ahead of ours makes it now.
    pub(super) fn since(&self, at: Timestamp) -> u64 {
        u64::try_from(self.clock.now().duration_since(at).as_secs()).unwrap_or(0)
    }
}

/// Whether an owner replaces its pods by rollouts. A bare pod and one of a Job have no such workload, which is
/// an answer; of an owner that we do not know, nobody knows whether a rollout is under way.
fn rolls_out(owner: &Subject) -> bool {
    !matches!((owner.group.as_str(), owner.kind.as_str()), ("", "Pod") | ("batch", "Job"))
}

/// When the container was started again; `None` when it never was.
fn last_restart(proxy: &Proxy) -> Option<Timestamp> {
    if proxy.restarts == 0 {
        return None;
    }
    match proxy.state {
        ContainerState::Running(since) => since,
        ContainerState::Waiting(_) | ContainerState::Terminated(_) | ContainerState::Unknown => {
            proxy.last_end.as_ref().and_then(|end| end.at)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutations: no workload for any kind we cannot read, which lets a pod of an unknown owner be restarted
    // in the middle of a rollout; a bare pod whose workload is unknown, which is never restarted at all.
    #[test]
    fn only_bare_pods_and_jobs_surely_have_no_rollouts() {
        let of = |group, kind| rolls_out(&Subject::new(group, kind, "shop", "cart"));
        assert!(!of("", "Pod") && !of("batch", "Job"));
        assert!(of("apps", "Deployment") && of("apps", "ReplicaSet") && of("argoproj.io", "Rollout"));
    }
}
