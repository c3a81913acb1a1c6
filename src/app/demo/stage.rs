//! The demo's play: one fault after the other, each told to its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use super::heard::{Case, Heard, Played, Role};
use crate::api::Agent as _;
use crate::app::agent::Running;
use crate::app::screen::Screen;
use crate::app::story::Line;
use crate::clock::Clock;
use crate::model::history::{Revision, Standing};
use crate::model::incident::IncidentId;
use crate::sim::{Fault, Injected, Sim, hurry, watch};

/// Where the play takes place.
pub(super) struct Stage<'a> {
    pub(super) agent: &'a Running,
    pub(super) sim: &'a Arc<Sim>,
    pub(super) heard: &'a Arc<Mutex<Heard>>,
    pub(super) screen: Screen,
    pub(super) clock: Clock,
}

/// How long one fault may take: longer than the longest deadline on its way.
const LONGEST_S: u64 = 900;

impl Stage<'_> {
    /// Four faults that are healed, one refusal, one act that is taken back.
    pub(super) async fn play(&mut self) -> anyhow::Result<Vec<Played>> {
        self.agent.cluster.wait_synced().await;
        self.until("the route of cart proves itself", Fault::BadRoute, async |stage: &Self| {
            stage.proven().await
        })
        .await?;
        let mut played = Vec::new();
        played.push(self.one(Fault::HungProxy, Role::Cure).await?);
        // The same proxy hangs again within minutes: a second restart is refused.
        played.push(self.one(Fault::HungProxy, Role::Refusal).await?);
        // People were told; somebody looks after it.
        self.sim.lift(Fault::HungProxy);
        played.push(self.one(Fault::BadRoute, Role::Cure).await?);
        played.push(self.one(Fault::ExpiringCertificate, Role::Cure).await?);
        let shed = self.one(Fault::Overload, Role::Cure).await?;
        let id = shed.incident.clone();
        played.push(shed);
        // Ten minutes in which nothing happens: the limits are taken back at their end.
        hurry();
        self.until("the limits are taken back", Fault::Overload, async |stage: &Self| {
            Ok(stage.case(&id).is_some_and(|case| case.is_over()))
        })
        .await?;
        watch();
        self.sim.let_nothing_help();
        played.push(self.one(Fault::BadRoute, Role::Undo).await?);
        self.sim.lift(Fault::NotHelping);
        Ok(played)
    }

    /// Lets one fault happen and waits until its story is told.
    async fn one(&mut self, fault: Fault, role: Role) -> anyhow::Result<Played> {
        let injected = self.sim.inject(fault);
        self.heard().lines.push((injected.at, injected_line(fault, role, &injected)));
        let told = format!("{} is told to its end", fault.name());
        self.until(&told, fault, async |stage: &Self| {
            let heard = stage.heard();
            let found = heard.since(&injected.subject, injected.at);
            Ok(found.is_some_and(|(_, case)| case.is_told()))
        })
        .await?;
        let incident = self.heard().since(&injected.subject, injected.at).map(|(id, _)| id.clone());
        let incident = incident.context("no incident was opened")?;
        Ok(Played { fault, injected, incident, role })
    }

    /// Shows what happens, second by second, until something is so.
    async fn until(
        &mut self,
        what: &str,
        fault: Fault,
        so: impl AsyncFn(&Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        for _ in 0..LONGEST_S {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let ill = 1.0 - self.sim.health(fault);
            let lines = self.heard().lines.clone();
            self.screen.show(&lines, (ill, shown(fault)), self.clock.now());
            if so(self).await? {
                return Ok(());
            }
        }
        anyhow::bail!("{what}: not within {LONGEST_S} s")
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn case(&self, id: &IncidentId) -> Option<Case> {
        self.heard().cases.get(id).cloned()
    }

    async fn proven(&self) -> anyhow::Result<bool> {
        let history = self.agent.history().await.map_err(|refusal| anyhow::anyhow!(refusal.message))?;
        let routes = history["routes"].as_array().cloned().unwrap_or_default();
        let cart = routes
            .iter()
            .find(|route| route["subject"]["name"] == "cart" && route["subject"]["kind"] == "VirtualService");
        let revisions = cart.map(|route| route["revisions"].clone()).unwrap_or_default();
        let revisions: Vec<Revision> = serde_json::from_value(revisions).unwrap_or_default();
        Ok(revisions.iter().any(|revision| matches!(revision.standing, Standing::Good { .. })))
    }
}

/// What the chart shows while a fault is played.
fn shown(fault: Fault) -> &'static str {
    match fault {
        Fault::BadRoute => "failing requests of shop/cart",
        Fault::Overload => "failing requests of shop/catalog that were let in",
        Fault::ExpiringCertificate => "spent life of the gateway's certificate",
        Fault::HungProxy | Fault::NotHelping | Fault::RejectedConfiguration => "ill proxies",
        Fault::ControlPlaneDown => "replicas of istiod that are down",
    }
}

fn injected_line(fault: Fault, role: Role, injected: &Injected) -> Line {
    let subject = &injected.subject;
    let text = match (fault, role) {
        (Fault::BadRoute, Role::Undo) => {
            format!("somebody sends 60 % of {subject} to a broken build, and this time nothing helps")
        }
        (Fault::BadRoute, Role::Cure | Role::Refusal) => {
            format!("somebody sends 60 % of {subject} to a broken build")
        }
        (Fault::HungProxy, Role::Refusal) => format!("the proxy of {subject} hangs once more"),
        (Fault::HungProxy, Role::Cure | Role::Undo) => format!("the proxy of {subject} hangs"),
        (Fault::Overload, _) => format!("three times as many requests as usual come for {subject}"),
        (Fault::ExpiringCertificate, _) => format!("{subject} was not renewed in time"),
        (Fault::RejectedConfiguration | Fault::ControlPlaneDown | Fault::NotHelping, _) => {
            subject.to_string()
        }
    };
    Line { word: "fault", text: format!("{}: {text}", fault.name()) }
}
