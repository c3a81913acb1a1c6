//! What Envoy's own overflow counters add to the flags of requests. Most sidecars do not export them; then
//! only the flags speak, and nothing is said of the counters.

use std::collections::BTreeMap;

use crate::model::indicator::Overflow;
use crate::sources::prometheus::{ByHost, Counts};

/// Puts what the counters say beside the counts of each host. A host without a series has none to say; one
/// whose series is no number is unknown as a whole.
pub(super) fn add(counts: &mut ByHost<Counts>, counters: &Overflow<ByHost<f64>>) {
    for (host, counts) in counts.iter_mut() {
        let told = |counter: &ByHost<f64>| counter.get(host).cloned().transpose();
        let both = told(&counters.pending).and_then(|pending| Ok((pending, told(&counters.active)?)));
        match (counts.as_mut(), both) {
            (Ok(counts), Ok((pending, active))) => counts.overflow = Overflow { pending, active },
            (Ok(_), Err(why)) => *counts = Err(why),
            (Err(_), _) => {}
        }
    }
}

/// The bad ones among the requests of a host. A request that a full pool turned away has its flag and is
/// counted as well, so the larger of the two counts and never their sum.
pub(super) fn bad(counts: &Counts) -> f64 {
    let Overflow { pending, active } = counts.overflow;
    counts.bad.max(pending.unwrap_or(0.0) + active.unwrap_or(0.0))
}

/// What a signal tells of the counters.
pub(super) fn evidence(counts: Option<&Result<Counts, String>>) -> BTreeMap<String, String> {
    let Some(Ok(counts)) = counts else { return BTreeMap::new() };
    let text = |counter: Option<f64>| match counter {
        Some(count) => format!("{count:.0}"),
        None => "not exported".to_owned(),
    };
    BTreeMap::from([
        ("pending_overflow".to_owned(), text(counts.overflow.pending)),
        ("active_overflow".to_owned(), text(counts.overflow.active)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: &str, value: Result<f64, &str>) -> ByHost<f64> {
        ByHost::from([(host.to_owned(), value.map_err(str::to_owned))])
    }

    fn with(counters: &Overflow<ByHost<f64>>) -> Result<Counts, String> {
        let counts = Counts { samples: 100.0, bad: 10.0, overflow: Overflow::default() };
        let mut all = ByHost::from([("a".to_owned(), Ok(counts))]);
        add(&mut all, counters);
        all.remove("a").unwrap()
    }

    fn said(counts: &Result<Counts, String>) -> Vec<String> {
        evidence(Some(counts)).into_values().collect()
    }

    // Mutations: reading one counter only; adding flags and counters up; zero for a counter that is absent.
    #[test]
    fn both_counters_count_and_one_that_is_absent_is_told_from_zero() {
        let both = with(&Overflow { pending: of("a", Ok(12.0)), active: of("a", Ok(30.0)) });
        assert_eq!(both.as_ref().map(bad), Ok(42.0), "which one moves depends on the limit that was met");
        assert_eq!(said(&both), ["30", "12"]);
        let fewer = with(&Overflow { pending: of("a", Ok(4.0)), active: of("a", Ok(0.0)) });
        assert_eq!(fewer.as_ref().map(bad), Ok(10.0), "one request stands in both");
        assert_eq!(said(&fewer), ["0", "4"]);
        let older = with(&Overflow { pending: of("a", Ok(12.0)), active: of("b", Ok(30.0)) });
        assert_eq!(
            (older.as_ref().map(bad), said(&older)),
            (Ok(12.0), vec!["not exported".to_owned(), "12".to_owned()])
        );
        let none = with(&Overflow::default());
        assert_eq!(none.as_ref().map(bad), Ok(10.0), "the flags speak alone");
        assert_eq!(said(&none), ["not exported", "not exported"]);
    }

    // Mutation: leaving out a counter that is no number, as if no proxy exported it.
    #[test]
    fn a_counter_that_is_no_number_leaves_nothing_known() {
        let odd = with(&Overflow { pending: of("a", Ok(1.0)), active: of("a", Err("NaN")) });
        assert_eq!(odd, Err("NaN".to_owned()));
        assert!(said(&odd).is_empty());
    }
}
