//! The gate's answer, with every check that led to it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::reason::{Hold, Reason};

/// How far we may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Everything but the write.
    #[default]
    Observe,
    /// A person approves each plan.
    Suggest,
    /// Acts within the policies.
    Enforce,
}

impl Mode {
    /// The lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Suggest => "suggest",
            Self::Enforce => "enforce",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "observe" => Ok(Self::Observe),
            "suggest" => Ok(Self::Suggest),
            "enforce" => Ok(Self::Enforce),
            _ => Err(format!("{text:?} is not a mode; use observe, suggest or enforce")),
        }
    }
}

/// The gate's answer for one plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case", deny_unknown_fields)]
pub enum Verdict {
    /// Go.
    Allow,
    /// Ask people first.
    Ask {
        /// Seconds until the question expires, which denies it.
        expires_s: u64,
    },
    /// Not now; asked again when a hold ends.
    Hold {
        /// Why, never empty.
        holds: Vec<Hold>,
    },
    /// No; ends the incident with people told.
    Refuse {
        /// Why, never empty.
        reasons: Vec<Reason>,
    },
}

/// One check of the gate with what it looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Name: `scope`, `rehearsal`, `freeze`, `mode`, `approval`, `process`, `pause`, `window`, `limit`,
    /// `cooldown`, `attempts`, `claim`, `concurrent`, `storm`, `breaker`.
    pub name: String,
    /// Whether it let the plan pass.
    pub passed: bool,
    /// What it looked at, for people.
    pub detail: String,
}
