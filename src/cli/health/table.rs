//! An overview in 80 columns.

use jiff::Timestamp;

use crate::app::screen::wrap;
use crate::cli::people::cut;
use crate::health::{Counts, IndicatorHealth, Overview, ReadingHealth, Trend, shown};
use crate::model::indicator::Level;

const COLUMNS: usize = 80;
/// Component, indicator, value, band, source, age; with two blanks between them they are 80 columns.
const WIDTHS: [usize; 6] = [13, 22, 12, 8, 11, 4];
/// Reasons stand below the indicator's name.
const INDENT: usize = WIDTHS[0] + 2;

/// Whether there is a terminal: without one nothing is coloured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    live: bool,
}

impl Table {
    /// For a terminal, or not.
    pub(super) fn new(live: bool) -> Self {
        Self { live }
    }

    /// The whole mesh.
    pub(super) fn overview(self, found: &Overview) -> Vec<String> {
        let indicators = || found.components.iter().flat_map(|part| &part.indicators);
        let of = |level: Level| indicators().filter(|indicator| indicator.level == level).count();
        let counts = Counts {
            critical: of(Level::Critical),
            warning: of(Level::Warning),
            unknown: of(Level::Unknown),
            healthy: of(Level::Healthy),
            idle: 0,
        };
        let mesh = self.paint(found.level, found.level.as_str());
        let mut lines =
            vec![format!("the mesh is {mesh}: {} of {} indicators", counted(&counts), indicators().count())];
        lines.push(String::new());
        lines.push(row(&["COMPONENT", "INDICATOR", VALUE, "BAND", "SOURCE", "AGE"].map(str::to_owned)));
        let shared = shared(indicators());
        for part in &found.components {
            for (number, indicator) in part.indicators.iter().enumerate() {
                let component = if number == 0 { &*part.component } else { "" };
                let noted = shared.iter().position(|known| *known == reason(indicator));
                lines.push(self.indicator(component, (indicator, noted), found.at));
                // One reason for several rows stands below the last of them.
                let next = part.indicators.get(number + 1);
                if noted.is_none() && next.is_none_or(|next| reason(next) != reason(indicator)) {
                    lines.extend(reason(indicator).iter().flat_map(|text| below(text)));
                }
            }
        }
        for (number, texts) in shared.iter().enumerate() {
            lines.push(String::new());
            lines.extend(note(number, texts));
        }
        lines
    }

    fn indicator(
        self,
        component: &str,
        (indicator, noted): (&IndicatorHealth, Option<usize>),
        now: Timestamp,
    ) -> String {
        let name = indicator.indicator.split_once('.').map_or(&*indicator.indicator, |(_, name)| name);
        let none = || noted.map_or_else(|| "-".to_owned(), |number| format!("- {}", mark(number)));
        let value = indicator.value.map_or_else(none, |value| shown(value, &indicator.unit));
        let value = format!("{:<VALUE_WIDTH$} {}", cut(&value, VALUE_WIDTH), sign(indicator.trend));
        let band = indicator.level.as_str();
        let age = age(now, indicator.at);
        let cells = [component, name, &value, band, &indicator.source, &age].map(str::to_owned);
        // Coloured after the cells were made wide: marks for the terminal take no column.
        self.paint_word(indicator.level, row(&cells))
    }

    /// Every reading of one indicator. What was asked stands on a line of its own, whole, to be asked again.
    pub(super) fn explain(self, found: &IndicatorHealth, now: Timestamp) -> Vec<String> {
        let bound = |value: f64| shown(value, &found.unit);
        let level = self.paint(found.level, found.level.as_str());
        let value = found.value.map_or_else(|| "no value".to_owned(), bound);
        let mut lines = vec![
            format!("{} is {level}: {value} ({})", found.indicator, found.unit),
            format!("  warning from {} on, critical from {} on", bound(found.warning), bound(found.critical)),
            format!("  {} subjects", counted(&found.counts)),
        ];
        if !found.title.is_empty() {
            lines.insert(1, format!("  {}", found.title));
        }
        if let Some(trend) = found.trend {
            lines.push(format!("  {} within the last ten minutes", told_trend(trend)));
        }
        let mut told =
            |text: &str| lines.extend(wrap(text, COLUMNS - 2).iter().map(|line| format!("  {line}")));
        if !found.why.is_empty() {
            told(&format!("why: {}", found.why));
        }
        if !found.fix.is_empty() {
            told(&format!("fix, where it cannot be read: {}", found.fix));
        }
        for reading in &found.readings {
            lines.push(String::new());
            lines.extend(self.reading(reading, &found.unit, now));
        }
        lines
    }

