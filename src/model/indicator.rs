//! Measured health: levels, readings of indicators, and probes made for one incident.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::subject::Subject;

/// How well an indicator is. `Unknown` is neither healthy nor a cause to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Within its band.
    Healthy,
    /// Somebody should look.
    Warning,
    /// Users are hurt.
    Critical,
    /// Could not be read, or too few samples: see the reason beside it.
    Unknown,
}

impl Level {
    /// The lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One figure as a source read it, before anybody judged it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Indicator id, for instance `traffic.route_error_rate`.
    pub indicator: String,
    /// What it was read for.
    pub subject: Subject,
    /// The figure in the indicator's unit and the number of samples behind it, or why there is none.
    pub figure: Result<Figure, String>,
    /// When it was read.
    pub at: Timestamp,
}

/// A figure with the weight of evidence behind it. Both are finite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The value in the indicator's unit (shares are 0 to 1).
    pub value: f64,
    /// How many samples (requests, pods) stand behind it.
    pub samples: f64,
}

/// An indicator judged for one incident: before the act, and while verifying it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Indicator id.
    pub indicator: String,
    /// The figure; `None` when it could not be read (then `level` is `Unknown` and `why` says it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figure: Option<Figure>,
    /// The judgement: `Unknown` also for too few samples.
    pub level: Level,
    /// Why the level is unknown; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// When it was read.
    pub at: Timestamp,
}

/// Something for each of Envoy's two overflow counters: which one moves depends on the limit that was met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overflow<T> {
    /// Too many waited for a connection (`upstream_rq_pending_overflow`).
    pub pending: T,
    /// Too many were under way (`upstream_rq_active_overflow`).
    pub active: T,
}
