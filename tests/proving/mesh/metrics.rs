//! What Istio's own filters would count: upstream's Envoy does not have them, so it is made of the access log.
//!
//! Both sides of a request count it, each in its own proxy's log: the client's with `reporter="source"`, the
//! server's with `reporter="destination"`.

mod check;
mod lines;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::{Failed, Trial};

use super::proxy::ProxyFile;
use lines::{Line, Peers, Series, series};

/// Bounds of Istio's histograms, in milliseconds.
const BOUNDS: [f64; 20] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10000.0,
    30000.0,
    60000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
    f64::INFINITY,
];

/// The statistics of Envoy's own that are passed through: all of them are a quarter of a megabyte a proxy.
const ENVOY_STATS: &str = "/stats/prometheus?filter=overflow|outlier_detection|membership|circuit_breakers|^server\\.|update_rejected";
/// A frozen Envoy never answers, and a scrape must.
const TIME_LIMIT: Duration = Duration::from_secs(1);

/// What one start of Envoy counted so far.
pub(crate) struct Telemetry {
    proxy: ProxyFile,
    log: PathBuf,
    peers: PathBuf,
    read: u64,
    counts: BTreeMap<Series, Counted>,
    scrape_failures: u64,
}

#[derive(Default)]
struct Counted {
    requests: u64,
    buckets: [u64; BOUNDS.len()],
    milliseconds: f64,
}

impl Telemetry {
    /// For a proxy that was just announced.
    pub(crate) fn new(root: &Path, proxy: &ProxyFile) -> Self {
        Self {
            proxy: proxy.clone(),
            log: proxy.access_log(root),
            peers: root.join("peers.json"),
            read: 0,
            counts: BTreeMap::new(),
            scrape_failures: 0,
        }
    }

    /// Reads what was logged since the last time. A line that is not whole yet is left for the next.
    pub(crate) fn read(&mut self) -> anyhow::Result<()> {
        let mut text = Vec::new();
        let mut file = match File::open(&self.log) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            opened => opened.with_context(|| format!("cannot read {}", self.log.display()))?,
        };
        file.seek(SeekFrom::Start(self.read))?;
        file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole == 0 {
            return Ok(());
        }
        let peers: Peers = match std::fs::read(&self.peers) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Peers::default(),
            read => serde_json::from_slice(&read?).context("peers.json")?,
        };
        for line in text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Line = serde_json::from_slice(line)
                .with_context(|| format!("a line of the access log: {}", String::from_utf8_lossy(line)))?;
            self.count(&line, &peers);
        }
        self.read += whole as u64;
        Ok(())
    }

    fn count(&mut self, line: &Line, peers: &Peers) {
        let counted = self.counts.entry(series(line, &self.proxy, peers)).or_default();
        counted.requests += 1;
        counted.milliseconds += line.duration_ms;
        for (bucket, bound) in counted.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(line.duration_ms <= bound);
        }
    }

    /// Istio's standard metrics of HTTP, as Prometheus' text.
    pub(crate) fn render(&self) -> String {
        let mut text = String::from("# TYPE istio_requests_total counter\n");
        for (series, counted) in &self.counts {
            writeln!(text, "istio_requests_total{{{series}}} {}", counted.requests).ok();
        }
        let name = "istio_request_duration_milliseconds";
        writeln!(text, "# TYPE {name} histogram").ok();
        for (series, counted) in &self.counts {
            for (bucket, bound) in counted.buckets.iter().zip(BOUNDS) {
                let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
                writeln!(text, "{name}_bucket{{{series},le=\"{bound}\"}} {bucket}").ok();
            }
            writeln!(text, "{name}_sum{{{series}}} {}", counted.milliseconds).ok();
            writeln!(text, "{name}_count{{{series}}} {}", counted.requests).ok();
        }
        text
    }
}

/// What the agent serves under `/stats/prometheus` on port 15020: what Envoy counts, and what is the agent's
/// own. Istio's metrics live in Envoy: where that does not answer they are not there.
pub(crate) async fn merged(client: &reqwest::Client, telemetry: &mut Telemetry) -> anyhow::Result<String> {
    let url = format!("http://{}{ENVOY_STATS}", telemetry.proxy.admin);
    let envoy = async { client.get(url).timeout(TIME_LIMIT).send().await?.error_for_status()?.text().await };
    let mut text = match envoy.await {
        Ok(stats) => {
            telemetry.read()?;
            telemetry.render() + stats.as_str()
        }
        Err(_) => {
            telemetry.scrape_failures += 1;
            String::new()
        }
    };
    let name = "istio_agent_scrape_failures_total";
    writeln!(text, "# TYPE {name} counter\n{name}{{type=\"envoy\"}} {}", telemetry.scrape_failures)?;
    Ok(text)
}

/// The trials of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("an_access_log_becomes_istios_metrics", || {
        check::check().map_err(|error| Failed::from(format!("{error:#}")))
    })]
}
