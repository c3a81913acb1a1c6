//! Short: the journal's disk is full, and what it kept in reserve is for taking back.
//!
//! Results of what runs, the time and the words of operators are taken. Everything else waits, or is told that it
//! was not taken: a flood of alerts must not use up what an act needs that has to be taken back.

use jiff::{SignedDuration, Timestamp};

use super::queue::Input;
use crate::model::event::EventKind;

/// How often it is tried whether there is room again: soon enough for whoever made some, and no load.
const LOOK_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// So many inputs may wait; then their senders do.
const LONG: usize = 4_096;

/// What waits until there is room again.
pub(super) struct Short {
    pub(super) waiting: Vec<Input>,
    /// When to look for room.
    pub(super) look_at: Timestamp,
}

impl Short {
    pub(super) fn since(now: Timestamp) -> Self {
        let mut short = Self { waiting: Vec::new(), look_at: now };
        short.look_again(now);
        short
    }

    pub(super) fn look_again(&mut self, now: Timestamp) {
        self.look_at = now.saturating_add(LOOK_EVERY).unwrap_or(Timestamp::MAX);
    }

    pub(super) fn is_long(&self) -> bool {
        self.waiting.len() >= LONG
    }

    /// What of a batch cannot wait.
    pub(super) fn leave(&mut self, batch: Vec<Input>) -> Vec<Input> {
        let mut taken = Vec::with_capacity(batch.len());
        for input in batch {
            match input {
                Input::Events { events, blobs, reply } if events.iter().any(|kind| !is_urgent(kind)) => {
                    match reply {
                        Some(reply) => {
                            drop(reply.send(Err("the journal's disk is full: make room".to_owned())))
                        }
                        None => self.waiting.push(Input::Events { events, blobs, reply }),
                    }
                }
                input @ (Input::Events { .. } | Input::Look(_)) => taken.push(input),
            }
        }
        taken
    }
}

/// Whether it is part of what runs, or of what people want to stop.
fn is_urgent(kind: &EventKind) -> bool {
    match kind {
        EventKind::Started { .. }
        | EventKind::RulesLoaded { .. }
        | EventKind::Inspected { .. }
        | EventKind::Rehearsed { .. }
        | EventKind::Executed { .. }
        | EventKind::Probed { .. }
        | EventKind::Notified { .. }
        | EventKind::ClockJumped { .. }
        | EventKind::JournalFull
        | EventKind::JournalRoom
        | EventKind::Drain
        | EventKind::Tick
        | EventKind::Paused { .. }
        | EventKind::Resumed { .. }
        | EventKind::Aborted { .. }
        | EventKind::AbortedAll { .. } => true,
        EventKind::Signal { .. }
        | EventKind::Voted { .. }
        | EventKind::RevisionSeen { .. }
        | EventKind::RevisionProven { .. }
        | EventKind::RouteGone { .. }
        | EventKind::SubjectGone { .. }
        | EventKind::MarkSeen { .. }
        | EventKind::MarkGone { .. } => false,
    }
}
