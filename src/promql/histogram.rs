//! `histogram_quantile` of classic histograms, as Prometheus calculates it.

use std::collections::BTreeMap;

use super::Vector;
use super::functions::bucket;
use crate::model::series::Labels;

/// Counts that differ by less than this share were the same before they were calculated with.
const SAME: f64 = 1e-12;

/// The quantile of each histogram. A series without a bound `le`, or with one that is no number, is left out.
pub(super) fn quantile(share: f64, of: Vector) -> Vector {
    let mut histograms: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (labels, count) in of {
        if let Some((labels, bound)) = bucket(labels) {
            histograms.entry(labels).or_default().push((bound, count));
        }
    }
    histograms.into_iter().map(|(labels, buckets)| (labels, within(share, buckets))).collect()
}

/// The value below which a share of the observations lies: linear within its bucket. NaN where that cannot be
/// said: no bucket without bound, only that one, or no observations.
fn within(share: f64, mut buckets: Vec<(f64, f64)>) -> f64 {
    if share.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&share) {
        return if share < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Two series of one bound are two parts of one bucket.
    buckets.dedup_by(|next, kept| {
        let same = next.0.total_cmp(&kept.0).is_eq();
        kept.1 += if same { next.1 } else { 0.0 };
        same
    });
    mend(&mut buckets);
    let (Some(&(top, total)), Some(at)) = (buckets.last(), buckets.len().checked_sub(2)) else {
        return f64::NAN;
    };
    if top != f64::INFINITY || total <= 0.0 || total.is_nan() {
        return f64::NAN;
    }
    let rank = share * total;
    let Some(index) = buckets[..=at].iter().position(|(_, count)| *count >= rank) else {
        return buckets[at].0;
    };
    let (bound, count) = buckets[index];
    match index.checked_sub(1).map(|below| buckets[below]) {
        None if bound <= 0.0 => bound,
        None => bound * (rank / count),
        Some((start, below)) => start + (bound - start) * ((rank - below) / (count - below)),
    }
}

/// Counts never fall from bucket to bucket: where they do, scrapes were not of one moment.
fn mend(buckets: &mut [(f64, f64)]) {
    let mut before = buckets.first().map_or(0.0, |(_, count)| *count);
    for (_, count) in buckets.iter_mut().skip(1) {
        let same = (*count - before).abs() <= SAME * (count.abs() + before.abs());
        if same || *count < before {
            *count = before;
        }
        before = *count;
    }
}
