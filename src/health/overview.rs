//! The overview: each indicator judged over all of its subjects, then rolled up to component and mesh.
//!
//! Worst first: critical, warning, unknown, healthy. What is unknown is never healthy, and it does not hide
//! what is known to be ill.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::board::judge;
use super::trend::Trend;
use crate::model::indicator::{Figure, Level};
use crate::model::subject::Subject;
use crate::rules::Indicator;

mod fleet;
mod told;

pub use told::shown;

/// Why nothing is measured where the configuration names no Prometheus.
pub const NO_PROMETHEUS: &str = "no Prometheus is configured";
/// What to do about it comes before what each indicator wants of Prometheus.
const NAME_PROMETHEUS: &str =
    "have the mesh scraped and name Prometheus: sources.prometheus.url in the file of --config";

/// Why an expression tells nothing where we have to scrape ourselves.
pub const NO_PAGE: &str = "no Prometheus is configured, and no page that we scrape ourselves has it";
/// Why a counter tells nothing: what it counted since the start of its process says nothing of now.
pub const ONE_LOOK: &str = "one look cannot tell how fast a counter grows";
/// What to do about that.
const LOOK_TWICE: &str = "look twice: --over 30s, or --watch; or name Prometheus: sources.prometheus.url in the file \
    of --config";

/// What came of reading an indicator for one subject.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// A figure.
    Figure(Figure),
    /// There is nothing to measure, and that is as it may be: no requests, a pod that is only starting. It
    /// counts neither as healthy nor as unknown.
    Idle(String),
    /// It could not be read, and why.
    Unread(String),
}

/// One reading, and how it was had.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// What it was read for.
    pub subject: Subject,
    /// What came of it.
    pub found: Found,
    /// What the source said beside the figure, for people; may be empty.
    pub note: String,
    /// The source: `prometheus`, `proxy_check`, `istiod`, `kubernetes`.
    pub source: String,
    /// The query, or what was asked and where.
    pub way: String,
    /// When.
    pub at: Timestamp,
    /// Since when it has been ill, as the source tells or somebody remembers; `None` where nobody does.
    pub since: Option<Timestamp>,
    /// The workload that it is one of, where that is known.
    pub owner: Option<Subject>,
}

/// All readings of one indicator.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey<'a> {
    /// The indicator.
    pub indicator: &'a Indicator,
    /// One for each subject.
    pub taken: Vec<Taken>,
    /// Why there may be more subjects than those seen: with one, nothing is healthy.
    pub gaps: Vec<String>,
}

/// The whole mesh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// When it was made.
    pub at: Timestamp,
    /// The worst of its components.
    pub level: Level,
    /// Which one, and why; empty where it is healthy.
    pub why: String,
    /// Its parts, the worst first.
    pub components: Vec<ComponentHealth>,
}

/// One part of the mesh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComponentHealth {
    /// Its name: the part of its indicators' ids before the dot.
    pub component: String,
    /// The worst of its indicators.
    pub level: Level,
    /// Which one, and why; empty where it is healthy.
    pub why: String,
    /// Its indicators, the worst first.
    pub indicators: Vec<IndicatorHealth>,
}

/// One indicator over all of its subjects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndicatorHealth {
    /// Id.
    pub indicator: String,
    /// What it tells, in a few words.
    pub title: String,
    /// Level.
    pub level: Level,
    /// Why; empty where it is healthy.
    pub why: String,
    /// What to do where it cannot be read.
    pub fix: String,
    /// The figure of the worst subject, or of the fleet as a whole; absent where nothing is known.
    pub value: Option<f64>,
    /// Its unit; shares are 0 to 1.
    pub unit: String,
    /// Samples behind the figure.
    pub samples: Option<f64>,
    /// The subject it is about: the worst one.
    pub subject: Option<Subject>,
    /// Where it comes from.
    pub source: String,
    /// When the oldest of its readings was taken.
    pub at: Timestamp,
    /// Warning from here on.
    pub warning: f64,
    /// Critical from here on.
    pub critical: f64,
    /// Bands whose bound was lost in the table we took it from, and is taken from the band beside it.
    pub restored: Vec<Level>,
    /// Where the figure goes, by what it was up to ten minutes ago; absent where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trend: Option<Trend>,
    /// How many subjects are at which level.
    pub counts: Counts,
    /// Every reading, the worst first.
    pub readings: Vec<ReadingHealth>,
}

