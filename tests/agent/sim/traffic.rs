//! Traffic under load and limits, as Prometheus tells it with the queries of the catalogue.

use meshmend::model::indicator::Overflow;
use meshmend::rules::{Queries, Reader, RuleFiles, Rules};
use meshmend::sim::{Fault, Sim};
use serde_json::json;
use std::sync::Arc;
use tower::ServiceExt as _;

use super::{merge, new, query, wait};
use crate::healing::story;

const HOST: &str = "catalog.shop.svc.cluster.local";
const RULE: &str = "/apis/networking.istio.io/v1/namespaces/shop/destinationrules/catalog";

fn requests(more: &str) -> String {
    let hosts = HOST.replace('.', "\\\\.");
    format!(
        "sum by (destination_service) (increase(istio_requests_total{{reporter=\"source\",destination_service=~\"{hosts}\"{more}}}[20s]))"
    )
}

async fn value(sim: &Arc<Sim>, text: &str) -> f64 {
    let found = query(sim, text).await.expect("it is answered");
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    assert_eq!(found[0].0, json!({ "destination_service": HOST }), "{text}");
    found[0].1
}

async fn share(sim: &Arc<Sim>, of: &str, among: &str) -> f64 {
    let bad = query(sim, &requests(of)).await.expect("it is answered");
    bad.first().map_or(0.0, |(_, bad)| *bad) / value(sim, &requests(among)).await
}

const TURNED_AWAY: &str = ",response_flags=~\"(.*,)?(UO|UT|UF|URX)(,.*)?\"";
const ADMITTED: &str = ",response_flags!~\"(.*,)?UO(,.*)?\"";
const FAILED: &str = ",response_flags!~\"(.*,)?UO(,.*)?\",response_code=~\"5..\"";

/// The queries of the catalogue for Envoy's overflow counters.
fn overflow_queries() -> Overflow<String> {
    let rules = Rules::load(&RuleFiles::embedded(), None).expect("the embedded rules are right").rules;
    let indicator = rules.indicators.get("traffic.overload_share").expect("it is in the catalogue");
    let Reader::Prometheus(queries) = &indicator.reader else { panic!("it is read from Prometheus") };
    let overflow = queries.overflow.as_ref().expect("it reads the counters");
    let fill = |template: &str| Queries::fill_in(template, &[HOST.to_owned()], 20);
    Overflow { pending: fill(&overflow.pending), active: fill(&overflow.active) }
}

// Mutations: a queue that does not grow; limits that are not looked at, or looked at only on top.
#[test]
fn overload_times_out_until_limits_turn_the_rest_away() {
    story(|| async {
        let sim = new(1);
        wait(30).await;
        assert!(share(&sim, TURNED_AWAY, "").await < 0.001);
        let subject = sim.inject(Fault::Overload).subject;
        assert_eq!((subject.kind.as_str(), subject.name.as_str()), ("Service", "catalog"));
        wait(40).await;
        assert!(share(&sim, TURNED_AWAY, "").await > 0.5);
        assert!(share(&sim, FAILED, ADMITTED).await > 0.5);
        let hosts = HOST.replace('.', "\\\\.");
        let concurrency = format!(
            "sum by (destination_service) (increase(istio_request_duration_milliseconds_sum{{reporter=\"source\",destination_service=~\"{hosts}\"}}[20s])) / 1000 / 20"
        );
        let under_way = value(&sim, &concurrency).await;
        let clients = format!(
            "count by (destination_service) (sum by (destination_service, pod) (increase(istio_requests_total{{reporter=\"source\",destination_service=~\"{hosts}\"}}[20s])) > 0)"
        );
        let clients = value(&sim, &clients).await;
        assert_eq!(clients, 3.0, "the pods of web");
        // A subset's own pool beats what stands on top: nothing changes.
        let own = json!({ "tcp": { "connectTimeout": "1s" } });
        let limit = (under_way * 0.7 / clients).floor();
        let shed = |subsets: bool| {
            let mut policy = json!({ "spec": { "trafficPolicy": { "connectionPool": { "http": { "http2MaxRequests": limit } } } } });
            let of = |name: &str| match subsets {
                true => {
                    json!({ "name": name, "labels": { "version": name }, "trafficPolicy": { "connectionPool": own } })
                }
                false => json!({ "name": name, "labels": { "version": name } }),
            };
            policy["spec"]["subsets"] = json!([of("v1"), of("v2")]);
            policy
        };
        merge(&sim, RULE, &shed(true)).await;
        wait(40).await;
        assert!(share(&sim, FAILED, ADMITTED).await > 0.5);
        merge(&sim, RULE, &shed(false)).await;
        wait(40).await;
        assert!(share(&sim, FAILED, ADMITTED).await < 0.01, "those let in are answered");
        assert!(share(&sim, ",response_flags=\"UO\",response_code=\"503\"", "").await > 0.2);
        assert!(sim.health(Fault::Overload) > 0.99);
        // Mutation: a pattern in the catalogue that does not find the host in a cluster's name.
        let overflow = overflow_queries();
        assert!(value(&sim, &overflow.active).await > 100.0);
        assert_eq!(value(&sim, &overflow.pending).await, 0.0, "it is exported, and nobody waited");
        // The rush ends by itself, and then nobody is turned away.
        wait(480).await;
        assert!(share(&sim, TURNED_AWAY, "").await < 0.001);
    });
}

