//! The whole agent on the simulated cluster: what it heals, what it leaves alone, and what it never does.

use meshmend::cluster::VirtualService;
use meshmend::config::Role;
use meshmend::model::incident::{Incident, Phase};
use meshmend::model::plan::{Direction, Outcome};
use meshmend::model::reason::Reason;
use meshmend::sim::Fault;
use serde_json::{Value, json};

use crate::stage::{Answering, Stage};

pub(crate) const ENFORCE: &str = "apiVersion: meshmend.dev/v1alpha1\nkind: Policy\nmetadata: { name: test }\n\
                                  spec: { mode: enforce, attempts: { max: 2, refill: 1h } }\n";
const OBSERVE: &str = "apiVersion: meshmend.dev/v1alpha1\nkind: Policy\nmetadata: { name: test }\n\
                       spec: { mode: observe }\n";
const SUGGEST: &str = "apiVersion: meshmend.dev/v1alpha1\nkind: Policy\nmetadata: { name: test }\nspec:\n  mode: suggest\n  \
                       approvals: [ { actions: [rollback_route], votes: 1, expires: 5m } ]\n";

/// Runs a story in virtual time, with the stack that scripts need.
pub(crate) fn story<F: Future<Output = ()>>(tell: impl FnOnce() -> F + Send + 'static) {
    meshmend::sim::run(meshmend::sim::Pace::Virtual, tell).expect("the story comes to its end");
}

fn of_cart(incidents: &[Incident]) -> Vec<&Incident> {
    incidents.iter().filter(|case| case.subject.name == "cart").collect()
}

async fn only_case(stage: &Stage) -> Incident {
    let incidents = stage.incidents().await;
    let cases = of_cart(&incidents);
    assert_eq!(cases.len(), 1, "{cases:#?}");
    cases[0].clone()
}

fn reasons(case: &Incident) -> Vec<String> {
    case.reasons.iter().map(|timed| timed.reason.to_string()).collect()
}

// Mutation: leaving the nulls out of the patch, or patching on a stale version.
#[test]
fn a_bad_route_is_rolled_back_to_exactly_what_it_was() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        stage.until_proven().await;
        let good = stage.spec("shop", "cart").await;
        let extra = json!({ "metadata": { "labels": { "team": "cart" } },
            "spec": { "exportTo": ["*"], "http": [{ "fault": { "abort": { "httpStatus": 500 } },
            "route": [{ "destination": { "host": "cart", "subset": "v3" } }] }] } });
        stage.edit("shop", "cart", &extra).await;
        stage.wait(90).await;
        let case = only_case(&stage).await;
        assert_eq!(case.phase, Phase::Resolved, "{:?}", reasons(&case));
        assert_eq!(stage.spec("shop", "cart").await, good);
        let api: kube::Api<VirtualService> = kube::Api::namespaced(stage.client.clone(), "shop");
        let labels = api.get("cart").await.unwrap().metadata.labels.unwrap_or_default();
        assert_eq!(labels.get("team").map(String::as_str), Some("cart"), "labels are not ours to take back");
    });
}

#[test]
fn in_observe_the_same_is_planned_and_nothing_is_written() {
    story(|| async {
        let stage = Stage::under(OBSERVE).await;
        stage.until_proven().await;
        stage.sim.inject(Fault::BadRoute);
        let before = stage.versions().await;
        stage.wait(120).await;
        let case = only_case(&stage).await;
        assert_eq!(case.phase, Phase::Planned);
        assert!(case.plan.is_some() && case.rehearsal.is_some(), "everything but the write");
        assert_eq!(case.holds()[0].reason, Reason::ModeObserve);
        // Mutation: forgetting `dryRun` in the rehearsal.
        assert_eq!(stage.versions().await, before);
    });
}

