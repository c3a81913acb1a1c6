//! The catalogue as it is written: YAML to indicators, every mistake with its line.

use super::ways::{parses, ways};
use super::{Bands, Bound, Check, Few, Indicator, Queries, Reader, Trigger, UNITS};
use crate::model::indicator::{Level, Overflow};
use crate::yaml::{Faults, Fields, Node};

const KEYS: [&str; 14] = [
    "id",
    "title",
    "unit",
    "bands",
    "worse",
    "restored",
    "few",
    "minSamples",
    "window",
    "prometheus",
    "check",
    "readings",
    "trigger",
    "fix",
];
/// As wide as a column of a table can be.
const LONGEST_TITLE: usize = 34;

/// One indicator; its mistakes become faults.
pub(super) fn indicator(node: &Node, faults: &mut Faults) -> Option<Indicator> {
    let fields = node.fields(&KEYS, &[], faults);
    let id = fields.need("id", node, faults).and_then(|node| id(node, faults));
    let unit = fields.need("unit", node, faults).and_then(|node| unit(node, faults));
    let bands = fields.need("bands", node, faults).and_then(|node| bands(node, faults));
    let few = fields.get("few").map(|node| few(node, faults));
    let few = few.map_or(Some(None), |read| read.map(Some));
    let restored = fields.get("restored").map_or(Some(Vec::new()), |node| restored(node, faults));
    let mut text = |key: &str| fields.get(key).map_or(Some(String::new()), |node| node.text(faults));
    let (title, fix) = (text("title"), text("fix"));
    worse(fields, bands, faults);
    if let (Some(node), Some(title)) = (fields.get("title"), &title)
        && title.chars().count() > LONGEST_TITLE
    {
        faults.add(node, format!("a title has at most {LONGEST_TITLE} characters"));
    }
    let min_samples = fields.need("minSamples", node, faults).and_then(|node| node.whole(1, faults));
    let reader = reader(fields, node, faults);
    let trigger = match (fields.get("trigger"), &reader) {
        (Some(node), Some(reader)) => trigger(node, reader, faults),
        (None, _) | (_, None) => None,
    };
    let indicator = Indicator {
        id: id?,
        title: title?,
        unit: unit?,
        bands: bands?,
        restored: restored?,
        few: few?,
        min_samples: f64::from(min_samples?),
        fix: fix?,
        reader: reader?,
        trigger,
    };
    if indicator.few.is_some() && !indicator.is_of_a_fleet() {
        faults.add(node, "few is for shares of a fleet: of this one the worst subject counts");
    }
    Some(indicator)
}

/// `component.name`, in lower case.
fn id(node: &Node, faults: &mut Faults) -> Option<String> {
    let text = node.text(faults)?;
    let word = |word: &str| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(fits)
    };
    if !text.split_once('.').is_some_and(|(component, name)| word(component) && word(name)) {
        faults.add(node, format!("{text:?} is no id: component.name in lower case, with digits and _"));
    }
    Some(text)
}

fn unit(node: &Node, faults: &mut Faults) -> Option<String> {
    let text = node.text(faults)?;
    let share = text.strip_prefix("share of ").is_some_and(|of| !of.trim().is_empty());
    if !share && !UNITS.contains(&&*text) {
        faults
            .add(node, format!("the unit {text:?} is not known; known: share of ..., {}", UNITS.join(", ")));
    }
    Some(text)
}

/// Where it is said which way is worse, critical lies on that side of warning.
fn worse(fields: Fields<'_>, bands: Option<Bands>, faults: &mut Faults) {
    let Some(node) = fields.get("worse") else { return };
    let falls = match node.text(faults).as_deref() {
        Some("lower") => true,
        Some("higher") => false,
        Some(other) => return faults.add(node, format!("worse is lower or higher, not {other:?}")),
        None => return,
    };
    if let (Some(bands), Some(node)) = (bands, fields.get("bands"))
        && bands.fall() != falls
    {
        let side = if falls { "below" } else { "above" };
        faults.add(node, format!("critical lies on the healthy side of warning: it has to be {side} it"));
    }
}

/// The bands whose bound was lost.
fn restored(node: &Node, faults: &mut Faults) -> Option<Vec<Level>> {
    let mut found = Vec::new();
    for text in node.texts(faults)? {
        let band = [Level::Healthy, Level::Warning, Level::Critical].into_iter().find(|l| l.as_str() == text);
        if band.is_none() {
            faults.add(node, format!("{text:?} is no band; known: healthy, warning, critical"));
        }
        found.extend(band);
    }
    Some(found)
}

