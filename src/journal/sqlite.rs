//! The journal on SQLite: WAL, `synchronous=FULL`, one writer, one transaction per batch.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

use super::key;
use super::rows::{self, Checkpoint, Sealed, seq_to_sql};
use super::{AppendError, Head, Journal, JournalError, reserve};
use crate::model::digest::{Digest, canonical};
use crate::model::record::{Draft, Record};

/// Records between two checkpoints: a signature costs 20 µs, a lost tail at most this many records.
const CHECKPOINT_EVERY: u64 = 64;

/// How to open a journal.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Id of a new journal; random where none is given.
    pub id: Option<String>,
    /// Signing key; made beside the journal where none is given.
    pub key_file: Option<PathBuf>,
}

/// A journal in one SQLite file.
pub struct SqliteJournal {
    db: Connection,
    id: String,
    head: Head,
    key: Ed25519KeyPair,
    signed: Signed,
    /// Held as long as the journal is open, so that a second process refuses to start.
    _lock: File,
}

impl SqliteJournal {
    /// Opens or creates the journal.
    ///
    /// # Errors
    /// The file cannot be created or read, or another process has it open.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, JournalError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            JournalError(format!("{what} {}: {error}", path.display()))
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(|error| failed("could not make the folder of", &error))?;
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&name);
        let lock = lock.map_err(|error| failed("could not lock", &error))?;
        lock.try_lock().map_err(|_| {
            failed("another meshmend process writes to", &"stop it first, or give this one another journal")
        })?;
        if !path.exists() {
            key::write_private(path, b"")?;
        }
        let db = Connection::open(path)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.execute_batch(rows::SCHEMA)?;
        let id = match rows::meta(&db, "id")? {
            Some(id) => id,
            None => {
                let id = options.id.clone().map_or_else(random_id, Ok)?;
                db.execute("INSERT INTO meta (key, value) VALUES ('id', ?1)", [&id])?;
                id
            }
        };
        let key = key::open(path, options.key_file.as_deref())?;
        let head = rows::head(&db)?;
        let signed = last_signed(&db)?;
        Ok(Self { db, id, head, key, signed, _lock: lock })
    }

    fn write(
        &mut self,
        expected: &Head,
        batch: &[Draft],
        snapshot: Option<&[u8]>,
    ) -> Result<(Head, Signed), AppendError> {
        let mut last = self.signed;
        let begin = TransactionBehavior::Immediate;
        let tx = self.db.transaction_with_behavior(begin).map_err(|error| refused(&error))?;
        // Read inside the transaction: another writer, or a commit whose success we never heard of.
        let found = rows::head(&tx).map_err(|error| AppendError::NotDurable(error.0))?;
        if found != *expected {
            return Err(AppendError::Conflict { expected: *expected, found });
        }
        let mut head = found;
        for draft in batch {
            let sealed = rows::seal(&head, draft).map_err(AppendError::NotDurable)?;
            insert(&tx, &head, &sealed, draft).map_err(|error| refused(&error))?;
            head = Head { seq: sealed.seq, hash: sealed.hash };
        }
        // The first commit of a run is signed, so that no journal is without a signature.
        if snapshot.is_some() || !last.this_run || head.seq >= last.seq + CHECKPOINT_EVERY {
            let checkpoint = Checkpoint {
                journal: self.id.clone(),
                seq: head.seq,
                head: head.hash,
                at: batch.last().map_or(jiff::Timestamp::UNIX_EPOCH, |draft| draft.event.at),
                prev: last.digest,
                snapshot: snapshot.map(Digest::of_bytes),
            };
            last = sign(&tx, &self.key, &checkpoint).map_err(|error| refused(&error))?;
            if let Some(bytes) = snapshot {
                keep(&tx, head.seq, bytes).map_err(|error| refused(&error))?;
            }
        }
        tx.commit().map_err(|error| refused(&error))?;
        Ok((head, last))
    }

    /// Lets the file have so many pages at most, as a disk of that size would.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: u32) {
        self.db.pragma_update(None, "max_page_count", pages).expect("a pragma of this connection");
    }

    /// Signs the head as it is now.
    fn sign_head(&mut self, at: jiff::Timestamp) -> Result<(), rusqlite::Error> {
        let (journal, prev, Head { seq, hash: head }) = (self.id.clone(), self.signed.digest, self.head);
        let tx = self.db.transaction()?;
        let signed = sign(&tx, &self.key, &Checkpoint { journal, seq, head, at, prev, snapshot: None })?;
        tx.commit()?;
        self.signed = signed;
        Ok(())
    }

    /// After a failure nobody knows what the last commit left: it is read again.
    fn look_again(&mut self) {
        if let (Ok(head), Ok(signed)) = (rows::head(&self.db), last_signed(&self.db)) {
            self.head = head;
            self.signed = Signed { this_run: self.signed.this_run, ..signed };
        }
    }
}

/// The newest checkpoint.
#[derive(Clone, Copy)]
struct Signed {
    /// Record it signs; 0 where there is none.
    seq: u64,
    /// Digest of its body, which the next one names.
    digest: Digest,
    /// Whether this process made it.
    this_run: bool,
}

impl Journal for SqliteJournal {
    fn id(&self) -> &str {
        &self.id
    }

