//! When a policy lets act: windows that come back every day or week, and freezes that come once.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;

use crate::rules::window::{Freeze, Says, Timetable, Window, zone};
use crate::yaml::{Faults, Node, Value};

/// Reads `windows`.
pub(super) fn windows(policy: &str, node: &Node, faults: &mut Faults) -> Option<Arc<Timetable>> {
    let items = node.items(faults);
    if matches!(&node.value, Value::List(items) if items.is_empty()) {
        faults.add(node, "this list is empty and says nothing; leave the key out");
    }
    let windows: Vec<Window> = items.into_iter().filter_map(|item| window(item, faults)).collect();
    (!windows.is_empty()).then(|| Arc::new(Timetable { policy: policy.to_owned(), windows }))
}

fn window(item: &Node, faults: &mut Faults) -> Option<Window> {
    let fields = item.fields(&["allow", "deny", "zone"], &[], faults);
    let place = fields.need("zone", item, faults).and_then(|node| {
        let name = node.text(faults)?;
        match zone(&name) {
            Ok(place) => Some((name, place)),
            Err(why) => {
                faults.add(node, why);
                None
            }
        }
    });
    let (says, node) = match (fields.get("allow"), fields.get("deny")) {
        (Some(node), None) => (Says::Allow, node),
        (None, Some(node)) => (Says::Deny, node),
        (Some(_), Some(_)) | (None, None) => {
            faults.add(item, "a window says either allow or deny");
            return None;
        }
    };
    let text = node.text(faults)?;
    // A window is read even where its zone is wrong, so that both mistakes are told.
    let known = place.is_some();
    let (name, place) = place.unwrap_or_else(|| (String::new(), jiff::tz::TimeZone::UTC));
    match Window::read(says, &text, &name, place) {
        Ok(window) => known.then_some(window),
        Err(why) => {
            faults.add(node, why);
            None
        }
    }
}

/// Reads `freezes`.
pub(super) fn freezes(policy: &str, node: &Node, faults: &mut Faults) -> Vec<Freeze> {
    node.items(faults).into_iter().filter_map(|item| freeze(policy, item, faults)).collect()
}

fn freeze(policy: &str, item: &Node, faults: &mut Faults) -> Option<Freeze> {
    let fields = item.fields(&["from", "to", "zone", "reason"], &[], faults);
    let name = fields.get("zone").and_then(|node| Some((node, node.text(faults)?)));
    let place = match name.as_ref().map(|(node, name)| (node, zone(name))) {
        None => None,
        Some((_, Ok(place))) => Some(place),
        Some((node, Err(why))) => {
            faults.add(node, why);
            None
        }
    };
    let mut time = |key: &str| {
        let node = fields.need(key, item, faults)?;
        let text = node.text(faults)?;
        if let Ok(at) = text.parse::<Timestamp>() {
            return Some(at);
        }
        let civil = text.replacen(' ', "T", 1).parse::<DateTime>().ok();
        match (civil, &place, &name) {
            (Some(civil), Some(place), _) => place.to_timestamp(civil).ok(),
            // The zone is there and wrong, which is told already.
            (Some(_), None, Some(_)) => None,
            (Some(_), None, None) => {
                faults.add(node, format!("{text:?} names no zone: add zone: Europe/Berlin, or an offset"));
                None
            }
            (None, ..) => {
                let form = "write 2026-12-24T18:00:00+01:00, or 2026-12-24 18:00 beside a zone";
                faults.add(node, format!("{text:?} is not a time; {form}"));
                None
            }
        }
    };
    let (from, to) = (time("from"), time("to"));
    let reason = fields.need("reason", item, faults).and_then(|node| node.text(faults));
    let (from, to, reason) = (from?, to?, reason?);
    if from >= to {
        faults.add(item, "the freeze ends before it begins");
        return None;
    }
    Some(Freeze { policy: policy.to_owned(), from, to, reason })
}
