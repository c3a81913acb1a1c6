//! `meshmend health` against the simulated cluster, which is another process: what people and programs read.

mod boards;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use meshmend::config::Role;

use crate::binary::{folder, ran};
use crate::healing::story;
use crate::live::{Process, within};
use crate::stage::Stage;

/// A simulated cluster with these faults, and how to ask for its health.
struct Cluster {
    dir: tempfile::TempDir,
    _sim: Process,
}

impl Cluster {
    fn with(faults: &[&str]) -> Self {
        let dir = folder();
        let mut args = vec!["sim", "--kubeconfig", "sim.kubeconfig"];
        faults.iter().for_each(|fault| args.extend(["--fault", fault]));
        let sim = Process::start(dir.path(), &args);
        let log = dir.path().join("sim.log");
        let prometheus = within("the cluster is there", || {
            let log = fs::read_to_string(&log).ok().filter(|log| log.contains("Ctrl-C"))?;
            log.lines().find_map(|line| line.strip_prefix("Prometheus   ")).map(str::to_owned)
        });
        let config = format!(
            "apiVersion: meshmend.dev/v1alpha1\nkind: Config\njournal: {{ sqlite: {{ path: j.db }} }}\n\
             sources: {{ prometheus: {{ url: \"{prometheus}\" }} }}\n"
        );
        fs::write(dir.path().join("meshmend.yaml"), config).expect("the folder can be written");
        Self { dir, _sim: sim }
    }

    fn at(&self) -> &Path {
        self.dir.path()
    }

    /// Exit code and output without Prometheus.
    fn bare(&self, args: &[&str]) -> (i32, String) {
        let (code, out, err) =
            ran(self.at(), &[&["health", "--kubeconfig", "sim.kubeconfig"], args].concat());
        assert!(err.is_empty(), "{args:?}: {err}");
        (code, out)
    }

    /// Exit code and JSON with Prometheus.
    fn whole(&self, args: &[&str]) -> (i32, Value) {
        let args = [&["--config", "meshmend.yaml", "-o", "json"], args].concat();
        let (code, out) = self.bare(&args);
        (code, serde_json::from_str(&out).expect("JSON"))
    }

    /// The same, once enough requests have been counted for every service to be judged.
    fn counted(&self) -> (i32, Value) {
        within("every indicator that the simulation can tell is known", || {
            let found = self.whole(&[]);
            let known = levels(&found.1).into_iter().filter(|(_, level)| level != "unknown");
            let known: Vec<String> = known.map(|(id, _)| id).collect();
            TOLD.iter().all(|id| known.iter().any(|known| known == id)).then_some(found)
        })
    }
}

/// What the simulation can tell with Prometheus. The others need what it has none of: the week before, pods that
/// were made within the hour, ztunnel, a collector of traces, and sources that are not built yet.
const TOLD: [&str; 38] = [
    "config.distribution",
    "config.distribution_success",
    "config.last_applied",
    "config.push_interval_variance",
    "config.rejections",
    "config.version_skew",
    "control_plane.api_latency_p99",
    "control_plane.config_distribution",
    "control_plane.memory",
    "control_plane.replicas_answering",
    "control_plane.service_discovery",
    "control_plane.telemetry",
    "data_plane.connection_churn",
    "data_plane.connection_pools",
    "data_plane.proxy_liveness",
    "data_plane.proxy_readiness",
    "data_plane.proxy_state",
    "data_plane.queue_depth",
    "data_plane.resources",
    "dependencies.ca",
    "dependencies.gateways",
    "dependencies.metrics",
    "dependencies.registry",
    "mtls.handshake_success",
    "security.certificate_validity",
    "security.policy_enforcement",
    "traffic.circuit_breaker_trips",
    "traffic.connection_failures",
    "traffic.connection_resets",
    "traffic.ejected_hosts",
    "traffic.latency_p50",
    "traffic.latency_p95",
    "traffic.latency_p99",
    "traffic.no_endpoint",
    "traffic.no_route",
    "traffic.overload_share",
    "traffic.route_error_rate",
    "traffic.success_rate",
];

