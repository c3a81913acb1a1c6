//! The stand-in with a real Envoy: what is written is what Envoy does, and what Envoy says is what is told.
//!
//! `MESHMEND_TEST_ENVOY` names the binary. Everything listens on loopback addresses of the run's own.

mod api;
mod stage;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use stage::{HOST, Stage, rule, split};

/// Names Envoy's binary.
const VARIABLE: &str = "MESHMEND_TEST_ENVOY";
const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
/// Each wait of the story is shorter.
const LIMIT: Duration = Duration::from_secs(90);

/// The trials of this file.
pub(crate) fn trials() -> Vec<Trial> {
    let envoy = std::env::var_os(VARIABLE).map(PathBuf::from);
    let ignored = envoy.is_none();
    if ignored {
        say_what_is_left_out();
    }
    let trial = Trial::test("a_real_envoy_takes_what_the_stand_in_sends", move || {
        let envoy = envoy.ok_or_else(|| Failed::from(format!("{VARIABLE} is not set: run tests/run.sh")))?;
        play(envoy).map_err(|error| Failed::from(format!("{error:#}")))
    });
    vec![trial.with_ignored_flag(ignored)]
}

fn say_what_is_left_out() {
    let text =
        format!("left out: the mesh with a real Envoy, because {VARIABLE} is not set; run tests/run.sh");
    writeln!(std::io::stderr(), "{text}").ok();
}

fn play(envoy: PathBuf) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let played = runtime.block_on(async {
        let mut stage = Stage::build(envoy).await?;
        let told = tokio::time::timeout(LIMIT, story(&mut stage)).await;
        let told = told.context("the story did not end").flatten();
        told.map_err(|error| error.context(stage.log()))
    });
    runtime.shutdown_background();
    played
}

// Mutations that make it fail: the files of load assignments not written; an acknowledgement of what was sent
// instead of what Envoy has; a refusal taken as an acknowledgement; a frozen Envoy taken as refusing.
async fn story(stage: &mut Stage) -> anyhow::Result<()> {
    stage.restart().await?;
    stage.launch().await?;
    let answers = stage.send(100, HOST, "/").await?;
    ensure!(answers["v1"] + answers["v2"] == 100, "half and half: {answers:?}");
    ensure!(answers["v1"] > 20 && answers["v2"] > 20, "half and half: {answers:?}");
    for host in ["server", "server.shop:80", "server.shop.svc", "server:8081"] {
        ensure!(
            stage.send(1, host, "/").await?.keys().all(|who| who.starts_with('v')),
            "{host} leads nowhere"
        );
    }
    let lost = stage.send(1, "nobody.shop.svc.cluster.local", "/").await?;
    ensure!(lost.keys().all(|who| who == "503"), "a host that nobody has: {lost:?}");

    stage.api.put(split(0, 100));
    stage.next("RouteConfiguration").await?;
    let answers = stage.send(50, HOST, "/").await?;
    ensure!(answers["v2"] == 50, "all to v2: {answers:?}");

    everything(stage).await?;
    overload(stage).await?;
    refusal(stage).await?;
    freeze(stage).await?;
    count(stage).await?;

    let gone = |syncz: &Value, _: &str| syncz.as_array().is_some_and(Vec::is_empty);
    stage.kill().await?;
    stage.wait("syncz forgets a proxy that is down", gone).await?;
    stage.launch().await?;
    let answers = stage.send(10, HOST, "/").await?;
    ensure!(answers["v1"] == 10, "a new Envoy has all of it anew: {answers:?}");
    stage.withdraw()?;
    stage.wait("syncz forgets a proxy that was taken away", gone).await
}

