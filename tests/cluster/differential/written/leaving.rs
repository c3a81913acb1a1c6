//! Hand-written sequences about eviction and deletion.

use serde_json::{Value, json};

use crate::differential::ask::Ask;
use crate::differential::objects::{Kind, kind, room};

fn evict(name: &str, options: Value) -> Ask {
    let mut object = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name } });
    if !options.is_null() {
        object["deleteOptions"] = options;
    }
    Ask::post(format!("{}/eviction", kind("pods").one(name)), &object)
}

fn budget(status: &Value) -> Ask {
    let path = format!("{}/status", kind("poddisruptionbudgets").one("cart"));
    Ask::merge(path, &json!({ "status": status }))
}

/// A ready pod.
fn ready(name: &str) -> [Ask; 2] {
    let pods = kind("pods");
    let status = json!({ "status": (pods.status)(0) });
    [Ask::post(pods.all(), &pods.object(name, 0)), Ask::merge(format!("{}/status", pods.one(name)), &status)]
}

pub(super) fn eviction() -> Vec<Ask> {
    let (pods, budgets) = (kind("pods"), kind("poddisruptionbudgets"));
    let mut asks: Vec<Ask> = ["a", "b"].into_iter().flat_map(ready).collect();
    let mut behind = room(1);
    behind["observedGeneration"] = Value::Null;
    asks.extend([
        Ask::post(budgets.all(), &budgets.object("cart", 1)),
        // The controller has not looked yet.
        evict("a", Value::Null),
        budget(&behind),
        evict("a", Value::Null),
        budget(&room(0)),
        evict("a", Value::Null),
        evict("a", json!({ "dryRun": ["All"] })),
        budget(&room(1)),
        evict("a", Value::Null).with("dryRun=All"),
        Ask::get(budgets.one("cart")),
        evict("a", json!({ "preconditions": { "uid": "00000000-0000-4000-8000-00000000ffff" } })),
        // The room is taken even though nobody went.
        Ask::get(budgets.one("cart")),
        evict("a", json!({ "preconditions": { "uid": "<<uid Pod/a>>" } })),
        budget(&room(1)),
        evict("a", json!({ "preconditions": { "resourceVersion": "<<old Pod/a>>" } })),
        budget(&room(2)),
        evict("a", json!({ "preconditions": { "uid": "<<uid Pod/a>>" } })),
        Ask::get(pods.one("a")),
        Ask::get(budgets.one("cart")),
        // It goes already.
        evict("a", Value::Null),
        evict("b", Value::Null),
        Ask::get(budgets.one("cart")),
        Ask::get("/api/v1/namespaces/<<ns>>/events"),
        Ask::get(pods.all()),
    ]);
    asks
}

pub(super) fn eviction_of_others() -> Vec<Ask> {
    let (pods, budgets) = (kind("pods"), kind("poddisruptionbudgets"));
    let mut asks: Vec<Ask> = ["b", "c", "d"].into_iter().flat_map(ready).collect();
    let other = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "other" } });
    asks.extend([
        Ask::post(budgets.all(), &budgets.object("cart", 1)),
        budget(&room(0)),
        Ask::post(budgets.all(), &budgets.object("second", 1)),
        evict("b", Value::Null),
        Ask::delete(budgets.one("second"), &Value::Null),
        Ask::merge(format!("{}/status", pods.one("b")), &json!({ "status": (pods.status)(1) })),
        evict("b", Value::Null),
        Ask::merge(budgets.one("cart"), &json!({ "spec": { "unhealthyPodEvictionPolicy": "AlwaysAllow" } })),
        evict("b", Value::Null),
        Ask::merge(format!("{}/status", pods.one("c")), &json!({ "status": { "phase": "Succeeded" } })),
        evict("c", Value::Null),
        Ask::get(pods.one("c")),
        evict("d", json!({ "gracePeriodSeconds": 0 })),
        Ask::delete(budgets.one("cart"), &Value::Null),
        Ask::post(format!("{}/eviction", pods.one("d")), &other),
        evict("d", json!({ "gracePeriodSeconds": 0 })),
        Ask::get(pods.one("d")),
        Ask::get(pods.all()),
    ]);
    asks
}

