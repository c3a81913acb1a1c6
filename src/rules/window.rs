//! Windows: when acting is allowed, by the wall clock of a place. Zones come from the database that is
//! compiled in, and are looked up when the rules are loaded, so that nothing is read while deciding.
//!
//! A window is a row of spans of time. Where a clock is set back or forward on one of its edges, the edge is
//! taken so that we act less: what is denied begins earlier and ends later, what is allowed the other way
//! round.

use std::sync::LazyLock;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan as _};

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A zone by its IANA name.
///
/// # Errors
/// Says that no zone has this name.
pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    ZONES.get(name).map_err(|_| {
        format!("no time zone is called {name:?}; write an IANA name, for instance Europe/Berlin or UTC")
    })
}

/// What holds within a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Acting is allowed only within this and the policy's other allowing windows.
    Allow,
    /// Acting is not allowed.
    Deny,
}

/// A window as a policy writes it.
#[derive(Clone, Debug)]
pub struct Window {
    /// What holds within it.
    pub says: Says,
    /// As it is written, for instance `Fri 16:00 - Mon 08:00`.
    pub text: String,
    /// Name of its zone.
    pub zone: String,
    place: TimeZone,
    from: Edge,
    to: Edge,
}

/// A moment of the week, or of every day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edge {
    day: Option<Weekday>,
    time: Time,
}

/// A span of time, its end not included.
pub type Span = (Timestamp, Timestamp);

const FORM: &str = "write \"Fri 16:00 - Mon 08:00\", or \"22:00 - 06:00\" for every day";
const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

impl Window {
    /// Reads `Fri 16:00 - Mon 08:00` or `22:00 - 06:00`.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub(super) fn read(says: Says, text: &str, zone: &str, place: TimeZone) -> Result<Self, String> {
        let bad = |why: &str| format!("{text:?} is not a window ({why}); {FORM}");
        let (from, to) = text.split_once('-').ok_or_else(|| bad("two ends are expected"))?;
        let (from, to) = (edge(from).map_err(|why| bad(&why))?, edge(to).map_err(|why| bad(&why))?);
        if from.day.is_some() != to.day.is_some() {
            return Err(bad("either both ends name a day, or none does"));
        }
        if from == to {
            return Err(bad("both ends are the same"));
        }
        Ok(Self { says, text: text.to_owned(), zone: zone.to_owned(), place, from, to })
    }

    /// The span that begins on this date.
    fn on(&self, date: Date) -> Option<Span> {
        let later = i64::from(self.to.time <= self.from.time);
        let days = match (self.from.day, self.to.day) {
            (Some(from), Some(to)) => {
                let days = i64::from(from.until(to));
                if days == 0 { 7 * later } else { days }
            }
            _ => later,
        };
        let last = date.checked_add(days.days()).ok()?;
        let from = self.place.to_ambiguous_timestamp(date.to_datetime(self.from.time));
        let to = self.place.to_ambiguous_timestamp(last.to_datetime(self.to.time));
        match self.says {
            Says::Deny => Some((from.earlier().ok()?, to.later().ok()?)),
            Says::Allow => Some((from.later().ok()?, to.earlier().ok()?)),
        }
    }

    /// Its spans that begin between so many days before and after this time, in order.
    fn spans(&self, at: Timestamp, before: i64, after: i64) -> impl Iterator<Item = Span> {
        let today = self.place.to_datetime(at).date();
        let dates = (-before..=after).filter_map(move |days| today.checked_add(days.days()).ok());
        let dates = dates.filter(|date| self.from.day.is_none_or(|day| date.weekday() == day));
        dates.filter_map(|date| self.on(date)).filter(|(from, to)| from < to)
    }

    /// When the spans that hold this time are over.
    fn holds(&self, at: Timestamp) -> Option<Timestamp> {
        // A span is at most a week long, and its edges move by an hour or so.
        let around = self.spans(at, 8, 1).filter(|(from, to)| *from <= at && at < *to);
        around.map(|(_, to)| to).max()
    }
}

fn edge(text: &str) -> Result<Edge, String> {
    let mut words = text.split_whitespace();
    let (first, second, rest) = (words.next(), words.next(), words.next());
    let (day, time) = match (first, second, rest) {
        (Some(time), None, None) => (None, time),
        (Some(day), Some(time), None) => {
            let found = DAYS.iter().find(|(name, _)| *name == day).map(|(_, day)| *day);
            (Some(found.ok_or("a day is one of Mon, Tue, Wed, Thu, Fri, Sat, Sun")?), time)
        }
        _ => return Err("an end is a time, or a day and a time".to_owned()),
    };
    let clock = || "a time is written HH:MM, from 00:00 to 23:59".to_owned();
    let two = |text: &str| (text.len() == 2).then(|| text.parse::<i8>().ok()).flatten();
    let (hour, minute) = time.split_once(':').ok_or_else(clock)?;
    let (hour, minute) = (two(hour).ok_or_else(clock)?, two(minute).ok_or_else(clock)?);
    let time = Time::new(hour, minute, 0, 0).map_err(|_| clock())?;
    Ok(Edge { day, time })
}

