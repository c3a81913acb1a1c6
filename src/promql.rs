//! PromQL of our own: expressions over points that we hold ourselves, as Prometheus would answer them.
//!
//! The grammar is that of the crate `promql-parser`; what is evaluated is what the catalogue needs, and the
//! rest is an error that names what is missing. The figures are those of Prometheus 3: windows are open on the
//! left, `rate` and `increase` extrapolate, `histogram_quantile` mends buckets that fall, a series whose last
//! point is older than five minutes is absent. (Prometheus 2 closes windows on the left, and stretches a counter that
//! is younger than its window a little further.) Not there: native histograms, `@`, topk and its like, `fill`.

mod aggregate;
mod binary;
mod evaluate;
mod functions;
mod histogram;
mod narrow;
mod pages;
mod range;
mod select;

use std::cell::Cell;
use std::collections::BTreeSet;

use promql_parser::parser::{Expr, parse};

use crate::model::series::Labels;
use evaluate::{At, Value};

pub use narrow::TooShort;
pub use pages::Pages;
pub use select::Selection;

/// The label under which an answer names its metric.
pub const NAME: &str = "__name__";
/// Letters outside of quotes: the longest shipped expression has 900 of them, and each may nest one deeper in
/// the parser's hands.
const LONGEST: usize = 8_192;
/// Letters in all; a query for 200 hosts has 10,000.
const LONGEST_TEXT: usize = 1 << 20;
/// How deep an expression may nest.
const DEEPEST: usize = 64;
/// Points that one evaluation may look at, so that none runs for minutes: Prometheus' own limit is 50 million.
const MOST_POINTS: usize = 20_000_000;

/// One value at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Seconds since 1970.
    pub at_s: f64,
    /// The value; [`Point::ended`] tells whether it only says that the series ended here.
    pub value: f64,
}

/// The value of a point that says: from here on the series is not there. Prometheus marks it with this NaN, which
/// no calculation gives.
pub const ENDED: f64 = f64::from_bits(0x7FF0_0000_0000_0002);

impl Point {
    /// Whether it only says that the series was no longer there.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.value.to_bits() == ENDED.to_bits()
    }
}

/// Series with their points.
pub trait Points {
    /// Shows each series of a metric that is [taken](Selection::takes), with those of its points that lie within
    /// the window, oldest first. The order of the series is the same each time.
    fn select(&self, of: &Selection<'_>, see: &mut dyn FnMut(&Labels, &[Point]));
}

/// The answer to an instant query: labels and value of each series.
pub type Vector = Vec<(Labels, f64)>;

/// An expression that was read.
#[derive(Clone, Debug)]
pub struct Query {
    expr: Expr,
}

impl Query {
    /// Reads an expression.
    ///
    /// # Errors
    /// It is no PromQL, or longer or deeper than any that a person writes.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST_TEXT || outside_of_quotes(text) > LONGEST {
            return Err(format!("the expression has more than {LONGEST} letters outside of quotes"));
        }
        let expr = parse(text).map_err(|why| format!("this is no PromQL: {why}"))?;
        if deeper(&expr, DEEPEST) {
            return Err(format!("the expression nests deeper than {DEEPEST}"));
        }
        Ok(Self { expr })
    }

    /// What it gives at a time, in seconds since 1970. A number alone is one series without labels.
    ///
    /// # Errors
    /// It asks for something that is not evaluated here, Prometheus would refuse it too (two series for one of
    /// the other side), or it would look at too many points.
    pub fn at(&self, points: &dyn Points, now_s: f64) -> Result<Vector, String> {
        let work = Cell::new(MOST_POINTS);
        match evaluate::evaluate(&self.expr, At { points, now_s, work: &work })? {
            Value::Scalar(value) => Ok(vec![(Labels::new(), value)]),
            Value::Vector(vector) => Ok(vector),
        }
    }

    /// The metrics it reads.
    #[must_use]
    pub fn metrics(&self) -> BTreeSet<String> {
        metrics(&self.expr)
    }

    /// Those of them that it takes for counters, because it asks how fast they grow.
    #[must_use]
    pub fn counters(&self) -> BTreeSet<String> {
        let (mut open, mut found) = (vec![&self.expr], BTreeSet::new());
        while let Some(expr) = open.pop() {
            if let Expr::Call(call) = expr
                && range::counts(call.func.name)
            {
                found.extend(metrics(expr));
            } else {
                open.extend(parts(expr));
            }
        }
        found
    }
}

fn metrics(of: &Expr) -> BTreeSet<String> {
    let (mut open, mut found) = (vec![of], BTreeSet::new());
    while let Some(expr) = open.pop() {
        let selector = if let Expr::MatrixSelector(of) = expr {
            Some(&of.vs)
        } else if let Expr::VectorSelector(of) = expr {
            Some(of)
        } else {
            None
        };
        found.extend(selector.and_then(select::metric).map(str::to_owned));
        open.extend(parts(expr));
    }
    found
}

/// Letters that are part of the grammar. Quotes end as the parser sees them: an escaped one does not, unless it is
/// a backtick.
fn outside_of_quotes(text: &str) -> usize {
    let (mut count, mut quote, mut escaped) = (0, None, false);
    for c in text.chars() {
        match quote {
            _ if escaped => escaped = false,
            Some(end) if c == end => quote = None,
            Some(end) => escaped = c == '\\' && end != '`',
            None => {
                count += 1;
                quote = matches!(c, '"' | '\'' | '`').then_some(c);
            }
        }
    }
    count
}

/// What an expression is made of.
fn parts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Aggregate(group) => group.param.iter().chain([&group.expr]).map(|part| &**part).collect(),
        Expr::Unary(of) => vec![&of.expr],
        Expr::Binary(both) => vec![&both.lhs, &both.rhs],
        Expr::Paren(of) => vec![&of.expr],
        Expr::Subquery(of) => vec![&of.expr],
        Expr::Call(call) => call.args.args.iter().map(|part| &**part).collect(),
        Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_) => Vec::new(),
    }
}

/// Whether it nests deeper than so many steps; looks no deeper than that itself.
fn deeper(expr: &Expr, steps: usize) -> bool {
    steps == 0 || parts(expr).into_iter().any(|part| deeper(part, steps - 1))
}

#[cfg(test)]
mod tests;
