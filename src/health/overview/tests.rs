//! Tests of the overview.

use super::*;
use crate::rules::{Catalogue, RuleFiles, Rules};

fn catalogue() -> Catalogue {
    Rules::load(&RuleFiles::embedded(), None).unwrap().rules.indicators
}

fn at() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn taken(name: &str, found: Found) -> Taken {
    let (note, source, way) = (String::new(), "test".to_owned(), "asked".to_owned());
    let subject = Subject::pod("shop", name);
    Taken { subject, found, note, source, way, at: at(), since: None, owner: None }
}

fn figure(value: f64) -> Found {
    Found::Figure(Figure { value, samples: 100.0 })
}

fn unread() -> Found {
    Found::Unread("nobody answers".to_owned())
}

fn of(id: &str, found: Vec<Found>, gaps: &[&str]) -> IndicatorHealth {
    let catalogue = catalogue();
    let indicator = catalogue.get(id).unwrap();
    let taken = found.into_iter().enumerate().map(|(n, found)| taken(&format!("p{n:05}"), found)).collect();
    let gaps = gaps.iter().map(|gap| (*gap).to_owned()).collect();
    let mesh = overview(vec![Survey { indicator, taken, gaps }], at());
    mesh.components.into_iter().next().unwrap().indicators.remove(0)
}

/// A fleet of so many, of which so many are ill and so many unread.
fn fleet(all: usize, ill: usize, unknown: usize) -> Level {
    let found = |n: usize| match n {
        n if n < ill => figure(0.0),
        n if n < ill + unknown => unread(),
        _ => figure(1.0),
    };
    of("data_plane.proxy_liveness", (0..all).map(found).collect(), &[]).level
}

// Mutations: taking unknown for healthy; letting unknown hide what is critical; sorting by the words.
#[test]
fn the_worst_subject_counts_and_unknown_lies_between_warning_and_healthy() {
    let level = |found: Vec<Found>| of("traffic.success_rate", found, &[]).level;
    assert_eq!(level(vec![figure(1.0), figure(1.0)]), Level::Healthy);
    assert_eq!(level(vec![figure(1.0), unread()]), Level::Unknown);
    assert_eq!(level(vec![unread(), figure(0.98)]), Level::Warning);
    assert_eq!(level(vec![figure(0.98), unread(), figure(0.5)]), Level::Critical);
    assert_eq!(level(vec![figure(f64::NAN), figure(1.0)]), Level::Unknown);
    // Mutation: the first one instead of the worst.
    let worst = of("traffic.success_rate", vec![figure(0.94), figure(0.2)], &[]);
    assert_eq!((worst.value, worst.subject.unwrap().name.as_str()), (Some(0.2), "p00001"));
    let worst = of("traffic.route_error_rate", vec![figure(0.06), figure(0.8)], &[]);
    assert_eq!(worst.value, Some(0.8));
    assert_eq!(worst.why, "Pod shop/p00001 has 80 %, critical from 5 % on; 1 more not well");
}

// Mutations: idle as unknown, then one service without requests hides the mesh; idle as healthy; an empty
// list, or one with a gap, as healthy.
#[test]
fn what_is_idle_says_nothing_and_nothing_is_no_health() {
    let idle = || Found::Idle("no requests in the window".to_owned());
    let found = of("traffic.success_rate", vec![figure(1.0), idle()], &[]);
    assert_eq!((found.level, found.counts.idle, found.counts.healthy), (Level::Healthy, 1, 1));
    let found = of("traffic.success_rate", vec![idle(), idle()], &[]);
    assert_eq!((found.level, &*found.why), (Level::Unknown, "no requests in the window"));
    assert_eq!(of("traffic.success_rate", Vec::new(), &[]).level, Level::Unknown);
    for id in ["traffic.success_rate", "data_plane.proxy_liveness"] {
        let found = of(id, vec![figure(1.0)], &["pods cannot be watched: forbidden"]);
        assert_eq!((found.level, &*found.why), (Level::Unknown, "pods cannot be watched: forbidden"), "{id}");
        assert_eq!(of(id, vec![figure(0.0)], &["forbidden"]).level, of(id, vec![figure(0.0)], &[]).level);
    }
}

