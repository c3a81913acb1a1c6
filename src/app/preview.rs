//! `meshmend plan`: what would be done about a signal, up to the gate and never through it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;

use super::intake;
use super::mesh;
use super::outbox::Outbox;
use super::queue::Launch;
use super::view;
use crate::clock::Clock;
use crate::cluster::Access;
use crate::config::{Config, Unusable};
use crate::effectors::Notifier;
use crate::engine::{State, apply, decide, effects};
use crate::journal::Reader;
use crate::model::change::Change;
use crate::model::effect::Effect;
use crate::model::event::{Event, EventKind};
use crate::model::incident::{Incident, IncidentId, Phase};
use crate::model::record::Blob;
use crate::model::signal::Signal;
use crate::rules::Rules;

/// Plans for a signal on the configured cluster. Nothing is written, not even a record.
///
/// # Errors
/// The signal, the cluster or the rules cannot be read.
pub async fn plan(
    config: &Config,
    access: &Access,
    signal: &Path,
    rules: Arc<Rules>,
) -> anyhow::Result<Arc<Incident>> {
    let unusable = |what: &str| Unusable(format!("{} {what}", signal.display()));
    let text = std::fs::read_to_string(signal).with_context(|| unusable("cannot be read"))?;
    let signal: Signal = serde_json::from_str(&text).with_context(|| unusable("is not a signal"))?;
    let clock = Clock::system(None);
    let cluster = view::open(config, access).await?;
    let here = intake::Here { cluster: &cluster, name: config.cluster.as_deref(), now: clock.elsewhere() };
    let taken =
        intake::signals(vec![signal], "plan", &here).map_err(|refusal| anyhow::anyhow!(refusal.message))?;

    let boards = mesh::boards(config, &cluster, &rules, clock)?;
    let (results, _unused) = mpsc::unbounded_channel();
    let outbox = Outbox {
        effectors: mesh::effectors(&cluster, &boards, config, clock),
        boards,
        notifier: Notifier::default(),
        results,
        running: tokio_util::task::TaskTracker::new(),
    };
    let Some(signal) = taken.into_iter().next() else { anyhow::bail!("the file holds no signal") };
    let state = remembered(config)?.as_if_new(&signal);
    let mut planning = Planning { state, rules, clock, journal: config.journal.clone() };
    let opened = planning.settle(&outbox, EventKind::Signal { signal }).await;
    // What could not be read is tried again, as the agent would.
    while let Some(due) = opened.as_ref().and_then(|id| planning.state.incidents.get(id)?.inspect_at) {
        tokio::time::sleep(clock.until(due)).await;
        planning.settle(&outbox, EventKind::Tick).await;
    }
    let found = opened.and_then(|id| planning.state.incidents.remove(&id));
    found.context("a signal that is resolved starts nothing; send a firing one")
}

/// What the journal knows, without locking it; nothing where there is none.
fn remembered(config: &Config) -> anyhow::Result<State> {
    let mut state = State::default();
    if config.journal.is_file() {
        let reader = Reader::open(&config.journal)?;
        reader.read(1, &mut |record, _| {
            record.changes.iter().for_each(|change| apply(&mut state, record.at, change));
            std::ops::ControlFlow::Continue(())
        })?;
    } else {
        state.journal = "plan".to_owned();
    }
    Ok(state)
}

struct Planning {
    state: State,
    rules: Arc<Rules>,
    clock: Clock,
    journal: std::path::PathBuf,
}

impl Planning {
    /// Decides an event and all that follows from it, until nothing more is asked for; the first case that
    /// was opened.
    async fn settle(&mut self, outbox: &Outbox, first: EventKind) -> Option<IncidentId> {
        let (mut events, mut opened) = (vec![first], None);
        while let Some(kind) = events.pop() {
            let (launches, new) = self.step(kind);
            opened = opened.or(new);
            for launch in launches {
                events.push(outbox.perform(launch).await);
            }
        }
        opened
    }

    /// Decides one event on the scratch state; only looks and dry runs come out of it, and the case that
    /// was opened, if one was.
    fn step(&mut self, kind: EventKind) -> (Vec<Launch>, Option<IncidentId>) {
        let event = Event { at: self.clock.now(), kind };
        let (mut launches, mut opened) = (Vec::new(), None);
        for change in decide(&self.state, &self.rules, &event) {
            apply(&mut self.state, event.at, &change);
            if let Change::Opened { incident, .. } = &change {
                opened = Some(incident.clone());
            }
            for effect in effects(&self.state, &change) {
                if let Effect::Inspect(_) | Effect::Rehearse { .. } = effect {
                    let blobs = self.documents(&effect);
                    launches.push(Launch { effect, permit: None, blobs });
                }
            }
        }
        (launches, opened)
    }

    fn documents(&self, effect: &Effect) -> Vec<Blob> {
        let Effect::Rehearse { plan, .. } = effect else { return Vec::new() };
        let Ok(reader) = Reader::open(&self.journal) else { return Vec::new() };
        let digests = plan.steps.iter().flat_map(|step| step.blobs());
        digests
            .filter_map(|digest| Some(Blob { digest, bytes: reader.blob(&digest).ok().flatten()? }))
            .collect()
    }
}

/// Whether the gate would let the plan pass now.
#[must_use]
pub fn passes(incident: &Incident) -> bool {
    incident.phase == Phase::Executing
}
