//! Pods, workloads, rules and certificates for the stories of the acts beside the rollback. Their playbooks
//! check nothing, so that only the engine stands between facts and act.

use std::collections::{BTreeMap, BTreeSet};

use super::desk::{Desk, hash, reading, signal};
use crate::model::action::{Action, Limits};
use crate::model::change::Change;
use crate::model::event::EventKind;
use crate::model::facts::{
    BudgetFacts, CertificateFacts, ControlPlaneFacts, DestinationRuleFacts, Facts, Findings,
    LastGoodDestination, LastGoodFacts, ManagedBy, OwnerFacts, PodFacts, Population, ProxyFacts, SyncState,
    TrafficFacts, WorkloadFacts,
};
use crate::model::incident::{Incident, IncidentId};
use crate::model::indicator::Level;
use crate::model::plan::Rehearsal;
use crate::model::signal::{Signal, SignalState};
use crate::model::subject::{CERT_MANAGER, Subject};

const RECOVER: &str =
    "recover: #{ indicator: \"traffic.route_error_rate\", soak: \"5s\", within: \"1m\", hold: \"9s\" }";

/// A desk with a bare playbook for each act, where much may be done at once.
pub(super) fn desk() -> Desk {
    desk_with("attempts: { max: 9, refill: 1h }")
}

/// The same with further keys of the policy.
pub(super) fn desk_with(spec: &str) -> Desk {
    let wide = "{ share: 100%, absolute: 900 }";
    let concurrent = format!("{{ workload: {wide}, namespace: {wide}, mesh: {wide} }}");
    desk_under(&format!("mode: enforce\ncooldown: 1s\nblastRadius: {{ concurrent: {concurrent} }}\n{spec}"))
}

/// The same playbooks under this policy.
pub(super) fn desk_under(spec: &str) -> Desk {
    let playbook = |on: &str, needs: &str, plan: &str| {
        format!(
            "//! {on}.\nfn about() {{ #{{ on: [symptom(\"{on}\")], needs: [{needs}], {RECOVER} }} }}\n\
             fn plan(facts) {{ [{plan}] }}\nfn next(history) {{ retry() }}\n"
        )
    };
    let pod = "\"pod\", \"proxy?\", \"control_plane\", \"budget?\", \"workload?\"";
    let shed = "\"destination_rule?\", \"traffic\"";
    let texts = [
        ("restart", "data_plane.proxy_hung", pod, "restart_sidecar(facts.pod, facts.proxy)"),
        ("evict", "data_plane.proxy_crashing", pod, "evict_pod(facts.pod)"),
        (
            "rollout",
            "data_plane.outdated",
            "\"workload\", \"control_plane\"",
            "rollout_restart(facts.workload)",
        ),
        (
            "shed",
            "traffic.overload",
            shed,
            "shed_load(if \"destination_rule\" in facts { facts.destination_rule } else { this.subject }, \
             #{ max_requests: 4, expires: \"10m\" })",
        ),
        (
            "rotate",
            "security.certificate_expiring",
            "\"certificate\"",
            "rotate_certificate(facts.certificate)",
        ),
    ];
    let texts: Vec<(String, String)> = texts
        .iter()
        .map(|(name, on, needs, plan)| (format!("{name}.rhai"), playbook(on, needs, plan)))
        .collect();
    let files: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    Desk::with(spec, &files)
}

pub(super) fn istiod() -> Subject {
    Subject::new("apps", "Deployment", "istio-system", "istiod")
}

pub(super) fn deployment() -> Subject {
    Subject::new("apps", "Deployment", "shop", "cart")
}

pub(super) fn certificate() -> Subject {
    Subject::new(CERT_MANAGER, "Certificate", "shop", "cart")
}

/// What our own watch says of a pod of the Deployment.
pub(super) fn of_pod(symptom: &str, pod: &str, desk: &Desk) -> Signal {
    Signal {
        symptom: symptom.parse().expect("it is a symptom"),
        source: "watch".to_owned(),
        owner: Some(deployment()),
        depends_on: Some(istiod()),
        ..signal(Subject::pod("shop", pod), desk.at)
    }
}

/// What is said of something that belongs to nothing else.
pub(super) fn of(symptom: &str, subject: Subject, desk: &Desk) -> Signal {
    let (symptom, source) = (symptom.parse().expect("it is a symptom"), "watch".to_owned());
    Signal { symptom, source, ..signal(subject, desk.at) }
}

pub(super) fn down(desk: &Desk) -> Signal {
    of("control_plane.down", istiod(), desk)
}

pub(super) fn over(signal: &Signal) -> Signal {
    Signal { state: SignalState::Resolved, ..signal.clone() }
}

impl Desk {
    pub(super) fn says(&mut self, signal: Signal) -> Vec<Change> {
        self.hear(EventKind::Signal { signal })
    }

    pub(super) fn of_subject(&self, name: &str) -> &Incident {
        let all = self.state.incidents.values().rev();
        all.into_iter().find(|case| case.subject.name == name).expect("it has a case")
    }

    /// The last inspection of this case finds these facts, and its indicator ill.
    pub(super) fn finds_of(&mut self, incident: &IncidentId, facts: Facts) -> Vec<Change> {
        let findings = found(facts, self);
        self.finds_all(incident, findings)
    }

    pub(super) fn finds_all(&mut self, incident: &IncidentId, findings: Findings) -> Vec<Change> {
        let inspection = self.state.incidents[incident].inspection;
        let (incident, findings) = (incident.clone(), Box::new(findings));
        self.hear(EventKind::Inspected { incident, inspection, findings })
    }

