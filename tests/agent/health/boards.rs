//! What the whole of the readers and the roll-up makes of meshes that were recorded, state by state: the board of
//! each is a golden file. The second of two looks is shown, a minute after the first, because counters tell
//! nothing in one.
//!
//! The files are under `boards/`; one that differs is written beside the test's other files and named.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use meshmend::app::board::{Boards, Scope};
use meshmend::clock::Clock;
use meshmend::cluster::{Answer, Call, Cluster, PodPort, ProxyTransport, Unanswered};
use meshmend::config::History;
use meshmend::health::{IndicatorHealth, Overview, overview};
use meshmend::model::indicator::Level;
use meshmend::rules::{RuleFiles, Rules};
use meshmend::sources::agent::Agent;
use meshmend::sources::envoy::EnvoyAdmin;
use meshmend::sources::istiod::Istiod;
use meshmend::sources::proxy_check::ProxyCheck;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::stub::{Served, Stub};

/// The pods of the recorded shop.
const CLIENT: &str = "client-v1-74867dcd64-7b5nd";
const V1: &str = "server-v1-77d498bd8d-j95z5";
const V2: &str = "server-v2-5c45b84778-f5z2g";
const ISTIOD: &str = "istiod-7d4f9c8b6d-x2x5k";
const PODS: [(&str, &str); 3] = [(CLIENT, "client-v1"), (V1, "server-v1"), (V2, "server-v2")];

macro_rules! recorded {
    ($path:literal) => {
        include_bytes!(concat!("../../recorded/", $path)).as_slice()
    };
}

/// What is asked, by pod, port and the beginning of the path.
type Key = (&'static str, u16, &'static str);
/// Answers that differ from those of a healthy mesh; none: whoever is asked keeps silent.
type Differences = Vec<(Key, Option<&'static [u8]>)>;

/// Everybody who is asked over a port-forward.
#[derive(Default)]
struct Ports {
    answers: Mutex<BTreeMap<Key, &'static [u8]>>,
}

impl Ports {
    fn healthy() -> Self {
        let mut answers: BTreeMap<Key, &'static [u8]> = BTreeMap::from([
            ((ISTIOD, 15014, "/debug/syncz"), recorded!("istiod/syncz-healthy.json")),
            ((ISTIOD, 15014, "/debug/adsz"), recorded!("istiod/adsz-healthy.json")),
            ((ISTIOD, 15014, "/metrics"), recorded!("istiod/metrics-healthy.prom")),
            ((ISTIOD, 8080, "/ready"), b"".as_slice()),
        ]);
        for (pod, _) in PODS {
            answers.insert((pod, 15000, "/server_info"), recorded!("envoy/server_info-live.json"));
            answers.insert((pod, 15000, "/certs"), recorded!("envoy/certs-plaintext.json"));
            answers.insert((pod, 15000, "/clusters"), recorded!("envoy/clusters-healthy.json"));
            answers
                .insert((pod, 15000, "/config_dump"), recorded!("envoy/config_dump-listeners-accepted.json"));
            answers.insert((pod, 15000, "/stats"), recorded!("envoy/stats-default-inclusions.json"));
            answers.insert((pod, 15020, "/stats/prometheus"), recorded!("agent/stats-mtls.prom"));
            answers.insert((pod, 15021, "/healthz/ready"), b"".as_slice());
        }
        Self { answers: Mutex::new(answers) }
    }

    fn become_(&self, differences: Differences) {
        let mut answers = self.answers.lock().expect("nobody panics with it");
        for (key, answer) in differences {
            match answer {
                Some(body) => drop(answers.insert(key, body)),
                None => answers.retain(|known, _| !(known.0 == key.0 && (key.1 == 0 || known.1 == key.1))),
            }
        }
    }
}

