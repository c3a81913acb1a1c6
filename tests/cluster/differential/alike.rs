//! Answers without what no two servers have in common, and how two of them differ.
//!
//! Left out: times that the server sets, `managedFields`, the text of continue tokens, and bookmarks that
//! come by the clock. Versions and uids
//! become numbers in the order of their first appearance, so that two answers agree where they name the same
//! version or not; the order of versions is compared apart. The version of a list says only how new it is:
//! it may not be older than what it shows.

use std::cmp::Ordering;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Map, Value, json};

use super::ask::{Answer, short};

static UID: LazyLock<Regex> = LazyLock::new(|| pattern("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"));
static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\(([0-9]+)\)"));
static TIME: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"));
static MADE: LazyLock<Regex> = LazyLock::new(|| pattern("[bcdfghjklmnpqrstvwxz2456789]{5}$"));

#[expect(clippy::expect_used, reason = "the patterns stand right above")]
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern")
}

/// The names of what one server gave out, in the order in which it did.
#[derive(Default)]
pub(crate) struct Names {
    versions: Vec<String>,
    uids: Vec<String>,
}

impl Names {
    /// An answer as it is compared.
    pub(crate) fn plain(&mut self, answer: &Answer) -> Value {
        json!({
            "code": answer.code, "retryAfter": answer.retry_after, "media": answer.media,
            "body": self.value(&answer.body),
        })
    }

    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let map = listed(map);
                let kept = map.iter().filter(|(key, _)| *key != "managedFields");
                let mut out: Map<String, Value> =
                    kept.map(|(key, inner)| (key.clone(), self.field(key, inner))).collect();
                generated(&mut out);
                Value::Object(out)
            }
            Value::Array(list) => {
                list.iter().filter(|inner| !by_the_clock(inner)).map(|inner| self.value(inner)).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }

    fn field(&mut self, key: &str, value: &Value) -> Value {
        match (key, value.as_str()) {
            ("resourceVersion", Some(text)) if text.parse::<u64>().is_ok() => {
                json!(format!("version {}", place(&mut self.versions, text)))
            }
            ("uid", Some(text)) => json!(format!("uid {}", place(&mut self.uids, text))),
            ("creationTimestamp" | "deletionTimestamp" | "lastTransitionTime", Some(text))
                if TIME.is_match(text) =>
            {
                json!("a time")
            }
            ("clusterIP", Some(text)) if text.starts_with("10.96.") => json!("an address"),
            ("clusterIPs", None) => json!("addresses"),
            ("continue", Some(text)) if !text.is_empty() => json!("a token"),
            ("message", Some(text)) => json!(self.message(text)),
            _ => self.value(value),
        }
    }

    fn message(&mut self, text: &str) -> String {
        let uids = &mut self.uids;
        let text = UID.replace_all(text, |found: &Captures<'_>| format!("uid {}", place(uids, &found[0])));
        let versions = &self.versions;
        let known = |found: &Captures<'_>| match versions.iter().position(|version| *version == found[1]) {
            Some(at) => format!("(version {at})"),
            None => "(a number)".to_owned(),
        };
        NUMBER.replace_all(&text, known).into_owned()
    }

    /// Which of two versions is the newer one, for all pairs of which one is at or behind `from`.
    pub(crate) fn order(&self, from: usize) -> Vec<Ordering> {
        let number = |text: &String| text.parse::<u64>().unwrap_or(0);
        let later = self.versions.iter().enumerate().skip(from);
        later
            .flat_map(|(at, one)| self.versions[..at].iter().map(move |old| number(old).cmp(&number(one))))
            .collect()
    }

    pub(crate) fn versions(&self) -> usize {
        self.versions.len()
    }
}

/// Bookmarks come when a server thinks it time, but for the one that ends the objects that were there.
fn by_the_clock(event: &Value) -> bool {
    event["type"] == "BOOKMARK" && event["object"]["metadata"]["annotations"].is_null()
}

/// Puts a word in the place of the version of a list or a bookmark, which is no object's.
fn listed(map: &Map<String, Value>) -> Map<String, Value> {
    let version = |object: &Value| object["metadata"]["resourceVersion"].as_str()?.parse::<u64>().ok();
    let mut out = map.clone();
    if map.get("type") == Some(&json!("BOOKMARK")) {
        out["object"]["metadata"]["resourceVersion"] = json!("a version");
    } else if let Some(items) = map.get("items").and_then(Value::as_array)
        && let Some(own) = map.get("metadata").and_then(|_| version(&Value::Object(map.clone())))
    {
        let old = items.iter().any(|item| version(item) > Some(own));
        out["metadata"]["resourceVersion"] = json!(if old { "older than its items" } else { "a version" });
    }
    out
}

fn place(known: &mut Vec<String>, text: &str) -> usize {
    known.iter().position(|one| one == text).unwrap_or_else(|| {
        known.push(text.to_owned());
        known.len() - 1
    })
}

fn generated(out: &mut Map<String, Value>) {
    let (Some(start), Some(name)) = (out.get("generateName"), out.get("name")) else { return };
    let (start, name) = (start.as_str().unwrap_or_default(), name.as_str().unwrap_or_default());
    if name.strip_prefix(start).is_some_and(|rest| rest.len() == 5 && MADE.is_match(rest)) {
        let name = json!(format!("{start}five letters"));
        out.insert("name".to_owned(), name);
    }
}

/// One place where two answers differ.
#[derive(Clone, Debug)]
pub(crate) struct Gap {
    /// Where: a JSON pointer into code, media type and body.
    pub(crate) at: String,
    pub(crate) real: Option<Value>,
    pub(crate) ours: Option<Value>,
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show =
            |value: &Option<Value>| short(&value.as_ref().map_or("(nothing)".to_owned(), Value::to_string));
        write!(f, "{}: real {}, simulated {}", self.at, show(&self.real), show(&self.ours))
    }
}

/// All places where two answers differ.
pub(crate) fn gaps(at: &str, real: Option<&Value>, ours: Option<&Value>, out: &mut Vec<Gap>) {
    if real == ours {
        return;
    }
    match (real, ours) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let all: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for key in all {
                gaps(&format!("{at}/{}", key.replace('/', "~1")), one.get(key), other.get(key), out);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            for index in 0..one.len().max(other.len()) {
                gaps(&format!("{at}/{index}"), one.get(index), other.get(index), out);
            }
        }
        _ => out.push(Gap { at: at.to_owned(), real: real.cloned(), ours: ours.cloned() }),
    }
}
