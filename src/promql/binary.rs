//! Two sides made one: arithmetic, comparisons, and sets of series.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::parser::{BinModifier, BinaryExpr, LabelModifier, VectorMatchCardinality};

use super::evaluate::{At, Value, evaluate, nameless};
use super::{NAME, Vector};
use crate::model::series::Labels;

/// What becomes of two values.
#[derive(Clone, Copy)]
enum Sign {
    Arithmetic(fn(f64, f64) -> f64),
    Comparison(fn(f64, f64) -> bool),
}

fn sign(text: &str) -> Result<Sign, String> {
    Ok(match text {
        "+" => Sign::Arithmetic(|a, b| a + b),
        "-" => Sign::Arithmetic(|a, b| a - b),
        "*" => Sign::Arithmetic(|a, b| a * b),
        "/" => Sign::Arithmetic(|a, b| a / b),
        "%" => Sign::Arithmetic(|a, b| a % b),
        "^" => Sign::Arithmetic(f64::powf),
        "==" => Sign::Comparison(|a, b| a == b),
        "!=" => Sign::Comparison(|a, b| a != b),
        ">" => Sign::Comparison(|a, b| a > b),
        "<" => Sign::Comparison(|a, b| a < b),
        ">=" => Sign::Comparison(|a, b| a >= b),
        "<=" => Sign::Comparison(|a, b| a <= b),
        other => return Err(format!("{other} is not evaluated")),
    })
}

/// How the two sides are joined.
struct Join<'e> {
    sign: Sign,
    /// Whether a comparison gives 1 and 0 instead of leaving out what is false.
    counts: bool,
    matching: Option<&'e LabelModifier>,
    card: &'e VectorMatchCardinality,
}

impl Join<'_> {
    /// The value of a pair; `kept` is what a comparison that holds leaves.
    fn value(&self, (left, right): (f64, f64), kept: f64) -> Option<f64> {
        match self.sign {
            Sign::Arithmetic(of) => Some(of(left, right)),
            Sign::Comparison(holds) if self.counts => Some(f64::from(u8::from(holds(left, right)))),
            Sign::Comparison(holds) => holds(left, right).then_some(kept),
        }
    }

    /// Whether what comes out is still the metric that went in.
    fn keeps_name(&self) -> bool {
        matches!(self.sign, Sign::Comparison(_)) && !self.counts
    }
}

pub(super) fn binary(both: &BinaryExpr, at: At<'_>) -> Result<Value, String> {
    let plain = BinModifier::default();
    let modifier = both.modifier.as_ref().unwrap_or(&plain);
    if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
        return Err("fill is not evaluated".to_owned());
    }
    let (left, right) = (evaluate(&both.lhs, at)?, evaluate(&both.rhs, at)?);
    let text = both.op.to_string();
    let matching = modifier.matching.as_ref();
    if both.op.is_set_operator() {
        let (Value::Vector(left), Value::Vector(right)) = (left, right) else {
            return Err(format!("{text} stands between series, not numbers"));
        };
        return Ok(Value::Vector(set(&text, left, right, matching)));
    }
    let join = Join { sign: sign(&text)?, counts: modifier.return_bool, matching, card: &modifier.card };
    let named = |labels: Labels| if join.keeps_name() { labels } else { nameless(labels) };
    Ok(match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => {
            let value = join.value((left, right), left);
            Value::Scalar(value.ok_or("numbers are compared with bool, as in 1 > bool 0")?)
        }
        (Value::Vector(left), Value::Scalar(right)) => {
            let one = |(labels, left)| Some((named(labels), join.value((left, right), left)?));
            Value::Vector(left.into_iter().filter_map(one).collect())
        }
        (Value::Scalar(left), Value::Vector(right)) => {
            let one = |(labels, right)| Some((named(labels), join.value((left, right), right)?));
            Value::Vector(right.into_iter().filter_map(one).collect())
        }
        (Value::Vector(left), Value::Vector(right)) => Value::Vector(joined(&join, left, right)?),
    })
}

/// By which labels two series fit together.
fn signature(labels: &Labels, matching: Option<&LabelModifier>) -> Labels {
    let counts = |name: &String| match matching {
        Some(LabelModifier::Include(on)) => on.labels.contains(name),
        Some(LabelModifier::Exclude(ignored)) => name != NAME && !ignored.labels.contains(name),
        None => name != NAME,
    };
    let kept = labels.iter().filter(|(name, _)| counts(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn set(text: &str, mut left: Vector, right: Vector, matching: Option<&LabelModifier>) -> Vector {
    let of = |labels: &Labels| signature(labels, matching);
    if text == "or" {
        let there: BTreeSet<Labels> = left.iter().map(|(labels, _)| of(labels)).collect();
        left.extend(right.into_iter().filter(|(labels, _)| !there.contains(&of(labels))));
        return left;
    }
    let there: BTreeSet<Labels> = right.iter().map(|(labels, _)| of(labels)).collect();
    left.retain(|(labels, _)| there.contains(&of(labels)) == (text == "and"));
    left
}

/// Pairs of series that fit together: one of the one side for each of the other.
fn joined(join: &Join<'_>, left: Vector, right: Vector) -> Result<Vector, String> {
    let turned = matches!(join.card, VectorMatchCardinality::OneToMany(_));
    let single = matches!(join.card, VectorMatchCardinality::OneToOne);
    let (many, one) = if turned { (right, left) } else { (left, right) };
    let mut partners: BTreeMap<Labels, (Labels, f64)> = BTreeMap::new();
    for (labels, value) in one {
        let key = signature(&labels, join.matching);
        if let Some((other, _)) = partners.insert(key, (labels.clone(), value)) {
            return Err(format!("two series of one side fit the same of the other: {other:?}, {labels:?}"));
        }
    }
    let (mut found, mut used) = (BTreeMap::new(), BTreeSet::new());
    for (labels, value) in many {
        let key = signature(&labels, join.matching);
        let Some((partner, other)) = partners.get(&key) else { continue };
        if single && !used.insert(key) {
            return Err(format!(
                "several series fit one of the other side, which needs group_left: {labels:?}"
            ));
        }
        let pair = if turned { (*other, value) } else { (value, *other) };
        let Some(result) = join.value(pair, pair.0) else { continue };
        let labels = labels_of(join, labels, partner);
        if let Some(twice) = found.insert(labels, result) {
            return Err(format!("two results have the same labels, one of them is {twice}"));
        }
    }
    Ok(found.into_iter().collect())
}

/// The labels of a result, which are those of the side that may have many.
fn labels_of(join: &Join<'_>, mut labels: Labels, partner: &Labels) -> Labels {
    if !join.keeps_name() {
        labels.remove(NAME);
    }
    match (join.card.labels(), join.matching) {
        (Some(more), _) => {
            for name in &more.labels {
                match partner.get(name) {
                    Some(value) => labels.insert(name.clone(), value.clone()),
                    None => labels.remove(name),
                };
            }
        }
        (None, Some(LabelModifier::Include(on))) => labels.retain(|name, _| on.labels.contains(name)),
        (None, Some(LabelModifier::Exclude(ignored))) => {
            labels.retain(|name, _| !ignored.labels.contains(name));
        }
        (None, None) => {}
    }
    labels
}
