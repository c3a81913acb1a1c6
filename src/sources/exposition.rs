//! Exposition: pages of metrics in the text format of Prometheus, and in OpenMetrics, which our sources write
//! only where they are asked for it but whose exemplars some write anyway.
//!
//! A page that is not whole tells nothing: a counter that is missing in it would look like one that never
//! counted. Comments and types are left out; so are times, because a page is asked for now.

use std::collections::BTreeMap;

use crate::model::series::{Labels, Sample};

/// The longest line there may be: series of Envoy have some hundred bytes.
const MAX_LINE: usize = 64 << 10;
/// The most samples that are kept of one page: the whole page of a large API server holds half of it.
const MAX_SAMPLES: usize = 200_000;

/// A page that arrives piece by piece, so that only what is kept takes memory.
pub struct Page<'k> {
    keep: &'k (dyn Fn(&str) -> bool + Send + Sync),
    rest: Vec<u8>,
    line: usize,
    found: BTreeMap<(String, Labels), f64>,
}

/// Reads a whole page, and keeps the metrics whose names are wanted.
///
/// # Errors
/// The number of the first line that is none of the format; or the page ends within a line.
pub fn read(page: &[u8], keep: &(dyn Fn(&str) -> bool + Send + Sync)) -> Result<Vec<Sample>, String> {
    let mut read = Page::new(keep);
    read.push(page)?;
    read.finish()
}

impl<'k> Page<'k> {
    /// Nothing has arrived yet.
    #[must_use]
    pub fn new(keep: &'k (dyn Fn(&str) -> bool + Send + Sync)) -> Self {
        Self { keep, rest: Vec::new(), line: 0, found: BTreeMap::new() }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// A line is none of the format, or there is more than a page can hold.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), String> {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (line, left) = (&piece[..end], &piece[end + 1..]);
            if self.rest.is_empty() {
                self.take(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.take(&whole)?;
            }
            piece = left;
        }
        if self.rest.len() + piece.len() > MAX_LINE {
            return Err(format!("line {} is longer than {MAX_LINE} bytes", self.line + 1));
        }
        self.rest.extend_from_slice(piece);
        Ok(())
    }

    /// The samples, in the order of their names and labels.
    ///
    /// # Errors
    /// The last line has no end: there was more.
    pub fn finish(self) -> Result<Vec<Sample>, String> {
        if !self.rest.is_empty() {
            return Err(format!("line {} breaks off: the page is not whole", self.line + 1));
        }
        if self.line == 0 {
            return Err("the page is empty".to_owned());
        }
        let sample = |((name, labels), value)| Sample { name, labels, value };
        Ok(self.found.into_iter().map(sample).collect())
    }

    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        self.line += 1;
        let number = self.line;
        if line.len() > MAX_LINE {
            return Err(format!("line {number} is longer than {MAX_LINE} bytes"));
        }
        let wrong = |why: &str| {
            let shown: String = String::from_utf8_lossy(line).chars().take(80).collect();
            format!("line {number} is no metric: {why}: {shown:?}")
        };
        let text = std::str::from_utf8(line).map_err(|_| wrong("it is not UTF-8"))?;
        let Some(sample) = sample(text).map_err(wrong)? else { return Ok(()) };
        if !(self.keep)(&sample.name) {
            return Ok(());
        }
        let (key, value) = ((sample.name, sample.labels), sample.value);
        match self.found.get(&key) {
            // Proxies add the pages of agent, Envoy and application: the same said twice is said once.
            Some(known) if known.to_bits() == value.to_bits() => Ok(()),
            Some(_) => Err(wrong("the same series is there twice with two values")),
            None if self.found.len() >= MAX_SAMPLES => Err(format!("more than {MAX_SAMPLES} samples")),
            None => {
                self.found.insert(key, value);
                Ok(())
            }
        }
    }
}

/// A line; nothing for one that is empty or a comment.
fn sample(text: &str) -> Result<Option<Sample>, &'static str> {
    let text = text.trim_matches([' ', '\t', '\r']);
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let (name, rest) = name(text, true)?;
    if !rest.starts_with([' ', '\t', '{']) {
        return Err("a name is followed by its labels or its value");
    }
    let (labels, rest) = labels(rest.trim_start_matches([' ', '\t']))?;
    let (rest, exemplar) = match rest.split_once('#') {
        Some((rest, exemplar)) => (rest, Some(exemplar)),
        None => (rest, None),
    };
    let value = numbers(rest)?;
    if let Some(exemplar) = exemplar {
        let (_, rest) = labels_of_exemplar(exemplar.trim_start())?;
        numbers(rest)?;
    }
    Ok(Some(Sample { name: name.to_owned(), labels, value }))
}

/// A value, and perhaps its time; the value is given back.
fn numbers(text: &str) -> Result<f64, &'static str> {
    let mut words = text.split_ascii_whitespace();
    let mut number = |what| words.next().map(|word| word.parse::<f64>().map_err(|_| what)).transpose();
    let value = number("the value is no number")?.ok_or("there is no value")?;
    number("the time is no number")?;
    if words.next().is_some() {
        return Err("there is more than a value and its time");
    }
    Ok(value)
}

/// A name at the start of a text, and what follows. Only names of metrics may hold colons.
fn name(text: &str, colons: bool) -> Result<(&str, &str), &'static str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (colons && byte == b':');
    let end = text.bytes().position(|byte| !fits(byte)).unwrap_or(text.len());
    if end == 0 || text.as_bytes()[0].is_ascii_digit() {
        return Err("a name is expected");
    }
    Ok(text.split_at(end))
}

fn labels_of_exemplar(text: &str) -> Result<(Labels, &str), &'static str> {
    if !text.starts_with('{') {
        return Err("an exemplar begins with labels");
    }
    labels(text)
}

/// Labels in braces, where there are any, and what follows.
fn labels(text: &str) -> Result<(Labels, &str), &'static str> {
    let mut labels = Labels::new();
    let Some(mut text) = text.strip_prefix('{') else { return Ok((labels, text)) };
    loop {
        text = text.trim_start_matches([' ', '\t']);
        if let Some(rest) = text.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (key, rest) = name(text, false)?;
        let rest = rest.trim_start_matches([' ', '\t']);
        let rest = rest.strip_prefix('=').ok_or("a label has no value")?.trim_start_matches([' ', '\t']);
        let (value, rest) = quoted(rest)?;
        if labels.insert(key.to_owned(), value).is_some() {
            return Err("a label is there twice");
        }
        let rest = rest.trim_start_matches([' ', '\t']);
        text = match rest.strip_prefix(',') {
            Some(next) => next,
            None if rest.starts_with('}') => rest,
            None => return Err("labels are not separated by commas, or their brace does not close"),
        };
    }
}

/// A text in quotes with its escapes undone, and what follows.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let text = text.strip_prefix('"').ok_or("the value of a label has no quotes")?;
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, letter @ ('"' | '\\'))) => value.push(letter),
                // As Prometheus reads it: an escape that means nothing is two letters.
                Some((_, letter)) => value.extend(['\\', letter]),
                None => break,
            },
            letter => value.push(letter),
        }
    }
    Err("the quotes of a label do not close")
}

#[cfg(test)]
mod tests;