/// Every option that is translated is one that Envoy takes, and does what it says.
async fn everything(stage: &mut Stage) -> anyhow::Result<()> {
    stage.api.put(rule(json!({
        "connectionPool": {
            "tcp": {"maxConnections": 110, "connectTimeout": "1200ms", "maxConnectionDuration": "300s",
                    "idleTimeout": "90s", "tcpKeepalive": {"probes": 3, "time": "7200s", "interval": "75s"}},
            "http": {"http1MaxPendingRequests": 120, "http2MaxRequests": 130, "maxRequestsPerConnection": 14,
                     "maxRetries": 15, "idleTimeout": "60s", "h2UpgradePolicy": "DO_NOT_UPGRADE"}},
        "outlierDetection": {"consecutiveGatewayErrors": 30, "consecutive5xxErrors": 40, "interval": "7s",
                             "splitExternalLocalOriginErrors": true, "consecutiveLocalOriginFailures": 6,
                             "baseEjectionTime": "31s", "maxEjectionPercent": 55, "minHealthPercent": 45},
        "loadBalancer": {"simple": "RANDOM"}})));
    stage.next("Cluster").await?;
    stage.api.put(every_route());
    stage.next("RouteConfiguration").await?;
    for (path, should) in [
        ("/teapot", "418"),
        ("/old", "302"),
        ("/abort", "555"),
        ("/late", "504"),
        ("/picky", "v2"),
        ("/picky?beta=1", "v1"),
        ("/else", "v2"),
    ] {
        let answers = stage.send(3, HOST, path).await?;
        ensure!(answers.get(should) == Some(&3), "{path} answers {answers:?}, not {should}");
    }
    stage.api.put(split(0, 100));
    stage.next("RouteConfiguration").await
}

fn every_route() -> Value {
    let to = |subset: &str| json!([{"destination": {"host": "server", "subset": subset}}]);
    let at = |prefix: &str| json!([{"uri": {"prefix": prefix}}]);
    json!({"kind": "VirtualService", "metadata": {"namespace": "shop", "name": "server"},
           "spec": {"hosts": ["server"], "http": [
        {"match": at("/teapot"), "directResponse": {"status": 418, "body": {"string": "short and stout"}}},
        {"match": [{"uri": {"exact": "/old"}}],
         "redirect": {"uri": "/new", "authority": "other.shop", "redirectCode": 302}},
        {"match": at("/abort"), "route": to("v1"),
         "fault": {"abort": {"percentage": {"value": 100}, "httpStatus": 555}}},
        {"match": at("/late"), "route": to("v1"), "rewrite": {"uri": "/slow"}, "timeout": "50ms",
         "retries": {"attempts": 0}},
        {"name": "beta", "route": to("v1"), "match": [
            {"uri": {"regex": "/pick.*"}, "queryParams": {"beta": {"exact": "1"}}, "method": {"exact": "GET"},
             "withoutHeaders": {"x-old": {}}},
            {"headers": {"x-canary": {"prefix": "y"}}, "ignoreUriCase": true, "uri": {"prefix": "/P"}}]},
        {"route": to("v2"), "retries": {"attempts": 2, "perTryTimeout": "2s", "retryOn": "5xx,reset"},
         "fault": {"delay": {"percentage": {"value": 1}, "fixedDelay": "1ms"}},
         "mirror": {"host": "server", "subset": "v1"}, "mirrorPercentage": {"value": 10},
         "headers": {"request": {"set": {"x-a": "1"}, "add": {"x-b": "2"}, "remove": ["x-c"]},
                     "response": {"remove": ["x-d"]}}},
    ]}})
}

/// Limits are those of the rule, and what Envoy turns away shows in both kinds of metrics.
async fn overload(stage: &mut Stage) -> anyhow::Result<()> {
    stage.api.put(rule(
        json!({"connectionPool": {"http": {"http2MaxRequests": 1, "http1MaxPendingRequests": 1}}}),
    ));
    stage.next("Cluster").await?;
    let answers = stage.at_once(20, "/slow").await?;
    ensure!(answers.get("503").is_some_and(|shed| *shed >= 10), "little was turned away: {answers:?}");
    stage
        .wait("turned away is counted", |_, metrics| {
            let overflow = |line: &&str| line.contains("_overflow{") && !line.ends_with(" 0");
            metrics.contains("response_flags=\"UO\"")
                && metrics
                    .lines()
                    .filter(overflow)
                    .any(|line| line.contains("cluster_name=\"outbound|80|v2|"))
        })
        .await?;
    stage.api.put(rule(Value::Null));
    stage.next("Cluster").await
}

