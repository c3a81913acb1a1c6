//! What holds when the journal cannot be written: the driver on a journal whose commits fail now and then.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use meshmend::app::driver::Driver;
use meshmend::app::queue::{Input, Launch};
use meshmend::clock::Clock;
use meshmend::engine::{State, effects};
use meshmend::journal::memory::MemoryJournal;
use meshmend::journal::{AppendError, Head, Journal, JournalError};
use meshmend::model::digest::Digest;
use meshmend::model::effect::Effect;
use meshmend::model::event::EventKind;
use meshmend::model::record::{Draft, Record};
use proptest::prelude::*;
use tokio::sync::{mpsc, oneshot};

use super::super::world::{Ground, START, Tape, Variant, routes, signal, variants};
use super::{Checked, holds};

/// A journal that both the driver and the test hold.
#[derive(Clone)]
struct Shared(Arc<Mutex<MemoryJournal>>);

impl Shared {
    fn held(&self) -> MutexGuard<'_, MemoryJournal> {
        self.0.lock().expect("nobody panics while holding it")
    }

    fn state(&self) -> State {
        meshmend::app::driver::fold(&*self.held()).expect("memory can be read").0
    }
}

impl Journal for Shared {
    fn id(&self) -> &str {
        "w"
    }
    fn head(&self) -> Head {
        self.held().head()
    }
    fn append(&mut self, at: &Head, batch: &[Draft], snapshot: Option<&[u8]>) -> Result<Head, AppendError> {
        self.held().append(at, batch, snapshot)
    }
    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, JournalError> {
        self.held().blob(digest)
    }
    fn snapshot(&self) -> Result<Option<(u64, Vec<u8>)>, JournalError> {
        self.held().snapshot()
    }
    fn read(&self, from: u64, visit: &mut dyn FnMut(Record) -> ControlFlow<()>) -> Result<(), JournalError> {
        self.held().read(from, visit)
    }
    fn heartbeat(&mut self, at: Timestamp) -> Result<(), AppendError> {
        self.held().heartbeat(at)
    }
    fn close(self: Box<Self>, _at: Timestamp) -> Result<(), JournalError> {
        Ok(())
    }
}

/// The driver on a journal whose commits fail now and then.
struct Failing {
    driver: Driver,
    journal: Shared,
    launches: mpsc::UnboundedSender<Launch>,
    launched: mpsc::UnboundedReceiver<Launch>,
    clock: Clock,
    ground: Ground,
    pending: Vec<Launch>,
    /// Failed commits, refused replies, and effects that came after a failure.
    seen: [usize; 3],
}

impl Failing {
    fn new(variant: &Variant) -> Self {
        let journal = Shared(Arc::new(Mutex::new(MemoryJournal::new("w"))));
        let clock = Clock::starting_at(START.parse().expect("it is a time"));
        let driver = Driver::new(Box::new(journal.clone()), Arc::clone(&variant.rules), clock);
        let (launches, launched) = mpsc::unbounded_channel();
        let (ground, pending) = (Ground::default(), Vec::new());
        let driver = driver.expect("memory can be read");
        Self { driver, journal, launches, launched, clock, ground, pending, seen: [0; 3] }
    }

    /// The next batch: answers that are there, else signals, else time.
    async fn batch(&mut self, tape: &mut Tape) -> Vec<EventKind> {
        if !self.pending.is_empty() && tape.percent(80) {
            let launch = self.pending.remove(0);
            return vec![self.ground.answer(&launch.effect, self.clock.now(), tape)];
        }
        if tape.percent(40) {
            let route = tape.one(&routes()).clone();
            let news = self.ground.break_route(&route);
            let signal = signal("config.rejected", route, self.clock.now());
            return vec![news, EventKind::Signal { signal }];
        }
        let wake = self.driver.state().next_wake().map_or(Duration::ZERO, |at| self.clock.until(at));
        tokio::time::sleep(wake).await;
        vec![EventKind::Tick]
    }

