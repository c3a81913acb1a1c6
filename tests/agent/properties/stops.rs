//! What operators, storms and breakers hold, counted with pen and paper from the records alone.

#![expect(clippy::wildcard_enum_match_arm, reason = "most events and changes say nothing about stops")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use meshmend::model::change::{Change, Charge};
use meshmend::model::event::EventKind;
use meshmend::model::incident::{IncidentId, IncidentKey, Phase};
use meshmend::model::pause::Reach;
use meshmend::model::plan::{Direction, Outcome};
use meshmend::model::reason::Reason;
use meshmend::model::storm::Domain;
use meshmend::model::subject::Subject;
use proptest::prelude::*;

use super::{Checked, Logged, Turn, World, holds, records, run, seconds};

/// What is known at this point of the records.
#[derive(Default)]
struct Paper {
    pauses: BTreeMap<Reach, Timestamp>,
    ill: BTreeMap<IncidentId, Subject>,
    /// What the last case of a key left ill, and who still says so.
    left: BTreeMap<IncidentKey, Subject>,
    says: BTreeMap<IncidentKey, BTreeSet<String>>,
    keys: BTreeMap<IncidentId, (IncidentKey, Subject)>,
    storms: Vec<Domain>,
    /// Failures of a playbook since its last closing, and until when it is held.
    failures: BTreeMap<String, Vec<Timestamp>>,
    held: BTreeMap<String, Timestamp>,
    aborted: BTreeSet<IncidentId>,
    /// Acts that were made, and undos while something held new acts.
    acts: usize,
    undone: usize,
}

impl Paper {
    fn check(&mut self, world: &World, turn: &Turn) -> Checked {
        for logged in records(world, turn) {
            self.orders(logged);
            for change in &logged.changes {
                match change {
                    Change::Charged { incident, charge } => self.may_act(world, incident, charge)?,
                    Change::StepStarted { incident, direction: Direction::Forward, .. } => {
                        // Other steps than the first only tell people; an aborted case starts none at all,
                        // but a message that a restart may have lost is sent again.
                        let again = matches!(logged.event.kind, EventKind::Started { .. });
                        prop_assert!(again || !self.aborted.contains(incident), "{incident} goes forward");
                    }
                    Change::StepStarted { direction: Direction::Undo, .. } => {
                        self.undone += usize::from(!self.pauses.is_empty() || !self.storms.is_empty());
                    }
                    _ => {}
                }
                self.note(world, logged, change)?;
            }
        }
        Ok(())
    }

    /// Pauses as they were ordered, and as time ends them.
    fn orders(&mut self, logged: &Logged) {
        let at = logged.event.at;
        self.pauses.retain(|_, until| at < *until);
        match &logged.event.kind {
            EventKind::Paused { reach, for_s, .. } => {
                let span = SignedDuration::from_secs(i64::try_from(*for_s).expect("a week at most"));
                self.pauses.insert(reach.clone(), at.saturating_add(span).expect("the span is small"));
            }
            EventKind::Resumed { reach, .. } => drop(self.pauses.remove(reach)),
            _ => {}
        }
    }

    fn may_act(&mut self, world: &World, incident: &IncidentId, charge: &Charge) -> Checked {
        self.acts += 1;
        let (target, at) = (&charge.target, charge.at);
        let paused = self.pauses.keys().find(|reach| match reach {
            Reach::All => true,
            Reach::Namespace(name) => *name == target.namespace,
            Reach::Playbook(name) => *name == charge.playbook,
        });
        prop_assert!(paused.is_none(), "an act on {target} while {paused:?} is paused");
        // A storm is one of a kind: many ill routes hold acts on routes. What is counted is who is ill, and
        // not what would be written: a thousand ill services are a storm, though rules are written for them.
        let case = &world.state.incidents[incident];
        let ailing = &case.subject;
        for domain in [None, Some(ailing.namespace.as_str())].map(|near| Domain::of(ailing, near)) {
            prop_assert!(!self.storms.contains(&domain), "an act on {target} in the storm of {domain}");
        }
        let Some((near, all, _)) = world.bounds().storm else { return Ok(()) };
        let population = case.population;
        let bound = |(share, least): (u64, u64), of: u64| least.max((share * of).div_ceil(100));
        let count = |inside: &dyn Fn(&Subject) -> bool| {
            let alike = |ill: &&Subject| ill.kind == ailing.kind && ill.group == ailing.group;
            let said = |key: &IncidentKey| self.says.get(key).is_some_and(|sources| !sources.is_empty());
            let left = self.left.iter().filter(|(key, _)| said(key)).map(|(_, subject)| subject);
            let all = self.ill.values().chain(left);
            let ill: BTreeSet<&Subject> = all.filter(alike).filter(|ill| inside(ill)).collect();
            u64::try_from(ill.len()).expect("a handful")
        };
        let here = count(&|ill: &Subject| ill.namespace == ailing.namespace);
        prop_assert!(here < bound(near, population.namespace), "{here} are ill in the namespace");
        let everywhere = count(&|_: &Subject| true);
        prop_assert!(everywhere < bound(all, population.mesh), "{everywhere} are ill in the mesh");
        let held = self.held.get(&charge.playbook);
        prop_assert!(held.is_none_or(|until| *until <= at), "an act of {} while it is held", charge.playbook);
        Ok(())
    }

