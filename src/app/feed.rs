//! What the driver is fed from its start on: the first records of a run, and what the watches see.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::driver::Input;
use crate::cluster::{Cluster, Seen};
use crate::model::event::EventKind;
use crate::model::verdict::Mode;
use crate::rules::RuleFiles;

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
                Seen::Gone(subject) => Input::event(EventKind::RouteGone { subject }),
            };
            if sources.send(input).await.is_err() {
                return;
            }
        }
    });
}
