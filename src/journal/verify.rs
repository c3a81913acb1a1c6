//! Verify: whether the journal is what was once written. Works offline, with the public key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ring::signature::{ED25519, UnparsedPublicKey};
use rusqlite::{Connection, ErrorCode};
use serde::Serialize;

use super::key;
use super::reader::Reader;
use super::rows::{Checkpoint, seq_of_sql};
use super::{Head, JournalError};
use crate::model::digest::Digest;
use crate::model::event::EventKind;
use crate::model::record::{FORMAT, Record};

/// What a sound journal holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Number of records.
    pub records: u64,
    /// Where the chain ends: keep it elsewhere as an anchor.
    pub head: Head,
    /// Number of checkpoints.
    pub checkpoints: u64,
    /// The last record that a checkpoint signs; those behind it only hang on the chain.
    pub signed: u64,
    /// Whether their signatures were checked.
    pub signatures: Signatures,
}

/// Whether signatures were checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signatures {
    /// All of them fit the key.
    Checked,
    /// Not checked, for this reason.
    NotChecked(String),
}

/// The first thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Record it is about: for a document the first record that cites it, for a checkpoint its own number.
    pub seq: u64,
    /// What does not fit.
    pub what: String,
}

/// Why verification did not end well.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The journal was changed.
    #[error("record {}: {}", .0.seq, .0.what)]
    Broken(Broken),
    /// It could not be looked at.
    #[error(transparent)]
    Unreadable(#[from] JournalError),
}

impl From<rusqlite::Error> for VerifyError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            // A busy file, or one we may not read, says nothing about what it holds.
            Some(code) if !matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Unreadable(error.into())
            }
            _ => broken(0, format!("the file is damaged: {error}")),
        }
    }
}

fn broken(seq: u64, what: impl Into<String>) -> VerifyError {
    VerifyError::Broken(Broken { seq, what: what.into() })
}

/// What the records say, gathered in one pass.
#[derive(Default)]
struct Seen {
    hashes: BTreeMap<u64, Digest>,
    /// Documents with the first record that cites them.
    cited: BTreeMap<Digest, u64>,
    head: Option<Head>,
}

/// Checks every stored byte of the journal, or of a folder that was exported from one.
///
/// # Errors
/// [`VerifyError::Broken`] with the first record that does not fit; otherwise the journal, the key or the
/// anchor could not be read.
pub fn verify(path: &Path, key: Option<&Path>, anchor: Option<&Path>) -> Result<Report, VerifyError> {
    if path.is_dir() {
        return super::export::verify(path, key, anchor.map(read_anchor).transpose()?);
    }
    let reader = Reader::open(path)?;
    let journal = identity(&reader.db)?;
    let beside = key::public_path(path);
    let public = match key {
        Some(path) => Some(key::public(path)?),
        None if beside.exists() => Some(key::public(&beside)?),
        None => None,
    };
    let anchor = anchor.map(read_anchor).transpose()?;
    let seen = records(&reader.db, &journal)?;
    documents(&reader.db, &seen)?;
    let (checkpoints, signed) = checkpoints(&reader.db, &journal, &seen, public.as_deref())?;
    let head = seen.head.unwrap_or(Head::EMPTY);
    if head.seq > 0 && checkpoints == 0 {
        return Err(broken(1, "no checkpoint signs it: the first commit of every run is signed"));
    }
    index(&reader.db)?;
    if let Some(anchor) = anchor
        && anchor.seq > 0
        && seen.hashes.get(&anchor.seq) != Some(&anchor.hash)
    {
        return Err(broken(anchor.seq, "the record at the anchor is missing or another one"));
    }
    let signatures = match public {
        Some(_) => Signatures::Checked,
        None => Signatures::NotChecked("no public key: give --key, or put it beside the journal".to_owned()),
    };
    Ok(Report { records: head.seq, head, checkpoints, signed, signatures })
}

/// The journal's id. Nothing else stands beside it that nobody would check.
fn identity(db: &Connection) -> Result<String, VerifyError> {
    let mut statement = db.prepare("SELECT key, value FROM meta")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let rows: Vec<(String, String)> = rows.collect::<Result<_, _>>()?;
    match rows.as_slice() {
        [(key, id)] if key == "id" => Ok(id.clone()),
        _ => Err(broken(0, "the table meta holds something else than the journal's id")),
    }
}

/// Whether the tables' indexes say what the tables say: documents are looked up by an index.
fn index(db: &Connection) -> Result<(), VerifyError> {
    let found: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(broken(0, format!("the file is damaged: {found}"))) }
}

