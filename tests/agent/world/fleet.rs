//! The fleet: pods with proxies, their workload, its budget, their control plane, a rule whose limits can be
//! tightened, and a certificate, as they really are.

use std::collections::{BTreeMap, BTreeSet};

use meshmend::model::action::Action;
use meshmend::model::digest::Digest;
use meshmend::model::effect::Inspect;
use meshmend::model::facts::Findings;
use meshmend::model::subject::{CERT_MANAGER, Subject};

use super::tape::Tape;

/// What decided whether an act was safe, at the time of the look that it was planned on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truth {
    pub(crate) down: bool,
    pub(crate) rejected: bool,
    pub(crate) no_budget: bool,
}

pub(super) struct Pod {
    pub(super) uid: u32,
    pub(super) container: u32,
    pub(super) restarts: u32,
    pub(super) rejected: bool,
    pub(super) terminating: bool,
}

/// The fleet as it really is.
pub(crate) struct Fleet {
    pub(super) pods: BTreeMap<String, Pod>,
    born: u32,
    /// Raised by every restart, and by everything else that somebody writes.
    pub(super) generation: u64,
    pub(super) restarts: u64,
    pub(super) updating: bool,
    pub(super) disruptions: u32,
    pub(super) ready: u32,
    /// Revision of the rule's spec as people wrote it.
    pub(super) revision: u32,
    /// Whether our limits are on it.
    pub(super) shed: bool,
    pub(super) renewed: u64,
    pub(super) issuing: bool,
    /// Owners for which the last act helped: probes say so mostly.
    pub(super) helped: BTreeSet<Subject>,
}

pub(crate) fn istiod() -> Subject {
    Subject::new("apps", "Deployment", "istio-system", "istiod")
}

pub(crate) fn deployment() -> Subject {
    Subject::new("apps", "Deployment", "shop", "cart")
}

pub(crate) fn service() -> Subject {
    Subject::service("shop", "cart")
}

pub(crate) fn rule() -> Subject {
    Subject::destination_rule("shop", "cart")
}

pub(crate) fn certificate() -> Subject {
    Subject::new(CERT_MANAGER, "Certificate", "shop", "cart")
}

pub(super) fn spec(revision: u32, shed: bool) -> Digest {
    Digest::of_bytes(format!("rule:{revision}:{shed}").as_bytes())
}

impl Default for Fleet {
    fn default() -> Self {
        let mut fleet = Self {
            pods: BTreeMap::new(),
            born: 0,
            generation: 1,
            restarts: 0,
            updating: false,
            disruptions: 1,
            ready: 2,
            revision: 1,
            shed: false,
            renewed: 1,
            issuing: false,
            helped: BTreeSet::new(),
        };
        (0..4).for_each(|_| fleet.bear());
        fleet
    }
}

impl Fleet {
    /// A new pod of the workload, with a name that was never there.
    fn bear(&mut self) {
        self.born += 1;
        let pod = Pod { uid: self.born, container: 1, restarts: 0, rejected: false, terminating: false };
        self.pods.insert(format!("cart-{}", self.born), pod);
    }

    pub(crate) fn any_pod(&self, tape: &mut Tape) -> String {
        let names: Vec<&String> = self.pods.keys().collect();
        (*tape.one(&names)).clone()
    }

    pub(crate) fn truth(&self, subject: &Subject) -> Truth {
        let rejected = self.pods.get(&subject.name).is_some_and(|pod| pod.rejected);
        Truth { down: self.ready == 0, rejected, no_budget: self.disruptions == 0 }
    }

    pub(crate) fn is_shed(&self) -> bool {
        self.shed
    }

    /// The control plane goes down, or comes back.
    pub(crate) fn control_plane(&mut self, ready: u32) {
        self.ready = ready;
    }

