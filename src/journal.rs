//! The journal: audit, memory and test fixture at once.
//!
//! A record is one event with the changes decided on it. Records are chained by SHA-256 over their stored
//! bytes; checkpoints sign the chain's head and the digest of a snapshot; documents (specs, rule files)
//! are stored by their content hash. Nothing leaves the process before its record is durable.

mod export;
mod key;
pub mod memory;
mod reader;
mod reserve;
mod rows;
mod sqlite;
mod verify;

use std::ops::ControlFlow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;
use crate::model::record::{Draft, Record};

pub use export::{Documents, Exported, Stretch, export};
pub(crate) use key::write_private;
pub use reader::Reader;
pub use sqlite::{OpenOptions, SqliteJournal};
pub use verify::{Broken, Report, Signatures, VerifyError, verify};

/// The end of the chain: what the next record follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the last record; 0 for an empty journal.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
}

impl Head {
    /// The head of an empty journal.
    pub const EMPTY: Self = Self { seq: 0, hash: Digest::ZERO };
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended meanwhile.
    #[error("the journal's head is at {found:?}, not at {expected:?}: another writer is at work")]
    Conflict {
        /// Head the writer believed in.
        expected: Head,
        /// Head that is there.
        found: Head,
    },
    /// Nothing was written; it may be tried again after reading the state anew.
    #[error("the journal could not be written: {0}")]
    NotDurable(String),
    /// The disk is full. Nothing was written; there may be room in reserve.
    #[error("the journal's disk is full: {0}; make room")]
    Full(String),
    /// The disk lied about durability: nobody knows what is stored, and the process must end.
    #[error("the journal's disk failed while flushing: {0}")]
    Fatal(String),
}

/// Why the journal could not be read or opened.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JournalError(pub String);

impl From<rusqlite::Error> for JournalError {
    fn from(error: rusqlite::Error) -> Self {
        Self(format!("the journal could not be read: {error}"))
    }
}

/// A store of records with one writer.
pub trait Journal: Send {
    /// Id of the journal, the prefix of incident ids.
    fn id(&self) -> &str;
    /// Where the chain ends.
    fn head(&self) -> Head;
    /// Appends the batch in one durable commit if the chain still ends at `expected`; with the state after
    /// the batch as a snapshot, where one is given.
    ///
    /// # Errors
    /// See [`AppendError`]; unless it is fatal, nothing of the batch was stored.
    fn append(
        &mut self,
        expected: &Head,
        batch: &[Draft],
        snapshot: Option<&[u8]>,
    ) -> Result<Head, AppendError>;
    /// Signs the head although nothing was added, so that silence is visible in the journal.
    ///
    /// # Errors
    /// See [`AppendError`]; unless it is fatal, it is tried again later.
    fn heartbeat(&mut self, at: Timestamp) -> Result<(), AppendError>;
    /// A document by its hash.
    ///
    /// # Errors
    /// The store could not be read.
    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, JournalError>;
    /// The newest snapshot with the number of the record it was taken after.
    ///
    /// # Errors
    /// The store could not be read.
    fn snapshot(&self) -> Result<Option<(u64, Vec<u8>)>, JournalError>;
    /// Records from a number on, in order, until the visitor breaks.
    ///
    /// # Errors
    /// The store could not be read, or a record has a newer format.
    fn read(&self, from: u64, visit: &mut dyn FnMut(Record) -> ControlFlow<()>) -> Result<(), JournalError>;
    /// Keeps room in reserve for what taking back needs; whether it is kept.
    fn reserve(&mut self) -> bool {
        true
    }
    /// Gives up that room, because the disk is full; whether there was any.
    fn release(&mut self) -> bool {
        false
    }
    /// Signs the head and leaves the store tidy.
    ///
    /// # Errors
    /// The disk refused; what was appended is durable all the same.
    fn close(self: Box<Self>, at: Timestamp) -> Result<(), JournalError>;
}
