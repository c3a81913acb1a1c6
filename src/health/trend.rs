//! Trends: whether a figure gets better or worse, by what it was up to ten minutes ago.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::overview::{IndicatorHealth, Overview};

/// How far back a figure is compared: a deployment or an act shows within it, and the time of day does not.
const BACK: SignedDuration = SignedDuration::from_mins(10);
/// Two looks that are closer tell of noise.
const LEAST: SignedDuration = SignedDuration::from_secs(60);
/// So far apart figures are kept, whoever looks how often: twenty of them are ten minutes.
const APART: SignedDuration = SignedDuration::from_secs(30);
/// Of the way from warning to critical, what is no change.
const DEAD_BAND: f64 = 0.2;
/// Of the way from the warning bound to a figure far beyond it, the same.
const DEAD_SHARE: f64 = 0.05;

/// Where a figure goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trend {
    /// Away from its bands.
    Better,
    /// Towards critical.
    Worse,
    /// Neither, or so little that it is noise.
    Steady,
}

impl Trend {
    /// The lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Steady => "steady",
        }
    }
}

/// Where an indicator goes whose figure was `earlier`, and is what it says now; nothing where it has no figure.
/// The figure is that of the worst subject, or of the fleet: also where another one is the worst by now.
#[must_use]
fn trend(indicator: &IndicatorHealth, earlier: f64) -> Option<Trend> {
    let now = indicator.value.filter(|value| value.is_finite() && earlier.is_finite())?;
    let falls = indicator.critical < indicator.warning;
    let worse_by = if falls { earlier - now } else { now - earlier };
    let width = (indicator.critical - indicator.warning).abs() * DEAD_BAND;
    let far = (earlier - indicator.warning).abs() * DEAD_SHARE;
    let beyond = if falls { earlier < indicator.critical } else { earlier > indicator.critical };
    let dead = if beyond { width.max(far) } else { width };
    Some(if worse_by.abs() < dead {
        Trend::Steady
    } else if worse_by > 0.0 {
        Trend::Worse
    } else {
        Trend::Better
    })
}

/// So long before the first look figures are recalled: less than what is compared with, because looks take a while.
pub const BEFORE: SignedDuration = SignedDuration::from_mins(9);

/// The figures of the last ten minutes, by indicator.
#[derive(Clone, Debug, Default)]
pub(super) struct Trends {
    figures: BTreeMap<String, VecDeque<(Timestamp, f64)>>,
}

impl Trends {
    /// Whether nothing is known of before.
    pub(super) fn is_new(&self) -> bool {
        self.figures.is_empty()
    }

    /// Takes up figures of before the first look.
    pub(super) fn recall(&mut self, figures: BTreeMap<String, f64>, then: Timestamp) {
        for (indicator, value) in figures.into_iter().filter(|(_, value)| value.is_finite()) {
            self.figures.entry(indicator).or_default().push_front((then, value));
        }
    }