fn indicators(mesh: &Value) -> Vec<Value> {
    let parts = mesh["components"].as_array().expect("a list").iter();
    parts.flat_map(|part| part["indicators"].as_array().expect("a list").clone()).collect()
}

fn levels(mesh: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut all: Vec<_> =
        indicators(mesh).iter().map(|one| (text(&one["indicator"]), text(&one["level"]))).collect();
    all.sort();
    all
}

/// The indicators that are known, and not healthy.
fn ill(mesh: &Value) -> Vec<(String, String)> {
    levels(mesh).into_iter().filter(|(_, level)| level != "healthy" && level != "unknown").collect()
}

/// The same of what a fault makes ill. Every change of configuration is a push, and moves the spread of pushes as
/// soon as five minutes of the clock are full: whether this test lives to see that is chance.
fn moved(mesh: &Value) -> Vec<(String, String)> {
    let mut ill = ill(mesh);
    ill.retain(|(id, _)| id != "config.push_interval_variance");
    ill
}

fn one(mesh: &Value, id: &str) -> Value {
    indicators(mesh).into_iter().find(|one| one["indicator"] == id).expect("it is there")
}

// Mutations: an indicator that is left out; a service without requests that makes traffic unknown; a key that
// is renamed; readings that do not say how they were had.
#[test]
fn a_healthy_mesh_is_healthy_in_every_part_and_says_where_each_figure_comes_from() {
    let cluster = Cluster::with(&[]);
    let (code, mesh) = cluster.counted();
    assert_eq!((code, moved(&mesh)), (0, Vec::new()));
    let known = levels(&mesh).into_iter().filter(|(_, level)| level == "healthy");
    assert_eq!(known.map(|(id, _)| id).collect::<Vec<_>>(), TOLD);
    // Mutation: a series that is absent taken for zero.
    for indicator in indicators(&mesh).iter().filter(|one| one["level"] == "unknown") {
        let told = |key: &str| indicator[key].as_str().is_some_and(|text| !text.is_empty());
        assert!(told("why") && told("fix") && indicator["value"].is_null(), "{indicator}");
    }
    assert_eq!(mesh["level"], "unknown");
    let (code, _, err) = ran(cluster.at(), &["health", "--explain", "nothing"]);
    assert!(code == 64 && err.contains("data_plane.proxy_liveness"), "{err}");
    let keys = |value: &Value| value.as_object().expect("a map").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&mesh), ["at", "components", "level", "why"]);
    assert_eq!(keys(&mesh["components"][0]), ["component", "indicators", "level", "why"]);
    let liveness = one(&mesh, "data_plane.proxy_liveness");
    assert_eq!(
        keys(&liveness),
        [
            "at",
            "counts",
            "critical",
            "fix",
            "indicator",
            "level",
            "readings",
            "restored",
            "samples",
            "source",
            "subject",
            "title",
            "unit",
            "value",
            "warning",
            "why"
        ]
    );
    let reading = &liveness["readings"][0];
    assert_eq!(keys(reading), ["at", "level", "samples", "source", "subject", "value", "way", "why"]);
    assert_eq!(reading["value"], 1.0);
    for indicator in indicators(&mesh) {
        for reading in indicator["readings"].as_array().expect("a list") {
            let told = |key: &str| reading[key].as_str().is_some_and(|text| !text.is_empty());
            assert!(told("way") && told("source"), "{reading}");
        }
    }

    let (code, found) = cluster.whole(&["--explain", "traffic.success_rate"]);
    assert_eq!((code, &found["indicator"]), (0, &json!("traffic.success_rate")));
    let (_, mail) = cluster.whole(&["--namespace", "mail"]);
    for indicator in indicators(&mail) {
        for reading in indicator["readings"].as_array().expect("a list") {
            assert_eq!(reading["subject"]["namespace"], "mail");
        }
    }
    // Nothing of Linkerd is there, and Istio's proxies are none of its.
    let (_, linkerd) = cluster.whole(&["--mesh", "linkerd"]);
    assert!(levels(&linkerd).iter().all(|(id, _)| !id.starts_with("data_plane.")), "{linkerd}");
    assert_eq!(levels(&cluster.whole(&["--mesh", "istio"]).1), levels(&mesh));
}

