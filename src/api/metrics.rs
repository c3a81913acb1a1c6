//! Metrics in the OpenMetrics format.

use std::sync::Arc;

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
    /// Steps by result.
    pub steps: Family<Labels, Counter>,
    /// Requests refused by code: Alertmanager repeats a 4xx for ever, so somebody must see them.
    pub refused: Family<Labels, Counter>,
    /// Incidents ended by phase.
    pub ended: Family<Labels, Counter>,
    /// Open incidents.
    pub open: Gauge<i64, std::sync::atomic::AtomicI64>,
    /// Pauses, storms and open breakers that hold acts, by kind.
    pub held: Family<Labels, Gauge>,
    /// Whether a part can be used (1) or not (0), by part.
    pub up: Family<Labels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("meshmend");
        let (records, steps, refused) = (Family::default(), Family::default(), Family::default());
        let (ended, open, up) = (Family::default(), Gauge::default(), Family::default());
        registry.register("records", "Records written, by kind", Family::clone(&records));
        registry.register("steps", "Steps ended, by result", Family::clone(&steps));
        registry.register("requests_refused", "API requests refused, by code", Family::clone(&refused));
        registry.register("incidents_ended", "Incidents ended, by phase", Family::clone(&ended));
        registry.register("incidents_open", "Open incidents", Gauge::clone(&open));
        registry.register(
            "up",
            "Whether journal, kubernetes, inventory or prometheus can be used",
            Family::clone(&up),
        );
        let held = Family::default();
        let text = "Pauses, storms and open breakers that hold new acts, by kind";
        registry.register("held", text, Family::clone(&held));
        Self { registry: Arc::new(registry), records, steps, refused, ended, open, held, up }
    }
}

impl Metrics {
    /// The text that a scraper reads, with the state of the parts as they are now.
    #[must_use]
    pub fn text(&self, parts: &[(&'static str, bool)]) -> String {
        for (part, up) in parts {
            self.up.get_or_create(&Self::label("part", part)).set(i64::from(*up));
        }
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
