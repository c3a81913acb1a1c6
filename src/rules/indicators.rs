//! The catalogue of indicators: what is measured, how it is read, and when it is a symptom.

mod merge;
mod read;
mod ways;

use crate::model::indicator::{Level, Overflow};
use crate::model::signal::Symptom;
pub use ways::{Baseline, By, MeshName, State, Way};

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
    /// What it tells, in a few words; empty where nobody wrote it.
    pub title: String,
    /// Unit of its value, one of a closed list or a share of something.
    pub unit: String,
    /// Where the bands begin.
    pub bands: Bands,
    /// The bands whose bound was lost in the table we took it from, and is taken from the band beside it.
    pub restored: Vec<Level>,
    /// How a small fleet is judged; `None`: by the bands, as any other.
    pub few: Option<Few>,
    /// Below this many samples its level is unknown.
    pub min_samples: f64,
    /// What to do where it cannot be read; empty where nobody wrote it.
    pub fix: String,
    /// How to read it.
    pub reader: Reader,
    /// When it is a symptom; `None`: never by itself.
    pub trigger: Option<Trigger>,
}

/// Units beside `share of ...`, which is 0 to 1.
pub(super) const UNITS: [&str; 5] = ["ms", "s", "/s", "times", "minors"];

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

/// How a fleet is judged that is too small for shares: one proxy of ten is 90 % already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Few {
    /// With fewer subjects than this.
    pub below: u32,
    /// So many that are not well: warning.
    pub warning: u32,
    /// So many that are not well: critical. So is a workload of which none is well.
    pub critical: u32,
    /// Seconds that one has to be ill before it counts.
    pub hold_s: u64,
}

impl Few {
    /// The level of a fleet of which so many are not well; `None` where it is large enough for shares.
    #[must_use]
    pub fn level(&self, ill: usize, all: usize) -> Option<Level> {
        let reaches = |bound: u32| usize::try_from(bound).is_ok_and(|bound| ill >= bound);
        if usize::try_from(self.below).is_ok_and(|below| all >= below) {
            return None;
        }
        Some(if reaches(self.critical) {
            Level::Critical
        } else if reaches(self.warning) {
            Level::Warning
        } else {
            Level::Healthy
        })
    }
}

impl Indicator {
    /// The part of its id before the dot.
    #[must_use]
    pub fn component(&self) -> &str {
        self.id.split('.').next().unwrap_or_default()
    }

    /// Name under which it speaks as signals. Of those that are read in several ways each is a source of its own,
    /// whatever way told: two symptoms of one object are two sources, or the end of one would end the other.
    #[must_use]
    pub fn source(&self) -> String {
        match &self.reader {
            Reader::Readings(_) => format!("indicators/{}", self.id),
            reader @ (Reader::Prometheus(_) | Reader::Check(_)) => reader.source().to_owned(),
        }
    }

    /// Whether it is the share of a fleet, of which each subject is well or not; else the worst subject counts.
    #[must_use]
    pub fn is_of_a_fleet(&self) -> bool {
        match &self.reader {
            Reader::Check(check) => matches!(check, Check::ProxyLiveness | Check::ConfigDistribution),
            Reader::Readings(ways) => {
                ways.iter().any(|way| matches!(way.by, By::State(state) if state.is_of_a_fleet()))
            }
            Reader::Prometheus(_) => false,
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
    /// In the first of these ways that tells something; no act is measured by it.
    Readings(Vec<Way>),
}

impl Reader {
    /// The expressions it reads by, for these hosts where it counts by host, over this window. What only mends a
    /// figure is not among them.
    #[must_use]
    pub fn expressions(&self, hosts: &[String], window_s: u64) -> Vec<String> {
        match self {
            Self::Check(_) => Vec::new(),
            Self::Prometheus(queries) => {
                let (samples, bad) = queries.fill(hosts, window_s);
                vec![samples, bad]
            }
            Self::Readings(ways) => ways.iter().flat_map(Way::expressions).cloned().collect(),
        }
    }

    /// Name under which its readings speak as signals.
    #[must_use]
    pub fn source(&self) -> &'static str {
        match self {
            Self::Prometheus(_) => "prometheus",
            Self::Check(Check::ProxyLiveness) => "proxy_check",
            Self::Check(Check::ConfigDistribution) => "istiod",
            Self::Check(Check::ControlPlaneReady | Check::CertificateValidity) => "kubernetes",
            Self::Readings(ways) => ways.first().map_or("none", Way::source),
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
    /// Kind of the objects that have it; `None`: whatever the readings are about.
    pub of: Option<String>,
    /// From which value on.
    pub bound: Bound,
    /// With at least this many samples.
    pub min_samples: f64,
    /// For this many seconds.
    pub hold_s: u64,
}

impl Trigger {
    /// Whether objects of this kind have it.
    #[must_use]
    pub fn is_of(&self, kind: &str) -> bool {
        self.of.as_ref().is_none_or(|of| of == kind)
    }
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
    /// Of these indicators.
    #[cfg(test)]
    #[must_use]
    pub fn of(all: Vec<Indicator>) -> Self {
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

#[cfg(test)]
mod tests;
