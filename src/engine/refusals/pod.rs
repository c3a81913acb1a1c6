//! What speaks against replacing a proxy, a pod, or all pods of a workload.

use super::{named, need};
use crate::model::action::Action;
use crate::model::facts::{BudgetFacts, Facts, PodFacts, ProxyFacts};
use crate::model::incident::Incident;
use crate::model::reason::Reason;
use crate::model::subject::Subject;

/// The kubelet's back-off grows up to five minutes and is forgotten after ten of good health: a second
/// restart before that costs more than it gives.
const BACK_OFF_S: u64 = 600;

/// Refuses the restart of a proxy that the facts do not bear.
///
/// # Errors
/// The first reason that speaks against it.
pub(super) fn restart(step: &Action, incident: &Incident, facts: &Facts) -> Result<(), Reason> {
    let Action::RestartSidecar { target, uid, container, container_id, .. } = step else { return Ok(()) };
    let pod = need(facts.pod.as_ref(), "pod")?;
    let proxy = need(facts.proxy.as_ref(), "proxy")?;
    named(same_pod(target, uid, pod, incident))?;
    named(*container == proxy.container && *container_id == proxy.container_id)?;
    replaced(pod, facts)?;
    if proxy.rejected {
        let error = proxy.last_error.clone().unwrap_or_else(|| "no words of its own".to_owned());
        return Err(Reason::ProxyRejects { error });
    }
    control_plane(facts)?;
    comes_back(pod, proxy)?;
    if let Some(seconds) = proxy.last_restart_s.filter(|ago| *ago < BACK_OFF_S) {
        return Err(Reason::RestartedRecently { seconds });
    }
    budget(pod, facts.budget.as_ref())
}

/// Refuses the eviction of a pod that the facts do not bear.
///
/// # Errors
/// The first reason that speaks against it.
pub(super) fn evict(
    (target, uid): (&Subject, &String),
    incident: &Incident,
    facts: &Facts,
) -> Result<(), Reason> {
    let pod = need(facts.pod.as_ref(), "pod")?;
    named(same_pod(target, uid, pod, incident))?;
    replaced(pod, facts)?;
    control_plane(facts)?;
    // A DaemonSet's pod comes back on the same node, and a bare one never.
    if matches!(pod.owner.kind.as_str(), "Pod" | "DaemonSet" | "Node") {
        return Err(Reason::NotReplaced { owner: format!("{} {}", pod.owner.kind, pod.owner.name) });
    }
    budget(pod, facts.budget.as_ref())
}

/// Refuses a rollout that the facts do not bear.
///
/// # Errors
/// The first reason that speaks against it.
pub(super) fn rollout(
    (target, uid, generation): (&Subject, &String, u64),
    incident: &Incident,
    facts: &Facts,
) -> Result<(), Reason> {
    let found = need(facts.workload.as_ref(), "workload")?;
    let same = target.kind == found.kind
        && target.namespace == found.namespace
        && target.name == found.name
        && *target == incident.key.owner;
    named(same && *uid == found.uid && generation == found.generation)?;
    control_plane(facts)?;
    if found.updating {
        return Err(Reason::BeingReplaced { what: target.to_string() });
    }
    Ok(())
}

fn same_pod(target: &Subject, uid: &str, pod: &PodFacts, incident: &Incident) -> bool {
    *target == incident.subject
        && target.namespace == pod.namespace
        && target.name == pod.name
        && uid == pod.uid
}

fn replaced(pod: &PodFacts, facts: &Facts) -> Result<(), Reason> {
    if pod.terminating {
        return Err(Reason::BeingReplaced { what: format!("pod {}/{}", pod.namespace, pod.name) });
    }
    match &facts.workload {
        Some(workload) if workload.updating => Err(Reason::BeingReplaced {
            what: format!("{} {}/{}", workload.kind, workload.namespace, workload.name),
        }),
        _ => Ok(()),
    }
}

/// A new proxy asks its control plane for configuration and certificate before it does anything.
fn control_plane(facts: &Facts) -> Result<(), Reason> {
    let found = need(facts.control_plane.as_ref(), "control_plane")?;
    if found.ready_replicas == 0 {
        return Err(Reason::ControlPlaneDown { name: format!("{}/{}", found.namespace, found.name) });
    }
    Ok(())
}

/// A proxy ends with code 0, so only a native sidecar or a pod that restarts always gets it back.
fn comes_back(pod: &PodFacts, proxy: &ProxyFacts) -> Result<(), Reason> {
    if proxy.native || pod.restart_policy == "Always" {
        return Ok(());
    }
    let why = format!("the pod restarts its containers {:?}, and a proxy ends well", pod.restart_policy);
    Err(Reason::NotRestarted { why })
}

/// Only an eviction asks the budget by itself; a restart in place makes the pod unready all the same. One
/// that is not ready is counted out already, as the eviction API sees it.
fn budget(pod: &PodFacts, budget: Option<&BudgetFacts>) -> Result<(), Reason> {
    let Some(budget) = budget else { return Ok(()) };
    let unready = !pod.ready
        && (budget.unhealthy_policy == "AlwaysAllow" || budget.current_healthy >= budget.desired_healthy);
    if budget.disruptions_allowed > 0 || unready {
        return Ok(());
    }
    Err(Reason::NoBudget { budget: budget.name.clone() })
}
