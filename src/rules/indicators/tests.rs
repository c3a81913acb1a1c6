//! Tests of the catalogue.

use super::*;
use crate::rules::note::Note;
use crate::yaml::parse;

fn read(items: &str) -> (Catalogue, Vec<Note>) {
    let text = format!("apiVersion: meshmend.dev/v1alpha1\nkind: Indicators\nindicators:\n{items}");
    let mut notes = Vec::new();
    let catalogue = Catalogue::read(&[("i.yaml".to_owned(), parse(&text).unwrap())], &mut notes);
    (catalogue, notes)
}

// Mutation: comparing one way only makes a certificate that is about to expire healthy.
#[test]
fn bands_and_triggers_run_either_way_and_a_bound_belongs_to_the_worse_side() {
    let lower = Bands { warning: 0.99, critical: 0.95 };
    let levels = [1.0, 0.99, 0.95, 0.0].map(|value| lower.level(value));
    assert_eq!(levels, [Level::Healthy, Level::Warning, Level::Critical, Level::Critical]);
    let higher = Bands { warning: 0.01, critical: 0.05 };
    let levels = [0.0, 0.01, 0.05, 1.0].map(|value| higher.level(value));
    assert_eq!(levels, [Level::Healthy, Level::Warning, Level::Critical, Level::Critical]);
    assert!(Bound::Below(0.0).is_met(0.0) && !Bound::Below(0.0).is_met(0.1));
    assert!(Bound::Above(0.5).is_met(0.5) && !Bound::Above(0.5).is_met(0.4));
}

#[test]
fn each_way_of_reading_is_one_of_a_closed_list() {
    let start = "unit: s, bands: { warning: 1, critical: 0 }, minSamples: 1";
    let trigger = "symptom: a.b, minSamples: 1, hold: 0s";
    let (found, notes) = read(&format!(
        "  - {{ id: a.b, {start}, check: proxy_liveness, trigger: {{ {trigger}, below: 0.5 }} }}\n"
    ));
    assert!(notes.is_empty(), "{notes:?}");
    let indicator = found.get("a.b").unwrap();
    assert_eq!(indicator.reader.source(), "proxy_check");
    assert_eq!(indicator.trigger.as_ref().unwrap().of.as_deref(), Some("Pod"));
    for (line, wrong) in [
        ("check: mood", "no check is called \"mood\"; known: proxy_liveness, "),
        ("window: 1m, check: proxy_liveness", "it has no window"),
        ("check: proxy_liveness, prometheus: {}", "not by both"),
        ("", "how is it read?"),
        (&format!("check: proxy_liveness, trigger: {{ {trigger} }}"), "either above or below"),
        (&format!("check: proxy_liveness, trigger: {{ {trigger}, of: Pod, above: 1 }}"), "has its own kind"),
    ] {
        let (_, notes) = read(&format!(
            "  - {{ id: a.ok, {start}, check: config_distribution }}\n  - {{ id: a.b, {start}, {line} }}\n"
        ));
        let told = notes.first().map(|note| (note.line, note.text.clone()));
        // Mutation: skipping an unknown word silently leaves a symptom that nobody ever reads.
        assert!(told.as_ref().is_some_and(|(at, text)| *at == 5 && text.contains(wrong)), "{line}: {told:?}");
    }
}

// Mutations: taking any numbers; taking them for an indicator of which the worst subject counts.
#[test]
fn a_small_fleet_is_written_so_that_it_can_be_ill() {
    let with = |few: &str, check: &str| {
        let line = format!(
            "  - {{ id: a.b, unit: s, bands: {{ warning: 1, critical: 0 }}, minSamples: 1, few: {few}, check: {check} }}\n"
        );
        let (found, notes) = read(&line);
        (found.get("a.b").and_then(|indicator| indicator.few), notes.first().map(|note| note.text.clone()))
    };
    let (few, notes) = with("{ below: 20, warning: 1, critical: 2 }", "proxy_liveness");
    assert_eq!((few, notes), (Some(Few { below: 20, warning: 1, critical: 2, hold_s: 0 }), None));
    let (few, _) = with("{ below: 20, warning: 1, critical: 2, hold: 2m }", "proxy_liveness");
    assert_eq!(few.map(|few| few.hold_s), Some(120));
    for (few, check, wrong) in [
        ("{ below: 20, warning: 3, critical: 2 }", "proxy_liveness", "the other way round"),
        ("{ below: 2, warning: 2, critical: 2 }", "proxy_liveness", "always be healthy"),
        ("{ below: 20, warning: 0, critical: 2 }", "proxy_liveness", "at least 1"),
        ("{ below: 20, warning: 1 }", "proxy_liveness", "\"critical\" is missing"),
        ("{ below: 20, warning: 1, critical: 2 }", "control_plane_ready", "the worst subject counts"),
    ] {
        let (_, note) = with(few, check);
        assert!(note.as_ref().is_some_and(|note| note.contains(wrong)), "{few}: {note:?}");
    }
}

