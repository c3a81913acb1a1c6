//! Many series made one: `sum`, `min`, `max`, `avg`, `count`.

use std::collections::BTreeMap;

use promql_parser::parser::{AggregateExpr, LabelModifier};

use super::evaluate::{At, vector};
use super::range::count;
use super::{NAME, Vector};
use crate::model::series::Labels;

/// What was seen of a group.
#[derive(Clone, Copy)]
struct Group {
    sum: f64,
    least: f64,
    most: f64,
    count: usize,
}

pub(super) fn aggregate(group: &AggregateExpr, at: At<'_>) -> Result<Vector, String> {
    let way = group.op.to_string();
    let value: fn(Group) -> f64 = match way.as_str() {
        "sum" => |group| group.sum,
        "min" => |group| group.least,
        "max" => |group| group.most,
        "avg" => |group| group.sum / count(group.count),
        "count" => |group| count(group.count),
        other => return Err(format!("{other} is not evaluated")),
    };
    let mut groups: BTreeMap<Labels, Group> = BTreeMap::new();
    for (labels, value) in vector(&group.expr, at)? {
        let new = Group { sum: 0.0, least: f64::NAN, most: f64::NAN, count: 0 };
        let known = groups.entry(kept(labels, group.modifier.as_ref())).or_insert(new);
        known.sum += value;
        // A number counts, and what is none only where there is nothing else: f64::min and max do so.
        (known.least, known.most) = (known.least.min(value), known.most.max(value));
        known.count += 1;
    }
    Ok(groups.into_iter().map(|(labels, group)| (labels, value(group))).collect())
}

/// The labels that a group keeps.
fn kept(mut labels: Labels, by: Option<&LabelModifier>) -> Labels {
    match by {
        None => return Labels::new(),
        Some(LabelModifier::Include(wanted)) => labels.retain(|name, _| wanted.labels.contains(name)),
        Some(LabelModifier::Exclude(dropped)) => {
            labels.retain(|name, _| name != NAME && !dropped.labels.contains(name));
        }
    }
    labels
}
