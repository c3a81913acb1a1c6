//! What comes of answers that were harmed on their way: ten thousand for each reader. None may make it panic, or
//! work without end, or say that something is well which the whole answer did not call well.
//!
//! Harm that could honestly turn "ill" into "well", such as a flag cut out whose absence means "well", is done
//! too, but not held against the reader.

mod harm;

use std::collections::BTreeSet;

use harm::{Generator, HARMS, Harm, Original};

use super::{api_server, envoy, exposition, istiod, prometheus, usage};
use crate::model::proxy::Standing;

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("../../tests/recorded/", $name))
    };
}

/// Some of each kind for each reader, over all of its recorded answers.
const INPUTS: usize = 10_000;

/// Harms with which nothing ill can look well: what is left of the text does not say so.
const STRICT: &[Harm] = &[Harm::Cut, Harm::Type, Harm::Empty, Harm::Html, Harm::Deep, Harm::Wrapped];
/// The same, where also a field that is gone or has another name cannot.
const FIELDS: &[Harm] =
    &[Harm::Cut, Harm::Type, Harm::Empty, Harm::Html, Harm::Deep, Harm::Wrapped, Harm::Field, Harm::Renamed];
/// The same, where neither a byte nor a gap can.
const ALL_BUT_TWICE: &[Harm] = &[
    Harm::Cut,
    Harm::Type,
    Harm::Empty,
    Harm::Html,
    Harm::Deep,
    Harm::Wrapped,
    Harm::Field,
    Harm::Renamed,
    Harm::Byte,
    Harm::Gap,
    Harm::Number,
];

/// How many things of an answer a reader calls well; nothing where it refuses the answer.
type Well = fn(&[u8]) -> Option<usize>;

fn stands(texts: &[&str], held: &[Harm], well: Well) {
    let mut generator = Generator::new(0x6d65_7368);
    let mut refused = BTreeSet::new();
    let originals: Vec<_> =
        texts.iter().map(|text| (Original::of(text), well(text.as_bytes()).unwrap_or(0))).collect();
    for index in 0..INPUTS {
        let (original, before) = &originals[index % texts.len()];
        let harm = HARMS[(index / texts.len()) % HARMS.len()];
        let harmed = generator.harmed(original, harm);
        let after = well(&harmed);
        if after.is_none() {
            refused.insert(harm);
        }
        if held.contains(&harm) {
            let shown = || String::from_utf8_lossy(&harmed[..harmed.len().min(2000)]).into_owned();
            assert!(after.unwrap_or(0) <= *before, "{index}, {harm:?}: {before:?} {after:?} {}", shown());
        }
    }
    // Mutation: a reader that takes everything for an answer.
    assert!(refused.contains(&Harm::Cut) && refused.contains(&Harm::Html), "{refused:?}");
}

#[test]
fn exposition_refuses_what_breaks_off() {
    let head = |page: &'static str| &page[..page.match_indices('\n').nth(20).unwrap().0 + 1];
    let pages = [
        head(recorded!("istiod/metrics-nack.prom")),
        head(recorded!("agent/stats-mtls.prom")),
        head(recorded!("apiserver/metrics.prom")),
    ];
    // A page that was cut between two lines is a page with fewer of them: HTTP says that it was cut.
    let well: Well = |body| Some(exposition::read(body, &|_| true).ok()?.len());
    stands(&pages, &[Harm::Cut, Harm::Html, Harm::Empty, Harm::Deep], well);
}

// Mutation: `#[serde(default)]` on `proxy`, or a missing `acked` read as acknowledged.
#[test]
fn syncz_makes_no_ill_proxy_well() {
    let pages = [recorded!("istiod/syncz-nack.json"), recorded!("istiod/syncz-stale-frozen-proxy.json")];
    stands(&pages, ALL_BUT_TWICE, |body| {
        let words = istiod::syncz::read(body).ok()?;
        Some(words.values().filter(|word| word.standing == Standing::Acknowledged).count())
    });
}

// Mutation: taking the list without its total.
#[test]
fn adsz_counts_only_whole_lists() {
    let held = [Harm::Cut, Harm::Type, Harm::Field, Harm::Renamed, Harm::Twice, Harm::Wrapped, Harm::Deep];
    stands(&[recorded!("istiod/adsz-healthy.json")], &held, |body| {
        Some(istiod::adsz::read(body).ok()?.clients)
    });
}

