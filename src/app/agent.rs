//! The agent as the API sees it: questions and wishes as inputs of the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::board::Boards;
use super::intake;
use super::queue::{Input, Reply};
use crate::api::{Agent, Ballot, Halt, HealthFigure, Notification, Refusal, Stop};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::engine::State;
use crate::health::Overview;
use crate::model::digest::Digest;
use crate::model::event::{EventKind, Vote};
use crate::model::history::{Proof, ProvenDestination, RevisionProven};
use crate::model::incident::{Incident, IncidentId, Phase};
use crate::model::pause::{Pause, Reach};
use crate::model::reason::Reason;
use crate::model::signal::Signal;
use crate::model::subject::Subject;
use crate::rules::Rules;

/// The running agent.
pub struct Running {
    /// Watched stores.
    pub cluster: Arc<Cluster>,
    /// Measures.
    pub boards: Arc<Boards>,
    /// Rules.
    pub rules: Arc<Rules>,
    /// Our cluster's name, where the configuration gives one.
    pub name: Option<String>,
    /// Results and people.
    pub results: mpsc::UnboundedSender<Input>,
    /// Sources.
    pub sources: mpsc::Sender<Input>,
    /// Time.
    pub clock: Clock,
    /// Set while the journal cannot be written.
    pub failing: Arc<AtomicBool>,
    /// Set when the agent begins to shut down.
    pub draining: Arc<AtomicBool>,
}

pub(super) fn away() -> Refusal {
    Refusal::new(503, "stopping", "the agent is shutting down; send it again")
}

