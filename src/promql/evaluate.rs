//! What an expression gives at one time.

use std::cell::Cell;

use promql_parser::parser::Expr;

use super::{NAME, Points, Vector, aggregate, binary, functions, select};
use crate::model::series::Labels;

/// What an expression gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Scalar(f64),
    Vector(Vector),
}

/// Over what and for when an expression is evaluated.
#[derive(Clone, Copy)]
pub(super) struct At<'e> {
    pub(super) points: &'e dyn Points,
    /// Seconds since 1970.
    pub(super) now_s: f64,
    /// Points that may still be looked at.
    pub(super) work: &'e Cell<usize>,
}

impl At<'_> {
    /// Pays for work.
    pub(super) fn spend(self, points: usize) -> Result<(), String> {
        match self.work.get().checked_sub(points) {
            Some(left) => {
                self.work.set(left);
                Ok(())
            }
            None => {
                self.work.set(0);
                Err(format!("the expression looks at more than {} points", super::MOST_POINTS))
            }
        }
    }
}

pub(super) fn evaluate(expr: &Expr, at: At<'_>) -> Result<Value, String> {
    match expr {
        Expr::NumberLiteral(number) => Ok(Value::Scalar(number.val)),
        Expr::Paren(of) => evaluate(&of.expr, at),
        Expr::Unary(of) => Ok(each(evaluate(&of.expr, at)?, |value| -value)),
        Expr::VectorSelector(selector) => select::instant(selector, at).map(Value::Vector),
        Expr::Aggregate(group) => aggregate::aggregate(group, at).map(Value::Vector),
        Expr::Binary(both) => binary::binary(both, at),
        Expr::Call(call) => functions::call(call, at),
        Expr::MatrixSelector(_) | Expr::Subquery(_) => {
            Err("a range of points is no figure: put a function such as rate around it".to_owned())
        }
        Expr::StringLiteral(_) => Err("a text is no figure".to_owned()),
        Expr::Extension(_) => Err("an extension of the grammar is not evaluated".to_owned()),
    }
}

/// The vector of an expression.
pub(super) fn vector(expr: &Expr, at: At<'_>) -> Result<Vector, String> {
    match evaluate(expr, at)? {
        Value::Vector(vector) => Ok(vector),
        Value::Scalar(_) => Err("series are expected, not a number".to_owned()),
    }
}

/// The number of an expression.
pub(super) fn scalar(expr: &Expr, at: At<'_>) -> Result<f64, String> {
    match evaluate(expr, at)? {
        Value::Scalar(value) => Ok(value),
        Value::Vector(_) => Err("a number is expected, not series".to_owned()),
    }
}

/// Each value changed; what is calculated is no longer the metric of that name.
pub(super) fn each(of: Value, change: impl Fn(f64) -> f64) -> Value {
    match of {
        Value::Scalar(value) => Value::Scalar(change(value)),
        Value::Vector(vector) => {
            let changed = vector.into_iter().map(|(labels, value)| (nameless(labels), change(value)));
            Value::Vector(changed.collect())
        }
    }
}

pub(super) fn nameless(mut labels: Labels) -> Labels {
    labels.remove(NAME);
    labels
}
