//! Label and field selectors.

use serde_json::Value;

use super::request::Call;
use crate::sim::control::text;
use crate::sim::refused::Refused;

/// Selectors of a request.
#[derive(Debug, Default)]
pub(super) struct Selector {
    labels: Vec<Term>,
    fields: Vec<(String, String, bool)>,
}

#[derive(Debug)]
struct Term {
    key: String,
    test: Test,
}

#[derive(Debug)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    There,
    Absent,
}

impl Selector {
    pub(super) fn of(call: &Call) -> Result<Self, Refused> {
        let labels = call.asks("labelSelector").map(split).unwrap_or_default();
        let labels = labels.iter().map(|term| Term::of(term)).collect::<Result<_, _>>()?;
        let fields =
            call.asks("fieldSelector").unwrap_or_default().split(',').filter(|term| !term.is_empty());
        let fields: Vec<(String, String, bool)> = fields
            .map(|term| {
                let Some((key, value)) = term.split_once('=') else {
                    let text = format!("invalid selector: '{term}'; can't understand '{term}'");
                    return Err(Refused::bad(text));
                };
                let wanted = !key.ends_with('!');
                let value = value.trim_start_matches('=').to_owned();
                Ok((key.trim_end_matches('!').to_owned(), value, wanted))
            })
            .collect::<Result<_, _>>()?;
        if let Some((unknown, _, _)) = fields.iter().find(|(key, _, _)| !known(call.target.kind.plural, key))
        {
            let own = matches!(call.target.kind.plural, "pods" | "events" | "nodes" | "namespaces");
            return Err(Refused::bad(if own || !call.target.kind.native {
                format!("field label not supported: {unknown}")
            } else {
                format!(
                    "{unknown:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                )
            }));
        }
        Ok(Self { labels, fields })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(super) fn picks(&self, object: &Value) -> bool {
        if self.is_empty() {
            return true;
        }
        let labels = object.pointer("/metadata/labels");
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        let field = |key: &str| text(object, &format!("/{}", key.replace('.', "/"))).to_owned();
        self.labels.iter().all(|term| term.takes(label(&term.key)))
            && self.fields.iter().all(|(key, value, wanted)| (field(key) == *value) == *wanted)
    }
}

/// Fields that can be selected by.
fn known(plural: &str, field: &str) -> bool {
    match plural {
        _ if matches!(field, "metadata.name" | "metadata.namespace") => true,
        "pods" => matches!(field, "status.phase" | "spec.nodeName" | "spec.restartPolicy" | "status.podIP"),
        "events" => {
            field.starts_with("involvedObject.") || matches!(field, "reason" | "type" | "reportingComponent")
        }
        _ => false,
    }
}

/// Terms between commas, but not those in parentheses.
fn split(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut open = false;
    for letter in text.chars() {
        match letter {
            ',' if !open => terms.push(String::new()),
            other => {
                open = match other {
                    '(' => true,
                    ')' => false,
                    _ => open,
                };
                if let Some(last) = terms.last_mut() {
                    last.push(other);
                }
            }
        }
    }
    terms.into_iter().map(|term| term.trim().to_owned()).filter(|term| !term.is_empty()).collect()
}

impl Term {
    fn of(text: &str) -> Result<Self, Refused> {
        if text.contains('(') != text.contains(')') {
            return Err(Refused::bad("unable to parse requirement: found '', expected: ',' or ')'"));
        }
        let list = |values: &str| -> Vec<String> {
            let inner = values.trim().trim_start_matches('(').trim_end_matches(')');
            inner.split(',').map(|value| value.trim().to_owned()).collect()
        };
        let one = |value: &str| vec![value.trim_start_matches('=').trim().to_owned()];
        let (key, test) = if let Some((key, values)) = text.split_once(" notin ") {
            (key, Test::NotIn(list(values)))
        } else if let Some((key, values)) = text.split_once(" in ") {
            (key, Test::In(list(values)))
        } else if let Some((key, value)) = text.split_once("!=") {
            (key, Test::NotIn(one(value)))
        } else if let Some((key, value)) = text.split_once('=') {
            (key, Test::In(one(value)))
        } else if let Some(key) = text.strip_prefix('!') {
            (key, Test::Absent)
        } else {
            (text, Test::There)
        };
        let key = key.trim().to_owned();
        if key.is_empty() || key.contains([' ', '(', ')']) {
            return Err(Refused::bad(format!("unable to parse requirement: {text:?}")));
        }
        Ok(Self { key, test })
    }

    fn takes(&self, value: Option<&str>) -> bool {
        let among = |values: &[String]| value.is_some_and(|value| values.iter().any(|one| one == value));
        match &self.test {
            Test::In(values) => among(values),
            Test::NotIn(values) => !among(values),
            Test::There => value.is_some(),
            Test::Absent => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // Mutation: splitting at every comma, or letting `!=` miss objects without the label.
    #[test]
    fn label_terms_are_told_apart_and_an_absent_label_is_unlike_any_value() {
        let object = json!({ "metadata": { "labels": { "app": "cart", "version": "v1" } } });
        for (text, picks) in [
            ("app=cart", true),
            ("app==cart,version!=v2", true),
            ("app in (web, cart),version", true),
            ("app notin (cart)", false),
            ("!tier", true),
            ("tier!=a", true),
            ("tier", false),
        ] {
            let labels = split(text).iter().map(|term| Term::of(term).expect("a term")).collect();
            let selector = Selector { labels, fields: Vec::new() };
            assert_eq!(selector.picks(&object), picks, "{text}");
        }
    }
}
