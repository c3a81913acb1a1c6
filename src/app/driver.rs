//! The driver: the loop around the engine and the sole owner of its state.
//!
//! A turn takes a batch of events, decides each, commits all of them in one go, and only then answers and
//! starts effects. It never waits for an effect.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::queue::{Input, Launch, Queues, Sources, gather};
use super::short::Short;
use crate::clock::Clock;
use crate::engine::gate;
use crate::engine::{State, apply, decide, effects};
use crate::journal::{AppendError, Journal, JournalError};
use crate::model::change::Change;
use crate::model::effect::Effect;
use crate::model::event::{Event, EventKind};
use crate::model::record::{Blob, Draft};
use crate::rules::Rules;

/// Records between two snapshots, at least: folding this many takes milliseconds.
const SNAPSHOT_EVERY: u64 = 512;
/// Bytes of a snapshot that one record pays for: about a third of what the record itself costs. A state that
/// has grown large is so written more rarely, or a storm would cost its size squared; and a restart folds as
/// many records as the snapshot before them is long, which takes about as long as reading that.
const SNAPSHOT_SHARE: u64 = 512;
/// The head is signed at least this often, so that a journal that stopped can be told from a quiet one.
const HEARTBEAT: SignedDuration = SignedDuration::from_mins(10);
/// Pause before a failed commit is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What a record is shown to: the demo's screen, the metrics.
pub type Watcher = Box<dyn FnMut(&State, &Draft) + Send>;

/// The loop's data.
pub struct Driver {
    state: State,
    rules: Arc<Rules>,
    journal: Box<dyn Journal>,
    clock: Clock,
    last_at: Timestamp,
    /// Record of the newest snapshot, and its size.
    snapshot_at: u64,
    snapshot_bytes: u64,
    watcher: Option<Watcher>,
    /// Whether the last commit failed: told once, and once when it is over.
    failing: Arc<AtomicBool>,
    /// Whether this run's start is in the journal.
    started: bool,
    /// When the next heartbeat is due.
    heartbeat_at: Timestamp,
    /// What waits while the journal's disk is full.
    short: Option<Short>,
}

impl Driver {
    /// Restores the state from the journal.
    ///
    /// # Errors
    /// The journal could not be read.
    pub fn new(journal: Box<dyn Journal>, rules: Arc<Rules>, clock: Clock) -> Result<Self, JournalError> {
        let (state, last_at) = fold(journal.as_ref())?;
        let (snapshot_at, snapshot_bytes) =
            journal.snapshot()?.map_or((0, 0), |(seq, bytes)| (seq, length(&bytes)));
        let heartbeat_at = clock.now().saturating_add(HEARTBEAT).unwrap_or(Timestamp::MAX);
        Ok(Self {
            state,
            rules,
            journal,
            clock,
            last_at,
            snapshot_at,
            snapshot_bytes,
            watcher: None,
            failing: Arc::default(),
            started: false,
            heartbeat_at,
            short: None,
        })
    }

    /// Shows every record to a watcher, after its commit.
    pub fn watch(&mut self, watcher: Watcher) {
        self.watcher = Some(watcher);
    }

    /// Set while the journal cannot be written.
    #[must_use]
    pub fn failing(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.failing)
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The journal, when the loop is over.
    #[must_use]
    pub fn into_journal(self) -> Box<dyn Journal> {
        self.journal
    }

    /// Runs until a drain is done or all senders have gone.
    ///
    /// # Errors
    /// The journal failed in a way that leaves nobody knowing what is stored.
    pub async fn run(&mut self, mut queues: Queues) -> anyhow::Result<()> {
        loop {
            let wake = self.state.next_wake().map_or(self.heartbeat_at, |at| at.min(self.heartbeat_at));
            let wake = self.short.as_ref().map_or(wake, |short| wake.min(short.look_at));
            let long = self.short.as_ref().is_some_and(Short::is_long);
            let sources = if long { Sources::Held } else { Sources::Heard };
            let Some(mut batch) = gather(self.clock.until(wake), &mut queues, sources).await else {
                return Ok(());
            };
            self.look_for_room(&mut batch);
            // What is due is looked at first, or a flood of signals would stop the time. But nothing is decided
            // before this run's own start: until then its rules are not in the journal.
            if self.started && self.state.next_wake().is_some_and(|at| at <= self.clock.now()) {
                batch.insert(0, Input::event(EventKind::Tick));
            }
            self.beat()?;
            self.turn(batch, &queues.launches).await?;
            // Asked after a turn and never before the first one: the last record of a journal that was left
            // in good order is a drain, and only this run's own start takes that back.
            if self.state.draining
                && self.state.open_incidents().all(|case| !case.phase.is_acting() || idle(case))
            {
                return Ok(());
            }
        }
    }

    fn beat(&mut self) -> Result<(), AppendError> {
        let now = self.clock.now();
        if now < self.heartbeat_at {
            return Ok(());
        }
        self.heartbeat_at = now.saturating_add(HEARTBEAT).unwrap_or(Timestamp::MAX);
        match self.journal.heartbeat(now) {
            Err(AppendError::NotDurable(why) | AppendError::Full(why)) => {
                tracing::error!(why, "heartbeat not written");
            }
            other => other?,
        }
        Ok(())
    }