impl ProxyTransport for Ports {
    fn ask<'a>(&'a self, to: &'a PodPort, call: &'a Call) -> BoxFuture<'a, Result<Answer, Unanswered>> {
        async move {
            let answers = self.answers.lock().expect("nobody panics with it");
            let fits = |key: &&Key| key.0 == to.pod && key.1 == to.port && call.path.starts_with(key.2);
            // The longest path that fits: `/stats/prometheus` is no `/stats`.
            let found = answers.keys().filter(fits).max_by_key(|key| key.2.len());
            match found {
                Some(key) => Ok((200, answers[key].to_vec())),
                None => Err(Unanswered::Silent("no answer within 3 s".to_owned())),
            }
        }
        .boxed()
    }
}

fn pod(name: &str, workload: &str) -> Value {
    let mut pod: Value = serde_json::from_str(include_str!("../../recorded/pod-classic-sidecar.json"))
        .expect("it was recorded");
    let (app, version) = workload.split_once('-').expect("app-version");
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["uid"] = json!(name);
    pod["metadata"]["labels"]["app"] = json!(app);
    pod["metadata"]["labels"]["version"] = json!(version);
    pod["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "name": workload, "uid": workload, "controller": true }]);
    pod
}

/// As the node controller leaves a pod whose node is gone.
fn lost(pod: &mut Value) {
    for condition in pod["status"]["conditions"].as_array_mut().expect("a list") {
        if condition["type"] == "Ready" {
            condition["status"] = json!("False");
            condition["lastTransitionTime"] = json!("2026-11-23T13:10:00Z");
        }
    }
    for container in pod["status"]["containerStatuses"].as_array_mut().expect("a list") {
        container["ready"] = json!(false);
    }
}

fn istiod() -> Value {
    json!({
        "metadata": { "name": ISTIOD, "namespace": "istio-system", "uid": "istiod",
            "creationTimestamp": "2026-11-23T12:30:00Z",
            "labels": { "app": "istiod", "istio.io/rev": "default" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "istiod-7d4f9c8b6d",
                "uid": "r-istiod", "controller": true }] },
        "spec": { "nodeName": "node-1", "containers": [{ "name": "discovery",
            "image": "docker.io/istio/pilot:1.31.0", "resources": { "requests": { "memory": "2Gi" } } }] },
        "status": { "phase": "Running", "podIP": "10.244.0.9",
            "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-11-23T12:31:00Z" }],
            "containerStatuses": [{ "name": "discovery", "ready": true, "restartCount": 0,
                "containerID": "containerd://istiod", "state": { "running": {} } }] },
    })
}

fn replica_set(name: &str, namespace: &str, uid: &str, owner: &str) -> Value {
    json!({ "metadata": { "namespace": namespace, "name": name, "uid": uid, "ownerReferences": [{
        "apiVersion": "apps/v1", "kind": "Deployment", "name": owner, "uid": format!("d-{owner}"),
        "controller": true }] } })
}

