//! Revisions of routing objects: who wrote them, what they proved, and which one is good.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::facts::ManagedBy;
use super::subject::Subject;

/// The name under which we write, as managed fields carry it.
pub const FIELD_MANAGER: &str = "meshmend";

/// One revision of a routing object, by the hash of its `spec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// Content hash of the spec; the spec itself is a blob of the journal.
    pub spec_hash: Digest,
    /// Field manager that wrote it; empty when unknown.
    pub manager: String,
    /// Tool that owns the object at that time.
    pub managed_by: ManagedBy,
    /// When it was first seen in force.
    pub seen_at: Timestamp,
    /// What is known about it.
    pub standing: Standing,
}

/// What is known about a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "snake_case", deny_unknown_fields)]
pub enum Standing {
    /// Seen, nothing more.
    Seen,
    /// Carried enough traffic with healthy indicators, or was blessed by a person.
    Good {
        /// When it became good.
        at: Timestamp,
        /// Proof.
        proof: Proof,
        /// Destinations with the ready endpoints of that time.
        destinations: Vec<ProvenDestination>,
    },
    /// An incident was attributed to it.
    Bad {
        /// The incident.
        incident: String,
    },
}

/// Why a revision is good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Proof {
    /// It carried traffic.
    Traffic {
        /// Requests it carried while healthy.
        requests: f64,
        /// Since when.
        since: Timestamp,
    },
    /// A person said so.
    Blessed {
        /// Token name of the person.
        by: String,
    },
}

/// A destination of a good revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenDestination {
    /// Fully qualified host.
    pub host: String,
    /// Subset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// Weight.
    pub weight: u32,
    /// Ready endpoints when it became good; `None` when nobody could look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<u32>,
}

/// A revision was seen by the watch. Its spec travels beside it as a blob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevisionSeen {
    /// The routing object.
    pub subject: Subject,
    /// Its uid.
    pub uid: String,
    /// Content hash of its spec.
    pub spec_hash: Digest,
    /// Field manager that wrote the spec last; empty when the object does not say.
    pub manager: String,
    /// Tool that owns the object.
    pub managed_by: ManagedBy,
}

/// The revision in force has carried enough traffic with healthy indicators for the hold time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevisionProven {
    /// The routing object.
    pub subject: Subject,
    /// Content hash of the spec that was in force all the time.
    pub spec_hash: Digest,
    /// Proof.
    pub proof: Proof,
    /// Destinations with the ready endpoints of now.
    pub destinations: Vec<ProvenDestination>,
}

/// The newest good revision as the engine hands it to the inspector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastGood {
    /// Content hash of its spec.
    pub spec_hash: Digest,
    /// When it became good.
    pub at: Timestamp,
    /// Who wrote it.
    pub manager: String,
    /// Its destinations.
    pub destinations: Vec<ProvenDestination>,
}
