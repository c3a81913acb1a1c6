//! Rows: how records, documents, checkpoints and snapshots lie in SQLite.

use std::ops::ControlFlow;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{Head, JournalError};
use crate::model::change::Change;
use crate::model::digest::{Digest, canonical_of};
use crate::model::event::Event;
use crate::model::incident::IncidentId;
use crate::model::record::{Draft, FORMAT, Record};

/// Columns beside `body` are derived from it, for people with `sqlite3`; `verify` compares them.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
  seq INTEGER PRIMARY KEY, hash BLOB NOT NULL, prev BLOB NOT NULL, at TEXT NOT NULL, kind TEXT NOT NULL,
  incident TEXT, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS blobs (digest BLOB PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS checkpoints (
  n INTEGER PRIMARY KEY, seq INTEGER NOT NULL, body BLOB NOT NULL, signature BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS snapshots (seq INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
";

/// What a checkpoint signs, as canonical JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checkpoint {
    pub(super) journal: String,
    pub(super) seq: u64,
    pub(super) head: Digest,
    pub(super) at: Timestamp,
    /// Digest of the body of the checkpoint before, so that none can be taken out.
    pub(super) prev: Digest,
    /// Digest of the snapshot taken at this record, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) snapshot: Option<Digest>,
}

/// A draft that was numbered and chained, with the bytes that are stored and hashed.
pub(super) struct Sealed {
    pub(super) seq: u64,
    pub(super) incident: Option<String>,
    pub(super) body: Vec<u8>,
    pub(super) hash: Digest,
}

/// A [`Record`] that borrows what the draft holds: a storm would copy every event and every change once more.
#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    seq: u64,
    at: Timestamp,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<&'a str>,
    event: &'a Event,
    changes: &'a [Change],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blobs: Vec<Digest>,
    prev: Digest,
}

/// Numbers and chains a draft.
pub(super) fn seal(head: &Head, draft: &Draft) -> Result<Sealed, String> {
    let about = draft.event.kind.incident().or_else(|| draft.changes.iter().find_map(|c| c.incident()));
    let record = Written {
        format: FORMAT,
        seq: head.seq + 1,
        at: draft.event.at,
        kind: draft.event.kind.name(),
        incident: about.map(IncidentId::as_str),
        event: &draft.event,
        changes: &draft.changes,
        blobs: draft.blobs.iter().map(|blob| blob.digest).collect(),
        prev: head.hash,
    };
    let body = canonical_of(&record).map_err(|error| error.to_string())?;
    let hash = Digest::of_bytes(&body);
    Ok(Sealed { seq: record.seq, incident: about.map(ToString::to_string), body, hash })
}

pub(super) fn seq_to_sql(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

pub(super) fn seq_of_sql(seq: i64) -> u64 {
    u64::try_from(seq).unwrap_or(0)
}

/// The head of the chain.
pub(super) fn head(db: &Connection) -> Result<Head, JournalError> {
    let row = db
        .prepare_cached("SELECT seq, hash FROM records ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))
        .optional()?;
    let Some((seq, hash)) = row else { return Ok(Head::EMPTY) };
    let hash = Digest::from_slice(&hash).ok_or_else(|| {
        JournalError(format!("record {seq}: its hash has a wrong length; run meshmend audit verify"))
    })?;
    Ok(Head { seq: seq_of_sql(seq), hash })
}

/// A value of the table `meta`.
pub(super) fn meta(db: &Connection, key: &str) -> Result<Option<String>, JournalError> {
    let mut statement = db.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}

/// A document by its hash.
pub(super) fn blob(db: &Connection, digest: &Digest) -> Result<Option<Vec<u8>>, JournalError> {
    let mut statement = db.prepare_cached("SELECT bytes FROM blobs WHERE digest = ?1")?;
    let bytes: Option<Vec<u8>> =
        statement.query_row(params![digest.as_bytes().as_slice()], |row| row.get(0)).optional()?;
    match bytes {
        // What is written back into a cluster must be what was once read from it.
        Some(bytes) if Digest::of_bytes(&bytes) != *digest => {
            Err(JournalError(format!("document {} is damaged; run meshmend audit verify", digest.short())))
        }
        other => Ok(other),
    }
}

/// The newest snapshot, if a checkpoint at its record that `signed` accepts vouches for its bytes.
pub(super) fn snapshot(
    db: &Connection,
    signed: &dyn Fn(&[u8], &[u8]) -> bool,
) -> Result<Option<(u64, Vec<u8>)>, JournalError> {
    let mut statement = db.prepare_cached("SELECT seq, bytes FROM snapshots ORDER BY seq DESC LIMIT 1")?;
    let row: Option<(i64, Vec<u8>)> =
        statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((seq, bytes)) = row else { return Ok(None) };
    let digest = Digest::of_bytes(&bytes);
    let mut statement = db.prepare_cached("SELECT body, signature FROM checkpoints WHERE seq = ?1")?;
    let mut rows = statement.query([seq])?;
    while let Some(row) = rows.next()? {
        let (body, signature): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let checkpoint: Option<Checkpoint> = serde_json::from_slice(&body).ok();
        if checkpoint.is_some_and(|found| found.snapshot == Some(digest)) && signed(&body, &signature) {
            return Ok(Some((seq_of_sql(seq), bytes)));
        }
    }
    Ok(None)
}

/// Visits records from a number on, each checked to follow the one before it: what decides about a cluster
/// must be what was once written.
pub(super) fn read_chained(
    db: &Connection,
    from: u64,
    visit: &mut dyn FnMut(Record) -> ControlFlow<()>,
) -> Result<(), JournalError> {
    let mut statement = db.prepare_cached("SELECT hash FROM records WHERE seq = ?1")?;
    let before: Option<Vec<u8>> =
        statement.query_row([seq_to_sql(from.saturating_sub(1))], |row| row.get(0)).optional()?;
    let mut prev = match before {
        Some(hash) => Digest::from_slice(&hash),
        None => Some(Digest::ZERO),
    };
    let (mut broken, mut stopped) = (None, false);
    read(db, from, &mut |record, hash| {
        if Some(record.prev) != prev {
            broken = Some(record.seq);
            return ControlFlow::Break(());
        }
        prev = Some(hash);
        let next = visit(record);
        stopped = next.is_break();
        next
    })?;
    let last = head(db)?;
    // The hash in the last row has no follower that would name it; a visitor that stops does not get there.
    if broken.is_none() && !stopped && last.seq >= from && prev.is_some_and(|prev| prev != last.hash) {
        broken = Some(last.seq);
    }
    match broken {
        Some(seq) => {
            let text = format!("record {seq} does not follow the one before it; run meshmend audit verify");
            Err(JournalError(text))
        }
        None => Ok(()),
    }
}

/// Visits records from a number on.
pub(super) fn read(
    db: &Connection,
    from: u64,
    visit: &mut dyn FnMut(Record, Digest) -> ControlFlow<()>,
) -> Result<(), JournalError> {
    let mut statement = db.prepare_cached("SELECT seq, body FROM records WHERE seq >= ?1 ORDER BY seq")?;
    let mut rows = statement.query([seq_to_sql(from)])?;
    while let Some(row) = rows.next()? {
        let (seq, body): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let record: Record = serde_json::from_slice(&body).map_err(|error| {
            JournalError(format!("record {seq} cannot be read ({error}); run meshmend audit verify"))
        })?;
        if record.format > FORMAT {
            return Err(JournalError(format!(
                "record {seq} has format {}, this version reads up to {FORMAT}: use a newer meshmend",
                record.format
            )));
        }
        if visit(record, Digest::of_bytes(&body)).is_break() {
            break;
        }
    }
    Ok(())
}
