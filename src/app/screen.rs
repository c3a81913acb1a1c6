//! The demo's terminal: lines as they come, and a chart below them that is drawn anew each second.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use jiff::Timestamp;

use super::demo::{Show, Summary};
use super::story::{self, Line};

/// The terminal as the demo uses it.
pub(super) struct Screen {
    show: Show,
    /// Whether there is a terminal: without one nothing is coloured or drawn over.
    live: bool,
    start: Timestamp,
    told: usize,
    rates: Vec<f64>,
    /// What they are rates of.
    of: &'static str,
    /// Lines of the chart that are on the screen now.
    drawn: usize,
}

/// Columns of a terminal that nobody has made wider.
const COLUMNS: usize = 80;
/// Columns and rows of the chart: with its scale it fits.
const WIDTH: usize = 68;
const ROWS: usize = 5;
/// Where the text of a line begins, behind its time and its word.
const INDENT: usize = 21;

impl Screen {
    pub(super) fn new(show: Show, start: Timestamp) -> Self {
        let live = show == Show::People && std::io::stdout().is_terminal();
        let screen = Self { show, live, start, told: 0, rates: Vec::new(), of: "", drawn: 0 };
        screen.say("meshmend demo: a small shop on an embedded cluster, policy enforce. A proxy");
        screen.say("hangs, a route goes bad, a certificate ends, a service is overrun. Times are");
        screen.say("simulated.\n");
        screen
    }

    fn say(&self, text: &str) {
        if self.show == Show::People {
            // A closed pipe is no reason to stop healing.
            writeln!(std::io::stdout(), "{text}").ok();
        }
    }

    /// Tells what is new, and draws what is ill in this second: a share, and of what.
    pub(super) fn show(&mut self, lines: &[(Timestamp, Line)], ill: (f64, &'static str), now: Timestamp) {
        let (rate, of) = ill;
        if self.of != of {
            self.rates.clear();
            self.of = of;
        }
        self.rates.push(rate);
        self.wipe();
        self.tell(lines);
        if self.live {
            let seconds = now.duration_since(self.start).as_secs();
            let mut chart = story::chart(&self.rates, WIDTH, ROWS);
            chart.push(format!("{seconds:>5} s  {of}: {:.1} %", rate * 100.0));
            chart.iter().for_each(|line| self.say(line));
            self.drawn = chart.len();
            std::io::stdout().flush().ok();
        }
    }

    fn tell(&mut self, lines: &[(Timestamp, Line)]) {
        for (at, line) in &lines[self.told.min(lines.len())..] {
            let seconds = at.duration_since(self.start).as_secs();
            let head = format!("{seconds:>5} s  {:<11} ", line.word);
            for (index, text) in wrap(&line.text, COLUMNS - INDENT).iter().enumerate() {
                let head = if index == 0 { head.clone() } else { " ".repeat(INDENT) };
                self.say(&colour(self.live, line.word, &format!("{head}{text}")));
            }
        }
        self.told = lines.len();
    }

    /// Takes the chart off the screen.
    fn wipe(&mut self) {
        if self.drawn > 0 {
            write!(std::io::stdout(), "\x1b[{}A\x1b[J", self.drawn).ok();
            self.drawn = 0;
        }
    }

    /// Tells the rest, and the summary.
    pub(super) fn finish(&mut self, lines: &[(Timestamp, Line)], summary: &Summary) {
        self.wipe();
        self.tell(lines);
        self.say("\nfault                outcome   noticed acted  well  by");
        for fault in &summary.faults {
            let after = |ms: i64| format!("{} s", Duration::from_millis(ms.unsigned_abs()).as_secs());
            self.say(&format!(
                "{:<20} {:<9} {:>7} {:>5} {:>5}  {}",
                fault.name,
                fault.outcome,
                after(fault.detected_ms),
                after(fault.acted_ms),
                after(fault.recovered_ms),
                fault.playbook
            ));
        }
        for (word, told) in [("refused", &summary.refused), ("taken back", &summary.undone)] {
            let text = format!("{}: {}", told.incident, told.reason);
            for (index, line) in wrap(&text, COLUMNS - 12).iter().enumerate() {
                self.say(&format!("{:<10}  {line}", if index == 0 { word } else { "" }));
            }
        }
        self.say(&format!("{} records in the journal, chain {}", summary.records, summary.chain));
    }
}

/// Breaks a text between words; a word that is longer than the width stays whole.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|line| line.chars().count() + 1 + word.chars().count() <= width) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

fn colour(live: bool, word: &str, text: &str) -> String {
    let code = match word {
        "fault" => "31",
        "heard" => "33",
        "done" | "undone" => "36",
        "ended" => "32",
        _ => return text.to_owned(),
    };
    if live { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn lines_break_between_words_and_fit_the_width() {
        assert_eq!(wrap("roll back the route now", 10), ["roll back", "the route", "now"]);
        assert_eq!(wrap("sha256:0123456789 is", 8), ["sha256:0123456789", "is"]);
        assert!(wrap("", 8).is_empty());
    }
}