/// The windows of one policy.
#[derive(Clone, Debug)]
pub struct Timetable {
    /// The policy.
    pub policy: String,
    /// Its windows, never empty.
    pub windows: Vec<Window>,
}

/// Why acting is not allowed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The policy that says so.
    pub policy: String,
    /// Its windows, as written.
    pub window: String,
    /// When this window says otherwise; `None` if it never does.
    pub until: Option<Timestamp>,
}

impl Timetable {
    /// Whether acting is not allowed at this time.
    #[must_use]
    pub fn closed(&self, at: Timestamp) -> Option<Closed> {
        let closed = |window: String, until| Some(Closed { policy: self.policy.clone(), window, until });
        let denied = self.windows.iter().filter(|window| window.says == Says::Deny);
        let denied = denied.filter_map(|window| Some((window, window.holds(at)?)));
        if let Some((window, until)) = denied.max_by_key(|(_, until)| *until) {
            return closed(format!("deny {} {}", window.text, window.zone), Some(until));
        }
        let allowing = || self.windows.iter().filter(|window| window.says == Says::Allow);
        if allowing().next().is_none() || allowing().any(|window| window.holds(at).is_some()) {
            return None;
        }
        let next = allowing().flat_map(|window| window.spans(at, 1, 8).map(|(from, _)| from));
        let next = next.filter(|from| *from > at).min();
        let texts: Vec<String> =
            allowing().map(|window| format!("{} {}", window.text, window.zone)).collect();
        closed(format!("allow {}", texts.join(" or ")), next)
    }

    /// All moments within so many days at which the answer may change.
    fn edges(&self, at: Timestamp, days: i64) -> impl Iterator<Item = Timestamp> {
        let spans = self.windows.iter().flat_map(move |window| window.spans(at, 8, days));
        spans.flat_map(|(from, to)| [from, to])
    }
}

/// When all of these allow to act: at the earliest at this time. `None` if that is not so within five weeks:
/// every window comes back every week, so what has not opened by then never does.
#[must_use]
pub fn opening<'t>(tables: impl Iterator<Item = &'t Timetable> + Clone, at: Timestamp) -> Option<Timestamp> {
    let latest = at.saturating_add((5 * 7 * 24).hours()).unwrap_or(Timestamp::MAX);
    let mut at = at;
    while at <= latest {
        let closed = tables.clone().filter_map(|table| table.closed(at));
        match closed.map(|closed| closed.until.unwrap_or(Timestamp::MAX)).max() {
            None => return Some(at),
            Some(until) => at = until,
        }
    }
    None
}

/// A time in which nothing is written, whatever the mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// The policy that sets it.
    pub policy: String,
    /// From.
    pub from: Timestamp,
    /// To, not included.
    pub to: Timestamp,
    /// Why, for people.
    pub reason: String,
}

impl Freeze {
    /// Whether it is in force.
    #[must_use]
    pub fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// The spans within the next days in which these windows and freezes allow to act.
#[must_use]
pub fn open_spans(table: Option<&Timetable>, freezes: &[Freeze], at: Timestamp, days: i64) -> Vec<Span> {
    let end = at.saturating_add((days * 24).hours()).unwrap_or(Timestamp::MAX);
    let mut edges: Vec<Timestamp> = freezes.iter().flat_map(|freeze| [freeze.from, freeze.to]).collect();
    edges.extend(table.iter().flat_map(|table| table.edges(at, days)));
    edges.retain(|edge| *edge > at && *edge < end);
    edges.push(at);
    edges.push(end);
    edges.sort_unstable();
    edges.dedup();
    let open = |at: Timestamp| {
        table.is_none_or(|table| table.closed(at).is_none()) && !freezes.iter().any(|freeze| freeze.holds(at))
    };
    let mut spans: Vec<Span> = Vec::new();
    for pair in edges.windows(2).filter(|pair| open(pair[0])) {
        match spans.last_mut().filter(|(_, to)| *to == pair[0]) {
            Some((_, to)) => *to = pair[1],
            None => spans.push((pair[0], pair[1])),
        }
    }
    spans
}

#[cfg(test)]
#[path = "window/tests.rs"]
mod tests;
