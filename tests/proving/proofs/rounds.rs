//! One bad route after another on the same ground: each round breaks the route another way, and ends when the
//! agent has put it back with one write.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use meshmend::clock::Clock;
use serde_json::{Value, json};

use super::routing::{self, GOOD, HOST, LONG, Moment, POLICY, ROUTE, SHOP, leading, object, shorter, taken};
use crate::agent::{Agent, Home, ROLL_BACK};
use crate::ground::{Duty, Ground, SOON};
use crate::table::Row;
use crate::traffic::Load;
use crate::wait::{same, until};

/// Ground, agent and traffic, and what was there before this round.
pub(crate) struct Rounds<'g> {
    /// The ground.
    pub(crate) ground: &'g Ground,
    /// The traffic.
    pub(crate) load: Load,
    known: Vec<Value>,
    written: usize,
    count: u32,
}

/// A round that has begun.
pub(crate) struct Broken {
    /// When the route was changed.
    pub(crate) fault: Moment,
}

/// An agent with the shipped playbook of routes, its waits shortened, that comes to the API server this way.
/// Many rounds are many attempts.
pub(crate) async fn home(ground: &Ground, server: Option<String>) -> anyhow::Result<Home> {
    let waits =
        [("soak: \"5s\", within: \"2m\", hold: \"30s\"", "soak: \"1s\", within: \"20s\", hold: \"3s\"")];
    let playbooks = [("roll-back-virtual-service", shorter(ROLL_BACK, &waits)?)];
    let policy = POLICY.replace("max: 2", "max: 20");
    let duty = Duty { namespace: SHOP, playbooks: &playbooks, policy: &policy, sources: "", server };
    ground.agent(&duty).await
}

impl<'g> Rounds<'g> {
    /// Makes the good route and waits until it carries the traffic well.
    pub(crate) async fn begin(ground: &'g Ground) -> anyhow::Result<Self> {
        ground.apply_object(object(ROUTE, &leading(&GOOD))).await?;
        let load = routing::traffic(ground).await?;
        Ok(Self { ground, load, known: Vec::new(), written: 0, count: 0 })
    }

    /// Sends half of the requests to errors, each time a little less, or the agent would see somebody who
    /// takes its change back.
    pub(crate) async fn break_route(&mut self, agent: &Agent<'_>) -> anyhow::Result<Broken> {
        self.known = agent.incidents().await?.iter().map(|incident| incident["id"].clone()).collect();
        self.written = self.ground.writes()?.len();
        self.count += 1;
        let weights = [("v1", 50 + self.count), ("v2", 50 - self.count)];
        let fault = Moment::now(&self.load);
        self.ground.change(ROUTE, &json!({ "spec": leading(&weights) })).await?;
        Ok(Broken { fault })
    }

    /// The case of this round, which the agent opens by itself.
    pub(crate) async fn noticed(&self, agent: &Agent<'_>) -> anyhow::Result<String> {
        let ours = |incident: &&Value| {
            let of = (&incident["symptom"], &incident["subject"]["name"]);
            of == (&json!("traffic.route_errors"), &json!(ROUTE.3)) && !self.known.contains(&incident["id"])
        };
        until("the agent sees the errors", SOON, async || {
            let all = agent.incidents().await?;
            let id = all.iter().rfind(ours).and_then(|incident| incident["id"].as_str());
            Ok(id.map(str::to_owned))
        })
        .await
    }

    /// Writes to the API server within this round, oldest first.
    pub(crate) fn written(&self) -> anyhow::Result<Vec<Value>> {
        Ok(self.ground.writes()?.into_iter().skip(self.written).collect())
    }

    /// Waits until the incident is resolved; then the route is good again, and it was written once.
    pub(crate) async fn healed(
        &self,
        agent: &Agent<'_>,
        broken: &Broken,
        (id, fault): (&str, &'static str),
    ) -> anyhow::Result<Value> {
        let ended = agent.phase(id, "resolved", LONG).await?;
        same("the spec", &self.ground.read(ROUTE).await?["spec"], &leading(&GOOD))?;
        let writes = self.written()?;
        same("the writes of this round", &writes.len(), &1)?;
        let settled =
            broken.fault.load + *taken(&broken.fault, &writes)?.first().context("it was written")?;
        let now = self.load.now();
        let ledger = self.load.ledger().within(broken.fault.load..now);
        let last = ledger.last_bad().context("the fault is felt")?;
        ensure!(last < now, "it is over");
        self.ground.row(&Row {
            fault,
            detected: Some(broken.fault.until(&ended["opened_at"])?),
            acted: Some(settled.saturating_sub(broken.fault.load)),
            recovered: Some(last.saturating_sub(broken.fault.load)),
            lost: Some(ledger.bad()),
            writes: writes.len(),
        })?;
        self.ground.note(&format!("{fault}: healed"))?;
        Ok(ended)
    }

    /// An alert of somebody who sees the errors.
    pub(crate) async fn alert(&self, agent: &Agent<'_>) -> anyhow::Result<String> {
        let alert = json!({
            "version": "4", "groupKey": "{}", "status": "firing", "receiver": "meshmend", "externalURL": "",
            "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "truncatedAlerts": 0,
            "alerts": [{
                "status": "firing", "fingerprint": format!("c16947b2d5583c8{}", self.count),
                "startsAt": Clock::wall(), "endsAt": "0001-01-01T00:00:00Z", "annotations": {}, "generatorURL": "",
                "labels": {
                    "alertname": "IstioHigh5xxResponseRate", "severity": "critical", "destination_service": HOST,
                    "round": self.count.to_string(),
                },
            }],
        });
        agent.alert(&alert).await
    }
}

/// Waits until so much time has passed since then.
pub(crate) async fn passed(load: &Load, since: Duration, span: Duration) -> anyhow::Result<()> {
    let end = since + span;
    until(&format!("{span:?} pass"), span + SOON, async || Ok((load.now() >= end).then_some(()))).await
}
