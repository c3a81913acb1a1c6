//! YAML with line numbers, read so that every mistake in a file is reported at once.
//!
//! serde stops at the first mistake and loses the place of values that are well formed but wrong; here a
//! document becomes a tree of nodes with their lines, and readers note faults and go on.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::model::duration;

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// The value.
    pub value: Value,
}

/// What stands there.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names of YAML")]
pub enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// A mistake with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// What is wrong and what to do.
    pub text: String,
}

/// A line of a text, from 1; empty where there is none.
#[must_use]
pub fn source_line(text: &str, line: u64) -> &str {
    let index = usize::try_from(line).unwrap_or(0).checked_sub(1);
    index.and_then(|index| text.lines().nth(index)).unwrap_or_default()
}

/// A source line with a mark under a column, to stand below a message; nothing for an empty line.
#[must_use]
pub fn marked(source: &str, line: u64, column: u64) -> String {
    if source.trim().is_empty() {
        return String::new();
    }
    let before = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    // Tabs stay tabs, so that the mark stands where the eye expects it.
    let gap: String = source.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    format!("\n{line:>5} | {source}\n      | {gap}^")
}

/// Mistakes found so far.
#[derive(Clone, Debug, Default)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Notes a mistake.
    pub fn add(&mut self, node: &Node, text: impl Into<String>) {
        self.0.push(Fault { line: node.line, column: node.column, text: text.into() });
    }
}

struct Raw(Value);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor).map(Raw)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Spanned::<Raw>::deserialize(deserializer)?;
        Ok(Self { line: raw.referenced.line(), column: raw.referenced.column(), value: raw.value.0 })
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of configuration files are small")]
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of configuration files are small")]
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Node>()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry::<String, Node>()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}

/// Reads one document.
///
/// # Errors
/// The text is not YAML: one fault with its place.
pub fn parse(text: &str) -> Result<Node, Fault> {
    serde_saphyr::from_str::<Node>(text).map_err(|error| {
        let location = error.location();
        let (line, column) = location.map_or((1, 1), |at| (at.line(), at.column()));
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().to_owned();
        Fault { line, column, text: format!("this is not valid YAML: {first}") }
    })
}

impl Node {
    fn what(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The text here; a fault otherwise.
    pub fn text(&self, faults: &mut Faults) -> Option<String> {
        let Value::Text(text) = &self.value else {
            return note(faults, self, &format!("a text is expected, not {}", self.what()));
        };
        if text.is_empty() {
            return note(faults, self, "a text is expected, this one is empty");
        }
        Some(text.clone())
    }

    /// The finite number here; a fault otherwise.
    pub fn number(&self, faults: &mut Faults) -> Option<f64> {
        if let Value::Number(number) = self.value
            && number.is_finite()
        {
            return Some(number);
        }
        note(faults, self, &format!("a number is expected, not {}", self.what()))
    }

    /// The whole number of at least `least` here; a fault otherwise.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked right before")]
    pub fn whole(&self, least: u32, faults: &mut Faults) -> Option<u32> {
        let number = self.number(faults)?;
        if number.fract() == 0.0 && number >= f64::from(least) && number <= f64::from(u32::MAX) {
            return Some(number as u32);
        }
        note(faults, self, &format!("a whole number of at least {least} is expected, not {number}"))
    }

    /// A duration with its unit, in seconds; a fault otherwise.
    pub fn seconds(&self, faults: &mut Faults) -> Option<u64> {
        let Value::Text(text) = &self.value else {
            return note(faults, self, "a duration with a unit is expected, for instance 90s, 10m or 1h30m");
        };
        match duration::parse(text) {
            Ok(span) if span.subsec_millis() == 0 => Some(span.as_secs()),
            Ok(_) => note(faults, self, "a duration of whole seconds is expected"),
            Err(why) => note(faults, self, &why),
        }
    }

    /// A duration of at least one second and at most `most`; a fault otherwise.
    pub fn seconds_up_to(&self, most: u64, faults: &mut Faults) -> Option<u64> {
        let seconds = self.seconds(faults)?;
        if (1..=most).contains(&seconds) {
            return Some(seconds);
        }
        let most = duration::format(std::time::Duration::from_secs(most));
        note(faults, self, &format!("a duration between 1s and {most} is expected"))
    }

    /// A share, written `10%` or `0.1`; a fault otherwise.
    pub fn share(&self, faults: &mut Faults) -> Option<f64> {
        let share = match &self.value {
            Value::Number(number) => Some(*number),
            Value::Text(text) => {
                text.strip_suffix('%').and_then(|n| n.parse::<f64>().ok()).map(|n| n / 100.0)
            }
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => None,
        };
        match share.filter(|share| (0.0..=1.0).contains(share)) {
            Some(share) => Some(share),
            None => note(faults, self, "a share between 0% and 100% is expected"),
        }
    }

    /// A list of texts that is not empty: an empty selector would select nothing, and never means all.
    pub fn texts(&self, faults: &mut Faults) -> Option<Vec<String>> {
        let Value::List(items) = &self.value else {
            return note(faults, self, &format!("a list of texts is expected, not {}", self.what()));
        };
        if items.is_empty() {
            let text = "this list is empty and would select nothing; leave the key out, or name something";
            return note(faults, self, text);
        }
        let before = faults.0.len();
        let texts: Vec<String> = items.iter().filter_map(|item| item.text(faults)).collect();
        (faults.0.len() == before).then_some(texts)
    }

    /// The items of a list; a fault otherwise.
    pub fn items(&self, faults: &mut Faults) -> Vec<&Self> {
        if let Value::List(items) = &self.value {
            return items.iter().collect();
        }
        faults.add(self, format!("a list is expected, not {}", self.what()));
        Vec::new()
    }

    /// The keys of a map, checked against those that exist; a fault otherwise. `later` names keys that
    /// are known but not in force yet.
    pub fn fields<'n>(&'n self, known: &[&str], later: &[&str], faults: &mut Faults) -> Fields<'n> {
        let Value::Map(entries) = &self.value else {
            faults.add(
                self,
                format!("a map with the keys {} is expected, not {}", known.join(", "), self.what()),
            );
            return Fields(&[]);
        };
        for (key, node) in entries {
            if known.contains(&key.as_str()) {
                if matches!(node.value, Value::Null) {
                    let text = format!("the key {key:?} is empty: give it a value, or leave it out");
                    faults.add(node, text);
                }
                continue;
            }
            if later.contains(&key.as_str()) {
                faults.add(
                    node,
                    format!("the key {key:?} is not in force yet: take it out, it would do nothing"),
                );
            } else {
                faults.add(node, format!("unknown key {key:?}; known here: {}", known.join(", ")));
            }
        }
        Fields(entries)
    }
}

