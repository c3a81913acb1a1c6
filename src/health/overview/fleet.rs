//! Fleets: the share of subjects that are well. A few that could not be read leave a large fleet healthy only
//! where it would be healthy if all of them were ill.
//!
//! A small fleet is judged by count. There one counts once it has been ill for a while, where that is asked for;
//! a workload of which none is well is critical, however few that are.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{ReadingHealth, Verdict};
use crate::model::indicator::{Figure, Level};
use crate::model::subject::Subject;
use crate::rules::{Few, Indicator};

/// What a fleet is at a time; `whole` where no subject is missing.
pub(super) fn verdict(
    indicator: &Indicator,
    readings: &[ReadingHealth],
    (whole, now): (bool, Timestamp),
) -> Verdict {
    let at = |wanted: &[Level]| {
        readings.iter().filter(|reading| reading.level.is_some_and(|level| wanted.contains(&level))).count()
    };
    let (ill, unread) = (at(&[Level::Critical, Level::Warning]), at(&[Level::Unknown]));
    let known = ill + at(&[Level::Healthy]);
    if known == 0 {
        return Verdict { level: Level::Unknown, figure: None, lost: None };
    }
    let all = known + unread;
    let few = indicator.few.filter(|few| few.level(0, all).is_some());
    let lasting = few.map_or(ill, |few| readings.iter().filter(|r| lasts(few, r, now)).count());
    let lost = few.and_then(|few| lost_workload(few, readings, now));
    let of = |ill| match (lost, few.and_then(|few| few.level(ill, all))) {
        (Some(_), _) => Level::Critical,
        (None, Some(by_count)) => by_count,
        (None, None) => indicator.bands.level(1.0 - share(ill, all)),
    };
    let (at_best, at_worst) = (of(lasting), of(lasting + unread));
    let level = match (at_best, at_worst) {
        (Level::Critical | Level::Warning, _) => at_best,
        (_, Level::Healthy) if whole => Level::Healthy,
        _ => Level::Unknown,
    };
    let figure = Figure { value: 1.0 - share(ill, known), samples: share(known, 1) };
    Verdict { level, figure: Some(figure), lost: lost.cloned() }
}

/// Whether one has been ill for long enough to count. Where nobody knows since when, it counts at once.
fn lasts(few: Few, reading: &ReadingHealth, now: Timestamp) -> bool {
    let hold = SignedDuration::from_secs(i64::try_from(few.hold_s).unwrap_or(i64::MAX));
    reading.is_ill() && reading.since.is_none_or(|since| now.duration_since(since) >= hold)
}

/// A workload of which none is well. One that could not be read may be.
fn lost_workload(few: Few, readings: &[ReadingHealth], now: Timestamp) -> Option<&Subject> {
    let mut lost: BTreeMap<&Subject, bool> = BTreeMap::new();
    for reading in readings.iter().filter(|reading| reading.level.is_some()) {
        let Some(owner) = &reading.owner else { continue };
        *lost.entry(owner).or_insert(true) &= lasts(few, reading, now);
    }
    lost.into_iter().find(|(_, lost)| *lost).map(|(owner, _)| owner)
}

#[expect(clippy::cast_precision_loss, reason = "counts of objects in a cluster")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}
