//! The ground: what the cluster really looks like, and what it answers when it is asked.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meshmend::model::action::Action;
use meshmend::model::digest::Digest;
use meshmend::model::effect::{Effect, Execute, Inspect};
use meshmend::model::event::EventKind;
use meshmend::model::facts::{
    Facts, Findings, LastGoodDestination, LastGoodFacts, ManagedBy, Population, RouteFacts, TrafficFacts,
};
use meshmend::model::history::{Proof, ProvenDestination, RevisionProven, RevisionSeen};
use meshmend::model::indicator::{Figure, Level, Probe};
use meshmend::model::plan::{Direction, Outcome, Rehearsal};
use meshmend::model::subject::Subject;

use super::fleet::{Fleet, deployment};
use super::tape::Tape;

/// What the cluster really looks like, whatever the engine believes.
#[derive(Default)]
pub(crate) struct Ground {
    routes: BTreeMap<Subject, Route>,
    pub(crate) fleet: Fleet,
    /// Writes that reached their objects since anybody else touched them, by target.
    pub(crate) applied: BTreeMap<Subject, Action>,
}

struct Route {
    uid: String,
    spec: Digest,
    revisions: u32,
    /// Whether the last write helped: probes say so mostly.
    helped: bool,
}

pub(crate) fn hash(name: &str, revision: u32) -> Digest {
    Digest::of_bytes(format!("{name}:{revision}").as_bytes())
}

/// Routes of the world; the last one lies outside of every scope.
pub(crate) fn routes() -> [Subject; 4] {
    [
        Subject::virtual_service("shop", "cart"),
        Subject::virtual_service("shop", "pay"),
        Subject::virtual_service("shop-eu", "cart"),
        Subject::virtual_service("other", "api"),
    ]
}

impl Ground {
    /// Four routes, each with a good revision that is not in force any more. Tells what the watch saw.
    pub(crate) fn fresh(&mut self) -> Vec<EventKind> {
        let mut news = Vec::new();
        for route in routes() {
            let good = hash(&route.name, 0);
            let truth = Route { uid: "u-1".to_owned(), spec: good, revisions: 0, helped: false };
            self.routes.insert(route.clone(), truth);
            news.push(self.seen(&route));
            let subject = route.clone();
            let proof = Proof::Blessed { by: "alice".to_owned() };
            let destinations = vec![ProvenDestination {
                host: host(&route),
                subset: Some("v1".to_owned()),
                weight: 100,
                ready: Some(2),
            }];
            let revision = RevisionProven { subject, spec_hash: good, proof, destinations };
            news.push(EventKind::RevisionProven { revision });
        }
        news
    }

    /// Somebody deploys a bad revision.
    pub(crate) fn break_route(&mut self, route: &Subject) -> EventKind {
        self.applied.remove(route);
        let truth = self.routes.get_mut(route).expect("all routes of the world are on the ground");
        truth.revisions += 1;
        truth.spec = hash(&route.name, truth.revisions);
        self.seen(route)
    }

    pub(crate) fn is_good(&self, route: &Subject) -> bool {
        self.routes.get(route).is_some_and(|truth| truth.spec == hash(&route.name, 0))
    }

    /// Somebody else puts the good revision back.
    pub(crate) fn mend(&mut self, route: &Subject) -> EventKind {
        self.applied.remove(route);
        let truth = self.routes.get_mut(route).expect("all routes of the world are on the ground");
        truth.spec = hash(&route.name, 0);
        self.seen(route)
    }

    /// Somebody deletes the route and makes it anew.
    pub(crate) fn replace(&mut self, route: &Subject) -> EventKind {
        self.applied.remove(route);
        let truth = self.routes.get_mut(route).expect("all routes of the world are on the ground");
        truth.uid.push('x');
        self.seen(route)
    }

    pub(crate) fn seen(&self, route: &Subject) -> EventKind {
        let truth = &self.routes[route];
        let (uid, spec_hash) = (truth.uid.clone(), truth.spec);
        let (manager, managed_by) = ("kubectl".to_owned(), ManagedBy::None);
        let subject = route.clone();
        EventKind::RevisionSeen { revision: RevisionSeen { subject, uid, spec_hash, manager, managed_by } }
    }

    /// A write reaches the API server, if its preconditions hold there.
    pub(crate) fn write(&mut self, action: &Action) -> bool {
        let fits = self.reaches(action);
        if let Some(target) = action.target().filter(|_| fits) {
            self.applied.insert(target.clone(), action.clone());
        }
        fits
    }

    fn reaches(&mut self, action: &Action) -> bool {
        let Some(target) = action.target() else { return false };
        let (Action::RollbackRoute { uid, from, to, .. }, Some(route)) =
            (action, self.routes.get_mut(target))
        else {
            return self.fleet.write(action);
        };
        let fits = route.uid == *uid && route.spec == *from;
        if fits {
            route.spec = *to;
        }
        fits
    }

