//! The alert map: names and labels of alerts to symptoms and the objects they are about.

use std::collections::BTreeMap;

use super::glob::Glob;
use super::note::Note;
use crate::model::signal::Symptom;
use crate::model::subject::Subject;
use crate::yaml::{Faults, Node, header};

/// How alerts become signals.
#[derive(Clone, Debug, Default)]
pub struct AlertMap {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    names: Vec<Glob>,
    labels: Vec<(String, String)>,
    symptom: Symptom,
    subject: Option<Written>,
}

/// Which labels name the subject, where an entry says it.
#[derive(Clone, Debug)]
struct Written {
    group: String,
    kind: String,
    namespace: String,
    name: String,
}

/// What an alert means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// A symptom of something named.
    Known {
        /// What is wrong.
        symptom: Symptom,
        /// What the labels name. It still has to exist in our own cache.
        named: Named,
    },
    /// Nothing we know; people are told.
    Unmapped {
        /// Namespace, where a label names one.
        namespace: Option<String>,
        /// Why.
        why: String,
    },
}

/// What the labels of an alert name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// An object.
    Object(Subject),
    /// A host, fully qualified.
    Host(String),
    /// A workload.
    Workload {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
    },
    /// Only a namespace.
    Namespace(String),
}

impl AlertMap {
    /// Reads the map; its mistakes become notes.
    pub(super) fn read(file: &str, root: &Node, notes: &mut Vec<Note>) -> Self {
        let mut faults = Faults::default();
        let top = root.fields(&["apiVersion", "kind", "alerts"], &[], &mut faults);
        header(top, root, "AlertMap", &mut faults);
        let items =
            top.need("alerts", root, &mut faults).map(|node| node.items(&mut faults)).unwrap_or_default();
        let entries = items.into_iter().filter_map(|item| entry(item, &mut faults)).collect();
        notes.extend(Note::faults(file, faults.0));
        Self { entries }
    }

    /// What an alert of this name with these labels means. The first entry that fits counts.
    #[must_use]
    pub fn map(&self, alertname: &str, labels: &BTreeMap<String, String>) -> Mapped {
        let namespace = || labels.get("namespace").filter(|text| !text.is_empty()).cloned();
        let fitting = self.entries.iter().find(|entry| {
            entry.names.iter().any(|glob| glob.matches(alertname))
                && entry.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        });
        let Some(entry) = fitting else {
            let why = format!("no entry of the alert map names {alertname}");
            return Mapped::Unmapped { namespace: namespace(), why };
        };
        match named(entry, labels) {
            Some(named) => Mapped::Known { symptom: entry.symptom.clone(), named },
            None => {
                let why = format!("the labels of {alertname} do not say what it is about");
                Mapped::Unmapped { namespace: namespace(), why }
            }
        }
    }
}

fn named(entry: &Entry, labels: &BTreeMap<String, String>) -> Option<Named> {
    let label = |key: &str| labels.get(key).filter(|text| !text.is_empty() && *text != "unknown").cloned();
    if let Some(written) = &entry.subject {
        let (namespace, name) = (label(&written.namespace)?, label(&written.name)?);
        return Some(Named::Object(Subject::new(&written.group, &written.kind, &namespace, &name)));
    }
    if let Some(host) = label("destination_service") {
        return Some(Named::Host(host));
    }
    if let (Some(name), Some(namespace)) =
        (label("destination_workload"), label("destination_workload_namespace"))
    {
        return Some(Named::Workload { namespace, name });
    }
    if let (Some(namespace), Some(pod)) = (label("namespace"), label("pod")) {
        return Some(Named::Object(Subject::new("", "Pod", &namespace, &pod)));
    }
    label("namespace").map(Named::Namespace)
}

fn entry(node: &Node, faults: &mut Faults) -> Option<Entry> {
    let fields = node.fields(&["names", "labels", "symptom", "subject"], &[], faults);
    let names = fields.need("names", node, faults).and_then(|node| node.texts(faults));
    let symptom = fields.need("symptom", node, faults).and_then(|node| {
        let text = node.text(faults)?;
        text.parse().map_err(|why: String| faults.add(node, why)).ok()
    });
    let labels = match fields.get("labels").map(|node| (node, &node.value)) {
        Some((_, crate::yaml::Value::Map(entries))) => {
            entries.iter().filter_map(|(key, node)| Some((key.clone(), node.text(faults)?))).collect()
        }
        Some((node, _)) => {
            faults.add(node, "a map of labels is expected");
            Vec::new()
        }
        None => Vec::new(),
    };
    let subject = fields.get("subject").and_then(|node| subject(node, faults));
    Some(Entry {
        names: names?.iter().map(|name| Glob::new(name)).collect(),
        labels,
        symptom: symptom?,
        subject,
    })
}

fn subject(node: &Node, faults: &mut Faults) -> Option<Written> {
    let fields = node.fields(&["group", "kind", "namespaceLabel", "nameLabel"], &[], faults);
    let mut text = |key: &str| fields.need(key, node, faults).and_then(|node| node.text(faults));
    let (kind, namespace, name) = (text("kind"), text("namespaceLabel"), text("nameLabel"));
    let group = fields.get("group").and_then(|node| node.text(faults)).unwrap_or_default();
    Some(Written { group, kind: kind?, namespace: namespace?, name: name? })
}
