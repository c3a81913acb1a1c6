//! Everything the engine can hear. Events are totally ordered; `at` comes from the driver's clock and
//! never goes back.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::facts::Findings;
use super::history::{RevisionProven, RevisionSeen};
use super::incident::IncidentId;
use super::indicator::Probe;
use super::mark::Marked;
use super::pause::Reach;
use super::plan::{Direction, Outcome, Rehearsal};
use super::signal::Signal;
use super::subject::Subject;

/// Something that happened, with the engine's time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Engine time.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "an event is moved once into its record; a box would be paid for by each signal"
)]
pub enum EventKind {
    /// The process started on this journal.
    Started {
        /// Id of the journal, the prefix of incident ids.
        journal: String,
        /// Version of the agent.
        version: String,
    },
    /// Rules were loaded: what decides from here on. The texts are blobs.
    RulesLoaded {
        /// Rule files.
        rules: RulesLoaded,
    },
    /// A signal.
    Signal {
        /// The signal, with a subject that was resolved in our own cache.
        signal: Signal,
    },
    /// An inspection answered.
    Inspected {
        /// For this incident.
        incident: IncidentId,
        /// Number of the inspection.
        inspection: u32,
        /// What was found.
        findings: Box<Findings>,
    },
    /// A dry run answered.
    Rehearsed {
        /// For this incident.
        incident: IncidentId,
        /// Identity of the plan.
        plan: Digest,
        /// What the server said.
        rehearsal: Rehearsal,
    },
    /// A step ended.
    Executed {
        /// For this incident.
        incident: IncidentId,
        /// Identity of the plan.
        plan: Digest,
        /// Index of the step.
        step: usize,
        /// Forward or undo.
        direction: Direction,
        /// The run of the step that this answers.
        run: usize,
        /// What came of it.
        outcome: Outcome,
    },
    /// A probe answered.
    Probed {
        /// For this incident.
        incident: IncidentId,
        /// Number of the probe.
        probe: u32,
        /// What was measured.
        reading: Probe,
    },
    /// A notification was delivered, or not.
    Notified {
        /// For this incident.
        incident: IncidentId,
        /// The step of the plan that it was; `None` for news about the case.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<usize>,
        /// What came of it.
        outcome: Outcome,
    },
    /// A person voted.
    Voted {
        /// On this incident.
        incident: IncidentId,
        /// On this plan.
        plan: Digest,
        /// Token name of the person.
        by: String,
        /// Yes or no.
        vote: Vote,
        /// Their words.
        #[serde(default)]
        comment: String,
    },
    /// A revision of a routing object was seen. Its spec travels beside it as a blob.
    RevisionSeen {
        /// Which.
        revision: RevisionSeen,
    },
    /// A revision earned trust, or was given it.
    RevisionProven {
        /// Which.
        revision: RevisionProven,
    },
    /// A routing object vanished.
    RouteGone {
        /// Which.
        subject: Subject,
    },
    /// An object that is no route vanished: a pod, a workload, a service, a certificate.
    SubjectGone {
        /// Which.
        subject: Subject,
    },
    /// The watch saw the mark of a shed on an object.
    MarkSeen {
        /// Which.
        marked: Box<Marked>,
    },
    /// The watch saw that an object bears its mark no more.
    MarkGone {
        /// Which.
        subject: Subject,
    },
    /// The wall clock jumped against the monotonic one.
    ClockJumped {
        /// Seconds, forward positive.
        seconds: i64,
    },
    /// The journal's disk is full: what is in reserve is for taking back.
    JournalFull,
    /// The journal's disk has room again.
    JournalRoom,
    /// The agent begins to shut down: nothing new is started.
    Drain,
    /// Time passed.
    Tick,
    /// An operator holds new acts.
    Paused {
        /// What.
        reach: Reach,
        /// Token name of the person.
        by: String,
        /// Their words.
        reason: String,
        /// For so many seconds.
        for_s: u64,
    },
    /// An operator ends a pause.
    Resumed {
        /// The reach of the pause.
        reach: Reach,
        /// Token name of the person.
        by: String,
    },
    /// An operator stops one case.
    Aborted {
        /// Which.
        incident: IncidentId,
        /// Token name of the person.
        by: String,
        /// Their words.
        comment: String,
        /// What becomes of an act that is in force; absent where they have not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        in_force: Option<InForce>,
    },
    /// An operator stops all open cases within a reach.
    AbortedAll {
        /// Which.
        reach: Reach,
        /// Token name of the person.
        by: String,
        /// Their words.
        comment: String,
        /// What becomes of acts that are in force; absent where they have not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        in_force: Option<InForce>,
    },
}

