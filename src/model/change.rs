//! Changes: what a decision does to the state. `apply` folds them, in the run and after a restart alike,
//! so a change carries everything its folding needs and nothing is worked out twice.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::digest::Digest;
use super::facts::Findings;
use super::history::{LastGood, Proof, ProvenDestination, RevisionSeen};
use super::incident::{IncidentId, IncidentKey, PassedOver, Phase};
use super::indicator::Probe;
use super::mark::Marked;
use super::pause::{Pause, Reach};
use super::plan::{Direction, Outcome, Plan, Rehearsal};
use super::reason::Reason;
use super::signal::{Severity, Signal, Symptom};
use super::storm::{Domain, Storm};
use super::subject::Subject;
use super::verdict::{Check, Verdict};

/// One step of the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "fields repeat the documented names of the incident")]
pub enum Change {
    /// The journal's id is known.
    JournalNamed { journal: String },
    /// A new case.
    Opened {
        incident: IncidentId,
        key: IncidentKey,
        signal: Box<Signal>,
        candidates: Vec<String>,
        deadline: Timestamp,
    },
    /// Another signal for an open case: a counter, nothing else. The signal itself is the record's event.
    Attached {
        incident: IncidentId,
        source: SmolStr,
        severity: Severity,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<f64>,
        began: Timestamp,
        /// Where it is another one of the family than the case was opened for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        symptom: Option<Symptom>,
    },
    /// A signal that belongs to a case that is over.
    Ignored {
        incident: IncidentId,
        key: IncidentKey,
        source: SmolStr,
        /// Where it is another one of the family than the case was opened for, as far as that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        symptom: Option<Symptom>,
    },
    /// A source stopped firing; also of a case that is over, because health begins with it.
    SourceResolved { incident: IncidentId, key: IncidentKey, source: SmolStr },
    /// A playbook was considered and not used.
    PassedOver { incident: IncidentId, passed: PassedOver },
    /// Read the facts. `after` delays it while a permit may still be running.
    InspectionStarted {
        incident: IncidentId,
        inspection: u32,
        needs: Vec<String>,
        indicators: Vec<String>,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        uid: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        good: Vec<LastGood>,
        deadline: Timestamp,
    },
    /// The next inspection has to wait: an old permit may still be running.
    InspectionDelayed { incident: IncidentId, until: Timestamp, deadline: Timestamp },
    /// What an inspection found.
    Found { incident: IncidentId, findings: Box<Findings> },
    /// A plan exists.
    Planned { incident: IncidentId, plan: Plan, deadline: Timestamp },
    /// The dry run answered.
    Rehearsed { incident: IncidentId, rehearsal: Rehearsal },
    /// The gate answered.
    Gated { incident: IncidentId, verdict: Verdict, checks: Vec<Check> },
    /// People are asked.
    ApprovalAsked { incident: IncidentId, plan: Digest, expires: Timestamp },
    /// A person said yes.
    ApprovalGranted { incident: IncidentId, plan: Digest, by: String },
    /// The approved plan no longer fits.
    ApprovalVoided { incident: IncidentId },
    /// The act is charged to the budgets; comes right before its first step.
    Charged { incident: IncidentId, charge: Charge },
    /// A step starts; a permit is minted from this change once it is durable.
    StepStarted {
        incident: IncidentId,
        plan: Digest,
        step: usize,
        direction: Direction,
        permit_until: Timestamp,
        deadline: Timestamp,
    },
    /// A step ended.
    StepEnded { incident: IncidentId, step: usize, direction: Direction, outcome: Outcome },
    /// The step's outcome must be read from state.
    Reconciling { incident: IncidentId },
    /// Wait for the act to take effect.
    SoakStarted { incident: IncidentId, until: Timestamp },
    /// Measure.
    ProbeStarted {
        incident: IncidentId,
        probe: u32,
        indicator: String,
        since: Timestamp,
        next: Timestamp,
        deadline: Timestamp,
    },
    /// A measurement.
    Probed {
        incident: IncidentId,
        reading: Probe,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        good_since: Option<Timestamp>,
    },
    /// Something worth telling about the case.
    Noted { incident: IncidentId, reason: Reason },
    /// The case is over. `Escalated` and `Expired` tell people.
    Ended { incident: IncidentId, phase: Phase, reason: Reason },
    /// A stopped case whose act was kept is open again, for that act to be undone.
    Reopened { incident: IncidentId },
    /// The case is explained by another one, and nothing is done about it while that is so.
    Caused { incident: IncidentId, cause: IncidentId, deadline: Timestamp },
    /// It helped, or people were told that nobody knows: what was done is taken back when it expires, and
    /// then the case ends like this.
    Held { incident: IncidentId, until: Timestamp, phase: Phase, reason: Reason },
    /// It could not be taken back, or may not yet: once more then.
    UndoDelayed { incident: IncidentId, until: Timestamp },
    /// Others are taken back first: one at a time.
    RestoreDelayed { incident: IncidentId, until: Timestamp },
    /// A notification was delivered, or not.
    NotificationEnded { incident: IncidentId, outcome: Outcome },
    /// The healthy period is over: attempts come back.
    AttemptsRefilled { key: IncidentKey },
    /// A revision is in force.
    RevisionInForce { revision: RevisionSeen },
    /// A revision is good.
    RevisionGood { subject: Subject, spec_hash: Digest, proof: Proof, destinations: Vec<ProvenDestination> },
    /// A revision is bad.
    RevisionBad { subject: Subject, spec_hash: Digest, incident: IncidentId },
    /// We wrote this revision ourselves: it never becomes good by itself.
    RevisionOurs { subject: Subject, spec_hash: Digest },
    /// A route vanished; its history stays for a while.
    RouteForgotten { subject: Subject },
    /// A subject that the end of its case left ill vanished, and is ill no more.
    SubjectVanished { subject: Subject },
    /// Rules are in force.
    RulesInForce { digest: Digest },
    /// The wall clock jumped: acts wait for the next evaluation.
    ClockJumped { seconds: i64 },
    /// A mark that no open case accounts for was seen on an object.
    MarkSeen { marked: Marked },
    /// It is gone.
    MarkGone { subject: Subject },
    /// Acts no longer wait for the clock.
    ClockSettled,
    /// Nothing new is started until the journal's disk has room again.
    JournalFull,
    /// It has.
    JournalRoom,
    /// Nothing new is started.
    Draining,
    // --- the whole gate
    /// An operator holds new acts; the same reach again replaces the pause.
    PauseBegan { pause: Pause },
    /// A pause is over; `by` says who ended it, if it did not end by itself.
    PauseEnded {
        reach: Reach,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// A storm was noticed; people are told on this incident.
    StormBegan { incident: IncidentId, storm: Storm },
    /// Fewer are ill than the bound; the rest after the storm begins.
    StormCalmed { domain: Domain },
    /// As many are ill again before the rest was over.
    StormResumed { domain: Domain },
    /// The storm is over; people are told on the incident at which it was noticed.
    StormEnded { domain: Domain, incident: IncidentId },
    /// An act failed or did not help.
    BreakerCounted { incident: IncidentId, policy: String, playbook: String },
    /// Too many of them: new acts are held. `again` after a trial, when people know already.
    BreakerTripped {
        incident: IncidentId,
        policy: String,
        playbook: String,
        failures: u32,
        until: Timestamp,
        again: bool,
    },
    /// The act of this incident is the one that may try.
    BreakerTried { incident: IncidentId, policy: String, playbook: String },
    /// An act helped: the failures are forgotten.
    BreakerClosed { incident: IncidentId, policy: String, playbook: String },
}

/// An act as the budgets see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// When.
    pub at: Timestamp,
    /// Key of the incident: subject's top owner and family.
    pub key: IncidentKey,
    /// Object written to.
    pub target: Subject,
    /// Playbook.
    pub playbook: String,
    /// Action's name.
    pub action: String,
    /// Whether anything may have been written; only acts that were surely not made say no.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub wrote: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_yes(wrote: &bool) -> bool {
    *wrote
}