// Mutations: a trigger beside readings that is dropped; one that every reading meets whatever it is about; one
// source for the symptoms of two indicators.
#[test]
fn what_is_read_in_several_ways_may_be_a_symptom_too() {
    let with = |of: &str| {
        let line = format!(
            "  - {{ id: a.b, unit: s, bands: {{ warning: 1, critical: 2 }}, minSamples: 1, readings: [{{ expression: x }}], \
             trigger: {{ symptom: a.ill, {of} above: 4, minSamples: 9, hold: 5m }} }}\n"
        );
        let (found, notes) = read(&line);
        assert!(notes.is_empty(), "{notes:?}");
        found.get("a.b").unwrap().clone()
    };
    let (all, pods) = (with(""), with("of: Pod,"));
    assert_eq!(all.source(), "indicators/a.b");
    let is_of = |indicator: &Indicator, kind: &str| indicator.trigger.as_ref().unwrap().is_of(kind);
    assert!(is_of(&all, "Pod") && is_of(&all, "Mesh"));
    assert!(is_of(&pods, "Pod") && !is_of(&pods, "Mesh"));
    assert_eq!(all.trigger.as_ref().unwrap().hold_s, 300);
}

// Mutation: a trigger that is tighter than the bands pages for what is only a warning, or for less.
#[test]
fn every_shipped_trigger_is_no_tighter_than_the_bands() {
    let rules = crate::rules::Rules::load(&crate::rules::RuleFiles::embedded(), None).unwrap().rules;
    for indicator in rules.indicators.iter() {
        let Some(trigger) = &indicator.trigger else { continue };
        let (bound, falls) = match trigger.bound {
            Bound::Above(bound) => (bound, false),
            Bound::Below(bound) => (bound, true),
        };
        assert_eq!(falls, indicator.bands.fall(), "{}", indicator.id);
        assert_eq!(indicator.bands.level(bound), Level::Critical, "{}", indicator.id);
        assert!(trigger.min_samples >= indicator.min_samples, "{}", indicator.id);
        let read = matches!(indicator.reader, Reader::Readings(_));
        assert!(!read || trigger.hold_s >= 60, "{}: it is read every 15 s", indicator.id);
    }
}

// Mutation: an indicator that is shipped without a word on what to do where it cannot be read.
#[test]
fn every_shipped_indicator_says_what_to_do_where_it_cannot_be_read() {
    let rules = crate::rules::Rules::load(&crate::rules::RuleFiles::embedded(), None).unwrap().rules;
    for indicator in rules.indicators.iter() {
        assert!(!indicator.fix.is_empty(), "{}", indicator.id);
    }
}