    fn head(&self) -> Head {
        self.head
    }

    fn append(
        &mut self,
        expected: &Head,
        batch: &[Draft],
        snapshot: Option<&[u8]>,
    ) -> Result<Head, AppendError> {
        match self.write(expected, batch, snapshot) {
            Ok((head, signed)) => {
                (self.head, self.signed) = (head, signed);
                Ok(head)
            }
            Err(error) => {
                self.look_again();
                Err(error)
            }
        }
    }

    fn heartbeat(&mut self, at: jiff::Timestamp) -> Result<(), AppendError> {
        if self.head.seq == 0 {
            return Ok(());
        }
        self.sign_head(at).map_err(|error| {
            self.look_again();
            refused(&error)
        })
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, JournalError> {
        rows::blob(&self.db, digest)
    }

    fn snapshot(&self) -> Result<Option<(u64, Vec<u8>)>, JournalError> {
        let public = UnparsedPublicKey::new(&ED25519, self.key.public_key().as_ref().to_vec());
        rows::snapshot(&self.db, &|body, signature| public.verify(body, signature).is_ok())
    }

    fn read(&self, from: u64, visit: &mut dyn FnMut(Record) -> ControlFlow<()>) -> Result<(), JournalError> {
        rows::read_chained(&self.db, from, visit)
    }

    fn reserve(&mut self) -> bool {
        reserve::keep(&mut self.db).is_ok()
    }

    fn release(&mut self) -> bool {
        reserve::release(&self.db).unwrap_or(false)
    }

    fn close(mut self: Box<Self>, at: jiff::Timestamp) -> Result<(), JournalError> {
        if self.signed.seq < self.head.seq {
            self.sign_head(at)?;
        }
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }
}

fn insert(tx: &Transaction<'_>, prev: &Head, sealed: &Sealed, draft: &Draft) -> Result<(), rusqlite::Error> {
    tx.prepare_cached(
        "INSERT INTO records (seq, hash, prev, at, kind, incident, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        seq_to_sql(sealed.seq),
        sealed.hash.as_bytes().as_slice(),
        prev.hash.as_bytes().as_slice(),
        draft.event.at.to_string(),
        draft.event.kind.name(),
        sealed.incident,
        sealed.body,
    ])?;
    for blob in &draft.blobs {
        tx.prepare_cached("INSERT OR IGNORE INTO blobs (digest, bytes) VALUES (?1, ?2)")?
            .execute(params![blob.digest.as_bytes().as_slice(), blob.bytes])?;
    }
    Ok(())
}

/// Signs and stores a checkpoint; answers with what the next one names.
fn sign(
    tx: &Transaction<'_>,
    key: &Ed25519KeyPair,
    checkpoint: &Checkpoint,
) -> Result<Signed, rusqlite::Error> {
    let body = canonical(&serde_json::to_value(checkpoint).unwrap_or_default());
    let signature = key.sign(&body);
    tx.prepare_cached("INSERT INTO checkpoints (seq, body, signature) VALUES (?1, ?2, ?3)")?
        .execute(params![seq_to_sql(checkpoint.seq), body, signature.as_ref()])?;
    Ok(Signed { seq: checkpoint.seq, digest: Digest::of_bytes(&body), this_run: true })
}

/// Keeps a snapshot. One is enough: older ones would only be slower ways to the same state.
fn keep(tx: &Transaction<'_>, seq: u64, bytes: &[u8]) -> Result<(), rusqlite::Error> {
    tx.execute("DELETE FROM snapshots", [])?;
    tx.execute("INSERT INTO snapshots (seq, bytes) VALUES (?1, ?2)", params![seq_to_sql(seq), bytes])?;
    Ok(())
}

fn last_signed(db: &Connection) -> Result<Signed, JournalError> {
    let mut statement = db.prepare("SELECT seq, body FROM checkpoints ORDER BY n DESC LIMIT 1")?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else {
        return Ok(Signed { seq: 0, digest: Digest::ZERO, this_run: false });
    };
    let (seq, body): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
    Ok(Signed { seq: rows::seq_of_sql(seq), digest: Digest::of_bytes(&body), this_run: false })
}

/// Whether a failed append left nothing behind, or nobody knows: after a failed fsync the kernel may have
/// dropped the pages, and trying again would report a success that is none.
fn refused(error: &rusqlite::Error) -> AppendError {
    let code = error.sqlite_error().map_or(0, |error| error.extended_code);
    if code == rusqlite::ffi::SQLITE_IOERR_FSYNC || code == rusqlite::ffi::SQLITE_IOERR_DIR_FSYNC {
        return AppendError::Fatal(error.to_string());
    }
    // A quota that is used up is a write error to SQLite; so is a limit of the size of files.
    if code == rusqlite::ffi::SQLITE_IOERR_WRITE {
        return AppendError::Full(error.to_string());
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => AppendError::Full(error.to_string()),
        _ => AppendError::NotDurable(error.to_string()),
    }
}

/// Six characters that are easy to read aloud, so that ids of two journals differ.
fn random_id() -> Result<String, JournalError> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0_u8; 6];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| JournalError("the system gave no random bytes".to_owned()))?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}