#[test]
fn what_prometheus_does_not_surely_say_is_never_acted_on() {
    const EMPTY: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    const NAN: &str = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"destination_service":"cart.shop.svc.cluster.local"},"value":[1767225700,"NaN"]}]}}"#;
    const PARTIAL: &str =
        r#"{"status":"success","warnings":["a store is away"],"data":{"resultType":"vector","result":[]}}"#;
    for lie in [
        Answering::With(EMPTY),
        Answering::With(NAN),
        Answering::With(PARTIAL),
        Answering::With("<html>"),
        Answering::Never,
        Answering::Late,
    ] {
        story(move || async move {
            let stage = Stage::under(ENFORCE).await;
            stage.until_proven().await;
            stage.sim.inject(Fault::BadRoute);
            stage.let_prometheus_answer(lie);
            let before = stage.versions().await;
            // An alert insists; but nobody can measure, so nobody acts.
            let (status, _) =
                stage.call(Role::Intake, "/v1/alerts/alertmanager", Some(&alert("f1", "firing"))).await;
            assert_eq!(status, 200);
            stage.wait(150).await;
            let case = only_case(&stage).await;
            assert_eq!(case.phase, Phase::Escalated, "{lie:?}");
            let unknown =
                |reason: &Reason| matches!(reason, Reason::FactUnknown { fact, .. } if fact == "traffic");
            assert!(case.passed_over.iter().any(|passed| unknown(&passed.reason)), "{lie:?}: {case:#?}");
            // Mutation: reading an empty answer as an error rate of zero, or of one.
            assert_eq!(stage.versions().await, before, "{lie:?}");
        });
    }
}

#[test]
fn when_prometheus_comes_back_the_route_is_healed_after_all() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        stage.until_proven().await;
        let good = stage.spec("shop", "cart").await;
        stage.let_prometheus_answer(Answering::Never);
        stage.sim.inject(Fault::BadRoute);
        stage.wait(120).await;
        assert!(stage.incidents().await.is_empty(), "nothing is known, nothing is opened");
        stage.let_prometheus_answer(Answering::Truly);
        stage.wait(90).await;
        assert_eq!(only_case(&stage).await.phase, Phase::Resolved);
        assert_eq!(stage.spec("shop", "cart").await, good);
    });
}

#[test]
fn an_act_that_does_not_help_is_undone_and_people_are_told() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        stage.until_proven().await;
        stage.sim.inject(Fault::BadRoute);
        let bad = stage.spec("shop", "cart").await;
        stage.let_prometheus_answer(Answering::Badly);
        stage.wait(900).await;
        let case = only_case(&stage).await;
        assert_eq!(case.phase, Phase::Escalated, "{:?}", reasons(&case));
        // Mutation: leaving the undo out after "not recovered".
        assert_eq!(stage.spec("shop", "cart").await, bad, "taken back");
        let done = |direction| {
            let ours = case.steps.iter().filter(|step| step.direction == direction);
            ours.filter(|step| matches!(step.outcome, Outcome::Done { .. })).count()
        };
        assert_eq!(
            (done(Direction::Forward), done(Direction::Undo)),
            (2, 2),
            "{:#?} {:?}",
            case.steps,
            reasons(&case)
        );
        assert!(case.reasons.iter().any(|timed| matches!(timed.reason, Reason::PlaybookEscalated { .. })));
        assert!(!case.notified.is_empty(), "people were told");
    });
}

#[test]
fn what_another_tool_manages_is_left_to_it() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        let mark =
            json!({ "metadata": { "annotations": { "argocd.argoproj.io/tracking-id": "shop:cart" } } });
        stage.edit("shop", "cart", &mark).await;
        stage.until_proven().await;
        stage.sim.inject(Fault::BadRoute);
        let before = stage.versions().await;
        stage.wait(120).await;
        let case = only_case(&stage).await;
        assert_eq!(case.phase, Phase::Escalated);
        // The playbook that only tells people takes over where the rollback refused.
        assert!(
            case.passed_over.iter().any(|passed| passed.reason.to_string().contains("argocd")),
            "{case:#?}"
        );
        assert_eq!(stage.versions().await, before);
    });
}

#[test]
fn a_revision_that_cannot_carry_traffic_any_more_is_not_restored() {
    story(|| async {
        let stage = Stage::under(ENFORCE).await;
        stage.until_proven().await;
        stage.sim.inject(Fault::BadRoute);
        let slices: kube::Api<k8s_openapi::api::discovery::v1::EndpointSlice> =
            kube::Api::namespaced(stage.client.clone(), "shop");
        let gone = json!({ "endpoints": [{ "addresses": ["10.244.0.14"], "conditions": { "ready": true },
            "targetRef": { "kind": "Pod", "name": "cart-v3-0" } }] });
        slices
            .patch("cart-abcde", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(&gone))
            .await
            .unwrap();
        let before = stage.versions().await;
        stage.wait(120).await;
        let case = only_case(&stage).await;
        assert_eq!(case.phase, Phase::Escalated);
        assert!(
            case.passed_over.iter().any(|p| p.reason.to_string().contains("no ready endpoint")),
            "{case:#?}"
        );
        assert_eq!(stage.versions().await, before);
    });
}

