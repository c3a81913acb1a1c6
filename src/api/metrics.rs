//! Metrics in the OpenMetrics format.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Labels = Vec<(String, String)>;

/// The metrics of the process.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Records by kind.
    pub records: Family<Labels, Counter>,
    /// Steps by action and result.
    pub steps: Family<Labels, Counter>,
    /// Requests refused by code: Alertmanager repeats a 4xx for ever, so somebody must see them.
    pub refused: Family<Labels, Counter>,
    /// Incidents ended by phase.
    pub ended: Family<Labels, Counter>,
    /// Open incidents.
    pub open: Gauge<i64, std::sync::atomic::AtomicI64>,
    /// Number of the journal's last record.
    pub journal_seq: Gauge<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("meshmend");
        let (records, steps, refused) = (Family::default(), Family::default(), Family::default());
        let (ended, open, journal_seq) = (Family::default(), Gauge::default(), Gauge::default());
        registry.register("records", "Records written, by kind", Family::clone(&records));
        registry.register("steps", "Steps ended, by result", Family::clone(&steps));
        registry.register("requests_refused", "API requests refused, by code", Family::clone(&refused));
        registry.register("incidents_ended", "Incidents ended, by phase", Family::clone(&ended));
        registry.register("incidents_open", "Open incidents", Gauge::clone(&open));
        registry.register("journal_seq", "Number of the last record", Gauge::clone(&journal_seq));
        Self { registry: Arc::new(registry), records, steps, refused, ended, open, journal_seq }
    }
}

impl Metrics {
    /// The text that a scraper reads.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        encode(&mut out, &self.registry).ok();
        out
    }

    /// A label set of one pair.
    #[must_use]
    pub fn label(key: &str, value: &str) -> Labels {
        vec![(key.to_owned(), value.to_owned())]
    }
}
