//! Traffic: an open-loop load generator with a ledger of every request. Requests are due at a steady rate,
//! whatever became of those before them, and latency is counted from when a request was due, so that a stall
//! is not hidden by the requests that were never sent during it.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// The port of a sidecar that takes what its application sends.
const OUTBOUND: u16 = 15_001;
/// Requests under way at once; what is due beyond them is written down as not sent.
const AT_ONCE: usize = 2_000;
/// A client of ours gives up after this.
const PATIENCE: Duration = Duration::from_secs(10);
/// No load goes on for longer.
const LONGEST: Duration = Duration::from_secs(900);

/// What to ask for, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The pod whose sidecar carries the requests.
    pub(crate) client: Ipv4Addr,
    /// The Host header.
    pub(crate) host: String,
    /// The path.
    pub(crate) path: String,
    /// Requests a second.
    pub(crate) rate: u32,
}

/// One request. Times are from the start of the load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// When it was to be sent.
    pub(crate) due: Duration,
    /// When it was sent; `None` when too many were under way.
    pub(crate) sent: Option<Duration>,
    /// When its answer or its failure was there.
    pub(crate) ended: Option<Duration>,
    /// The status of its answer.
    pub(crate) status: Option<u16>,
}

impl Entry {
    /// Not answered, or answered 5xx. What is still under way is neither good nor bad.
    pub(crate) fn is_bad(&self) -> bool {
        match (self.status, self.sent, self.ended) {
            (Some(status), _, _) => status >= 500,
            (None, None, _) | (None, _, Some(_)) => true,
            (None, Some(_), None) => false,
        }
    }

    /// From when it was due.
    pub(crate) fn latency(&self) -> Option<Duration> {
        self.status.and(self.ended).map(|ended| ended.saturating_sub(self.due))
    }
}

/// Traffic that flows.
pub(crate) struct Load {
    start: Instant,
    entries: Arc<Mutex<Vec<Entry>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Load {
    /// Begins to send.
    pub(crate) fn start(wanted: Wanted) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let entries = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = watch::channel(false);
        let start = Instant::now();
        let task = tokio::spawn(send(wanted, http, start, (Arc::clone(&entries), stopped)));
        Ok(Self { start, entries, stop, task })
    }

    /// The time of the ledger.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The ledger so far.
    pub(crate) fn ledger(&self) -> Ledger {
        Ledger(self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Ends it and waits for the answers that are due.
    pub(crate) async fn stop(self) -> anyhow::Result<Ledger> {
        self.stop.send_replace(true);
        self.task.await?;
        let taken = Ledger(self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone());
        Ok(taken)
    }
}

type Book = (Arc<Mutex<Vec<Entry>>>, watch::Receiver<bool>);

async fn send(wanted: Wanted, http: reqwest::Client, start: Instant, (entries, mut stopped): Book) {
    let gap = Duration::from_secs(1) / wanted.rate.max(1);
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let url = format!("http://{}:{OUTBOUND}{}", wanted.client, wanted.path);
    let mut due = Duration::ZERO;
    while due < LONGEST {
        tokio::select! {
            () = sleep_until(start + due) => {}
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
        let turn = Arc::clone(&turns).try_acquire_owned().ok();
        let sent = turn.as_ref().map(|_| start.elapsed());
        let index = {
            let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.push(Entry { due, sent, ended: None, status: None });
            entries.len() - 1
        };
        if let Some(turn) = turn {
            let request = http.get(&url).header("host", &wanted.host);
            let entries = Arc::clone(&entries);
            tokio::spawn(async move {
                let answer = request.send().await;
                let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
                // A body that breaks off is no answer.
                let whole = match answer {
                    Ok(answer) => answer.bytes().await.is_ok(),
                    Err(_) => false,
                };
                let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
                let entry = &mut entries[index];
                (entry.ended, entry.status) = (Some(start.elapsed()), status.filter(|_| whole));
                drop(turn);
            });
        }
        due += gap;
    }
    // Every one of them ends within its own time limit.
    let all = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
    turns.acquire_many(all).await.ok();
}

/// What became of all requests, in the order in which they were due.
#[derive(Clone, Debug)]
pub(crate) struct Ledger(pub(crate) Vec<Entry>);

impl Ledger {
    /// Those due within a time.
    pub(crate) fn within(&self, time: Range<Duration>) -> Self {
        Self(self.0.iter().filter(|entry| time.contains(&entry.due)).copied().collect())
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// How many were bad.
    pub(crate) fn bad(&self) -> usize {
        self.0.iter().filter(|entry| entry.is_bad()).count()
    }

    /// How many were answered with a status.
    pub(crate) fn answered(&self, status: u16) -> usize {
        self.0.iter().filter(|entry| entry.status == Some(status)).count()
    }

    /// The share of bad ones; `None` when there were no requests.
    pub(crate) fn bad_share(&self) -> Option<f64> {
        let (bad, all) = (u32::try_from(self.bad()).ok()?, u32::try_from(self.count()).ok()?);
        (all > 0).then(|| f64::from(bad) / f64::from(all))
    }

    /// When the first bad one was due.
    pub(crate) fn first_bad(&self) -> Option<Duration> {
        self.0.iter().find(|entry| entry.is_bad()).map(|entry| entry.due)
    }

    /// When the last bad one was due.
    pub(crate) fn last_bad(&self) -> Option<Duration> {
        self.0.iter().rfind(|entry| entry.is_bad()).map(|entry| entry.due)
    }

    /// The latency that so many in a hundred of the answered ones did not exceed.
    pub(crate) fn latency(&self, percent: usize) -> Option<Duration> {
        let mut all: Vec<Duration> = self.0.iter().filter_map(Entry::latency).collect();
        all.sort();
        let index = (all.len() * percent).div_ceil(100).checked_sub(1)?;
        all.get(index).copied()
    }
}