    /// Things change by themselves, or by other people's hands.
    pub(crate) fn drift(&mut self, tape: &mut Tape) {
        let name = self.any_pod(tape);
        match tape.weighted(&[3, 3, 2, 2, 2, 1, 2, 1]) {
            0 => self.disruptions = u32::from(self.disruptions == 0),
            1 => {
                if let Some(pod) = self.pods.get_mut(&name) {
                    pod.rejected = !pod.rejected;
                }
            }
            // The kubelet restarts it.
            2 => {
                if let Some(pod) = self.pods.get_mut(&name) {
                    (pod.container, pod.restarts) = (pod.container + 1, pod.restarts + 1);
                }
            }
            3 => {
                self.pods.remove(&name);
                self.bear();
            }
            4 => self.updating = !self.updating,
            5 => self.generation += 1,
            // Somebody writes the rule; what was ours is gone with it.
            6 => (self.revision, self.shed) = (self.revision + 1, false),
            _ => {
                self.renewed += u64::from(self.issuing);
                self.issuing = !self.issuing;
            }
        }
    }

    /// Whether the preconditions of a write hold now.
    fn fits(&self, action: &Action) -> bool {
        match action {
            Action::RestartSidecar { target, uid, container_id, .. } => self
                .pods
                .get(&target.name)
                .is_some_and(|pod| *uid == id(pod.uid) && *container_id == id(pod.container)),
            Action::EvictPod { target, uid } => {
                self.disruptions > 0 && self.pods.get(&target.name).is_some_and(|pod| *uid == id(pod.uid))
            }
            Action::RolloutRestart { generation, .. } => *generation == self.generation,
            Action::ShedLoad { from, .. } => !self.shed && *from == Some(spec(self.revision, false)),
            Action::Restore { .. } => self.shed,
            Action::RotateCertificate { revision, .. } => *revision == self.renewed && !self.issuing,
            Action::RollbackRoute { from, .. } => !self.shed && *from == spec(self.revision, false),
            Action::Notify { .. } => false,
        }
    }

    /// A write reaches its object, if its preconditions hold there.
    pub(crate) fn write(&mut self, action: &Action) -> bool {
        if !self.fits(action) {
            return false;
        }
        match action {
            Action::RestartSidecar { target, .. } => {
                let pod = self.pods.get_mut(&target.name).expect("it fits");
                (pod.container, pod.restarts) = (pod.container + 1, pod.restarts + 1);
            }
            Action::EvictPod { target, .. } => {
                self.pods.remove(&target.name);
                self.bear();
            }
            Action::RolloutRestart { .. } => {
                (self.generation, self.restarts) = (self.generation + 1, self.restarts + 1);
                self.pods.clear();
                (0..4).for_each(|_| self.bear());
            }
            Action::ShedLoad { .. } => self.shed = true,
            Action::Restore { .. } => self.shed = false,
            Action::RotateCertificate { .. } => self.renewed += 1,
            Action::RollbackRoute { .. } => self.revision += 1,
            Action::Notify { .. } => {}
        }
        true
    }

    /// Whether what the write wants is so already.
    pub(super) fn is_so(&self, action: &Action) -> bool {
        matches!(action, Action::Restore { .. }) && !self.shed
    }

    pub(super) fn is_gone(&self, subject: &Subject) -> bool {
        subject.kind == "Pod" && !self.pods.contains_key(&subject.name)
    }

    /// What an inspection finds of the rule when the subject is gone; sometimes it cannot be read.
    pub(super) fn rule_alone(&self, inspect: &Inspect, findings: &mut Findings, tape: &mut Tape) {
        let needs = inspect.needs.iter().filter(|need| *need == "destination_rule").cloned().collect();
        let inspect = Inspect { needs, ..inspect.clone() };
        self.findings(&inspect, findings, tape);
    }

    /// What an inspection finds; sometimes something cannot be read.
    pub(super) fn findings(&self, inspect: &Inspect, findings: &mut Findings, tape: &mut Tape) {
        if self.is_gone(&inspect.subject) {
            findings.gone = true;
        }
        super::looks::into(self, inspect, &mut findings.facts);
        if tape.percent(8) && !inspect.needs.is_empty() {
            let fact = tape.one(&inspect.needs).clone();
            super::looks::forget(&mut findings.facts, &fact);
            findings.missing.insert(fact, "the API server did not answer".to_owned());
        }
    }
}

pub(super) fn id(number: u32) -> String {
    format!("n{number}")
}
