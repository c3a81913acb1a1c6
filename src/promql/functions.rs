//! Functions of series and numbers.

use std::collections::BTreeMap;

use promql_parser::parser::{Call, Expr};
use regex::Regex;

use super::evaluate::{At, Value, each, evaluate, nameless, scalar, vector};
use super::select::named_labels;
use super::{Vector, histogram, range};
use crate::model::series::Labels;

pub(super) fn call(call: &Call, at: At<'_>) -> Result<Value, String> {
    let name = call.func.name;
    // The parser has counted the arguments.
    let arg = |index: usize| {
        let found = call.args.args.get(index).map(|arg| &**arg);
        found.ok_or_else(|| format!("{name} lacks an argument"))
    };
    let mapped = |change: fn(f64) -> f64| Ok(each(evaluate(arg(0)?, at)?, change));
    match name {
        "abs" => mapped(f64::abs),
        "exp" => mapped(f64::exp),
        "ln" => mapped(f64::ln),
        "clamp_max" | "clamp_min" => {
            let bound = scalar(arg(1)?, at)?;
            let clamp = |value: f64| match name {
                _ if value.is_nan() || bound.is_nan() => f64::NAN,
                "clamp_max" => value.min(bound),
                _ => value.max(bound),
            };
            Ok(each(evaluate(arg(0)?, at)?, clamp))
        }
        "time" => Ok(Value::Scalar(at.now_s)),
        "vector" => Ok(Value::Vector(vec![(Labels::new(), scalar(arg(0)?, at)?)])),
        "scalar" => {
            let of = vector(arg(0)?, at)?;
            Ok(Value::Scalar(if let [(_, value)] = of.as_slice() { *value } else { f64::NAN }))
        }
        "absent" => {
            let of = arg(0)?;
            let there = !vector(of, at)?.is_empty();
            Ok(Value::Vector(if there { Vec::new() } else { vec![(named_labels(of), 1.0)] }))
        }
        "histogram_quantile" => {
            let share = scalar(arg(0)?, at)?;
            Ok(Value::Vector(histogram::quantile(share, vector(arg(1)?, at)?)))
        }
        "label_replace" => {
            let texts = [text(arg(1)?)?, text(arg(2)?)?, text(arg(3)?)?, text(arg(4)?)?];
            replace(vector(arg(0)?, at)?, texts).map(Value::Vector)
        }
        over if range::known(over) => range::over(over, arg(0)?, at).map(Value::Vector),
        other => Err(format!("the function {other} is not evaluated")),
    }
}

fn text(expr: &Expr) -> Result<&str, String> {
    if let Expr::StringLiteral(text) = expr { Ok(&text.val) } else { Err("a text is expected".to_owned()) }
}

/// `label_replace`: where the whole of a label fits the pattern, another label is set from it; an empty one
/// is taken away.
fn replace(of: Vector, [target, template, source, pattern]: [&str; 4]) -> Result<Vector, String> {
    let pattern = Regex::new(&format!("^(?s:{pattern})$"))
        .map_err(|_| format!("{pattern:?} is no regular expression"))?;
    let mut found = BTreeMap::new();
    for (mut labels, value) in of {
        if let Some(caught) = pattern.captures(labels.get(source).map_or("", String::as_str)) {
            let mut text = String::new();
            caught.expand(template, &mut text);
            if text.is_empty() {
                labels.remove(target);
            } else {
                labels.insert(target.to_owned(), text);
            }
        }
        if found.insert(labels, value).is_some() {
            return Err(format!("label_replace gives two series the same labels by {target:?}"));
        }
    }
    Ok(found.into_iter().collect())
}

/// The labels of a bucket without its bound, and the bound.
pub(super) fn bucket(mut labels: Labels) -> Option<(Labels, f64)> {
    let bound = labels.remove("le")?.parse().ok()?;
    Some((nameless(labels), bound))
}
