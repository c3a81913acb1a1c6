//! The part of PromQL that the catalogue uses.

use regex::Regex;

/// An expression.
#[derive(Debug)]
pub(super) enum Query {
    Number(f64),
    /// `increase` (or `rate`, then by the second) of a counter.
    Growth {
        metric: String,
        matchers: Vec<Matcher>,
        seconds: i64,
        each: Each,
    },
    Group {
        by: By,
        labels: Vec<String>,
        of: Box<Query>,
    },
    Quantile(f64, Box<Query>),
    /// `label_replace`: where the pattern fits the source label, the target becomes what it caught first.
    Relabel {
        of: Box<Query>,
        target: String,
        source: String,
        pattern: Regex,
    },
    Binary {
        sign: char,
        left: Box<Query>,
        right: Box<Query>,
    },
}

/// How a group is made one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Sum,
    Count,
    Max,
}

/// For the whole window, or for each second of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Each {
    Window,
    Second,
}

/// What a label must be, or must not be.
#[derive(Debug)]
pub(super) struct Matcher {
    pub(super) label: String,
    pattern: Regex,
    wanted: bool,
}

impl Matcher {
    /// An absent label is an empty one.
    pub(super) fn takes(&self, value: &str) -> bool {
        self.pattern.is_match(value) == self.wanted
    }
}

/// Reads a query; `None` for what this simulation does not know.
pub(super) fn query(text: &str) -> Option<Query> {
    let mut reader = Reader { text, at: 0 };
    let query = reader.comparison()?;
    reader.space();
    (reader.at == text.len()).then_some(query)
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Takes a sign if it is the next.
    fn sign(&mut self, sign: &str) -> Option<()> {
        self.space();
        self.rest().starts_with(sign).then(|| self.at += sign.len())
    }

    fn while_any(&mut self, fits: impl Fn(char) -> bool) -> &'t str {
        self.space();
        let rest = self.rest();
        let end = rest.find(|c: char| !fits(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn word(&mut self) -> Option<&'t str> {
        let word = self.while_any(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
        (!word.is_empty()).then_some(word)
    }

    fn number(&mut self) -> Option<f64> {
        self.while_any(|c| c.is_ascii_digit() || c == '.').parse().ok()
    }

    fn comparison(&mut self) -> Option<Query> {
        let left = self.product()?;
        for sign in [">", "<"] {
            if self.sign(sign).is_some() {
                let right = Box::new(self.product()?);
                return Some(Query::Binary { sign: sign.chars().next()?, left: Box::new(left), right });
            }
        }
        Some(left)
    }

    fn product(&mut self) -> Option<Query> {
        let mut left = self.term()?;
        while let Some(sign) = ["/", "*"].into_iter().find(|sign| self.sign(sign).is_some()) {
            let right = Box::new(self.term()?);
            left = Query::Binary { sign: sign.chars().next()?, left: Box::new(left), right };
        }
        Some(left)
    }

    fn term(&mut self) -> Option<Query> {
        if self.sign("(").is_some() {
            let inner = self.comparison()?;
            self.sign(")")?;
            return Some(inner);
        }
        self.space();
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return self.number().map(Query::Number);
        }
        match self.word()? {
            "sum" => self.group(By::Sum),
            "count" => self.group(By::Count),
            "max" => self.group(By::Max),
            "increase" => self.growth(Each::Window),
            "rate" => self.growth(Each::Second),
            "histogram_quantile" => {
                self.sign("(")?;
                let share = self.number()?;
                self.sign(",")?;
                let of = Box::new(self.comparison()?);
                self.sign(")")?;
                Some(Query::Quantile(share, of))
            }
            "label_replace" => self.relabel(),
            _ => None,
        }
    }

    fn relabel(&mut self) -> Option<Query> {
        self.sign("(")?;
        let of = Box::new(self.comparison()?);
        let mut parts = Vec::new();
        while self.sign(",").is_some() {
            parts.push(self.string()?);
        }
        self.sign(")")?;
        let [target, replacement, source, pattern]: [String; 4] = parts.try_into().ok()?;
        if replacement != "$1" {
            return None;
        }
        let pattern = Regex::new(&format!("^(?:{pattern})$")).ok()?;
        Some(Query::Relabel { of, target, source, pattern })
    }

    fn labels(&mut self) -> Option<Vec<String>> {
        self.sign("(")?;
        let mut labels = Vec::new();
        while self.sign(")").is_none() {
            labels.push(self.word()?.to_owned());
            if self.sign(",").is_none() {
                self.sign(")")?;
                break;
            }
        }
        Some(labels)
    }

    fn group(&mut self, by: By) -> Option<Query> {
        let before = if self.sign("by").is_some() { Some(self.labels()?) } else { None };
        self.sign("(")?;
        let of = Box::new(self.comparison()?);
        self.sign(")")?;
        let labels = match before {
            Some(labels) => labels,
            None if self.sign("by").is_some() => self.labels()?,
            None => Vec::new(),
        };
        Some(Query::Group { by, labels, of })
    }

    fn growth(&mut self, each: Each) -> Option<Query> {
        self.sign("(")?;
        let metric = self.word()?.to_owned();
        let mut matchers = Vec::new();
        if self.sign("{").is_some() {
            while self.sign("}").is_none() {
                matchers.push(self.matcher()?);
                if self.sign(",").is_none() {
                    self.sign("}")?;
                    break;
                }
            }
        }
        self.sign("[")?;
        let count = self.number()?;
        let unit = match self.word()? {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        self.sign("]")?;
        self.sign(")")?;
        #[expect(clippy::cast_possible_truncation, reason = "windows are whole seconds")]
        let seconds = (count * unit) as i64;
        Some(Query::Growth { metric, matchers, seconds, each })
    }

    fn matcher(&mut self) -> Option<Matcher> {
        let label = self.word()?.to_owned();
        let sign = ["=~", "!~", "!=", "="].into_iter().find(|sign| self.sign(sign).is_some())?;
        let value = self.string()?;
        let pattern = if sign.ends_with('~') { value } else { regex::escape(&value) };
        let pattern = Regex::new(&format!("^(?:{pattern})$")).ok()?;
        Some(Matcher { label, pattern, wanted: !sign.starts_with('!') })
    }

    /// A quoted string with its escapes undone.
    fn string(&mut self) -> Option<String> {
        self.space();
        let mut letters = self.rest().char_indices();
        let (_, quote) = letters.next().filter(|(_, c)| *c == '"' || *c == '\'')?;
        let mut out = String::new();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => out.push(letters.next().map(|(_, next)| if next == 'n' { '\n' } else { next })?),
                end if end == quote => {
                    self.at += at + 1;
                    return Some(out);
                }
                other => out.push(other),
            }
        }
        None
    }
}