    /// One turn: decide, commit, answer, start effects. A commit that fails is tried again on the state as
    /// the journal has it; those who wait for an answer are told at once that there is none.
    ///
    /// # Errors
    /// The journal failed in a way that leaves nobody knowing what is stored.
    pub async fn turn(
        &mut self,
        batch: Vec<Input>,
        launches: &mpsc::UnboundedSender<Launch>,
    ) -> anyhow::Result<()> {
        let mut batch = batch;
        loop {
            if let Some(short) = &mut self.short {
                batch = short.leave(batch);
            }
            match self.try_turn(batch, launches) {
                Ok(()) => return Ok(()),
                Err((error @ (AppendError::NotDurable(_) | AppendError::Full(_)), rest)) => {
                    if !self.failing.swap(true, Ordering::Relaxed) {
                        tracing::error!(%error, "journal not written, nothing was done; trying again");
                    }
                    batch = rest;
                    if matches!(error, AppendError::Full(_)) && self.run_short() {
                        // Before anything is decided on it: nothing new may begin.
                        batch.insert(0, Input::event(EventKind::JournalFull));
                        continue;
                    }
                    if batch.is_empty() {
                        return Ok(());
                    }
                    tokio::time::sleep(RETRY).await;
                }
                Err((fatal, _)) => return Err(fatal.into()),
            }
        }
    }

    fn try_turn(
        &mut self,
        batch: Vec<Input>,
        launches: &mpsc::UnboundedSender<Launch>,
    ) -> Result<(), (AppendError, Vec<Input>)> {
        let mut drafts = Vec::new();
        let mut taken = Vec::new();
        let mut looks = Vec::new();
        for input in batch {
            match input {
                Input::Events { events, blobs, reply } => {
                    let incidents = self.decide_all(&events, &blobs, &mut drafts);
                    taken.push((events, blobs, reply, incidents));
                }
                Input::Look(look) => looks.push(look),
            }
        }
        if let Err(error) = self.commit(&drafts) {
            let back = taken.into_iter().filter_map(|(events, blobs, reply, _)| match reply {
                Some(reply) => {
                    reply.send(Err(error.to_string())).ok();
                    None
                }
                None => Some(Input::Events { events, blobs, reply: None }),
            });
            let mut back: Vec<Input> = back.collect();
            back.extend(looks.into_iter().map(Input::Look));
            return match self.reread() {
                Ok(()) => Err((error, back)),
                Err(why) => Err((AppendError::Fatal(why.to_string()), back)),
            };
        }
        if !drafts.is_empty() && self.short.is_none() && self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("journal written again");
        }
        self.started |= drafts.iter().any(|draft| matches!(draft.event.kind, EventKind::Started { .. }));
        for (_, _, reply, incidents) in taken {
            if let Some(reply) = reply {
                reply.send(Ok(incidents)).ok();
            }
        }
        looks.into_iter().for_each(|look| look(&self.state));
        for draft in &drafts {
            for change in &draft.changes {
                self.launch(change, launches);
            }
            if let Some(watcher) = &mut self.watcher {
                watcher(&self.state, draft);
            }
        }
        Ok(())
    }

    /// Decides events one after the other on the state as the ones before left it.
    fn decide_all(&mut self, events: &[EventKind], blobs: &[Blob], drafts: &mut Vec<Draft>) -> Vec<String> {
        let (mut incidents, mut seen) = (Vec::new(), BTreeSet::new());
        for (index, kind) in events.iter().enumerate() {
            self.last_at = self.clock.now().max(self.last_at);
            let event = Event { at: self.last_at, kind: kind.clone() };
            let changes = decide(&self.state, &self.rules, &event);
            let always = matches!(kind, EventKind::Started { .. } | EventKind::RulesLoaded { .. });
            if changes.is_empty() && !always {
                continue;
            }
            for change in &changes {
                apply(&mut self.state, event.at, change);
                if let Some(id) = change.incident().filter(|id| !seen.contains(*id)) {
                    seen.insert(id.clone());
                    incidents.push(id.to_string());
                }
            }
            let blobs = if index == 0 { blobs.to_vec() } else { Vec::new() };
            drafts.push(Draft { event, changes, blobs });
        }
        incidents
    }

    fn commit(&mut self, drafts: &[Draft]) -> Result<(), AppendError> {
        if drafts.is_empty() {
            return Ok(());
        }
        let head = self.journal.head();
        let count = u64::try_from(drafts.len()).unwrap_or(u64::MAX);
        let every = SNAPSHOT_EVERY.max(self.snapshot_bytes / SNAPSHOT_SHARE);
        // A snapshot may be larger than what is in reserve.
        let due = self.short.is_none() && head.seq + count >= self.snapshot_at + every;
        let snapshot = if due { self.state.to_snapshot().ok() } else { None };
        let head = self.journal.append(&head, drafts, snapshot.as_deref())?;
        if due {
            self.snapshot_at = head.seq;
            self.snapshot_bytes = snapshot.as_deref().map_or(self.snapshot_bytes, length);
        }
        Ok(())
    }

    /// Goes on with the room in reserve; whether that is new.
    fn run_short(&mut self) -> bool {
        if self.short.is_some() || !self.journal.release() {
            return false;
        }
        tracing::error!("the room in reserve is used: nothing but taking back goes on until there is more");
        self.short = Some(Short::since(self.clock.now()));
        true
    }

    /// Takes the room back into reserve, if there is any by now, and goes on with what has waited.
    fn look_for_room(&mut self, batch: &mut Vec<Input>) {
        let now = self.clock.now();
        let Some(short) = self.short.as_mut().filter(|short| short.look_at <= now) else { return };
        if !self.journal.reserve() {
            short.look_again(now);
            return;
        }
        tracing::info!("the journal's disk has room again");
        batch.insert(0, Input::event(EventKind::JournalRoom));
        batch.extend(self.short.take().map(|short| short.waiting).into_iter().flatten());
    }

    fn reread(&mut self) -> Result<(), JournalError> {
        (self.state, _) = fold(self.journal.as_ref())?;
        Ok(())
    }

    fn launch(&self, change: &Change, launches: &mpsc::UnboundedSender<Launch>) {
        for effect in effects(&self.state, change) {
            let writes = matches!(effect, Effect::Execute(_));
            let permit = if writes { gate::permit(&self.state, change) } else { None };
            let blobs = self.documents(&effect);
            // The outbox is gone only when the process ends.
            launches.send(Launch { effect, permit, blobs }).ok();
        }
    }

    fn documents(&self, effect: &Effect) -> Vec<Blob> {
        let digests = match effect {
            Effect::Rehearse { plan, .. } => plan.steps.iter().flat_map(|step| step.blobs()).collect(),
            Effect::Execute(execute) => execute.action.blobs(),
            Effect::Inspect(_) | Effect::Probe { .. } | Effect::Notify { .. } => Vec::new(),
        };
        let read = |digest| match self.journal.blob(&digest) {
            Ok(Some(bytes)) => Some(Blob { digest, bytes }),
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%error, "document not readable");
                None
            }
        };
        digests.into_iter().filter_map(read).collect()
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// While draining: a case that only waits (soak, probe, reading back what a step did) is taken up again
/// after the restart.
fn idle(case: &crate::model::incident::Incident) -> bool {
    case.phase != crate::model::incident::Phase::Executing || case.reconciling
}

