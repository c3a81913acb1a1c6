//! What operators hold: a pause with its owner, its reason and its end, and how far it reaches.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::subject::Subject;

/// The longest pause: what is meant to last longer belongs into a policy.
pub const LONGEST_PAUSE_S: u64 = 7 * 86_400;

/// What an operator means: everything, one namespace, or one playbook.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Everything.
    All,
    /// Targets in this namespace.
    Namespace(String),
    /// Plans of this playbook.
    Playbook(String),
}

impl Reach {
    /// Whether it reaches a plan of this playbook on this target.
    #[must_use]
    pub fn reaches(&self, playbook: &str, target: &Subject) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(name) => target.scope_namespace() == name,
            Self::Playbook(name) => playbook == name,
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Namespace(name) => write!(f, "namespace {name}"),
            Self::Playbook(name) => write!(f, "playbook {name}"),
        }
    }
}

/// New acts within its reach are held until it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// What is held.
    pub reach: Reach,
    /// Token name of who asked for it.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
}
