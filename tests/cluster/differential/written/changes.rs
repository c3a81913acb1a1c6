//! Hand-written sequences about changes: rehearsals, conflicts, patches, and the parts of objects.

use serde_json::{Value, json};

use crate::differential::ask::{Ask, JSON_PATCH};
use crate::differential::objects::{Kind, kind};

pub(super) fn dry_runs(known: &'static Kind) -> Vec<Ask> {
    let mut asks = Vec::new();
    {
        let one = known.one("a");
        let labels = json!({ "metadata": { "labels": { "dry": "yes" } } });
        let dry = |ask: Ask| ask.with("dryRun=All");
        asks.extend([
            dry(Ask::post(known.all(), &known.object("a", 0))),
            Ask::get(one.clone()),
            Ask::post(known.all(), &known.object("a", 0)),
            dry(Ask::post(known.all(), &known.object("a", 0))),
            dry(Ask::merge(one.clone(), &labels)),
            dry(Ask::put(one.clone(), &known.object("a", 1))),
            dry(Ask::merge(format!("{one}/status"), &json!({ "status": (known.status)(1) }))),
            dry(Ask::delete(one.clone(), &Value::Null)),
            Ask::delete(one.clone(), &json!({ "dryRun": ["All"] })),
            dry(Ask::delete(known.all(), &Value::Null)),
            Ask::merge(one.clone(), &labels).with("dryRun=Some"),
            Ask::get(one),
        ]);
    }
    asks
}

pub(super) fn dry_parts() -> Vec<Ask> {
    let services = kind("services");
    let mut named = services.object("a", 0);
    named["metadata"]["resourceVersion"] = json!("1");
    let mut asks = vec![
        Ask::post(kind("deployments").all(), &kind("deployments").object("a", 1)),
        Ask::post(kind("pods").all(), &kind("pods").object("a", 0)),
    ];
    let scale = format!("{}/scale", kind("deployments").one("a"));
    let evict = format!("{}/eviction", kind("pods").one("a"));
    let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "a" } });
    let mut inner = eviction.clone();
    inner["deleteOptions"] = json!({ "dryRun": ["All"] });
    asks.extend([
        Ask::merge(scale.clone(), &json!({ "spec": { "replicas": 5 } })).with("dryRun=All"),
        Ask::get(scale),
        Ask::post(evict.clone(), &eviction).with("dryRun=All"),
        Ask::post(evict, &inner),
        Ask::get(kind("pods").one("a")),
        Ask::put(services.one("a"), &services.object("a", 0)).with("dryRun=All"),
        Ask::put(services.one("a"), &named).with("dryRun=All"),
        Ask::put(services.one("a"), &named),
    ]);
    asks
}

pub(super) fn conflicts(known: &'static Kind) -> Vec<Ask> {
    let mut asks = Vec::new();
    {
        let (one, object) = (known.one("a"), known.object("a", 0));
        let with = |version: &str| {
            let mut object = known.object("a", 1);
            object["metadata"]["resourceVersion"] = json!(format!("<<{version} {}/a>>", known.kind));
            object
        };
        let meta = |field: &str, value: &str| json!({ "metadata": { field: value, "labels": { "x": "y" } } });
        let uid = "00000000-0000-4000-8000-00000000ffff";
        asks.extend([
            Ask::post(known.all(), &object),
            Ask::merge(one.clone(), &json!({ "metadata": { "labels": { "one": "1" } } })),
            // Nothing changes, so the version stays.
            Ask::merge(one.clone(), &json!({ "metadata": { "labels": { "one": "1" } } })),
            Ask::put(one.clone(), &with("old")),
            Ask::merge(one.clone(), &meta("resourceVersion", &format!("<<old {}/a>>", known.kind))),
            Ask::merge(one.clone(), &meta("resourceVersion", "nonsense")),
            Ask::merge(one.clone(), &meta("resourceVersion", "")),
            Ask::merge(one.clone(), &meta("uid", uid)),
            Ask::merge(one.clone(), &meta("name", "b")),
            Ask::merge(one.clone(), &meta("namespace", "default")),
            Ask::put(one.clone(), &with("rv")),
            Ask::put(one.clone(), &object),
            Ask::put(known.one("b"), &object),
            Ask::merge(
                format!("{one}/status"),
                &meta("resourceVersion", &format!("<<old {}/a>>", known.kind)),
            ),
            Ask::get(one),
        ]);
    }
    asks
}

pub(super) fn merge_patches() -> Vec<Ask> {
    let known = kind("deployments");
    let one = known.one("a");
    let budget = kind("poddisruptionbudgets");
    let merge = |patch: Value| Ask::merge(one.clone(), &patch);
    vec![
        Ask::post(known.all(), &known.object("a", 1)),
        merge(json!({ "metadata": { "annotations": { "a": "1", "b": "2" }, "labels": { "app": null } } })),
        merge(json!({ "metadata": { "annotations": { "a": null } } })),
        merge(json!({ "metadata": { "annotations": null } })),
        merge(json!({ "metadata": { "labels": null } })),
        merge(json!({ "spec": { "replicas": null } })),
        merge(json!({ "spec": { "replicas": 3 } })),
        merge(json!({ "spec": { "paused": true } })),
        merge(json!({ "spec": { "paused": null } })),
        merge(json!({ "spec": { "template": { "metadata": { "annotations": { "restartedAt": "now" } } } } })),
        merge(json!({ "status": { "replicas": 7 } })),
        merge(json!({ "metadata": { "creationTimestamp": null, "generation": 99 } })),
        merge(json!({})),
        Ask::post(budget.all(), &budget.object("a", 1)),
        Ask::merge(budget.one("a"), &json!({ "spec": { "minAvailable": null, "maxUnavailable": "50%" } })),
        Ask::get(one),
    ]
}

