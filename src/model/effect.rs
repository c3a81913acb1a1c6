//! Everything the engine can ask for. The driver starts effects only after the batch that caused them is
//! durable; each answers with an event.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::action::Action;
use super::digest::Digest;
use super::history::LastGood;
use super::incident::{Incident, IncidentId};
use super::plan::{Direction, Plan};
use super::subject::Subject;

/// One wish of the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// Read facts; answers `Inspected`.
    Inspect(Inspect),
    /// Dry-run every writing step of the plan; answers `Rehearsed`.
    Rehearse {
        /// For this incident.
        incident: IncidentId,
        /// The plan.
        plan: Plan,
    },
    /// Do a step, with the permit that the driver mints; answers `Executed`.
    Execute(Execute),
    /// Measure an indicator; answers `Probed`.
    Probe {
        /// For this incident.
        incident: IncidentId,
        /// Number of the probe.
        probe: u32,
        /// Indicator id.
        indicator: String,
        /// What to measure it for.
        subject: Subject,
        /// Its top owner, to measure where the subject itself was replaced.
        owner: Subject,
        /// Nothing before this counts: the end of the soak.
        since: Timestamp,
    },
    /// Tell people; answers `Notified`.
    Notify {
        /// What to say in one sentence.
        sentence: String,
        /// The incident as it stands.
        incident: Arc<Incident>,
        /// The step of the plan that this is; `None` for news about the case.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<usize>,
    },
}

/// Facts to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inspect {
    /// For this incident.
    pub incident: IncidentId,
    /// Number of the inspection.
    pub inspection: u32,
    /// What it is about.
    pub subject: Subject,
    /// Its top owner; the subject itself where nobody owns it.
    pub owner: Subject,
    /// Names of facts, without marks.
    pub needs: Vec<String>,
    /// Indicators to read along.
    pub indicators: Vec<String>,
    /// Uid of the object that the good revisions belong to; empty where none are known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The good revisions of our history, newest first. Which of them is in force is read from the object
    /// itself: the watch may lag behind it, most of all behind our own writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub good: Vec<LastGood>,
    /// Good revisions of the DestinationRules that may be in force for the subject.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<GoodRevisions>,
}

/// The good revisions of one object, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoodRevisions {
    /// The object.
    pub subject: Subject,
    /// Its uid.
    pub uid: String,
    /// Revisions.
    pub good: Vec<LastGood>,
}

/// A step to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Execute {
    /// For this incident.
    pub incident: IncidentId,
    /// Identity of the plan.
    pub plan: Digest,
    /// Index of the step.
    pub step: usize,
    /// Forward or undo.
    pub direction: Direction,
    /// How many steps of the incident had ended before: tells a late answer from that of a later run.
    pub run: usize,
    /// What to do: for an undo, already the inverse.
    pub action: Action,
}