/// Subjects by level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Critical.
    pub critical: usize,
    /// Warning.
    pub warning: usize,
    /// Unknown.
    pub unknown: usize,
    /// Healthy.
    pub healthy: usize,
    /// Nothing to measure.
    pub idle: usize,
}

/// One subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadingHealth {
    /// The subject.
    pub subject: Subject,
    /// Its level; absent where there is nothing to measure.
    pub level: Option<Level>,
    /// Why nothing is known, or nothing is measured; else what the source said beside the figure.
    pub why: String,
    /// Its figure, as it was read.
    pub value: Option<f64>,
    /// Samples behind it.
    pub samples: Option<f64>,
    /// Where it comes from.
    pub source: String,
    /// The query, or what was asked and where.
    pub way: String,
    /// When.
    pub at: Timestamp,
    /// Since when it has been ill, where somebody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The workload that it is one of.
    #[serde(skip)]
    pub owner: Option<Subject>,
}

impl ReadingHealth {
    /// Whether it is known not to be well.
    fn is_ill(&self) -> bool {
        matches!(self.level, Some(Level::Critical | Level::Warning))
    }
}

/// How soon somebody should look: the smaller, the sooner.
fn rank(level: Level) -> u8 {
    match level {
        Level::Critical => 0,
        Level::Warning => 1,
        Level::Unknown => 2,
        Level::Healthy => 3,
    }
}

/// Rolls up what was read at this time.
#[must_use]
pub fn overview(surveys: Vec<Survey<'_>>, at: Timestamp) -> Overview {
    let mut components: Vec<ComponentHealth> = Vec::new();
    for survey in surveys {
        let name = survey.indicator.component().to_owned();
        let indicator = of_indicator(survey, at);
        match components.iter_mut().find(|known| known.component == name) {
            Some(known) => known.indicators.push(indicator),
            None => components.push(ComponentHealth {
                component: name,
                level: Level::Unknown,
                why: String::new(),
                indicators: vec![indicator],
            }),
        }
    }
    for component in &mut components {
        // Those that are unknown for one reason stand together.
        component.indicators.sort_by(|a, b| order(a).cmp(&order(b)));
        let worst = component.indicators.first().map(|worst| (worst.level, &*worst.indicator, &*worst.why));
        (component.level, component.why) = raised(worst);
    }
    components.sort_by(|a, b| (rank(a.level), &a.component).cmp(&(rank(b.level), &b.component)));
    // A component's reason begins with the whole id of its indicator.
    let worst = components.first();
    let (level, why) = worst
        .map_or((Level::Unknown, "nothing was read".to_owned()), |worst| (worst.level, worst.why.clone()));
    Overview { at, level, why, components }
}

fn order(indicator: &IndicatorHealth) -> (u8, &str, &str, &str) {
    let known = indicator.level != Level::Unknown;
    let (why, fix) = if known { ("", "") } else { (&*indicator.why, &*indicator.fix) };
    (rank(indicator.level), why, fix, &indicator.indicator)
}

/// What a part says of the whole.
fn raised(worst: Option<(Level, &str, &str)>) -> (Level, String) {
    match worst {
        None => (Level::Unknown, "nothing was read".to_owned()),
        Some((Level::Healthy, _, _)) => (Level::Healthy, String::new()),
        Some((level, name, why)) => (level, format!("{name}: {why}")),
    }
}

