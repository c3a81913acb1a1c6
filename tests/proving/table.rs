//! The table of what was proved: fault by fault, how soon it was seen, acted upon and over, what it cost and
//! what was written. A proof writes its rows beside its other files; whoever ran all proofs gathers and prints
//! them. README's section "Proof" shows the same text: `MESHMEND_PROOF_TABLE` names a file for it.

use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

/// Where a proof leaves its rows, in the folder of the proof.
const FILE: &str = "rows.txt";
/// Where the table is to be written.
const TO: &str = "MESHMEND_PROOF_TABLE";
/// With this one all columns together are 80 wide.
const FAULT: usize = 39;

/// Rows of all proofs that passed, with the place of each proof in the list.
static GATHERED: Mutex<Vec<(usize, String)>> = Mutex::new(Vec::new());

/// A fault and what came of it. Times are from the moment when the fault was there.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What was broken, in fewer than 40 characters.
    pub(crate) fault: &'static str,
    /// When the incident was opened.
    pub(crate) detected: Option<Duration>,
    /// When the agent had acted.
    pub(crate) acted: Option<Duration>,
    /// When the last harm was over.
    pub(crate) recovered: Option<Duration>,
    /// Requests with a bad answer or none.
    pub(crate) lost: Option<usize>,
    /// Writes of the agent in the audit log of the API server.
    pub(crate) writes: usize,
}

impl Row {
    fn line(&self) -> String {
        let time = |time: Option<Duration>| {
            time.map_or_else(|| "-".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
        };
        columns([
            self.fault,
            &time(self.detected),
            &time(self.acted),
            &time(self.recovered),
            &self.lost.map_or_else(|| "-".to_owned(), |lost| lost.to_string()),
            &self.writes.to_string(),
        ])
    }

    /// Keeps it in the folder of the proof.
    pub(crate) fn keep(&self, folder: &Path) -> anyhow::Result<()> {
        anyhow::ensure!(self.fault.chars().count() <= FAULT, "too long for the table: {}", self.fault);
        let path = folder.join(FILE);
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
        writeln!(file, "{}", self.line()).with_context(|| format!("{} was not written", path.display()))
    }
}

fn columns([fault, detected, acted, recovered, lost, writes]: [&str; 6]) -> String {
    format!("{fault:<FAULT$}{detected:>9}{acted:>8}{recovered:>10}{lost:>7}{writes:>7}")
}

/// Takes the rows of a proof that passed.
pub(crate) fn gather(proof: usize, folder: &Path) -> std::io::Result<()> {
    let text = match std::fs::read_to_string(folder.join(FILE)) {
        Ok(text) => text,
        // Not every proof has a fault of its own.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut gathered = GATHERED.lock().unwrap_or_else(PoisonError::into_inner);
    gathered.extend(text.lines().map(|line| (proof, line.to_owned())));
    Ok(())
}

/// Prints the table. The file is written only by a run in which nothing failed: one without the rows of what
/// failed would look as if that had never been claimed.
pub(crate) fn show(failed: u64) -> anyhow::Result<()> {
    let mut rows = GATHERED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if rows.is_empty() {
        return Ok(());
    }
    rows.sort_by_key(|(proof, _)| *proof);
    let head = columns(["fault", "detected", "acted", "recovered", "lost", "writes"]);
    let lines: Vec<&str> =
        std::iter::once(head.as_str()).chain(rows.iter().map(|(_, line)| line.as_str())).collect();
    let table = format!("{}\n", lines.join("\n"));
    crate::say(&table);
    let Some(path) = std::env::var_os(TO) else { return Ok(()) };
    let path = Path::new(&path);
    anyhow::ensure!(failed == 0, "{} was not written, because of what failed: {failed}", path.display());
    std::fs::write(path, table).with_context(|| format!("{} was not written", path.display()))
}
