//! Hand-written sequences: what generation rarely hits.

mod changes;
mod leaving;
mod reads;

use serde_json::{Value, json};

use super::ask::{Ask, JSON_PATCH, MERGE, STRATEGIC};
use super::objects::{Kind, kind};

/// A request with this in its query is one that only the real server checks.
pub(crate) const UNCHECKED: &str = "dryRun=All&fieldManager=unchecked";

type Sequence = (String, Vec<Ask>);

/// Sequences for one kind each: what they are about, how they are made, and of which kinds.
type PerKind = (&'static str, fn(&'static Kind) -> Vec<Ask>, &'static [&'static str]);

static PER_KIND: [PerKind; 11] = [
    ("what is not there", missing, &["pods", "deployments", "virtualservices", "certificates"]),
    ("creating", creating, &["configmaps", "pods", "deployments", "poddisruptionbudgets", "virtualservices"]),
    ("dry runs", changes::dry_runs, &["pods", "deployments", "virtualservices"]),
    (
        "conflicts",
        changes::conflicts,
        &[
            "configmaps",
            "deployments",
            "replicasets",
            "statefulsets",
            "services",
            "events",
            "leases",
            "endpointslices",
            "poddisruptionbudgets",
            "destinationrules",
            "certificates",
        ],
    ),
    ("JSON patches", changes::json_patches, &["configmaps", "virtualservices"]),
    (
        "the status",
        changes::status,
        &["pods", "deployments", "poddisruptionbudgets", "services", "certificates", "virtualservices"],
    ),
    ("the scale", changes::scale, &["deployments", "replicasets", "statefulsets"]),
    (
        "deleting",
        leaving::deleting,
        &[
            "configmaps",
            "services",
            "deployments",
            "virtualservices",
            "poddisruptionbudgets",
            "endpointslices",
        ],
    ),
    ("lists", reads::lists, &["configmaps", "virtualservices"]),
    ("watches", reads::watches, &["configmaps", "virtualservices"]),
    ("validation", validation, &["configmaps", "deployments", "virtualservices"]),
];

/// All of them, with what each is about.
pub(crate) fn all() -> Vec<Sequence> {
    let mut all: Vec<Sequence> = [
        ("what is nowhere", nowhere()),
        ("methods and media types", methods()),
        ("bodies that are refused", bodies()),
        ("dry runs of parts", changes::dry_parts()),
        ("merge patches", changes::merge_patches()),
        ("eviction", leaving::eviction()),
        ("eviction of others", leaving::eviction_of_others()),
        ("deleting pods", leaving::deleting_pods()),
        ("lists of pods", reads::lists_of_pods()),
        ("certificates", certificates()),
        ("routes", routes()),
    ]
    .map(|(name, asks)| (name.to_owned(), asks))
    .into();
    for (name, make, plurals) in &PER_KIND {
        all.extend(plurals.iter().map(|plural| (format!("{name}, {plural}"), make(kind(plural)))));
    }
    all
}

fn missing(known: &'static Kind) -> Vec<Ask> {
    let one = known.one("nobody");
    vec![
        Ask::get(one.clone()),
        Ask::merge(one.clone(), &json!({ "metadata": { "labels": { "a": "b" } } })),
        Ask::patch(one.clone(), JSON_PATCH, &json!([{ "op": "remove", "path": "/spec" }])),
        Ask::put(one.clone(), &known.object("nobody", 0)),
        Ask::delete(one.clone(), &Value::Null),
        Ask::merge(format!("{one}/status"), &json!({ "status": {} })),
        Ask::get(format!("{one}/nothing")),
        Ask::post(known.all(), &known.object("a", 0)),
        Ask::get(format!("{}/nothing", known.one("a"))),
    ]
}