fn deployment(name: &str, namespace: &str, labels: &Value) -> Value {
    json!({
        "metadata": { "name": name, "namespace": namespace, "uid": format!("d-{name}"), "generation": 1,
            "labels": labels },
        "spec": { "replicas": 1, "template": { "spec": { "containers": [
            { "name": "discovery", "image": "docker.io/istio/pilot:1.31.0" }] } } },
        "status": { "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1 },
    })
}

fn service(name: &str) -> Value {
    json!({ "metadata": { "name": name, "namespace": "shop", "uid": format!("s-{name}") },
        "spec": { "selector": { "app": name }, "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] } })
}

/// The shop and its control plane; `pods` are those of the shop.
fn cluster(mut pods: Vec<Value>) -> Stub {
    let stub = Stub::with_kinds(&[
        "virtualservices",
        "destinationrules",
        "statefulsets",
        "daemonsets",
        "endpointslices",
        "nodes",
        "namespaces",
        "issuers",
        "clusterissuers",
        "certificates",
        "poddisruptionbudgets",
    ]);
    pods.push(istiod());
    stub.serve("pods", Served::Objects(pods));
    let workloads = || PODS.iter().map(|(_, workload)| *workload);
    let sets = workloads().map(|name| replica_set(name, "shop", name, name));
    let of_istiod = replica_set("istiod-7d4f9c8b6d", "istio-system", "r-istiod", "istiod");
    stub.serve("replicasets", Served::Objects(sets.chain([of_istiod]).collect()));
    let deployments = workloads().map(|name| deployment(name, "shop", &json!({})));
    let plane = deployment("istiod", "istio-system", &json!({ "app": "istiod", "istio.io/rev": "default" }));
    stub.serve("deployments", Served::Objects(deployments.chain([plane]).collect()));
    stub.serve("services", Served::Objects(vec![service("client"), service("server")]));
    stub.page("/readyz", include_str!("../../recorded/apiserver/readyz-verbose.txt"));
    stub.page("/metrics", include_str!("../../recorded/apiserver/metrics.prom"));
    stub
}

fn objects(not_ready: bool) -> Stub {
    let mut pods: Vec<Value> = PODS.iter().map(|(name, workload)| pod(name, workload)).collect();
    if not_ready {
        pods.iter_mut().skip(1).for_each(lost);
    }
    cluster(pods)
}

/// A state of the recorded mesh.
struct State {
    name: &'static str,
    /// When it was recorded, a moment later.
    at: &'static str,
    /// Pods whose node is not ready.
    not_ready: bool,
    differences: Differences,
}

fn state(name: &'static str, at: &'static str, differences: Differences) -> State {
    State { name, at, not_ready: false, differences }
}

/// Those in which everybody answers.
fn answered() -> Vec<State> {
    vec![
        state("healthy", "2026-11-23T12:42:50Z", Vec::new()),
        state(
            "nack",
            "2026-11-23T12:44:05Z",
            vec![
                ((ISTIOD, 15014, "/debug/syncz"), Some(recorded!("istiod/syncz-nack.json"))),
                ((ISTIOD, 15014, "/metrics"), Some(recorded!("istiod/metrics-nack.prom"))),
                ((CLIENT, 15000, "/config_dump"), Some(recorded!("envoy/config_dump-listeners-nack.json"))),
                ((CLIENT, 15000, "/stats"), Some(recorded!("envoy/stats-nack.json"))),
            ],
        ),
        state(
            "nack-recovered",
            "2026-11-23T12:44:30Z",
            vec![((ISTIOD, 15014, "/debug/syncz"), Some(recorded!("istiod/syncz-nack-recovered.json")))],
        ),
        state(
            "route-5xx",
            "2026-11-23T12:44:00Z",
            vec![((CLIENT, 15000, "/clusters"), Some(recorded!("envoy/clusters-route-5xx.json")))],
        ),
        state(
            "overflow-ejected",
            "2026-11-23T12:44:35Z",
            vec![
                ((CLIENT, 15000, "/clusters"), Some(recorded!("envoy/clusters-ejected.json"))),
                ((CLIENT, 15000, "/stats"), Some(recorded!("envoy/stats-ejected.json"))),
            ],
        ),
    ]
}

/// Those in which some keep silent, or are not ready; and one with certificates.
fn others() -> Vec<State> {
    let silent = |pod, port| ((pod, port, ""), None);
    vec![
        // Half of those who could tell keep silent.
        state(
            "partial",
            "2026-11-23T12:42:50Z",
            vec![silent(V1, 15000), silent(V2, 15000), silent(ISTIOD, 15014)],
        ),
        state("istiod-down", "2026-11-23T12:55:25Z", vec![silent(ISTIOD, 0)]),
        state(
            "stale-frozen-proxy",
            "2026-11-23T13:19:21Z",
            vec![
                ((ISTIOD, 15014, "/debug/syncz"), Some(recorded!("istiod/syncz-stale-frozen-proxy.json"))),
                silent(V1, 0),
            ],
        ),
        State {
            name: "node-notready-503",
            at: "2026-11-23T13:12:55Z",
            not_ready: true,
            differences: vec![(
                (CLIENT, 15000, "/clusters"),
                Some(recorded!("envoy/clusters-notready.json")),
            )],
        },
        state(
            "mtls",
            "2026-11-23T13:20:00Z",
            PODS.map(|(pod, _)| ((pod, 15000, "/certs"), Some(recorded!("envoy/certs-mtls.json")))).to_vec(),
        ),
    ]
}

/// The second look at a state, a minute after one at the healthy mesh.
async fn looked(state: &State) -> Overview {
    let clock =
        Clock::starting_at(state.at.parse::<jiff::Timestamp>().expect("a time") - Duration::from_secs(60));
    let stub = objects(state.not_ready);
    let cluster = Arc::new(Cluster::new(stub.client(), vec!["*".to_owned()]));
    let (seen, _news) = mpsc::channel(64);
    cluster.watches(&seen).into_iter().for_each(|watch| drop(tokio::spawn(watch)));
    tokio::time::timeout(Duration::from_secs(5), cluster.wait_synced()).await.expect("every kind answered");
    let rules = Arc::new(Rules::load(&RuleFiles::embedded(), None).expect("what is shipped is right").rules);
    let ports = Arc::new(Ports::healthy());
    let way = || Arc::clone(&ports) as Arc<dyn ProxyTransport>;
    let boards = Boards::new(Arc::clone(&cluster), rules, None, clock, History::default())
        .with_mesh(Some(ProxyCheck::new(way(), Duration::from_secs(10))), Some(Istiod::new(way())))
        .with_proxies(Some(EnvoyAdmin::new(way())), Some(Agent::new(way())));
    boards.scrape().await;
    boards.survey(&Scope::default()).await;
    ports.become_(state.differences.clone());
    tokio::time::sleep(Duration::from_secs(60)).await;
    boards.scrape().await;
    overview(boards.survey(&Scope::default()).await, clock.now())
}

/// One line an indicator, sorted by id so that a change is one line of a difference.
fn board(found: &Overview) -> String {
    let mut text = format!("the mesh is {}: {}\n\n", found.level, found.why);
    let all = found.components.iter().flat_map(|part| &part.indicators);
    let mut lines: Vec<String> = all.map(line).collect();
    lines.sort();
    writeln!(text, "{}", lines.join("\n")).expect("a text takes all");
    text
}

fn line(one: &IndicatorHealth) -> String {
    let value = one.value.map_or_else(|| "-".to_owned(), |value| meshmend::health::shown(value, &one.unit));
    let why = if one.why.is_empty() { String::new() } else { format!("  {}", one.why) };
    format!("{:38} {:9} {:14} {:12}{why}", one.indicator, one.level.to_string(), value, one.source)
}

// Mutations: the stale gauge of a rejection that is over read as one that goes on; an ejected host as one that
// is well; a frozen proxy as one in step; istiod's silence as a mesh in which nothing waits; what only half of the
// proxies said as the word of all.
#[tokio::test(start_paused = true)]
async fn each_recorded_state_gives_its_board() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agent/health/boards");
    let mut wrong = Vec::new();
    for state in answered().into_iter().chain(others()) {
        let found = looked(&state).await;
        let text = board(&found);
        let golden = folder.join(format!("{}.txt", state.name));
        if std::fs::read_to_string(&golden).unwrap_or_default() != text {
            let written = std::env::temp_dir().join(format!("board-{}.txt", state.name));
            std::fs::write(&written, &text).expect("the folder of temporary files can be written");
            wrong.push(format!("{} is not {}:\n{text}", golden.display(), written.display()));
        }
        if state.name == "healthy" {
            assert!(ill(&found).is_empty(), "a healthy mesh is {:?}", ill(&found));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn ill(found: &Overview) -> Vec<&str> {
    let all = found.components.iter().flat_map(|part| &part.indicators);
    all.filter(|one| matches!(one.level, Level::Warning | Level::Critical))
        .map(|one| &*one.indicator)
        .collect()
}
