//! Functions of a range of points: `rate`, `increase` and what is taken over time.

use std::collections::BTreeMap;

use promql_parser::parser::{Expr, SubqueryExpr};

use super::evaluate::{At, Value, evaluate, nameless};
use super::select::{end_s, metric, named, points};
use super::{Point, Vector};
use crate::model::series::Labels;

/// Where a subquery names no step, Prometheus takes its evaluation interval, which is a minute unless told
/// otherwise.
const STEP_S: f64 = 60.0;
/// Steps of one subquery, as many as Prometheus allows for a range.
const MOST_STEPS: f64 = 11_000.0;

/// What a step of a subquery costs, in points.
const STEP: usize = 64;

/// A window: after its start, up to its end.
#[derive(Clone, Copy)]
struct Window {
    from_s: f64,
    to_s: f64,
}

/// Whether a function of a range is evaluated here.
pub(super) fn known(function: &str) -> bool {
    matches!(
        function,
        "rate"
            | "increase"
            | "delta"
            | "avg_over_time"
            | "min_over_time"
            | "max_over_time"
            | "sum_over_time"
            | "count_over_time"
            | "last_over_time"
            | "present_over_time"
            | "stddev_over_time"
            | "stdvar_over_time"
    )
}

/// Whether a function takes what it is given for a counter.
pub(super) fn counts(function: &str) -> bool {
    matches!(function, "rate" | "increase")
}

/// A function of the points of each series.
pub(super) fn over(function: &str, of: &Expr, at: At<'_>) -> Result<Vector, String> {
    let mut found = Vec::new();
    ranges(of, at, &mut |labels, points, window| {
        if let Some(value) = one(function, points, window) {
            // The last value is still one of the metric; what is calculated is not.
            let last = function == "last_over_time";
            found.push((if last { labels.clone() } else { nameless(labels.clone()) }, value));
        }
    })?;
    Ok(found)
}

/// Shows each series of a range with its points; where a series ended does not count.
fn ranges(of: &Expr, at: At<'_>, see: &mut dyn FnMut(&Labels, &[Point], Window)) -> Result<(), String> {
    match of {
        Expr::Paren(inner) => ranges(&inner.expr, at, see),
        Expr::MatrixSelector(selector) => {
            let to_s = end_s(selector.vs.offset.as_ref(), selector.vs.at.as_ref(), at.now_s)?;
            let range_s = selector.range.as_secs_f64();
            let window = Window { from_s: to_s - range_s, to_s };
            let metric = metric(&selector.vs).unwrap_or_default();
            points(&selector.vs, (range_s, to_s), at, &mut |labels, points| {
                let labels = &named(labels, metric);
                if points.iter().any(Point::ended) {
                    let alive: Vec<Point> = points.iter().copied().filter(|point| !point.ended()).collect();
                    see(labels, &alive, window);
                } else {
                    see(labels, points, window);
                }
            })
        }
        Expr::Subquery(subquery) => stepwise(subquery, at, see),
        Expr::Aggregate(_)
        | Expr::Unary(_)
        | Expr::Binary(_)
        | Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::Call(_)
        | Expr::Extension(_) => Err("a range of points is expected, as in x[5m]".to_owned()),
    }
}

/// A subquery: the expression at each whole multiple of the step within the window.
fn stepwise(
    subquery: &SubqueryExpr,
    at: At<'_>,
    see: &mut dyn FnMut(&Labels, &[Point], Window),
) -> Result<(), String> {
    let to_s = end_s(subquery.offset.as_ref(), subquery.at.as_ref(), at.now_s)?;
    let from_s = to_s - subquery.range.as_secs_f64();
    let step_s = subquery.step.map_or(STEP_S, |step| step.as_secs_f64());
    if step_s <= 0.0 || (to_s - from_s) / step_s > MOST_STEPS {
        return Err(format!("a subquery has at most {MOST_STEPS} steps"));
    }
    let mut number = (from_s / step_s).floor() + 1.0;
    let mut series: BTreeMap<Labels, Vec<Point>> = BTreeMap::new();
    while number * step_s <= to_s {
        at.spend(STEP)?;
        let at_s = number * step_s;
        match evaluate(&subquery.expr, At { now_s: at_s, ..at })? {
            Value::Scalar(value) => series.entry(Labels::new()).or_default().push(Point { at_s, value }),
            Value::Vector(vector) => {
                for (labels, value) in vector {
                    series.entry(labels).or_default().push(Point { at_s, value });
                }
            }
        }
        number += 1.0;
    }
    series.iter().for_each(|(labels, points)| see(labels, points, Window { from_s, to_s }));
    Ok(())
}

/// What a function makes of the points of one series; nothing where they are too few.
fn one(function: &str, points: &[Point], window: Window) -> Option<f64> {
    let values = || points.iter().map(|point| point.value);
    let last = values().next_back()?;
    match function {
        "rate" => Some(growth(points, window, true)? / (window.to_s - window.from_s)),
        "increase" => growth(points, window, true),
        "delta" => growth(points, window, false),
        "avg_over_time" => Some(mean(points)),
        "min_over_time" => Some(values().fold(f64::NAN, f64::min)),
        "max_over_time" => Some(values().fold(f64::NAN, f64::max)),
        "sum_over_time" => Some(values().sum()),
        "count_over_time" => Some(count(points.len())),
        "last_over_time" => Some(last),
        "present_over_time" => Some(1.0),
        "stddev_over_time" => Some(variance(points).sqrt()),
        "stdvar_over_time" => Some(variance(points)),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "points of a window, far below 2^52")]
pub(super) fn count(number: usize) -> f64 {
    number as f64
}

fn mean(points: &[Point]) -> f64 {
    points.iter().map(|point| point.value).sum::<f64>() / count(points.len())
}

/// Of all points, not of a sample of them.
fn variance(points: &[Point]) -> f64 {
    let mean = mean(points);
    points.iter().map(|point| (point.value - mean).powi(2)).sum::<f64>() / count(points.len())
}

/// How much a series grew in the window, as Prometheus extrapolates it: what happened between the first and
/// the last point is stretched to the window's edges where these are about as far as the next point would be,
/// and by half of that where they are further; a counter is not stretched to before it was zero. A counter that
/// falls began anew at zero. It takes two points.
fn growth(points: &[Point], window: Window, counter: bool) -> Option<f64> {
    let (first, last) = (points.first()?, points.last()?);
    let sampled_s = last.at_s - first.at_s;
    if points.len() < 2 || sampled_s <= 0.0 {
        return None;
    }
    let falls = points.windows(2).filter(|pair| counter && pair[1].value < pair[0].value);
    let grown = last.value - first.value + falls.map(|pair| pair[0].value).sum::<f64>();
    let between_s = sampled_s / count(points.len() - 1);
    let near = |seconds: f64| if seconds >= between_s * 1.1 { between_s / 2.0 } else { seconds };
    let mut before_s = near(first.at_s - window.from_s);
    if counter && grown > 0.0 && first.value >= 0.0 {
        before_s = before_s.min(sampled_s * (first.value / grown));
    }
    Some(grown * (sampled_s + before_s + near(window.to_s - last.at_s)) / sampled_s)
}