// Mutation: an absent counter, or one without a value, as zero.
#[test]
fn stats_that_are_harmed_are_not_zero() {
    let pages = [recorded!("envoy/stats-nack.json"), recorded!("envoy/stats-ejected.json")];
    stands(&pages, FIELDS, |body| {
        let stats = envoy::stats::read(body).ok()?;
        Some(usize::from(stats.get(envoy::Stat::RejectedListeners) == Ok(0)))
    });
}

// Mutation: a default for `health_status`.
#[test]
fn clusters_keep_their_ejected_hosts() {
    // Half of them are enough: each look at a page costs a debug build a millisecond.
    let mut page: serde_json::Value = serde_json::from_str(recorded!("envoy/clusters-ejected.json")).unwrap();
    let clusters = page["cluster_statuses"].as_array_mut().unwrap();
    clusters.retain(|cluster| cluster["name"].as_str().unwrap().starts_with("outbound|80|v"));
    stands(&[&page.to_string()], STRICT, |body| {
        let found = envoy::clusters::read(body).ok()?;
        Some(found.iter().filter(|cluster| cluster.hosts > 0 && cluster.ejected == 0).count())
    });
}

// Mutation: `Option` as serde reads it, for which a null is nothing.
#[test]
fn a_dump_keeps_its_rejections() {
    stands(&[recorded!("envoy/config_dump-listeners-nack.json")], STRICT, |body| {
        let found = envoy::config::read(200, body).ok()?;
        Some(usize::from(found.listeners > 0 && found.rejected.is_empty()))
    });
}

// Mutation: a default for a time.
#[test]
fn certificates_do_not_grow_young() {
    stands(&[recorded!("envoy/certs-mtls.json")], FIELDS, |body| {
        let late = "2026-11-24T12:00:00Z".parse().unwrap();
        let leaves = envoy::certs::read(body).ok()?;
        Some(leaves.iter().filter(|leaf| leaf.left(late) > 0.4).count())
    });
}

// Mutation: a default for `state`.
#[test]
fn a_server_that_drains_is_not_live() {
    let pages =
        [recorded!("envoy/server_info-draining.json"), recorded!("envoy/server_info-pre-initializing.json")];
    stands(&pages, ALL_BUT_TWICE, |body| Some(usize::from(envoy::server::read(body).ok()?.is_live())));
}

// Mutation: passing over lines that are none, or trusting the last line.
#[test]
fn a_failing_check_stays_one() {
    let ill = recorded!("apiserver/readyz-verbose.txt")
        .replace("[+]etcd ok", "[-]etcd failed: reason withheld")
        .replace("readyz check passed", "readyz check failed");
    stands(&[&ill], ALL_BUT_TWICE, |body| {
        Some(usize::from(api_server::readiness(500, body).ok()?.failed.is_empty()))
    });
}

// Mutation: a quantity that is none as nothing used.
#[test]
fn usage_does_not_shrink() {
    stands(&[recorded!("metrics/pods.json")], FIELDS, |body| {
        let pods = usage::read(200, body).ok()?;
        let containers = pods.values().flat_map(|pod| pod.containers.values());
        Some(containers.filter(|used| used.memory < 40_000_000.0).count())
    });
}

// Mutation: what is no number as zero, or as up.
#[test]
fn prometheus_makes_nothing_of_what_is_no_number() {
    let pages = [
        recorded!("prometheus/query-up.json"),
        recorded!("prometheus/query-nan.json"),
        recorded!("prometheus/query-timeout.json"),
    ];
    stands(&pages, FIELDS, |body| {
        let series = prometheus::read_series(body, "2026-11-23T12:59:12Z".parse().unwrap()).ok()?;
        Some(series.iter().filter(|(_, value)| *value == Ok(1.0)).count())
    });
    stands(&[recorded!("prometheus/query-range.json")], FIELDS, |body| {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        let (from, to) = (at(1_795_438_688), at(1_795_438_708));
        let span = prometheus::Span { from, to, step: std::time::Duration::from_secs(1) };
        let series = prometheus::range::read(body, span).ok()?;
        Some(series.iter().filter(|series| series.last.as_ref().is_ok_and(|last| *last < 0.4)).count())
    });
}
