//! The outbox: starts effects and brings their results back as events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use super::board::Boards;
use super::driver::{Input, Launch};
use crate::effectors::{Effectors, Notifier, Specs};
use crate::engine::gate::Permit;
use crate::model::effect::{Effect, Execute, Inspect};
use crate::model::event::EventKind;
use crate::model::facts::Findings;
use crate::model::plan::Outcome;
use crate::model::record::Blob;

/// Looks and notifications under way at once: a storm of alerts must not become one of requests.
static AT_ONCE: Semaphore = Semaphore::const_new(32);

/// How long an inspection waits for the watches: less than the engine waits for the inspection.
const FRESH_WITHIN: Duration = Duration::from_secs(30);

/// Everything effects need.
pub struct Outbox {
    /// Hands and eyes.
    pub effectors: Effectors,
    /// Measures.
    pub boards: Arc<Boards>,
    /// Tells people.
    pub notifier: Notifier,
    /// Where results go.
    pub results: mpsc::UnboundedSender<Input>,
    /// Effects under way, to be waited for at the end.
    pub running: TaskTracker,
}

impl Outbox {
    /// Starts every effect as it comes, each in a task of its own, until the driver is gone.
    pub async fn run(self: Arc<Self>, mut launches: mpsc::UnboundedReceiver<Launch>) {
        while let Some(launch) = launches.recv().await {
            let outbox = Arc::clone(&self);
            self.running.spawn(async move {
                // Writes never wait behind looks and news: their permits run out.
                let waits = !matches!(launch.effect, Effect::Execute(_));
                let place = if waits { AT_ONCE.acquire().await.ok() } else { None };
                let event = outbox.perform(launch).await;
                drop(place);
                outbox.results.send(Input::event(event)).ok();
            });
        }
    }

    /// Performs one effect and tells what came of it.
    pub async fn perform(&self, launch: Launch) -> EventKind {
        let specs = specs(&launch.blobs);
        match launch.effect {
            Effect::Inspect(inspect) => {
                let findings = Box::new(self.inspect(&inspect).await);
                EventKind::Inspected { incident: inspect.incident, inspection: inspect.inspection, findings }
            }
            Effect::Rehearse { incident, plan } => {
                let rehearsal = self.effectors.rehearse(&plan, &specs).await;
                EventKind::Rehearsed { incident, plan: plan.identity(), rehearsal }
            }
            Effect::Execute(execute) => {
                let outcome = self.execute(&execute, launch.permit, &specs).await;
                let Execute { incident, plan, step, direction, run, .. } = execute;
                tracing::info!(%incident, step, ?outcome, "step ended");
                EventKind::Executed { incident, plan, step, direction, run, outcome }
            }
            Effect::Probe { incident, probe, indicator, subject, since } => {
                let reading = self.boards.measure(&indicator, &subject, Some(since)).await;
                EventKind::Probed { incident, probe, reading }
            }
            Effect::Notify { sentence, incident, step } => {
                let outcome = self.notifier.notify(&sentence, &incident).await;
                EventKind::Notified { incident: incident.id, step, outcome }
            }
        }
    }

    async fn execute(&self, execute: &Execute, permit: Option<Permit>, specs: &Specs) -> Outcome {
        match permit {
            Some(permit) => self.effectors.execute(execute, permit, specs).await,
            None => Outcome::Failed { why: "no permit was minted for this step".to_owned() },
        }
    }

    async fn inspect(&self, inspect: &Inspect) -> Findings {
        let mut findings = match self.effectors.fresh(FRESH_WITHIN).await {
            Ok(()) => self.effectors.inspect(inspect).await,
            // What a half-read store does not hold is not known to be absent: nothing is known then.
            Err(why) => {
                let missing = inspect.needs.iter().map(|need| (need.clone(), why.clone())).collect();
                return Findings { missing, ..Findings::default() };
            }
        };
        if findings.gone {
            return findings;
        }
        if inspect.needs.iter().any(|need| need == "traffic") {
            match self.boards.traffic(&inspect.subject).await {
                Ok(traffic) => findings.facts.traffic = Some(traffic),
                Err(why) => {
                    findings.missing.insert("traffic".to_owned(), why);
                }
            }
        }
        for indicator in &inspect.indicators {
            let probe = self.boards.measure(indicator, &inspect.subject, None).await;
            findings.indicators.insert(indicator.clone(), probe);
        }
        findings
    }
}

fn specs(blobs: &[Blob]) -> Specs {
    let read = |blob: &Blob| Some((blob.digest, serde_json::from_slice(&blob.bytes).ok()?));
    blobs.iter().filter_map(read).collect::<BTreeMap<_, _>>()
}