    /// From the signal to the write of the newest case.
    pub(super) fn acts_on(&mut self, facts: Facts) {
        let id = self.id();
        self.finds_of(&id, facts);
        self.rehearses(Rehearsal::Accepted { diff: String::new() });
    }
}

pub(super) fn found(facts: Facts, desk: &Desk) -> Findings {
    let indicator = "traffic.route_error_rate".to_owned();
    Findings {
        facts,
        missing: BTreeMap::new(),
        hopeless: BTreeSet::new(),
        indicators: BTreeMap::from([(indicator, reading(Level::Critical, desk.at))]),
        labels: BTreeMap::new(),
        population: Population { workload: 900, namespace: 900, mesh: 900 },
        gone: false,
    }
}

/// Facts that speak against no act; `pod` is the pod's name.
pub(super) fn facts(pod: &str) -> Facts {
    Facts {
        route: None,
        traffic: Some(traffic()),
        pod: Some(pod_facts(pod)),
        proxy: Some(proxy_facts()),
        control_plane: Some(ControlPlaneFacts {
            mesh: "istio".to_owned(),
            revision: "default".to_owned(),
            namespace: "istio-system".to_owned(),
            name: "istiod".to_owned(),
            replicas: 2,
            ready_replicas: 2,
            version: String::new(),
        }),
        workload: Some(WorkloadFacts {
            kind: "Deployment".to_owned(),
            namespace: "shop".to_owned(),
            name: "cart".to_owned(),
            uid: "w".to_owned(),
            generation: 3,
            restarted_at: None,
            replicas: 3,
            ready: 2,
            updating: false,
            age_of_change_s: 900,
            managed_by: ManagedBy::None,
        }),
        budget: Some(BudgetFacts {
            name: "cart".to_owned(),
            disruptions_allowed: 1,
            current_healthy: 3,
            desired_healthy: 2,
            unhealthy_policy: "IfHealthyBudget".to_owned(),
        }),
        destination_rule: Some(rule_facts()),
        certificate: Some(CertificateFacts {
            namespace: "shop".to_owned(),
            name: "cart".to_owned(),
            uid: "c".to_owned(),
            not_after_s: 864,
            renewal_s: -60,
            life_s: 86_400,
            issuing: false,
            issuing_s: None,
            issuer_ready: true,
            revision: 4,
            failed_attempts: 0,
        }),
    }
}

fn traffic() -> TrafficFacts {
    TrafficFacts {
        requests: 900.0,
        error_rate: 0.3,
        success_rate: 0.7,
        window_s: 60,
        p99_ms: None,
        concurrency: Some(40.0),
        clients: Some(4),
        ready_endpoints: Some(3),
    }
}

fn pod_facts(name: &str) -> PodFacts {
    PodFacts {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: "u".to_owned(),
        node: "n".to_owned(),
        phase: "Running".to_owned(),
        restart_policy: "Always".to_owned(),
        owner: OwnerFacts { kind: "Deployment".to_owned(), name: "cart".to_owned() },
        labels: BTreeMap::new(),
        ready: true,
        others_ready: true,
        terminating: false,
        age_s: 900,
    }
}

fn proxy_facts() -> ProxyFacts {
    ProxyFacts {
        mesh: "istio".to_owned(),
        container: "istio-proxy".to_owned(),
        container_id: "c1".to_owned(),
        native: false,
        version: String::new(),
        ready: true,
        restarts: 0,
        last_restart_s: None,
        answering: false,
        sync: SyncState::Synced,
        rejected: false,
        stale_s: None,
        last_error: None,
    }
}

fn rule_facts() -> DestinationRuleFacts {
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
        spec_hash: hash("rule"),
        host: host(),
        limits: Limits::default(),
        outlier: None,
        managed_by: ManagedBy::None,
        shed: false,
        others: Vec::new(),
        changed_s: 900,
        changed_by: "kubectl".to_owned(),
        current_good: false,
        last_good: Some(LastGoodFacts {
            spec_hash: hash("good"),
            age_s: 900,
            manager: "kubectl".to_owned(),
            destinations,
        }),
    }
}

pub(super) fn host() -> String {
    "cart.shop.svc.cluster.local".to_owned()
}

// --- the acts that fit these facts, on pod cart-1

pub(super) fn restart() -> Action {
    Action::RestartSidecar {
        target: Subject::pod("shop", "cart-1"),
        uid: "u".to_owned(),
        container: "istio-proxy".to_owned(),
        container_id: "c1".to_owned(),
        drain_s: 5,
    }
}

pub(super) fn evict() -> Action {
    Action::EvictPod { target: Subject::pod("shop", "cart-1"), uid: "u".to_owned() }
}

pub(super) fn rollout() -> Action {
    Action::RolloutRestart { target: deployment(), uid: "w".to_owned(), generation: 3, restarted_at: None }
}

pub(super) fn shed() -> Action {
    Action::ShedLoad {
        target: Subject::destination_rule("shop", "cart"),
        uid: "d".to_owned(),
        from: Some(hash("rule")),
        host: host(),
        limits: Limits { max_requests: Some(4), ..Limits::default() },
        expires_s: 600,
    }
}

pub(super) fn rotate() -> Action {
    Action::RotateCertificate { target: certificate(), uid: "c".to_owned(), revision: 4 }
}

pub(super) fn roll_rule_back() -> Action {
    Action::RollbackRoute {
        target: Subject::destination_rule("shop", "cart"),
        uid: "d".to_owned(),
        from: hash("rule"),
        to: hash("good"),
    }
}
