//! What proxies say when they are asked, and what a control plane says about their configuration.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::subject::Subject;

/// What came of asking a proxy once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Echo {
    /// It is well.
    Ready,
    /// It answered, and not that it is well: it starts, drains, or has no configuration yet.
    NotReady(String),
    /// It kept silent.
    Missed(String),
    /// It was not asked, or is not to be asked now.
    NotAsked(String),
}

/// What one replica of the control plane says about one proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncWord {
    /// In short.
    pub standing: Standing,
    /// The types it is about: those rejected, or those not acknowledged.
    pub types: Vec<String>,
    /// Version of the proxy; empty where it does not say.
    pub version: String,
    /// When the oldest push that waits for its acknowledgement was sent, by istiod's clock; nothing where none
    /// waits, or where a release before 1.23 does not say.
    pub waits_since: Option<Timestamp>,
}

/// Who is connected to one replica of the control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connected {
    /// Connections: a pod that connects anew has two for a moment.
    pub clients: usize,
    /// Since when each pod is connected, by istiod's clock.
    pub since: BTreeMap<Subject, Timestamp>,
}

/// Where a proxy stands with one replica at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Everything sent was acknowledged.
    Acknowledged,
    /// Something sent was not acknowledged yet: a push under way, or one that is stuck.
    Waiting,
    /// Something was rejected; in the proxy's words.
    Rejected(String),
}

/// What one replica says about all proxies it knows.
pub type SyncWords = BTreeMap<Subject, SyncWord>;
