//! What a real istiod made of many cases, against what the stand-in makes of them.
//!
//! `truth.json` was recorded with istiod and Envoy: for each case and client what the configuration of Envoy
//! then held of the hosts in question. Left out of it is what is the same everywhere: type names, default
//! retries and timeouts, options that Envoy has given up, limits that are not set, connect timeouts of ten seconds, the default balancer. The
//! objects of the cases are those of `tests/agent/istio_truth`, plus the one that is not there. Recordings
//! that measure time, and those of how a refusal is told, hold no configuration and are no cases: the trial
//! with a real Envoy stands for the second.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use libtest_mimic::{Failed, Trial};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::hosts::words;
use super::objects::{Labels, Locality, Mesh, Proxy};
use super::translate::translate;

/// Cases in which the stand-in does not do what istiod did, and why that is so.
const UNSUPPORTED: [(&str, &str); 2] = [
    (
        "B7",
        "istiod sent TLS that Envoy could not take; recorded is what Envoy kept from before, a lab artefact",
    ),
    ("B7g", "TLS towards destinations is not translated: the proving ground sends plain HTTP"),
];

#[derive(Deserialize)]
struct Truth {
    /// By client and port, where a case does not say otherwise.
    virtual_hosts: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// By client and virtual host.
    domains: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    base: Vec<Value>,
    more: Vec<Case>,
    cases: BTreeMap<String, BTreeMap<String, Expected>>,
}

#[derive(Deserialize)]
struct Case {
    case: String,
    objects: Vec<Written>,
}

#[derive(Deserialize)]
struct Written {
    kind: String,
    namespace: String,
    name: String,
    second: u64,
    spec: Value,
}

#[derive(Deserialize)]
struct Expected {
    #[serde(default)]
    virtual_hosts: BTreeMap<String, Vec<String>>,
    routes: BTreeMap<String, Vec<Value>>,
    clusters: BTreeMap<String, Value>,
}

/// The trials of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("translation_is_that_of_istiod", || {
        compare().map_err(|error| Failed::from(format!("{error:#}")))
    })]
}

// Mutations that make it fail: the youngest VirtualService first (A8), no export before age (A13g), weights
// of nothing kept (A14), a gateway's route taken (A15c), the top of a policy under a named port (B3), newer
// policies over older ones (B4), rules merged over different exports (B9), no priorities (B12), a limit of
// zero written as zero (B11).
fn compare() -> anyhow::Result<()> {
    let truth: Truth = serde_json::from_str(include_str!("truth.json")).context("truth.json")?;
    let [routes, rules] = [
        include_str!("../../agent/istio_truth/routes.json"),
        include_str!("../../agent/istio_truth/rules.json"),
    ]
    .map(serde_json::from_str::<Vec<Case>>);
    let (routes, rules) = (routes.context("routes.json")?, rules.context("rules.json")?);
    let cases = routes.iter().chain(&rules).chain(&truth.more);
    let mut wrong = Vec::new();
    let mut asked = BTreeSet::new();
    for case in cases {
        let name = case.case.as_str();
        asked.insert(name);
        let differences = differences(&truth, case)?;
        match UNSUPPORTED.iter().find(|(listed, _)| *listed == name) {
            None => wrong.extend(differences),
            Some(_) if !differences.is_empty() => {}
            Some((_, why)) => wrong.push(format!("{name}: listed as not supported ({why}), but it agrees")),
        }
    }
    let recorded: BTreeSet<&str> = truth.cases.keys().map(String::as_str).collect();
    ensure!(asked == recorded, "cases without objects: {:?}", recorded.symmetric_difference(&asked));
    ensure!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

fn mesh(truth: &Truth, case: &Case) -> Mesh {
    let written = case.objects.iter().map(|Written { kind, namespace, name, second, spec }| {
        json!({"kind": kind, "spec": spec,
               "metadata": {"namespace": namespace, "name": name,
                            "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")}})
    });
    let written: Vec<Value> = written.collect();
    Mesh::of(truth.base.iter().chain(&written))
}

