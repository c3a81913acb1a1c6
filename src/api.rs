//! The API: webhooks in, questions answered, votes taken; probes and metrics on a port of their own.

mod alertmanager;
mod auth;
mod metrics;
mod operators;
mod probes;
mod routes;

use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::Value;

use crate::model::digest::Digest;
use crate::model::event::{InForce, Vote};
use crate::model::incident::Incident;
use crate::model::indicator::Level;
use crate::model::pause::{Pause, Reach};
use crate::model::signal::Signal;
use crate::model::subject::Subject;

pub use alertmanager::{Alert, Notification};
pub use auth::{Grant, Tokens};
pub use metrics::Metrics;
pub use probes::router as probes_router;
pub use routes::router;

/// Why a request was not done: a status, a stable code, and words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub code: &'static str,
    /// What happened and what to do.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }
}

/// What the API asks of the agent behind it. Every answer is durable when it comes.
pub trait Agent: Send + Sync + 'static {
    /// Takes signals; answers with the incidents they belong to.
    fn signals(&self, signals: Vec<Signal>, source: String) -> BoxFuture<'_, Result<Vec<String>, Refusal>>;
    /// Takes a notification of Alertmanager; answers with the incidents it belongs to.
    fn alerts(
        &self,
        notification: Notification,
        source: String,
    ) -> BoxFuture<'_, Result<Vec<String>, Refusal>>;
    /// Takes a vote on a plan; answers with the incident after it.
    fn vote(&self, ballot: Ballot) -> BoxFuture<'_, Result<Arc<Incident>, Refusal>>;
    /// Marks a revision good on a person's word; answers with its hash.
    fn bless(
        &self,
        subject: Subject,
        spec_hash: Option<Digest>,
        by: String,
    ) -> BoxFuture<'_, Result<Digest, Refusal>>;
    /// Holds new acts for so many seconds; answers with the pause.
    fn pause(&self, halt: Halt, for_s: u64) -> BoxFuture<'_, Result<Pause, Refusal>>;
    /// Ends a pause.
    fn resume(&self, reach: Reach, by: String) -> BoxFuture<'_, Result<(), Refusal>>;
    /// What holds new acts now: pauses, storms, open breakers.
    fn stops(&self) -> BoxFuture<'_, Result<Value, Refusal>>;
    /// Stops an incident, if its plan is still this one where one is named; answers with it as it is then.
    fn abort(
        &self,
        id: String,
        plan: Option<Digest>,
        stop: Stop,
    ) -> BoxFuture<'_, Result<Arc<Incident>, Refusal>>;
    /// Stops all open incidents within a reach; answers with them as they are then.
    fn abort_all(&self, reach: Reach, stop: Stop) -> BoxFuture<'_, Result<Vec<Arc<Incident>>, Refusal>>;
    /// Incidents in memory, oldest first.
    fn incidents(&self) -> BoxFuture<'_, Result<Vec<Arc<Incident>>, Refusal>>;
    /// One incident.
    fn incident(&self, id: String) -> BoxFuture<'_, Result<Option<Arc<Incident>>, Refusal>>;
    /// Routes with their revisions.
    fn history(&self) -> BoxFuture<'_, Result<Value, Refusal>>;
    /// How every part of the mesh is, as it was read last: what `meshmend health -o json` prints.
    fn health(&self) -> BoxFuture<'_, Result<Value, Refusal>>;
    /// The same for scrapers, one figure an indicator.
    fn figures(&self) -> BoxFuture<'_, Result<Vec<HealthFigure>, Refusal>>;
    /// The parts it depends on (`journal`, `kubernetes`, `prometheus`), and whether each can be used now.
    fn parts(&self) -> Vec<(&'static str, bool)>;
    /// Whether the loop turns.
    fn live(&self) -> Result<(), String>;
    /// Whether it can do its work.
    fn ready(&self) -> Result<Vec<String>, String>;
}

/// One indicator for scrapers.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthFigure {
    /// Its id.
    pub indicator: String,
    /// Its component.
    pub component: String,
    /// Its level.
    pub level: Level,
    /// Its figure, where there is one.
    pub value: Option<f64>,
}

/// An operator's wish to stop a case, or several.
#[derive(Clone, Debug)]
pub struct Stop {
    /// Token name.
    pub by: String,
    /// Their words.
    pub comment: String,
    /// What becomes of what is in force; `None` where they have not said.
    pub in_force: Option<InForce>,
}

/// An operator's wish about everything within a reach.
#[derive(Clone, Debug)]
pub struct Halt {
    /// How far it reaches.
    pub reach: Reach,
    /// Token name of the operator.
    pub by: String,
    /// Their words.
    pub reason: String,
}

/// A vote as it arrives.
#[derive(Clone, Debug)]
pub struct Ballot {
    /// On this incident.
    pub incident: String,
    /// On this plan.
    pub plan: Digest,
    /// Yes or no.
    pub vote: Vote,
    /// Words.
    pub comment: String,
    /// Token name of the voter.
    pub by: String,
}
