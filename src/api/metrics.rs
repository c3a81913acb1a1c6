//! Metrics in the OpenMetrics format.

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::HealthFigure;
use crate::model::indicator::Level;

type Labels = [(&'static str, &'static str); 1];

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
    /// Acts that are not taken back although their time is over, by whose they are.
    pub overdue: Family<Labels, Gauge>,
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
        let overdue = Family::default();
        let text =
            "Acts not taken back although their time is over: our own, or limits of another agent (orphan)";
        registry.register("overdue", text, Family::clone(&overdue));
        Self { registry: Arc::new(registry), records, steps, refused, ended, open, held, overdue, up }
    }
}

impl Metrics {
    /// The text that a scraper reads, with the state of the parts as they are now.
    #[must_use]
    pub fn text(&self, parts: &[(&'static str, bool)], figures: &[HealthFigure]) -> String {
        for (part, up) in parts {
            self.up.get_or_create(&Self::label("part", part)).set(i64::from(*up));
        }
        let mut out = String::new();
        // Writing to a String cannot fail.
        encode(&mut out, &self.registry).ok();
        let end = "# EOF\n";
        let known = out.strip_suffix(end).unwrap_or(&out).to_owned();
        [known.as_str(), &health(figures), end].concat()
    }

    /// A label set of one pair.
    #[must_use]
    pub fn label(key: &'static str, value: &'static str) -> Labels {
        [(key, value)]
    }
}

/// The figures of the mesh. Their names are data of the catalogue, and what is unknown has no level: both are
/// written anew for each scrape.
fn health(figures: &[HealthFigure]) -> String {
    let (mut levels, mut unknown, mut values) = (String::new(), String::new(), String::new());
    for HealthFigure { indicator, component, level, value } in figures {
        let number = match level {
            Level::Healthy => Some(0),
            Level::Warning => Some(1),
            Level::Critical => Some(2),
            Level::Unknown => None,
        };
        let labels = format!("indicator=\"{indicator}\",component=\"{component}\"");
        match number {
            Some(number) => levels.push_str(&format!("meshmend_health_level{{{labels}}} {number}\n")),
            None => unknown.push_str(&format!("meshmend_health_unknown{{indicator=\"{indicator}\"}} 1\n")),
        }
        if let Some(value) = value {
            values.push_str(&format!("meshmend_health_value{{indicator=\"{indicator}\"}} {value}\n"));
        }
    }
    let families = [
        ("level", "Level of an indicator: 0 healthy, 1 warning, 2 critical", levels),
        ("unknown", "Indicators of which nothing is known", unknown),
        ("value", "Figure of an indicator in its unit; shares are 0 to 1", values),
    ];
    let written = families.map(|(name, help, lines)| {
        format!("# HELP meshmend_health_{name} {help}.\n# TYPE meshmend_health_{name} gauge\n{lines}")
    });
    written.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutations: a level for what is unknown; lines after the end, which no scraper reads.
    #[test]
    fn what_is_unknown_has_no_level() {
        let figure = |indicator: &str, level, value| HealthFigure {
            indicator: indicator.to_owned(),
            component: "a".to_owned(),
            level,
            value,
        };
        let figures = [figure("a.b", Level::Critical, Some(0.5)), figure("a.c", Level::Unknown, None)];
        let text = Metrics::default().text(&[("journal", true)], &figures);
        for line in [
            "meshmend_health_level{indicator=\"a.b\",component=\"a\"} 2",
            "meshmend_health_value{indicator=\"a.b\"} 0.5",
            "meshmend_health_unknown{indicator=\"a.c\"} 1",
            "meshmend_up{part=\"journal\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("level{indicator=\"a.c\"") && text.ends_with("\n# EOF\n"), "{text}");
        assert_eq!(text.matches("# EOF").count(), 1);
    }
}
