//! Operators: pauses and aborts over the API, on the whole agent.

use std::ops::ControlFlow;

use kube::api::{Api, Patch, PatchParams};
use meshmend::cluster::DestinationRule;
use meshmend::config::Role;
use meshmend::journal::Reader;
use meshmend::model::incident::{Incident, Phase};
use meshmend::model::reason::Reason;
use meshmend::sim::Fault;
use serde_json::{Value, json};

use crate::healing::{ENFORCE, alert, story};
use crate::stage::Stage;

async fn falls_ill(stage: &Stage) {
    stage.until_proven().await;
    stage.sim.inject(Fault::BadRoute);
    stage.wait(5).await;
    let (status, _) = stage.call(Role::Intake, "/v1/alerts/alertmanager", Some(&alert("f1", "firing"))).await;
    assert_eq!(status, 200);
}

async fn order(stage: &Stage, path: &str, body: Value) -> (u16, Value) {
    let (status, answer) = stage.call(Role::Approve, path, Some(&body)).await;
    (status.as_u16(), answer)
}

fn kinds(stage: &Stage) -> Vec<String> {
    let mut found = Vec::new();
    let reader = Reader::open(&stage.journal()).expect("readers never lock");
    let read = reader.read(1, &mut |record, _| {
        found.push(record.kind);
        ControlFlow::Continue(())
    });
    read.expect("the journal is whole");
    found
}

// Mutations: an answer before the commit; a gate without its pause.
#[test]
fn a_pause_holds_the_act_is_durable_when_answered_and_ends_with_the_resume() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        let body = json!({ "namespace": "shop", "for": "1h", "reason": "release" });
        let (status, pause) = order(&stage, "/v1/pause", body).await;
        assert_eq!((status, &pause["by"]), (200, &json!("approve")), "{pause}");
        assert!(kinds(&stage).contains(&"paused".to_owned()));
        let before = stage.versions().await;
        falls_ill(&stage).await;
        let ill = stage.versions().await;
        assert_ne!(before, ill, "the fault was injected");
        stage.wait(60).await;
        let case = stage.incidents().await.remove(0);
        assert_eq!(case.phase, Phase::Planned);
        assert!(matches!(&case.holds()[0].reason, Reason::Paused { reason, .. } if reason == "release"));
        assert_eq!(stage.versions().await, ill, "nothing is written");
        let (_, held) = stage.call(Role::Read, "/v1/pauses", None).await;
        assert_eq!(held["pauses"][0]["reach"], json!({ "namespace": "shop" }));
        assert_eq!(order(&stage, "/v1/resume", json!({ "namespace": "shop" })).await.0, 200);
        stage.wait(120).await;
        assert_eq!(stage.incidents().await[0].phase, Phase::Resolved);
    });
}

#[test]
fn an_abort_ends_a_case_that_waits_and_says_so_where_it_is_over() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        order(&stage, "/v1/pause", json!({ "all": true, "for": "1h", "reason": "release" })).await;
        falls_ill(&stage).await;
        stage.wait(10).await;
        let id = stage.incidents().await.remove(0).id;
        let path = format!("/v1/incidents/{id}/abort");
        let other = json!({ "plan": format!("sha256:{}", "0".repeat(64)) });
        assert_eq!(order(&stage, &path, other).await.0, 409);
        let (status, after) = order(&stage, &path, json!({ "comment": "by hand" })).await;
        assert_eq!((status, &after["phase"]), (200, &json!("suppressed")), "{after}");
        let (status, _) = order(&stage, "/v1/incidents/nobody-00001/abort", json!({})).await;
        assert_eq!(status, 404);
        let (status, none) = order(&stage, "/v1/abort", json!({ "all": true, "reason": "x" })).await;
        assert_eq!((status, none), (200, json!({ "incidents": [] })));
    });
}

/// Waits until the rollback of the bad route is in force and being measured; its case.
async fn rolled_back(stage: &Stage) -> Incident {
    for _ in 0..120 {
        stage.wait(1).await;
        let case = stage.incidents().await.remove(0);
        if case.phase == Phase::Probing {
            return case;
        }
    }
    panic!("it is not rolled back");
}

// Mutations: an abort that undoes what nobody was asked about (`abort::one`); an answer that does not say what stays;
// an undo that a case refuses because it is over.
#[test]
fn an_abort_in_the_middle_of_a_rollback_stops_keeps_it_and_names_what_undoes_it() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        stage.until_proven().await;
        let good = stage.spec("shop", "cart").await;
        falls_ill(&stage).await;
        let case = rolled_back(&stage).await;
        let (id, written) = (case.id.clone(), stage.versions().await);
        assert_eq!(stage.spec("shop", "cart").await, good);
        let path = format!("/v1/incidents/{id}/abort");
        let (status, after) = order(&stage, &path, json!({ "comment": "by hand" })).await;
        assert_eq!((status, &after["phase"]), (200, &json!("suppressed")), "{after}");
        let undo = format!("meshmend abort {id} --undo --reason TEXT");
        let kept = &after["inForce"];
        assert_eq!((&kept["incident"], &kept["undo"]), (&json!(id), &json!(undo)), "{after}");
        stage.wait(120).await;
        assert_eq!(stage.versions().await, written, "nothing follows");
        let (_, again) = order(&stage, &path, json!({ "inForce": "keep" })).await;
        assert_eq!(again["inForce"]["undo"], json!(undo), "it is shown again");

        let (status, after) =
            order(&stage, &path, json!({ "comment": "it was right", "inForce": "undo" })).await;
        assert_eq!(status, 200, "{after}");
        assert!(after.get("inForce").is_none(), "{after}");
        // At once: the route is ill again then, and a new case may roll it back, as a pause would hold.
        stage.wait(1).await;
        assert_ne!(stage.spec("shop", "cart").await, good, "as it was before the act");
        let (_, found) = stage.call(Role::Read, &format!("/v1/incidents/{id}"), None).await;
        assert_eq!(found["phase"], json!("suppressed"), "{found}");
    });
}

