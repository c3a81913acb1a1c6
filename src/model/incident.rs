//! An incident: the open case for one subject and symptom family.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use super::action::Action;
use super::digest::Digest;
use super::facts::{Findings, Population};
use super::indicator::Probe;
use super::plan::{Direction, Outcome, Plan, Rehearsal};
use super::reason::{Hold, Reason};
use super::signal::{Labels, Severity, Symptom};
use super::subject::Subject;
use super::verdict::{Check, Verdict};

mod in_force;

/// Short, ordered and unique between journals: `JOURNAL-NNNNN`, for instance `k3f9q2-00017`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncidentId(pub SmolStr);

/// By age: the hundred thousandth has one digit more and comes after the one before it.
impl Ord for IncidentId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for IncidentId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl IncidentId {
    /// The id of the `number`th incident of a journal.
    #[must_use]
    pub fn new(journal: &str, number: u64) -> Self {
        Self(format_smolstr!("{journal}-{number:05}"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What keeps two signals in one incident: the top owner of the subject, and the symptom family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentKey {
    // First, because keys are compared in this order all the time, and it tells most of them apart at once.
    /// Component part of the symptom; for an alert that maps to nothing, its own identity.
    pub family: SmolStr,
    /// Deployment, Service, route, node or control plane component.
    pub owner: Subject,
    /// The subject's name, where it is one of several that the owner has: a pod of a Deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<SmolStr>,
}

impl IncidentKey {
    /// The key under which budgets are kept: of the owner, so that a replacement inherits what was spent on
    /// the one it replaces.
    #[must_use]
    pub fn budget(&self) -> Self {
        Self { owner: self.owner.clone(), family: self.family.clone(), member: None }
    }
}

impl fmt::Display for IncidentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.member {
            Some(member) => write!(f, "{} of {member} of {}", self.family, self.owner),
            None => write!(f, "{} of {}", self.family, self.owner),
        }
    }
}

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Just opened.
    Open,
    /// Facts are being read.
    Inspecting,
    /// A plan exists; it is rehearsed, gated, or held back.
    Planned,
    /// People were asked.
    AwaitingApproval,
    /// A step runs.
    Executing,
    /// Waiting for the act to take effect.
    Soaking,
    /// Measuring whether it helped.
    Probing,
    /// It helped; what was done is taken back when it expires.
    Holding,
    /// End: right again.
    Resolved,
    /// End: handed to people.
    Escalated,
    /// End: left alone on purpose.
    Suppressed,
    /// End: waited too long.
    Expired,
    /// End: the subject vanished.
    Gone,
}

impl Phase {
    /// Whether the incident is over.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Resolved | Self::Escalated | Self::Suppressed | Self::Expired | Self::Gone)
    }

    /// Whether the incident holds a claim on its target: from the permit to the end of verification.
    #[must_use]
    pub fn is_acting(self) -> bool {
        matches!(self, Self::Executing | Self::Soaking | Self::Probing | Self::Holding)
    }

    /// The word as it is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Inspecting => "inspecting",
            Self::Planned => "planned",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Executing => "executing",
            Self::Soaking => "soaking",
            Self::Probing => "probing",
            Self::Holding => "holding",
            Self::Resolved => "resolved",
            Self::Escalated => "escalated",
            Self::Suppressed => "suppressed",
            Self::Expired => "expired",
            Self::Gone => "gone",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a case ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ending {
    /// The phase.
    pub phase: Phase,
    /// Why.
    pub reason: Reason,
}

/// A playbook that was considered and not used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassedOver {
    /// Its name.
    pub playbook: String,
    /// Why not.
    pub reason: Reason,
}

/// A step that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepResult {
    /// Index in the plan.
    pub step: usize,
    /// Forward or undo.
    pub direction: Direction,
    /// What came of it.
    pub outcome: Outcome,
}

/// A question to people about one plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Identity of the plan asked about.
    pub plan: Digest,
    /// When it expires, which denies it.
    pub expires: Timestamp,
    /// Who said yes; `None` while nobody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_by: Option<String>,
}

