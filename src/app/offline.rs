//! Offline work on a journal: replay its decisions, explain one incident.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::engine::{State, apply, decide};
use crate::journal::Reader;
use crate::model::change::Change;
use crate::model::digest::Digest;
use crate::model::event::{EventKind, RulesLoaded};
use crate::model::incident::{Incident, IncidentId};
use crate::rules::{RuleFiles, Rules};

/// What a replay found.
#[derive(Clone, Debug, Serialize)]
pub struct Replayed {
    /// Records compared.
    pub records: u64,
    /// Decisions that differ.
    pub differences: Vec<Difference>,
}

/// One decision that would be another one today.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// Record.
    pub seq: u64,
    /// Incident, where the record names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// Kind of the event.
    pub kind: String,
    /// What was decided.
    pub recorded: Vec<Change>,
    /// What would be decided.
    pub decided: Vec<Change>,
}

/// Decides every recorded event again, with the rules the journal names or with these folders instead,
/// and compares. The recorded changes are folded either way, so that one difference is one difference.
///
/// # Errors
/// The journal or the rules cannot be read.
pub fn replay(journal: &Path, playbooks: Option<&Path>, policies: Option<&Path>) -> anyhow::Result<Replayed> {
    let reader = Reader::open(journal)?;
    let overridden = playbooks.is_some() || policies.is_some();
    let mut state = State::default();
    let mut rules: Option<Rules> = None;
    let mut found = Replayed { records: 0, differences: Vec::new() };
    let mut failed = None;
    reader.read(1, &mut |record, _| {
        if let EventKind::RulesLoaded { rules: loaded } = &record.event.kind {
            match rules_of(&reader, loaded, playbooks, policies) {
                Ok(loaded) => rules = Some(loaded),
                Err(error) => {
                    failed = Some(
                        error.context(format!("record {}: the rules it names cannot be used", record.seq)),
                    );
                    return ControlFlow::Break(());
                }
            }
        }
        // Until the first rules are there nothing was decided by them.
        let expected_other = overridden && matches!(record.event.kind, EventKind::RulesLoaded { .. });
        if let Some(rules) = rules.as_ref().filter(|_| !expected_other) {
            let decided = decide(&state, rules, &record.event);
            if decided != record.changes {
                found.differences.push(Difference {
                    seq: record.seq,
                    incident: record.incident.clone(),
                    kind: record.kind.clone(),
                    recorded: record.changes.clone(),
                    decided,
                });
            }
        }
        record.changes.iter().for_each(|change| apply(&mut state, record.at, change));
        found.records += 1;
        ControlFlow::Continue(())
    })?;
    match failed {
        Some(error) => Err(error),
        None => Ok(found),
    }
}

fn rules_of(
    reader: &Reader,
    loaded: &RulesLoaded,
    playbooks: Option<&Path>,
    policies: Option<&Path>,
) -> anyhow::Result<Rules> {
    let text = |digest: &Digest| -> anyhow::Result<String> {
        let bytes = reader.blob(digest)?;
        let bytes = bytes.ok_or_else(|| anyhow::anyhow!("the journal does not hold {}", digest.short()))?;
        Ok(String::from_utf8(bytes)?)
    };
    let given = super::files::read(playbooks, policies)?;
    let mut files = RuleFiles::default();
    if playbooks.is_some() {
        files.playbooks = given.playbooks;
    } else {
        for (name, digest) in &loaded.playbooks {
            files.playbooks.insert(name.clone(), text(digest)?);
        }
    }
    if policies.is_some() {
        files.policies = given.policies;
    } else {
        for (name, digest) in &loaded.policies {
            files.policies.insert(name.clone(), text(digest)?);
        }
    }
    Ok(Rules::load(&files, loaded.max_mode).map_err(super::files::Mistakes)?.rules)
}

/// The incident as the journal has it at the end.
///
/// # Errors
/// The journal cannot be read, or holds no such incident.
pub fn incident(journal: &Path, id: &str) -> anyhow::Result<Arc<Incident>> {
    let reader = Reader::open(journal)?;
    let wanted = IncidentId(id.into());
    let mut state = State::default();
    let mut found = None;
    reader.read(1, &mut |record, _| {
        for change in &record.changes {
            apply(&mut state, record.at, change);
            // Ended cases leave the memory some day, so the last sight of it is kept.
            if change.incident() == Some(&wanted) {
                found = state.incidents.get(&wanted).cloned();
            }
        }
        ControlFlow::Continue(())
    })?;
    found.ok_or_else(|| {
        anyhow::anyhow!("{} holds no incident {id}; list them with: meshmend audit show", journal.display())
    })
}
