//! Selectors: which series, and which of their points.

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{AtModifier, Expr, Offset, VectorSelector};

use super::evaluate::At;
use super::{NAME, Point, Vector};
use crate::model::series::Labels;

/// A series whose last point is older is not there any more.
const LOOKBACK_S: f64 = 300.0;

/// What a selector asks for.
pub struct Selection<'e> {
    /// The metric.
    pub metric: &'e str,
    /// Points after this count, in seconds since 1970; one exactly then does not.
    pub after_s: f64,
    /// Points up to this count, one exactly then as well.
    pub to_s: f64,
    matchers: &'e [Matcher],
}

impl Selection<'_> {
    /// Whether it asks for a series with these labels; an absent label is an empty one.
    pub fn takes<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        let fits = |matcher: &Matcher| matcher.is_match(label(&matcher.name).unwrap_or_default());
        self.matchers.iter().filter(|matcher| matcher.name != NAME).all(fits)
    }
}

/// The metric a selector names.
pub(super) fn metric(selector: &VectorSelector) -> Option<&str> {
    let named = |matcher: &&Matcher| matcher.name == NAME && matcher.op == MatchOp::Equal;
    let by_label = || selector.matchers.matchers.iter().find(named).map(|matcher| matcher.value.as_str());
    selector.name.as_deref().or_else(by_label)
}

/// Where a window ends that is moved, in seconds since 1970.
pub(super) fn end_s(offset: Option<&Offset>, moved: Option<&AtModifier>, now_s: f64) -> Result<f64, String> {
    match (offset, moved) {
        (_, Some(_)) => Err("the modifier @ is not evaluated".to_owned()),
        (None, None) => Ok(now_s),
        (Some(Offset::Pos(by)), None) => Ok(now_s - by.as_secs_f64()),
        (Some(Offset::Neg(by)), None) => Ok(now_s + by.as_secs_f64()),
    }
}

/// Shows each selected series with its points in the seconds before the end.
pub(super) fn points(
    selector: &VectorSelector,
    (before_s, to_s): (f64, f64),
    at: At<'_>,
    see: &mut dyn FnMut(&Labels, &[Point]),
) -> Result<(), String> {
    let metric = metric(selector).ok_or("a selector without the name of a metric is not evaluated")?;
    if !selector.matchers.or_matchers.is_empty() {
        return Err("`or` between the labels of a selector is not evaluated".to_owned());
    }
    let selection =
        Selection { metric, after_s: to_s - before_s, to_s, matchers: &selector.matchers.matchers };
    let mut spent = Ok(());
    at.points.select(&selection, &mut |labels, points| {
        if spent.is_ok() {
            spent = at.spend(points.len() + 1);
        }
        if spent.is_ok() {
            see(labels, points);
        }
    });
    spent
}

/// The last value of each series, as long as it is there.
pub(super) fn instant(selector: &VectorSelector, at: At<'_>) -> Result<Vector, String> {
    let to_s = end_s(selector.offset.as_ref(), selector.at.as_ref(), at.now_s)?;
    let metric = metric(selector).unwrap_or_default();
    let mut found = Vec::new();
    points(selector, (LOOKBACK_S, to_s), at, &mut |labels, points| {
        if let Some(last) = points.last().filter(|last| !last.ended()) {
            found.push((named(labels, metric), last.value));
        }
    })?;
    Ok(found)
}

/// Labels with the metric's name among them.
pub(super) fn named(labels: &Labels, metric: &str) -> Labels {
    let mut named = labels.clone();
    named.insert(NAME.to_owned(), metric.to_owned());
    named
}

/// The labels that a selector names by `=`, which are those of `absent`.
pub(super) fn named_labels(expr: &Expr) -> Labels {
    if let Expr::Paren(of) = expr {
        return named_labels(&of.expr);
    }
    let Expr::VectorSelector(selector) = expr else { return Labels::new() };
    let matchers = &selector.matchers.matchers;
    let mut found = Labels::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name != NAME && matcher.op == MatchOp::Equal) {
        let once = matchers.iter().filter(|other| other.name == matcher.name).count() == 1;
        if once && !matcher.value.is_empty() {
            found.insert(matcher.name.clone(), matcher.value.clone());
        }
    }
    found
}