fn nowhere() -> Vec<Ask> {
    let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "nobody" } });
    let scale = format!("{}/scale", kind("deployments").one("nobody"));
    vec![
        Ask::post(format!("{}/eviction", kind("pods").one("nobody")), &eviction),
        Ask::get(scale.clone()),
        Ask::merge(scale, &json!({ "spec": { "replicas": 1 } })),
        Ask::get("/api/v1/namespaces/<<ns>>/nothings"),
        Ask::get("/apis/example.com/v1/namespaces/<<ns>>/things"),
        Ask::get("/apis/networking.istio.io/v1/namespaces/<<ns>>/nothings"),
        Ask::get("/apis/networking.istio.io/v9/namespaces/<<ns>>/virtualservices"),
        Ask::get("/api/v1/namespaces/nowhere/pods"),
        Ask::get("/api/v1/namespaces/nowhere/pods/a"),
        Ask::get("/api/v1/namespaces/nowhere"),
        Ask::post("/api/v1/namespaces/nowhere/configmaps", &kind("configmaps").object("a", 0)),
        Ask::get("/api/v1/nodes/nobody"),
        Ask::get("/apis/cert-manager.io/v1/clusterissuers/nobody"),
    ]
}

fn methods() -> Vec<Ask> {
    let (configs, routes, pods) = (kind("configmaps"), kind("virtualservices"), kind("pods"));
    let one = configs.one("a");
    let labels = json!({ "metadata": { "labels": { "a": "b" } } });
    vec![
        Ask::post(configs.all(), &configs.object("a", 0)),
        Ask::post(routes.all(), &routes.object("a", 0)),
        Ask::post(pods.all(), &pods.object("a", 0)),
        Ask::post(one.clone(), &configs.object("a", 0)),
        Ask::put(configs.all(), &configs.object("a", 0)),
        Ask::merge(configs.all(), &labels),
        Ask::get(format!("{}/eviction", pods.one("a"))),
        Ask::merge(format!("{}/eviction", pods.one("a")), &labels),
        Ask::delete(format!("{}/status", pods.one("a")), &Value::Null),
        Ask::post(format!("{}/scale", kind("deployments").one("a")), &json!({})),
        Ask::merge(one.clone(), &labels).raw("application/json", &labels.to_string()),
        Ask::merge(one.clone(), &labels).raw("text/plain", &labels.to_string()),
        Ask::patch(routes.one("a"), STRATEGIC, &labels),
        Ask::merge(one.clone(), &labels).raw(MERGE, "{\"metadata\":"),
        Ask::merge(one.clone(), &labels).raw(MERGE, "[1]"),
        Ask::merge(routes.one("a"), &labels).raw(MERGE, "{\"metadata\":"),
        Ask::merge(routes.one("a"), &labels).raw(MERGE, "[1]"),
        Ask::patch(one.clone(), JSON_PATCH, &labels),
        Ask::patch(routes.one("a"), JSON_PATCH, &labels),
        Ask::post(configs.all(), &labels).raw("text/plain", "a: b"),
        Ask::post(routes.all(), &labels).raw("text/plain", "a: b"),
        Ask::post(configs.all(), &labels).raw("application/json", "{\"kind\":"),
        Ask::post(routes.all(), &labels).raw("application/json", "{\"kind\":"),
        Ask::patch(one, "application/apply-patch+yaml", &configs.object("a", 0)),
    ]
}

fn bodies() -> Vec<Ask> {
    let (configs, routes) = (kind("configmaps"), kind("virtualservices"));
    let changed = |field: &str, value: Value| {
        let mut object = configs.object("a", 0);
        object["metadata"][field] = value;
        Ask::post(configs.all(), &object)
    };
    let mut other = configs.object("a", 0);
    other["kind"] = json!("Service");
    let mut nameless = configs.object("a", 0);
    nameless["metadata"] = json!({});
    let mut route = routes.object("a", 0);
    route["metadata"] = json!({});
    vec![
        Ask::post(configs.all(), &other),
        Ask::post(configs.all(), &nameless),
        Ask::post(routes.all(), &route),
        changed("resourceVersion", json!("5")),
        changed("namespace", json!("default")),
        Ask::get(configs.one("a")),
    ]
}

