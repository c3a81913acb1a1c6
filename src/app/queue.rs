//! What goes into the driver and comes out of it: inputs, launches, and the queues between.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::engine::State;
use crate::engine::gate::Permit;
use crate::model::effect::Effect;
use crate::model::event::EventKind;
use crate::model::record::Blob;

/// Inputs taken into one commit: enough to share the cost of a flush, few enough to answer soon.
const BATCH: usize = 256;

/// The incidents an input led to, or why it was not taken.
pub type Reply = Result<Vec<String>, String>;

/// Something for the driver.
pub enum Input {
    /// Events that belong into one commit.
    Events {
        /// What happened, in order.
        events: Vec<EventKind>,
        /// Documents they cite.
        blobs: Vec<Blob>,
        /// Told once durable; those who wait for an answer repeat themselves if there is none.
        reply: Option<oneshot::Sender<Reply>>,
    },
    /// A look at the state.
    Look(Box<dyn FnOnce(&State) + Send>),
}

impl Input {
    /// One event nobody waits for.
    #[must_use]
    pub fn event(event: EventKind) -> Self {
        Self::Events { events: vec![event], blobs: Vec::new(), reply: None }
    }
}

/// An effect to start, with its permit where it writes.
#[derive(Debug)]
pub struct Launch {
    /// What to do.
    pub effect: Effect,
    /// Leave to do it.
    pub permit: Option<Permit>,
    /// Documents it needs.
    pub blobs: Vec<Blob>,
}

/// Ends of the queues the driver reads. Results come back on a queue of their own, which sources cannot
/// fill.
pub struct Queues {
    /// Results of effects, and people's looks and votes.
    pub results: mpsc::UnboundedReceiver<Input>,
    /// Sources; bounded, so that a flood makes its senders wait.
    pub sources: mpsc::Receiver<Input>,
    /// Effects to start.
    pub launches: mpsc::UnboundedSender<Launch>,
}

/// What becomes of the queue of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sources {
    Heard,
    /// They have to wait.
    Held,
}

/// Waits for work: results first, then sources, then the time.
pub(super) async fn gather(wake: Duration, queues: &mut Queues, sources: Sources) -> Option<Vec<Input>> {
    let heard = sources == Sources::Heard;
    let some = heard && (!queues.sources.is_closed() || !queues.sources.is_empty());
    let first = tokio::select! {
        biased;
        result = queues.results.recv() => result?,
        input = queues.sources.recv(), if some => {
            match input {
                Some(input) => input,
                None => return Some(Vec::new()),
            }
        }
        () = tokio::time::sleep(wake) => return Some(Vec::new()),
    };
    let mut batch = vec![first];
    while batch.len() < BATCH {
        let more = queues.results.try_recv().ok();
        let source = || heard.then(|| queues.sources.try_recv().ok()).flatten();
        match more.or_else(source) {
            Some(input) => batch.push(input),
            None => break,
        }
    }
    Some(batch)
}