fn client(case: &Case, namespace: &str) -> Proxy {
    let app = if namespace == "shop" { "client" } else { "webclient" };
    let labels = [("app", app), ("version", "v1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let sidecar = case.objects.iter().find(|o| o.kind == "Sidecar" && o.namespace == namespace);
    let imports = sidecar.map(|sidecar| words(&sidecar.spec["egress"][0]["hosts"])).unwrap_or_default();
    Proxy {
        namespace: namespace.to_owned(),
        labels: Labels::from(labels),
        locality: Locality { region: "r1".to_owned(), zone: "z1".to_owned() },
        imports: imports.into_iter().map(str::to_owned).collect(),
        sidecar: None,
    }
}

fn differences(truth: &Truth, case: &Case) -> anyhow::Result<Vec<String>> {
    let expected = truth.cases.get(&case.case).with_context(|| format!("{} was not recorded", case.case))?;
    let mesh = mesh(truth, case);
    let mut wrong = Vec::new();
    for (client_name, expected) in expected {
        let made = translate(&mesh, &client(case, client_name));
        let mut differ = |what: &str, is: &Value, should: &Value| {
            if is != should {
                let place = format!("{} {client_name} {what}", case.case);
                wrong.push(format!("{place}\n  istiod {should}\n  ours   {is}"));
            }
        };
        let ports = truth.virtual_hosts.get(client_name).context("an unknown client")?;
        for (port, usual) in ports {
            let hosts = hosts_of(&made.routes, port);
            let names: Vec<&Value> = hosts.iter().map(|host| &host["name"]).collect();
            let should = expected.virtual_hosts.get(port).unwrap_or(usual);
            differ(&format!("virtual hosts of {port}"), &json!(names), &json!(should));
        }
        let hosts: Vec<&Value> = ports.keys().flat_map(|port| hosts_of(&made.routes, port)).collect();
        for (name, routes) in &expected.routes {
            let host = hosts.iter().find(|host| host["name"] == name.as_str()).copied();
            let host = host.unwrap_or(&Value::Null);
            let domains: BTreeSet<&str> = words(&host["domains"]).into_iter().collect();
            differ(&format!("domains of {name}"), &json!(domains), &json!(truth.domains[client_name][name]));
            let made = host["routes"].as_array().into_iter().flatten();
            let made: Vec<Value> = made.map(slim_route).collect();
            differ(&format!("routes of {name}"), &json!(made), &json!(routes));
        }
        let made = slim_clusters(&made.clusters, &made.endpoints, expected);
        differ(
            "clusters",
            &json!(made.keys().collect::<Vec<_>>()),
            &json!(expected.clusters.keys().collect::<Vec<_>>()),
        );
        for (name, cluster) in &expected.clusters {
            differ(name, made.get(name).unwrap_or(&Value::Null), cluster);
        }
    }
    Ok(wrong)
}

fn hosts_of<'v>(routes: &'v [Value], port: &str) -> Vec<&'v Value> {
    let configuration = routes.iter().find(|configuration| configuration["name"] == port);
    let hosts = configuration.and_then(|found| found["virtual_hosts"].as_array());
    hosts.into_iter().flatten().collect()
}

/// `namespace/name` of the object that a resource says it comes from.
fn by(resource: &mut Map<String, Value>) {
    let meta = resource.remove("metadata").unwrap_or_default();
    let config =
        meta["filter_metadata"]["istio"]["config"].as_str().map(|path| path.split('/').collect::<Vec<_>>());
    if let Some([_, _, _, _, _, namespace, _, name]) = config.as_deref() {
        resource.insert("by".to_owned(), json!(format!("{namespace}/{name}")));
    }
}

fn without(value: &mut Value, keys: &[&str]) {
    if let Some(map) = value.as_object_mut() {
        map.retain(|key, _| !keys.contains(&key.as_str()));
    }
}

