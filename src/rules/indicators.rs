//! The catalogue of indicators: what is measured, how it is read, and when it is a symptom.

use super::note::Note;
use crate::model::indicator::{Level, Overflow};
use crate::model::signal::Symptom;
use crate::yaml::{Faults, Fields, Node, header};

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
    /// How to read it.
    pub reader: Reader,
    /// When it is a symptom; `None`: never by itself.
    pub trigger: Option<Trigger>,
}

/// Bounds; a value exactly on one belongs to the worse band. Which way is worse follows from their order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bands {
    /// From here on: warning.
    pub warning: f64,
    /// From here on: critical.
    pub critical: f64,
}

impl Bands {
    /// Whether lower is worse. Then a share counts the good ones, otherwise the bad ones.
    #[must_use]
    pub fn fall(&self) -> bool {
        self.critical < self.warning
    }

    /// The level of a finite value.
    #[must_use]
    pub fn level(&self, value: f64) -> Level {
        let reaches = |bound: f64| {
            if self.fall() { value <= bound } else { value >= bound }
        };
        if reaches(self.critical) {
            Level::Critical
        } else if reaches(self.warning) {
            Level::Warning
        } else {
            Level::Healthy
        }
    }
}

/// How an indicator is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reader {
    /// From Prometheus.
    Prometheus(Queries),
    /// By looking ourselves.
    Check(Check),
}

impl Reader {
    /// Name under which its readings speak as signals.
    #[must_use]
    pub fn source(&self) -> &'static str {
        match self {
            Self::Prometheus(_) => "prometheus",
            Self::Check(Check::ProxyLiveness) => "proxy_check",
            Self::Check(Check::ConfigDistribution) => "istiod",
            Self::Check(Check::ControlPlaneReady | Check::CertificateValidity) => "kubernetes",
        }
    }
}

/// What we look at ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Share of proxies that answer at their readiness port.
    ProxyLiveness,
    /// Share of the control plane's replicas that are ready.
    ControlPlaneReady,
    /// Share of a certificate's life that is left.
    CertificateValidity,
    /// Share of proxies that acknowledged what they were sent.
    ConfigDistribution,
}

impl Check {
    const ALL: [(&'static str, Self); 4] = [
        ("proxy_liveness", Self::ProxyLiveness),
        ("control_plane_ready", Self::ControlPlaneReady),
        ("certificate_validity", Self::CertificateValidity),
        ("config_distribution", Self::ConfigDistribution),
    ];

    /// Kind of the objects it looks at.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::ProxyLiveness | Self::ConfigDistribution => "Pod",
            Self::ControlPlaneReady => "Deployment",
            Self::CertificateValidity => "Certificate",
        }
    }
}

/// PromQL templates by destination service; `$hosts` and `$window` are filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queries {
    /// Seconds a reading looks back.
    pub window_s: u64,
    /// Samples in the window.
    pub samples: String,
    /// Bad ones among them.
    pub bad: String,
    /// Envoy's own counters of what a full pool turned away, where proxies export them; most do not.
    pub overflow: Option<Overflow<String>>,
}

/// When an indicator is a symptom: looser than its bands, with more samples and for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// The symptom.
    pub symptom: Symptom,
    /// Kind of the objects that have it.
    pub of: String,
    /// From which value on.
    pub bound: Bound,
    /// With at least this many samples.
    pub min_samples: f64,
    /// For this many seconds.
    pub hold_s: u64,
}

/// From which value on a trigger is met; the value itself meets it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// This and higher.
    Above(f64),
    /// This and lower.
    Below(f64),
}

