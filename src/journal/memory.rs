//! A journal in memory whose commits can be made to fail: for tests of what must not happen then.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::rows::seal;
use super::{AppendError, Head, Journal, JournalError};
use crate::model::digest::Digest;
use crate::model::record::{Draft, Record};

/// Records in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal {
    id: String,
    records: Vec<Record>,
    blobs: BTreeMap<Digest, Vec<u8>>,
    head: Option<Head>,
    snapshot: Option<(u64, Vec<u8>)>,
    failures: u32,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned(), ..Self::default() }
    }

    /// Lets the next `count` appends fail as a disk does that comes to itself again.
    pub fn fail_next(&mut self, count: u32) {
        self.failures = count;
    }

    /// How many appends will still fail.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// What was appended.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }
}

impl Journal for MemoryJournal {
    fn id(&self) -> &str {
        &self.id
    }

    fn head(&self) -> Head {
        self.head.unwrap_or(Head::EMPTY)
    }

    fn append(
        &mut self,
        expected: &Head,
        batch: &[Draft],
        snapshot: Option<&[u8]>,
    ) -> Result<Head, AppendError> {
        if *expected != self.head() {
            return Err(AppendError::Conflict { expected: *expected, found: self.head() });
        }
        if self.failures > 0 {
            self.failures -= 1;
            return Err(AppendError::NotDurable("the disk does not answer".to_owned()));
        }
        let mut head = self.head();
        for draft in batch {
            let sealed = seal(&head, draft).map_err(AppendError::NotDurable)?;
            head = Head { seq: sealed.seq, hash: sealed.hash };
            // Read back from its bytes, as every other journal does.
            let record = serde_json::from_slice(&sealed.body);
            self.records.push(record.map_err(|error| AppendError::NotDurable(error.to_string()))?);
            self.blobs.extend(draft.blobs.iter().map(|blob| (blob.digest, blob.bytes.clone())));
        }
        if let Some(bytes) = snapshot {
            self.snapshot = Some((head.seq, bytes.to_vec()));
        }
        self.head = Some(head);
        Ok(head)
    }

    fn heartbeat(&mut self, _at: jiff::Timestamp) -> Result<(), AppendError> {
        Ok(())
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, JournalError> {
        Ok(self.blobs.get(digest).cloned())
    }

    fn snapshot(&self) -> Result<Option<(u64, Vec<u8>)>, JournalError> {
        Ok(self.snapshot.clone())
    }

    fn read(&self, from: u64, visit: &mut dyn FnMut(Record) -> ControlFlow<()>) -> Result<(), JournalError> {
        for record in self.records.iter().filter(|record| record.seq >= from) {
            if visit(record.clone()).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn close(self: Box<Self>, _at: jiff::Timestamp) -> Result<(), JournalError> {
        Ok(())
    }
}