    fn reading(self, reading: &ReadingHealth, unit: &str, now: Timestamp) -> Vec<String> {
        let level =
            reading.level.map_or_else(|| "idle".to_owned(), |level| self.paint(level, level.as_str()));
        let value = match (reading.value, reading.samples) {
            (Some(value), Some(samples)) => {
                format!(": {} ({value}), {samples:.0} samples", shown(value, unit))
            }
            _ => String::new(),
        };
        let age = age(now, reading.at);
        let mut lines = vec![format!("{level}  {}{value}, {} {age} ago", reading.subject, reading.source)];
        if let Some(since) = reading.since {
            lines.push(format!("    not well for {}, since {since:.0}", self::age(now, since)));
        }
        if !reading.why.is_empty() {
            lines.extend(wrap(&reading.why, COLUMNS - 4).iter().map(|line| format!("    {line}")));
        }
        if !reading.way.is_empty() {
            lines.push(format!("    {}", reading.way));
        }
        lines
    }

    fn paint(self, level: Level, text: &str) -> String {
        let code = match level {
            Level::Critical => "31",
            Level::Warning => "33",
            Level::Unknown => "35",
            Level::Healthy => "32",
        };
        if self.live { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A row with its band coloured. The last word of that name is the band: no source is called so.
    fn paint_word(self, level: Level, row: String) -> String {
        match row.rfind(level.as_str()) {
            Some(from) if self.live => {
                let to = from + level.as_str().len();
                format!("{}{}{}", &row[..from], self.paint(level, level.as_str()), &row[to..])
            }
            _ => row,
        }
    }
}

/// Why an indicator is as it is, and what to do where it is unknown.
fn reason(indicator: &IndicatorHealth) -> Vec<String> {
    let mut texts = Vec::new();
    if !indicator.why.is_empty() {
        texts.push(indicator.why.clone());
    }
    if indicator.level == Level::Unknown && !indicator.fix.is_empty() {
        texts.push(format!("fix: {}", indicator.fix));
    }
    texts
}

/// Whether a value gets better or worse stands behind it.
const VALUE: &str = "VALUE      T";
const VALUE_WIDTH: usize = 10;

/// One letter of the alphabet of a terminal for a trend.
fn sign(trend: Option<Trend>) -> &'static str {
    match trend {
        Some(Trend::Better) => "+",
        Some(Trend::Worse) => "-",
        Some(Trend::Steady) => "=",
        None => "",
    }
}

fn told_trend(trend: Trend) -> &'static str {
    match trend {
        Trend::Better => "it got better (+)",
        Trend::Worse => "it got worse (-)",
        Trend::Steady => "it was steady (=)",
    }
}

/// The reasons of what is unknown that many rows have, the commonest first: they stand once, below the table.
fn shared<'i>(indicators: impl Iterator<Item = &'i IndicatorHealth>) -> Vec<Vec<String>> {
    const MANY: usize = 3;
    let mut counts: Vec<(Vec<String>, usize)> = Vec::new();
    for indicator in indicators.filter(|indicator| indicator.level == Level::Unknown) {
        let texts = reason(indicator);
        match counts.iter_mut().find(|(known, _)| *known == texts) {
            Some((_, count)) => *count += 1,
            None => counts.push((texts, 1)),
        }
    }
    counts.retain(|(texts, count)| *count >= MANY && !texts.is_empty());
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.into_iter().map(|(texts, _)| texts).collect()
}

/// How a row points to a reason below the table.
fn mark(number: usize) -> String {
    format!("[{}]", number + 1)
}

/// A reason below the table, behind its mark.
fn note(number: usize, texts: &[String]) -> Vec<String> {
    let mark = mark(number);
    let width = mark.chars().count() + 1;
    let lines = texts.iter().flat_map(|text| wrap(text, COLUMNS - width));
    let lead = |at: usize| if at == 0 { mark.clone() } else { " ".repeat(width - 1) };
    lines.enumerate().map(|(at, line)| format!("{} {}", lead(at), cut(&line, COLUMNS - width))).collect()
}

/// A text below the name of its indicator.
fn below(text: &str) -> Vec<String> {
    /// Words of a server may be long; --explain has all of them.
    const MOST: usize = 4;
    let mut lines = wrap(text, COLUMNS - INDENT);
    if lines.len() > MOST {
        lines.truncate(MOST);
        lines.push("… (--explain tells all of it)".to_owned());
    }
    lines.iter().map(|line| format!("{}{}", " ".repeat(INDENT), cut(line, COLUMNS - INDENT))).collect()
}

