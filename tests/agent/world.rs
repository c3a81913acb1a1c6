//! A small simulated world around the engine: it answers the engine's own effects with random but
//! well-formed answers, drawn from the input of a property, so that a run reaches its third act.
//!
//! It uses neither sockets nor threads nor a clock: time is a number that moves.

mod bounds;
mod fleet;
mod ground;
mod heard;
mod looks;
mod tape;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use meshmend::engine::gate::{self, Permit};
use meshmend::engine::{State, apply, decide, effects};
use meshmend::model::change::Change;
use meshmend::model::effect::{Effect, Execute};
use meshmend::model::event::{Event, EventKind, InForce, Vote};
use meshmend::model::incident::{IncidentId, Phase};
use meshmend::model::pause::Reach;
use meshmend::model::plan::Outcome;
use meshmend::model::signal::{Severity, Signal, SignalState};
use meshmend::model::subject::Subject;
use meshmend::rules::Rules;

pub(crate) use bounds::{Bounds, Variant, variants};
pub(crate) use fleet::{Truth, deployment, istiod};
pub(crate) use ground::{Ground, hash, routes};
pub(crate) use tape::Tape;

/// An event as it was decided, with the rules in force.
pub(crate) struct Logged {
    pub(crate) event: Event,
    pub(crate) changes: Vec<Change>,
    pub(crate) rules: usize,
}

/// An effect on its way.
pub(crate) struct Launched {
    pub(crate) effect: Effect,
    pub(crate) permit: Option<Permit>,
    /// Index of the record that asked for it.
    pub(crate) record: usize,
    /// Number of the write, for writes.
    pub(crate) flight: Option<usize>,
}

/// A write on its way, or back.
pub(crate) struct Flight {
    pub(crate) target: Subject,
    pub(crate) not_after: Timestamp,
    pub(crate) answered: bool,
}

/// What one turn did: the last records and launches of the world are its own.
pub(crate) struct Turn {
    pub(crate) records: usize,
    pub(crate) launches: usize,
    /// The state before it.
    pub(crate) now: Timestamp,
}

/// The engine in its world.
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) variant: usize,
    pub(crate) log: Vec<Logged>,
    pub(crate) now: Timestamp,
    pub(crate) pending: Vec<Launched>,
    pub(crate) flights: Vec<Flight>,
    pub(crate) ground: Ground,
    /// What was true when the last look at each case was made.
    pub(crate) truths: BTreeMap<(IncidentId, u32), Truth>,
    /// What the watches will tell.
    news: Vec<EventKind>,
    /// Answers that were given, to be given twice.
    past: Vec<EventKind>,
}

pub(crate) const START: &str = "2026-01-01T00:00:00Z";
const SOURCES: [&str; 3] = ["prometheus", "alertmanager/7f", "api/alice"];

impl World {
    /// A world that was just started.
    pub(crate) fn new(variant: usize) -> Self {
        Self {
            state: State::default(),
            variant,
            log: Vec::new(),
            now: START.parse().expect("it is a time"),
            pending: Vec::new(),
            flights: Vec::new(),
            ground: Ground::default(),
            truths: BTreeMap::new(),
            news: Vec::new(),
            past: Vec::new(),
        }
    }

