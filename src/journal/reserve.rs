//! Reserve: room inside the journal's own file for what taking back needs when the disk is full.
//!
//! It is one row of zeros. Deleting it leaves free pages, which SQLite fills before it asks the disk for more;
//! nobody else who writes to the disk can take them. The row is written through the write-ahead log, so that the
//! log has that size too: it is not cut while the journal is open, and is written over from its start.

use rusqlite::{Connection, TransactionBehavior, params};

/// 4 MiB are a thousand pages, as many as the log holds before SQLite checkpoints it. One act that is taken back
/// costs five records of about a kilobyte; one that is tried in vain for a day, 600 of them. So this is enough
/// for hundreds that succeed, or for one that does not succeed for a week.
const SIZE: i64 = 4 << 20;

/// Takes the room; whether it is there. What is there already is written once more, for the log's sake.
pub(super) fn keep(db: &mut Connection) -> rusqlite::Result<()> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch("CREATE TABLE IF NOT EXISTS reserve (n INTEGER PRIMARY KEY, bytes BLOB NOT NULL)")?;
    tx.execute("INSERT OR REPLACE INTO reserve (n, bytes) VALUES (1, zeroblob(?1))", params![SIZE])?;
    tx.commit()?;
    // The file itself gets the size now, and not when there is no room any more.
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Gives the room up; whether there was any.
pub(super) fn release(db: &Connection) -> rusqlite::Result<bool> {
    let there = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'reserve'";
    if db.query_row(there, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(false);
    }
    Ok(db.execute("DELETE FROM reserve", [])? > 0)
}

#[cfg(test)]
mod tests {
    use crate::journal::{AppendError, Journal, OpenOptions, SqliteJournal};
    use crate::model::event::{Event, EventKind};
    use crate::model::record::{Blob, Draft};

    /// A record with a document of this size, so that pages go quickly.
    fn draft(number: u32, size: usize) -> Draft {
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.resize(size, 0);
        Draft {
            event: Event { at, kind: EventKind::Tick },
            changes: Vec::new(),
            blobs: vec![Blob::new(bytes)],
        }
    }

    /// Appends until it is refused; how many were taken.
    fn fill(journal: &mut SqliteJournal, from: u32, size: usize) -> (u32, AppendError) {
        for number in from.. {
            let head = journal.head();
            if let Err(error) = journal.append(&head, &[draft(number, size)], None) {
                return (number - from, error);
            }
        }
        unreachable!("a file of that many pages is full some time")
    }

    // Mutations: a reserve that is not kept; a release that deletes nothing; a full file that is called anything else.
    #[test]
    fn a_full_journal_takes_hundreds_of_records_more_once_it_gives_up_its_reserve() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let mut journal = SqliteJournal::open(&path, &OpenOptions::default()).unwrap();
        assert!(journal.reserve(), "there is room");
        // SQLite itself refuses the page that is one too many, as it does when the disk has none.
        journal.limit_pages(1_400);
        let (_, full) = fill(&mut journal, 0, 8_000);
        assert!(matches!(full, AppendError::Full(_)), "{full:?}");
        let (none, _) = fill(&mut journal, 100_000, 8_000);
        assert_eq!(none, 0, "it stays full");
        assert!(!journal.reserve(), "what is there cannot be taken twice: the log and the file are full");
        assert!(journal.release());
        let (more, _) = fill(&mut journal, 200_000, 1_000);
        assert!(more > 600, "only {more} records went into the reserve");
        assert!(!journal.release(), "there is no second one");
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        Box::new(journal).close(at).ok();
        crate::journal::verify(&path, None, None).unwrap();
    }
}
