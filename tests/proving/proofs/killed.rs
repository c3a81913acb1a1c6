//! What proofs of a killed agent have in common: its way to the API server, on which a write is stopped until
//! its sender is dead, and what may become of that write.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use meshmend::clock::Clock;
use serde_json::{Value, json};

use super::shop::between;
use crate::agent::Agent;
use crate::ground::{Ground, SOON};
use crate::table::Row;
use crate::wait::{same, until};
use crate::way::Proxy;

/// What is read back after a kill waits until the last permit has run out: 27 s; then there is the act, if it
/// is still to be made, and its probe.
const RECONCILED: Duration = Duration::from_secs(150);

/// What becomes of a write whose sender is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It arrives all the same.
    Arrives,
    /// The API server never hears of it.
    IsLost,
}

/// An act that is begun: its case, where it writes, and what becomes of the write.
pub(super) struct Begun<'b> {
    /// Id of the incident.
    pub(super) id: &'b str,
    /// Path of the write.
    pub(super) path: &'b str,
    /// Its fate.
    pub(super) fate: Fate,
}

/// The way between agent and API server.
pub(super) struct Crossing<'g> {
    ground: &'g Ground,
    proxy: Proxy,
    /// When the last fault was made.
    at: Timestamp,
    /// Writes in the audit log before it.
    written: usize,
}

impl<'g> Crossing<'g> {
    /// Open.
    pub(super) async fn start(ground: &'g Ground) -> anyhow::Result<Self> {
        let proxy = Proxy::start(0, &ground.plane.url, ground.plane.http()?).await?;
        Ok(Self { ground, proxy, at: Clock::wall(), written: 0 })
    }

    /// What the agent takes for the API server.
    pub(super) fn url(&self) -> String {
        self.proxy.url.clone()
    }

    /// A fault is made now; the next write is stopped.
    pub(super) fn stop_writes(&mut self) -> anyhow::Result<()> {
        self.written = self.ground.writes()?.len();
        self.proxy.stop_writes();
        self.at = Clock::wall();
        Ok(())
    }

    /// Writes since the fault, oldest first.
    pub(super) fn written(&self) -> anyhow::Result<Vec<Value>> {
        Ok(self.ground.writes()?.into_iter().skip(self.written).collect())
    }

    /// Kills the agent (-9) while its write is on the way, lets that meet its fate, and starts the agent again.
    pub(super) async fn kill<'h>(
        &mut self,
        agent: Agent<'h>,
        begun: &Begun<'_>,
    ) -> anyhow::Result<Agent<'h>> {
        let held = self.proxy.next_held().await?;
        same("where it writes", &held.path.as_str(), &begun.path)?;
        let home = agent.home;
        agent.kill().await?;
        same("what has arrived so far", &self.written()?, &Vec::new())?;
        match begun.fate {
            Fate::Arrives => held.release(),
            Fate::IsLost => held.lose(),
        }
        self.proxy.let_writes_pass();
        if begun.fate == Fate::Arrives {
            until("it arrives", SOON, async || Ok((self.written()?.len() == 1).then_some(()))).await?;
        }
        let agent = home.start_ready().await?;
        same("the phase after the restart", &agent.incident(begun.id).await?["phase"], &json!("executing"))?;
        self.ground.note(&format!("killed and started again: {}, which {:?}", begun.path, begun.fate))?;
        Ok(agent)
    }

    /// Waits until the case is in this phase. What arrived is found done, and what was lost is found missing
    /// and made: either way it was written once, and well.
    pub(super) async fn ends(
        &self,
        agent: &Agent<'_>,
        (begun, phase): (&Begun<'_>, &str),
    ) -> anyhow::Result<Value> {
        let ended = agent.phase(begun.id, phase, RECONCILED).await?;
        let results = match begun.fate {
            Fate::Arrives => vec!["done"],
            Fate::IsLost => vec!["stale", "done"],
        };
        let steps = ended["steps"].as_array().context("an act has steps")?;
        let found: Vec<&str> = steps.iter().filter_map(|step| step["outcome"]["result"].as_str()).collect();
        same("what is known of its steps", &found, &results)?;
        let codes: Vec<Value> =
            self.written()?.iter().map(|write| write["responseStatus"]["code"].clone()).collect();
        let well = codes.iter().all(|code| *code == 200 || *code == 201);
        same("it was written once, and well", &(codes.len(), well), &(1, true))?;
        Ok(ended)
    }

    /// A row of the table about an act without traffic that is over now.
    pub(super) fn row(&self, fault: &'static str, ended: &Value) -> anyhow::Result<()> {
        let writes = self.written()?;
        let write = writes.first().context("it was written")?;
        self.ground.row(&Row {
            fault,
            detected: Some(between(self.at, &ended["opened_at"])?),
            acted: Some(between(self.at, &write["requestReceivedTimestamp"])?),
            recovered: Some(Clock::wall().duration_since(self.at).try_into()?),
            lost: None,
            writes: writes.len(),
        })
    }
}