// Mutation: buckets that do not hold what lies below them.
#[test]
fn the_slowest_are_found_in_the_histogram() {
    story(|| async {
        let sim = new(1);
        let hosts = HOST.replace('.', "\\\\.");
        let p99 = format!(
            "histogram_quantile(0.99, sum by (destination_service, le) (increase(istio_request_duration_milliseconds_bucket{{reporter=\"source\",destination_service=~\"{hosts}\"}}[20s])))"
        );
        wait(30).await;
        let calm = value(&sim, &p99).await;
        assert!((25.0..=100.0).contains(&calm), "{calm}");
        sim.inject(Fault::Overload);
        wait(40).await;
        assert!(value(&sim, &p99).await > 2_500.0);
    });
}

// Mutations: answering an empty vector to what is not understood; a week before that is the same as now.
#[test]
fn what_is_not_understood_is_an_error_and_a_stranger_is_absent() {
    story(|| async {
        let sim = new(1);
        wait(5).await;
        for odd in ["sum by (a istio_requests_total)", "deriv(istio_requests_total[1m])", "up @ 5", ""] {
            assert!(query(&sim, odd).await.is_err(), "{odd}");
        }
        for absent in [
            "sum by (destination_service) (increase(istio_requests_total{destination_service=\"x\"}[1m]))",
            "sum(increase(some_total[1m]))",
            "sum(rate(istio_requests_total[5m] offset 1w))",
        ] {
            assert_eq!(query(&sim, absent).await, Ok(Vec::new()), "{absent}");
        }
        let proxies = query(&sim, "count(up{job=\"envoy-stats\"} == 1)").await.expect("it is answered");
        assert_eq!(proxies, [(json!({}), 18.0)]);
    });
}

// Mutations: a fault that moves nothing but traffic; pushes that go on without an istiod; a rejection that is
// counted among what succeeded.
#[test]
fn faults_move_what_the_control_plane_counts() {
    story(|| async {
        let one = async |sim: &Arc<Sim>, text: &str| {
            let found = query(sim, text).await.expect("it is answered");
            found.first().map(|(_, value)| *value)
        };
        const PUSHES: &str = "sum(increase(pilot_xds_pushes[5m]))";
        const REJECTS: &str = "sum(increase(pilot_total_xds_rejects[5m])) or vector(0)";
        let sim = new(1);
        wait(30).await;
        // Three proxies came back, and each was sent four kinds of configuration.
        let quiet = one(&sim, PUSHES).await.expect("it is counted");
        assert!((8.0..=17.0).contains(&quiet), "{quiet}");
        assert_eq!(one(&sim, REJECTS).await, Some(0.0));
        sim.inject(Fault::RejectedConfiguration);
        wait(10).await;
        assert!(one(&sim, REJECTS).await >= Some(0.9));
        assert!(one(&sim, PUSHES).await >= Some(quiet + 60.0), "all eighteen were sent something");

        let sim = new(1);
        sim.inject(Fault::HungProxy);
        wait(5).await;
        assert_eq!(one(&sim, "count(up{job=\"envoy-stats\"} == 1)").await, Some(17.0));
        sim.inject(Fault::ControlPlaneDown);
        wait(400).await;
        assert_eq!(one(&sim, PUSHES).await, Some(0.0));
        assert_eq!(one(&sim, "count(up{job=\"istiod\"} == 1)").await, None);
        assert_eq!(one(&sim, "sum(container_memory_working_set_bytes{container=\"discovery\"})").await, None);
    });
}

// Mutations: a range without its last step; one that tells the same value at each step.
#[test]
fn a_range_is_told_step_by_step_however_it_is_asked_for() {
    story(|| async {
        let sim = new(1);
        wait(60).await;
        // A minute after its start.
        let now = 1_767_225_660;
        let form =
            format!("query=sum(increase(istio_requests_total[10s]))&start={}&end={now}&step=10", now - 30);
        let answers = [
            ("GET", format!("/api/v1/query_range?{form}"), ""),
            ("POST", "/api/v1/query_range".to_owned(), &form),
        ];
        let mut told = Vec::new();
        for (method, path, body) in answers {
            let path = path.replace('[', "%5B").replace(']', "%5D");
            let request = http::Request::builder().method(method).uri(path);
            let request = request.body(bytes::Bytes::from(body.to_owned())).expect("a request");
            let answer = sim.prometheus().oneshot(request).await.expect("an answer");
            let answer: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
            assert_eq!(answer["data"]["resultType"], "matrix", "{answer}");
            told.push(answer["data"]["result"][0]["values"].clone());
        }
        assert_eq!(told[0], told[1]);
        let times: Vec<f64> =
            told[0].as_array().expect("a list").iter().map(|one| one[0].as_f64().expect("a time")).collect();
        assert_eq!(times, [now - 30, now - 20, now - 10, now].map(f64::from));
        assert_ne!(told[0][0][1], told[0][3][1]);
    });
}

// Mutation: a route that is cured while nothing helps.
#[test]
fn where_nothing_helps_a_route_stays_bad_after_its_rollback() {
    story(|| async {
        let sim = new(1);
        wait(5).await;
        sim.inject(Fault::NotHelping);
        let path = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/cart";
        let good = super::get(&sim, path).await["spec"].clone();
        sim.inject(Fault::BadRoute);
        merge(&sim, path, &json!({ "spec": good })).await;
        wait(20).await;
        assert!(sim.error_rate("cart.shop.svc.cluster.local", 10) > 0.5);
        sim.lift(Fault::NotHelping);
        wait(20).await;
        assert!(sim.error_rate("cart.shop.svc.cluster.local", 10) < 0.01);
    });
}
