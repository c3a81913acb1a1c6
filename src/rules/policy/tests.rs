//! Policies as they are written: what is read, and every mistake with its line.

use std::collections::BTreeMap;

use crate::model::subject::Subject;
use crate::model::verdict::Mode;
use crate::rules::{Act, RuleFiles, Rules, Ruling};

const HEAD: &str = "apiVersion: meshmend.dev/v1alpha1\nkind: Policy\nmetadata: { name: NAME }\nspec:\n";

fn load(specs: &[(&str, &str)]) -> Result<Rules, Vec<String>> {
    let mut files = RuleFiles::embedded();
    files.policies.remove("observe.yaml");
    for (name, spec) in specs {
        files.policies.insert(format!("{name}.yaml"), format!("{}{spec}", HEAD.replace("NAME", name)));
    }
    let loaded = Rules::load(&files, None).map(|loaded| loaded.rules);
    loaded.map_err(|notes| notes.iter().map(ToString::to_string).collect())
}

fn ruling(specs: &[(&str, &str)], at: &str) -> Ruling {
    let (target, labels) = (Subject::virtual_service("shop", "cart"), BTreeMap::new());
    let act = Act { playbook: "p", actions: vec!["rollback_route"], target: &target, labels: &labels };
    let rules = load(specs).expect("the policies are right");
    rules.policies.ruling(&act, at.parse().expect("a time"))
}

// Mutation: returning after the first fault of a policy, or of a window.
#[test]
fn every_mistake_of_the_stops_is_told_with_its_line() {
    let spec = "  mode: enforce
  windows:
    - { deny: \"Fri 16:00 - 08:00\", zone: Europe/Berlim }
    - { allow: \"22:00 - 06:00\" }
    - { allow: \"22:00 - 06:00\", deny: \"22:00 - 06:00\", zone: UTC }
    - { closed: \"22:00 - 06:00\", zone: UTC }
  freezes:
    - { from: \"2026-12-24 18:00\", to: 2026-12-27T08:00:00Z, reason: feast }
    - { from: 2026-12-27T08:00:00Z, to: 2026-12-24T08:00:00Z, reason: feast }
    - { from: soon, to: later }
  breaker: { failures: 0, window: 1h, pause: 8d, open: 3 }
  blastRadius:
    storm:
      namespace: 130%
      mesh: { share: 10%, least: 0, most: 3 }
      workload: 10%
  pauses: []
";
    let notes = load(&[("x", spec)]).expect_err("it is full of mistakes").join("\n");
    for (place, words) in [
        ("x.yaml:7:", "name a day"),
        ("x.yaml:7:", "Europe/Berlim"),
        ("x.yaml:8:", "zone"),
        ("x.yaml:9:", "either allow or deny"),
        ("x.yaml:10:", "closed"),
        ("x.yaml:12:", "names no zone"),
        ("x.yaml:13:", "ends before it begins"),
        ("x.yaml:14:", "is not a time"),
        ("x.yaml:14:", "reason"),
        ("x.yaml:15:", "at least 1"),
        ("x.yaml:15:", "between 1s and 7d"),
        ("x.yaml:15:", "open"),
        ("x.yaml:18:", "between 0% and 100%"),
        ("x.yaml:19:", "at least 1"),
        ("x.yaml:19:", "most"),
        ("x.yaml:20:", "workload"),
        ("x.yaml:21:", "pauses"),
    ] {
        assert!(
            notes.lines().any(|line| line.contains(place) && line.contains(words)),
            "{place} {words} is missing in:\n{notes}"
        );
    }
}

// Mutations: `min` to `max` in `ruling::storm`; a default that replaces what one policy wrote.
#[test]
fn of_several_policies_the_smaller_bounds_count_and_say_where_they_come_from() {
    let rest = "  mode: enforce\n  blastRadius:\n    storm: ";
    let one = format!("{rest}{{ namespace: 40%, mesh: {{ share: 5%, least: 9 }}, cooldown: 1m }}\n");
    let other = format!("{rest}{{ namespace: {{ share: 50%, least: 2 }}, cooldown: 2m }}\n");
    let at = "2026-01-01T00:00:00Z";
    let storm = ruling(&[("one", &one), ("other", &other)], at).storm;
    assert_eq!((storm.namespace.share, storm.namespace.least), (0.4, 2));
    assert_eq!((storm.mesh.share, storm.mesh.least, storm.cooldown_s), (0.05, 9, 120));
    assert_eq!(storm.from, ["one, other", "one"]);
    let storm = ruling(&[("one", "  mode: enforce\n")], at).storm;
    assert_eq!((storm.namespace.share, storm.namespace.least), (0.3, 3));
    assert_eq!((storm.mesh.share, storm.mesh.least, storm.cooldown_s), (0.1, 5, 300));
    assert_eq!(storm.from, ["default", "default"]);
}

// Mutations: `least` left out; `ceil` to `floor`; the hair left out.
#[test]
fn a_storm_is_a_share_rounded_up_and_at_least_a_number() {
    let bound = |share: f64, least: u64, of: u64| super::StormBound { share, least }.bound(of);
    assert_eq!((bound(0.3, 3, 2), bound(0.3, 3, 10), bound(0.3, 3, 11)), (3, 3, 4));
    assert_eq!((bound(0.1, 1, 30), bound(0.07, 1, 100), bound(0.0, 1, 0)), (3, 7, 1));
}

// Mutations: a freeze that does not cap the mode; the one that ends first in place of the last.
#[test]
fn a_freeze_caps_the_mode_while_it_lasts_and_civil_times_are_those_of_its_zone() {
    let spec = "  mode: enforce
  freezes:
    - { from: \"2026-12-24 18:00\", to: \"2026-12-25\", zone: Europe/Berlin, reason: eve }
    - { from: 2026-12-24T20:00:00+01:00, to: 2026-12-27T08:00:00Z, reason: feast }
";
    let at = |text: &str| {
        let ruling = ruling(&[("x", spec)], text);
        (ruling.mode, ruling.frozen.map(|freeze| freeze.reason).unwrap_or_default())
    };
    assert_eq!(at("2026-12-24T16:59:59Z"), (Mode::Enforce, String::new()));
    assert_eq!(at("2026-12-24T17:00:00Z"), (Mode::Observe, "eve".to_owned()));
    assert_eq!(at("2026-12-24T19:00:00Z"), (Mode::Observe, "feast".to_owned()));
    assert_eq!(at("2026-12-27T07:59:59Z"), (Mode::Observe, "feast".to_owned()));
    assert_eq!(at("2026-12-27T08:00:00Z"), (Mode::Enforce, String::new()));
}