/// Without what is the same in all recordings.
fn slim_route(route: &Value) -> Value {
    let mut slim = route.as_object().cloned().unwrap_or_default();
    by(&mut slim);
    slim.remove("decorator");
    if let Some(mut fault) = slim.remove("typed_per_filter_config") {
        let mut fault = fault["envoy.filters.http.fault"].take();
        without(&mut fault, &["@type"]);
        slim.insert("fault".to_owned(), fault);
    }
    let Some(action) = slim.get_mut("route").and_then(Value::as_object_mut) else {
        return Value::Object(slim);
    };
    if action["timeout"] == "0s" {
        action.remove("timeout");
    }
    match action.get_mut("retry_policy") {
        None => {
            action.insert("retry_policy".to_owned(), json!("none"));
        }
        Some(policy) => {
            without(policy, &["retry_host_predicate", "host_selection_retry_max_attempts"]);
            let usual = json!({"num_retries": 2,
                "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"});
            if *policy == usual {
                action.remove("retry_policy");
            }
        }
    }
    for mirror in
        action.get_mut("request_mirror_policies").and_then(Value::as_array_mut).into_iter().flatten()
    {
        without(mirror, &["trace_sampled", "disable_shadow_host_suffix_append"]);
    }
    Value::Object(slim)
}

/// The clusters of the hosts that the recording holds clusters of.
fn slim_clusters(clusters: &[Value], endpoints: &[Value], expected: &Expected) -> BTreeMap<String, Value> {
    let host = |name: &str| name.rsplit('|').next().unwrap_or_default().to_owned();
    let recorded: BTreeSet<String> = expected.clusters.keys().map(|name| host(name)).collect();
    let ours = clusters.iter().filter_map(|cluster| Some((cluster["name"].as_str()?.to_owned(), cluster)));
    ours.filter(|(name, _)| recorded.contains(&host(name)))
        .map(|(name, cluster)| {
            let assignment = endpoints.iter().find(|assignment| assignment["cluster_name"] == name.as_str());
            let slim = slim_cluster(cluster, assignment.unwrap_or(&Value::Null));
            (name, slim)
        })
        .collect()
}

fn slim_cluster(cluster: &Value, assignment: &Value) -> Value {
    let mut slim = cluster.as_object().cloned().unwrap_or_default();
    by(&mut slim);
    for key in ["name", "alt_stat_name", "eds_cluster_config"] {
        slim.remove(key);
    }
    for (key, usual) in [
        ("connect_timeout", json!("10s")),
        ("lb_policy", json!("LEAST_REQUEST")),
        ("type", json!("EDS")),
        ("common_lb_config", json!({"healthy_panic_threshold": {}})),
    ] {
        if slim.get(key) == Some(&usual) {
            slim.remove(key);
        }
    }
    let mut limits = slim.remove("circuit_breakers").unwrap_or_default()["thresholds"][0].take();
    if let Some(limits) = limits.as_object_mut() {
        limits.retain(|_, limit| *limit != json!(u32::MAX));
        if !limits.is_empty() {
            slim.insert("circuit_breakers".to_owned(), limits.clone().into());
        }
    }
    if let Some(mut options) = slim.remove("typed_extension_protocol_options") {
        let mut options = options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].take();
        without(&mut options, &["@type"]);
        slim.insert("http".to_owned(), options);
    }
    let groups = assignment["endpoints"].as_array().into_iter().flatten();
    let hosts = groups.flat_map(|group| {
        let addresses = group["lb_endpoints"].as_array().into_iter().flatten();
        addresses.map(|one| {
            let address = one["endpoint"]["address"]["socket_address"]["address"].as_str();
            (address.unwrap_or_default().to_owned(), group["priority"].clone())
        })
    });
    slim.insert("hosts".to_owned(), Value::Object(hosts.collect()));
    Value::Object(slim)
}