    /// Tells of every indicator where it goes, and remembers what it is now.
    pub(super) fn tell(&mut self, found: &mut Overview) {
        let at = found.at;
        for indicator in found.components.iter_mut().flat_map(|part| &mut part.indicators) {
            let known = self.figures.entry(indicator.indicator.clone()).or_default();
            known.retain(|(then, _)| at.duration_since(*then) <= BACK);
            let oldest = known.front().filter(|(then, _)| at.duration_since(*then) >= LEAST);
            indicator.trend = oldest.and_then(|(_, earlier)| trend(indicator, *earlier));
            let Some(value) = indicator.value.filter(|value| value.is_finite()) else { continue };
            if known.back().is_none_or(|(then, _)| at.duration_since(*then) >= APART) {
                known.push_back((at, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Found, Survey, Taken, overview};
    use crate::model::indicator::Figure;
    use crate::model::subject::Subject;
    use crate::rules::{Catalogue, RuleFiles, Rules};

    /// A share of which less is worse (warning 0.99, critical 0.95), and one of which more is (0.01, 0.05).
    const FALLS: &str = "traffic.success_rate";
    const RISES: &str = "traffic.route_error_rate";

    fn catalogue() -> Catalogue {
        Rules::load(&RuleFiles::embedded(), None).unwrap().rules.indicators
    }

    fn look(
        known: (&Catalogue, &mut Trends),
        id: &str,
        (second, value): (i64, Option<f64>),
    ) -> Option<Trend> {
        let (catalogue, trends) = known;
        let at = Timestamp::from_second(1_000_000 + second).unwrap();
        let found = value.map_or_else(
            || Found::Unread("nobody answers".to_owned()),
            |value| Found::Figure(Figure { value, samples: 1_000.0 }),
        );
        let (note, source, way) = (String::new(), "test".to_owned(), "asked".to_owned());
        let subject = Subject::service("shop", "cart");
        let taken = vec![Taken { subject, found, note, source, way, at, since: None, owner: None }];
        let indicator = catalogue.get(id).unwrap();
        let mut found = overview(vec![Survey { indicator, taken, gaps: Vec::new() }], at);
        trends.tell(&mut found);
        found.components[0].indicators[0].trend
    }

    fn between(id: &str, earlier: f64, now: f64) -> Option<Trend> {
        let (catalogue, mut trends) = (catalogue(), Trends::default());
        assert_eq!(look((&catalogue, &mut trends), id, (0, Some(earlier))), None, "one look has no trend");
        look((&catalogue, &mut trends), id, (300, Some(now)))
    }

    // Mutations: rising for worse whatever the bands say; no dead band; one of the figure instead of the bands, which
    // hides five points of a success rate.
    #[test]
    fn better_and_worse_are_as_the_bands_run_and_noise_is_steady() {
        assert_eq!(between(FALLS, 0.999, 0.95), Some(Trend::Worse));
        assert_eq!(between(FALLS, 0.95, 0.999), Some(Trend::Better));
        assert_eq!(between(RISES, 0.001, 0.05), Some(Trend::Worse));
        assert_eq!(between(RISES, 0.05, 0.001), Some(Trend::Better));
        for (id, earlier, now) in [(FALLS, 0.999, 0.9915), (FALLS, 0.9915, 0.999), (RISES, 0.0, 0.0079)] {
            assert_eq!(between(id, earlier, now), Some(Trend::Steady), "{id} {earlier} {now}");
        }
        // Far beyond critical a swing of a few points is noise too. Mutation: the width of the bands alone.
        assert_eq!(between(RISES, 0.51, 0.53), Some(Trend::Steady));
        assert_eq!(between(RISES, 0.51, 0.6), Some(Trend::Worse));
    }

    // Mutations: comparing with the last look, in which a slow decline never shows; keeping figures for ever, or all of
    // them; a trend of what is unknown; an unknown look that makes it forget.
    #[test]
    fn ten_minutes_are_remembered_and_what_is_unknown_has_no_trend() {
        let (catalogue, mut trends) = (catalogue(), Trends::default());
        let mut told = Vec::new();
        for step in 0..=10 {
            let (second, value) = (step * 60, 0.999 - 0.004 * f64::from(u32::try_from(step).unwrap()));
            told.push(look((&catalogue, &mut trends), FALLS, (second, Some(value))));
        }
        assert_eq!(told[1..3], [Some(Trend::Steady), Some(Trend::Worse)]);
        assert_eq!(told[10], Some(Trend::Worse));
        assert_eq!(look((&catalogue, &mut trends), FALLS, (630, None)), None);
        // It is better than a minute ago, and worse than ten ago.
        assert_eq!(look((&catalogue, &mut trends), FALLS, (660, Some(0.98))), Some(Trend::Worse));
        for second in 661..900 {
            look((&catalogue, &mut trends), FALLS, (second, Some(0.9)));
        }
        assert!(trends.figures[FALLS].len() <= 21, "{}", trends.figures[FALLS].len());
        assert_eq!(
            look((&catalogue, &mut trends), FALLS, (5_000, Some(0.5))),
            None,
            "nothing is left to compare with"
        );
    }
}
