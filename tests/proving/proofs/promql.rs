//! The figures of our own PromQL beside those of a real Prometheus: the same expressions at the same moment over the
//! same points, which it hands out as it keeps them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use meshmend::clock::Clock;
use meshmend::model::series::Labels;
use meshmend::promql::{NAME, Point, Points, Query, Selection, Vector};
use meshmend::rules::{RuleFiles, Rules};
use regex::Regex;
use serde_json::{Value, json};

use super::routing::{self, GOOD, HOST, ROUTE, leading, object};
use crate::ground::{Ground, SOON};
use crate::wait::until;

/// Every window of the catalogue is shortened to this: a counter that is younger than its window is stretched a
/// little otherwise by a Prometheus 2.
const WINDOW: &str = "20s";
/// Steps of a subquery, and how far back the past lies that is compared with.
const STEP: &str = "5s";
const BACK: &str = "15s";
/// Points that are handed out: windows, steps and past together do not look back further.
const POINTS: &str = "60s";
/// A scrape takes a second at most, and a busy machine keeps what it brought a while later.
const SETTLED_S: f64 = 10.5;
/// As long as that there is traffic before anything is compared.
const TRAFFIC: Duration = Duration::from_secs(90);
/// Both calculate with the same points, but add them up in another order, and Prometheus with whole milliseconds: in
/// seconds since 1970 a number has steps of 0.2 microseconds. A deviation is small beside what it is taken of, so that
/// what is less than one may differ by as much.
const TOLERANCE: f64 = 1e-6;
/// Expressions of which both have to have something: the ground has no ztunnel, no kubelet's metrics, no Linkerd.
const WITH_SERIES: usize = 30;

/// The points of Prometheus.
#[derive(Default)]
struct Handed(BTreeMap<String, Vec<(Labels, Vec<Point>)>>);

impl Points for Handed {
    fn select(&self, of: &Selection<'_>, see: &mut dyn FnMut(&Labels, &[Point])) {
        for (labels, points) in self.0.get(of.metric).into_iter().flatten() {
            if of.takes(|name| labels.get(name).map(String::as_str)) {
                let within = |point: &&Point| point.at_s > of.after_s && point.at_s <= of.to_s;
                let points: Vec<Point> = points.iter().filter(within).copied().collect();
                see(labels, &points);
            }
        }
    }
}

/// Mutations that break it: an edge of a window on the other side; growth that is not stretched to the edges of its
/// window; a quantile by the bucket's middle; a join that drops the labels of the other side.
pub(crate) async fn is_that_of_prometheus(ground: &Ground) -> anyhow::Result<()> {
    routing::stage(ground).await?;
    ground.apply_object(object(ROUTE, &leading(&GOOD))).await?;
    let load = routing::traffic(ground).await?;
    let begun = load.now();
    until("there was traffic", TRAFFIC + SOON, async || Ok((load.now() - begun > TRAFFIC).then_some(())))
        .await?;
    // Half a second after a full one: a Prometheus 2 counts a point at the very start of a window. And long enough
    // ago that no scrape of then is still under way, which would be there for one of the two only.
    let now_s = Clock::wall().as_duration().as_secs_f64().floor() - SETTLED_S;
    let (mut compared, mut with_series) = (0, 0);
    for text in expressions()? {
        let query = Query::parse(&text).map_err(|why| anyhow!("{text}: {why}"))?;
        let points = handed(ground, (&query, now_s)).await?;
        let ours = query.at(&points, now_s).map_err(|why| anyhow!("{text}: {why}"))?;
        let theirs = asked(ground, (&text, now_s)).await?;
        agree(&text, &sorted(ours)?, &sorted(vector(&theirs)?)?)?;
        compared += 1;
        with_series += usize::from(!theirs.as_array().is_none_or(Vec::is_empty));
    }
    ground.note(&format!("{compared} expressions give the same, {with_series} of them some series"))?;
    ensure!(with_series >= WITH_SERIES, "only {with_series} expressions give anything");
    load.stop().await.map(|_| ())
}

