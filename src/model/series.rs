//! Series: what a page of metrics, or Prometheus, says at one time.

use std::collections::BTreeMap;

/// Labels by name; an absent label is an empty one.
pub type Labels = BTreeMap<String, String>;

/// One value of one series, as it was scraped.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name of the metric, with its ending: `_bucket`, `_sum`, `_count`.
    pub name: String,
    /// Its labels; the bound of a bucket is `le`.
    pub labels: Labels,
    /// The value: may be NaN or infinite, as the source wrote it.
    pub value: f64,
}