/// One way of reading, and only one.
fn reader(fields: Fields<'_>, node: &Node, faults: &mut Faults) -> Option<Reader> {
    if let Some(list) = fields.get("readings") {
        let others = ["prometheus", "check"].into_iter().filter_map(|key| Some((key, fields.get(key)?)));
        for (key, other) in others {
            faults.add(other, format!("it is read in one way only: take out {key}, or the readings"));
        }
        return ways(fields, list, faults).map(Reader::Readings);
    }
    match (fields.get("prometheus"), fields.get("check")) {
        (Some(queries), None) => {
            let window_s = fields.need("window", node, faults).and_then(|node| node.seconds(faults));
            let parts = queries.fields(&["samples", "bad", "overflow"], &[], faults);
            let samples = parts.need("samples", queries, faults).and_then(|node| template(node, faults));
            let bad = parts.need("bad", queries, faults).and_then(|node| template(node, faults));
            let overflow = parts.get("overflow").map(|node| overflow(node, faults));
            let overflow = overflow.map_or(Some(None), |read| read.map(Some))?;
            let (window_s, samples, bad) = (window_s?, samples?, bad?);
            Some(Reader::Prometheus(Queries { window_s, samples, bad, overflow }))
        }
        (None, Some(check)) => {
            if let Some(window) = fields.get("window") {
                faults.add(window, "a check looks at now: it has no window");
            }
            let text = check.text(faults)?;
            let found = Check::ALL.into_iter().find(|(name, _)| *name == text);
            if found.is_none() {
                let known = Check::ALL.map(|(name, _)| name).join(", ");
                faults.add(check, format!("no check is called {text:?}; known: {known}"));
            }
            found.map(|(_, check)| Reader::Check(check))
        }
        (Some(_), Some(check)) => {
            faults.add(check, "an indicator is read by prometheus or by check, not by both");
            None
        }
        (None, None) => {
            faults.add(
                node,
                "how is it read? prometheus: { samples, bad }, check: NAME or readings: [..] is missing",
            );
            None
        }
    }
}

fn overflow(node: &Node, faults: &mut Faults) -> Option<Overflow<String>> {
    let parts = node.fields(&["pending", "active"], &[], faults);
    let pending = parts.need("pending", node, faults).and_then(|node| template(node, faults));
    let active = parts.need("active", node, faults).and_then(|node| template(node, faults));
    Some(Overflow { pending: pending?, active: active? })
}

fn template(node: &Node, faults: &mut Faults) -> Option<String> {
    let text = node.text(faults)?;
    for name in ["$hosts", "$window"] {
        if !text.contains(name) {
            faults.add(node, format!("the query does not contain {name}"));
        }
    }
    parses(node, &text.replace("$hosts", "host").replace("$window", "60s"), faults);
    Some(text)
}

fn bands(node: &Node, faults: &mut Faults) -> Option<Bands> {
    let parts = node.fields(&["warning", "critical"], &[], faults);
    let warning = parts.need("warning", node, faults).and_then(|node| node.number(faults))?;
    let critical = parts.need("critical", node, faults).and_then(|node| node.number(faults))?;
    if warning.total_cmp(&critical).is_eq() {
        faults.add(node, "warning and critical are the same: which way is worse cannot be told");
    }
    Some(Bands { warning, critical })
}

fn few(node: &Node, faults: &mut Faults) -> Option<Few> {
    let parts = node.fields(&["below", "warning", "critical", "hold"], &[], faults);
    let mut number = |key: &str| parts.need(key, node, faults).and_then(|node| node.whole(1, faults));
    let (below, warning, critical) = (number("below"), number("warning"), number("critical"));
    let hold_s = parts.get("hold").map_or(Some(0), |node| node.seconds(faults));
    let few = Few { below: below?, warning: warning?, critical: critical?, hold_s: hold_s? };
    if few.critical < few.warning {
        faults.add(node, "fewer make it critical than make it a warning: the other way round");
    }
    if few.warning >= few.below {
        faults
            .add(node, "a fleet of fewer than `below` can never have that many: it would always be healthy");
    }
    Some(few)
}

/// Kinds whose hosts Prometheus is asked about on its own account.
const POLLED: [&str; 2] = ["VirtualService", "Service"];

fn trigger(node: &Node, reader: &Reader, faults: &mut Faults) -> Option<Trigger> {
    let parts = node.fields(&["symptom", "of", "above", "below", "minSamples", "hold"], &[], faults);
    let symptom = parts.need("symptom", node, faults).and_then(|node| {
        let text = node.text(faults)?;
        text.parse().map_err(|why: String| faults.add(node, why)).ok()
    });
    let of = match (reader, parts.get("of")) {
        (Reader::Prometheus(_), None) => Some(POLLED[0].to_owned()),
        (Reader::Prometheus(_), Some(node)) => {
            let text = node.text(faults)?;
            if !POLLED.contains(&text.as_str()) {
                faults.add(node, format!("{text:?} is not asked about; known: {}", POLLED.join(", ")));
            }
            Some(text)
        }
        (Reader::Check(check), None) => Some(check.kind().to_owned()),
        (Reader::Readings(_), None) => None,
        (Reader::Readings(_), Some(node)) => Some(node.text(faults)?),
        (Reader::Check(check), Some(node)) => {
            faults.add(node, format!("a check has its own kind: {}", check.kind()));
            None
        }
    };
    let above = parts.get("above").and_then(|node| node.number(faults)).map(Bound::Above);
    let below = parts.get("below").and_then(|node| node.number(faults)).map(Bound::Below);
    if parts.get("above").is_some() == parts.get("below").is_some() {
        faults.add(node, "a trigger has either above or below");
    }
    let min_samples = parts.need("minSamples", node, faults).and_then(|node| node.whole(1, faults));
    let hold_s = parts.need("hold", node, faults).and_then(|node| node.seconds(faults));
    Some(Trigger {
        symptom: symptom?,
        of,
        bound: above.or(below)?,
        min_samples: f64::from(min_samples?),
        hold_s: hold_s?,
    })
}
