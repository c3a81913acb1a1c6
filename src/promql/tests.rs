//! Tests of the evaluator, with figures worked out by hand from what Prometheus documents.

use std::collections::BTreeMap;

use super::{ENDED, Point, Points, Query, Selection};
use crate::model::series::Labels;

/// Series by metric; a point every 15 seconds unless said otherwise.
#[derive(Default)]
struct Series(BTreeMap<String, Vec<(Labels, Vec<Point>)>>);

impl Points for Series {
    fn select(&self, of: &Selection<'_>, see: &mut dyn FnMut(&Labels, &[Point])) {
        for (labels, points) in self.0.get(of.metric).into_iter().flatten() {
            let within = |point: &&Point| point.at_s > of.after_s && point.at_s <= of.to_s;
            let points: Vec<Point> = points.iter().filter(within).copied().collect();
            if !points.is_empty() && of.takes(|name| labels.get(name).map(String::as_str)) {
                see(labels, &points);
            }
        }
    }
}

fn labels(text: &str) -> Labels {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Series {
    /// Values from second 0 on, one every 15 seconds.
    fn with(mut self, metric: &str, of: &str, values: &[f64]) -> Self {
        let times = (0_u32..).map(|number| f64::from(number) * 15.0);
        let points = times.zip(values).map(|(at_s, value)| Point { at_s, value: *value }).collect();
        self.0.entry(metric.to_owned()).or_default().push((labels(of), points));
        self
    }

    fn ask(&self, text: &str, now_s: f64) -> Result<Vec<(String, f64)>, String> {
        let found = Query::parse(text)?.at(self, now_s)?;
        let words = |labels: Labels| {
            labels.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
        };
        let mut found: Vec<_> = found.into_iter().map(|(labels, value)| (words(labels), value)).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    #[track_caller]
    fn gives(&self, text: &str, now_s: f64, expected: &[(&str, f64)]) {
        let found = self.ask(text, now_s).unwrap();
        let same = |(a, b): (&(String, f64), &(&str, f64))| {
            a.0 == b.0 && (a.1 == b.1 || (a.1 - b.1).abs() < 1e-9 || (a.1.is_nan() && b.1.is_nan()))
        };
        let fits = found.len() == expected.len() && found.iter().zip(expected).all(same);
        assert!(fits, "{text}: {found:?}, expected {expected:?}");
    }
}

// Mutations: a window closed on the left; a rate without its extrapolation; a counter that falls taken as a
// loss; a series of one point that gives zero.
#[test]
fn growth_is_extrapolated_as_prometheus_does_it() {
    let all = Series::default()
        .with("c", "a=steady", &[0.0, 15.0, 30.0, 45.0, 60.0])
        .with("c", "a=reset", &[100.0, 115.0, 5.0, 20.0, 35.0])
        .with("c", "a=young", &[f64::NAN; 0])
        .with("once", "", &[7.0]);
    // In (0, 60] lie 15 to 60, grown by 45 in 45 s; the window begins 15 s before: one more step, less than 16.5.
    all.gives("increase(c{a='steady'}[1m])", 60.0, &[("a=steady", 60.0)]);
    all.gives("rate(c{a='steady'}[1m])", 60.0, &[("a=steady", 1.0)]);
    // 115 to 35 over a fall to 5: 35 - 115 + 115 = 35 in 45 s, 15 s more: 35 * 60 / 45.
    all.gives("increase(c{a='reset'}[1m])", 60.0, &[("a=reset", 35.0 * 60.0 / 45.0)]);
    // 35 s after the last point is more than a step: half a step instead. 15..=60, window (0, 95].
    all.gives("increase(c{a='steady'}[95s])", 95.0, &[("a=steady", 45.0 * (45.0 + 15.0 + 7.5) / 45.0)]);
    // A counter is not stretched to before it was zero: 0..=60 in (-100, 60] begins at zero.
    all.gives("increase(c{a='steady'}[160s])", 60.0, &[("a=steady", 60.0)]);
    all.gives("delta(c{a='steady'}[160s])", 60.0, &[("a=steady", 60.0 * 67.5 / 60.0)]);
    all.gives("rate(once[5m])", 60.0, &[]);
    all.gives("rate(c[1m] offset 1w)", 60.0, &[]);
    all.gives("increase(c{a='steady'}[30s] offset 15s)", 60.0, &[("a=steady", 30.0)]);
}

// Mutations: a value that is told for ever; a series that ended and still tells its last value.
#[test]
fn a_series_is_there_for_five_minutes_or_until_it_ended() {
    let all = Series::default().with("g", "a=1", &[1.0, 2.0]).with("g", "a=2", &[1.0, ENDED]);
    all.gives("g", 20.0, &[("__name__=g,a=1", 2.0)]);
    all.gives("g", 14.0, &[("__name__=g,a=1", 1.0), ("__name__=g,a=2", 1.0)]);
    all.gives("g", 314.9, &[("__name__=g,a=1", 2.0)]);
    all.gives("g", 315.0, &[]);
    all.gives("count_over_time(g[1m])", 30.0, &[("a=1", 2.0), ("a=2", 1.0)]);
    all.gives("absent(g{a='1',b=~'x'})", 20.0, &[("a=1", 1.0)]);
    all.gives("absent(g)", 20.0, &[]);
    all.gives("{__name__='g',a!='2'}", 20.0, &[("__name__=g,a=1", 2.0)]);
    all.gives("g{missing=''}", 20.0, &[("__name__=g,a=1", 2.0)]);
}

// Mutations: `by` and `without` exchanged; NaN that wins over a number; a group without labels for each series.
#[test]
fn groups_keep_the_labels_they_are_told_to() {
    let all = Series::default()
        .with("g", "a=1,b=x", &[1.0])
        .with("g", "a=1,b=y", &[3.0])
        .with("g", "a=2,b=x", &[5.0])
        .with("n", "a=1", &[f64::NAN])
        .with("n", "a=2", &[2.0]);
    all.gives("sum(g)", 0.0, &[("", 9.0)]);
    all.gives("sum by (a) (g)", 0.0, &[("a=1", 4.0), ("a=2", 5.0)]);
    all.gives("avg without (a) (g)", 0.0, &[("b=x", 3.0), ("b=y", 3.0)]);
    all.gives("count by (b, c) (g)", 0.0, &[("b=x", 2.0), ("b=y", 1.0)]);
    all.gives("max(g) - min(g)", 0.0, &[("", 4.0)]);
    all.gives("max(n)", 0.0, &[("", 2.0)]);
    all.gives("sum(n)", 0.0, &[("", f64::NAN)]);
    all.gives("sum(absent_metric)", 0.0, &[]);
}

// Mutations: joining by position; a comparison that gives the right side; `or` that adds what is already there;
// two partners of which the last one wins.
#[test]
fn two_sides_are_joined_by_their_labels() {
    let all = Series::default()
        .with("a", "s=1", &[10.0])
        .with("a", "s=2", &[20.0])
        .with("b", "s=1", &[2.0])
        .with("b", "s=3", &[3.0])
        .with("m", "s=1,p=x", &[4.0])
        .with("m", "s=1,p=y", &[5.0]);
    all.gives("a / b", 0.0, &[("s=1", 5.0)]);
    all.gives("a / on (s) group_left b", 0.0, &[("s=1", 5.0)]);
    all.gives("m * on (s) group_left b", 0.0, &[("p=x,s=1", 8.0), ("p=y,s=1", 10.0)]);
    all.gives("b - ignoring (p) group_right m", 0.0, &[("p=x,s=1", -2.0), ("p=y,s=1", -3.0)]);
    all.gives("sum by (s) (m) + on () group_left vector(1)", 0.0, &[("s=1", 10.0)]);
    all.gives("a > 10", 0.0, &[("__name__=a,s=2", 20.0)]);
    all.gives("15 < a", 0.0, &[("__name__=a,s=2", 20.0)]);
    all.gives("a > bool 10", 0.0, &[("s=1", 0.0), ("s=2", 1.0)]);
    all.gives("a or b", 0.0, &[("__name__=a,s=1", 10.0), ("__name__=a,s=2", 20.0), ("__name__=b,s=3", 3.0)]);
    all.gives("a and b", 0.0, &[("__name__=a,s=1", 10.0)]);
    all.gives("a unless b", 0.0, &[("__name__=a,s=2", 20.0)]);
    all.gives("a and on () (sum(b) > 4)", 0.0, &[("__name__=a,s=1", 10.0), ("__name__=a,s=2", 20.0)]);
    all.gives("a and on () (sum(b) > 5)", 0.0, &[]);
    all.gives("sum(b) or vector(0)", 0.0, &[("", 5.0)]);
    all.gives("sum(c) or vector(0)", 0.0, &[("", 0.0)]);
    all.gives("2 ^ 3 ^ 0 - 7 % 4", 0.0, &[("", -1.0)]);
    all.gives("-a{s='1'} / 0", 0.0, &[("s=1", f64::NEG_INFINITY)]);
    assert!(all.ask("b * on (s) m", 0.0).unwrap_err().contains("two series of one side"));
    assert!(all.ask("m * on (s) b", 0.0).unwrap_err().contains("needs group_left"));
    assert!(all.ask("a > 1 > bool 2 > b + time()", 0.0).is_ok());
}

// Mutations: a quantile without interpolation; no bucket without bound taken for the last one; counts that fall
// taken as they are.
#[test]
fn quantiles_lie_within_their_bucket() {
    let with = |counts: [f64; 3], top: &str| {
        Series::default().with("h", "le=1,s=1", &[counts[0]]).with("h", "le=2.0,s=1", &[counts[1]]).with(
            "h",
            &format!("le={top},s=1"),
            &[counts[2]],
        )
    };
    let all = with([10.0, 20.0, 20.0], "+Inf");
    all.gives("histogram_quantile(0.75, h)", 0.0, &[("s=1", 1.5)]);
    all.gives("histogram_quantile(0.25, h)", 0.0, &[("s=1", 0.5)]);
    all.gives("histogram_quantile(1.5, h)", 0.0, &[("s=1", f64::INFINITY)]);
    with([10.0, 20.0, 40.0], "+Inf").gives("histogram_quantile(0.9, h)", 0.0, &[("s=1", 2.0)]);
    with([10.0, 20.0, 20.0], "3").gives("histogram_quantile(0.5, h)", 0.0, &[("s=1", f64::NAN)]);
    with([0.0, 0.0, 0.0], "+Inf").gives("histogram_quantile(0.5, h)", 0.0, &[("s=1", f64::NAN)]);
    // 20 above 1 was scraped before the 18 above 2: 20, 20, 20.
    with([10.0, 20.0, 18.0], "+Inf").gives("histogram_quantile(0.75, h)", 0.0, &[("s=1", 1.5)]);
    with([10.0, 20.0, 20.0], "odd").gives("histogram_quantile(0.5, h)", 0.0, &[("s=1", f64::NAN)]);
}

// Mutations: steps from the window's start instead of whole multiples; the spread of a sample instead of all.
#[test]
fn subqueries_and_functions_give_what_is_documented() {
    let all = Series::default()
        .with("c", "p=a-b-c", &[0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0, 105.0, 120.0])
        .with("g", "", &[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
    // 40, 60, 80, 100 and 120 are the multiples of 20 in (25, 125].
    all.gives("count_over_time(sum(c)[100s:20s])", 125.0, &[("", 5.0)]);
    all.gives("avg_over_time(vector(time())[100s:20s])", 125.0, &[("", 80.0)]);
    all.gives(
        "max_over_time(rate(c[30s])[1m:15s]) - min_over_time(rate(c[30s])[1m:15s])",
        120.0,
        &[("p=a-b-c", 0.0)],
    );
    all.gives("stddev_over_time(g[2m])", 105.0, &[("", 2.0)]);
    all.gives("sum_over_time(g[31s]) + last_over_time(g[31s])", 30.0, &[("", 14.0)]);
    all.gives("last_over_time(c[30s])", 15.0, &[("__name__=c,p=a-b-c", 15.0)]);
    all.gives("exp(abs(ln(vector(0.5))))", 0.0, &[("", 2.0)]);
    all.gives("clamp_max(vector(3), 2.5) + clamp_min(vector(3), 4)", 0.0, &[("", 6.5)]);
    all.gives("scalar(c) + scalar(absent_metric)", 15.0, &[("", f64::NAN)]);
    all.gives(
        "label_replace(rate(c[1m]), 'q', '$2.$1', 'p', '(\\\\w)-(\\\\w)-.*')",
        120.0,
        &[("p=a-b-c,q=b.a", 1.0)],
    );
    all.gives("label_replace(sum(c), 'q', 'x', 'p', 'y')", 0.0, &[("", 0.0)]);
}

// Mutations: a function that is not known and gives nothing, which would be unknown, or zero; an expression that
// takes the stack with it.
#[test]
fn what_is_not_evaluated_is_named_and_work_is_bounded() {
    let all = Series::default().with("g", "", &[1.0]);
    for (text, word) in [
        ("topk(1, g)", "topk"),
        ("irate(g[1m])", "irate"),
        ("g @ 5", "@"),
        ("g atan2 g", "atan2"),
        ("{a='b'}", "name of a metric"),
        ("g[5m]", "range"),
        ("'text'", "text"),
        ("sum(g", "no PromQL"),
        ("g{a=\"b}", "no PromQL"),
        ("sum by g", "no PromQL"),
        ("", "no PromQL"),
        ("rate(g)", "no PromQL"),
        ("g{a=~'('}", "no PromQL"),
        ("avg_over_time(g[1y:1s])", "steps"),
        ("max_over_time(max_over_time(g[10000s:1s])[10000s:1s])", "points"),
    ] {
        let why = all.ask(text, 0.0).unwrap_err();
        assert!(why.contains(word), "{text}: {why}");
    }
    for (left, middle, right) in [("(", "g", ")"), ("-", "g", ""), ("g + ", "g", ""), ("abs(", "g", ")")] {
        for times in [100, 100_000] {
            let text = format!("{}{middle}{}", left.repeat(times), right.repeat(times));
            assert!(all.ask(&text, 0.0).is_err(), "{left}");
        }
    }
    let long = format!("g{{a=~\"{}\"}}", "host\\\\.example|".repeat(700));
    assert_eq!(all.ask(&long, 0.0).map(|found| found.len()), Ok(1), "a list of hosts is no deep expression");
    let query = Query::parse("sum(a{x='y'}) / on () rate({__name__='b'}[5m:1m]) > (c[1m])").err();
    assert!(query.is_some(), "a range is compared with nothing");
    let query =
        Query::parse("sum(a{x='y'}) / on () (avg_over_time({__name__='b'}[5m:1m]) > rate(c[1m]))").unwrap();
    assert_eq!(query.metrics().into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
}
