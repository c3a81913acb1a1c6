//! How the fleet looks to an inspection: facts made of the truth.

use std::collections::BTreeMap;

use meshmend::model::action::Limits;
use meshmend::model::effect::Inspect;
use meshmend::model::facts::{
    BudgetFacts, CertificateFacts, ControlPlaneFacts, DestinationRuleFacts, Facts, LastGoodDestination,
    LastGoodFacts, ManagedBy, OwnerFacts, PodFacts, ProxyFacts, SyncState, WorkloadFacts,
};

use super::fleet::{Fleet, Pod, id, spec};

/// The facts that were asked for.
pub(super) fn into(fleet: &Fleet, inspect: &Inspect, facts: &mut Facts) {
    let pod = fleet.pods.get_key_value(&inspect.subject.name);
    facts.pod = pod.map(|(name, pod)| pod_facts(name, pod));
    facts.proxy = pod.map(|(_, pod)| proxy_facts(pod));
    facts.control_plane = Some(control_plane(fleet));
    facts.workload = Some(workload(fleet));
    facts.budget = Some(budget(fleet));
    facts.destination_rule = Some(rule(fleet));
    facts.certificate = Some(certificate(fleet));
    for fact in ["pod", "proxy", "control_plane", "workload", "budget", "destination_rule", "certificate"] {
        if !inspect.needs.iter().any(|need| need == fact) {
            forget(facts, fact);
        }
    }
}

/// Takes one fact out again.
pub(super) fn forget(facts: &mut Facts, fact: &str) {
    match fact {
        "pod" => facts.pod = None,
        "proxy" => facts.proxy = None,
        "control_plane" => facts.control_plane = None,
        "workload" => facts.workload = None,
        "budget" => facts.budget = None,
        "destination_rule" => facts.destination_rule = None,
        "certificate" => facts.certificate = None,
        "traffic" => facts.traffic = None,
        _ => {}
    }
}

fn pod_facts(name: &str, pod: &Pod) -> PodFacts {
    PodFacts {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: id(pod.uid),
        node: "n".to_owned(),
        phase: "Running".to_owned(),
        restart_policy: "Always".to_owned(),
        owner: OwnerFacts { kind: "Deployment".to_owned(), name: "cart".to_owned() },
        labels: BTreeMap::new(),
        ready: true,
        others_ready: true,
        terminating: pod.terminating,
        age_s: 900,
    }
}

fn proxy_facts(pod: &Pod) -> ProxyFacts {
    ProxyFacts {
        mesh: "istio".to_owned(),
        container: "istio-proxy".to_owned(),
        container_id: id(pod.container),
        native: false,
        version: String::new(),
        ready: true,
        restarts: pod.restarts,
        last_restart_s: None,
        answering: false,
        sync: if pod.rejected { SyncState::Rejected } else { SyncState::Stale },
        rejected: pod.rejected,
        stale_s: None,
        last_error: None,
    }
}

fn control_plane(fleet: &Fleet) -> ControlPlaneFacts {
    ControlPlaneFacts {
        mesh: "istio".to_owned(),
        revision: "default".to_owned(),
        namespace: "istio-system".to_owned(),
        name: "istiod".to_owned(),
        replicas: 2,
        ready_replicas: fleet.ready,
        version: String::new(),
    }
}

fn workload(fleet: &Fleet) -> WorkloadFacts {
    WorkloadFacts {
        kind: "Deployment".to_owned(),
        namespace: "shop".to_owned(),
        name: "cart".to_owned(),
        uid: "w".to_owned(),
        generation: fleet.generation,
        restarted_at: (fleet.restarts > 0).then(|| fleet.restarts.to_string()),
        replicas: 4,
        ready: 4,
        updating: fleet.updating,
        age_of_change_s: 900,
        managed_by: ManagedBy::None,
    }
}

fn budget(fleet: &Fleet) -> BudgetFacts {
    BudgetFacts {
        name: "cart".to_owned(),
        disruptions_allowed: fleet.disruptions,
        current_healthy: 3 + fleet.disruptions,
        desired_healthy: 3,
        unhealthy_policy: "IfHealthyBudget".to_owned(),
    }
}

fn rule(fleet: &Fleet) -> DestinationRuleFacts {
    let host = || "cart.shop.svc.cluster.local".to_owned();
    let destinations = vec![LastGoodDestination {
        host: host(),
        subset: None,
        weight: 100,
        defined: true,
        ready: 2,
        ready_when_proven: Some(2),
    }];
    DestinationRuleFacts {
        namespace: "shop".to_owned(),
        name: "cart".to_owned(),
        uid: "d".to_owned(),
        spec_hash: spec(fleet.revision, fleet.shed),
        host: host(),
        limits: Limits::default(),
        outlier: None,
        managed_by: ManagedBy::None,
        shed: fleet.shed,
        others: Vec::new(),
        changed_s: 900,
        changed_by: "kubectl".to_owned(),
        current_good: false,
        // What a rollback leads to is written as a revision of its own.
        last_good: Some(LastGoodFacts {
            spec_hash: spec(fleet.revision + 1, false),
            age_s: 900,
            manager: "kubectl".to_owned(),
            destinations,
        }),
    }
}

fn certificate(fleet: &Fleet) -> CertificateFacts {
    CertificateFacts {
        namespace: "shop".to_owned(),
        name: "cart".to_owned(),
        uid: "c".to_owned(),
        not_after_s: 864,
        renewal_s: -60,
        life_s: 86_400,
        issuing: fleet.issuing,
        issuing_s: None,
        issuer_ready: true,
        revision: fleet.renewed,
        failed_attempts: 0,
    }
}
