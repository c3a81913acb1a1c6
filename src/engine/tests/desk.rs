//! The desk of the engine's stories: a state with its rules and its time, and short words for what is heard.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::super::{State, apply, decide, effects};
use crate::model::change::Change;
use crate::model::digest::Digest;
use crate::model::effect::{Effect, Execute};
use crate::model::event::{Event, EventKind, InForce, Vote};
use crate::model::facts::{
    Facts, Findings, LastGoodDestination, LastGoodFacts, ManagedBy, Population, RouteFacts, TrafficFacts,
};
use crate::model::history::{Proof, ProvenDestination, RevisionProven, RevisionSeen};
use crate::model::incident::{Incident, IncidentId, Phase};
use crate::model::indicator::{Figure, Level, Probe};
use crate::model::plan::{Outcome, Plan, Rehearsal};
use crate::model::reason::Reason;
use crate::model::signal::{Severity, Signal, SignalState};
use crate::model::subject::Subject;
use crate::rules::{RuleFiles, Rules};

const INDICATOR: &str = "traffic.route_error_rate";

/// A state with its rules, its time and what it asked for last.
pub(super) struct Desk {
    pub(super) state: State,
    pub(super) rules: Rules,
    pub(super) at: Timestamp,
    pub(super) asked: Vec<Effect>,
}

impl Desk {
    /// A desk under a policy of these keys.
    pub(super) fn under(spec: &str) -> Self {
        Self::with(spec, &[])
    }

    pub(super) fn with(spec: &str, playbooks: &[(&str, &str)]) -> Self {
        let head = "apiVersion: meshmend.dev/v1alpha1\nkind: Policy\nmetadata: { name: p }\nspec:\n  ";
        let mut files = RuleFiles::embedded();
        // The story of one playbook each; the shipped ones beside it would only take part.
        let told = ["roll-back-virtual-service.rhai", "notify-only.rhai"];
        files.playbooks.retain(|file, _| told.contains(&file.as_str()));
        files.policies.remove("observe.yaml");
        files.policies.insert("p.yaml".to_owned(), format!("{head}{}\n", spec.replace('\n', "\n  ")));
        for (file, text) in playbooks {
            files.playbooks.insert((*file).to_owned(), (*text).to_owned());
        }
        let rules = Rules::load(&files, None).expect("the rules of the test are right").rules;
        let at = "2026-01-01T00:00:00Z".parse().expect("it is a time");
        let mut desk = Self { state: State::default(), rules, at, asked: Vec::new() };
        desk.start();
        desk
    }

    pub(super) fn start(&mut self) -> Vec<Change> {
        self.hear(EventKind::Started { journal: "j".to_owned(), version: "0".to_owned() })
    }

    pub(super) fn hear(&mut self, kind: EventKind) -> Vec<Change> {
        let event = Event { at: self.at, kind };
        let changes = decide(&self.state, &self.rules, &event);
        changes.iter().for_each(|change| apply(&mut self.state, event.at, change));
        self.asked = changes.iter().flat_map(|change| effects(&self.state, change)).collect();
        changes
    }

    /// Time passes to the moment the engine wants to look again.
    pub(super) fn wake(&mut self) -> Vec<Change> {
        self.at = self.state.next_wake().expect("something waits").max(self.at);
        self.hear(EventKind::Tick)
    }

    pub(super) fn case(&self) -> &Incident {
        self.state.incidents.values().next_back().expect("a case was opened")
    }

    pub(super) fn id(&self) -> IncidentId {
        self.case().id.clone()
    }

    pub(super) fn plan(&self) -> Digest {
        self.case().plan.as_ref().map(Plan::identity).expect("a plan was made")
    }

    /// A route of this name goes wrong and fires.
    pub(super) fn breaks(&mut self, name: &str) {
        let subject = Subject::virtual_service("shop", name);
        self.hear(seen(&subject, "good"));
        let destinations =
            vec![ProvenDestination { host: "cart".to_owned(), subset: None, weight: 100, ready: Some(2) }];
        let proof = Proof::Blessed { by: "alice".to_owned() };
        let spec_hash = hash("good");
        self.hear(EventKind::RevisionProven {
            revision: RevisionProven { subject: subject.clone(), spec_hash, proof, destinations },
        });
        self.hear(seen(&subject, "bad"));
        self.hear(EventKind::Signal { signal: signal(subject, self.at) });
    }

    /// The last inspection finds this revision in force.
    pub(super) fn finds(&mut self, spec: &str) -> Vec<Change> {
        let findings = Box::new(findings(&self.case().subject, spec, self.at));
        let (incident, inspection) = (self.id(), self.case().inspection);
        self.hear(EventKind::Inspected { incident, inspection, findings })
    }

    pub(super) fn rehearses(&mut self, rehearsal: Rehearsal) -> Vec<Change> {
        let (incident, plan) = (self.id(), self.plan());
        self.hear(EventKind::Rehearsed { incident, plan, rehearsal })
    }

    /// From the signal to the gate.
    pub(super) fn plans(&mut self) -> Vec<Change> {
        self.finds("bad");
        self.rehearses(Rehearsal::Accepted { diff: String::new() })
    }

    /// The write that was asked for last ends so.
    pub(super) fn executes(&mut self, outcome: Outcome) -> Vec<Change> {
        let write = self.write().expect("a write was asked for");
        self.executes_as(write, outcome)
    }