/// A listener that Envoy does not know how to build: told as refused, and the old one goes on.
async fn refusal(stage: &mut Stage) -> anyhow::Result<()> {
    let value = json!({"name": "example.unregistered", "typed_config":
        {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": "type.googleapis.com/example.Unregistered"}});
    let filter = json!({"kind": "EnvoyFilter", "metadata": {"namespace": "shop", "name": "broken"},
        "spec": {"workloadSelector": {"labels": {"app": "client"}},
                 "configPatches": [{"applyTo": "HTTP_FILTER", "patch": {"operation": "INSERT_BEFORE", "value": value}}]}});
    stage.api.put(filter.clone());
    stage
        .wait("a refused listener shows its error", |syncz, metrics| {
            let listener = &syncz[0]["resources"]["type.googleapis.com/envoy.config.listener.v3.Listener"];
            let told = listener["lastError"].as_str().unwrap_or_default();
            told.starts_with("Error adding/updating listener(s)")
                && told.contains("example.unregistered")
                && listener["sent"] != listener["acked"]
                && metrics.contains("pilot_total_xds_rejects{type=\"lds\"} 1")
        })
        .await?;
    let answers = stage.send(10, HOST, "/").await?;
    ensure!(answers["v2"] == 10, "the old listener goes on: {answers:?}");
    stage.restart().await?;
    stage
        .wait("a new stand-in hears of the refusal too", |syncz, _| syncz.to_string().contains("lastError"))
        .await?;
    stage.api.delete(&filter);
    stage.next("Listener").await?;
    stage
        .wait("the error is gone, its gauge is not", |syncz, metrics| {
            !syncz.to_string().contains("lastError")
                && metrics.contains("pilot_xds_lds_reject{err=\"Internal\",node=\"client-1.shop\"} 1")
        })
        .await?;
    stage.api.put(json!({"kind": "VirtualService", "metadata": {"namespace": "shop", "name": "server"},
        "spec": {"hosts": ["server"], "http": [{"match": [{"uri": {"regex": "("}}], "route": [{"destination": {"host": "server"}}]}]}}));
    stage
        .wait("a refused route shows its error", |syncz, metrics| {
            let error = &syncz[0]["resources"][ROUTES]["lastError"];
            error.is_string() && metrics.contains("pilot_total_xds_rejects{type=\"rds\"} 1")
        })
        .await?;
    stage.api.put(split(0, 100));
    stage.next("RouteConfiguration").await?;
    // What Envoy refused of the one before it is nothing that a new stand-in sent.
    stage.restart().await?;
    stage.synced().await
}

/// A frozen Envoy: what it was sent is not acknowledged and not refused, its readiness and metrics hang.
async fn freeze(stage: &mut Stage) -> anyhow::Result<()> {
    stage.signal("STOP")?;
    stage.api.put(split(100, 0));
    let route = |syncz: &Value| syncz[0]["resources"][ROUTES].clone();
    stage.wait("a frozen proxy is behind", |syncz, _| route(syncz)["sent"] != route(syncz)["acked"]).await?;
    ensure!(
        stage.ready(Duration::from_millis(500)).await.is_err(),
        "readiness answers though Envoy is frozen"
    );
    stage
        .wait("a frozen proxy has no metrics and no error", |syncz, metrics| {
            metrics.contains("istio_agent_scrape_failures_total{type=\"envoy\"}")
                && !metrics.contains("istio_requests_total")
                && !syncz.to_string().contains("lastError")
                && route(syncz)["sent"] != route(syncz)["acked"]
        })
        .await?;
    stage.signal("CONT")?;
    stage.synced().await
}

/// Every request that was sent is counted once, on the side of each proxy that saw it.
async fn count(stage: &mut Stage) -> anyhow::Result<()> {
    let answer = stage.inbound().await?;
    ensure!(answer == "client", "the application behind the sidecar answers: {answer}");
    let sent = stage.sent;
    stage
        .wait("every request is counted once", |_, metrics| {
            let of = |reporter: &str| {
                let reporter = format!("reporter=\"{reporter}\"");
                let lines = metrics.lines().filter(|line| line.starts_with("istio_requests_total"));
                let ours = lines.filter(|line| line.contains(&reporter));
                ours.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum::<usize>()
            };
            of("source") == sent && of("destination") == 1
        })
        .await?;
    stage
        .wait("workloads are named", |_, metrics| {
            metrics.lines().any(|line| {
                line.contains("source_workload=\"client\"")
                    && line.contains("destination_workload=\"server-v2\"")
            })
        })
        .await
}