fn read_anchor(path: &Path) -> Result<Head, JournalError> {
    let failed = |why: String| JournalError(format!("the anchor {} cannot be used: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    // The output of `audit verify -o json` serves as an anchor just as its `head` does.
    let head = value.get("head").cloned().unwrap_or(value);
    serde_json::from_value(head).map_err(|error| failed(error.to_string()))
}

fn records(db: &Connection, journal: &str) -> Result<Seen, VerifyError> {
    let mut seen = Seen::default();
    let mut head = Head::EMPTY;
    let mut statement =
        db.prepare("SELECT seq, hash, prev, at, kind, incident, body FROM records ORDER BY seq")?;
    let mut rows = statement.query([])?;
    loop {
        let next = head.seq + 1;
        let damaged = |error: rusqlite::Error| broken(next, format!("the row is damaged: {error}"));
        let Some(row) = rows.next().map_err(damaged)? else { break };
        let seq = seq_of_sql(row.get::<_, i64>(0).map_err(damaged)?);
        if seq != next {
            return Err(broken(next, format!("it is missing; the next one is {seq}")));
        }
        let hash: Vec<u8> = row.get(1).map_err(damaged)?;
        let prev: Vec<u8> = row.get(2).map_err(damaged)?;
        let body: Vec<u8> = row.get(6).map_err(damaged)?;
        let digest = Digest::of_bytes(&body);
        if Digest::from_slice(&hash) != Some(digest) {
            return Err(broken(seq, "its bytes do not fit its hash"));
        }
        let record = parse(seq, &body)?;
        if let EventKind::Started { journal: named, .. } = &record.event.kind
            && named != journal
        {
            return Err(broken(
                seq,
                format!("it belongs to the journal {named}, this one is called {journal}"),
            ));
        }
        if record.prev != head.hash || Digest::from_slice(&prev) != Some(head.hash) {
            return Err(broken(seq, "it does not follow the record before it"));
        }
        let at: String = row.get(3).map_err(damaged)?;
        let kind: String = row.get(4).map_err(damaged)?;
        let incident: Option<String> = row.get(5).map_err(damaged)?;
        let columns = record.seq == seq
            && record.at.to_string() == at
            && record.kind == kind
            && record.event.kind.name() == kind
            && record.incident == incident;
        if !columns {
            return Err(broken(seq, "its columns do not say what its bytes say"));
        }
        head = Head { seq, hash: digest };
        seen.hashes.insert(seq, digest);
        for blob in &record.blobs {
            seen.cited.entry(*blob).or_insert(seq);
        }
    }
    seen.head = Some(head);
    Ok(seen)
}

fn parse(seq: u64, body: &[u8]) -> Result<Record, VerifyError> {
    let none = |error: serde_json::Error| broken(seq, format!("its bytes are not a record: {error}"));
    let value: serde_json::Value = serde_json::from_slice(body).map_err(none)?;
    let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if format > u64::from(FORMAT) {
        let text = format!(
            "record {seq} has format {format}, this version reads up to {FORMAT}: use a newer meshmend"
        );
        return Err(VerifyError::Unreadable(JournalError(text)));
    }
    serde_json::from_value(value).map_err(none)
}

fn documents(db: &Connection, seen: &Seen) -> Result<(), VerifyError> {
    let mut present = BTreeSet::new();
    let mut wrong: Vec<(Digest, String)> = Vec::new();
    let mut statement = db.prepare("SELECT digest, bytes FROM blobs")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (digest, bytes): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let digest = Digest::from_slice(&digest).unwrap_or(Digest::ZERO);
        present.insert(digest);
        if Digest::of_bytes(&bytes) != digest {
            wrong.push((digest, format!("document {} it cites is not what it was", digest.short())));
        }
    }
    for (digest, _) in seen.cited.iter().filter(|(digest, _)| !present.contains(digest)) {
        wrong.push((*digest, format!("document {} it cites is missing", digest.short())));
    }
    let first = wrong.iter().filter_map(|(digest, what)| Some((*seen.cited.get(digest)?, what))).min();
    if let Some((seq, what)) = first {
        return Err(broken(seq, what.clone()));
    }
    match present.iter().find(|digest| !seen.cited.contains_key(digest)) {
        Some(digest) => Err(broken(0, format!("no record cites the document {}", digest.short()))),
        None => Ok(()),
    }
}

fn checkpoints(
    db: &Connection,
    journal: &str,
    seen: &Seen,
    public: Option<&[u8]>,
) -> Result<(u64, u64), VerifyError> {
    let mut statement = db.prepare("SELECT seq, body, signature FROM checkpoints ORDER BY n")?;
    let mut rows = statement.query([])?;
    let mut prev = Digest::ZERO;
    let (mut count, mut signed) = (0, 0);
    let mut snapshot: Option<(u64, Digest)> = None;
    while let Some(row) = rows.next()? {
        let seq = seq_of_sql(row.get::<_, i64>(0)?);
        let (body, signature): (Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?);
        let checkpoint: Checkpoint = serde_json::from_slice(&body)
            .map_err(|error| broken(seq, format!("the checkpoint's bytes are none: {error}")))?;
        let fits = checkpoint.seq == seq
            && checkpoint.journal == journal
            && checkpoint.prev == prev
            && seq >= signed
            && seen.hashes.get(&seq) == Some(&checkpoint.head);
        if !fits {
            return Err(broken(seq, "the checkpoint does not fit the chain"));
        }
        if let Some(public) = public
            && UnparsedPublicKey::new(&ED25519, public).verify(&body, &signature).is_err()
        {
            return Err(broken(seq, "the checkpoint's signature does not fit"));
        }
        if let Some(digest) = checkpoint.snapshot {
            snapshot = Some((seq, digest));
        }
        prev = Digest::of_bytes(&body);
        (count, signed) = (count + 1, seq);
    }
    snapshots(db, snapshot)?;
    Ok((count, signed))
}

/// The one snapshot that is kept must be the one that the newest checkpoint with a snapshot vouches for.
fn snapshots(db: &Connection, vouched: Option<(u64, Digest)>) -> Result<(), VerifyError> {
    let mut statement = db.prepare("SELECT seq, bytes FROM snapshots ORDER BY seq")?;
    let mut rows = statement.query([])?;
    let mut found = None;
    while let Some(row) = rows.next()? {
        let (seq, bytes): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let this = (seq_of_sql(seq), Digest::of_bytes(&bytes));
        if Some(this) != vouched {
            return Err(broken(this.0, "the snapshot is not the one its checkpoint vouches for"));
        }
        found = Some(this);
    }
    match vouched.filter(|_| found.is_none()) {
        Some((seq, _)) => Err(broken(seq, "the snapshot its checkpoint vouches for is missing")),
        None => Ok(()),
    }
}
