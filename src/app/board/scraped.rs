//! Pages of metrics that we scrape ourselves where no Prometheus is configured, so that the expressions of the
//! catalogue tell something with a kubeconfig alone. No act is measured by them: they are too few and too slow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Boards, Page, PageOf, traffic};
use crate::health::{NO_PAGE, NO_PROMETHEUS, ONE_LOOK};
use crate::model::duration;
use crate::model::indicator::Overflow;
use crate::promql::{Pages, Query, TooShort};
use crate::rules::{Catalogue, Indicator};
use crate::sources::prometheus::{ByHost, Counts, OneSeries};

/// The longest an expression can look back over our own pages.
const KEPT_S: f64 = 3_600.0;
/// Points of a series: one a minute for all of it, and some more for those who watch.
const POINTS: usize = 80;
/// Proxies whose pages are scraped: at a tenth of a megabyte each, through the API server.
const MOST_PROXIES: usize = 200;
/// A window is open on its left, and the oldest point has to lie in it.
const OPEN_S: f64 = 1.0;
/// Pages older than two rounds of the agent's tell what was, not what is: it scrapes once a minute, and only for
/// those who ask.
const OLDEST_S: f64 = 120.0;
/// Why old pages tell nothing.
const LONG_AGO: &str = "no Prometheus is configured, and nobody has looked lately";

/// What was scraped.
pub(super) struct Scraped(Mutex<Scrapes>);

struct Scrapes {
    pages: Pages,
    /// Of the last round, in seconds since 1970.
    at_s: Option<f64>,
    /// Who has no page in the last round, and why.
    failed: BTreeMap<PageOf, String>,
}

/// Series of an expression, and why there may be more.
pub(super) type Answered = (Vec<OneSeries>, Vec<String>);

impl Scraped {
    /// Nothing yet, of what these indicators read.
    pub(super) fn of(catalogue: Option<&Catalogue>) -> Self {
        let queries = catalogue.map(expressions).unwrap_or_default();
        let pages = Pages::new(&queries, KEPT_S, POINTS);
        Self(Mutex::new(Scrapes { pages, at_s: None, failed: BTreeMap::new() }))
    }

    fn with<T>(&self, see: impl FnOnce(&mut Scrapes) -> T) -> T {
        see(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What an expression gives over the pages of the last rounds; now, in seconds since 1970.
    ///
    /// # Errors
    /// Nothing was scraped that has it, or not for long enough, or only long ago.
    fn series(&self, text: &str, now_s: f64) -> Result<Answered, String> {
        self.with(|scrapes| scrapes.series(text, now_s))
    }
}

/// The job whose pages have a metric, as Istio and Kubernetes name theirs.
fn exporter(metric: &str) -> Option<&'static str> {
    const BEGINNINGS: [(&str, &str); 8] = [
        ("pilot_", "istiod"),
        ("citadel_", "istiod"),
        ("sidecar_injection_", "istiod"),
        ("grpc_server_", "istiod"),
        ("galley_", "istiod"),
        ("istio_", "envoy-stats"),
        ("envoy_", "envoy-stats"),
        ("apiserver_", "apiserver"),
    ];
    BEGINNINGS.iter().find(|(beginning, _)| metric.starts_with(beginning)).map(|(_, job)| *job)
}

/// The expressions of indicators.
fn expressions(catalogue: &Catalogue) -> Vec<Query> {
    let texts = catalogue.iter().flat_map(|indicator| indicator.reader.expressions(&[], 60));
    // One that is no PromQL was refused when the catalogue was read.
    texts.filter_map(|text| Query::parse(&text).ok()).collect()
}

impl Scrapes {
    fn take(&mut self, at_s: f64, round: Vec<Page>) {
        self.failed.clear();
        let name = |of: &PageOf| format!("{}/{}/{}", of.job, of.namespace, of.pod);
        let there: BTreeSet<String> = round.iter().map(|(of, _)| name(of)).collect();
        let gone: Vec<String> =
            self.pages.targets().filter(|known| !there.contains(*known)).map(str::to_owned).collect();
        gone.iter().for_each(|target| self.pages.forget(target));
        for (of, page) in round {
            // Without a page its series end: what was true of it a while ago is not what is.
            let taken = match page {
                Ok(samples) => self.pages.take(&name(&of), at_s, &samples),
                Err(why) => self.pages.miss(&name(&of), at_s).and(Err(why)),
            };
            if let Err(why) = taken {
                self.failed.insert(of, why);
            }
        }
        self.at_s = Some(at_s);
    }