#[test]
fn in_suggest_exactly_one_person_decides_on_exactly_this_plan() {
    story(|| async {
        let stage = Stage::under(SUGGEST).await;
        stage.until_proven().await;
        let good = stage.spec("shop", "cart").await;
        stage.sim.inject(Fault::BadRoute);
        stage.wait(30).await;
        let case = only_case(&stage).await;
        assert_eq!(case.phase, Phase::AwaitingApproval);
        let path = format!("/v1/incidents/{}/approve", case.id);
        let other = json!({ "plan": format!("sha256:{}", "0".repeat(64)) });
        // Mutation: not comparing the plan that was voted on.
        assert_eq!(stage.call(Role::Approve, &path, Some(&other)).await.0, 409);
        let vote = json!({ "plan": case.approval.as_ref().unwrap().plan, "comment": "looks right" });
        assert_eq!(stage.call(Role::Read, &path, Some(&vote)).await.0, 403);
        let (status, answer) = stage.call(Role::Approve, &path, Some(&vote)).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(stage.call(Role::Approve, &path, Some(&vote)).await.0, 409, "a vote counts once");
        stage.wait(60).await;
        let case = only_case(&stage).await;
        assert_eq!(case.phase, Phase::Resolved, "{:?}", reasons(&case));
        assert!(reasons(&case).contains(&"approved by approve".to_owned()));
        assert_eq!(stage.spec("shop", "cart").await, good);
    });
}

#[test]
fn a_question_that_nobody_answers_expires_as_a_no() {
    story(|| async {
        let stage = Stage::under(SUGGEST).await;
        stage.until_proven().await;
        stage.sim.inject(Fault::BadRoute);
        let before = stage.versions().await;
        stage.wait(400).await;
        let case = only_case(&stage).await;
        assert_eq!(case.phase, Phase::Expired);
        assert_eq!(case.reasons.last().unwrap().reason, Reason::ApprovalExpired);
        assert_eq!(stage.versions().await, before);
    });
}

#[test]
fn an_approved_plan_that_no_longer_fits_is_asked_about_anew() {
    story(|| async {
        let stage = Stage::under(SUGGEST).await;
        stage.until_proven().await;
        stage.sim.inject(Fault::BadRoute);
        stage.wait(30).await;
        let case = only_case(&stage).await;
        let asked = case.approval.clone().unwrap().plan;
        let other = json!({ "spec": { "http": [{ "route": [
            { "destination": { "host": "cart", "subset": "v3" }, "weight": 100 }] }] } });
        stage.edit("shop", "cart", &other).await;
        let vote = json!({ "plan": asked });
        let path = format!("/v1/incidents/{}/approve", case.id);
        assert_eq!(stage.call(Role::Approve, &path, Some(&vote)).await.0, 200);
        stage.wait(5).await;
        let case = only_case(&stage).await;
        // Mutation: executing the stored plan without a fresh look.
        assert_eq!(case.phase, Phase::AwaitingApproval, "{:?}", reasons(&case));
        assert_ne!(case.approval.unwrap().plan, asked, "another plan, another question");
        assert_eq!(stage.spec("shop", "cart").await["http"], other["spec"]["http"]);
    });
}

/// A notification of Alertmanager about the errors of shop/cart.
pub(crate) fn alert(fingerprint: &str, status: &str) -> Value {
    json!({
        "version": "4", "groupKey": "{}:{alertname=\"IstioHighRequestErrorRate\"}", "truncatedAlerts": 0,
        "status": status, "receiver": "meshmend", "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "alerts": [{
            "status": status, "fingerprint": fingerprint, "startsAt": "2026-01-01T00:01:00Z",
            "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "annotations": {},
            "labels": {
                "alertname": "IstioHighRequestErrorRate", "severity": "critical",
                "destination_service": "cart.shop.svc.cluster.local",
            },
        }],
    })
}