impl Running {
    /// Looks at the state between two turns.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (answer, found) = oneshot::channel();
        let look = Input::Look(Box::new(move |state| {
            answer.send(look(state)).ok();
        }));
        self.results.send(look).map_err(|_| away())?;
        found.await.map_err(|_| away())
    }

    fn here(&self) -> intake::Here<'_> {
        intake::Here { cluster: &self.cluster, name: self.name.as_deref(), now: self.clock.elsewhere() }
    }

    /// The mesh as it was read last. Whoever asks may leave before it is made; the next one finds it then.
    async fn overview(&self) -> Result<Arc<Overview>, Refusal> {
        self.synced()?;
        let boards = Arc::clone(&self.boards);
        let made = tokio::spawn(async move { boards.overview().await }).await;
        made.map_err(|error| Refusal::new(500, "unread", format!("health: {error}")))
    }

    /// Without our cache every target would be unknown; the sender repeats itself.
    fn synced(&self) -> Result<(), Refusal> {
        if self.cluster.is_synced() {
            return Ok(());
        }
        Err(Refusal::new(503, "not_synced", "the cluster has not been read yet; send it again"))
    }

    async fn events(&self, events: Vec<EventKind>) -> Result<Vec<String>, Refusal> {
        let (reply, durable) = oneshot::channel::<Reply>();
        let input = Input::Events { events, blobs: Vec::new(), reply: Some(reply) };
        self.sources.send(input).await.map_err(|_| away())?;
        let taken = durable.await.map_err(|_| away())?;
        taken.map_err(|why| Refusal::new(503, "not_durable", why))
    }

    async fn decide_vote(&self, ballot: Ballot) -> Result<Arc<Incident>, Refusal> {
        let id = IncidentId(ballot.incident.as_str().into());
        let (key, plan) = (id.clone(), ballot.plan);
        let before = self.look(move |state| state.incidents.get(&key).cloned()).await?;
        let before =
            before.ok_or_else(|| Refusal::new(404, "not_found", format!("there is no incident {id}")))?;
        let asked = before.approval.as_ref().filter(|_| before.phase == Phase::AwaitingApproval);
        match asked {
            None => {
                let text = format!("{id} does not wait for an approval, it is {}", before.phase);
                return Err(Refusal::new(409, "not_asked", text));
            }
            Some(asked) if asked.plan != plan => {
                let text = format!("{id} asks about another plan by now: {}", asked.plan);
                return Err(Refusal::new(409, "other_plan", text));
            }
            Some(_) => {}
        }
        let Ballot { vote, comment, by, .. } = ballot;
        let event = EventKind::Voted { incident: id.clone(), plan, by: by.clone(), vote, comment };
        let touched = self.events(vec![event]).await?;
        let key = id.clone();
        let after = self.look(move |state| state.incidents.get(&key).cloned()).await?.unwrap_or(before);
        let counted = match vote {
            Vote::Approve => after.reasons.iter().any(|t| t.reason == Reason::Approved { by: by.clone() }),
            Vote::Deny => after.phase == Phase::Suppressed,
        };
        if touched.is_empty() || !counted {
            return Err(Refusal::new(
                409,
                "too_late",
                format!("the vote came too late: {id} is {}", after.phase),
            ));
        }
        Ok(after)
    }

    async fn decide_bless(
        &self,
        subject: Subject,
        hash: Option<Digest>,
        by: String,
    ) -> Result<Digest, Refusal> {
        let key = subject.clone();
        let known = self.look(move |state| state.routes.get(&key).cloned()).await?;
        let unknown =
            || Refusal::new(404, "not_found", format!("no revision of {subject} has been seen yet"));
        let known = known.ok_or_else(unknown)?;
        let spec_hash = hash.or(known.in_force).ok_or_else(unknown)?;
        known.revision(&spec_hash).ok_or_else(unknown)?;
        let destinations = self.blessed_destinations(&subject, &spec_hash).await?;
        let revision = RevisionProven { subject, spec_hash, proof: Proof::Blessed { by }, destinations };
        self.events(vec![EventKind::RevisionProven { revision }]).await?;
        Ok(spec_hash)
    }

    /// Only where the blessed revision is in force can one look where it leads.
    async fn blessed_destinations(
        &self,
        subject: &Subject,
        hash: &Digest,
    ) -> Result<Vec<ProvenDestination>, Refusal> {
        let Some(route) = self.cluster.route(subject).filter(|route| route.spec_hash == *hash) else {
            let text =
                "only the revision in force can be blessed: put it in force first, or wait for traffic";
            return Err(Refusal::new(409, "not_in_force", text));
        };
        // With our limits on it, it is no revision that anybody wrote to stay.
        if route.shed {
            let text = format!(
                "load is being shed by {subject}: its limits are taken back by themselves, so bless it after that \
                 (`meshmend restore` ends it now)"
            );
            return Err(Refusal::new(409, "shed", text));
        }
        let found = self.boards.proven_destinations(&route).await;
        found.map_err(|why| {
            Refusal::new(503, "unreadable", format!("nobody could look where it leads: {why}"))
        })
    }
}