    fn series(&self, text: &str, now_s: f64) -> Result<Answered, String> {
        let at_s = self.at_s.ok_or(NO_PROMETHEUS)?;
        if now_s - at_s > OLDEST_S {
            return Err(LONG_AGO.to_owned());
        }
        let query = Query::parse(text)?;
        let metrics = query.metrics();
        let Some(held_s) = self.pages.held_s(&metrics) else { return Err(self.nobody_has(&metrics)) };
        let held_s = if held_s > 0.0 { held_s + OPEN_S } else { 0.0 };
        let query = query.narrowed(held_s).map_err(|short| match short {
            TooShort::OneLook => format!("no Prometheus is configured, and {ONE_LOOK}"),
            TooShort::Compares(longest_s) => {
                let longest = duration::format(Duration::from_secs(longest_s));
                format!("it looks {longest} back, and {NO_PROMETHEUS}")
            }
        })?;
        let found = query.at(&self.pages, at_s)?;
        let number = |value: f64| {
            if value.is_finite() { Ok(value) } else { Err(format!("the pages give {value}")) }
        };
        let series = found.into_iter().map(|(labels, value)| (labels, number(value))).collect();
        Ok((series, self.gaps(&metrics)))
    }

    /// Those of the same jobs whose pages are missing.
    fn gaps(&self, metrics: &BTreeSet<String>) -> Vec<String> {
        let jobs: BTreeSet<&str> =
            self.pages.with(metrics).filter_map(|target| target.split('/').next()).collect();
        let missing = self.failed.iter().filter(|(of, _)| jobs.contains(of.job));
        missing.map(|(_, why)| why.clone()).take(1).collect()
    }

    /// Nobody has these metrics; perhaps because a page is missing that would.
    fn nobody_has(&self, metrics: &BTreeSet<String>) -> String {
        let jobs: BTreeSet<&str> = metrics.iter().filter_map(|metric| exporter(metric)).collect();
        match self.failed.iter().find(|(of, _)| jobs.contains(of.job)) {
            Some((_, why)) => format!("no Prometheus is configured, and a page is missing: {why}"),
            None => NO_PAGE.to_owned(),
        }
    }
}

impl Boards {
    /// Scrapes everything once, where no Prometheus does it for us.
    pub async fn scrape(&self) {
        if self.prometheus.is_some() {
            return;
        }
        let wanted = self.scraped.with(|scrapes| scrapes.pages.wanted().clone());
        let round = self.pages(&wanted, MOST_PROXIES).await;
        let at_s = self.now_s();
        self.scraped.with(|scrapes| scrapes.take(at_s, round));
    }

    /// Now, in seconds since 1970.
    fn now_s(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century are exact")]
        let milliseconds = self.clock.now().as_millisecond() as f64;
        milliseconds / 1_000.0
    }

    /// What an expression gives over our own pages.
    pub(super) fn scraped_series(&self, text: &str) -> Result<Answered, String> {
        self.scraped.series(text, self.now_s())
    }

    /// Requests by host over our own pages, as an indicator counts them.
    pub(super) fn scraped_counts(
        &self,
        indicator: &Indicator,
        hosts: &[String],
    ) -> Result<ByHost<Counts>, String> {
        let queries = traffic::queries(indicator)?;
        let (samples, bad) = queries.fill(hosts, queries.window_s);
        let by_host = |text: &str| -> Result<ByHost<f64>, String> {
            let (series, gaps) = self.scraped_series(text)?;
            // A proxy that is missing may be the one that failed.
            if let Some(gap) = gaps.into_iter().next() {
                return Err(gap);
            }
            let named = series
                .into_iter()
                .filter_map(|(mut labels, value)| Some((labels.remove("destination_service")?, value)));
            Ok(named.collect())
        };
        let (samples, bad) = (by_host(&samples)?, by_host(&bad)?);
        let counts = samples.into_iter().map(|(host, samples)| {
            let bad = bad.get(&host).cloned().unwrap_or(Ok(0.0));
            let counts =
                samples.and_then(|samples| Ok(Counts { samples, bad: bad?, overflow: Overflow::default() }));
            (host, counts)
        });
        Ok(counts.collect())
    }
}

#[cfg(test)]
mod tests;