// The table itself is held by a test in virtual time, beside the code that draws it. Mutations: unknown as a
// finding; lines of more than 80 columns; colour where no terminal is.
#[test]
fn a_look_without_prometheus_is_no_finding_and_fits_every_terminal() {
    let cluster = Cluster::with(&[]);
    let (code, out) = cluster.bare(&[]);
    assert_eq!(code, 0, "unknown is no finding");
    assert!(out.starts_with("the mesh is unknown: ") && out.contains("no Prometheus is configured"), "{out}");
    assert!(out.lines().all(|line| line.chars().count() <= 80) && !out.contains('\u{1b}'), "{out}");
}

// Mutations: growth from one look; pages that are not scraped, or of which the second replaces the first; the
// word of a page for that of a Prometheus.
#[test]
fn with_a_kubeconfig_alone_two_looks_tell_of_traffic() {
    let cluster = Cluster::with(&["bad_route"]);
    let mesh: Value = within("the second look tells of the bad route", || {
        let (code, out) = cluster.bare(&["--over", "8s", "-o", "json"]);
        (code == 2).then(|| serde_json::from_str(&out).expect("JSON"))
    });
    for (id, source) in [("traffic.route_error_rate", "scrape"), ("traffic.upstream_errors", "envoy")] {
        let found = one(&mesh, id);
        assert_eq!((&found["level"], &found["source"]), (&json!("critical"), &json!(source)), "{found}");
    }
    let no_route = one(&mesh, "traffic.no_route");
    assert_eq!(
        (&no_route["level"], &no_route["source"]),
        (&json!("healthy"), &json!("scrape")),
        "{no_route}"
    );
    let (_, out) = cluster.bare(&["-o", "json"]);
    let once: Value = serde_json::from_str(&out).expect("JSON");
    let found = one(&once, "traffic.upstream_errors");
    assert_eq!((&found["level"], found["value"].is_null()), (&json!("unknown"), true), "{found}");
}

// Mutations: a fault that moves others than its own indicators, or not all of them; 0 although something is
// critical.
#[test]
fn a_bad_route_moves_exactly_the_indicators_of_traffic() {
    let cluster = Cluster::with(&["bad_route"]);
    let (code, mesh) = cluster.counted();
    let critical = |id: &str| (id.to_owned(), "critical".to_owned());
    assert_eq!(moved(&mesh), [critical("traffic.route_error_rate"), critical("traffic.success_rate")]);
    assert_eq!((code, &mesh["level"]), (2, &json!("critical")));
    assert_eq!(mesh["components"][0]["component"], "traffic");
    assert_eq!(one(&mesh, "traffic.route_error_rate")["subject"]["name"], "cart");
    let (code, out) = cluster.bare(&["--config", "meshmend.yaml", "--explain", "traffic.route_error_rate"]);
    assert_eq!(code, 2);
    for words in
        ["critical  VirtualService shop/cart", "istio_requests_total{reporter=", " samples, prometheus"]
    {
        assert!(out.contains(words), "{words:?} is not in\n{out}");
    }
    let (code, _) = cluster.bare(&["--explain", "data_plane.proxy_liveness"]);
    assert_eq!(code, 0, "what is explained is healthy");
}

