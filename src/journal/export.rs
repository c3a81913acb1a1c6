//! Export: a stretch of the journal as files that can be read, and verified, without us.
//!
//! `records.jsonl` holds the stored bytes of each record, a line each, so that their hashes still hold;
//! `checkpoints.jsonl` the signed bytes with their signatures; `blobs/` the documents by digest, as they are
//! or redacted; `journal.pub` the public key; `export.json` what all this is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ring::signature::{ED25519, UnparsedPublicKey};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::key::{self, write_private};
use super::reader::Reader;
use super::rows::{Checkpoint, seq_of_sql, seq_to_sql};
use super::verify::{Broken, Report, Signatures, VerifyError};
use super::{Head, JournalError};
use crate::model::digest::Digest;
use crate::model::record::Record;
use crate::model::redact;

/// Which records, by number; both ends belong to it.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// First.
    pub from: u64,
    /// Last; the newest where none is given.
    pub to: Option<u64>,
}

/// How documents go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Documents {
    /// Without header values and texts of unknown meaning.
    Redacted,
    /// As they are.
    Exact,
}

/// What an export is, as `export.json` says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exported {
    /// Id of the journal.
    pub journal: String,
    /// First record.
    pub from: u64,
    /// Hash of the record before it.
    pub prev: Digest,
    /// Last record.
    pub head: Head,
    /// Checkpoints that sign records of it.
    pub checkpoints: u64,
    /// Documents that are as they were.
    pub exact: BTreeSet<Digest>,
    /// Documents that were redacted, with the number of texts that were replaced.
    pub redacted: BTreeMap<Digest, usize>,
}

/// A checkpoint as a line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: u64,
    body: String,
    signature: String,
}

fn failed(what: &str, path: &Path, error: impl std::fmt::Display) -> JournalError {
    JournalError(format!("{what} {}: {error}", path.display()))
}

/// Writes an export into a folder that is empty or not there yet.
///
/// # Errors
/// The journal cannot be read, the stretch is empty, or the folder cannot be written or holds something.
pub fn export(
    journal: &Path,
    folder: &Path,
    stretch: Stretch,
    documents: Documents,
) -> Result<Exported, JournalError> {
    let reader = Reader::open(journal)?;
    let used = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if used {
        return Err(failed("will not write into", folder, "it is not empty; name another folder"));
    }
    let blobs = folder.join("blobs");
    fs::create_dir_all(&blobs).map_err(|error| failed("could not make", &blobs, error))?;
    let (mut exported, cited, text) = records(&reader, stretch)?;
    write_private(&folder.join("records.jsonl"), &text)?;
    for digest in cited {
        let Some(bytes) = reader.blob(&digest)? else { continue };
        let spec =
            serde_json::from_slice::<serde_json::Value>(&bytes).ok().filter(serde_json::Value::is_object);
        let (bytes, count) = match spec.filter(|_| documents == Documents::Redacted) {
            Some(spec) => {
                let (spec, count) = redact::spec(&spec);
                (if count > 0 { spec.to_string().into_bytes() } else { bytes }, count)
            }
            None => (bytes, 0),
        };
        if count > 0 {
            exported.redacted.insert(digest, count);
        } else {
            exported.exact.insert(digest);
        }
        write_private(&blobs.join(file_name(&digest)), &bytes)?;
    }
    let (lines, count) = checkpoints(&reader.db, &exported)?;
    exported.checkpoints = count;
    write_private(&folder.join("checkpoints.jsonl"), &lines)?;
    let public = key::public_path(journal);
    if public.exists() {
        let bytes = fs::read(&public).map_err(|error| failed("could not read", &public, error))?;
        write_private(&folder.join("journal.pub"), &bytes)?;
    }
    let about = serde_json::to_vec_pretty(&exported).map_err(|error| JournalError(error.to_string()))?;
    write_private(&folder.join("export.json"), &about)?;
    Ok(exported)
}

fn file_name(digest: &Digest) -> String {
    digest.to_string().replace("sha256:", "")
}

type Found = (Exported, BTreeSet<Digest>, Vec<u8>);

fn records(reader: &Reader, stretch: Stretch) -> Result<Found, JournalError> {
    let mut statement =
        reader.db.prepare("SELECT body FROM records WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq")?;
    let to = stretch.to.unwrap_or(u64::MAX);
    let mut rows = statement.query(params![seq_to_sql(stretch.from), seq_to_sql(to)])?;
    let (mut text, mut cited) = (Vec::new(), BTreeSet::new());
    let mut found: Option<Exported> = None;
    while let Some(row) = rows.next()? {
        let body: Vec<u8> = row.get(0)?;
        let record: Record = serde_json::from_slice(&body).map_err(|error| {
            JournalError(format!("a record cannot be read ({error}); run meshmend audit verify"))
        })?;
        cited.extend(record.blobs.iter().copied());
        let head = Head { seq: record.seq, hash: Digest::of_bytes(&body) };
        text.extend_from_slice(&body);
        text.push(b'\n');
        let exported = found.get_or_insert_with(|| Exported {
            journal: String::new(),
            from: record.seq,
            prev: record.prev,
            head,
            checkpoints: 0,
            exact: BTreeSet::new(),
            redacted: BTreeMap::new(),
        });
        exported.head = head;
    }
    let mut exported =
        found.ok_or_else(|| JournalError("the journal holds no record of that range".to_owned()))?;
    exported.journal = reader.id()?;
    Ok((exported, cited, text))
}

