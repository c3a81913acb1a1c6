//! Facts about the DestinationRule in force.

use serde::{Deserialize, Serialize};

use super::{LastGoodFacts, ManagedBy};
use crate::model::action::Limits;
use crate::model::digest::Digest;

/// The rule that wins for the host and its clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DestinationRuleFacts {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid of the object.
    pub uid: String,
    /// Content hash of `spec`.
    pub spec_hash: Digest,
    /// Fully qualified host that was asked for.
    pub host: String,
    /// The tightest limits that any block of it sets now.
    pub limits: Limits,
    /// Outlier detection; absent where none is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier: Option<OutlierFacts>,
    /// Tool that owns the object.
    pub managed_by: ManagedBy,
    /// Whether a shed of ours is on it.
    pub shed: bool,
    /// Other rules that are merged with it or stand in its way (`namespace/name`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// Seconds since the spec in force was written.
    pub changed_s: u64,
    /// Field manager that wrote it last; empty when the object does not say.
    pub changed_by: String,
    /// Whether the current revision is known good.
    pub current_good: bool,
    /// The newest good revision other than the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<LastGoodFacts>,
}

/// Outlier detection: clients eject endpoints by themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutlierFacts {
    /// `maxEjectionPercent`, 10 where it is not set.
    pub max_ejection_percent: u32,
    /// `minHealthPercent`; zero means that no panic mode keeps the last endpoints in.
    pub min_health_percent: u32,
}
