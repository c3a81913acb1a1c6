//! Content hashes over canonical JSON.
//!
//! Two documents that mean the same have the same hash, whatever the order of their keys, so that a
//! route, a plan or a rule file can be named by what it says. The hash is the only identity we trust.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A SHA-256 of canonical bytes, written `sha256:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The hash before the first record of a journal.
    pub const ZERO: Self = Self([0; 32]);

    /// Hash of the bytes as they are.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Hash of a JSON document in canonical form.
    #[must_use]
    pub fn of_json(value: &Value) -> Self {
        Self::of_bytes(&canonical(value))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A digest from 32 bytes; `None` for another length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The first twelve hex digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.0[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every record holds some of them: a formatter for each byte would be felt.
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        f.write_str("sha256:")?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("{text:?} is not a digest of the form sha256:<64 hex digits>");
        let hex =
            text.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.is_ascii()).ok_or_else(bad)?;
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// JSON with sorted keys and no white space: the bytes that are hashed and stored.
///
/// Sorting is done here and not left to the map type, because a feature of some dependency may switch
/// `serde_json` to insertion order.
#[must_use]
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write_canonical(value, &mut out);
    out
}

/// The same bytes straight from a value, without a tree in between: what `serde_json` writes is taken apart
/// at its objects and put together again with their keys in order. Records are written this way.
///
/// # Errors
/// The value cannot be written as JSON.
pub fn canonical_of(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let written = serde_json::to_vec(value)?;
    let mut out = Vec::with_capacity(written.len());
    let mut rest = Scan { text: &written, at: 0 };
    if rest.value(&mut out) { Ok(out) } else { Ok(canonical(&serde_json::from_slice(&written)?)) }
}

/// A walk over compact JSON that `serde_json` has just written. It believes the form, and gives up (`false`)
/// at a key with an escape: those sort by what they mean, not by how they are written.
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    /// Passes over a string; whether it has no escape.
    fn string(&mut self) -> bool {
        let mut plain = true;
        self.at += 1;
        while self.at < self.text.len() {
            match self.text[self.at] {
                b'"' => break,
                b'\\' => {
                    plain = false;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        self.at += 1;
        plain
    }

    /// Copies a value with all objects in it sorted.
    fn value(&mut self, out: &mut Vec<u8>) -> bool {
        let start = self.at;
        match self.peek() {
            b'{' => return self.object(out),
            b'[' => return self.list(out),
            b'"' => {
                self.string();
            }
            _ => {
                while !matches!(self.peek(), b',' | b']' | b'}' | 0) {
                    self.at += 1;
                }
            }
        }
        out.extend_from_slice(&self.text[start..self.at]);
        true
    }

    fn list(&mut self, out: &mut Vec<u8>) -> bool {
        loop {
            let mark = self.peek();
            match mark {
                b'[' | b',' | b']' => {
                    out.push(mark);
                    self.at += 1;
                }
                _ => return false,
            }
            if mark == b']' {
                return true;
            }
            if self.peek() != b']' && !self.value(out) {
                return false;
            }
        }
    }

    /// The entries are copied one after the other, and rearranged where they were not in order.
    fn object(&mut self, out: &mut Vec<u8>) -> bool {
        let begin = out.len();
        let mut entries: Vec<(&[u8], Range<usize>)> = Vec::with_capacity(16);
        let text = self.text;
        loop {
            let mark = self.peek();
            match mark {
                b'{' | b',' | b'}' => {
                    out.push(mark);
                    self.at += 1;
                }
                _ => return false,
            }
            if mark == b'}' {
                break;
            }
            if self.peek() == b'}' {
                continue;
            }
            let key = self.at;
            if !self.string() {
                return false;
            }
            let entry = out.len();
            out.extend_from_slice(&text[key..=self.at]);
            let name = &text[key + 1..self.at - 1];
            self.at += 1;
            if !self.value(out) {
                return false;
            }
            entries.push((name, entry..out.len()));
        }
        if !entries.is_sorted_by(|a, b| a.0 <= b.0) {
            entries.sort_by(|a, b| a.0.cmp(b.0));
            let copied = out.split_off(begin);
            out.push(b'{');
            for (index, (_, entry)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(&copied[entry.start - begin..entry.end - begin]);
            }
            out.push(b'}');
        }
        true
    }
}

fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            // Writing into memory cannot fail.
            serde_json::to_writer(&mut *out, value).ok();
        }
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_canonical(item, out);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            out.push(b'{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, key).ok();
                out.push(b':');
                write_canonical(&map[key.as_str()], out);
            }
            out.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn key_order_does_not_change_the_hash_but_array_order_does() {
        let a: Value = serde_json::from_str(r#"{"b":1,"a":[1,2]}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"a":[1,2],"b":1}"#).unwrap();
        assert_eq!(Digest::of_json(&a), Digest::of_json(&b));
        assert_ne!(Digest::of_json(&a), Digest::of_json(&json!({"a": [2, 1], "b": 1})));
        assert_eq!(canonical(&a), br#"{"a":[1,2],"b":1}"#);
    }

    /// Any JSON, with keys that are in order, out of order, escaped, and beyond ASCII.
    fn any_json() -> impl Strategy<Value = Value> {
        let text = || prop_oneof!["[a-z]{0,4}", Just("q\"\\\n".to_owned()), Just("ä,{}[]:".to_owned())];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            let map = proptest::collection::btree_map(text(), inner.clone(), 0..6);
            prop_oneof![
                proptest::collection::vec(inner, 0..6).prop_map(Value::from),
                map.prop_map(|map| map.into_iter().collect::<Value>()),
            ]
        })
    }

    /// Fields out of order, as structs have them.
    #[derive(Serialize)]
    struct Out {
        z: Value,
        b: Vec<Value>,
        a: Option<Value>,
    }

    proptest! {
        // Mutations: not sorting; sorting a key with an escape by its written form; passing over strings
        // without looking for escapes.
        #[test]
        fn both_ways_to_write_canonically_make_the_same_bytes(z in any_json(), a in any_json()) {
            let out = Out { z: z.clone(), b: vec![z.clone(), a.clone()], a: Some(a) };
            let tree = serde_json::to_value(&out).expect("it is JSON");
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("JSON is UTF-8");
            prop_assert_eq!(text(canonical_of(&out).expect("it is JSON")), text(canonical(&tree)));
        }
    }

    #[test]
    fn text_form_round_trips_and_rejects_what_is_not_a_digest() {
        let digest = Digest::of_bytes(b"x");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        for bad in ["", "sha256:", "sha256:zz", "md5:00", &format!("sha256:{}", "g".repeat(64))] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
