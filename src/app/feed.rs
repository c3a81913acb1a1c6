//! What the driver is fed from its start on: the first records of a run, and what the watches see.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::queue::Input;
use crate::clock::Clock;
use crate::cluster::{Cluster, Seen};
use crate::model::event::EventKind;
use crate::model::subject::Subject;
use crate::model::verdict::Mode;
use crate::rules::RuleFiles;

/// A wall clock that is off by more than this against the monotonic one has jumped.
const JUMP_S: i64 = 60;

/// The first two records of a run. The rules come first: what is taken up again after a restart is already
/// decided by the new ones, and a replay must know them by then.
pub fn first_records(
    results: &mpsc::UnboundedSender<Input>,
    files: &RuleFiles,
    cap: Option<Mode>,
    journal: String,
) {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let rules = EventKind::RulesLoaded { rules: files.loaded(cap) };
    results.send(Input::Events { events: vec![rules], blobs: files.blobs(), reply: None }).ok();
    results.send(Input::event(EventKind::Started { journal, version })).ok();
}

/// Starts the watches and hands what they see to the driver.
pub fn watch(cluster: &Arc<Cluster>, sources: &mpsc::Sender<Input>) {
    let (seen, mut news) = mpsc::channel(256);
    for watch in cluster.watches(&seen) {
        tokio::spawn(watch);
    }
    let sources = sources.clone();
    tokio::spawn(async move {
        while let Some(seen) = news.recv().await {
            let input = match seen {
                Seen::Revision(revision, blob) => Input::Events {
                    events: vec![EventKind::RevisionSeen { revision }],
                    blobs: vec![blob],
                    reply: None,
                },
                Seen::Marked(marked) => Input::event(EventKind::MarkSeen { marked: Box::new(marked) }),
                Seen::Unmarked(subject) => Input::event(EventKind::MarkGone { subject }),
                Seen::Gone(subject) => Input::event(EventKind::RouteGone { subject }),
                Seen::Vanished(subject) => Input::event(EventKind::SubjectGone { subject }),
            };
            if sources.send(input).await.is_err() {
                return;
            }
        }
    });
}

/// Tells of the routes, and of the subjects of open cases, that vanished while nobody looked, once the first
/// lists are there.
pub fn vanished(known: Vec<Subject>, cluster: &Arc<Cluster>, sources: &mpsc::Sender<Input>) {
    let (cluster, sources) = (Arc::clone(cluster), sources.clone());
    tokio::spawn(async move {
        cluster.wait_synced().await;
        for event in known.into_iter().filter_map(|subject| absent(&cluster, subject)) {
            if sources.send(Input::event(event)).await.is_err() {
                return;
            }
        }
    });
}

/// That a subject is surely not there any more. Where its watch is not whole nobody knows.
fn absent(cluster: &Cluster, subject: Subject) -> Option<EventKind> {
    if subject.kind == "VirtualService" {
        return cluster.route(&subject).is_none().then_some(EventKind::RouteGone { subject });
    }
    cluster.is_absent(&subject).then_some(EventKind::SubjectGone { subject })
}

/// Watches for jumps of the wall clock against engine time, until the driver is gone.
pub async fn watch_wall_clock(clock: Clock, results: mpsc::UnboundedSender<Input>) {
    let offset = || Clock::wall().duration_since(clock.now()).as_secs();
    let mut known = offset();
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let now = offset();
        let seconds = now - known;
        if seconds.abs() > JUMP_S {
            known = now;
            tracing::warn!(seconds, "wall clock jumped; acts wait for the next evaluation");
            if results.send(Input::event(EventKind::ClockJumped { seconds })).is_err() {
                return;
            }
        }
    }
}