/// All of the catalogue, and some that it has not; over short windows.
fn expressions() -> anyhow::Result<Vec<String>> {
    let rules = Rules::load(&RuleFiles::embedded(), None).map_err(|faults| anyhow!("{faults:?}"))?.rules;
    let hosts = [HOST.to_owned()];
    let mut texts: Vec<String> =
        rules.indicators.iter().flat_map(|one| one.reader.expressions(&hosts, 60)).collect();
    texts.extend(MORE.map(str::to_owned));
    let window = Regex::new(r"\[(\d+[smhdw])+\]")?;
    let steps = Regex::new(r"\[(\d+[smhdw])+:(\d+[smhdw])*\]")?;
    let offset = Regex::new(r"offset (\d+[smhdw])+")?;
    let short = |text: &String| {
        let text = window.replace_all(text, format!("[{WINDOW}]"));
        let text = steps.replace_all(&text, format!("[{WINDOW}:{STEP}]"));
        offset.replace_all(&text, format!("offset {BACK}")).into_owned()
    };
    Ok(texts.iter().map(short).collect())
}

/// What the catalogue has not, and is evaluated all the same.
const MORE: [&str; 12] = [
    "rate(istio_requests_total[1m])",
    "increase(istio_requests_total[1m] offset 1m)",
    "delta(up[1m])",
    "istio_requests_total",
    "sum without (pod) (istio_requests_total)",
    "count(istio_requests_total) by (response_code)",
    "histogram_quantile(0.9, sum by (le) (rate(istio_request_duration_milliseconds_bucket[1m])))",
    "histogram_quantile(0.5, rate(istio_request_duration_milliseconds_bucket[1m]))",
    "avg_over_time(up[1m]) and on (pod) istio_requests_total",
    "up unless on (pod) istio_requests_total",
    "stddev_over_time(sum(rate(istio_requests_total[1m]))[1h:1m])",
    "sum(rate(istio_requests_total[1m])) / ignoring (job) group_left () sum(up)",
];

/// The points of all metrics of an expression.
async fn handed(ground: &Ground, (query, now_s): (&Query, f64)) -> anyhow::Result<Handed> {
    let mut found = Handed::default();
    for metric in query.metrics() {
        let told = asked(ground, (&format!("{{{NAME}=\"{metric}\"}}[{POINTS}]"), now_s)).await?;
        let mut all = Vec::new();
        for series in told.as_array().into_iter().flatten() {
            let values = series["values"].as_array().into_iter().flatten();
            let points: Vec<Point> = values.map(point).collect::<anyhow::Result<_>>()?;
            all.push((labels(&series["metric"])?, points));
        }
        found.0.insert(metric, all);
    }
    Ok(found)
}

/// A number alone is one series without labels, as for us.
async fn asked(ground: &Ground, (text, now_s): (&str, f64)) -> anyhow::Result<Value> {
    let mut data = ground.query_at(text, now_s).await?;
    if data["resultType"] == "scalar" {
        return Ok(json!([{ "metric": {}, "value": data["result"] }]));
    }
    Ok(data["result"].take())
}

fn point(pair: &Value) -> anyhow::Result<Point> {
    let value: f64 = pair[1].as_str().context("a value is a text")?.parse()?;
    Ok(Point { at_s: pair[0].as_f64().context("a time is a number")?, value })
}

fn labels(metric: &Value) -> anyhow::Result<Labels> {
    let mut labels: Labels = serde_json::from_value(metric.clone())?;
    labels.remove(NAME);
    Ok(labels)
}

fn vector(told: &Value) -> anyhow::Result<Vector> {
    let series = told.as_array().into_iter().flatten();
    series.map(|one| Ok((labels(&one["metric"])?, point(&one["value"])?.value))).collect()
}

fn sorted(vector: Vector) -> anyhow::Result<BTreeMap<Labels, f64>> {
    let count = vector.len();
    let without_name = vector.into_iter().map(|(mut labels, value)| {
        labels.remove(NAME);
        (labels, value)
    });
    let sorted: BTreeMap<Labels, f64> = without_name.collect();
    ensure!(sorted.len() == count, "the same series is there twice");
    Ok(sorted)
}

fn agree(text: &str, ours: &BTreeMap<Labels, f64>, theirs: &BTreeMap<Labels, f64>) -> anyhow::Result<()> {
    ensure!(ours.keys().eq(theirs.keys()), "{text}\nour series: {ours:?}\ntheirs: {theirs:?}");
    for ((labels, ours), theirs) in ours.iter().zip(theirs.values()) {
        let near = (ours - theirs).abs() <= TOLERANCE * ours.abs().max(theirs.abs()).max(1.0);
        let same = near || ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan());
        ensure!(same, "{text}\n{labels:?}: ours {ours}, theirs {theirs}");
    }
    Ok(())
}