    pub(crate) fn bounds(&self) -> &'static Bounds {
        &variants()[self.variant].bounds
    }

    pub(crate) fn rules(&self) -> &'static Rules {
        &variants()[self.variant].rules
    }

    fn pass(&mut self, seconds: i64) {
        self.now = self.now.saturating_add(SignedDuration::from_secs(seconds)).expect("the span is small");
    }

    /// One turn, as the driver does it: decide and remember each event, then start what the batch asks for.
    pub(crate) fn turn(&mut self, events: Vec<EventKind>) -> Turn {
        let first = self.log.len();
        for kind in events {
            let event = Event { at: self.now, kind };
            let changes = decide(&self.state, self.rules(), &event);
            let always = matches!(event.kind, EventKind::Started { .. } | EventKind::RulesLoaded { .. });
            if changes.is_empty() && !always {
                continue;
            }
            changes.iter().for_each(|change| apply(&mut self.state, event.at, change));
            self.log.push(Logged { event, changes, rules: self.variant });
        }
        let launches = self.launch(first);
        Turn { records: self.log.len() - first, launches, now: self.now }
    }

    fn launch(&mut self, first: usize) -> usize {
        let before = self.pending.len();
        for record in first..self.log.len() {
            for change in &self.log[record].changes {
                for effect in effects(&self.state, change) {
                    let mut launched = Launched { effect, permit: None, record, flight: None };
                    if let Effect::Execute(execute) = &launched.effect {
                        launched.permit = gate::permit(&self.state, change);
                        let target = execute.action.target().expect("only writes are executed").clone();
                        let not_after = launched.permit.as_ref().map_or(self.now, Permit::not_after);
                        launched.flight = Some(self.flights.len());
                        self.flights.push(Flight { target, not_after, answered: false });
                    }
                    self.pending.push(launched);
                }
            }
        }
        self.pending.len() - before
    }

    /// The process starts on its journal, or starts for the first time.
    pub(crate) fn start(&mut self) -> Turn {
        let started = EventKind::Started { journal: "w".to_owned(), version: "0.0.0".to_owned() };
        let loaded = EventKind::RulesLoaded { rules: variants()[self.variant].files.loaded(None) };
        self.turn(vec![started, loaded])
    }

    /// The next thing that happens, if anything does.
    pub(crate) fn step(&mut self, tape: &mut Tape) -> Turn {
        let asked = self.state.open_incidents().any(|case| case.phase == Phase::AwaitingApproval);
        // While something is on its way, mostly that comes next; else time passes to the next deadline.
        let (deliver, wake, hear) = if self.pending.is_empty() { (0, 110, 30) } else { (150, 4, 12) };
        let vote = if asked { 70 } else { 1 };
        let writing = self.pending.iter().any(|launched| launched.flight.is_some());
        let restart = if self.state.draining || writing { 20 } else { 1 };
        let (order, abort) = (2, 1);
        match tape.weighted(&[deliver, wake, hear, vote, 6, restart, 2, 1, 4, 1, 4, 1, 4, order, abort]) {
            0 => self.deliver(tape),
            1 => self.wake(tape),
            2 if tape.percent(50) => self.hear(tape),
            2 => self.hear_of_fleet(tape),
            3 => self.vote(tape),
            4 => self.news(),
            5 => self.restart(tape),
            6 => {
                self.variant = tape.below(variants().len());
                let rules = variants()[self.variant].files.loaded(None);
                self.turn(vec![EventKind::RulesLoaded { rules }])
            }
            7 => self.turn(vec![EventKind::ClockJumped { seconds: 3_600 }]),
            8 => self.lose(tape),
            9 if tape.percent(25) => self.turn(vec![EventKind::Drain]),
            10 if tape.percent(50) => self.again(tape),
            10 => {
                self.ground.drift(tape);
                self.turn(Vec::new())
            }
            11 => {
                self.pass(*tape.one(&[60, 240, 1_200]));
                self.turn(vec![EventKind::Tick])
            }
            13 => self.order(tape),
            14 => self.abort(tape),
            _ => self.crowd(tape),
        }
    }

    /// An answer comes back; mostly the one that was asked for first.
    fn deliver(&mut self, tape: &mut Tape) -> Turn {
        if self.pending.is_empty() {
            return self.news();
        }
        let index = if tape.percent(80) { 0 } else { tape.below(self.pending.len()) };
        self.pass(*tape.one(&[0, 0, 1, 1, 2, 3, 20]));
        let answer = self.take(index, tape);
        self.turn(vec![answer])
    }

    fn take(&mut self, index: usize, tape: &mut Tape) -> EventKind {
        let launched = self.pending.remove(index);
        if let Some(flight) = launched.flight {
            self.flights[flight].answered = true;
        }
        let answer = match &launched.effect {
            // The effector asks the permit right before it writes.
            Effect::Execute(execute) if !covered(&launched, execute, self.now) => {
                let Execute { incident, plan, step, direction, run, .. } = execute.clone();
                let outcome = Outcome::Failed { why: "the permit ended".to_owned() };
                EventKind::Executed { incident, plan, step, direction, run, outcome }
            }
            Effect::Inspect(_)
            | Effect::Rehearse { .. }
            | Effect::Execute(_)
            | Effect::Probe { .. }
            | Effect::Notify { .. } => self.ground.answer(&launched.effect, self.now, tape),
        };
        if let (Effect::Execute(execute), EventKind::Executed { outcome: Outcome::Done { .. }, .. }) =
            (&launched.effect, &answer)
        {
            let target = execute.action.target().expect("only writes are executed").clone();
            self.news.extend(self.ground.news_of(&target));
        }
        if let Effect::Inspect(inspect) = &launched.effect {
            let truth = self.ground.fleet.truth(&inspect.subject);
            self.truths.insert((inspect.incident.clone(), inspect.inspection), truth);
        }
        self.past.push(answer.clone());
        answer
    }

    /// Time passes until the engine wants to look again.
    fn wake(&mut self, tape: &mut Tape) -> Turn {
        let due = self.state.next_wake().unwrap_or(self.now).max(self.now);
        // Far deadlines are not what the first moves of a run are for.
        let near = due.duration_since(self.now).as_secs() < 900 || tape.percent(20);
        if near {
            self.now = due;
        } else {
            self.pass(30);
        }
        self.turn(vec![EventKind::Tick])
    }

    fn hear(&mut self, tape: &mut Tape) -> Turn {
        let route = routes()[tape.weighted(&[40, 30, 22, 8])].clone();
        let symptom = ["traffic.route_errors", "config.rejected", "custom.alert", "gateway.lost"]
            [tape.weighted(&[62, 26, 6, 6])];
        let firing = tape.percent(70);
        let mut events = Vec::new();
        if firing && self.ground.is_good(&route) && tape.percent(80) {
            events.push(self.ground.break_route(&route));
        }
        let subject = if symptom == "custom.alert" { Subject::of_namespace(&route.namespace) } else { route };
        let began = self.now.saturating_add(SignedDuration::from_secs(*tape.one(&[0, 0, 0, -5, -600, 30])));
        let state = if firing { SignalState::Firing } else { SignalState::Resolved };
        let severity = *tape.one(&[Severity::Critical, Severity::Warning]);
        let source = (*tape.one(&SOURCES)).to_owned();
        let at = began.expect("the span is small");
        let signal = Signal { state, severity, source: source.into(), ..signal(symptom, subject, at) };
        events.push(EventKind::Signal { signal });
        self.turn(events)
    }

    fn vote(&mut self, tape: &mut Tape) -> Turn {
        let waiting: Vec<_> =
            self.state.open_incidents().filter(|case| case.phase == Phase::AwaitingApproval).collect();
        let Some(case) = waiting.first().copied().or_else(|| self.state.open_incidents().next()) else {
            return self.news();
        };
        let asked = case.approval.as_ref().map(|approval| approval.plan);
        let wrong = hash("another plan", 0);
        let plan = if tape.percent(85) { asked.unwrap_or(wrong) } else { wrong };
        let vote = if tape.percent(80) { Vote::Approve } else { Vote::Deny };
        let (incident, by, comment) = (case.id.clone(), "alice".to_owned(), String::new());
        let subject = case.subject.clone();
        self.pass(*tape.one(&[1, 10, 100]));
        // While people think, others go on deploying: then the same plan does not come out again.
        let deployed = tape.percent(20) && routes().contains(&subject);
        let mut events: Vec<EventKind> =
            deployed.then(|| self.ground.break_route(&subject)).into_iter().collect();
        events.push(EventKind::Voted { incident, plan, by, vote, comment });
        self.turn(events)
    }

    /// An operator pauses, or resumes.
    fn order(&mut self, tape: &mut Tape) -> Turn {
        let shop = || "shop".to_owned();
        let second = || "second".to_owned();
        let reach = [Reach::All, Reach::Namespace(shop()), Reach::Playbook(second())][tape.below(3)].clone();
        let by = "alice".to_owned();
        if tape.percent(30) {
            return self.turn(vec![EventKind::Resumed { reach, by }]);
        }
        let (reason, for_s) = ("release".to_owned(), *tape.one(&[5, 60, 400]));
        self.turn(vec![EventKind::Paused { reach, by, reason, for_s }])
    }

    /// An operator stops a case, or all of a namespace.
    fn abort(&mut self, tape: &mut Tape) -> Turn {
        let (by, comment) = ("alice".to_owned(), String::new());
        let in_force = *tape.one(&[None, Some(InForce::Keep), Some(InForce::Undo)]);
        if tape.percent(15) {
            let reach = Reach::Namespace("shop".to_owned());
            return self.turn(vec![EventKind::AbortedAll { reach, by, comment, in_force }]);
        }
        // Also one that is over: what it did may be undone later.
        let known = self.state.incidents.values().filter(|case| !case.phase.is_end() || case.is_aborted());
        let known: Vec<_> = known.map(|case| case.id.clone()).collect();
        let Some(incident) = (!known.is_empty()).then(|| tape.one(&known).clone()) else {
            return self.news();
        };
        self.turn(vec![EventKind::Aborted { incident, by, comment, in_force }])
    }

    /// What the watches see.
    fn news(&mut self) -> Turn {
        let next = if self.news.is_empty() { Vec::new() } else { vec![self.news.remove(0)] };
        self.turn(next)
    }

    /// The process is killed and started again: what was on its way may or may not have arrived.
    fn restart(&mut self, tape: &mut Tape) -> Turn {
        for launched in std::mem::take(&mut self.pending) {
            if let Effect::Execute(execute) = &launched.effect
                && covered(&launched, execute, self.now)
                && tape.percent(50)
            {
                self.ground.write(&execute.action);
            }
        }
        self.past.clear();
        self.state = fold(&self.log, tape);
        self.pass(*tape.one(&[1, 3, 90]));
        self.start()
    }

    /// An answer never comes.
    fn lose(&mut self, tape: &mut Tape) -> Turn {
        if !self.pending.is_empty() {
            let index = tape.below(self.pending.len());
            let launched = self.pending.remove(index);
            if let Effect::Execute(execute) = &launched.effect
                && covered(&launched, execute, self.now)
                && tape.percent(50)
            {
                self.ground.write(&execute.action);
            }
        }
        self.turn(Vec::new())
    }

    /// An answer comes once more, late.
    fn again(&mut self, tape: &mut Tape) -> Turn {
        if self.past.is_empty() {
            return self.news();
        }
        let index = tape.below(self.past.len());
        let answer = self.past[index].clone();
        self.turn(vec![answer])
    }

    /// Several things happen within one commit: routes change or go, and answers come together.
    fn crowd(&mut self, tape: &mut Tape) -> Turn {
        let route = tape.one(&routes()).clone();
        let mut events = match tape.below(6) {
            0 => vec![EventKind::RouteGone { subject: route.clone() }, self.ground.seen(&route)],
            1 => vec![self.ground.replace(&route)],
            2 => vec![self.ground.break_route(&route)],
            3 => vec![self.ground.mend(&route)],
            _ => Vec::new(),
        };
        while !self.pending.is_empty() && events.len() < 4 {
            let answer = self.take(0, tape);
            events.push(answer);
        }
        self.turn(events)
    }

    /// Everything that is asked is answered, and nothing new happens, until nothing is open any more.
    /// Returns the turns it took; `limit` of them mean that something is stuck.
    pub(crate) fn settle<E>(
        &mut self,
        tape: &mut Tape,
        limit: usize,
        check: &mut dyn FnMut(&Self, &Turn) -> Result<(), E>,
    ) -> Result<usize, E> {
        for turns in 0..limit {
            if self.state.open_incidents().next().is_none() {
                return Ok(turns);
            }
            let turn = if self.pending.is_empty() {
                self.now = self.state.next_wake().unwrap_or(self.now).max(self.now);
                self.turn(vec![EventKind::Tick])
            } else {
                self.pass(1);
                let answer = self.take(0, tape);
                self.turn(vec![answer])
            };
            check(self, &turn)?;
        }
        Ok(limit)
    }
}

