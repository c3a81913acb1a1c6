//! An overview in 80 columns.

use jiff::Timestamp;

use crate::app::screen::wrap;
use crate::cli::people::cut;
use crate::health::{Counts, IndicatorHealth, Overview, ReadingHealth, shown};
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
        lines.push(row(&["COMPONENT", "INDICATOR", "VALUE", "BAND", "SOURCE", "AGE"].map(str::to_owned)));
        for part in &found.components {
            for (number, indicator) in part.indicators.iter().enumerate() {
                let component = if number == 0 { &*part.component } else { "" };
                lines.push(self.indicator(component, indicator, found.at));
                // One reason for several rows stands below the last of them.
                let next = part.indicators.get(number + 1);
                if next.is_none_or(|next| reason(next) != reason(indicator)) {
                    lines.extend(reason(indicator).iter().flat_map(|text| below(text)));
                }
            }
        }
        lines
    }

    fn indicator(self, component: &str, indicator: &IndicatorHealth, now: Timestamp) -> String {
        let name = indicator.indicator.split_once('.').map_or(&*indicator.indicator, |(_, name)| name);
        let value = indicator.value.map_or_else(|| "-".to_owned(), |value| shown(value, &indicator.unit));
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