// Mutations: shares for a small fleet (1 of 10 is 90 %, which would be critical); counts for a large one;
// `>` in place of `>=` at 1, 2 and 20.
#[test]
fn a_small_fleet_is_judged_by_count_and_a_large_one_by_share() {
    assert_eq!(fleet(10, 0, 0), Level::Healthy);
    assert_eq!(fleet(10, 1, 0), Level::Warning);
    assert_eq!(fleet(10, 2, 0), Level::Critical);
    assert_eq!(fleet(1, 1, 0), Level::Warning);
    assert_eq!(fleet(19, 1, 0), Level::Warning);
    assert_eq!(fleet(20, 1, 0), Level::Critical, "95 % is on the bound");
    assert_eq!(fleet(21, 1, 0), Level::Warning);
    assert_eq!(fleet(1_000, 9, 0), Level::Healthy, "99.1 %");
    assert_eq!(fleet(1_000, 10, 0), Level::Warning);
    assert_eq!(fleet(1_000, 50, 0), Level::Critical);
}

// Mutations: leaving the unread out; taking them for ill; for well.
#[test]
fn the_unread_of_a_fleet_are_unknown_unless_they_cannot_matter() {
    assert_eq!(fleet(10, 0, 1), Level::Unknown);
    assert_eq!(fleet(10, 0, 10), Level::Unknown);
    assert_eq!(fleet(10, 1, 1), Level::Warning, "the one that is ill is known");
    assert_eq!(fleet(10, 2, 5), Level::Critical);
    assert_eq!(fleet(1_000, 0, 9), Level::Healthy, "healthy even if all nine are ill");
    assert_eq!(fleet(1_000, 0, 10), Level::Unknown);
    assert_eq!(fleet(1_000, 5, 4), Level::Healthy);
    assert_eq!(fleet(1_000, 5, 5), Level::Unknown);
}

// Mutation: a mean, a count, or the last one in place of the worst; healthy reasons that are told.
#[test]
fn components_and_the_mesh_are_as_their_worst_part_and_say_which() {
    let catalogue = catalogue();
    let survey = |id: &str, found: Found| Survey {
        indicator: catalogue.get(id).unwrap(),
        taken: vec![taken("a", found)],
        gaps: Vec::new(),
    };
    let mesh = overview(
        vec![
            survey("traffic.route_error_rate", figure(0.0)),
            survey("traffic.success_rate", unread()),
            survey("config.distribution", figure(1.0)),
            survey("security.certificate_validity", figure(0.2)),
        ],
        at(),
    );
    let levels: Vec<(&str, Level)> = mesh.components.iter().map(|c| (&*c.component, c.level)).collect();
    assert_eq!(
        levels,
        [("security", Level::Warning), ("traffic", Level::Unknown), ("config", Level::Healthy)]
    );
    assert_eq!(mesh.level, Level::Warning);
    let why = "security.certificate_validity: Pod shop/a has 20 %, warning from 25 % on";
    assert_eq!((&*mesh.why, &*mesh.components[0].why), (why, why));
    assert_eq!(mesh.components[1].why, "traffic.success_rate: Pod shop/a: nobody answers");
    assert_eq!(mesh.components[2].why, "");
    let ids: Vec<&str> = mesh.components[1].indicators.iter().map(|i| &*i.indicator).collect();
    assert_eq!(ids, ["traffic.success_rate", "traffic.route_error_rate"]);
    let nothing = overview(Vec::new(), at());
    assert_eq!((nothing.level, &*nothing.why), (Level::Unknown, "nothing was read"));
}

// Mutation: a reason of one of many, as if it were that of all.
#[test]
fn the_reason_of_the_unread_is_the_commonest_with_how_many_it_is() {
    let other = || Found::Unread("refused".to_owned());
    let why = |found| of("traffic.success_rate", found, &[]).why;
    assert_eq!(why(vec![unread(), unread()]), "nobody answers");
    assert_eq!(why(vec![unread(), other(), other(), figure(1.0)]), "3 of 4 not known, 2 of them: refused");
}
