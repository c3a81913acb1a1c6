//! What a query gives on the counters of the mesh.

use std::collections::BTreeMap;

use super::Vector;
use super::parse::{By, Each, Matcher, Query};
use crate::sim::mesh::{BUCKETS, Counter, Counters, Mesh, Metric, Series};

/// The vector of a query; `None` where the parts do not fit together.
pub(super) fn vector(query: &Query, mesh: &Mesh) -> Option<Vector> {
    match query {
        Query::Number(_) => None,
        Query::Growth { metric, matchers, seconds, each } => {
            let grown = growth(metric, matchers, *seconds, mesh)?;
            let by = if *each == Each::Second { whole(*seconds) } else { 1.0 };
            Some(grown.into_iter().map(|(labels, value)| (labels, value / by)).collect())
        }
        Query::Group { by, labels, of } => Some(group(*by, labels, vector(of, mesh)?)),
        Query::Quantile(share, of) => Some(quantile(*share, vector(of, mesh)?)),
        Query::Relabel { of, target, source, pattern } => {
            let mut found = vector(of, mesh)?;
            for (labels, _) in &mut found {
                let caught = pattern.captures(labels.get(source).map_or("", String::as_str));
                let caught = caught.and_then(|caught| Some(caught.get(1)?.as_str().to_owned()));
                if let Some(caught) = caught {
                    labels.insert(target.clone(), caught);
                }
            }
            Some(found)
        }
        Query::Binary { sign, left, right } => binary(*sign, left, right, mesh),
    }
}

fn whole(seconds: i64) -> f64 {
    f64::from(u32::try_from(seconds).unwrap_or(u32::MAX)).max(1.0)
}

fn growth(metric: &str, matchers: &[Matcher], seconds: i64, mesh: &Mesh) -> Option<Vector> {
    let counters = &mesh.counters;
    let now = mesh.counted();
    let fits = |labels: &BTreeMap<String, String>| {
        let value = |matcher: &Matcher| labels.get(&matcher.label).map_or("", String::as_str).to_owned();
        matchers.iter().all(|matcher| matcher.takes(&value(matcher)))
    };
    let plain = |metric: Metric| -> Vector {
        let grown =
            |(series, counter): (&Series, &Counter)| (series.labels(), counter.increase(now, seconds));
        counters.of(metric).map(grown).filter(|(labels, _)| fits(labels)).collect()
    };
    Some(match metric {
        "istio_requests_total" => plain(Metric::Requests),
        "istio_request_duration_milliseconds_sum" => plain(Metric::DurationSum),
        "istio_request_duration_milliseconds_count" => plain(Metric::DurationCount),
        "envoy_cluster_upstream_rq_pending_overflow" => plain(Metric::PendingOverflow),
        "envoy_cluster_upstream_rq_active_overflow" => plain(Metric::ActiveOverflow),
        "istio_request_duration_milliseconds_bucket" => {
            buckets(counters, now, seconds).into_iter().filter(|(labels, _)| fits(labels)).collect()
        }
        _ => return None,
    })
}

/// Buckets as Prometheus has them: each holds what lies below it as well.
fn buckets(counters: &Counters, now: i64, seconds: i64) -> Vector {
    let mut single: BTreeMap<BTreeMap<String, String>, Vec<f64>> = BTreeMap::new();
    for number in 0..=BUCKETS.len() {
        for (series, counter) in counters.of(Metric::Bucket(number)) {
            let counts = single.entry(series.labels()).or_insert_with(|| vec![0.0; BUCKETS.len() + 1]);
            counts[number] += counter.increase(now, seconds);
        }
    }
    let mut out = Vec::new();
    for (labels, counts) in single {
        let mut total = 0.0;
        for (number, count) in counts.into_iter().enumerate() {
            total += count;
            let bound = BUCKETS.get(number).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            let mut labels = labels.clone();
            labels.insert("le".to_owned(), bound);
            out.push((labels, total));
        }
    }
    out
}

fn group(by: By, labels: &[String], vector: Vector) -> Vector {
    let mut groups: BTreeMap<BTreeMap<String, String>, f64> = BTreeMap::new();
    for (all, value) in vector {
        let kept = all.into_iter().filter(|(label, _)| labels.contains(label)).collect();
        let total = groups.entry(kept).or_insert(if by == By::Max { f64::MIN } else { 0.0 });
        *total = match by {
            By::Sum => *total + value,
            By::Count => *total + 1.0,
            By::Max => total.max(value),
        };
    }
    groups.into_iter().collect()
}

fn binary(sign: char, left: &Query, right: &Query, mesh: &Mesh) -> Option<Vector> {
    let left = vector(left, mesh)?;
    let Query::Number(number) = right else {
        return both(sign, left, vector(right, mesh)?);
    };
    Some(match sign {
        '>' => left.into_iter().filter(|(_, value)| value > number).collect(),
        '<' => left.into_iter().filter(|(_, value)| value < number).collect(),
        _ => left.into_iter().map(|(labels, value)| (labels, of(sign, value, *number))).collect(),
    })
}

fn of(sign: char, left: f64, right: f64) -> f64 {
    if sign == '/' { left / right } else { left * right }
}

/// Series with the same labels on both sides.
fn both(sign: char, left: Vector, right: Vector) -> Option<Vector> {
    if sign != '/' && sign != '*' {
        return None;
    }
    let right: BTreeMap<BTreeMap<String, String>, f64> = right.into_iter().collect();
    let joined = left.into_iter().filter_map(|(labels, value)| {
        let other = *right.get(&labels)?;
        Some((labels, of(sign, value, other)))
    });
    Some(joined.collect())
}

fn quantile(share: f64, vector: Vector) -> Vector {
    let mut groups: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for (mut labels, count) in vector {
        let bound = labels.remove("le").map(|bound| bound.parse().unwrap_or(f64::INFINITY));
        if let Some(bound) = bound {
            groups.entry(labels).or_default().push((bound, count));
        }
    }
    groups.into_iter().map(|(labels, buckets)| (labels, within(share, buckets))).collect()
}

/// Linear within the bucket, as Prometheus does it.
fn within(share: f64, mut buckets: Vec<(f64, f64)>) -> f64 {
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total = buckets.last().map_or(0.0, |(_, count)| *count);
    if total <= 0.0 {
        return f64::NAN;
    }
    let wanted = share * total;
    let (mut bound_below, mut count_below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if count >= wanted {
            if bound.is_infinite() {
                return bound_below;
            }
            return bound_below + (bound - bound_below) * (wanted - count_below) / (count - count_below);
        }
        (bound_below, count_below) = (bound, count);
    }
    bound_below
}