/// The case with everything known about it; also what `GET /v1/incidents/ID` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// Id.
    pub id: IncidentId,
    /// Key.
    pub key: IncidentKey,
    /// Symptom of the signal that opened it.
    pub symptom: Symptom,
    /// Subject of the signal that opened it.
    pub subject: Subject,
    /// The alert's name, where one opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<SmolStr>,
    /// Labels of the signal that opened it.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Worst severity heard.
    pub severity: Severity,
    /// Last value heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Signals heard, the opening one included.
    pub signals: u64,
    /// Sources that still fire.
    pub firing: BTreeSet<SmolStr>,
    /// Where it stands.
    pub phase: Phase,
    /// Since when.
    pub phase_since: Timestamp,
    /// When the phase is over at the latest; `None` only at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Acts carried out in this incident.
    pub attempts: u32,
    /// Those among them that surely wrote nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unwritten: u32,
    /// Number of the inspection asked for last; an answer to another one is late.
    pub inspection: u32,
    /// Earliest time for the next inspection (a permit may still be running); `None`: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspect_at: Option<Timestamp>,
    /// Inspections in a row that found something unreadable and were put off.
    #[serde(default)]
    pub unreadable: u32,
    /// When the findings were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_at: Option<Timestamp>,
    /// Findings of the last inspection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Findings>,
    /// Playbooks that matched, best first.
    pub candidates: Vec<String>,
    /// Playbooks not used, with reasons.
    pub passed_over: Vec<PassedOver>,
    /// The plan, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// What the dry run said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<Rehearsal>,
    /// The gate's last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The checks behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// Question to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Step that runs or ran last.
    pub step: usize,
    /// Direction of the step that runs.
    pub direction: Direction,
    /// When the permit of the running step ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit_until: Option<Timestamp>,
    /// Results of steps, in order, over all attempts.
    pub steps: Vec<StepResult>,
    /// Times a stale precondition sent it back to inspection; a write that was lost on its way is none.
    pub stale: u32,
    /// Whether a step's outcome must be read from state before anything else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reconciling: bool,
    /// Start of the probe's window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_since: Option<Timestamp>,
    /// Number of the probe asked for last.
    pub probe: u32,
    /// When to ask for the next probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_at: Option<Timestamp>,
    /// Since when probes have been good without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_since: Option<Timestamp>,
    /// Last probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_probe: Option<Probe>,
    /// How many there are, from the last inspection.
    #[serde(default)]
    pub population: Population,
    /// Every reason on the way, oldest first, with its time.
    pub reasons: Vec<Timed>,
    /// Notification results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notified: Vec<Outcome>,
    /// What the subject cannot work without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depends_on: Option<Subject>,
    /// The incident that explains this one: while it is open, nothing is done here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<IncidentId>,
    /// How many incidents this one explains.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub explains: u64,
    /// Tries in a row to take back what was done that did not succeed: it is tried again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub undo_tries: u32,
    /// Of all tries to take back, those that ended exactly as the one before them and are not listed again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeats: usize,
    /// When what was done expires and is taken back, however it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// How the case ends once what was done is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Ending>,
    /// Other symptoms of the same family that were heard.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub others: BTreeSet<Symptom>,
}

fn is_zero<N: Default + PartialEq>(count: &N) -> bool {
    *count == N::default()
}

/// A reason with its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timed {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
}

impl Incident {
    /// Acts as a ladder counts them: one that surely wrote nothing has not been tried.
    #[must_use]
    pub fn rung(&self) -> u32 {
        self.attempts.saturating_sub(self.unwritten)
    }

    /// Steps that ended so far; tells a late answer from that of a later run.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.steps.len() + self.repeats
    }

    /// Whether it is about limits that an agent left whose journal is not ours.
    #[must_use]
    pub fn is_orphan(&self) -> bool {
        let first = self.plan.as_ref().and_then(|plan| plan.steps.first());
        matches!(first, Some(Action::Restore { .. }))
    }

    /// Whether the step that runs, or ran last, takes something back.
    #[must_use]
    pub fn takes_back(&self) -> bool {
        self.direction == Direction::Undo || self.is_orphan()
    }

    /// Whether an operator stopped it: nothing forward is done any more.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        self.reasons.iter().any(|timed| matches!(timed.reason, Reason::Aborted { .. }))
    }

    /// What holds it back, when the gate said "not now".
    #[must_use]
    pub fn holds(&self) -> &[Hold] {
        match &self.verdict {
            Some(Verdict::Hold { holds }) => holds,
            Some(Verdict::Allow | Verdict::Ask { .. } | Verdict::Refuse { .. }) | None => &[],
        }
    }
}
