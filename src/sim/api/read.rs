//! Getting and listing.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Answer;
use super::request::Call;
use super::selector::Selector;
use crate::sim::Sim;
use crate::sim::refused::Refused;
use crate::sim::store::{Key, Store};

pub(super) fn get(sim: &Sim, call: &Call) -> Answer {
    sim.with(|store, _| {
        if call.target.name.is_none() {
            return list(store, call).map(|list| (StatusCode::OK, list));
        }
        let key = call.target.key()?;
        let found = store.get(&key).ok_or_else(|| Refused::not_found(&key))?;
        Ok((StatusCode::OK, call.form.one(&call.target, found)))
    })
}

/// Where a continued list goes on: the version of its first page, and the last object shown.
struct Token {
    version: u64,
    after: (String, String),
}

impl Token {
    fn of(text: &str) -> Result<Self, Refused> {
        let mut parts = text.splitn(3, '/');
        let version = parts.next().and_then(|version| version.parse().ok());
        match (version, parts.next(), parts.next()) {
            (Some(version), Some(namespace), Some(name)) => {
                Ok(Self { version, after: (namespace.to_owned(), name.to_owned()) })
            }
            _ => Err(Refused::bad("invalid continue token: continue key is not valid")),
        }
    }

    fn text(version: u64, key: &Key) -> String {
        format!("{version}/{}/{}", key.1, key.2)
    }
}

const TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// What is wrong with a version that is no number.
pub(super) fn no_version(version: &str) -> String {
    format!(
        "resourceVersion: Invalid value: {version:?}: strconv.ParseUint: parsing {version:?}: invalid syntax"
    )
}

fn list(store: &Store, call: &Call) -> Result<Value, Refused> {
    let selector = Selector::of(call)?;
    let token = call.asks("continue").map(Token::of).transpose()?;
    if let Some(token) = token.as_ref().filter(|token| token.version < store.oldest()) {
        let next = format!("{}/{}/{}", store.version(), token.after.0, token.after.1);
        return Err(Refused::new(410, "Expired", TOO_OLD).going_on(&next));
    }
    let limit = call.asks("limit").map(|limit| {
        let wrong = |_| Refused::bad(format!("strconv.ParseInt: parsing {limit:?}: invalid syntax"));
        limit.parse::<usize>().map_err(wrong)
    });
    let limit = limit.transpose()?.filter(|limit| *limit > 0);
    if let Some(version) = call.asks("resourceVersion").filter(|version| version.parse::<u64>().is_err()) {
        let text = format!("invalid resource version: {}", no_version(version));
        return Err(Refused::bad(text));
    }
    let namespace = call.target.namespace.as_deref();
    let after = |key: &Key| {
        token.as_ref().is_none_or(|token| (key.1.as_str(), key.2.as_str()) > (&token.after.0, &token.after.1))
    };
    let entries = store.entries(call.target.kind.plural, namespace);
    let mut found: Vec<(&Key, &Value)> =
        entries.filter(|(key, object)| after(key) && selector.picks(object)).collect();
    let version = token.as_ref().map_or(store.version(), |token| token.version);
    let mut meta = json!({ "resourceVersion": version.to_string() });
    if let Some(limit) = limit.filter(|limit| *limit < found.len()) {
        let remaining = found.len() - limit;
        found.truncate(limit);
        if let Some((last, _)) = found.last() {
            meta["continue"] = json!(Token::text(version, last));
        }
        if selector.is_empty() {
            meta["remainingItemCount"] = json!(remaining);
        }
    }
    let objects: Vec<&Value> = found.into_iter().map(|(_, object)| object).collect();
    Ok(call.form.list(&call.target, &objects, &meta))
}