/// The state as the journal has it, and the time of its last record.
///
/// # Errors
/// The journal could not be read.
pub fn fold(journal: &dyn Journal) -> Result<(State, Timestamp), JournalError> {
    let snapshot = journal.snapshot()?;
    if snapshot.as_ref().is_some_and(|(seq, _)| *seq > journal.head().seq) {
        let text =
            "the journal ends before its own snapshot: records were cut off; run meshmend audit verify";
        return Err(JournalError(text.to_owned()));
    }
    let restored = snapshot.and_then(|(seq, bytes)| Some((State::from_snapshot(&bytes).ok()?, seq)));
    let (mut state, seq) = restored.unwrap_or_default();
    let mut last = Timestamp::MIN;
    // From the snapshot's own record on, for its time.
    journal.read(seq.max(1), &mut |record| {
        last = record.at;
        if record.seq > seq {
            record.changes.iter().for_each(|change| apply(&mut state, record.at, change));
        }
        ControlFlow::Continue(())
    })?;
    Ok((state, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::memory::MemoryJournal;
    use crate::rules::RuleFiles;

    /// Runs a driver on the journal until all these inputs are taken.
    async fn run_on(journal: Box<dyn Journal>, inputs: Vec<EventKind>) -> Driver {
        let rules =
            Arc::new(Rules::load(&RuleFiles::embedded(), None).expect("the shipped rules load").rules);
        let mut driver = Driver::new(journal, rules, Clock::system(None)).expect("memory can be read");
        let (results, results_in) = mpsc::unbounded_channel();
        let (sources, sources_in) = mpsc::channel(1);
        let (launches, _launches_in) = mpsc::unbounded_channel();
        inputs.into_iter().for_each(|kind| results.send(Input::event(kind)).expect("the queue is open"));
        drop((results, sources));
        let queues = Queues { results: results_in, sources: sources_in, launches };
        driver.run(queues).await.expect("memory takes every record");
        driver
    }

    // Mutation: asking whether the drain is done before the first turn ends every run after a clean stop.
    #[tokio::test]
    async fn a_run_on_a_journal_that_was_drained_starts_anew() {
        let started = || EventKind::Started { journal: "t".to_owned(), version: "0".to_owned() };
        let first = run_on(Box::new(MemoryJournal::new("t")), vec![started(), EventKind::Drain]).await;
        assert!(first.state().draining);
        let second = run_on(first.into_journal(), vec![started()]).await;
        assert!(!second.state().draining);
        assert_eq!(second.into_journal().head().seq, 3);
    }
}