impl Change {
    /// The incident it belongs to; `None` for those about routes, rules and the process.
    #[must_use]
    pub fn incident(&self) -> Option<&IncidentId> {
        match self {
            Self::Opened { incident, .. }
            | Self::Attached { incident, .. }
            | Self::Ignored { incident, .. }
            | Self::SourceResolved { incident, .. }
            | Self::PassedOver { incident, .. }
            | Self::InspectionStarted { incident, .. }
            | Self::InspectionDelayed { incident, .. }
            | Self::Found { incident, .. }
            | Self::Planned { incident, .. }
            | Self::Rehearsed { incident, .. }
            | Self::Gated { incident, .. }
            | Self::ApprovalAsked { incident, .. }
            | Self::ApprovalGranted { incident, .. }
            | Self::ApprovalVoided { incident }
            | Self::Charged { incident, .. }
            | Self::StepStarted { incident, .. }
            | Self::StepEnded { incident, .. }
            | Self::Reconciling { incident }
            | Self::SoakStarted { incident, .. }
            | Self::ProbeStarted { incident, .. }
            | Self::Probed { incident, .. }
            | Self::Noted { incident, .. }
            | Self::Caused { incident, .. }
            | Self::Reopened { incident }
            | Self::Held { incident, .. }
            | Self::UndoDelayed { incident, .. }
            | Self::RestoreDelayed { incident, .. }
            | Self::Ended { incident, .. }
            | Self::NotificationEnded { incident, .. }
            | Self::RevisionBad { incident, .. }
            | Self::StormBegan { incident, .. }
            | Self::BreakerCounted { incident, .. }
            | Self::BreakerTripped { incident, .. }
            | Self::BreakerTried { incident, .. }
            | Self::BreakerClosed { incident, .. } => Some(incident),
            Self::JournalNamed { .. }
            | Self::AttemptsRefilled { .. }
            | Self::RevisionInForce { .. }
            | Self::RevisionGood { .. }
            | Self::RevisionOurs { .. }
            | Self::RouteForgotten { .. }
            | Self::SubjectVanished { .. }
            | Self::RulesInForce { .. }
            | Self::MarkSeen { .. }
            | Self::MarkGone { .. }
            | Self::ClockJumped { .. }
            | Self::ClockSettled
            | Self::JournalFull
            | Self::JournalRoom
            | Self::Draining
            | Self::PauseBegan { .. }
            | Self::PauseEnded { .. }
            | Self::StormCalmed { .. }
            | Self::StormResumed { .. }
            | Self::StormEnded { .. } => None,
        }
    }
}