// Mutations: an expression that is kept as it is written; samples that are; taking an unknown mesh or
// state for none; two ways in one.
#[test]
fn readings_are_checked_as_far_as_their_text_tells() {
    let with = |readings: &str| {
        let line = format!(
            "  - {{ id: a.b, unit: ms, bands: {{ warning: 1, critical: 2 }}, minSamples: 1, window: 5m, readings: [{readings}] }}\n"
        );
        let (found, notes) = read(&line);
        let reader = found.get("a.b").map(|indicator| indicator.reader.clone());
        (reader, notes.first().map(|note| note.text.clone()))
    };
    let good = r#"{ meshes: [istio], expression: 'rate(x{a="("}[$window])', samples: 'sum(x)' }, { state: watches }, { later: soon }"#;
    let (reader, note) = with(good);
    assert_eq!(note, None);
    let Some(Reader::Readings(ways)) = reader else { panic!("it is read in three ways") };
    let value = r#"rate(x{a="("}[300s])"#.to_owned();
    assert_eq!(ways[0].by, By::Expression { value, samples: Some("sum(x)".to_owned()), baseline: None });
    assert!(ways[0].is_for(MeshName::Istio) && !ways[0].is_for(MeshName::Linkerd));
    assert!(ways[1].is_for(MeshName::Linkerd), "without meshes it is for all");
    for (readings, wrong) in [
        ("", "the list is empty"),
        ("{ expression: 'sum(x' }", "no PromQL"),
        ("{ expression: 'sum(x}' }", "no PromQL"),
        ("{ expression: 'x{a=\"b}' }", "no PromQL"),
        ("{ expression: 'rate(x)' }", "no PromQL"),
        ("{ expression: 'x{a=~\"(\"}' }", "no PromQL"),
        ("{ expression: '' }", "empty"),
        ("{ expression: 'x', samples: 'sum(' }", "no PromQL"),
        ("{ state: mood }", "no state is called"),
        ("{ meshes: [kuma], state: watches }", "\"kuma\" is no mesh"),
        ("{ meshes: [], state: watches }", "this list is empty"),
        ("{ state: watches, later: soon }", "is one of"),
        ("{ state: watches, samples: x }", "beside an expression"),
        ("{ state: watches, baseline: { of: then, current: x } }", "beside an expression"),
        ("{ expression: x, baseline: { of: then } }", "\"current\" is missing"),
        ("{ expression: x, baseline: { of: then, current: 'sum(' } }", "no PromQL"),
        ("{ meshes: [istio] }", "is one of"),
    ] {
        let (_, note) = with(readings);
        assert!(note.as_ref().is_some_and(|note| note.contains(wrong)), "{readings}: {note:?}");
    }
}

// Mutations: each check taken out of `read.rs`.
#[test]
fn ids_units_titles_and_bands_are_checked() {
    let good = [
        ("id", "a.b"),
        ("unit", "share of pods"),
        ("bands", "{ warning: 0.9, critical: 0.8 }"),
        ("worse", "lower"),
        ("restored", "[critical]"),
        ("title", "Pods"),
        ("minSamples", "1"),
        ("readings", "[{ state: watches }]"),
    ];
    let with = |key: &str, value: &str| {
        let keys = good.map(|(known, text)| format!("{known}: {}", if known == key { value } else { text }));
        let (_, notes) = read(&format!("  - {{ {} }}\n", keys.join(", ")));
        notes.first().map(|note| note.text.clone())
    };
    assert_eq!(with("", ""), None);
    for (key, value, wrong) in [
        ("id", "ab", "is no id"),
        ("id", "a.B", "is no id"),
        ("id", "a.b.c", "is no id"),
        ("unit", "furlongs", "not known"),
        ("unit", "'share of '", "not known"),
        ("bands", "{ warning: 0.8, critical: 0.9 }", "on the healthy side"),
        ("bands", "{ warning: 0.8, critical: 0.8 }", "are the same"),
        ("worse", "sideways", "lower or higher"),
        ("restored", "[grave]", "is no band"),
        ("title", "a title of more than thirty-four characters", "at most 34"),
        ("readings", "[{ state: watches }], trigger: { symptom: a.b }", "either above or below"),
        ("readings", "[{ state: watches }], check: proxy_liveness", "take out check"),
    ] {
        let note = with(key, value);
        assert!(note.as_ref().is_some_and(|note| note.contains(wrong)), "{key}: {value}: {note:?}");
    }
}

/// The shipped catalogue with files of a user.
fn loaded(files: &[(&str, &str)]) -> Result<Catalogue, Vec<(String, u64, String)>> {
    let mut all = crate::rules::RuleFiles::embedded();
    all.policies.remove("indicators.yaml");
    for (name, items) in files {
        let text = format!("apiVersion: meshmend.dev/v1alpha1\nkind: Indicators\nindicators:\n{items}");
        all.policies.insert((*name).to_owned(), text);
    }
    let loaded = crate::rules::Rules::load(&all, None).map(|loaded| loaded.rules.indicators);
    loaded.map_err(|notes| notes.into_iter().map(|note| (note.file, note.line, note.text)).collect())
}