pub(super) fn json_patches(known: &'static Kind) -> Vec<Ask> {
    let mut asks = Vec::new();
    {
        let patch = |steps: Value| Ask::patch(known.one("a"), JSON_PATCH, &steps);
        asks.extend([
            Ask::post(known.all(), &known.object("a", 1)),
            patch(json!([{ "op": "test", "path": "/metadata/labels/app", "value": "other" }])),
            patch(json!([{ "op": "test", "path": "/metadata/labels/none", "value": "other" }])),
            patch(json!([{ "op": "test", "path": "/metadata/labels/none", "value": null }])),
            patch(json!([{ "op": "add", "path": "/metadata/annotations/a", "value": "1" }])),
            patch(json!([{ "op": "add", "path": "/metadata/annotations", "value": { "a": "1" } }])),
            patch(json!([{ "op": "replace", "path": "/metadata/labels/none", "value": "1" }])),
            patch(json!([{ "op": "remove", "path": "/metadata/labels/none" }])),
            patch(json!([{ "op": "leap", "path": "/metadata/labels/none" }])),
            patch(json!([{ "op": "add", "value": 1 }])),
            patch(json!([
                { "op": "add", "path": "/metadata/labels/half", "value": "done" },
                { "op": "test", "path": "/metadata/labels/app", "value": "other" },
            ])),
            patch(json!([
                { "op": "test", "path": "/metadata/resourceVersion", "value": format!("<<rv {}/a>>", known.kind) },
                { "op": "replace", "path": "/metadata/labels/app", "value": "web" },
            ])),
            patch(json!([])),
            patch(json!([{ "op": "add", "path": "/metadata/labels/ex~1ample", "value": "1" }])),
            patch(json!([{ "op": "replace", "path": "/metadata/resourceVersion", "value": "<<born>>" },
                { "op": "add", "path": "/metadata/labels/x", "value": "1" }])),
            Ask::get(known.one("a")),
        ]);
    }
    asks
}

pub(super) fn status(known: &'static Kind) -> Vec<Ask> {
    let mut asks = Vec::new();
    {
        let part = format!("{}/status", known.one("a"));
        let mut both = (known.rest)(2);
        both["status"] = (known.status)(1);
        both["metadata"] = json!({ "annotations": { "by": "status" } });
        let mut main = json!({ "status": (known.status)(2) });
        main["metadata"] = json!({ "annotations": { "by": "main" } });
        asks.extend([
            Ask::post(known.all(), &known.object("a", 0)),
            Ask::merge(part.clone(), &both),
            Ask::merge(known.one("a"), &main),
            Ask::patch(part.clone(), JSON_PATCH, &json!([{ "op": "remove", "path": "/status" }])),
            Ask::get(part.clone()),
            Ask::merge(part.clone(), &json!({ "status": null })),
            Ask::merge(part, &json!({ "metadata": { "labels": { "by": "status" } } })),
            Ask::get(known.one("a")),
        ]);
    }
    asks
}

pub(super) fn scale(known: &'static Kind) -> Vec<Ask> {
    let mut asks = Vec::new();
    {
        let part = format!("{}/scale", known.one("a"));
        let whole = |version: &str| {
            json!({ "apiVersion": "autoscaling/v1", "kind": "Scale",
                "metadata": { "name": "a", "namespace": "<<ns>>", "resourceVersion": format!("<<{version} {}/a>>", known.kind) },
                "spec": { "replicas": 4 } })
        };
        let merge = |replicas: Value| Ask::merge(part.clone(), &json!({ "spec": { "replicas": replicas } }));
        asks.extend([
            Ask::post(known.all(), &known.object("a", 1)),
            Ask::get(part.clone()),
            merge(json!(2)),
            merge(json!(2)),
            merge(json!(0)),
            merge(json!(-1)),
            merge(json!(null)),
            Ask::get(known.one("a")),
            Ask::put(part.clone(), &whole("rv")),
            Ask::put(part.clone(), &whole("old")),
            Ask::patch(part.clone(), JSON_PATCH, &json!([
                { "op": "test", "path": "/spec/replicas", "value": 4 },
                { "op": "replace", "path": "/spec/replicas", "value": 1 },
            ])),
            Ask::patch(part.clone(), JSON_PATCH, &json!([{ "op": "test", "path": "/spec/replicas", "value": 9 }])),
            Ask::merge(part.clone(), &json!({ "metadata": { "resourceVersion": format!("<<old {}/a>>", known.kind) }, "spec": { "replicas": 1 } })),
            Ask::merge(part, &json!({ "metadata": { "labels": { "by": "scale" } }, "spec": { "replicas": 3 } })),
            Ask::get(known.one("a")),
        ]);
    }
    asks
}
