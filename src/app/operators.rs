//! What operators wish of the running agent: pause, resume, abort. An answer means that it is durable.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::agent::{Running, away};
use super::queue::Input;
use crate::api::{Halt, Refusal, Stop};
use crate::engine::State;
use crate::model::digest::Digest;
use crate::model::event::{EventKind, InForce};
use crate::model::incident::{Incident, IncidentId};
use crate::model::pause::{Pause, Reach};
use crate::model::plan::Plan;

impl Running {
    pub(super) async fn decide_pause(&self, halt: Halt, for_s: u64) -> Result<Pause, Refusal> {
        let Halt { reach, by, reason } = halt;
        self.order(EventKind::Paused { reach: reach.clone(), by, reason, for_s }).await?;
        let found = move |state: &State| state.pauses.iter().find(|pause| pause.reach == reach).cloned();
        let gone = || Refusal::new(409, "resumed", "the pause was ended before it could be shown");
        self.look(found).await?.ok_or_else(gone)
    }

    pub(super) async fn decide_resume(&self, reach: Reach, by: String) -> Result<(), Refusal> {
        let key = reach.clone();
        let known = self.look(move |state| state.pauses.iter().any(|pause| pause.reach == key)).await?;
        if !known {
            let text = format!("{reach} is not paused; see meshmend pauses");
            return Err(Refusal::new(404, "not_paused", text));
        }
        self.order(EventKind::Resumed { reach, by }).await.map(|_| ())
    }

    pub(super) async fn decide_abort(
        &self,
        id: IncidentId,
        plan: Option<Digest>,
        stop: Stop,
    ) -> Result<Arc<Incident>, Refusal> {
        let missing = || Refusal::new(404, "not_found", format!("there is no incident {id}"));
        let before = self.incident_of(&id).await?.ok_or_else(missing)?;
        let known = before.plan.as_ref().map(Plan::identity);
        if plan.is_some() && plan != known {
            let known = known.map_or_else(|| "none yet".to_owned(), |plan| plan.to_string());
            return Err(Refusal::new(409, "other_plan", format!("the plan of {id} is another one: {known}")));
        }
        let Stop { by, comment, in_force } = stop;
        self.order(EventKind::Aborted { incident: id.clone(), by, comment, in_force }).await?;
        let after = self.incident_of(&id).await?.ok_or_else(missing)?;
        if !after.is_aborted() {
            return Err(Refusal::new(409, "over", format!("{id} is over already: it is {}", after.phase)));
        }
        let undo = in_force == Some(InForce::Undo);
        if undo && after.phase.is_end() && after.in_force().is_some() {
            let text = format!(
                "what {id} did is not undone: another incident is about the same, or acts on the same object; \
                 see meshmend incidents"
            );
            return Err(Refusal::new(409, "taken", text));
        }
        Ok(after)
    }

    /// Operators are heard before sources, whose queue a flood may fill.
    async fn order(&self, event: EventKind) -> Result<Vec<String>, Refusal> {
        let (reply, durable) = oneshot::channel();
        let input = Input::Events { events: vec![event], blobs: Vec::new(), reply: Some(reply) };
        self.results.send(input).map_err(|_| away())?;
        let taken = durable.await.map_err(|_| away())?;
        taken.map_err(|why| Refusal::new(503, "not_durable", why))
    }

    async fn incident_of(&self, id: &IncidentId) -> Result<Option<Arc<Incident>>, Refusal> {
        let key = id.clone();
        self.look(move |state| state.incidents.get(&key).cloned()).await
    }

    pub(super) async fn decide_abort_all(
        &self,
        reach: Reach,
        stop: Stop,
    ) -> Result<Vec<Arc<Incident>>, Refusal> {
        let Stop { by, comment, in_force } = stop;
        let ids = self.order(EventKind::AbortedAll { reach, by, comment, in_force }).await?;
        let find = move |state: &State| {
            let known = ids.iter().filter_map(|id| state.incidents.get(&IncidentId(id.as_str().into())));
            known.cloned().collect()
        };
        self.look(find).await
    }

    /// What holds new acts now.
    pub(super) async fn held(&self) -> Result<Value, Refusal> {
        let now = self.clock.now();
        self.look(move |state| {
            let breakers = state.breakers.iter().filter(|breaker| breaker.open_until.is_some());
            let pauses = state.pauses.iter().filter(|pause| now < pause.until);
            json!({
                "pauses": pauses.collect::<Vec<_>>(),
                "storms": state.storms,
                "breakers": breakers.collect::<Vec<_>>(),
            })
        })
        .await
    }
}
