//! What figures were some minutes ago, for whoever looks only once: a Prometheus remembers it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::Boards;
use crate::health::{Found, Survey, Taken};
use crate::sources::prometheus::Span;

/// Of a range that is one point long; Prometheus wants one all the same.
const STEP: Duration = Duration::from_secs(15);

impl Boards {
    /// The figures of these indicators at an earlier time, by indicator: the worst of each, as it counts on the
    /// board. Those that Prometheus does not tell, or not of then, are absent: they have no trend.
    pub async fn earlier(&self, surveys: &[Survey<'_>], then: Timestamp) -> BTreeMap<String, f64> {
        let Some(prometheus) = &self.prometheus else { return BTreeMap::new() };
        let span = Span { from: then, to: then, step: STEP };
        let told = surveys.iter().filter_map(|survey| {
            let falls = survey.indicator.bands.fall();
            let way = &worst(&survey.taken, falls)?.way;
            Some(async move {
                let series = prometheus.range(way, span).await.ok()?;
                let values = series.into_iter().filter_map(|one| one.last.ok());
                let value = values.reduce(if falls { f64::min } else { f64::max })?;
                Some((survey.indicator.id.clone(), value))
            })
        });
        futures::future::join_all(told).await.into_iter().flatten().collect()
    }
}

/// The worst figure that Prometheus told.
fn worst(taken: &[Taken], falls: bool) -> Option<&Taken> {
    let figure = |taken: &Taken| match taken.found {
        Found::Figure(figure) => figure.value,
        Found::Idle(_) | Found::Unread(_) => f64::NAN,
    };
    let told = taken.iter().filter(|taken| taken.source == "prometheus" && figure(taken).is_finite());
    let by_figure = |a: &&Taken, b: &&Taken| figure(a).total_cmp(&figure(b));
    if falls { told.min_by(by_figure) } else { told.max_by(by_figure) }
}
