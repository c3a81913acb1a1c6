//! A plan: a playbook resolved for one incident, with every target and precondition named.

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::digest::Digest;

/// Steps in order. They stop at the first failure and are undone in reverse order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Playbook that proposed it.
    pub playbook: String,
    /// What to do.
    pub steps: Vec<Action>,
    /// How to tell whether it helped; `None` only for plans that write nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recover: Option<Recover>,
}

impl Plan {
    /// What an approval binds to and a permit names: the hash of the steps (actions, targets, uids, spec
    /// hashes) and the playbook's name. Facts that change by themselves are not part of it.
    #[must_use]
    pub fn identity(&self) -> Digest {
        let steps = serde_json::json!({ "playbook": self.playbook, "steps": self.steps });
        Digest::of_json(&steps)
    }

    /// Whether its dry run is shown before it is done. What is to be taken back is not asked about.
    #[must_use]
    pub fn rehearses(&self) -> bool {
        !self.steps.iter().any(|step| matches!(step, Action::Restore { .. }))
    }

    /// Whether any step writes to the cluster.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.steps.iter().any(|step| step.target().is_some())
    }
}

/// When an act counts as having helped. The probe's window starts after the soak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recover {
    /// Indicator id.
    pub indicator: String,
    /// Seconds after the soak at which an indicator that is still critical means "not recovered".
    pub within_s: u64,
    /// Seconds for which it must stay not critical, with enough samples, to count as recovered.
    pub hold_s: u64,
    /// Seconds to wait after the act before the first probe.
    pub soak_s: u64,
}

/// Which way a step is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// As planned.
    Forward,
    /// Taken back: its inverse.
    Undo,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// Written.
    Done {
        /// For people: what changed.
        detail: String,
    },
    /// The object was already as the step wants it; nothing was written.
    AlreadyDone,
    /// A precondition did not hold; nothing was written.
    Stale {
        /// What was found instead.
        why: String,
    },
    /// Nothing of ours is left to take back: somebody else took the object over, or it is another one.
    Moot {
        /// What was found instead.
        why: String,
    },
    /// Refused or impossible; nothing was written.
    Failed {
        /// What happened and what to do.
        why: String,
    },
    /// The write may or may not have happened (time-out, connection lost): the state must be read.
    Unknown {
        /// What happened.
        why: String,
    },
}

impl Outcome {
    /// Why the object is not as the step was to leave it; `None` where it is.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Self::Done { .. } | Self::AlreadyDone => None,
            Self::Moot { why } | Self::Stale { why } | Self::Failed { why } | Self::Unknown { why } => {
                Some(why)
            }
        }
    }

    /// The word as metrics carry it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::AlreadyDone => "already_done",
            Self::Stale { .. } => "stale",
            Self::Moot { .. } => "moot",
            Self::Failed { .. } => "failed",
            Self::Unknown { .. } => "unknown",
        }
    }
}

/// What the API server said to the plan as a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case", deny_unknown_fields)]
pub enum Rehearsal {
    /// Accepted; the diff is for people, with sensitive strings redacted.
    Accepted {
        /// Unified diff of the object, YAML, redacted.
        diff: String,
    },
    /// We lack a right (403): a finding in `observe`.
    Forbidden {
        /// Verb, for instance `patch`.
        verb: String,
        /// Resource, for instance `virtualservices.networking.istio.io`.
        resource: String,
        /// Namespace.
        namespace: String,
        /// Diff as far as it could be worked out without the server.
        diff: String,
    },
    /// Refused by admission, validation or a stale precondition.
    Refused {
        /// The server's words.
        why: String,
    },
    /// Could not be tried.
    Unreadable {
        /// What happened.
        why: String,
    },
}