    /// One turn with so many failing commits before the one that works.
    async fn turn(&mut self, events: Vec<EventKind>, failures: u32, asks: bool) -> Checked {
        let before = self.journal.held().records().len();
        self.journal.held().fail_next(failures);
        let (reply, mut answer) = oneshot::channel();
        let input = Input::Events { events, blobs: Vec::new(), reply: asks.then_some(reply) };
        {
            let mut turn = std::pin::pin!(self.driver.turn(vec![input], &self.launches));
            let almost = Duration::from_millis(u64::from(failures) * 1_000).saturating_sub(HALF);
            let ended = tokio::select! {
                biased;
                done = &mut turn => Some(done),
                () = tokio::time::sleep(almost) => None,
            };
            if ended.is_none() {
                // The last failing commit is behind, the next one is not yet tried.
                prop_assert!(self.launched.try_recv().is_err(), "an effect before its commit");
                prop_assert_eq!(self.journal.held().records().len(), before);
                self.seen[0] += 1;
            }
            let done = match ended {
                Some(done) => done,
                None => turn.await,
            };
            prop_assert!(done.is_ok(), "{done:?}");
        }
        let left = self.journal.held().failures();
        self.journal.held().fail_next(0);
        let records = self.journal.held().records()[before..].to_vec();
        if asks && left < failures {
            let told = answer.try_recv();
            prop_assert!(matches!(told, Ok(Err(_))), "no refusal of what was not stored: {told:?}");
            prop_assert!(records.is_empty(), "stored, but refused");
            self.seen[1] += 1;
        }
        self.launched_for(&records, left < failures)
    }

    /// Exactly the effects of the new records were launched, each once, and the state is the journal's.
    fn launched_for(&mut self, records: &[Record], failed: bool) -> Checked {
        let state = self.driver.state();
        let changes = records.iter().flat_map(|record| &record.changes);
        let wanted: Vec<Effect> = changes.flat_map(|change| effects(state, change)).collect();
        let first = self.pending.len();
        while let Ok(launch) = self.launched.try_recv() {
            let writes = matches!(launch.effect, Effect::Execute(_));
            prop_assert_eq!(launch.permit.is_some(), writes, "a permit for writes and for nothing else");
            self.pending.push(launch);
        }
        let found: Vec<&Effect> = self.pending[first..].iter().map(|launch| &launch.effect).collect();
        prop_assert_eq!(found, wanted.iter().collect::<Vec<_>>());
        self.seen[2] += if failed { wanted.len() } else { 0 };
        // Folding the whole journal is slow, and without a failure the run is the fold (see the other properties).
        prop_assert!(!failed || *state == self.journal.state(), "the state is not what the journal holds");
        Ok(())
    }
}

/// Half of the pause before a failed commit is tried again.
const HALF: Duration = Duration::from_millis(500);

async fn failing(tape: &mut Tape, seen: &mut [usize; 3]) -> Checked {
    let variant = &variants()[tape.below(3)];
    let mut world = Failing::new(variant);
    let started = EventKind::Started { journal: "w".to_owned(), version: "0.0.0".to_owned() };
    let mut first = vec![started, EventKind::RulesLoaded { rules: variant.files.loaded(None) }];
    first.extend(world.ground.fresh());
    world.turn(first, 0, false).await?;
    while !tape.is_over() {
        let events = world.batch(tape).await;
        let failures = if tape.percent(30) { 1 + u32::from(tape.percent(40)) } else { 0 };
        let asks = tape.percent(30);
        world.turn(events.clone(), failures, asks).await?;
        if asks && failures > 0 {
            // Whoever was refused repeats himself.
            world.turn(events, 0, true).await?;
        }
    }
    for (sum, count) in seen.iter_mut().zip(world.seen) {
        *sum += count;
    }
    Ok(())
}

// Mutations: `try_turn` that launches before it commits, or launches also after a failed commit; replies
// sent before the commit; no `reread` after a failure.
#[test]
fn a_failed_commit_leaves_no_effect() {
    let seen = RefCell::new([0; 3]);
    holds(40, |mut tape| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without sockets can be made");
        runtime.block_on(failing(&mut tape, &mut seen.borrow_mut()))
    });
    let seen = seen.into_inner();
    assert!(seen.iter().all(|count| *count >= 50), "failures, refusals, late effects: {seen:?}");
}
