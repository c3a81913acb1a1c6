//! What the records of a demo said, case by case.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Healed, Summary, Told};
use crate::app::story::{self, Line};
use crate::model::change::Change;
use crate::model::incident::{IncidentId, Phase};
use crate::model::plan::{Direction, Outcome};
use crate::model::reason::Reason;
use crate::model::record::Draft;
use crate::model::subject::Subject;
use crate::sim::{Fault, Injected};

/// Everything that was heard so far.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) cases: BTreeMap<IncidentId, Case>,
    pub(super) lines: Vec<(Timestamp, Line)>,
}

/// One incident.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) subject: Subject,
    playbook: String,
    detected: Timestamp,
    acted: Option<Timestamp>,
    /// Verified, although what was done is still to be taken back.
    held: Option<Timestamp>,
    ended: Option<(Phase, Timestamp, String)>,
    undone: Option<String>,
}

impl Case {
    /// Whether the story of it is told: it helped, or it is over.
    pub(super) fn is_told(&self) -> bool {
        self.held.is_some() || self.ended.is_some()
    }

    pub(super) fn is_over(&self) -> bool {
        self.ended.is_some()
    }
}

/// One injected fault with the incident it became.
pub(super) struct Played {
    pub(super) fault: Fault,
    pub(super) injected: Injected,
    pub(super) incident: IncidentId,
    pub(super) role: Role,
}

/// What a fault is played for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// To be healed.
    Cure,
    /// To be refused.
    Refusal,
    /// To be taken back.
    Undo,
}

impl Heard {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the summary needs a few kinds of changes")]
    pub(super) fn take(&mut self, draft: &Draft) {
        let at = draft.event.at;
        for change in &draft.changes {
            if let Change::Opened { incident, signal, .. } = change {
                let case = Case {
                    subject: signal.subject.clone(),
                    playbook: String::new(),
                    detected: at,
                    acted: None,
                    held: None,
                    ended: None,
                    undone: None,
                };
                self.cases.insert(incident.clone(), case);
            }
            let Some(case) = change.incident().and_then(|id| self.cases.get_mut(id)) else { continue };
            match change {
                Change::Planned { plan, .. } => case.playbook.clone_from(&plan.playbook),
                Change::StepEnded {
                    direction: Direction::Forward, outcome: Outcome::Done { .. }, ..
                } => {
                    case.acted.get_or_insert(at);
                }
                Change::StepEnded {
                    direction: Direction::Undo, outcome: Outcome::Done { detail }, ..
                } => {
                    case.undone = Some(detail.clone());
                }
                Change::Held { reason: Reason::Recovered { .. }, .. } => {
                    case.held.get_or_insert(at);
                }
                Change::Ended { phase, reason, .. } => case.ended = Some((*phase, at, reason.to_string())),
                _ => {}
            }
        }
        self.lines.extend(story::lines(draft).into_iter().map(|line| (at, line)));
    }

    /// The newest case of a subject that was heard of since.
    pub(super) fn since(&self, subject: &Subject, at: Timestamp) -> Option<(&IncidentId, &Case)> {
        self.cases.iter().rev().find(|(_, case)| case.subject == *subject && case.detected >= at)
    }

    pub(super) fn summarize(&self, seed: u64, played: &[Played], records: u64) -> Summary {
        let of = |role: Role| played.iter().filter(move |one| one.role == role);
        let told = |role: Role, words: fn(&Case) -> String| {
            let one = of(role).next().and_then(|one| Some((one, self.cases.get(&one.incident)?)));
            one.map_or_else(Told::default, |(one, case)| Told {
                incident: one.incident.to_string(),
                reason: words(case),
            })
        };
        Summary {
            seed,
            faults: of(Role::Cure).filter_map(|one| self.healed(one)).collect(),
            records,
            chain: "verified",
            refused: told(Role::Refusal, |case| {
                case.ended.as_ref().map(|(_, _, why)| why.clone()).unwrap_or_default()
            }),
            undone: told(Role::Undo, |case| case.undone.clone().unwrap_or_default()),
        }
    }

    fn healed(&self, one: &Played) -> Option<Healed> {
        let case = self.cases.get(&one.incident)?;
        let since = |at: Option<Timestamp>| {
            at.map_or(-1, |at| {
                i64::try_from(at.duration_since(one.injected.at).as_millis()).unwrap_or(i64::MAX)
            })
        };
        let (outcome, at) = match (&case.held, &case.ended) {
            (Some(at), _) | (None, Some((Phase::Resolved, at, _))) => ("recovered".to_owned(), Some(*at)),
            (None, Some((phase, at, _))) => (phase.to_string(), Some(*at)),
            (None, None) => ("open".to_owned(), None),
        };
        Some(Healed {
            name: one.fault.name(),
            incident: one.incident.to_string(),
            playbook: case.playbook.clone(),
            outcome,
            detected_ms: since(Some(case.detected)),
            acted_ms: since(case.acted),
            recovered_ms: since(at),
        })
    }
}