impl Bound {
    /// Whether a finite value meets it.
    #[must_use]
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::Above(bound) => value >= bound,
            Self::Below(bound) => value <= bound,
        }
    }
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
        let fill = |template: &str| Self::fill_in(template, hosts, window_s);
        (fill(&self.samples), fill(&self.bad))
    }

    /// A template for these hosts over this window.
    #[must_use]
    pub fn fill_in(template: &str, hosts: &[String], window_s: u64) -> String {
        let hosts: Vec<String> = hosts.iter().map(|host| escape(host)).collect();
        template.replace("$hosts", &hosts.join("|")).replace("$window", &format!("{window_s}s"))
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
    let known = ["id", "unit", "bands", "minSamples", "window", "prometheus", "check", "trigger"];
    let fields = node.fields(&known, &[], faults);
    let id = fields.need("id", node, faults).and_then(|node| node.text(faults));
    let unit = fields.need("unit", node, faults).and_then(|node| node.text(faults));
    let bands = fields.need("bands", node, faults).and_then(|node| bands(node, faults));
    let min_samples = fields.need("minSamples", node, faults).and_then(|node| node.whole(1, faults));
    let reader = reader(fields, node, faults);
    let trigger = match (fields.get("trigger"), &reader) {
        (Some(node), Some(reader)) => trigger(node, reader, faults),
        (None, _) | (_, None) => None,
    };
    Some(Indicator {
        id: id?,
        unit: unit?,
        bands: bands?,
        min_samples: f64::from(min_samples?),
        reader: reader?,
        trigger,
    })
}

/// One way of reading, and only one.
fn reader(fields: Fields<'_>, node: &Node, faults: &mut Faults) -> Option<Reader> {
    match (fields.get("prometheus"), fields.get("check")) {
        (Some(queries), None) => {
            let window_s = fields.need("window", node, faults).and_then(|node| node.seconds(faults));
            let parts = queries.fields(&["samples", "bad", "overflow"], &[], faults);
            let samples = parts.need("samples", queries, faults).and_then(|node| template(node, faults));
            let bad = parts.need("bad", queries, faults).and_then(|node| template(node, faults));
            let overflow = parts.get("overflow").map(|node| overflow(node, faults));
            let overflow = overflow.map_or(Some(None), |read| read.map(Some))?;
            let (window_s, samples, bad) = (window_s?, samples?, bad?);
            Some(Reader::Prometheus(Queries { window_s, samples, bad, overflow }))
        }
        (None, Some(check)) => {
            if let Some(window) = fields.get("window") {
                faults.add(window, "a check looks at now: it has no window");
            }
            let text = check.text(faults)?;
            let found = Check::ALL.into_iter().find(|(name, _)| *name == text);
            if found.is_none() {
                let known = Check::ALL.map(|(name, _)| name).join(", ");
                faults.add(check, format!("no check is called {text:?}; known: {known}"));
            }
            found.map(|(_, check)| Reader::Check(check))
        }
        (Some(_), Some(check)) => {
            faults.add(check, "an indicator is read by prometheus or by check, not by both");
            None
        }
        (None, None) => {
            faults.add(node, "how is it read? prometheus: { samples, bad } or check: NAME is missing");
            None
        }
    }
}

fn overflow(node: &Node, faults: &mut Faults) -> Option<Overflow<String>> {
    let parts = node.fields(&["pending", "active"], &[], faults);
    let pending = parts.need("pending", node, faults).and_then(|node| template(node, faults));
    let active = parts.need("active", node, faults).and_then(|node| template(node, faults));
    Some(Overflow { pending: pending?, active: active? })
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
    Some(Bands { warning, critical })
}

/// Kinds whose hosts Prometheus is asked about on its own account.
const POLLED: [&str; 2] = ["VirtualService", "Service"];

