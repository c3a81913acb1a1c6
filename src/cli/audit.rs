//! `meshmend audit`.

use std::ops::ControlFlow;
use std::path::Path;

use serde_json::json;

use super::commands::{Export, Output};
use super::people;
use super::{FINDINGS, FINE};
use crate::app::story;
use crate::journal::{self, Documents, Reader, Signatures, Stretch, VerifyError};
use crate::model::event::EventKind;
use crate::model::record::{Draft, Record};

pub(super) fn show(journal: &Path, incident: Option<&str>, output: Output) -> anyhow::Result<u8> {
    let reader = Reader::open(journal)?;
    let mut rows = Vec::new();
    reader.read(1, &mut |record, hash| {
        if incident.is_some_and(|wanted| record.incident.as_deref() != Some(wanted)) {
            return ControlFlow::Continue(());
        }
        if output == Output::Json {
            people::say(line(&record, &hash.to_string()));
        } else {
            let at = record.at.strftime("%m-%d %H:%M:%S").to_string();
            let subject = record.incident.clone().unwrap_or_default();
            rows.push([record.seq.to_string(), at, record.kind.clone(), subject, sentence(record)]);
        }
        ControlFlow::Continue(())
    })?;
    if output == Output::Table {
        people::table(["SEQ", "AT (UTC)", "KIND", "INCIDENT", "WHAT"], &rows);
    }
    Ok(FINE)
}

fn line(record: &Record, hash: &str) -> String {
    json!({
        "seq": record.seq, "at": record.at, "kind": record.kind, "incident": record.incident,
        "event": record.event, "changes": record.changes, "prev": record.prev, "hash": hash,
    })
    .to_string()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others are told by their changes")]
fn sentence(record: Record) -> String {
    let about = match &record.event.kind {
        EventKind::Started { version, .. } => Some(format!("meshmend {version} started")),
        EventKind::RulesLoaded { rules } => {
            Some(format!("{} playbooks, {} policy files", rules.playbooks.len(), rules.policies.len()))
        }
        EventKind::RevisionSeen { revision } => {
            Some(format!("{} {} by {:?}", revision.subject, revision.spec_hash.short(), revision.manager))
        }
        EventKind::Voted { by, vote, .. } => Some(format!("{vote:?} by {by}").to_lowercase()),
        EventKind::RouteGone { subject } | EventKind::SubjectGone { subject } => {
            Some(format!("{subject} is gone"))
        }
        _ => None,
    };
    if let Some(about) = about {
        return about;
    }
    let draft = Draft { event: record.event, changes: record.changes, blobs: Vec::new() };
    story::lines(&draft)
        .into_iter()
        .last()
        .map(|line| format!("{} {}", line.word, line.text))
        .unwrap_or_default()
}

/// Writes records for others: to standard output, or with everything that proves them into a folder.
pub(super) fn export(journal: &Path, args: &Export) -> anyhow::Result<u8> {
    let Some(folder) = &args.folder else {
        let reader = Reader::open(journal)?;
        reader.read(args.from, &mut |record, hash| {
            if args.to.is_some_and(|to| record.seq > to) {
                return ControlFlow::Break(());
            }
            if args.incident.is_none() || record.incident == args.incident {
                people::say(line(&record, &hash.to_string()));
            }
            ControlFlow::Continue(())
        })?;
        return Ok(FINE);
    };
    let documents = if args.exact { Documents::Exact } else { Documents::Redacted };
    let stretch = Stretch { from: args.from, to: args.to };
    let exported = journal::export(journal, folder, stretch, documents)?;
    people::say(format!("records {} to {} of {}", exported.from, exported.head.seq, exported.journal));
    people::say(format!(
        "{} checkpoints, {} documents as they are",
        exported.checkpoints,
        exported.exact.len()
    ));
    for (digest, count) in &exported.redacted {
        people::say(format!("redacted: document {}, {count} texts", digest.short()));
    }
    people::say(
        "records go out as they are: labels of alerts stand in them, and diffs without header values",
    );
    people::say(format!("check it with: meshmend audit verify --journal {}", folder.display()));
    Ok(FINE)
}

pub(super) fn verify(
    journal: &Path,
    key: Option<&Path>,
    anchor: Option<&Path>,
    output: Output,
) -> anyhow::Result<u8> {
    match journal::verify(journal, key, anchor) {
        Ok(report) if output == Output::Json => {
            people::json(&report)?;
            Ok(FINE)
        }
        Ok(report) => {
            people::say(format!("{} records, chain unbroken", report.records));
            people::say(format!("head {} {}", report.head.seq, report.head.hash));
            match report.signatures {
                Signatures::Checked => {
                    people::say(format!("{} checkpoints, all signatures fit the key", report.checkpoints));
                    if report.signed < report.records {
                        let first = report.signed + 1;
                        people::say(format!("records {first} to {} are not signed yet", report.records));
                    }
                }
                Signatures::NotChecked(why) => people::say(format!("signatures were not checked: {why}")),
            }
            Ok(FINE)
        }
        Err(VerifyError::Broken(broken)) => {
            if output == Output::Json {
                people::json(&json!({ "broken": broken }))?;
            } else {
                people::say(format!("BROKEN at record {}: {}", broken.seq, broken.what));
            }
            Ok(FINDINGS)
        }
        Err(VerifyError::Unreadable(error)) => Err(error.into()),
    }
}