pub(super) fn deleting(known: &'static Kind) -> Vec<Ask> {
    let mut asks = Vec::new();
    {
        let create = Ask::post(known.all(), &known.object("a", 0));
        let delete = |options: Value| Ask::delete(known.one("a"), &options);
        let of = |what: &str| format!("<<{what} {}/a>>", known.kind);
        asks.extend([
            create.clone(),
            Ask::merge(known.one("a"), &json!({ "metadata": { "labels": { "new": "1" } } })),
            delete(json!({ "preconditions": { "uid": "00000000-0000-4000-8000-00000000ffff" } })),
            delete(json!({ "preconditions": { "resourceVersion": of("old") } })),
            delete(json!({ "kind": "DeleteOptions", "apiVersion": "v1", "preconditions": { "uid": of("uid"), "resourceVersion": of("rv") } })),
            delete(Value::Null),
            create.clone(),
            delete(json!({ "propagationPolicy": "Background" })),
            create.clone(),
            Ask::delete(known.one("a"), &Value::Null).with("propagationPolicy=Background"),
            create.clone(),
            delete(json!({ "propagationPolicy": "Sideways" })),
            delete(json!({ "propagationPolicy": "Foreground" })),
            Ask::get(known.one("a")),
            Ask::merge(known.one("a"), &json!({ "metadata": { "finalizers": null } })),
            create.clone(),
            delete(json!({ "propagationPolicy": "Orphan" })),
            Ask::merge(known.one("a"), &json!({ "metadata": { "finalizers": null } })),
            create,
            Ask::merge(known.one("a"), &json!({ "metadata": { "finalizers": ["example.com/wait"] } })),
            delete(Value::Null),
            delete(Value::Null),
            Ask::get(known.one("a")),
            Ask::merge(known.one("a"), &json!({ "metadata": { "finalizers": null } })),
            Ask::get(known.one("a")),
            Ask::post(known.all(), &known.object("b", 0)),
            Ask::post(known.all(), &known.object("c", 1)),
            Ask::delete(known.all(), &Value::Null).with("labelSelector=app%3Dweb"),
            Ask::get(known.all()),
        ]);
    }
    asks
}

pub(super) fn deleting_pods() -> Vec<Ask> {
    let pods = kind("pods");
    let mut unbound = pods.object("unbound", 0);
    if let Some(spec) = unbound["spec"].as_object_mut() {
        spec.remove("nodeName");
    }
    let mut quick = pods.object("quick", 0);
    quick["spec"]["terminationGracePeriodSeconds"] = json!(5);
    let delete = |name: &str, options: Value| Ask::delete(pods.one(name), &options);
    vec![
        Ask::post(pods.all(), &unbound),
        delete("unbound", Value::Null),
        Ask::post(pods.all(), &quick),
        delete("quick", Value::Null),
        delete("quick", Value::Null),
        delete("quick", json!({ "gracePeriodSeconds": 0 })),
        Ask::post(pods.all(), &pods.object("slow", 0)),
        delete("slow", json!({ "gracePeriodSeconds": 90 })),
        delete("slow", json!({ "gracePeriodSeconds": 3 })),
        Ask::delete(pods.one("slow"), &Value::Null).with("gracePeriodSeconds=0"),
        Ask::post(pods.all(), &pods.object("over", 0)),
        Ask::merge(format!("{}/status", pods.one("over")), &json!({ "status": { "phase": "Failed" } })),
        delete("over", Value::Null),
        Ask::get(pods.all()),
        Ask::post(pods.all(), &pods.object("fence", 0)),
        Ask::watch(format!("{}?watch=1&resourceVersion=<<born>>", pods.all()), "fence"),
    ]
}
