//! What istiod and the API server count.
//!
//! Each proxy comes back every half an hour, one after the other: it is sent everything, and has its certificate
//! renewed, which lives for an hour here. So a quiet mesh has something to tell, and always the same.

use std::collections::BTreeMap;

use super::counters::{Counter, PAST_S};
use crate::model::series::Labels;
use crate::sim::control::{Control, Pod, Push};

/// Each proxy comes back once in so many seconds.
const TURN_S: i64 = 1_800;
/// The API server counts in steps of so many seconds, so many calls each.
const CALLS: (i64, f64) = (15, 300.0);
/// The kinds of configuration that are pushed.
const TYPES: [&str; 4] = ["cds", "eds", "lds", "rds"];
/// Bounds of istiod's histograms of a push, in seconds.
const PUSH: [f64; 8] = [0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0];
/// Bounds of its histogram of calls, in seconds.
const CALL: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds of the API server's histogram of webhooks, in seconds.
const WEBHOOK: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
/// Where nothing waits: seconds until a push is there, and until it was taken up; of signing, and of injecting.
const CALM: [f64; 4] = [0.04, 0.01, 0.008, 0.015];
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const INJECTOR: &str = "rev.namespace.sidecar-injector.istio.io";

/// The counters, by metric and labels.
#[derive(Default)]
pub(in crate::sim) struct Plane {
    counters: BTreeMap<&'static str, BTreeMap<Labels, Counter>>,
    pushed: Push,
}

impl Plane {
    /// The counters of a mesh in which nothing happened up to now.
    pub(super) fn after_quiet(control: &Control, second: i64) -> Self {
        let mut plane = Self { pushed: control.push, ..Self::default() };
        let proxies: Vec<&Pod> = proxies(control).collect();
        (second - PAST_S..=second).for_each(|past| plane.pass(&proxies, past));
        plane
    }

    /// The counters of a metric.
    pub(in crate::sim) fn of(&self, metric: &str) -> impl Iterator<Item = (&Labels, &Counter)> {
        self.counters.get(metric).into_iter().flatten()
    }

    /// Counts what happened in a second.
    pub(super) fn count(&mut self, control: &Control, second: i64) {
        let proxies: Vec<&Pod> = proxies(control).collect();
        let up = serves(control);
        if up {
            self.pass(&proxies, second);
        } else {
            self.calls(second);
        }
        if control.push != self.pushed {
            self.pushed = control.push;
            proxies.iter().filter(|_| up).for_each(|pod| self.push(pod, second));
        }
        for _ in proxies.iter().filter(|pod| pod.bound == second) {
            self.inject(up, second);
        }
    }

    /// A second in which everything goes its way.
    fn pass(&mut self, proxies: &[&Pod], second: i64) {
        self.calls(second);
        let Ok(count) = i64::try_from(proxies.len()) else { return };
        let every = TURN_S / count.clamp(1, TURN_S);
        let number = usize::try_from(second / every % count.max(1)).unwrap_or(0);
        if let Some(pod) = proxies.get(number).filter(|_| second % every == 0) {
            self.push(pod, second);
            self.sign(second);
        }
    }

    fn calls(&mut self, second: i64) {
        let (every, calls) = CALLS;
        if second % every == 0 {
            self.add("apiserver_request_total", &[("code", "200"), ("job", "apiserver")], calls, second);
        }
    }

    /// A proxy is sent everything; one that rejects takes all but its listeners.
    fn push(&mut self, pod: &Pod, second: i64) {
        let Some(proxy) = pod.proxy.filter(|proxy| proxy.answers()) else { return };
        for kind in TYPES {
            self.add("pilot_xds_pushes", &[("type", kind)], 1.0, second);
        }
        if proxy.rejected {
            self.add("pilot_total_xds_rejects", &[("type", LISTENER)], 1.0, second);
        }
        let names = ("pilot_proxy_convergence_time_bucket", "pilot_proxy_convergence_time_count");
        self.observe(names, &[], (&PUSH, CALM[0]), second);
        let names = ("pilot_proxy_queue_time_bucket", "pilot_proxy_queue_time_count");
        self.observe(names, &[], (&PUSH, CALM[1]), second);
    }

    /// A certificate is asked for and signed.
    fn sign(&mut self, second: i64) {
        self.add("citadel_server_csr_count", &[], 1.0, second);
        self.add("citadel_server_success_cert_issuance_count", &[], 1.0, second);
        let labels =
            [("grpc_method", "CreateCertificate"), ("grpc_service", "istio.v1.auth.IstioCertificateService")];
        let names = ("grpc_server_handling_seconds_bucket", "grpc_server_handling_seconds_count");
        self.observe(names, &labels, (&CALL, CALM[2]), second);
    }

    /// A pod was made: the injector is asked, and where it does not answer the pod is let in without. Its proxy
    /// asks for a certificate.
    fn inject(&mut self, up: bool, second: i64) {
        if !up {
            self.add("apiserver_admission_webhook_fail_open_count", &[("name", INJECTOR)], 1.0, second);
            return;
        }
        self.add("sidecar_injection_requests_total", &[], 1.0, second);
        self.add("sidecar_injection_success_total", &[], 1.0, second);
        let names = (
            "apiserver_admission_webhook_admission_duration_seconds_bucket",
            "apiserver_admission_webhook_admission_duration_seconds_count",
        );
        self.observe(names, &[("name", INJECTOR)], (&WEBHOOK, CALM[3]), second);
        self.sign(second);
    }

    fn add(&mut self, metric: &'static str, labels: &[(&str, &str)], amount: f64, second: i64) {
        let labels: Labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let counter = self.counters.entry(metric).or_default().entry(labels.clone());
        counter.or_insert_with(|| Counter::new(labels, second)).add(amount, second);
    }

    /// One observation of a histogram: in each bucket that it lies below the bound of.
    fn observe(
        &mut self,
        (bucket, count): (&'static str, &'static str),
        labels: &[(&str, &str)],
        (bounds, value): (&[f64], f64),
        second: i64,
    ) {
        self.add(count, labels, 1.0, second);
        for bound in bounds.iter().copied().chain([f64::INFINITY]) {
            let text = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
            let amount = f64::from(u8::from(value <= bound));
            self.add(bucket, &[labels, &[("le", text.as_str())]].concat(), amount, second);
        }
    }
}

fn proxies(control: &Control) -> impl Iterator<Item = &Pod> {
    control.pods.values().filter(|pod| pod.proxy.is_some())
}

/// Whether an istiod is ready.
pub(in crate::sim) fn serves(control: &Control) -> bool {
    let istiod = |place: &(String, String)| place.0 == "istio-system" && place.1.starts_with("istiod-");
    control.pods.iter().any(|(place, pod)| istiod(place) && pod.ready.0)
}
