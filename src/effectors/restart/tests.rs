//! What the pod says, and what becomes of each answer of its agent.

use super::*;
use std::sync::Arc;
use std::sync::Mutex;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::clock::Clock;
use crate::cluster::{Cluster, ProxyTransport};
use crate::engine::{State, apply, gate};
use crate::model::change::Change;
use crate::model::incident::{IncidentId, IncidentKey};
use crate::model::plan::{Direction, Plan};
use crate::model::signal::{Severity, Signal, SignalState};

const RUNNING: &str = "containerd://1";

fn action(drain_s: u64, container: &str) -> Action {
    Action::RestartSidecar {
        target: Subject::pod("shop", "cart-a"),
        uid: "u".to_owned(),
        container: container.to_owned(),
        container_id: RUNNING.to_owned(),
        drain_s,
    }
}

fn pod(policy: &str, id: &str) -> Value {
    json!({
        "metadata": { "name": "cart-a", "namespace": "shop", "uid": "u" },
        "spec": { "restartPolicy": policy, "containers": [{ "name": "app" }, { "name": "istio-proxy" }] },
        "status": { "containerStatuses": [
            { "name": "istio-proxy", "containerID": id, "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } } },
        ] },
    })
}

fn native(policy: &str) -> Value {
    let mut pod = pod(policy, "none");
    pod["spec"]["containers"] = json!([{ "name": "app" }]);
    pod["spec"]["initContainers"] = json!([{ "name": "istio-proxy", "restartPolicy": "Always" }]);
    let status = json!([{ "name": "istio-proxy", "containerID": RUNNING, "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } } }]);
    pod["status"] = json!({ "initContainerStatuses": status });
    pod
}

// Mutations: leaving out any of the prechecks; reading a native sidecar as a classic one.
#[test]
fn a_pod_that_would_lose_its_proxy_or_is_another_one_is_left_alone() {
    let action = action(5, "istio-proxy");
    let restart = Restart::of(&action).unwrap();
    let found = |pod: &Value| look(pod, &restart);
    assert_eq!(found(&pod("Always", RUNNING)), Found::Ready);
    assert_eq!(found(&native("Never")), Found::Ready);
    assert_eq!(found(&pod("Always", "containerd://2")), Found::AlreadyDone);
    for policy in ["OnFailure", "Never"] {
        let Found::Impossible(why) = found(&pod(policy, RUNNING)) else { panic!("{policy} loses the proxy") };
        assert!(why.contains(policy) && why.contains("evict"), "{why}");
    }
    let mut other = pod("Always", RUNNING);
    other["metadata"]["uid"] = json!("v");
    assert!(matches!(found(&other), Found::Stale(_)));
    let mut leaving = pod("Always", RUNNING);
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(matches!(found(&leaving), Found::Stale(_)));
    let mut crashed = pod("Always", "containerd://2");
    crashed["status"]["containerStatuses"][0]["state"] =
        json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    assert!(matches!(found(&crashed), Found::Stale(_)));
    let mut bare = pod("Always", RUNNING);
    bare["spec"]["containers"] = json!([{ "name": "app" }]);
    assert!(matches!(found(&bare), Found::Impossible(_)));
}

/// An agent that answers as told, path by path, and notes what it was asked.
struct Told {
    answers: Vec<(&'static str, Result<Answer, Unanswered>)>,
    asked: Mutex<Vec<String>>,
}

impl ProxyTransport for Told {
    fn ask<'a>(&'a self, _: &'a PodPort, call: &'a Call) -> BoxFuture<'a, Result<Answer, Unanswered>> {
        let line = format!("{} {}", call.method, call.path);
        let found = self.answers.iter().find(|(of, _)| *of == line).map(|(_, answer)| answer.clone());
        self.asked.lock().unwrap().push(line);
        async move { found.unwrap_or(Ok((405, Vec::new()))) }.boxed()
    }
}

/// A permit as the driver mints it: from a committed change of a state that knows the plan.
fn permit(action: &Action, clock: Clock, lasts_s: i64) -> (Execute, Permit) {
    let plan = Plan { playbook: "p".to_owned(), steps: vec![action.clone()], recover: None };
    let at = clock.now();
    let subject = Subject::pod("shop", "cart-a");
    let key = IncidentKey { owner: subject.clone(), family: "data_plane".to_owned(), member: None };
    let incident: IncidentId = IncidentId::new("k", 1);
    let signal = Signal {
        symptom: "data_plane.proxy_hung".parse().expect("a symptom"),
        subject,
        state: SignalState::Firing,
        severity: Severity::Critical,
        value: None,
        labels: std::collections::BTreeMap::default(),
        at,
        source: "test".to_owned(),
        alert: None,
        owner: None,
        depends_on: None,
    };
    let identity = plan.identity();
    let started = Change::StepStarted {
        incident: incident.clone(),
        plan: identity,
        step: 0,
        direction: Direction::Forward,
        permit_until: at + jiff::SignedDuration::from_secs(lasts_s),
        deadline: at + jiff::SignedDuration::from_secs(60),
    };
    let mut state = State::default();
    for change in [
        Change::Opened {
            incident: incident.clone(),
            key,
            signal: Box::new(signal),
            candidates: Vec::new(),
            deadline: at,
        },
        Change::Planned { incident: incident.clone(), plan, deadline: at },
        started.clone(),
    ] {
        apply(&mut state, at, &change);
    }
    let permit = gate::permit(&state, &started).expect("the state knows the plan");
    let execute = Execute {
        incident,
        plan: identity,
        step: 0,
        direction: Direction::Forward,
        run: 0,
        action: action.clone(),
    };
    (execute, permit)
}

/// Runs the step against these answers; what came of it, and what was asked.
async fn run(
    action: Action,
    lasts_s: i64,
    answers: Vec<(&'static str, Result<Answer, Unanswered>)>,
) -> (Outcome, Vec<String>) {
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let pods = axum::Router::new().fallback(|| async { axum::Json(pod("Always", RUNNING)) });
    let cluster = Arc::new(Cluster::new(kube::Client::new(pods, "default"), vec!["*".to_owned()]));
    let told = Arc::new(Told { answers, asked: Mutex::default() });
    let transport: Arc<dyn ProxyTransport> = Arc::<Told>::clone(&told);
    let effectors = Effectors::new(cluster, clock, crate::model::rate::Rate::Off).reaching(transport);
    let (execute, permit) = permit(&action, clock, lasts_s);
    let outcome = effectors.execute(&execute, permit, &super::super::Specs::new()).await;
    let asked = told.asked.lock().unwrap().clone();
    (outcome, asked)
}

fn ok() -> Result<Answer, Unanswered> {
    Ok((200, Vec::new()))
}

// Mutations: no drain; no wait; quitting before the drain.
#[tokio::test(start_paused = true)]
async fn it_drains_waits_and_quits() {
    let start = tokio::time::Instant::now();
    let answers = vec![("POST /drain", ok()), ("POST /quitquitquit", ok())];
    let (outcome, asked) = run(action(5, "istio-proxy"), 15, answers).await;
    assert_eq!(outcome.name(), "done", "{outcome:?}");
    assert_eq!(asked, ["GET /drain", "POST /drain", "POST /quitquitquit"]);
    assert_eq!(start.elapsed(), Duration::from_secs(5));
}

// Mutation: draining first and finding out afterwards that nobody listens.
#[tokio::test(start_paused = true)]
async fn an_agent_that_is_silent_is_not_drained_and_people_learn_the_other_ways() {
    let silent = || Err(Unanswered::Silent("no answer within 3 s".to_owned()));
    let (outcome, asked) = run(action(5, "istio-proxy"), 15, vec![("GET /drain", silent())]).await;
    let Outcome::Failed { why } = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("evict_pod or rollout_restart"), "{why}");
    assert_eq!(asked, ["GET /drain"]);
    // A proxy that hangs cannot drain, and is quit all the same.
    let answers = vec![("POST /drain", silent()), ("POST /quitquitquit", ok())];
    let (outcome, asked) = run(action(5, "istio-proxy"), 15, answers).await;
    assert_eq!((outcome.name(), asked.len()), ("done", 3), "{outcome:?}");
}

// Mutations: taking silence for success; taking a closed connection for failure.
#[tokio::test(start_paused = true)]
async fn each_end_of_a_quit_is_what_it_is() {
    let closed = Err(Unanswered::Silent("the answer broke off".to_owned()));
    let silent = Err(Unanswered::Silent("no answer within 3 s".to_owned()));
    let lost = Err(Unanswered::NotAsked("error dialing backend".to_owned()));
    for (answer, word) in [
        (ok(), "done"),
        (closed, "done"),
        (silent, "unknown"),
        (lost, "unknown"),
        (Ok((403, Vec::new())), "unknown"),
    ] {
        let answers = vec![("POST /drain", ok()), ("POST /quitquitquit", answer.clone())];
        let (outcome, _) = run(action(5, "istio-proxy"), 15, answers).await;
        assert_eq!(outcome.name(), word, "{answer:?}: {outcome:?}");
    }
}

// Mutations: starting a drain that outlasts the permit; not sending the quit that is owed.
#[tokio::test(start_paused = true)]
async fn no_drain_outlasts_its_permit() {
    let answers = vec![("POST /drain", ok()), ("POST /quitquitquit", ok())];
    let (outcome, asked) = run(action(10, "istio-proxy"), 8, answers.clone()).await;
    assert_eq!((outcome.name(), asked.len()), ("stale", 1), "{outcome:?} {asked:?}");
    let (outcome, asked) = run(action(5, "istio-proxy"), -1, answers).await;
    assert_eq!((outcome.name(), asked.len()), ("stale", 1), "{outcome:?} {asked:?}");
}

// Mutation: asking Linkerd's proxy on Istio's port and paths.
#[tokio::test(start_paused = true)]
async fn linkerds_proxy_shuts_down_where_it_may() {
    let clock_of = |answer| {
        let action = action(0, "linkerd-proxy");
        let restart = Restart::of(&action).unwrap();
        ended(&restart, answer, "")
    };
    let Outcome::Failed { why } = clock_of(Ok((404, Vec::new()))) else { panic!("it is switched off") };
    assert!(why.contains("switched off"), "{why}");
    assert_eq!(clock_of(ok()).name(), "done");
    let agent = Agent::of("linkerd-proxy");
    assert_eq!((agent.port, agent.drain, agent.quit), (4191, None, "/shutdown"));
}
