//! The words of an overview: figures with their units, and reasons.

use std::collections::BTreeMap;

use super::{ReadingHealth, Verdict};
use crate::model::indicator::Level;
use crate::model::subject::Subject;
use crate::rules::Indicator;

/// A figure as people read it: a share as a percentage, anything else with its unit.
#[must_use]
pub fn shown(value: f64, unit: &str) -> String {
    if unit.starts_with("share") {
        return format!("{} %", digits(value * 100.0));
    }
    format!("{} {unit}", digits(value))
}

/// As many digits as somebody wants to read.
fn digits(value: f64) -> String {
    let places = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Why an indicator is as it is; empty where it is healthy. The readings have the worst first.
pub(super) fn why(
    indicator: &Indicator,
    verdict: &Verdict,
    readings: &[ReadingHealth],
    gaps: &[String],
) -> String {
    match verdict.level {
        Level::Healthy => String::new(),
        Level::Unknown => unknown(readings, gaps),
        Level::Critical | Level::Warning if indicator.is_of_a_fleet() => {
            let waits = indicator.few.is_some_and(|few| few.hold_s > 0);
            of_fleet(readings, waits, verdict.lost.as_ref())
        }
        level @ (Level::Critical | Level::Warning) => of_worst(indicator, level, readings),
    }
}

/// What is said of one that counts although nobody knows for how long it has been ill.
const SINCE_UNKNOWN: &str = "since when is not known";

/// Those of a fleet that are ill; `waits` where one counts only after a while.
fn of_fleet(readings: &[ReadingHealth], waits: bool, lost: Option<&Subject>) -> String {
    /// So many are named; the others are in the readings.
    const NAMED: usize = 2;
    /// An error of a proxy may quote its whole configuration; the readings have it.
    const LONGEST: usize = 120;
    let ill: Vec<&ReadingHealth> = readings.iter().filter(|reading| reading.is_ill()).collect();
    let all = readings.iter().filter(|reading| reading.level.is_some()).count();
    let name = |reading: &&ReadingHealth| {
        let why: String = reading.why.chars().take(LONGEST).collect();
        let since = if waits && reading.since.is_none() { SINCE_UNKNOWN } else { "" };
        let said: Vec<&str> = [&*why, since].into_iter().filter(|text| !text.is_empty()).collect();
        if said.is_empty() {
            return reading.subject.to_string();
        }
        format!("{} ({})", reading.subject, said.join("; "))
    };
    let mut names: Vec<String> = ill.iter().take(NAMED).map(name).collect();
    if ill.len() > NAMED {
        names.push(format!("and {} more", ill.len() - NAMED));
    }
    let lost = lost.map(|owner| format!("; none of {owner} is well")).unwrap_or_default();
    format!("{} of {all} not well: {}{lost}", ill.len(), names.join(", "))
}

fn of_worst(indicator: &Indicator, level: Level, readings: &[ReadingHealth]) -> String {
    let Some(worst) = readings.first() else { return String::new() };
    let unit = &*indicator.unit;
    let bound = if level == Level::Critical { indicator.bands.critical } else { indicator.bands.warning };
    let value = worst.value.map(|value| shown(value, unit)).unwrap_or_default();
    let more = readings.iter().filter(|reading| reading.is_ill()).count().saturating_sub(1);
    let others = if more > 0 { format!("; {more} more not well") } else { String::new() };
    format!("{} has {value}, {level} from {} on{others}", worst.subject, shown(bound, unit))
}

/// The reason that most of the unread ones have.
fn unknown(readings: &[ReadingHealth], gaps: &[String]) -> String {
    let of = |level: Option<Level>| readings.iter().filter(move |reading| reading.level == level);
    let judged = readings.iter().filter(|reading| reading.level.is_some()).count();
    let unread: Vec<&ReadingHealth> = of(Some(Level::Unknown)).collect();
    if let Some((reason, count)) = commonest(&unread) {
        return match (count, unread.len(), judged) {
            (1, 1, 1) => format!("{}: {reason}", unread[0].subject),
            (_, _, all) if count == all => reason.to_owned(),
            _ => format!("{} of {judged} not known, {count} of them: {reason}", unread.len()),
        };
    }
    if let Some(gap) = gaps.first() {
        return gap.clone();
    }
    let idle: Vec<&ReadingHealth> = of(None).collect();
    commonest(&idle).map_or_else(|| "there is nothing to read it for".to_owned(), |(why, _)| why.to_owned())
}

fn commonest<'a>(readings: &[&'a ReadingHealth]) -> Option<(&'a str, usize)> {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for reading in readings {
        *reasons.entry(&*reading.why).or_default() += 1;
    }
    // Of several that are as common, the first by name, so that the same state gives the same words.
    reasons.into_iter().max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(a.0)))
}

#[cfg(test)]
mod tests {
    use super::shown;

    // Mutation: cutting the zeros of a whole number makes 1 % of 100 %.
    #[test]
    fn figures_have_as_many_digits_as_somebody_reads() {
        let share = |value| shown(value, "share of requests");
        assert_eq!(
            [1.0, 0.9876, 0.05, 0.0, 0.000_12].map(share),
            ["100 %", "98.8 %", "5 %", "0 %", "0.01 %"]
        );
        assert_eq!(shown(1234.5, "ms"), "1234 ms");
    }
}
