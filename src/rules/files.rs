//! Rule files: what is embedded, what was given, and the rules made of them.

use std::collections::BTreeMap;

use super::alerts::AlertMap;
use super::indicators::Catalogue;
use super::note::Note;
use super::playbooks::Playbooks;
use super::policy::Policy;
use super::ruling::Policies;
use crate::model::digest::Digest;
use crate::model::event::RulesLoaded;
use crate::model::record::Blob;
use crate::model::verdict::Mode;
use crate::yaml;

const ALERTS: &str = include_str!("../../policies/alerts.yaml");
const INDICATORS: &str = include_str!("../../policies/indicators.yaml");
const OBSERVE: &str = include_str!("../../policies/observe.yaml");
const SUGGEST: &str = include_str!("../../policies/examples/suggest.yaml");
const GATEWAY_CERTIFICATES: &str = include_str!("../../policies/examples/gateway-certificates.yaml");
const ENFORCE: &str = include_str!("../../policies/examples/enforce.yaml");
const ROLL_BACK: &str = include_str!("../../playbooks/roll-back-virtual-service.rhai");
const ROLL_BACK_RULE: &str = include_str!("../../playbooks/roll-back-destination-rule.rhai");
const RESTART: &str = include_str!("../../playbooks/restart-sidecar.rhai");
const SHED: &str = include_str!("../../playbooks/shed-with-destination-rule.rhai");
const ROTATE: &str = include_str!("../../playbooks/rotate-certificate.rhai");
const NOTIFY_ONLY: &str = include_str!("../../playbooks/notify-only.rhai");

/// Name of the file that stands in the place of the shipped indicators.
const BASE: &str = "indicators.yaml";

/// The indicator without which nothing is known about routes.
pub const ROUTE_ERRORS: &str = "traffic.route_error_rate";

/// Texts by file name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleFiles {
    /// `NAME.rhai`.
    pub playbooks: BTreeMap<String, String>,
    /// `NAME.yaml`: policies, alert maps, indicators.
    pub policies: BTreeMap<String, String>,
}

impl RuleFiles {
    /// What is shipped: the playbooks, the policy `observe`, the alert map and the indicators.
    #[must_use]
    pub fn embedded() -> Self {
        let map = |files: &[(&str, &str)]| {
            files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        Self {
            playbooks: map(&[
                ("roll-back-virtual-service.rhai", ROLL_BACK),
                ("roll-back-destination-rule.rhai", ROLL_BACK_RULE),
                ("restart-sidecar.rhai", RESTART),
                ("shed-with-destination-rule.rhai", SHED),
                ("rotate-certificate.rhai", ROTATE),
                ("notify-only.rhai", NOTIFY_ONLY),
            ]),
            policies: map(&[
                ("observe.yaml", OBSERVE),
                ("alerts.yaml", ALERTS),
                ("indicators.yaml", INDICATORS),
            ]),
        }
    }

    /// The text of an example policy: `suggest`, `enforce` or `gateway-certificates`.
    #[must_use]
    pub fn example(name: &str) -> Option<&'static str> {
        match name {
            "suggest" => Some(SUGGEST),
            "enforce" => Some(ENFORCE),
            "gateway-certificates" => Some(GATEWAY_CERTIFICATES),
            _ => None,
        }
    }

    /// The files by digest, as a record names them.
    #[must_use]
    pub fn loaded(&self, max_mode: Option<Mode>) -> RulesLoaded {
        let digests = |files: &BTreeMap<String, String>| {
            files.iter().map(|(name, text)| (name.clone(), Digest::of_bytes(text.as_bytes()))).collect()
        };
        RulesLoaded { playbooks: digests(&self.playbooks), policies: digests(&self.policies), max_mode }
    }

    /// The files as documents of the journal.
    #[must_use]
    pub fn blobs(&self) -> Vec<Blob> {
        let texts = self.playbooks.values().chain(self.policies.values());
        texts.map(|text| Blob::new(text.clone().into_bytes())).collect()
    }
}

/// Checked rules: what the engine asks.
#[derive(Debug)]
pub struct Rules {
    /// Playbooks.
    pub playbooks: Playbooks,
    /// Policies.
    pub policies: Policies,
    /// Alert map.
    pub alerts: AlertMap,
    /// Indicators.
    pub indicators: Catalogue,
    /// Digest of the files and the cap: what decided.
    pub digest: Digest,
    /// Cap of the mode from the command line.
    pub max_mode: Option<Mode>,
}

