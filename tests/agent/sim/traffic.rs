//! Traffic under load and limits, as Prometheus tells it with the queries of the catalogue.

use meshmend::model::indicator::Overflow;
use meshmend::rules::{Queries, Reader, RuleFiles, Rules};
use meshmend::sim::{Fault, Sim};
use serde_json::json;
use std::sync::Arc;

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

// Mutation: answering an empty vector to what is not understood.
#[test]
fn what_is_not_understood_is_an_error_and_a_stranger_is_absent() {
    story(|| async {
        let sim = new(1);
        wait(5).await;
        for odd in [
            "up",
            "sum(increase(some_total[1m]))",
            "sum by (a) (istio_requests_total)",
            "deriv(istio_requests_total[1m])",
            "sum by (a) (increase(istio_requests_total[1y]))",
        ] {
            assert!(query(&sim, odd).await.is_err(), "{odd}");
        }
        let nobody =
            "sum by (destination_service) (increase(istio_requests_total{destination_service=\"x\"}[1m]))";
        assert_eq!(query(&sim, nobody).await, Ok(Vec::new()));
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
