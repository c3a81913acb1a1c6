//! The outbox: starts effects and brings their results back as events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use super::board::{Boards, Whom};
use super::queue::{Input, Launch};
use crate::effectors::{Effectors, Notifier, Specs};
use crate::engine::gate::Permit;
use crate::model::effect::{Effect, Execute, Inspect};
use crate::model::event::EventKind;
use crate::model::facts::Findings;
use crate::model::plan::Outcome;
use crate::model::record::Blob;

/// Looks at the cluster under way at once, and notifications: a storm of alerts must not become one of
/// requests, and a webhook that hangs must not keep anybody from looking. Writes and probes never wait.
static LOOKS: Semaphore = Semaphore::const_new(32);
static NEWS: Semaphore = Semaphore::const_new(64);

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
                let event = outbox.perform(launch).await;
                outbox.results.send(Input::event(event)).ok();
            });
        }
    }

    /// Performs one effect and tells what came of it. All but notifications are boxed: those are the many of
    /// a storm, and each would otherwise be moved about at the size of the largest.
    pub async fn perform(&self, launch: Launch) -> EventKind {
        let specs = specs(&launch.blobs);
        match launch.effect {
            Effect::Inspect(inspect) => {
                let findings = Box::new(Box::pin(self.inspect(&inspect)).await);
                EventKind::Inspected { incident: inspect.incident, inspection: inspect.inspection, findings }
            }
            Effect::Rehearse { incident, plan } => {
                let place = LOOKS.acquire().await.ok();
                let rehearsal = Box::pin(self.effectors.rehearse(&plan, &specs)).await;
                drop(place);
                EventKind::Rehearsed { incident, plan: plan.identity(), rehearsal }
            }
            Effect::Execute(execute) => {
                let outcome = Box::pin(self.execute(&execute, launch.permit, &specs)).await;
                let Execute { incident, plan, step, direction, run, .. } = execute;
                tracing::info!(%incident, step, ?outcome, "step ended");
                EventKind::Executed { incident, plan, step, direction, run, outcome }
            }
            Effect::Probe { incident, probe, indicator, subject, owner, since } => {
                let whom = Whom { subject: &subject, owner: &owner };
                let reading = Box::pin(self.boards.measure(&indicator, whom, Some(since))).await;
                EventKind::Probed { incident, probe, reading }
            }
            Effect::Notify { sentence, incident, step } => {
                let place = NEWS.acquire().await.ok();
                let outcome = self.notifier.notify(&sentence, &incident).await;
                drop(place);
                EventKind::Notified { incident: incident.id.clone(), step, outcome }
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
            Ok(()) => {
                let _place = LOOKS.acquire().await.ok();
                self.effectors.inspect(inspect).await
            }
            // What a half-read store does not hold is not known to be absent: nothing is known then.
            Err(why) => {
                let missing = inspect.needs.iter().map(|need| (need.clone(), why.clone())).collect();
                return Findings { missing, ..Findings::default() };
            }
        };
        if findings.gone {
            return findings;
        }
        if self.boards.readable().is_none() {
            // No Prometheus is configured: waiting for it would only delay the news.
            findings.hopeless.insert("traffic".to_owned());
        }
        let unread = inspect.indicators.iter().filter(|indicator| !self.boards.has_source(indicator));
        findings.hopeless.extend(unread.cloned());
        // At once, because a Prometheus that hangs costs each of them its whole time limit.
        let wanted = inspect.needs.iter().any(|need| need == "traffic");
        let traffic = async { if wanted { Some(self.boards.traffic(&inspect.subject).await) } else { None } };
        let measure = |indicator: &String| {
            let indicator = indicator.clone();
            let whom = Whom { subject: &inspect.subject, owner: &inspect.owner };
            async move { (indicator.clone(), self.boards.measure(&indicator, whom, None).await) }
        };
        let measured = futures::future::join_all(inspect.indicators.iter().map(measure));
        let (traffic, measured) = futures::join!(traffic, measured);
        match traffic {
            Some(Ok(traffic)) => findings.facts.traffic = Some(traffic),
            Some(Err(why)) => {
                findings.missing.insert("traffic".to_owned(), why);
            }
            None => {}
        }
        findings.indicators.extend(measured);
        findings
    }
}

fn specs(blobs: &[Blob]) -> Specs {
    let read = |blob: &Blob| Some((blob.digest, serde_json::from_slice(&blob.bytes).ok()?));
    blobs.iter().filter_map(read).collect::<BTreeMap<_, _>>()
}
