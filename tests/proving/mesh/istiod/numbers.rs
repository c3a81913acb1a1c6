//! The stand-in's metrics, under istiod's names. Its counters do not end in `_total` where istiod's do not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::State;
use super::connection::Type;
use crate::mesh::bootstrap::ISTIO_VERSION;

/// Bounds of istiod's own histogram, in seconds.
const BOUNDS: [f64; 8] = [0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0];

/// Counts since the start.
#[derive(Default)]
pub(super) struct Numbers {
    pushes: BTreeMap<Type, u64>,
    rejects: BTreeMap<Type, u64>,
    /// By type and proxy. istiod never takes these back, and neither do we.
    rejecting: BTreeMap<(Type, String), u64>,
    events: BTreeMap<(&'static str, &'static str), u64>,
    buckets: [u64; BOUNDS.len()],
    pushed: u64,
    seconds: f64,
}

impl Numbers {
    /// One type of resources went to one proxy.
    pub(super) fn pushed(&mut self, kind: Type) {
        *self.pushes.entry(kind).or_default() += 1;
    }

    /// A proxy refused one.
    pub(super) fn rejected(&mut self, kind: Type, proxy: &str) {
        *self.rejects.entry(kind).or_default() += 1;
        *self.rejecting.entry((kind, proxy.to_owned())).or_default() = 1;
    }

    /// An object changed.
    pub(super) fn event(&mut self, kind: &'static str, event: &'static str) {
        *self.events.entry((kind, event)).or_default() += 1;
    }

    /// A proxy was sent a change this long after it was seen.
    pub(super) fn converged(&mut self, after: Duration) {
        let seconds = after.as_secs_f64();
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
        self.pushed += 1;
        self.seconds += seconds;
    }
}

/// The text of `/metrics`.
pub(super) fn render(state: &State) -> String {
    let numbers = &state.numbers;
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, samples: &[(String, f64)]| {
        writeln!(text, "# TYPE {name} {kind}").ok();
        for (sample, value) in samples {
            writeln!(text, "{sample} {value}").ok();
        }
    };
    let connected = state.connections.values().filter(|known| known.answers).count();
    let one = |sample: String, value: f64| [(sample, value)];
    family("pilot_info", "gauge", &one(format!("pilot_info{{version=\"{ISTIO_VERSION}-stand-in\"}}"), 1.0));
    family(
        "pilot_xds",
        "gauge",
        &one(format!("pilot_xds{{version=\"{ISTIO_VERSION}\"}}"), number(connected)),
    );
    for (name, kind) in [("pilot_services", "Service"), ("pilot_virt_services", "VirtualService")] {
        family(name, "gauge", &one(name.to_owned(), number(state.objects.count(kind))));
    }
    let typed = |name: &str, counts: &BTreeMap<Type, u64>| -> Vec<(String, f64)> {
        let samples = counts.iter();
        samples.map(|(kind, count)| (format!("{name}{{type=\"{}\"}}", kind.short()), whole(*count))).collect()
    };
    family("pilot_xds_pushes", "counter", &typed("pilot_xds_pushes", &numbers.pushes));
    family("pilot_total_xds_rejects", "counter", &typed("pilot_total_xds_rejects", &numbers.rejects));
    for kind in Type::ALL {
        let name = format!("pilot_xds_{}_reject", kind.short());
        let of_kind = numbers.rejecting.iter().filter(|((rejected, _), _)| *rejected == kind);
        let samples: Vec<(String, f64)> = of_kind
            .map(|((_, proxy), value)| {
                (format!("{name}{{err=\"Internal\",node=\"{proxy}\"}}"), whole(*value))
            })
            .collect();
        if !samples.is_empty() {
            family(&name, "gauge", &samples);
        }
    }
    let events: Vec<(String, f64)> = numbers
        .events
        .iter()
        .map(|((kind, event), count)| {
            (format!("pilot_k8s_cfg_events{{event=\"{event}\",type=\"{kind}\"}}"), whole(*count))
        })
        .collect();
    family("pilot_k8s_cfg_events", "counter", &events);
    let name = "pilot_proxy_convergence_time";
    let buckets = numbers.buckets.iter().zip(BOUNDS);
    let mut samples: Vec<(String, f64)> =
        buckets.map(|(count, bound)| (format!("{name}_bucket{{le=\"{bound}\"}}"), whole(*count))).collect();
    samples.extend([
        (format!("{name}_bucket{{le=\"+Inf\"}}"), whole(numbers.pushed)),
        (format!("{name}_sum"), numbers.seconds),
        (format!("{name}_count"), whole(numbers.pushed)),
    ]);
    family(name, "histogram", &samples);
    text
}

#[expect(clippy::cast_precision_loss, reason = "counts of a test run")]
fn whole(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts of a test run")]
fn number(count: usize) -> f64 {
    count as f64
}
