//! Probes of a container, as a kubelet makes them: an HTTP GET to the pod's address, once a period, with a time
//! limit, and so many failures in a row before it counts.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Probe;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A probe with its defaults filled in.
#[derive(Clone, Debug)]
pub(super) struct HttpProbe {
    url: String,
    delay: Duration,
    period: Duration,
    limit: Duration,
    failures: u32,
}

/// What a round of probes led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answered well.
    Good,
    /// It failed so often that it counts.
    Bad,
}

impl HttpProbe {
    /// Reads a probe; only HTTP GETs of a port by its number are made here.
    pub(super) fn read(probe: &Probe, ip: Ipv4Addr) -> anyhow::Result<Self> {
        let get = probe.http_get.as_ref().context("the proving ground makes only HTTP probes")?;
        let IntOrString::Int(port) = get.port else {
            anyhow::bail!("a probe names its port by a number here");
        };
        let path = get.path.clone().unwrap_or_default();
        let count =
            |value: Option<i32>, default: u32| value.and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
        let time = |value: Option<i32>, default: u32| Duration::from_secs(u64::from(count(value, default)));
        Ok(Self {
            url: format!("http://{ip}:{port}/{}", path.trim_start_matches('/')),
            delay: time(probe.initial_delay_seconds, 0),
            period: time(probe.period_seconds, 10).max(Duration::from_secs(1)),
            limit: time(probe.timeout_seconds, 1),
            failures: count(probe.failure_threshold, 3),
        })
    }

    /// Probes for ever and tells of each verdict, until told that it is enough.
    pub(super) async fn run(&self, mut tell: impl FnMut(Verdict) -> Next) -> anyhow::Result<()> {
        let http =
            reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(self.limit).build()?;
        tokio::time::sleep(self.delay).await;
        let mut ticks = tokio::time::interval(self.period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failed = 0;
        loop {
            ticks.tick().await;
            let answer = http.get(&self.url).send().await;
            let good = answer.is_ok_and(|answer| (200..400).contains(&answer.status().as_u16()));
            failed = if good { 0 } else { failed + 1 };
            let verdict = match (good, failed >= self.failures) {
                (true, _) => Verdict::Good,
                (false, true) => Verdict::Bad,
                (false, false) => continue,
            };
            if tell(verdict) == Next::Enough {
                return Ok(());
            }
        }
    }
}

/// Whether to probe on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Yes.
    Again,
    /// No.
    Enough,
}