// Mutations: `abort_all` without its list of what stays; one that forgets what was wanted.
#[test]
fn an_abort_of_all_lists_what_stays_in_force_or_undoes_it() {
    for in_force in ["keep", "undo"] {
        story(move || async move {
            let stage = Stage::under(ENFORCE).await;
            stage.until_proven().await;
            let good = stage.spec("shop", "cart").await;
            falls_ill(&stage).await;
            let id = rolled_back(&stage).await.id;
            let wrong = json!({ "all": true, "reason": "x", "inForce": "leave" });
            assert_eq!(order(&stage, "/v1/abort", wrong).await.0, 400);
            let body = json!({ "all": true, "reason": "x", "inForce": in_force });
            let (status, answer) = order(&stage, "/v1/abort", body).await;
            assert_eq!((status, &answer["incidents"]), (200, &json!([id])), "{answer}");
            stage.wait(60).await;
            let stays = stage.spec("shop", "cart").await == good;
            assert_eq!(stays, in_force == "keep");
            let listed = answer["inForce"].as_array().map_or(0, Vec::len);
            assert_eq!(listed, usize::from(stays), "{answer}");
        });
    }
}

// Mutation: any of the checks in `api::operators` left out.
#[test]
fn orders_without_a_reach_a_reason_an_end_or_the_role_are_refused() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        for (path, body, status) in [
            ("/v1/pause", json!({ "for": "1h", "reason": "x" }), 400),
            ("/v1/pause", json!({ "all": true, "namespace": "shop", "for": "1h", "reason": "x" }), 400),
            ("/v1/pause", json!({ "namespace": "a", "playbook": "b", "for": "1h", "reason": "x" }), 400),
            ("/v1/pause", json!({ "namespace": "", "for": "1h", "reason": "x" }), 400),
            ("/v1/pause", json!({ "all": true, "for": "1h", "reason": " " }), 400),
            ("/v1/pause", json!({ "all": true, "reason": "x" }), 400),
            ("/v1/pause", json!({ "all": true, "for": "60", "reason": "x" }), 400),
            ("/v1/pause", json!({ "all": true, "for": "0s", "reason": "x" }), 400),
            ("/v1/pause", json!({ "all": true, "for": "169h", "reason": "x" }), 400),
            ("/v1/pause", json!({ "all": true, "for": "168h", "reason": "x", "until": "1" }), 400),
            ("/v1/pause", json!({ "all": true, "for": "168h", "reason": "x" }), 200),
            ("/v1/resume", json!({ "namespace": "shop" }), 404),
            ("/v1/resume", json!({ "all": true }), 200),
            ("/v1/resume", json!({ "all": true }), 404),
            ("/v1/abort", json!({ "all": true }), 400),
            ("/v1/abort", json!({ "reason": "x" }), 400),
            ("/v1/pause", json!({ "all": true, "for": "1h", "reason": "x", "inForce": "keep" }), 400),
        ] {
            let (found, answer) = order(&stage, path, body.clone()).await;
            assert_eq!(found, status, "{path} {body}: {answer}");
        }
        for path in ["/v1/pause", "/v1/resume", "/v1/abort", "/v1/incidents/x/abort"] {
            let (found, _) = stage.call(Role::Read, path, Some(&json!({ "all": true }))).await;
            assert_eq!(found.as_u16(), 403, "{path}");
        }
        assert_eq!(stage.call(Role::Intake, "/v1/pauses", None).await.0.as_u16(), 403);
    });
}

// Mutation: a blessing that does not look for our mark makes limits of ours the revision to go back to.
#[test]
fn a_rule_with_a_shed_on_it_is_not_blessed() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        stage.wait(5).await;
        let subject = json!({ "group": "networking.istio.io", "kind": "DestinationRule",
            "namespace": "shop", "name": "catalog" });
        let bless = json!({ "subject": subject });
        let api: Api<DestinationRule> = Api::namespaced(stage.client.clone(), "shop");
        let mark = |text: Value| {
            let patch = json!({ "metadata": { "annotations": { "meshmend.dev/restore": text } } });
            let api = api.clone();
            async move {
                let patched = api.patch("catalog", &PatchParams::default(), &Patch::Merge(&patch)).await;
                patched.expect("the simulated server takes it");
            }
        };
        mark(json!("{}")).await;
        stage.wait(2).await;
        let (status, why) = order(&stage, "/v1/history/bless", bless.clone()).await;
        assert_eq!((status, &why["error"]["code"]), (409, &json!("shed")), "{why}");
        mark(Value::Null).await;
        stage.wait(2).await;
        let (status, answer) = order(&stage, "/v1/history/bless", bless).await;
        assert_eq!(status, 200, "{answer}");
    });
}