/// What schemas and rules refuse on the real side; as dry runs, so that both sides stay alike.
fn validation(known: &'static Kind) -> Vec<Ask> {
    let unchecked = |ask: Ask| ask.with(UNCHECKED);
    let changed = |pointer: &str, value: Value| {
        let mut object = known.object("b", 1);
        if let Some(place) = object.pointer_mut(pointer) {
            *place = value;
        }
        unchecked(Ask::post(known.all(), &object))
    };
    let mut extra = known.object("b", 1);
    extra["unknown"] = json!({ "a": 1 });
    let mut asks = vec![
        Ask::post(known.all(), &known.object("a", 1)),
        changed("/metadata/name", json!("Upper_Case")),
        changed("/metadata/labels/app", json!("not a label!")),
        changed("/apiVersion", json!("v7")),
        unchecked(Ask::post(known.all(), &extra)),
        unchecked(Ask::post(known.all(), &extra)).with("fieldValidation=Strict"),
    ];
    let wrong = match known.plural {
        "deployments" => vec![
            json!({ "spec": { "selector": { "matchLabels": { "app": "web" } } } }),
            json!({ "spec": { "replicas": -1 } }),
            json!({ "spec": { "replicas": "many" } }),
        ],
        "virtualservices" => {
            vec![json!({ "spec": { "http": [{ "timeout": "1us" }] } }), json!({ "spec": { "http": "none" } })]
        }
        _ => vec![json!({ "data": { "number": 1 } })],
    };
    asks.extend(wrong.iter().map(|patch| unchecked(Ask::merge(known.one("a"), patch))));
    asks
}

fn creating(known: &'static Kind) -> Vec<Ask> {
    let mut asks = Vec::new();
    {
        let mut generated = known.object("", 0);
        generated["metadata"] = json!({ "generateName": "made-" });
        let mut own = known.object("own", 1);
        // What the server decides is not taken from who creates.
        own["metadata"]["uid"] = json!("11111111-2222-3333-4444-555555555555");
        own["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
        own["metadata"]["generation"] = json!(7);
        if !known.parts.is_empty() {
            own["status"] = (known.status)(1);
        }
        asks.extend([
            Ask::post(known.all(), &generated),
            Ask::post(known.all(), &own),
            Ask::post(known.all(), &own),
            Ask::get(known.one("own")),
            Ask::get(known.all()),
        ]);
    }
    asks
}

fn certificates() -> Vec<Ask> {
    let known = kind("certificates");
    let issuing = json!({ "status": { "conditions": [
        { "type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "asked for", "lastTransitionTime": "2026-01-01T00:00:00Z" },
    ] } });
    vec![
        Ask::post(known.all(), &known.object("a", 0)),
        // On the main resource nothing comes of it.
        Ask::merge(known.one("a"), &issuing),
        Ask::merge(format!("{}/status", known.one("a")), &issuing),
        Ask::patch(format!("{}/status", known.one("a")), STRATEGIC, &issuing),
        Ask::merge(known.one("a"), &json!({ "spec": { "dnsNames": ["other.example.com"] } })),
        Ask::get(known.one("a")),
    ]
}

fn routes() -> Vec<Ask> {
    let known = kind("virtualservices");
    let old = known.one("a").replace("/v1/", "/v1beta1/");
    let weight = json!([
        { "op": "test", "path": "/spec/http/0/route/0/weight", "value": 100 },
        { "op": "replace", "path": "/spec/http/0/route/0/weight", "value": 90 },
    ]);
    vec![
        Ask::post(known.all(), &known.object("a", 0)),
        Ask::get(old.clone()),
        Ask::patch(old.clone(), JSON_PATCH, &weight),
        Ask::patch(old.clone(), JSON_PATCH, &weight),
        Ask::merge(old, &json!({ "spec": { "http": null } })),
        Ask::merge(known.one("a"), &json!({ "spec": null })),
        Ask::get(known.one("a")),
    ]
}
