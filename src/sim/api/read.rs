//! Getting and listing.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::json;

use super::request::Call;
use super::selector::Selector;
use super::{Answer, Page};
use crate::sim::Sim;
use crate::sim::refused::Refused;
use crate::sim::store::{Kept, Key, Store, before_all};

pub(super) fn get(sim: &Sim, call: &Call) -> Answer {
    sim.with(|store, _| {
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

/// A list, as a text.
pub(super) fn list(sim: &Sim, call: &Call) -> Page {
    sim.with(|store, _| page(store, call))
}

fn page(store: &Store, call: &Call) -> Page {
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
    let plural = call.target.kind.plural;
    let after = token.as_ref().map_or_else(
        || before_all(plural, namespace),
        |token| (plural.to_owned(), token.after.0.clone(), token.after.1.clone()),
    );
    let mut entries = store.kept_after(&after, namespace).filter(|(_, object)| selector.picks(object));
    let found: Vec<(&Key, &Arc<Kept>)> = entries.by_ref().take(limit.unwrap_or(usize::MAX)).collect();
    let remaining = entries.count();
    let version = token.as_ref().map_or(store.version(), |token| token.version);
    let mut meta = json!({ "resourceVersion": version.to_string() });
    if remaining > 0 {
        if let Some((last, _)) = found.last() {
            meta["continue"] = json!(Token::text(version, last));
        }
        if selector.is_empty() {
            meta["remainingItemCount"] = json!(remaining);
        }
    }
    let objects: Vec<&Kept> = found.into_iter().map(|(_, kept)| &**kept).collect();
    call.form.list(&call.target, &objects, &meta)
}