    /// Who is ill: the subjects of open cases, and those of cases that ended without a recovery.
    fn hears(&mut self, change: &Change) {
        match change {
            Change::Opened { incident, key, signal, .. } => {
                self.ill.insert(incident.clone(), signal.subject.clone());
                self.keys.insert(incident.clone(), (key.clone(), signal.subject.clone()));
                self.left.remove(key);
                self.says.entry(key.clone()).or_default().insert(signal.source.to_string());
            }
            Change::Attached { incident, source, .. } => {
                let key = self.keys[incident].0.clone();
                self.says.entry(key).or_default().insert(source.to_string());
            }
            Change::Ignored { key, source, .. } => {
                self.says.entry(key.clone()).or_default().insert(source.to_string());
            }
            Change::SourceResolved { key, source, .. } => {
                self.says.entry(key.clone()).or_default().remove(source.as_str());
            }
            Change::Reopened { incident } => {
                let (key, subject) = self.keys[incident].clone();
                self.left.remove(&key);
                self.ill.insert(incident.clone(), subject);
            }
            Change::SubjectVanished { subject } => self.left.retain(|_, left| left != subject),
            Change::Ended { incident, phase, reason } => {
                self.ill.remove(incident);
                let (key, subject) = self.keys[incident].clone();
                if matches!(reason, Reason::Recovered { .. }) {
                    self.says.remove(&key);
                }
                if matches!(phase, Phase::Escalated | Phase::Suppressed | Phase::Expired) {
                    self.left.insert(key, subject);
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, world: &World, logged: &Logged, change: &Change) -> Checked {
        let at = logged.event.at;
        self.hears(change);
        match change {
            Change::Ended { incident, phase, reason } => {
                if self.aborted.contains(incident) {
                    let suppressed = *phase == Phase::Suppressed && matches!(reason, Reason::Aborted { .. });
                    prop_assert!(suppressed || *phase != Phase::Resolved, "aborted, and then {reason}");
                }
                if matches!(reason, Reason::Aborted { .. }) {
                    self.aborted.insert(incident.clone());
                }
                if matches!(reason, Reason::Recovered { .. }) {
                    let playbook = playbook(world, incident);
                    if self.held.get(&playbook).is_some_and(|until| *until <= at) {
                        self.held.remove(&playbook);
                        self.failures.remove(&playbook);
                    }
                }
            }
            Change::Noted { incident, reason: Reason::Aborted { .. } } => {
                self.aborted.insert(incident.clone());
            }
            Change::StormBegan { storm, .. } => {
                let known = self.storms.contains(&storm.domain);
                prop_assert!(!known, "a storm of {} began twice: people are told once", storm.domain);
                self.storms.push(storm.domain.clone());
            }
            Change::StormEnded { domain, .. } => self.storms.retain(|known| known != domain),
            Change::Noted { incident, reason: Reason::NotRecovered { .. } } => {
                self.fails(world, &playbook(world, incident), at);
            }
            Change::StepEnded { incident, step: 0, direction: Direction::Forward, outcome } => {
                let case = world.state.incidents.get(incident).and_then(|case| case.plan.as_ref());
                let failed = matches!(outcome, Outcome::Failed { .. });
                if failed && case.is_some_and(|plan| plan.writes()) {
                    self.fails(world, &playbook(world, incident), at);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn fails(&mut self, world: &World, playbook: &str, at: Timestamp) {
        let Some((most, window, pause)) = world.bounds().breaker else { return };
        let failures = self.failures.entry(playbook.to_owned()).or_default();
        failures.push(at);
        failures.retain(|failed| at.duration_since(*failed) < seconds(window));
        let held = self.held.get(playbook).copied();
        let half_open = held.is_some_and(|until| until <= at);
        let many = failures.len() >= usize::try_from(most).expect("small");
        // One that was under way when the breaker opened changes nothing.
        if many && (held.is_none() || half_open) {
            let until = at.saturating_add(seconds(pause)).expect("the span is small");
            self.held.insert(playbook.to_owned(), until);
        }
    }
}

fn playbook(world: &World, incident: &IncidentId) -> String {
    let plan = world.state.incidents.get(incident).and_then(|case| case.plan.as_ref());
    plan.map(|plan| plan.playbook.clone()).unwrap_or_default()
}

// Mutations: a gate without `pause`, `storm` or `breaker`; `ill < most` to `ill <= most`; a storm that ends at
// once when it calms (`StormEnded` for `StormCalmed`); `abort::one` that does nothing while a step runs; a tick
// in which two cases notice the same storm (`moved` ignored); `follow` left out of `act::forward`.
#[test]
fn nothing_forward_is_written_while_it_is_held_and_what_is_aborted_never_goes_on() {
    let reached = RefCell::new((0, 0));
    holds(200, |mut tape| {
        let mut paper = Paper::default();
        run(&mut tape, &mut |world, turn| {
            // Other rules have other bounds, and forget storms; breakers of other policies hold nothing.
            if records(world, turn)
                .iter()
                .any(|logged| matches!(logged.event.kind, EventKind::RulesLoaded { .. }))
            {
                paper.held.clear();
                paper.failures.clear();
            }
            paper.check(world, turn)
        })?;
        let mut reached = reached.borrow_mut();
        *reached = (reached.0 + paper.acts, reached.1 + paper.undone);
        Ok(())
    });
    let (acts, undone) = reached.into_inner();
    assert!(acts > 100 && undone > 3, "{acts} acts, {undone} undos while something was held");
}
