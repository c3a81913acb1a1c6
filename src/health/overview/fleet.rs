//! Fleets: the share of subjects that are well. A few that could not be read leave a large fleet healthy only
//! where it would be healthy if all of them were ill.

use super::{ReadingHealth, Verdict};
use crate::model::indicator::{Figure, Level};
use crate::rules::Indicator;

/// What a fleet is; `whole` where no subject is missing.
pub(super) fn verdict(indicator: &Indicator, readings: &[ReadingHealth], whole: bool) -> Verdict {
    let at = |wanted: &[Level]| {
        readings.iter().filter(|reading| reading.level.is_some_and(|level| wanted.contains(&level))).count()
    };
    let (ill, unread) = (at(&[Level::Critical, Level::Warning]), at(&[Level::Unknown]));
    let known = ill + at(&[Level::Healthy]);
    if known == 0 {
        return Verdict { level: Level::Unknown, figure: None };
    }
    let all = known + unread;
    let at_best = of(indicator, ill, all);
    let at_worst = of(indicator, ill + unread, all);
    let level = match (at_best, at_worst) {
        (Level::Critical | Level::Warning, _) => at_best,
        (_, Level::Healthy) if whole => Level::Healthy,
        _ => Level::Unknown,
    };
    let figure = Figure { value: 1.0 - share(ill, known), samples: share(known, 1) };
    Verdict { level, figure: Some(figure) }
}

/// The level of a fleet of which so many are ill.
fn of(indicator: &Indicator, ill: usize, all: usize) -> Level {
    let by_count = indicator.few.and_then(|few| few.level(ill, all));
    by_count.unwrap_or_else(|| indicator.bands.level(1.0 - share(ill, all)))
}

#[expect(clippy::cast_precision_loss, reason = "counts of objects in a cluster")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}
