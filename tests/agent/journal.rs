//! The journal: any change of what is stored is found and named, and what was decided can be decided again.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use meshmend::app::demo::{Options, Show, Summary, run};
use meshmend::app::offline::replay;
use meshmend::journal::{Journal as _, OpenOptions, Reader, SqliteJournal, VerifyError, verify};
use meshmend::model::event::{Event, EventKind};
use meshmend::model::record::{Blob, Draft};
use meshmend::rules::RuleFiles;
use meshmend::sim::Pace;
use rusqlite::{Connection, params};

fn demo(seed: u64, folder: &Path) -> Summary {
    let keep = Some(folder.to_owned());
    run(Options { pace: Pace::Virtual, seed, keep, show: Show::Json }).expect("the demo heals")
}

/// One kept demo for all tests of this file; each works on a copy.
fn copy() -> (tempfile::TempDir, PathBuf) {
    static KEPT: OnceLock<tempfile::TempDir> = OnceLock::new();
    let kept = KEPT.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        demo(7, folder.path());
        folder
    });
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for name in ["journal.db", "journal.pub"] {
        fs::copy(kept.path().join(name), folder.path().join(name)).expect("the demo left it");
    }
    let journal = folder.path().join("journal.db");
    (folder, journal)
}

/// What `verify` says: the broken record, or nothing.
fn broken(journal: &Path) -> Option<u64> {
    match verify(journal, None, None) {
        Ok(_) => None,
        Err(VerifyError::Broken(broken)) => Some(broken.seq),
        Err(VerifyError::Unreadable(error)) => panic!("it could not be looked at: {error}"),
    }
}

fn sql(journal: &Path, statement: &str) {
    let db = Connection::open(journal).expect("a copy can be opened");
    db.execute_batch(statement).expect("the statement is right");
}

/// The stored bytes of one column, by row.
fn cells(db: &Connection, table: &str, column: &str) -> Vec<(i64, Vec<u8>)> {
    let mut statement =
        db.prepare(&format!("SELECT rowid, CAST({column} AS BLOB) FROM {table}")).expect("it is there");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, Option<Vec<u8>>>(1)?)));
    let rows: Vec<(i64, Option<Vec<u8>>)> =
        rows.expect("it can be read").map(|row| row.expect("a row")).collect();
    rows.into_iter().filter_map(|(row, bytes)| Some((row, bytes?))).collect()
}

/// Bits to flip in so many bytes: both ends, and some in between that follow from the row.
fn bits(len: usize, row: i64) -> Vec<usize> {
    let all = len * 8;
    let mut x = row.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut some = vec![0, all - 1];
    for _ in 0..6 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        some.push(usize::try_from(x % u64::try_from(all).expect("a length")).expect("a position"));
    }
    some
}

