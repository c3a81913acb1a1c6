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
        let screen = Self { show, live, start, told: 0, rates: Vec::new(), drawn: 0 };
        screen.say("meshmend demo: a small shop on an embedded cluster, policy enforce.");
        screen.say("A route goes bad, is noticed, and is rolled back. Times are simulated.\n");
        screen
    }

    fn say(&self, text: &str) {
        if self.show == Show::People {
            // A closed pipe is no reason to stop healing.
            writeln!(std::io::stdout(), "{text}").ok();
        }
    }

    /// Tells what is new, and draws the error rate of this second.
    pub(super) fn show(&mut self, lines: &[(Timestamp, Line)], rate: f64, now: Timestamp) {
        self.rates.push(rate);
        self.wipe();
        self.tell(lines);
        if self.live {
            let seconds = now.duration_since(self.start).as_secs();
            let mut chart = story::chart(&self.rates, WIDTH, ROWS);
            chart.push(format!("{seconds:>5} s  failing requests of shop/cart: {:.1} %", rate * 100.0));
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
        self.say("\nshare of failing requests of shop/cart, second by second:");
        story::chart(&self.rates, WIDTH, ROWS).iter().for_each(|line| self.say(line));
        for fault in &summary.faults {
            let seconds = |ms: i64| Duration::from_millis(ms.unsigned_abs()).as_secs();
            let (heard, acted) = (seconds(fault.detected_ms), seconds(fault.acted_ms));
            self.say(&format!("\n{}: {} by {}", fault.name, fault.outcome, fault.playbook));
            self.say(&format!(
                "  noticed after {heard} s, acted on after {acted} s, verified after {} s",
                seconds(fault.recovered_ms)
            ));
        }
        self.say(&format!("  {} records in the journal, chain {}", summary.records, summary.chain));
    }
}

/// Breaks a text between words; a word that is longer than the width stays whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
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