    /// Things of the fleet change by themselves.
    pub(crate) fn drift(&mut self, tape: &mut Tape) {
        self.applied.retain(|target, _| self.routes.contains_key(target));
        self.fleet.drift(tape);
    }

    /// What the watch sees of an object after a write to it.
    pub(crate) fn news_of(&self, target: &Subject) -> Option<EventKind> {
        self.routes.contains_key(target).then(|| self.seen(target))
    }

    fn helps(&mut self, target: &Subject, helps: bool) {
        if let Some(route) = self.routes.get_mut(target) {
            route.helped = helps;
            return;
        }
        let helped = &mut self.fleet.helped;
        let _ = if helps { helped.insert(target.clone()) } else { helped.remove(target) };
    }

    /// Whether what was done for a subject helped it: of a pod, as long as it is the same.
    fn helped(&self, subject: &Subject) -> bool {
        let written = match subject.kind.as_str() {
            "Service" => Subject::destination_rule(&subject.namespace, &subject.name),
            _ => subject.clone(),
        };
        match self.routes.get(subject) {
            Some(route) => route.helped,
            None => self.fleet.helped.contains(&written) || self.fleet.helped.contains(&deployment()),
        }
    }

    /// A well-formed answer to an effect of the engine.
    pub(crate) fn answer(&mut self, effect: &Effect, now: Timestamp, tape: &mut Tape) -> EventKind {
        match effect {
            Effect::Inspect(inspect) => EventKind::Inspected {
                incident: inspect.incident.clone(),
                inspection: inspect.inspection,
                findings: Box::new(self.findings(inspect, now, tape)),
            },
            Effect::Rehearse { incident, plan } => EventKind::Rehearsed {
                incident: incident.clone(),
                plan: plan.identity(),
                rehearsal: rehearsal(tape),
            },
            Effect::Execute(execute) => {
                let Execute { incident, plan, step, direction, run, .. } = execute.clone();
                let mut outcome = self.outcome(&execute.action, tape);
                // As the effector has it: somebody came in between, and it is theirs now.
                if matches!(outcome, Outcome::Stale { .. }) && self.is_theirs(execute) {
                    outcome = Outcome::Moot { why: "another revision is in force".to_owned() };
                }
                EventKind::Executed { incident, plan, step, direction, run, outcome }
            }
            Effect::Probe { incident, probe, indicator, subject, .. } => {
                let weights = if self.helped(subject) { [85, 6, 5, 4] } else { [6, 4, 82, 8] };
                let reading = reading(indicator, tape.weighted(&weights), now);
                EventKind::Probed { incident: incident.clone(), probe: *probe, reading }
            }
            Effect::Notify { incident, step, .. } => EventKind::Notified {
                incident: incident.id.clone(),
                step: *step,
                outcome: [
                    Outcome::Done { detail: "sent".to_owned() },
                    Outcome::Failed { why: "the webhook answered 500".to_owned() },
                    Outcome::Unknown { why: "no answer".to_owned() },
                ][tape.weighted(&[85, 8, 7])]
                .clone(),
            },
        }
    }

    /// Whether what is to be taken back is not as we left it.
    fn is_theirs(&self, execute: &Execute) -> bool {
        let Action::RollbackRoute { target, from, .. } = &execute.action else { return false };
        execute.direction == Direction::Undo
            && self.routes.get(target).is_none_or(|route| route.spec != *from)
    }

    fn outcome(&mut self, action: &Action, tape: &mut Tape) -> Outcome {
        let target = action.target().expect("only writes are executed").clone();
        let already = match (action, self.routes.get(&target)) {
            (Action::RollbackRoute { to, .. }, Some(route)) => route.spec == *to,
            _ => self.fleet.is_so(action),
        };
        if already {
            return Outcome::AlreadyDone;
        }
        match tape.weighted(&[70, 7, 6, 7, 7, 3]) {
            0 if self.write(action) => {
                let helps = tape.percent(50);
                self.helps(&target, helps);
                Outcome::Done { detail: "written".to_owned() }
            }
            // Somebody else did the same a moment before; that a pod was restarted cannot be told from it.
            5 if self.routes.contains_key(&target) => {
                self.write(action);
                Outcome::AlreadyDone
            }
            0 | 1 | 5 => Outcome::Stale { why: "another revision is in force".to_owned() },
            2 => Outcome::Failed { why: "admission refused".to_owned() },
            // The answer is lost after the write, or before it.
            3 => {
                self.write(action);
                Outcome::Unknown { why: "time-out".to_owned() }
            }
            _ => Outcome::Unknown { why: "connection lost".to_owned() },
        }
    }