fn of_indicator(survey: Survey<'_>, at: Timestamp) -> IndicatorHealth {
    let Survey { indicator, taken, gaps } = survey;
    let mut readings: Vec<ReadingHealth> = taken.into_iter().map(|taken| reading(indicator, taken)).collect();
    // Which way is worse follows from the bands.
    let worse = |value: f64| if indicator.bands.fall() { value } else { -value };
    readings.sort_by(|a, b| {
        let order = |r: &ReadingHealth| r.level.map_or(4, rank);
        let values = |r: &ReadingHealth| r.value.map_or(0.0, worse);
        order(a).cmp(&order(b)).then(values(a).total_cmp(&values(b))).then_with(|| a.subject.cmp(&b.subject))
    });
    let counts = counts(&readings);
    let verdict = if indicator.is_of_a_fleet() {
        fleet::verdict(indicator, &readings, (gaps.is_empty(), at))
    } else {
        worst(&readings, gaps.is_empty())
    };
    let why = told::why(indicator, &verdict, &readings, &gaps);
    let first = readings.first();
    IndicatorHealth {
        indicator: indicator.id.clone(),
        title: indicator.title.clone(),
        level: verdict.level,
        fix: fix(indicator, &why),
        why,
        value: verdict.figure.map(|figure| figure.value),
        unit: indicator.unit.clone(),
        samples: verdict.figure.map(|figure| figure.samples),
        subject: first.filter(|_| verdict.level != Level::Healthy).map(|worst| worst.subject.clone()),
        source: first.map_or_else(|| indicator.reader.source().to_owned(), |worst| worst.source.clone()),
        at: readings.iter().map(|reading| reading.at).min().unwrap_or(at),
        warning: indicator.bands.warning,
        critical: indicator.bands.critical,
        restored: indicator.restored.clone(),
        trend: None,
        counts,
        readings,
    }
}

/// What to do about what is not known.
fn fix(indicator: &Indicator, why: &str) -> String {
    match why {
        why if why.ends_with(NO_PROMETHEUS) || why.ends_with(NO_PAGE) => NAME_PROMETHEUS.to_owned(),
        why if why.ends_with(ONE_LOOK) => LOOK_TWICE.to_owned(),
        _ => indicator.fix.clone(),
    }
}

fn reading(indicator: &Indicator, taken: Taken) -> ReadingHealth {
    let Taken { subject, found, note, source, way, at, since, owner } = taken;
    let (level, why, figure) = match found {
        Found::Idle(why) => (None, why, None),
        Found::Unread(why) => (Some(Level::Unknown), why, None),
        Found::Figure(figure) => {
            let (level, why) = judge(indicator, &Ok(figure));
            let finite = figure.value.is_finite() && figure.samples.is_finite();
            (Some(level), if why.is_empty() { note } else { why }, Some(figure).filter(|_| finite))
        }
    };
    let (value, samples) = (figure.map(|f| f.value), figure.map(|f| f.samples));
    let ill = matches!(level, Some(Level::Critical | Level::Warning));
    let since = since.filter(|_| ill);
    ReadingHealth { subject, level, why, value, samples, source, way, at, since, owner }
}

fn counts(readings: &[ReadingHealth]) -> Counts {
    let mut counts = Counts::default();
    for reading in readings {
        let count = match reading.level {
            Some(Level::Critical) => &mut counts.critical,
            Some(Level::Warning) => &mut counts.warning,
            Some(Level::Unknown) => &mut counts.unknown,
            Some(Level::Healthy) => &mut counts.healthy,
            None => &mut counts.idle,
        };
        *count += 1;
    }
    counts
}

/// What all readings of an indicator say together.
#[derive(Clone, Debug, PartialEq)]
struct Verdict {
    level: Level,
    figure: Option<Figure>,
    /// A workload of which none is well.
    lost: Option<Subject>,
}

/// The level of the worst subject; `whole` where no subject is missing.
fn worst(readings: &[ReadingHealth], whole: bool) -> Verdict {
    let first = readings.first();
    let level = match first.and_then(|worst| worst.level) {
        Some(Level::Healthy) if !whole => Level::Unknown,
        Some(level) => level,
        // Nothing was measured: that nobody complains is no health.
        None => Level::Unknown,
    };
    let figure = first.filter(|worst| worst.level == Some(level) && level != Level::Unknown);
    let figure = figure.and_then(|worst| Some(Figure { value: worst.value?, samples: worst.samples? }));
    Verdict { level, figure, lost: None }
}

#[cfg(test)]
mod tests;