/// What becomes of an act in force when its case is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InForce {
    /// It stays, and what expires still ends at its time. Also where nobody says: what is undone unasked may be
    /// the cure, and what is kept can be undone later.
    #[default]
    Keep,
    /// It is undone.
    Undo,
}

/// A person's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vote {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

/// Rule files by path with the digest of their bytes, so that a record says what decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesLoaded {
    /// Playbooks by file name.
    pub playbooks: BTreeMap<String, Digest>,
    /// Policies, alert maps and indicators by file name.
    pub policies: BTreeMap<String, Digest>,
    /// Mode cap from the command line, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_mode: Option<super::verdict::Mode>,
}

impl EventKind {
    /// All kinds, as records name them: a listed enum of the audit format.
    pub const NAMES: [&str; 24] = [
        "started",
        "rules_loaded",
        "signal",
        "inspected",
        "rehearsed",
        "executed",
        "probed",
        "notified",
        "voted",
        "revision_seen",
        "revision_proven",
        "route_gone",
        "subject_gone",
        "mark_seen",
        "mark_gone",
        "clock_jumped",
        "journal_full",
        "journal_room",
        "drain",
        "tick",
        "paused",
        "resumed",
        "aborted",
        "aborted_all",
    ];

    /// The name of the kind.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::RulesLoaded { .. } => "rules_loaded",
            Self::Signal { .. } => "signal",
            Self::Inspected { .. } => "inspected",
            Self::Rehearsed { .. } => "rehearsed",
            Self::Executed { .. } => "executed",
            Self::Probed { .. } => "probed",
            Self::Notified { .. } => "notified",
            Self::Voted { .. } => "voted",
            Self::RevisionSeen { .. } => "revision_seen",
            Self::RevisionProven { .. } => "revision_proven",
            Self::RouteGone { .. } => "route_gone",
            Self::SubjectGone { .. } => "subject_gone",
            Self::MarkSeen { .. } => "mark_seen",
            Self::MarkGone { .. } => "mark_gone",
            Self::ClockJumped { .. } => "clock_jumped",
            Self::JournalFull => "journal_full",
            Self::JournalRoom => "journal_room",
            Self::Drain => "drain",
            Self::Tick => "tick",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Aborted { .. } => "aborted",
            Self::AbortedAll { .. } => "aborted_all",
        }
    }

    /// The incident it answers for, where it names one.
    #[must_use]
    pub fn incident(&self) -> Option<&IncidentId> {
        match self {
            Self::Inspected { incident, .. }
            | Self::Rehearsed { incident, .. }
            | Self::Executed { incident, .. }
            | Self::Probed { incident, .. }
            | Self::Notified { incident, .. }
            | Self::Voted { incident, .. }
            | Self::Aborted { incident, .. } => Some(incident),
            Self::Started { .. }
            | Self::RulesLoaded { .. }
            | Self::Signal { .. }
            | Self::RevisionSeen { .. }
            | Self::RevisionProven { .. }
            | Self::RouteGone { .. }
            | Self::SubjectGone { .. }
            | Self::MarkSeen { .. }
            | Self::MarkGone { .. }
            | Self::ClockJumped { .. }
            | Self::JournalFull
            | Self::JournalRoom
            | Self::Drain
            | Self::Tick
            | Self::Paused { .. }
            | Self::Resumed { .. }
            | Self::AbortedAll { .. } => None,
        }
    }
}
