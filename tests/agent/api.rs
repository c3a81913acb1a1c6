//! The API: what is taken, what is refused and how, and that an answer means that it is durable.

use axum::body::Body;
use http::Request;
use meshmend::config::Role;
use meshmend::journal::Reader;
use meshmend::model::incident::Phase;
use meshmend::sim::Fault;
use serde_json::{Value, json};
use std::ops::ControlFlow;

use crate::healing::{ENFORCE, alert, story};
use crate::stage::{Stage, TOKENS};

const ALERTS: &str = "/v1/alerts/alertmanager";

fn records(stage: &Stage) -> Vec<meshmend::model::record::Record> {
    let mut found = Vec::new();
    let reader = Reader::open(&stage.journal()).expect("readers never lock");
    let read = reader.read(1, &mut |record, _| {
        found.push(record);
        ControlFlow::Continue(())
    });
    read.expect("the journal is whole");
    found
}

#[test]
fn an_alert_starts_one_case_however_often_it_is_sent() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        stage.until_proven().await;
        stage.sim.inject(Fault::BadRoute);
        stage.wait(5).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            let (status, answer) = stage.call(Role::Intake, ALERTS, Some(&alert("f1", "firing"))).await;
            assert_eq!(status, 200);
            ids.push(answer["incidents"][0].clone());
        }
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        // Durable before the answer: the record is in the file.
        assert!(records(&stage).iter().any(|record| record.incident.as_deref() == ids[0].as_str()));
        stage.wait(90).await;
        let (_, answer) = stage.call(Role::Intake, ALERTS, Some(&alert("f1", "firing"))).await;
        assert_eq!(answer["incidents"][0], ids[0], "what began before the end belongs to it");
        let incidents = stage.incidents().await;
        assert_eq!(incidents.len(), 1);
        assert_eq!(incidents[0].phase, Phase::Resolved);
        assert_eq!(incidents[0].attempts, 1);
    });
}

#[test]
fn a_resolved_alert_never_starts_anything() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        stage.until_proven().await;
        let (status, answer) = stage.call(Role::Intake, ALERTS, Some(&alert("f1", "resolved"))).await;
        assert_eq!((status.as_u16(), answer), (200, json!({ "incidents": [] })));
        assert!(stage.incidents().await.is_empty());
    });
}

#[test]
fn labels_that_name_what_we_do_not_see_only_tell_people() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        stage.until_proven().await;
        let before = stage.versions().await;
        for (index, host) in
            ["cart.bank.svc.cluster.local", "../../etc", "cart.shop\",x=~\".*", "*"].iter().enumerate()
        {
            let mut body = alert(&format!("f{index}"), "firing");
            body["alerts"][0]["labels"]["destination_service"] = json!(host);
            let (status, _) = stage.call(Role::Intake, ALERTS, Some(&body)).await;
            assert_eq!(status, 200, "{host}");
        }
        stage.wait(10).await;
        let incidents = stage.incidents().await;
        assert_eq!(incidents.len(), 4, "an unknown alert is a case of its own");
        for case in &incidents {
            assert_eq!(case.symptom.as_str(), "custom.alert");
            assert_eq!(case.phase, Phase::Escalated);
            assert!(
                case.labels["meshmend_unmapped"].contains("no VirtualService we see serves"),
                "{:?}",
                case.labels
            );
        }
        assert_eq!(stage.versions().await, before);
    });
}

