//! Hand-written sequences about lists and watches.

use serde_json::{Value, json};

use crate::differential::ask::Ask;
use crate::differential::objects::{Kind, kind};

pub(super) fn lists(known: &'static Kind) -> Vec<Ask> {
    let mut asks = Vec::new();
    {
        let list = |query: &str| Ask::get(known.all()).with(query);
        asks.extend(
            ["a", "b", "c", "d"]
                .iter()
                .zip(0..)
                .map(|(name, n)| Ask::post(known.all(), &known.object(name, n))),
        );
        asks.extend([
            list("limit=3"),
            list("limit=3&continue=<<continue>>"),
            list("limit=2"),
            list("limit=1&continue=<<continue>>"),
            list("limit=2"),
            // What is deleted between two pages is still on the second.
            Ask::delete(known.one("d"), &Value::Null),
            list("limit=2&continue=<<continue>>"),
            list("limit=0"),
            list("limit=x"),
            list("limit=2&continue=nonsense"),
            list("limit=1&labelSelector=app%3Dcart"),
            list("labelSelector=a b c"),
            list("labelSelector=app%20in%20(cart"),
            list("labelSelector=%3Dcart"),
            list("fieldSelector=spec.none%3D1"),
            list("fieldSelector=metadata.name"),
            list("fieldSelector=metadata.name%3Da"),
            list("resourceVersion=<<start>>"),
            list("resourceVersion=1"),
            list("resourceVersion=nonsense"),
            list("resourceVersion=<<start>>&resourceVersionMatch=NotOlderThan"),
            list("resourceVersion=1&resourceVersionMatch=Exact"),
        ]);
    }
    asks
}

pub(super) fn lists_of_pods() -> Vec<Ask> {
    let pods = kind("pods");
    vec![
        Ask::post(pods.all(), &pods.object("a", 0)),
        Ask::get(pods.all()).with("fieldSelector=spec.nodeName%3Dnode-1"),
        Ask::get(pods.all()).with("fieldSelector=status.phase!%3DPending"),
        Ask::get(pods.all()).with("fieldSelector=spec.unknown%3DPending"),
    ]
}

pub(super) fn watches(known: &'static Kind) -> Vec<Ask> {
    let mut asks = Vec::new();
    {
        let watch = |query: &str, until| Ask::watch(format!("{}?watch=1&{query}", known.all()), until);
        asks.extend([
            Ask::post(known.all(), &known.object("a", 0)),
            Ask::post(known.all(), &known.object("b", 1)),
            Ask::merge(known.one("a"), &json!({ "metadata": { "labels": { "app": "web" } } })),
            Ask::merge(known.one("b"), &json!({ "metadata": { "labels": { "app": "cart" } } })),
            Ask::delete(known.one("a"), &Value::Null),
            Ask::post(known.all(), &known.object("fence", 0)),
            watch("resourceVersion=<<born>>", "fence"),
            watch("resourceVersion=<<born>>&labelSelector=app%3Dcart", "fence"),
            watch("resourceVersion=<<born>>&labelSelector=app%3Dweb&timeoutSeconds=1", "nobody"),
            watch("resourceVersion=<<born>>&fieldSelector=metadata.name%3Db&timeoutSeconds=1", "nobody"),
            watch("timeoutSeconds=1", "nobody"),
            watch("resourceVersion=0&timeoutSeconds=1", "nobody"),
            watch("resourceVersion=nonsense", "nobody"),
            watch("resourceVersion=<<born>>&labelSelector=a b", "nobody"),
            watch(
                "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1",
                "nobody",
            ),
            watch("sendInitialEvents=true", "nobody"),
            Ask::watch(format!("{}?watch=1&resourceVersion=<<born>>&timeoutSeconds=1", known.one("b")), "nobody"),
        ]);
    }
    // Only the caches of custom kinds are younger than this version on a server that was just started.
    if !known.native {
        asks.push(Ask::watch(format!("{}?watch=1&resourceVersion=1", known.all()), "nobody"));
    }
    asks
}