    fn findings(&self, inspect: &Inspect, now: Timestamp, tape: &mut Tape) -> Findings {
        let mesh = *tape.one(&[40, 4, 200]);
        let (workload, namespace) = (*tape.one(&[1, 40]), *tape.one(&[10, 2, 40]));
        let population = Population { workload, namespace, mesh };
        let mut findings = Findings { population, ..Findings::default() };
        let what = tape.weighted(&[84, 2, 3, 3, 2, 2, 2, 2]);
        if what == 7 {
            findings.gone = true;
            // The rule of a service is read by itself: it, and our limits on it, may outlive the service.
            if !self.routes.contains_key(&inspect.subject) {
                self.fleet.rule_alone(inspect, &mut findings, tape);
            }
            return findings;
        }
        let miss = |findings: &mut Findings, fact: &str| {
            findings.missing.insert(fact.to_owned(), "the API server did not answer".to_owned());
        };
        match self.routes.get(&inspect.subject) {
            Some(truth) if what != 1 => {
                let mut route = route_facts(truth, inspect, now);
                match what {
                    4 => route.managed_by = ManagedBy::Argocd,
                    5 => route.delegate = true,
                    6 => route.last_good.iter_mut().for_each(|good| good.destinations[0].ready = 0),
                    _ => {}
                }
                findings.facts.route = Some(route);
            }
            None if what != 1 => self.fleet.findings(inspect, &mut findings, tape),
            _ => inspect.needs.iter().for_each(|fact| miss(&mut findings, fact)),
        }
        if findings.missing.contains_key("traffic") {
        } else if what == 2 {
            miss(&mut findings, "traffic");
        } else {
            let error_rate = if tape.percent(95) { 0.31 } else { 0.01 };
            let success_rate = 1.0 - error_rate;
            let traffic = TrafficFacts {
                requests: 1_200.0,
                error_rate,
                success_rate,
                window_s: 60,
                p99_ms: None,
                concurrency: None,
                clients: None,
                ready_endpoints: None,
            };
            findings.facts = Facts { traffic: Some(traffic), ..findings.facts };
        }
        for indicator in &inspect.indicators {
            let level = if what == 3 { 3 } else { 2 };
            findings.indicators.insert(indicator.clone(), reading(indicator, level, now));
        }
        findings
    }
}

fn host(route: &Subject) -> String {
    format!("{}.{}.svc.cluster.local", route.name, route.namespace)
}

fn route_facts(truth: &Route, inspect: &Inspect, now: Timestamp) -> RouteFacts {
    let subject = &inspect.subject;
    let good = || inspect.good.iter().filter(|_| inspect.uid == truth.uid);
    let last_good = good().find(|good| good.spec_hash != truth.spec).map(|good| LastGoodFacts {
        spec_hash: good.spec_hash,
        age_s: u64::try_from(now.duration_since(good.at).as_secs()).unwrap_or(0),
        manager: good.manager.clone(),
        destinations: vec![LastGoodDestination {
            host: host(subject),
            subset: Some("v1".to_owned()),
            weight: 100,
            defined: true,
            ready: 2,
            ready_when_proven: Some(2),
        }],
    });
    RouteFacts {
        group: subject.group.to_string(),
        kind: subject.kind.to_string(),
        namespace: subject.namespace.to_string(),
        name: subject.name.to_string(),
        uid: truth.uid.clone(),
        spec_hash: truth.spec,
        hosts: vec![host(subject)],
        changed_s: 40,
        changed_by: "kubectl".to_owned(),
        managed_by: ManagedBy::None,
        destinations: Vec::new(),
        delegate: false,
        wildcard: false,
        shadowed_by: Vec::new(),
        last_good,
        current_good: good().any(|good| good.spec_hash == truth.spec),
    }
}

fn rehearsal(tape: &mut Tape) -> Rehearsal {
    let why = "the server said so".to_owned();
    match tape.weighted(&[92, 2, 3, 3]) {
        0 => Rehearsal::Accepted { diff: "- bad\n+ good".to_owned() },
        1 => Rehearsal::Forbidden {
            verb: "patch".to_owned(),
            resource: "virtualservices.networking.istio.io".to_owned(),
            namespace: "shop".to_owned(),
            diff: String::new(),
        },
        2 => Rehearsal::Refused { why },
        _ => Rehearsal::Unreadable { why },
    }
}

fn reading(indicator: &str, level: usize, at: Timestamp) -> Probe {
    let level = [Level::Healthy, Level::Warning, Level::Critical, Level::Unknown][level];
    let value = match level {
        Level::Healthy => Some(0.0),
        Level::Warning => Some(0.02),
        Level::Critical => Some(0.4),
        Level::Unknown => None,
    };
    let why = if value.is_none() { "too few samples" } else { "" };
    Probe {
        indicator: indicator.to_owned(),
        figure: value.map(|value| Figure { value, samples: 500.0 }),
        level,
        why: why.to_owned(),
        at,
    }
}