// Mutations: replacing the whole of it; a new way of reading beside the old one; keys that are not named lost.
#[test]
fn a_file_of_another_name_changes_only_the_keys_it_names_and_adds() {
    let shipped = loaded(&[]).unwrap();
    let mine = "  - { id: data_plane.resources, bands: { warning: 0.5, critical: 0.6 } }\n  \
                - { id: security.certificate_validity, check: certificate_validity, minSamples: 2 }\n  \
                - { id: shop.orders, unit: /s, bands: { warning: 2, critical: 1 }, minSamples: 1, readings: [{ expression: x }] }\n";
    let found = loaded(&[("mine.yaml", mine)]).unwrap();
    let id = "data_plane.resources";
    let (before, after) = (shipped.get(id).unwrap(), found.get(id).unwrap());
    let expected = Indicator { bands: Bands { warning: 0.5, critical: 0.6 }, ..before.clone() };
    assert_eq!(*after, expected);
    let id = "security.certificate_validity";
    let expected = Indicator { min_samples: 2.0, ..shipped.get(id).unwrap().clone() };
    assert_eq!(*found.get(id).unwrap(), expected);
    assert_eq!(found.iter().count(), shipped.iter().count() + 1);
    assert!(found.get("shop.orders").is_some());
    let way = "  - { id: data_plane.proxy_readiness, readings: [{ later: soon }], few: { below: 3, warning: 1, critical: 1 } }\n";
    assert!(loaded(&[("mine.yaml", way)]).is_err(), "few is for fleets, and nobody counts one any more");
    // A file of the shipped one's name stands in its place.
    assert!(loaded(&[("indicators.yaml", mine)]).is_err(), "its first indicator is none by itself");
}

// Mutations: the last file of those that say something of one indicator wins silently; bands that turn round;
// a mistake told of the wrong file.
#[test]
fn what_a_change_makes_wrong_is_told_in_its_own_file() {
    let bands = "  - { id: data_plane.resources, bands: { warning: 0.5, critical: 0.4 } }\n";
    let told = loaded(&[("mine.yaml", bands)]).unwrap_err();
    assert!(told.len() == 1 && told[0].0 == "mine.yaml" && told[0].1 == 4, "{told:?}");
    assert!(told[0].2.contains("on the healthy side"), "{told:?}");
    let good = "  - { id: data_plane.resources, bands: { warning: 0.5, critical: 0.6 } }\n";
    let told = loaded(&[("a.yaml", good), ("b.yaml", good)]).unwrap_err();
    assert!(told[0].0 == "b.yaml" && told[0].2.contains("a.yaml says something"), "{told:?}");
    // What is acted on needs the way that its trigger and its playbooks know.
    let way = "  - { id: traffic.route_error_rate, readings: [{ expression: x }] }\n";
    let told = loaded(&[("mine.yaml", way)]).unwrap_err();
    assert!(
        told.iter().any(|(file, _, text)| file == "mine.yaml" && text.contains("take out readings")),
        "{told:?}"
    );
    let told = loaded(&[("mine.yaml", "  - { unit: ms }\n  - 3\n")]).unwrap_err();
    assert_eq!(told.len(), 2, "{told:?}");
}

// Mutation: an expression of the catalogue that our own evaluator does not know, which is unknown for ever where
// there is no Prometheus.
#[test]
fn every_shipped_expression_is_evaluated_without_prometheus() {
    let rules = crate::rules::Rules::load(&crate::rules::RuleFiles::embedded(), None).unwrap().rules;
    let nothing = crate::promql::Pages::new(&[], 0.0, 0);
    let mut count = 0;
    let mut check = |text: &str| {
        let found = crate::promql::Query::parse(text).and_then(|query| query.at(&nothing, 1e9));
        assert_eq!(found, Ok(Vec::new()), "{text}");
        count += 1;
    };
    for indicator in rules.indicators.iter() {
        let hosts = ["a.b".to_owned()];
        indicator.reader.expressions(&hosts, 60).iter().for_each(|text| check(text));
        if let Reader::Prometheus(queries) = &indicator.reader {
            let overflow = queries.overflow.iter().flat_map(|of| [&of.pending, &of.active]);
            overflow.for_each(|text| check(&Queries::fill_in(text, &hosts, 60)));
        }
    }
    assert!(count > 50, "{count} expressions");
}