// Mutation: one input for each alert instead of one for the body.
#[test]
fn a_grouped_notification_is_taken_whole() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        let one = alert("f0", "firing")["alerts"][0].clone();
        let mut body = alert("f0", "firing");
        let alerts: Vec<Value> = (0..3_000)
            .map(|index| {
                let mut alert = one.clone();
                alert["fingerprint"] = json!(format!("f{index}"));
                alert["labels"]["alertname"] = json!("SomethingElse");
                alert["labels"]["namespace"] = json!("shop");
                alert
            })
            .collect();
        body["alerts"] = json!(alerts);
        body["truncatedAlerts"] = json!(7);
        let (status, answer) = stage.call(Role::Intake, ALERTS, Some(&body)).await;
        assert_eq!(status, 200);
        assert_eq!(answer["incidents"].as_array().map(Vec::len), Some(3_000), "none lost, none doubled");
        let signals: Vec<u64> = records(&stage)
            .iter()
            .filter(|record| record.kind == "signal")
            .map(|record| record.seq)
            .collect();
        assert_eq!(signals.len(), 3_000);
        // What the first alerts led to is recorded behind the last of them: one commit took them all.
        assert_eq!(signals[2_999] - signals[0], 2_999);
    });
}

#[test]
fn what_is_not_as_expected_is_refused_with_words() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        let mut old = alert("f1", "firing");
        old["version"] = json!("3");
        let unknown = json!({ "symptom": "traffic.route_errors", "state": "firing", "at": "2026-01-01T00:00:00Z",
            "subject": { "kind": "VirtualService", "namespace": "shop", "name": "nobody" } });
        let ahead = json!({ "symptom": "traffic.route_errors", "state": "firing", "at": "2099-01-01T00:00:00Z",
            "subject": { "group": "networking.istio.io", "kind": "VirtualService", "namespace": "shop", "name": "cart" } });
        let pod = json!({ "symptom": "data_plane.proxy_hung", "state": "firing", "at": "2026-01-01T00:00:00Z",
            "subject": { "kind": "Pod", "namespace": "shop", "name": "nobody" } });
        let mut extra = unknown.clone();
        extra["colour"] = json!("red");
        for (path, body, status, words) in [
            (ALERTS, old, 400, "version"),
            (ALERTS, json!({ "alerts": 3 }), 400, "body is not as expected"),
            ("/v1/signals", unknown, 422, "not in our cache"),
            ("/v1/signals", pod, 422, "Pod shop/nobody is not in our cache"),
            ("/v1/signals", json!([extra]), 400, "colour"),
            ("/v1/signals", ahead, 422, "more than an hour ahead"),
            ("/v1/signals", json!([]), 200, ""),
        ] {
            let (found, answer) = stage.call(Role::Intake, path, Some(&body)).await;
            assert_eq!(found.as_u16(), status, "{answer}");
            assert!(answer["error"]["message"].as_str().unwrap_or_default().contains(words), "{answer}");
        }
        assert!(stage.incidents().await.is_empty());
        let signals = records(&stage).iter().filter(|record| record.kind == "signal").count();
        assert_eq!(signals, 0, "what was refused left no trace in the state");
    });
}

#[test]
fn nobody_gets_in_without_a_token_of_the_right_role() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        let body = alert("f1", "firing").to_string();
        let post = |token: Option<&str>| {
            let mut request = Request::post(ALERTS);
            if let Some(token) = token {
                request = request.header("authorization", token);
            }
            request.body(Body::from(body.clone())).expect("a request")
        };
        for (token, status) in [
            (None, 401),
            (Some("Bearer "), 401),
            (Some("Bearer guess-0123456789ab"), 401),
            (Some(TOKENS[0].0), 401),
            (Some("Bearer read-0123456789ab"), 403),
        ] {
            assert_eq!(stage.send(post(token)).await.0.as_u16(), status, "{token:?}");
        }
        assert!(stage.incidents().await.is_empty());
    });
}

#[test]
fn a_body_of_64_mb_is_refused_and_the_agent_lives_on() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        let token = format!("Bearer {}", TOKENS[0].0);
        let request =
            Request::post(ALERTS).header("authorization", token).body(Body::from(vec![b' '; 64 << 20]));
        let (status, answer) = stage.send(request.unwrap()).await;
        assert_eq!(status, 413, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("32 MiB"));
        assert_eq!(stage.call(Role::Read, "/v1/incidents", None).await.0, 200);
    });
}