fn covered(launched: &Launched, execute: &Execute, now: Timestamp) -> bool {
    launched.permit.as_ref().is_some_and(|permit| permit.covers(execute, now).is_ok())
}

/// A firing signal as the intake hands it on.
pub(crate) fn signal(symptom: &str, subject: Subject, at: Timestamp) -> Signal {
    Signal {
        symptom: symptom.parse().expect("it is a symptom"),
        subject,
        state: SignalState::Firing,
        severity: Severity::Critical,
        value: Some(0.31),
        labels: BTreeMap::new().into(),
        at,
        source: SOURCES[0].into(),
        alert: None,
        owner: None,
        depends_on: None,
    }
}

/// A run from its start until its tape is over; every turn is shown to `check`.
pub(crate) fn run<E>(
    tape: &mut Tape,
    check: &mut dyn FnMut(&World, &Turn) -> Result<(), E>,
) -> Result<World, E> {
    let mut world = World::new(tape.below(variants().len()));
    let turn = world.start();
    check(&world, &turn)?;
    let news = world.ground.fresh();
    let turn = world.turn(news);
    check(&world, &turn)?;
    while !tape.is_over() {
        let turn = world.step(tape);
        check(&world, &turn)?;
    }
    Ok(world)
}

/// The state as a restart finds it: folded from the records, by way of a snapshot somewhere between.
pub(crate) fn fold(log: &[Logged], tape: &mut Tape) -> State {
    let snapshot = tape.below(log.len() + 1);
    let mut state = State::default();
    for (index, logged) in log.iter().enumerate() {
        if index == snapshot {
            let bytes = state.to_snapshot().expect("a state can be written");
            state = State::from_snapshot(&bytes).expect("what was written can be read");
        }
        logged.changes.iter().for_each(|change| apply(&mut state, logged.event.at, change));
    }
    state
}

/// How often each change, reason, outcome and verdict was reached, by the words of their stored form.
pub(crate) fn tally(log: &[Logged], counts: &mut BTreeMap<String, usize>) {
    for logged in log {
        let value = serde_json::to_value(&logged.changes).expect("changes are JSON");
        count(&value, counts);
    }
}

fn count(value: &serde_json::Value, counts: &mut BTreeMap<String, usize>) {
    for item in value.as_array().into_iter().flatten() {
        count(item, counts);
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        let names = ["change", "code", "result", "verdict", "phase", "direction"].contains(&key.as_str());
        match value.as_str().filter(|_| names) {
            Some(word) => *counts.entry(word.to_owned()).or_default() += 1,
            None => count(value, counts),
        }
    }
}
