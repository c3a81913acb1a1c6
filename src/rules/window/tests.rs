//! Windows at their edges, over week ends, midnights and the days on which clocks are set.

use super::*;

fn table(windows: &[(Says, &str, &str)]) -> Timetable {
    let read = |(says, text, name): &(Says, &str, &str)| {
        Window::read(*says, text, name, zone(name).expect("a zone")).expect("a window")
    };
    Timetable { policy: "p".to_owned(), windows: windows.iter().map(read).collect() }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn open(table: &Timetable, text: &str) -> bool {
    table.closed(at(text)).is_none()
}

// Mutations: `at < *to` to `at <= *to`; `*from <= at` to `*from < at`; UTC in place of the zone.
#[test]
fn a_week_end_is_denied_from_its_first_moment_to_the_one_before_its_end() {
    let table = table(&[(Says::Deny, "Fri 16:00 - Mon 08:00", "Europe/Berlin")]);
    // 2026-01-02 is a Friday; Berlin is an hour ahead of UTC.
    assert!(open(&table, "2026-01-02T14:59:59Z"));
    assert!(!open(&table, "2026-01-02T15:00:00Z"));
    assert!(!open(&table, "2026-01-05T06:59:59Z"));
    assert!(open(&table, "2026-01-05T07:00:00Z"));
    assert_eq!(table.closed(at("2026-01-03T00:00:00Z")).unwrap().until, Some(at("2026-01-05T07:00:00Z")));
}

// Mutation: a daily window that ends on the day it begins.
#[test]
fn a_daily_window_goes_over_midnight() {
    let deny = table(&[(Says::Deny, "22:00 - 06:00", "UTC")]);
    let hours: Vec<bool> = (0..24).map(|hour| open(&deny, &format!("2026-01-07T{hour:02}:00:00Z"))).collect();
    assert_eq!(hours, (0..24).map(|hour| (6..22).contains(&hour)).collect::<Vec<bool>>());
    let allow = table(&[(Says::Allow, "09:00 - 17:00", "America/New_York")]);
    assert!(!open(&allow, "2026-01-07T13:59:59Z") && open(&allow, "2026-01-07T14:00:00Z"));
    assert_eq!(allow.closed(at("2026-01-07T22:00:00Z")).unwrap().until, Some(at("2026-01-08T14:00:00Z")));
}

// Mutations: only the first allowing window counted; a denying one that yields to an allowing one.
#[test]
fn several_windows_allow_together_and_one_denies_alone() {
    let table = table(&[
        (Says::Allow, "Mon 09:00 - Mon 17:00", "UTC"),
        (Says::Allow, "Wed 09:00 - Wed 17:00", "UTC"),
        (Says::Deny, "12:00 - 13:00", "UTC"),
    ]);
    // 2026-01-05 is a Monday.
    let answers = ["05T10", "05T12", "06T10", "07T10", "07T12", "07T17"]
        .map(|hour| open(&table, &format!("2026-01-{hour}:00:00Z")));
    assert_eq!(answers, [true, false, false, true, false, false]);
    let tables = [table];
    let opens = |text: &str| opening(tables.iter(), at(text));
    assert_eq!(opens("2026-01-05T12:30:00Z"), Some(at("2026-01-05T13:00:00Z")));
    assert_eq!(opens("2026-01-05T17:00:00Z"), Some(at("2026-01-07T09:00:00Z")));
    assert_eq!(opens("2026-01-05T10:00:00Z"), Some(at("2026-01-05T10:00:00Z")));
}

// Mutations: `later` in place of `earlier`, or the other way round.
#[test]
fn on_the_days_on_which_clocks_are_set_less_is_allowed() {
    let deny = table(&[(Says::Deny, "22:00 - 02:30", "Europe/Berlin")]);
    // 2026-03-29: 02:00 to 03:00 does not exist. 2026-10-25: 02:00 to 03:00 comes twice.
    assert!(!open(&deny, "2026-03-29T01:29:59Z") && open(&deny, "2026-03-29T01:30:00Z"));
    assert!(!open(&deny, "2026-10-25T01:29:59Z") && open(&deny, "2026-10-25T01:30:00Z"));
    let allow = table(&[(Says::Allow, "02:30 - 05:00", "Europe/Berlin")]);
    assert!(!open(&allow, "2026-10-25T01:29:59Z") && open(&allow, "2026-10-25T01:30:00Z"));
    assert!(!open(&allow, "2026-03-29T01:29:59Z") && open(&allow, "2026-03-29T01:30:00Z"));
}

#[test]
fn windows_that_never_open_have_no_opening() {
    let never = [table(&[(Says::Allow, "01:00 - 02:00", "UTC"), (Says::Deny, "00:00 - 23:59", "UTC")])];
    assert_eq!(opening(never.iter(), at("2026-01-05T12:30:00Z")), None);
}

// Mutation: freezes left out of the edges.
#[test]
fn the_next_days_are_told_with_their_freezes() {
    let table = table(&[(Says::Deny, "22:00 - 06:00", "UTC")]);
    let (from, to) = (at("2026-01-06T12:00:00Z"), at("2026-01-07T12:00:00Z"));
    let freeze = Freeze { policy: "p".to_owned(), from, to, reason: "sale".to_owned() };
    let spans = open_spans(Some(&table), &[freeze], at("2026-01-05T23:00:00Z"), 2);
    assert_eq!(
        spans,
        [
            (at("2026-01-06T06:00:00Z"), at("2026-01-06T12:00:00Z")),
            (at("2026-01-07T12:00:00Z"), at("2026-01-07T22:00:00Z")),
        ]
    );
}

#[test]
fn what_is_no_window_is_refused_with_words() {
    for (text, words) in [
        ("Fri 16:00", "two ends"),
        ("Fri 16:00 - 08:00", "both ends name a day"),
        ("Friday 16:00 - Mon 08:00", "a day is one of"),
        ("24:00 - 06:00", "HH:MM"),
        ("8:00 - 9:00", "HH:MM"),
        ("06:00 - 06:00", "the same"),
        ("Mon 1 06:00 - Tue 06:00", "a day and a time"),
    ] {
        let why = Window::read(Says::Deny, text, "UTC", TimeZone::UTC).unwrap_err();
        assert!(why.contains(words), "{text}: {why}");
    }
    assert!(zone("Europe/Berlim").unwrap_err().contains("IANA"));
}