fn note<T>(faults: &mut Faults, node: &Node, text: &str) -> Option<T> {
    faults.add(node, text);
    None
}

/// The entries of a map.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'n>(pub &'n [(String, Node)]);

impl<'n> Fields<'n> {
    /// The value of a key; nothing where it is absent, or empty, which is a fault already.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'n Node> {
        let found = self.0.iter().find(|(name, _)| name == key).map(|(_, node)| node);
        found.filter(|node| !matches!(node.value, Value::Null))
    }

    /// The value of a key that must be there; a fault at `parent` otherwise.
    pub fn need(&self, key: &str, parent: &Node, faults: &mut Faults) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            faults.add(parent, format!("the key {key:?} is missing here"));
        }
        found
    }
}

/// Checks `apiVersion` and `kind`, which every file of ours carries.
pub fn header(fields: Fields<'_>, root: &Node, kind: &str, faults: &mut Faults) {
    for (key, expected) in [("apiVersion", "meshmend.dev/v1alpha1"), ("kind", kind)] {
        if let Some(node) = fields.need(key, root, faults)
            && let Some(text) = node.text(faults)
            && text != expected
        {
            faults.add(node, format!("{key} must be {expected}, not {text}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_are_found_with_their_lines() {
        let text = "a: 1\nwindow: 10\nnames: []\nshare: 150%\nextra: x\nwindows: []\nscope:\n";
        let root = parse(text).unwrap();
        let mut faults = Faults::default();
        let fields = root.fields(&["a", "window", "names", "share", "scope"], &["windows"], &mut faults);
        assert_eq!(fields.get("a").and_then(|node| node.whole(1, &mut faults)), Some(1));
        fields.get("window").and_then(|node| node.seconds(&mut faults));
        fields.get("names").and_then(|node| node.texts(&mut faults));
        fields.get("share").and_then(|node| node.share(&mut faults));
        let mut lines: Vec<u64> = faults.0.iter().map(|fault| fault.line).collect();
        lines.sort_unstable();
        // Mutation: returning after the first fault leaves one line here; taking an empty key for an absent
        // one takes the last away, and with it `scope:` would mean everything.
        assert_eq!(lines, [2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_mark_stands_under_its_column() {
        let text = "a: 1\n\tb: x\n";
        assert_eq!(marked(source_line(text, 2), 2, 5), "\n    2 | \tb: x\n      | \t   ^");
        assert_eq!(marked(source_line(text, 9), 9, 1), "");
    }

    #[test]
    fn broken_yaml_names_its_line() {
        let fault = parse("a: 1\nb: [1, 2\n").unwrap_err();
        assert!(fault.line >= 2, "{fault:?}");
        assert!(parse("a: 1\na: 2\n").is_err(), "a key given twice hides one of its values");
    }
}
