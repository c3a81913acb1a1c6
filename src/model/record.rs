//! A record: one event together with the changes decided on it, as the journal stores it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::change::Change;
use super::digest::Digest;
use super::event::Event;

/// Version of the record format; a reader refuses a newer one.
pub const FORMAT: u32 = 1;

/// What the driver hands to the journal: not yet numbered, not yet chained.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The event.
    pub event: Event,
    /// What was decided on it.
    pub changes: Vec<Change>,
    /// Blobs (specs, rule files) the record cites; stored in the same commit.
    pub blobs: Vec<Blob>,
}

/// A document stored by its content hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Digest of `bytes`.
    pub digest: Digest,
    /// The bytes: canonical JSON for specs, the file's text for rules.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// A blob of these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of_bytes(&bytes), bytes }
    }
}

/// A durable record. Its hash covers the canonical JSON of all fields but `hash` itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Format version.
    pub format: u32,
    /// Position, from 1 without gaps.
    pub seq: u64,
    /// Engine time of the event.
    pub at: Timestamp,
    /// Kind of the event.
    pub kind: String,
    /// Incident the record is about, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// The event.
    pub event: Event,
    /// What was decided on it.
    pub changes: Vec<Change>,
    /// Digests of blobs it cites.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<Digest>,
    /// Hash of the record before.
    pub prev: Digest,
}