fn checkpoints(db: &Connection, exported: &Exported) -> Result<(Vec<u8>, u64), JournalError> {
    let mut statement =
        db.prepare("SELECT seq, body, signature FROM checkpoints WHERE seq BETWEEN ?1 AND ?2 ORDER BY n")?;
    let mut rows = statement.query(params![seq_to_sql(exported.from), seq_to_sql(exported.head.seq)])?;
    let (mut out, mut count) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let (body, signature): (Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?);
        let line = Line {
            seq: seq_of_sql(row.get(0)?),
            body: String::from_utf8_lossy(&body).into_owned(),
            signature: signature.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        serde_json::to_writer(&mut out, &line).map_err(|error| JournalError(error.to_string()))?;
        out.push(b'\n');
        count += 1;
    }
    Ok((out, count))
}

fn broken(seq: u64, what: impl Into<String>) -> VerifyError {
    VerifyError::Broken(Broken { seq, what: what.into() })
}

/// Checks an export: the chain of its records, its checkpoints with their signatures, its documents.
///
/// # Errors
/// [`VerifyError::Broken`] with the first record that does not fit; otherwise a file could not be read.
pub(super) fn verify(folder: &Path, key: Option<&Path>, anchor: Option<Head>) -> Result<Report, VerifyError> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|error| failed("could not read", &path, error))
    };
    let about = folder.join("export.json");
    let exported: Exported = serde_json::from_str(&read("export.json")?)
        .map_err(|error| failed("this is no export:", &about, error))?;
    let beside = folder.join("journal.pub");
    let public = match key {
        Some(path) => Some(key::public(path)?),
        None if beside.exists() => Some(key::public(&beside)?),
        None => None,
    };
    let hashes = chain(&exported, &read("records.jsonl")?, folder)?;
    let (checkpoints, signed) =
        signatures(&exported, &read("checkpoints.jsonl")?, &hashes, public.as_deref())?;
    if let Some(anchor) = anchor.filter(|anchor| anchor.seq >= exported.from)
        && hashes.get(&anchor.seq) != Some(&anchor.hash)
    {
        return Err(broken(anchor.seq, "the record at the anchor is missing or another one"));
    }
    let signatures = match public {
        Some(_) => Signatures::Checked,
        None => Signatures::NotChecked("no public key: give --key, or put it beside the records".to_owned()),
    };
    let records = exported.head.seq + 1 - exported.from;
    Ok(Report { records, head: exported.head, checkpoints, signed, signatures })
}

fn chain(exported: &Exported, text: &str, folder: &Path) -> Result<BTreeMap<u64, Digest>, VerifyError> {
    let mut hashes = BTreeMap::new();
    let mut head = Head { seq: exported.from.saturating_sub(1), hash: exported.prev };
    for line in text.lines() {
        let next = head.seq + 1;
        let record: Record = serde_json::from_str(line)
            .map_err(|error| broken(next, format!("its bytes are not a record: {error}")))?;
        if record.seq != next || record.prev != head.hash {
            return Err(broken(next, "it does not follow the record before it"));
        }
        head = Head { seq: next, hash: Digest::of_bytes(line.as_bytes()) };
        hashes.insert(next, head.hash);
        for digest in &record.blobs {
            document(exported, digest, next, folder)?;
        }
    }
    if head != exported.head {
        return Err(broken(head.seq + 1, "the records do not end at the head that export.json names"));
    }
    Ok(hashes)
}

fn document(exported: &Exported, digest: &Digest, seq: u64, folder: &Path) -> Result<(), VerifyError> {
    if exported.redacted.contains_key(digest) {
        return Ok(());
    }
    let what = |text: &str| broken(seq, format!("document {} it cites {text}", digest.short()));
    let bytes = fs::read(folder.join("blobs").join(file_name(digest))).map_err(|_| what("is missing"))?;
    if Digest::of_bytes(&bytes) == *digest { Ok(()) } else { Err(what("is not what it was")) }
}

fn signatures(
    exported: &Exported,
    text: &str,
    hashes: &BTreeMap<u64, Digest>,
    public: Option<&[u8]>,
) -> Result<(u64, u64), VerifyError> {
    let (mut count, mut signed) = (0, 0);
    let mut prev: Option<Digest> = None;
    for line in text.lines() {
        let line: Line = serde_json::from_str(line)
            .map_err(|error| broken(signed, format!("a checkpoint's line is none: {error}")))?;
        let checkpoint: Checkpoint = serde_json::from_str(&line.body)
            .map_err(|error| broken(line.seq, format!("the checkpoint's bytes are none: {error}")))?;
        let fits = checkpoint.seq == line.seq
            && checkpoint.journal == exported.journal
            && prev.is_none_or(|prev| prev == checkpoint.prev)
            && hashes.get(&line.seq) == Some(&checkpoint.head);
        if !fits {
            return Err(broken(line.seq, "the checkpoint does not fit the chain"));
        }
        let signature = unhex(&line.signature).unwrap_or_default();
        if let Some(public) = public
            && UnparsedPublicKey::new(&ED25519, public).verify(line.body.as_bytes(), &signature).is_err()
        {
            return Err(broken(line.seq, "the checkpoint's signature does not fit"));
        }
        prev = Some(Digest::of_bytes(line.body.as_bytes()));
        (count, signed) = (count + 1, line.seq);
    }
    if count != exported.checkpoints {
        return Err(broken(signed, "a checkpoint that export.json counts is missing"));
    }
    Ok((count, signed))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}