/// The record that a broken row of this table has to be named by.
fn expected(db: &Connection, journal: &Path, table: &str, row: i64) -> u64 {
    let digest: Vec<u8> = match table {
        "blobs" => {
            db.query_row("SELECT digest FROM blobs WHERE rowid = ?1", [row], |r| r.get(0)).expect("a row")
        }
        "checkpoints" => {
            let seq: i64 =
                db.query_row("SELECT seq FROM checkpoints WHERE n = ?1", [row], |r| r.get(0)).expect("a row");
            return u64::try_from(seq).expect("a number");
        }
        _ => return u64::try_from(row).expect("rows of records are their numbers"),
    };
    let mut first = 0;
    let reader = Reader::open(journal).expect("a copy can be read");
    let read = reader.read(1, &mut |record, _| {
        if record.blobs.iter().any(|blob| blob.as_bytes().as_slice() == digest) {
            first = record.seq;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    read.expect("it is whole");
    first
}

// Mutation: leaving any of the comparisons out of `journal/verify.rs`.
#[test]
fn a_flipped_bit_anywhere_is_found_and_named_by_its_record() {
    let (_folder, journal) = copy();
    assert_eq!(broken(&journal), None);
    let columns = [
        ("records", "body"),
        ("records", "hash"),
        ("records", "prev"),
        ("records", "at"),
        ("records", "kind"),
        ("records", "incident"),
        ("blobs", "bytes"),
        ("blobs", "digest"),
        ("checkpoints", "body"),
        ("checkpoints", "signature"),
    ];
    let mut flips = 0;
    for (table, column) in columns {
        let db = Connection::open(&journal).expect("a copy can be opened");
        for (row, bytes) in cells(&db, table, column) {
            // Each verification reads the whole journal: the first records, and then a sample of the others.
            if row > 25 && row % 9 != 0 {
                continue;
            }
            let named = expected(&db, &journal, table, row);
            let text = matches!(column, "at" | "kind" | "incident");
            for bit in bits(bytes.len(), row) {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let value = if text { "CAST(?1 AS TEXT)" } else { "?1" };
                let update = format!("UPDATE {table} SET {column} = {value} WHERE rowid = ?2");
                db.execute(&update, params![flipped, row]).expect("a row can be changed");
                let found = broken(&journal);
                // A digest that is not the one cited any more makes the cited one a missing one.
                assert_eq!(found, Some(named), "{table}.{column} row {row} bit {bit}");
                db.execute(&update, params![bytes, row]).expect("and changed back");
                flips += 1;
            }
        }
    }
    assert!(flips > 1_000, "only {flips} bits were tried");
    assert_eq!(broken(&journal), None, "all of it was put back");
}

#[test]
fn damage_below_the_tables_is_an_answer_too() {
    let (_folder, journal) = copy();
    let whole = fs::read(&journal).unwrap();
    let mut found = 0;
    for step in 0..200_usize {
        let mut bytes = whole.clone();
        let at = step * 7_919 % bytes.len();
        bytes[at] ^= 0x10;
        fs::write(&journal, &bytes).unwrap();
        // In unused parts of a page a flip changes nothing that is stored; nowhere may it be a crash.
        found += usize::from(verify(&journal, None, None).is_err());
    }
    assert!(found > 50, "only {found} of 200 damages were noticed");
}

#[test]
fn a_record_taken_out_put_in_or_moved_is_found() {
    for (statement, named) in [
        ("DELETE FROM records WHERE seq = 5", 5),
        ("DELETE FROM records WHERE seq = 1", 1),
        ("UPDATE records SET seq = 1000 WHERE seq = 5", 5),
        (
            "INSERT INTO records SELECT (SELECT max(seq) + 1 FROM records), hash, prev, at, kind, incident, body FROM records WHERE seq = 3",
            0,
        ),
        (
            "UPDATE records SET body = (SELECT body FROM records WHERE seq = 6), hash = (SELECT hash FROM records WHERE seq = 6) WHERE seq = 5",
            5,
        ),
    ] {
        let (_folder, journal) = copy();
        // One that was put in stands behind the last.
        let behind = verify(&journal, None, None).unwrap().records + 1;
        let named = if named == 0 { behind } else { named };
        sql(&journal, statement);
        assert_eq!(broken(&journal), Some(named), "{statement}");
    }
}

#[test]
fn a_tail_that_was_cut_off_is_found_by_its_checkpoint_or_by_an_anchor() {
    let (folder, journal) = copy();
    let anchor = folder.path().join("anchor.json");
    let report = verify(&journal, None, None).unwrap();
    fs::write(&anchor, serde_json::to_vec(&report).unwrap()).unwrap();
    let last = report.records;
    sql(&journal, &format!("DELETE FROM records WHERE seq > {}", last - 3));
    assert_eq!(broken(&journal), Some(last), "the checkpoint signs a record that is not there");
    sql(&journal, &format!("DELETE FROM checkpoints WHERE seq > {}", last - 3));
    assert_eq!(
        broken(&journal),
        None,
        "whoever holds the disk can cut the tail: this is what anchors are for"
    );
    match verify(&journal, None, Some(&anchor)) {
        Err(VerifyError::Broken(broken)) => assert_eq!(broken.seq, last),
        other => panic!("the anchor was not missed: {other:?}"),
    }
}

#[test]
fn a_journal_without_signatures_or_of_another_name_is_none() {
    for statement in [
        "DELETE FROM checkpoints",
        "UPDATE meta SET value = 'd8'",
        "INSERT INTO meta VALUES ('note', 'x')",
        "DELETE FROM checkpoints WHERE n = 1",
    ] {
        let (_folder, journal) = copy();
        sql(&journal, statement);
        assert!(broken(&journal).is_some(), "{statement}");
    }
}

#[test]
fn a_rewritten_journal_does_not_fit_the_key() {
    let (folder, journal) = copy();
    let other = tempfile::tempdir().unwrap();
    demo(8, other.path());
    fs::copy(other.path().join("journal.pub"), folder.path().join("journal.pub")).unwrap();
    assert!(broken(&journal).is_some(), "signed by another key");
    fs::remove_file(folder.path().join("journal.pub")).unwrap();
    let report = verify(&journal, None, None).unwrap();
    assert!(
        serde_json::to_string(&report).unwrap().contains("no public key"),
        "unchecked is said, not hidden"
    );
}

#[test]
fn the_same_seed_gives_the_same_summary_and_the_same_records() {
    let (one, two, three) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = serde_json::to_value(demo(7, one.path())).unwrap();
    assert_eq!(first, serde_json::to_value(demo(7, two.path())).unwrap());
    let head = |folder: &Path| verify(&folder.join("journal.db"), None, None).unwrap().head;
    assert_eq!(head(one.path()), head(two.path()));
    demo(8, three.path());
    assert_ne!(head(one.path()), head(three.path()), "a seed that changes nothing is none");
    for fault in first["faults"].as_array().unwrap() {
        assert_eq!(fault["outcome"], "recovered", "{fault}");
    }
    assert_eq!(first["chain"], "verified");
}

#[test]
fn a_replay_shows_no_difference_and_with_a_changed_policy_the_one_that_differs() {
    let (folder, journal) = copy();
    let same = replay(&journal, None, None).unwrap();
    assert!(same.differences.is_empty() && same.records > 20, "{same:?}");
    let policies = folder.path().join("policies");
    fs::create_dir(&policies).unwrap();
    let observe = RuleFiles::embedded().policies["observe.yaml"].clone();
    fs::write(policies.join("observe.yaml"), observe).unwrap();
    let other = replay(&journal, None, Some(&policies)).unwrap();
    // Mutation: folding what is decided now instead of what was recorded makes every later record differ.
    let kinds: Vec<&str> = other.differences.iter().map(|difference| difference.kind.as_str()).collect();
    // Five plans that would not have been carried out, and the failure of the last that no breaker counts.
    assert_eq!(
        kinds,
        ["rehearsed", "rehearsed", "rehearsed", "rehearsed", "rehearsed", "probed"],
        "{other:#?}"
    );
}

#[test]
fn one_process_writes_and_readers_never_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut journal = SqliteJournal::open(&path, &OpenOptions::default()).unwrap();
    let second = SqliteJournal::open(&path, &OpenOptions::default()).err().map(|error| error.to_string());
    assert!(second.is_some_and(|why| why.contains("another meshmend process")), "a second writer is refused");
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    let tick =
        || Draft { event: Event { at, kind: EventKind::Tick }, changes: Vec::new(), blobs: Vec::new() };
    let head = journal.append(&journal.head(), &[tick(), tick()], None).unwrap();
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.head().unwrap(), head, "what is durable is seen while the writer lives");
    assert!(journal.append(&meshmend::journal::Head::EMPTY, &[tick()], None).is_err(), "compare and set");
    assert_eq!(journal.head(), head);
    let blob = Blob::new(b"{}".to_vec());
    let draft = Draft { blobs: vec![blob.clone()], ..tick() };
    journal.append(&head, &[draft], Some(b"{}")).unwrap();
    assert_eq!(journal.blob(&blob.digest).unwrap(), Some(blob.bytes));
    journal.heartbeat(at).unwrap();
    Box::new(journal).close(at).unwrap();
    let report = verify(&path, None, None).unwrap();
    assert_eq!(
        (report.records, report.signed, report.checkpoints),
        (3, 3, 3),
        "first commit, snapshot, heartbeat"
    );
    let again = SqliteJournal::open(&path, &OpenOptions::default()).unwrap();
    assert_eq!(again.snapshot().unwrap(), Some((3, b"{}".to_vec())));
    drop(again);
    sql(&path, "UPDATE snapshots SET bytes = X'00'");
    assert_eq!(broken(&path), Some(3), "a snapshot is bound into the chain");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

// Mutation: taking the cached head for what the file holds.
#[test]
fn a_second_writer_is_noticed_and_a_damaged_record_is_not_decided_on() {
    let (_folder, path) = copy();
    let mut journal = SqliteJournal::open(&path, &OpenOptions::default()).err();
    // The key that signs lies beside the journal; the copy has only the public one.
    assert!(journal.take().is_some_and(|error| error.to_string().contains("will not overwrite")));
    fs::remove_file(path.with_extension("pub")).unwrap();
    let mut journal = SqliteJournal::open(&path, &OpenOptions::default()).unwrap();
    let known = journal.head();
    sql(
        &path,
        "INSERT INTO records SELECT seq + 1, hash, prev, at, kind, incident, body FROM records ORDER BY seq DESC LIMIT 1",
    );
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    let tick = Draft { event: Event { at, kind: EventKind::Tick }, changes: Vec::new(), blobs: Vec::new() };
    let refused = journal.append(&known, &[tick], None).unwrap_err().to_string();
    assert!(refused.contains("another writer"), "{refused}");
    let mut seen = 0;
    let read = journal.read(1, &mut |_| {
        seen += 1;
        ControlFlow::Continue(())
    });
    let why = read.unwrap_err().to_string();
    assert!(why.contains("audit verify") && seen == known.seq, "{why} after {seen}");
}