impl Agent for Running {
    fn signals(&self, signals: Vec<Signal>, source: String) -> BoxFuture<'_, Result<Vec<String>, Refusal>> {
        async move {
            self.synced()?;
            let signals = intake::signals(signals, &source, &self.here())?;
            self.events(signals.into_iter().map(|signal| EventKind::Signal { signal }).collect()).await
        }
        .boxed()
    }

    fn alerts(
        &self,
        notification: Notification,
        source: String,
    ) -> BoxFuture<'_, Result<Vec<String>, Refusal>> {
        async move {
            self.synced()?;
            let signals = intake::alerts(&notification, &source, &self.rules.alerts, &self.here());
            self.events(signals.into_iter().map(|signal| EventKind::Signal { signal }).collect()).await
        }
        .boxed()
    }

    fn vote(&self, ballot: Ballot) -> BoxFuture<'_, Result<Arc<Incident>, Refusal>> {
        self.decide_vote(ballot).boxed()
    }

    fn bless(
        &self,
        subject: Subject,
        hash: Option<Digest>,
        by: String,
    ) -> BoxFuture<'_, Result<Digest, Refusal>> {
        self.decide_bless(subject, hash, by).boxed()
    }

    fn pause(&self, halt: Halt, for_s: u64) -> BoxFuture<'_, Result<Pause, Refusal>> {
        self.decide_pause(halt, for_s).boxed()
    }

    fn resume(&self, reach: Reach, by: String) -> BoxFuture<'_, Result<(), Refusal>> {
        self.decide_resume(reach, by).boxed()
    }

    fn stops(&self) -> BoxFuture<'_, Result<Value, Refusal>> {
        self.held().boxed()
    }

    fn abort(
        &self,
        id: String,
        plan: Option<Digest>,
        stop: Stop,
    ) -> BoxFuture<'_, Result<Arc<Incident>, Refusal>> {
        self.decide_abort(IncidentId(id.into()), plan, stop).boxed()
    }

    fn abort_all(&self, reach: Reach, stop: Stop) -> BoxFuture<'_, Result<Vec<Arc<Incident>>, Refusal>> {
        self.decide_abort_all(reach, stop).boxed()
    }

    fn incidents(&self) -> BoxFuture<'_, Result<Vec<Arc<Incident>>, Refusal>> {
        self.look(|state| state.incidents.values().cloned().collect()).boxed()
    }

    fn incident(&self, id: String) -> BoxFuture<'_, Result<Option<Arc<Incident>>, Refusal>> {
        self.look(move |state| state.incidents.get(&IncidentId(id.into())).cloned()).boxed()
    }

    fn history(&self) -> BoxFuture<'_, Result<Value, Refusal>> {
        let routes = |state: &State| {
            let routes: Vec<Value> = state
                .routes
                .iter()
                .map(|(subject, route)| json!({ "subject": subject, "in_force": route.in_force, "revisions": route.revisions }))
                .collect();
            json!({ "routes": routes })
        };
        self.look(routes).boxed()
    }

    fn health(&self) -> BoxFuture<'_, Result<Value, Refusal>> {
        async move {
            serde_json::to_value(&*self.overview().await?)
                .map_err(|error| Refusal::new(500, "unwritable", format!("health cannot be told: {error}")))
        }
        .boxed()
    }

    fn figures(&self) -> BoxFuture<'_, Result<Vec<HealthFigure>, Refusal>> {
        async move {
            let found = self.overview().await?;
            let figures = found.components.iter().flat_map(|part| {
                part.indicators.iter().map(|indicator| HealthFigure {
                    indicator: indicator.indicator.clone(),
                    component: part.component.clone(),
                    level: indicator.level,
                    value: indicator.value,
                })
            });
            Ok(figures.collect())
        }
        .boxed()
    }

    fn parts(&self) -> Vec<(&'static str, bool)> {
        let watched = self.cluster.is_synced() && self.cluster.troubles().is_empty();
        let mut parts = vec![("journal", !self.failing.load(Ordering::Relaxed)), ("kubernetes", watched)];
        parts.push(("inventory", self.cluster.findings().is_empty()));
        parts.extend(self.boards.readable().map(|readable| ("prometheus", readable)));
        parts
    }

    fn live(&self) -> Result<(), String> {
        if self.results.is_closed() { Err("the loop has ended".to_owned()) } else { Ok(()) }
    }

    fn ready(&self) -> Result<Vec<String>, String> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("shutting down".to_owned());
        }
        if self.failing.load(Ordering::Relaxed) {
            return Err("the journal cannot be written: nothing is taken and nothing is done".to_owned());
        }
        if !self.cluster.is_synced() {
            let troubles = self.cluster.troubles().join("; ");
            let why = format!("the cluster has not been read yet: {troubles}");
            return Err(why.trim_end_matches(": ").to_owned());
        }
        let mut said = self.cluster.troubles();
        said.extend(self.cluster.findings());
        Ok(said)
    }
}
