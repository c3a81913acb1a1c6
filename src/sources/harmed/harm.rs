//! Harm to an answer, by a generator with a seed: the same ten thousand each time.

use serde_json::{Value, json};

/// What may happen to an answer on its way, or in another version of who wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Harm {
    /// It ends anywhere.
    Cut,
    /// One byte is another.
    Byte,
    /// A piece is missing.
    Gap,
    /// A value has another type.
    Type,
    /// A number is huge, negative, or a text.
    Number,
    /// A field is gone.
    Field,
    /// A field has another name.
    Renamed,
    /// A list is there twice over.
    Twice,
    /// A value is nested ten thousand times.
    Deep,
    /// It lies within another object, as some versions do.
    Wrapped,
    /// It is empty, or white space.
    Empty,
    /// Somebody else answered.
    Html,
}

/// One after the other; the cheap ones more often than those that take the document apart.
pub(super) const HARMS: [Harm; 21] = {
    use Harm::{Byte, Cut, Deep, Empty, Field, Gap, Html, Number, Renamed, Twice, Type, Wrapped};
    [
        Cut, Byte, Gap, Cut, Byte, Gap, Cut, Byte, Gap, Cut, Byte, Gap, Type, Number, Field, Renamed, Twice,
        Deep, Wrapped, Empty, Html,
    ]
};

/// An answer as it was recorded; where it is JSON, also as a document with the number of its values.
pub(super) struct Original<'t> {
    text: &'t str,
    document: Option<(Value, usize)>,
}

impl<'t> Original<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let document = serde_json::from_str::<Value>(text).ok();
        Self { text, document: document.map(|document| (document.clone(), count(&document))) }
    }
}

/// xorshift64*: good enough to choose places.
pub(super) struct Generator(u64);

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below a bound.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap() % bound.max(1)
    }

    pub(super) fn harmed(&mut self, original: &Original<'_>, harm: Harm) -> Vec<u8> {
        let text = original.text;
        let mut bytes = text.as_bytes().to_vec();
        match harm {
            Harm::Cut => bytes.truncate(self.below(text.len())),
            Harm::Byte => {
                let at = self.below(bytes.len());
                bytes[at] = u8::try_from(self.below(256)).unwrap();
            }
            Harm::Gap => {
                let start = self.below(bytes.len());
                let end = (start + 1 + self.below(200)).min(bytes.len());
                bytes.drain(start..end);
            }
            Harm::Empty => bytes = b"   "[self.below(4)..].to_vec(),
            Harm::Html => bytes = b"<html><body>502 Bad Gateway</body></html>".to_vec(),
            Harm::Wrapped => bytes = format!("{{\"result\":{text}}}").into_bytes(),
            Harm::Type | Harm::Number | Harm::Field | Harm::Renamed | Harm::Twice | Harm::Deep => {
                bytes = self.restructured(original, harm);
            }
        }
        bytes
    }

    /// Pages that are no JSON are only nested.
    fn restructured(&mut self, original: &Original<'_>, harm: Harm) -> Vec<u8> {
        const DEEP: &str = "(deep)";
        let nest = || format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let Some((document, values)) = &original.document else { return nest().into_bytes() };
        let (mut document, mut all, wanted) = (document.clone(), 0, self.below(*values));
        let draw = self.below(1 << 30);
        visit(&mut document, &mut all, wanted, &|value| match harm {
            Harm::Type => {
                let others =
                    [json!(null), json!(7), json!([]), json!({}), json!(""), json!(true), json!([[1]])];
                *value = others[draw % others.len()].clone();
            }
            Harm::Number => {
                let others = [json!(-1), json!(1e308), json!(u64::MAX), json!("-1"), json!("9".repeat(400))];
                *value = others[draw % others.len()].clone();
            }
            Harm::Deep => *value = json!(DEEP),
            Harm::Twice => {
                if let Value::Array(items) = value {
                    items.extend(items.clone());
                }
            }
            Harm::Field | Harm::Renamed => {
                if let Value::Object(map) = value
                    && let Some(key) = map.keys().nth(draw % map.len().max(1)).cloned()
                {
                    let taken = map.remove(&key);
                    if harm == Harm::Renamed {
                        map.insert(format!("{key}_v2"), taken.unwrap_or_default());
                    }
                }
            }
            Harm::Cut | Harm::Byte | Harm::Gap | Harm::Wrapped | Harm::Empty | Harm::Html => {}
        });
        let text = document.to_string();
        if harm == Harm::Deep {
            text.replace(&format!("\"{DEEP}\""), &nest()).into_bytes()
        } else {
            text.into_bytes()
        }
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Does something to the wanted value of a document.
fn visit(value: &mut Value, at: &mut usize, wanted: usize, act: &dyn Fn(&mut Value)) {
    if *at == wanted {
        act(value);
    }
    *at += 1;
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| visit(item, at, wanted, act)),
        Value::Object(map) => map.values_mut().for_each(|item| visit(item, at, wanted, act)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