// Mutations: a series that is about the mesh instead of what its labels name; a file that replaces the shipped
// indicators instead of changing them.
#[test]
fn users_add_indicators_of_their_own_and_change_bands() {
    let cluster = Cluster::with(&[]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let policies = cluster.at().join("policies");
    fs::create_dir(&policies).expect("the folder can be written");
    fs::copy(root.join("policies/observe.yaml"), policies.join("observe.yaml")).expect("it is shipped");
    let mine = "apiVersion: meshmend.dev/v1alpha1\nkind: Indicators\nindicators:\n  \
        - id: shop.requests\n    unit: /s\n    bands: { warning: 0.02, critical: 0.01 }\n    minSamples: 5\n    \
        window: 1m\n    readings:\n      - expression: 'sum by (destination_service) (rate(istio_requests_total[$window]))'\n        \
        samples: 'sum by (destination_service) (increase(istio_requests_total[$window]))'\n  \
        - { id: control_plane.service_discovery, bands: { warning: 1.5, critical: 1.2 } }\n";
    fs::write(policies.join("mine.yaml"), mine).expect("the folder can be written");
    let mut config = fs::read_to_string(cluster.at().join("meshmend.yaml")).expect("it was written");
    config.push_str("policies: policies\n");
    fs::write(cluster.at().join("meshmend.yaml"), config).expect("the folder can be written");
    let (code, mesh) = cluster.counted();
    assert_eq!((code, moved(&mesh).len()), (2, 1), "{:?}", moved(&mesh));
    assert_eq!(one(&mesh, "control_plane.service_discovery")["level"], "critical");
    let requests = one(&mesh, "shop.requests");
    assert_eq!(requests["level"], "healthy", "{requests}");
    let readings = requests["readings"].as_array().expect("a list").iter();
    let mut names: Vec<&str> = readings.map(|one| one["subject"]["name"].as_str().expect("a name")).collect();
    names.sort_unstable();
    assert_eq!(names, ["cart", "catalog", "outbox", "payment", "web"]);
}

// Mutations: another answer than the command's own; proxies that an agent without that source never asked as
// healthy; a question without a token.
#[test]
fn a_running_agent_tells_how_the_mesh_is() {
    let cluster = Cluster::with(&["bad_route"]);
    let mut config = fs::read_to_string(cluster.at().join("meshmend.yaml")).expect("it was written");
    config.push_str("listen: { api: \"127.0.0.1:0\", probes: \"127.0.0.1:0\" }\n");
    fs::write(cluster.at().join("meshmend.yaml"), config).expect("the folder can be written");
    let args = ["run", "--config", "meshmend.yaml", "--kubeconfig", "sim.kubeconfig"];
    let agent = Process::start(cluster.at(), &args);
    let ask =
        |more: &[&str]| ran(cluster.at(), &[&["health", "--server", "--journal", "j.db"], more].concat());
    let mesh: Value = within("the agent tells that the route is critical", || {
        let (code, out, _) = ask(&["-o", "json"]);
        (code == 2).then(|| serde_json::from_str(&out).expect("JSON"))
    });
    assert_eq!(one(&mesh, "traffic.route_error_rate")["level"], "critical");
    assert_eq!(one(&mesh, "data_plane.proxy_readiness")["level"], "healthy");
    let liveness = one(&mesh, "data_plane.proxy_liveness");
    assert_eq!(
        (&liveness["level"], &liveness["why"]),
        (&json!("unknown"), &json!("no source proxies is configured"))
    );
    let (code, out, _) = ask(&["--explain", "traffic.route_error_rate"]);
    assert!(code == 2 && out.contains("critical  VirtualService shop/cart"), "{out}");
    let (code, out, _) = ask(&[]);
    assert!(code == 2 && out.starts_with("the mesh is critical: "), "{out}");

    // Who watches it sees one document a line. Mutations: ending with the agent; saying nothing.
    let args = ["health", "--server", "--journal", "j.db", "--watch", "-o", "json"];
    let _watch = Process::start(cluster.at(), &args);
    let told = || fs::read_to_string(cluster.at().join("health.log")).expect("it has a log");
    within("two looks", || (documents(&told()).len() >= 2).then_some(()));
    drop(agent);
    within("it is told that nothing can be read", || {
        (told().matches("not read, tried again in 5 s: ").count() >= 2).then_some(())
    });
}

/// The overviews of a log, each on a line of its own.
fn documents(log: &str) -> Vec<Value> {
    let whole = log.lines().filter(|line| line.starts_with('{'));
    let whole = whole.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    whole.filter(|mesh| mesh["components"].is_array()).collect()
}

// Mutations: documents of many lines; a table or other words among them; the same look twice.
#[test]
fn whoever_watches_reads_one_document_a_line() {
    let cluster = Cluster::with(&["hung_proxy"]);
    let args = ["health", "--kubeconfig", "sim.kubeconfig", "--watch", "-o", "json"];
    let _watch = Process::start(cluster.at(), &args);
    let log = || fs::read_to_string(cluster.at().join("health.log")).expect("it has a log");
    let looks = within("two looks", || Some(documents(&log())).filter(|looks| looks.len() >= 2));
    assert_eq!(log().lines().filter(|line| !line.starts_with('{')).count(), 0, "{}", log());
    assert_ne!(looks[0]["at"], looks[1]["at"]);
}

#[test]
fn health_is_told_to_those_who_may_read() {
    const OBSERVE: &str =
        "apiVersion: meshmend.dev/v1alpha1\nkind: Policy\nmetadata: { name: x }\nspec: { mode: observe }\n";
    story(|| async {
        let stage = Stage::under(OBSERVE).await;
        stage.until_proven().await;
        let (status, mesh) = stage.call(Role::Read, "/v1/health", None).await;
        assert_eq!(status, 200, "{mesh}");
        assert_eq!(one(&mesh, "traffic.success_rate")["level"], "healthy");
        // Mutation: a cache that never ends.
        let (_, again) = stage.call(Role::Read, "/v1/health", None).await;
        stage.wait(11).await;
        let (_, later) = stage.call(Role::Read, "/v1/health", None).await;
        assert!(again["at"] == mesh["at"] && later["at"] != mesh["at"]);
        assert_eq!(stage.call(Role::Intake, "/v1/health", None).await.0, 403);
    });
}

// Mutations: a band of the catalogue that lies where a healthy mesh is, such as warning from 0.9 on for
// traffic.latency_p99, from 0.9985 down for traffic.success_rate, or from 5 ms on for control_plane.api_latency_p99;
// a share whose parts look back over different windows; a simulation whose pushes come in heaps.
#[test]
fn a_quiet_mesh_is_never_said_to_be_ill() {
    const OBSERVE: &str =
        "apiVersion: meshmend.dev/v1alpha1\nkind: Policy\nmetadata: { name: x }\nspec: { mode: observe }\n";
    story(|| async {
        let stage = Stage::under(OBSERVE).await;
        for minute in 0..=60 {
            let (status, mesh) = stage.call(Role::Read, "/v1/health", None).await;
            assert_eq!((status.as_u16(), ill(&mesh)), (200, Vec::new()), "after {minute} half minutes");
            if minute == 60 {
                // The agent of this stage asks neither proxies nor istiod by itself.
                let asked = [
                    "config.distribution",
                    "config.last_applied",
                    "config.rejections",
                    "control_plane.replicas_answering",
                    "data_plane.proxy_liveness",
                    "data_plane.proxy_state",
                    "traffic.ejected_hosts",
                ];
                let told = levels(&mesh).into_iter().filter(|(_, level)| level == "healthy");
                let told: Vec<String> = told.map(|(id, _)| id).collect();
                let expected: Vec<&str> = TOLD.into_iter().filter(|id| !asked.contains(id)).collect();
                assert_eq!(told, expected);
            }
            stage.wait(30).await;
        }
        assert!(stage.incidents().await.is_empty());
    });
}
