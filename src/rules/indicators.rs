//! The catalogue of indicators: what is measured, how it is read, and when it is a symptom.

use super::note::Note;
use crate::model::signal::Symptom;
use crate::yaml::{Faults, Node, header};

/// All indicators.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    all: Vec<Indicator>,
}

/// One indicator.
#[derive(Clone, Debug, PartialEq)]
pub struct Indicator {
    /// Id, for instance `traffic.route_error_rate`.
    pub id: String,
    /// Unit of its value, for people.
    pub unit: String,
    /// Where the bands begin.
    pub bands: Bands,
    /// Below this many samples its level is unknown.
    pub min_samples: f64,
    /// Seconds a reading looks back.
    pub window_s: u64,
    /// How to read it.
    pub queries: Queries,
    /// When it is a symptom; `None`: never by itself.
    pub trigger: Option<Trigger>,
}

/// Bounds; a value exactly on one belongs to the worse band. Higher is worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bands {
    /// From here on: warning.
    pub warning: f64,
    /// From here on: critical.
    pub critical: f64,
}

/// PromQL templates by destination service; `$hosts` and `$window` are filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queries {
    /// Samples in the window.
    pub samples: String,
    /// Bad ones among them.
    pub bad: String,
}

/// When an indicator is a symptom: looser than its bands, with more samples and for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// The symptom.
    pub symptom: Symptom,
    /// From this value on.
    pub above: f64,
    /// With at least this many samples.
    pub min_samples: f64,
    /// For this many seconds.
    pub hold_s: u64,
}

impl Catalogue {
    /// Reads the catalogue; its mistakes become notes.
    pub(super) fn read(file: &str, root: &Node, notes: &mut Vec<Note>) -> Self {
        let mut faults = Faults::default();
        let top = root.fields(&["apiVersion", "kind", "indicators"], &[], &mut faults);
        header(top, root, "Indicators", &mut faults);
        let items = top.need("indicators", root, &mut faults).map(|node| node.items(&mut faults));
        let mut all: Vec<Indicator> = Vec::new();
        for item in items.unwrap_or_default() {
            let Some(indicator) = indicator(item, &mut faults) else { continue };
            if all.iter().any(|known| known.id == indicator.id) {
                faults.add(item, format!("the indicator {} stands here twice", indicator.id));
            }
            all.push(indicator);
        }
        notes.extend(Note::faults(file, faults.0));
        Self { all }
    }

    /// An indicator by its id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Indicator> {
        self.all.iter().find(|indicator| indicator.id == id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Indicator> {
        self.all.iter()
    }
}

impl Queries {
    /// The two queries for these hosts over this window: samples, and bad ones among them.
    #[must_use]
    pub fn fill(&self, hosts: &[String], window_s: u64) -> (String, String) {
        let hosts: Vec<String> = hosts.iter().map(|host| escape(host)).collect();
        let fill = |template: &str| {
            template.replace("$hosts", &hosts.join("|")).replace("$window", &format!("{window_s}s"))
        };
        (fill(&self.samples), fill(&self.bad))
    }
}

/// A host as part of a regular expression inside a PromQL string: anything but letters, digits and `-`
/// is escaped, so that a strange host can select nothing else than itself. Quotes cannot occur in what
/// is left unescaped.
fn escape(host: &str) -> String {
    let mut out = String::with_capacity(host.len() + 8);
    for c in host.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => out.push(c),
            '.' => out.push_str("\\\\."),
            _ => out.push_str("[^\\\\s\\\\S]"),
        }
    }
    out
}

fn indicator(node: &Node, faults: &mut Faults) -> Option<Indicator> {
    let known = ["id", "unit", "bands", "minSamples", "window", "prometheus", "trigger"];
    let fields = node.fields(&known, &[], faults);
    let id = fields.need("id", node, faults).and_then(|node| node.text(faults));
    let unit = fields.need("unit", node, faults).and_then(|node| node.text(faults));
    let bands = fields.need("bands", node, faults).and_then(|node| bands(node, faults));
    let min_samples = fields.need("minSamples", node, faults).and_then(|node| node.whole(1, faults));
    let window_s = fields.need("window", node, faults).and_then(|node| node.seconds(faults));
    let queries = fields.need("prometheus", node, faults).and_then(|node| {
        let parts = node.fields(&["samples", "bad"], &[], faults);
        let samples = parts.need("samples", node, faults).and_then(|node| template(node, faults));
        let bad = parts.need("bad", node, faults).and_then(|node| template(node, faults));
        Some(Queries { samples: samples?, bad: bad? })
    });
    let trigger = fields.get("trigger").and_then(|node| trigger(node, faults));
    Some(Indicator {
        id: id?,
        unit: unit?,
        bands: bands?,
        min_samples: f64::from(min_samples?),
        window_s: window_s?,
        queries: queries?,
        trigger,
    })
}

fn template(node: &Node, faults: &mut Faults) -> Option<String> {
    let text = node.text(faults)?;
    for name in ["$hosts", "$window"] {
        if !text.contains(name) {
            faults.add(node, format!("the query does not contain {name}"));
        }
    }
    Some(text)
}

fn bands(node: &Node, faults: &mut Faults) -> Option<Bands> {
    let parts = node.fields(&["warning", "critical"], &[], faults);
    let warning = parts.need("warning", node, faults).and_then(|node| node.number(faults))?;
    let critical = parts.need("critical", node, faults).and_then(|node| node.number(faults))?;
    if warning > critical {
        faults.add(node, "warning must not be above critical: higher is worse");
    }
    Some(Bands { warning, critical })
}

fn trigger(node: &Node, faults: &mut Faults) -> Option<Trigger> {
    let parts = node.fields(&["symptom", "above", "minSamples", "hold"], &[], faults);
    let symptom = parts.need("symptom", node, faults).and_then(|node| {
        let text = node.text(faults)?;
        text.parse().map_err(|why: String| faults.add(node, why)).ok()
    });
    let above = parts.need("above", node, faults).and_then(|node| node.number(faults));
    let min_samples = parts.need("minSamples", node, faults).and_then(|node| node.whole(1, faults));
    let hold_s = parts.need("hold", node, faults).and_then(|node| node.seconds(faults));
    Some(Trigger { symptom: symptom?, above: above?, min_samples: f64::from(min_samples?), hold_s: hold_s? })
}
