//! All playbooks, indexed by what they listen to: ten thousand of them cost a signal as much as ten.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::constructors::On;
use super::indicators::Catalogue;
use super::note::Note;
use super::playbook::Playbook;
use super::script;
use crate::model::signal::Signal;

/// Compiled playbooks.
#[derive(Debug, Default)]
pub struct Playbooks {
    /// Best first: by priority, then by name.
    all: Vec<Playbook>,
    by_name: BTreeMap<String, usize>,
    by_symptom: BTreeMap<String, Vec<usize>>,
    by_alert: BTreeMap<String, Vec<usize>>,
}

impl Playbooks {
    /// Compiles all files; their mistakes become notes.
    pub(super) fn compile(
        files: &BTreeMap<String, String>,
        indicators: &Catalogue,
        notes: &mut Vec<Note>,
    ) -> Self {
        let engine = Arc::new(script::engine());
        let mut all: Vec<Playbook> = files
            .iter()
            .filter_map(|(file, text)| Playbook::compile(file, text, &engine, indicators, notes))
            .collect();
        all.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
        let mut playbooks = Self { all, ..Self::default() };
        for (index, playbook) in playbooks.all.iter().enumerate() {
            playbooks.by_name.insert(playbook.name.clone(), index);
            for on in &playbook.on {
                let slot = match on {
                    On::Symptom(symptom) => playbooks.by_symptom.entry(symptom.as_str().to_owned()),
                    On::Alert { name, .. } => playbooks.by_alert.entry(name.clone()),
                };
                let slot = slot.or_default();
                if slot.last() != Some(&index) {
                    slot.push(index);
                }
            }
        }
        playbooks
    }

    /// The playbooks that listen to this signal, best first. Whether they apply is asked separately.
    #[must_use]
    pub fn matching(&self, signal: &Signal) -> Vec<&Playbook> {
        let mut found: Vec<usize> = self.by_symptom.get(signal.symptom.as_str()).cloned().unwrap_or_default();
        if let Some(alert) = &signal.alert {
            let listening = self.by_alert.get(alert.as_str()).into_iter().flatten().copied();
            found.extend(listening.filter(|index| wants(&self.all[*index], alert, signal)));
        }
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|index| &self.all[index]).collect()
    }

    /// A playbook by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Playbook> {
        self.by_name.get(name).map(|index| &self.all[*index])
    }

    /// All of them, best first.
    pub fn iter(&self) -> impl Iterator<Item = &Playbook> {
        self.all.iter()
    }
}

fn wants(playbook: &Playbook, alert: &str, signal: &Signal) -> bool {
    playbook.on.iter().any(|on| match on {
        On::Alert { name, labels } => {
            name == alert && labels.iter().all(|(key, value)| signal.labels.get(key) == Some(value))
        }
        On::Symptom(_) => false,
    })
}