fn trigger(node: &Node, reader: &Reader, faults: &mut Faults) -> Option<Trigger> {
    let parts = node.fields(&["symptom", "of", "above", "below", "minSamples", "hold"], &[], faults);
    let symptom = parts.need("symptom", node, faults).and_then(|node| {
        let text = node.text(faults)?;
        text.parse().map_err(|why: String| faults.add(node, why)).ok()
    });
    let of = match (reader, parts.get("of")) {
        (Reader::Prometheus(_), None) => Some(POLLED[0].to_owned()),
        (Reader::Prometheus(_), Some(node)) => {
            let text = node.text(faults)?;
            if !POLLED.contains(&text.as_str()) {
                faults.add(node, format!("{text:?} is not asked about; known: {}", POLLED.join(", ")));
            }
            Some(text)
        }
        (Reader::Check(check), None) => Some(check.kind().to_owned()),
        (Reader::Check(check), Some(node)) => {
            faults.add(node, format!("a check has its own kind: {}", check.kind()));
            None
        }
    };
    let above = parts.get("above").and_then(|node| node.number(faults)).map(Bound::Above);
    let below = parts.get("below").and_then(|node| node.number(faults)).map(Bound::Below);
    if parts.get("above").is_some() == parts.get("below").is_some() {
        faults.add(node, "a trigger has either above or below");
    }
    let min_samples = parts.need("minSamples", node, faults).and_then(|node| node.whole(1, faults));
    let hold_s = parts.need("hold", node, faults).and_then(|node| node.seconds(faults));
    Some(Trigger {
        symptom: symptom?,
        of: of?,
        bound: above.or(below)?,
        min_samples: f64::from(min_samples?),
        hold_s: hold_s?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    fn read(items: &str) -> (Catalogue, Vec<Note>) {
        let text = format!("apiVersion: meshmend.dev/v1alpha1\nkind: Indicators\nindicators:\n{items}");
        let mut notes = Vec::new();
        let catalogue = Catalogue::read("i.yaml", &parse(&text).unwrap(), &mut notes);
        (catalogue, notes)
    }

    // Mutation: comparing one way only makes a certificate that is about to expire healthy.
    #[test]
    fn bands_and_triggers_run_either_way_and_a_bound_belongs_to_the_worse_side() {
        let lower = Bands { warning: 0.99, critical: 0.95 };
        let levels = [1.0, 0.99, 0.95, 0.0].map(|value| lower.level(value));
        assert_eq!(levels, [Level::Healthy, Level::Warning, Level::Critical, Level::Critical]);
        let higher = Bands { warning: 0.01, critical: 0.05 };
        let levels = [0.0, 0.01, 0.05, 1.0].map(|value| higher.level(value));
        assert_eq!(levels, [Level::Healthy, Level::Warning, Level::Critical, Level::Critical]);
        assert!(Bound::Below(0.0).is_met(0.0) && !Bound::Below(0.0).is_met(0.1));
        assert!(Bound::Above(0.5).is_met(0.5) && !Bound::Above(0.5).is_met(0.4));
    }

    #[test]
    fn each_way_of_reading_is_one_of_a_closed_list() {
        let start = "unit: u, bands: { warning: 1, critical: 0 }, minSamples: 1";
        let trigger = "symptom: a.b, minSamples: 1, hold: 0s";
        let (found, notes) = read(&format!(
            "  - {{ id: a, {start}, check: proxy_liveness, trigger: {{ {trigger}, below: 0.5 }} }}\n"
        ));
        assert!(notes.is_empty(), "{notes:?}");
        let indicator = found.get("a").unwrap();
        assert_eq!(indicator.reader.source(), "proxy_check");
        assert_eq!(indicator.trigger.as_ref().unwrap().of, "Pod");
        for (line, wrong) in [
            ("check: mood", "no check is called \"mood\"; known: proxy_liveness, "),
            ("window: 1m, check: proxy_liveness", "it has no window"),
            ("check: proxy_liveness, prometheus: {}", "not by both"),
            ("", "how is it read?"),
            (&format!("check: proxy_liveness, trigger: {{ {trigger} }}"), "either above or below"),
            (
                &format!("check: proxy_liveness, trigger: {{ {trigger}, of: Pod, above: 1 }}"),
                "has its own kind",
            ),
        ] {
            let (_, notes) = read(&format!(
                "  - {{ id: ok, {start}, check: config_distribution }}\n  - {{ id: a, {start}, {line} }}\n"
            ));
            let told = notes.first().map(|note| (note.line, note.text.clone()));
            // Mutation: skipping an unknown word silently leaves a symptom that nobody ever reads.
            assert!(
                told.as_ref().is_some_and(|(at, text)| *at == 5 && text.contains(wrong)),
                "{line}: {told:?}"
            );
        }
    }
}
