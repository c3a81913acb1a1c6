//! Baselines: of a figure that is relative, those subjects that are there today and have nothing to compare with.

use std::collections::BTreeSet;

use crate::model::series::Labels;

/// The series of today that the figure says nothing about; one without a value today is not there. A new service is
/// so, and every one where Prometheus is younger than the baseline.
#[must_use]
pub fn without_baseline<'s>(
    today: impl IntoIterator<Item = (&'s Labels, &'s Result<f64, String>)>,
    figures: &BTreeSet<&Labels>,
) -> Vec<Labels> {
    let there = today.into_iter().filter(|(_, value)| matches!(value, Ok(value) if value.is_finite()));
    let lacking = there.filter(|(labels, _)| !figures.contains(labels));
    lacking.map(|(labels, _)| labels.clone()).collect()
}

/// Why there is no figure of a subject that has no baseline; `of` says of when that is.
#[must_use]
pub fn no_baseline(of: &str) -> String {
    format!("no baseline yet: Prometheus has no data of {of}, or too little")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(service: &str) -> Labels {
        Labels::from([("destination_service".to_owned(), service.to_owned())])
    }

    // Mutations: those with a figure told as well; those without a value today; the other way round.
    #[test]
    fn only_who_is_there_today_lacks_a_baseline() {
        let today = [
            (labels("old"), Ok(3.0)),
            (labels("new"), Ok(5.0)),
            (labels("broken"), Err("not a number".to_owned())),
            (labels("odd"), Ok(f64::NAN)),
        ];
        let today = || today.iter().map(|(labels, value)| (labels, value));
        let (old, gone) = (labels("old"), labels("gone"));
        assert_eq!(without_baseline(today(), &BTreeSet::from([&old, &gone])), [labels("new")]);
        assert_eq!(without_baseline(today(), &BTreeSet::new()), [labels("old"), labels("new")]);
        assert_eq!(
            no_baseline("a week ago"),
            "no baseline yet: Prometheus has no data of a week ago, or too little"
        );
    }
}