    /// The step of this case that runs ends so.
    pub(super) fn executes_of(&mut self, id: &str, outcome: Outcome) -> Vec<Change> {
        let case = &self.state.incidents[&IncidentId(id.into())];
        let plan = case.plan.as_ref().expect("it has a plan");
        let (incident, plan, run) = (case.id.clone(), plan.identity(), case.runs());
        let (step, direction) = (case.step, case.direction);
        self.hear(EventKind::Executed { incident, plan, step, direction, run, outcome })
    }

    /// This write ends so.
    pub(super) fn executes_as(&mut self, write: Execute, outcome: Outcome) -> Vec<Change> {
        let Execute { incident, plan, step, direction, run, .. } = write;
        self.hear(EventKind::Executed { incident, plan, step, direction, run, outcome })
    }

    pub(super) fn write(&self) -> Option<Execute> {
        self.asked.iter().find_map(|effect| {
            if let Effect::Execute(execute) = effect { Some(execute.clone()) } else { None }
        })
    }

    /// Probes read this level until the case does something else.
    pub(super) fn probes(&mut self, level: Level) {
        while matches!(self.case().phase, Phase::Soaking | Phase::Probing) {
            self.wake();
            let (incident, probe, at) = (self.id(), self.case().probe, self.at);
            self.hear(EventKind::Probed { incident, probe, reading: reading(level, at) });
        }
    }

    /// The same for the case of this id.
    pub(super) fn probes_of(&mut self, id: &str, level: Level) {
        let id = IncidentId(id.into());
        while matches!(self.state.incidents[&id].phase, Phase::Soaking | Phase::Probing) {
            self.wake();
            let (incident, probe, at) = (id.clone(), self.state.incidents[&id].probe, self.at);
            self.hear(EventKind::Probed { incident, probe, reading: reading(level, at) });
        }
    }

    /// An operator stops the newest case, and says nothing else.
    pub(super) fn abort(&mut self) -> Vec<Change> {
        self.aborts(None)
    }

    /// An operator stops the newest case, or says afterwards what is to become of what it did.
    pub(super) fn aborts(&mut self, in_force: Option<InForce>) -> Vec<Change> {
        let (by, comment) = ("alice".to_owned(), "stop".to_owned());
        self.hear(EventKind::Aborted { incident: self.id(), by, comment, in_force })
    }

    pub(super) fn votes(&mut self, vote: Vote) -> Vec<Change> {
        let (incident, plan, by) = (self.id(), self.plan(), "alice".to_owned());
        self.hear(EventKind::Voted { incident, plan, by, vote, comment: String::new() })
    }

    pub(super) fn ended(&self) -> (Phase, &Reason) {
        let last = self.case().reasons.last().expect("an end has a reason");
        (self.case().phase, &last.reason)
    }
}

pub(super) fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds)).expect("the span is small")
}

pub(super) fn hash(spec: &str) -> Digest {
    Digest::of_bytes(spec.as_bytes())
}

pub(super) fn done() -> Outcome {
    Outcome::Done { detail: String::new() }
}

pub(super) fn seen(subject: &Subject, spec: &str) -> EventKind {
    let (subject, uid, spec_hash) = (subject.clone(), "u".to_owned(), hash(spec));
    let (manager, managed_by) = ("kubectl".to_owned(), ManagedBy::None);
    EventKind::RevisionSeen { revision: RevisionSeen { subject, uid, spec_hash, manager, managed_by } }
}

pub(super) fn signal(subject: Subject, at: Timestamp) -> Signal {
    Signal {
        symptom: "traffic.route_errors".parse().expect("it is a symptom"),
        subject,
        state: SignalState::Firing,
        severity: Severity::Critical,
        value: None,
        labels: BTreeMap::new().into(),
        at,
        source: "prometheus".into(),
        alert: None,
        owner: None,
        depends_on: None,
    }
}

pub(super) fn reading(level: Level, at: Timestamp) -> Probe {
    let figure = Some(Figure { value: 0.3, samples: 500.0 });
    Probe { indicator: INDICATOR.to_owned(), figure, level, why: String::new(), at }
}

pub(super) fn findings(subject: &Subject, spec: &str, at: Timestamp) -> Findings {
    let good = LastGoodFacts {
        spec_hash: hash("good"),
        age_s: 900,
        manager: "kubectl".to_owned(),
        destinations: vec![LastGoodDestination {
            host: "cart".to_owned(),
            subset: None,
            weight: 100,
            defined: true,
            ready: 2,
            ready_when_proven: Some(2),
        }],
    };
    let route = RouteFacts {
        group: subject.group.to_string(),
        kind: subject.kind.to_string(),
        namespace: subject.namespace.to_string(),
        name: subject.name.to_string(),
        uid: "u".to_owned(),
        spec_hash: hash(spec),
        hosts: vec!["cart".to_owned()],
        changed_s: 40,
        changed_by: "kubectl".to_owned(),
        managed_by: ManagedBy::None,
        destinations: Vec::new(),
        delegate: false,
        wildcard: false,
        shadowed_by: Vec::new(),
        last_good: (spec != "good").then_some(good),
        current_good: spec == "good",
    };
    let traffic = TrafficFacts {
        requests: 900.0,
        error_rate: 0.3,
        success_rate: 0.7,
        window_s: 60,
        p99_ms: None,
        concurrency: None,
        clients: None,
        ready_endpoints: None,
    };
    Findings {
        facts: Facts { route: Some(route), traffic: Some(traffic), ..Facts::default() },
        missing: BTreeMap::new(),
        hopeless: BTreeSet::new(),
        indicators: BTreeMap::from([(INDICATOR.to_owned(), reading(Level::Critical, at))]),
        labels: BTreeMap::new(),
        population: Population { workload: 1, namespace: 100, mesh: 100 },
        gone: false,
    }
}
