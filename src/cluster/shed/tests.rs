//! The way back is exact, limits only tighten, and what one patch cannot reach is refused.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::cluster::limits::tightest;
use crate::model::merge::merged;

fn pool() -> impl Strategy<Value = Option<Value>> {
    let number = || prop::option::of(0..20_u32);
    prop::option::of((number(), number(), number(), any::<bool>()).prop_map(|(conn, wait, run, timeout)| {
        let mut pool = json!({});
        for (protocol, key, limit) in [
            ("tcp", "maxConnections", conn),
            ("http", "http1MaxPendingRequests", wait),
            ("http", "http2MaxRequests", run),
        ] {
            if let Some(limit) = limit {
                pool[protocol][key] = Value::from(limit);
            }
        }
        if timeout {
            pool["tcp"]["connectTimeout"] = "3s".into();
        }
        pool
    }))
}

fn policy() -> impl Strategy<Value = Option<Value>> {
    let ports = prop::option::of(prop::collection::vec((1..4_u32, pool()), 0..3));
    prop::option::of((pool(), ports, any::<bool>()).prop_map(|(pool, ports, outlier)| {
        let mut policy = json!({});
        if let Some(pool) = pool {
            policy["connectionPool"] = pool;
        }
        if outlier {
            policy["outlierDetection"] = json!({});
        }
        if let Some(ports) = ports {
            let ports = ports.into_iter().map(|(port, pool)| {
                let mut block = json!({"port": {"number": port}});
                if let Some(pool) = pool {
                    block["connectionPool"] = pool;
                }
                block
            });
            policy["portLevelSettings"] = ports.collect();
        }
        policy
    }))
}

fn spec() -> impl Strategy<Value = Value> {
    (policy(), prop::option::of(prop::collection::vec(policy(), 0..3))).prop_map(|(top, subsets)| {
        let mut spec = json!({"host": "cart"});
        if let Some(top) = top {
            spec["trafficPolicy"] = top;
        }
        if let Some(subsets) = subsets {
            let subsets = subsets.into_iter().enumerate().map(|(at, policy)| {
                let mut subset = json!({"name": format!("v{at}"), "labels": {"version": at.to_string()}});
                if let Some(policy) = policy {
                    subset["trafficPolicy"] = policy;
                }
                subset
            });
            spec["subsets"] = subsets.collect();
        }
        spec
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    let limit = || prop::option::of(1..12_u32);
    (limit(), limit(), limit())
        .prop_map(|(max_connections, max_pending, max_requests)| Limits {
            max_connections,
            max_pending,
            max_requests,
        })
        .prop_filter("some limit", |limits| *limits != Limits::default())
}

proptest! {
    // Mutation: an undo that only removes limits, or one made before a block was tightened, leaves some of
    // them behind.
    #[test]
    fn the_way_back_leads_exactly_back(spec in spec(), limits in limits()) {
        if let Ok(shed) = tighten(&spec, &limits) {
            prop_assert_ne!(&shed.spec, &spec);
            let back = merged(&shed.spec, &shed.undo);
            prop_assert_eq!(serde_json::to_string(&back).unwrap(), serde_json::to_string(&spec).unwrap());
        }
    }

    // Mutation: writing the limit where a lower one stands loosens it.
    #[test]
    fn limits_only_tighten_and_a_second_time_changes_nothing(spec in spec(), limits in limits()) {
        if let Ok(shed) = tighten(&spec, &limits) {
            let (was, now) = (tightest(&spec), tightest(&shed.spec));
            for (was, now, wanted) in [
                (was.max_connections, now.max_connections, limits.max_connections),
                (was.max_pending, now.max_pending, limits.max_pending),
                (was.max_requests, now.max_requests, limits.max_requests),
            ] {
                prop_assert_eq!(now, was.into_iter().chain(wanted).min());
            }
            prop_assert!(tighten(&shed.spec, &limits).is_err());
        }
    }
}

const FIVE: Limits = Limits { max_connections: None, max_pending: Some(1), max_requests: Some(5) };

#[test]
fn every_block_that_takes_nothing_from_the_top_is_tightened_and_named() {
    let spec = json!({
        "host": "cart",
        "trafficPolicy": {
            "connectionPool": {"http": {"http2MaxRequests": 3}},
            "portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"simple": "RANDOM"}}],
        },
        "subsets": [
            {"name": "v1", "trafficPolicy": {"connectionPool": {"tcp": {"connectTimeout": "3s"}}}},
            {"name": "v2", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}},
            {"name": "v3", "trafficPolicy": {"portLevelSettings": [
                {"port": {"number": 81}, "connectionPool": {"http": {"http2MaxRequests": 0, "http1MaxPendingRequests": 9}}}]}},
            {"name": "v4"},
        ],
    });
    let shed = tighten(&spec, &FIVE).unwrap();
    assert_eq!(
        shed.blocks,
        [
            "the rule: http1MaxPendingRequests 1",
            "port 80 of the rule: http1MaxPendingRequests 1, http2MaxRequests 5",
            "subset v1: http1MaxPendingRequests 1, http2MaxRequests 5",
            "port 81 of subset v3: http1MaxPendingRequests 1 (was 9), http2MaxRequests 5",
        ]
    );
    // Mutation: giving a subset without a pool one of its own takes the rest of the top from it.
    assert_eq!(shed.spec["subsets"][1], spec["subsets"][1]);
    assert_eq!(shed.spec["subsets"][3], spec["subsets"][3]);
    assert_eq!(shed.spec["trafficPolicy"]["connectionPool"]["http"]["http2MaxRequests"], 3);
}

#[test]
fn what_cannot_be_shed_is_refused() {
    let spec = json!({"host": "cart"});
    // Mutation: writing zero unsets every limit.
    assert!(tighten(&spec, &Limits { max_requests: Some(0), ..FIVE }).is_err());
    assert!(tighten(&spec, &Limits::default()).is_err());
    let text = json!({"trafficPolicy": {"connectionPool": {"http": {"http2MaxRequests": "7"}}}});
    assert!(tighten(&text, &FIVE).unwrap_err().contains("is no number"));
    let null = json!({"host": "cart", "subsets": [{"name": "v1", "labels": null}]});
    assert!(tighten(&null, &FIVE).unwrap_err().contains("null"));
    let fresh = tighten(&json!({"host": "cart.shop.svc.cluster.local"}), &FIVE).unwrap().spec;
    let pool = json!({"http": {"http1MaxPendingRequests": 1, "http2MaxRequests": 5}});
    assert_eq!(
        fresh,
        json!({"host": "cart.shop.svc.cluster.local", "trafficPolicy": {"connectionPool": pool}})
    );
}