/// Rules with what is to say about them.
#[derive(Debug)]
pub struct Loaded {
    /// The rules.
    pub rules: Rules,
    /// Warnings, by file and line.
    pub warnings: Vec<Note>,
}

impl Rules {
    /// Checks all files. Where no file of kind `AlertMap` is given, the shipped one counts; so do the shipped
    /// indicators, but for `indicators.yaml` in their place, and what other files of that kind change or add.
    ///
    /// # Errors
    /// Every mistake in every file, by file and line.
    pub fn load(files: &RuleFiles, max_mode: Option<Mode>) -> Result<Loaded, Vec<Note>> {
        let mut notes = Vec::new();
        let mut written = Written::default();
        for (file, text) in &files.policies {
            written.take(file, text, &mut notes);
        }
        let shipped = |found: Option<_>, text| {
            found.or_else(|| yaml::parse(text).ok().map(|node| (String::new(), node)))
        };
        // A file of the shipped one's name stands in its place; others say what they change of it.
        let (base, changes) = written.indicators.into_iter().partition(|(file, _)| file == BASE);
        let base: Vec<(String, yaml::Node)> = base;
        let mut indicators: Vec<_> = shipped(base.into_iter().next(), INDICATORS).into_iter().collect();
        indicators.extend::<Vec<_>>(changes);
        let alerts = shipped(written.alerts, ALERTS);
        let indicators = Catalogue::read(&indicators, &mut notes);
        if indicators.get(ROUTE_ERRORS).is_none() {
            let text =
                format!("the indicator {ROUTE_ERRORS} is missing: it proves revisions and finds bad routes");
            notes.push(Note::error("indicators", 0, 0, text));
        }
        let alerts = alerts.map(|(file, node)| AlertMap::read(&file, &node, &mut notes)).unwrap_or_default();
        let playbooks = Playbooks::compile(&files.playbooks, &indicators, &mut notes);
        let policies = Policies::new(written.policies, max_mode, &mut notes);
        let loaded = files.loaded(max_mode);
        let digest = Digest::of_json(&serde_json::to_value(&loaded).unwrap_or_default());
        notes.sort();
        for note in &mut notes {
            let text = files.playbooks.get(&note.file).or_else(|| files.policies.get(&note.file));
            text.iter().for_each(|text| note.quote(text));
        }
        let (errors, warnings): (Vec<Note>, Vec<Note>) =
            notes.into_iter().partition(|note| note.severity == super::NoteSeverity::Error);
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Loaded { rules: Self { playbooks, policies, alerts, indicators, digest, max_mode }, warnings })
    }
}

#[derive(Default)]
struct Written {
    policies: Vec<Policy>,
    alerts: Option<(String, yaml::Node)>,
    indicators: Vec<(String, yaml::Node)>,
}

impl Written {
    fn take(&mut self, file: &str, text: &str, notes: &mut Vec<Note>) {
        let root = match yaml::parse(text) {
            Ok(root) => root,
            Err(fault) => return notes.push(Note::error(file, fault.line, fault.column, fault.text)),
        };
        let slot = match kind(&root) {
            "Policy" => return self.policies.extend(Policy::read(file, &root, notes)),
            "AlertMap" => &mut self.alerts,
            "Indicators" => return self.indicators.push((file.to_owned(), root)),
            _ => {
                let text = "the key kind must be Policy, AlertMap or Indicators";
                return notes.push(Note::error(file, root.line, root.column, text));
            }
        };
        if let Some((other, _)) = slot {
            let text = format!("{other} is of kind {} too; put both into one file", kind(&root));
            return notes.push(Note::error(file, root.line, root.column, text));
        }
        *slot = Some((file.to_owned(), root));
    }
}

/// The document's own word for what it is; empty where it has none.
fn kind(root: &yaml::Node) -> &str {
    let yaml::Value::Map(entries) = &root.value else { return "" };
    let written = entries.iter().find(|(key, _)| key == "kind").map(|(_, node)| &node.value);
    if let Some(yaml::Value::Text(kind)) = written { kind } else { "" }
}