fn row(cells: &[String; 6]) -> String {
    let cells = cells.iter().zip(WIDTHS).map(|(cell, width)| format!("{:<width$}", cut(cell, width)));
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// `1 critical, 12 healthy`: those that are not none.
fn counted(counts: &Counts) -> String {
    let all = [
        (counts.critical, "critical"),
        (counts.warning, "warning"),
        (counts.unknown, "unknown"),
        (counts.healthy, "healthy"),
        (counts.idle, "idle"),
    ];
    let some = all.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
    let some: Vec<String> = some.collect();
    if some.is_empty() { "no".to_owned() } else { some.join(", ") }
}

/// How long ago, in its largest unit.
fn age(now: Timestamp, at: Timestamp) -> String {
    match now.duration_since(at).as_secs().max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutation: an age of minutes in seconds is wider than its column after an hour.
    #[test]
    fn an_age_fits_its_column() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let ages = [0, 119, 120, 7_199, 7_200, 3_600_000].map(|second| age(at(second), at(0)));
        assert_eq!(ages, ["0s", "119s", "2m", "119m", "2h", "1000h"]);
    }

    fn unread(id: &str, why: &str) -> IndicatorHealth {
        let at = "2026-01-01T00:00:00Z";
        let counts =
            serde_json::json!({ "critical": 0, "warning": 0, "unknown": 0, "healthy": 0, "idle": 0 });
        serde_json::from_value(serde_json::json!({
            "indicator": id, "title": "", "level": "unknown", "why": why, "fix": "name it", "value": null,
            "unit": "ms", "samples": null, "subject": null, "source": "prometheus", "at": at, "warning": 1.0,
            "critical": 2.0, "restored": [], "counts": counts, "readings": [],
        }))
        .unwrap()
    }

    // Mutations: a reason below each of its rows; one of two rows far away from them; a row that does not say where its
    // reason stands; a note without what to do.
    #[test]
    fn a_reason_of_many_rows_stands_once_below_the_table() {
        let ids = [
            ("a.one", "none"),
            ("a.two", "other"),
            ("b.three", "none"),
            ("b.four", "none"),
            ("b.five", "other"),
        ];
        let parts = ["a", "b"].map(|component| {
            let own = ids.iter().filter(|(id, _)| id.starts_with(component));
            crate::health::ComponentHealth {
                component: component.to_owned(),
                level: Level::Unknown,
                why: String::new(),
                indicators: own.map(|(id, why)| unread(id, why)).collect(),
            }
        });
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        let found = Overview { at, level: Level::Unknown, why: String::new(), components: parts.into() };
        let lines = Table::new(false).overview(&found);
        let count = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
        assert_eq!((count("- [1]"), count("none"), count("other")), (3, 1, 2), "{lines:#?}");
        assert_eq!(lines[lines.len() - 3..], ["", "[1] none", "    fix: name it"].map(str::to_owned));
    }

    // Mutations: a sign that makes the row wider; the same one for better and worse.
    #[test]
    fn the_trend_stands_behind_the_value_in_its_column() {
        let table = Table::new(false);
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        let row = |trend| {
            let known =
                IndicatorHealth { level: Level::Warning, value: Some(123.0), trend, ..unread("a.b", "") };
            table.indicator("a", (&known, None), at)
        };
        let at = |trend| row(trend).chars().nth(WIDTHS[0] + WIDTHS[1] + 4 + VALUE_WIDTH + 1).unwrap();
        assert_eq!(VALUE.chars().last(), Some('T'));
        assert_eq!(VALUE.chars().count(), VALUE_WIDTH + 2);
        let all = [Some(Trend::Better), Some(Trend::Worse), Some(Trend::Steady), None];
        assert_eq!(all.map(at), ['+', '-', '=', ' ']);
        assert!(all.map(row).iter().all(|line| line.chars().count() <= COLUMNS));
    }

    // Mutations: marks for the terminal counted as columns; a name that is not cut.
    #[test]
    fn a_row_is_80_columns_whatever_is_in_it() {
        let long = row(&[(); 6].map(|()| "x".repeat(40)));
        assert_eq!(long.chars().count(), COLUMNS);
        let plain = row(&["a", "b", "1 %", "warning", "kubernetes", "0s"].map(str::to_owned));
        let table = Table::new(true);
        assert_eq!(
            table.paint_word(Level::Warning, plain.clone()),
            plain.replace("warning", "\x1b[33mwarning\x1b[0m")
        );
        assert_eq!(Table::new(false).paint_word(Level::Warning, plain.clone()), plain);
    }
}
