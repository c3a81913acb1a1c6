//! Restart a sidecar: its own agent is asked to drain and to quit, and the kubelet starts the container
//! again. The agent hears this only from inside of the pod, which is where a port-forward ends.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::Effectors;
use super::act::{not_sent, unsent};
use super::wire::{JSON, Trouble, text};
use crate::cluster::{Answer, Call, PodPort, Unanswered, told};
use crate::engine::gate::Permit;
use crate::model::action::Action;
use crate::model::effect::Execute;
use crate::model::plan::{Direction, Outcome, Rehearsal};
use crate::model::subject::Subject;

/// An agent that lives answers within milliseconds. Three times this and the longest drain fit into the
/// time limit of a step, and what is sent last arrives before the permit's grace is over.
const ASKING: Duration = Duration::from_secs(3);

const LEFT: &str = "this way does not work here; a playbook may choose evict_pod or rollout_restart instead";

/// How the agent of a proxy is talked to.
struct Agent {
    port: u16,
    /// Answers anything at all while the agent lives, and changes nothing.
    alive: &'static str,
    /// Lets clients go away; Linkerd's proxy drains by itself while it shuts down.
    drain: Option<&'static str>,
    quit: &'static str,
}

impl Agent {
    fn of(container: &str) -> Self {
        if container == "linkerd-proxy" {
            return Self { port: 4191, alive: "/live", drain: None, quit: "/shutdown" };
        }
        // A GET of the drain is answered 405: only a POST is meant.
        Self { port: 15_020, alive: "/drain", drain: Some("/drain"), quit: "/quitquitquit" }
    }
}

/// The step's own words.
struct Restart<'e> {
    target: &'e Subject,
    uid: &'e str,
    container: &'e str,
    container_id: &'e str,
    drain: Duration,
}

impl<'e> Restart<'e> {
    fn of(action: &'e Action) -> Option<Self> {
        let Action::RestartSidecar { target, uid, container, container_id, drain_s } = action else {
            return None;
        };
        Some(Self { target, uid, container, container_id, drain: Duration::from_secs(*drain_s) })
    }
}

/// What the pod says about the restart.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Ready,
    AlreadyDone,
    Stale(String),
    Impossible(String),
}

impl Effectors {
    /// Drain, wait, quit.
    pub(super) async fn restart_sidecar(&self, execute: &Execute, permit: &Permit) -> Outcome {
        let way = execute.direction;
        let Some(restart) = Restart::of(&execute.action) else {
            return Outcome::Failed { why: "this action restarts no sidecar".to_owned() };
        };
        if let Some(outcome) = self.not_the_same(&restart, way).await {
            return outcome;
        }
        let agent = Agent::of(restart.container);
        let to = port_of(&restart, &agent);
        // A proxy that hangs is restarted by an agent that lives; whether it does is asked first, because
        // a drain cannot be taken back.
        match self.transport.ask(&to, &Call::get(agent.alive, ASKING)).await {
            Ok(_) => {}
            Err(Unanswered::NotAsked(why)) if why.contains("(403") => {
                let right = "a right is missing (get and create pods/portforward)";
                return Outcome::Failed { why: format!("{right}: {why}") };
            }
            Err(Unanswered::NotAsked(why)) => return unsent(way, format!("{why}; {LEFT}")),
            Err(Unanswered::Silent(why)) => {
                let port = agent.port;
                return Outcome::Failed {
                    why: format!("the agent on port {port} did not answer ({why}): {LEFT}"),
                };
            }
        }
        if let Err(why) = self.writes.pass_within(self.clock.until(permit.not_after())).await {
            return unsent(way, why);
        }
        // The agent was asked and the brake waited for: by now a pod of the same name may be another one, and a drain
        // of that one cannot be taken back.
        if let Some(outcome) = self.not_the_same(&restart, way).await {
            return outcome;
        }
        let now = self.clock.now();
        if let Err(why) = permit.covers(execute, now) {
            return unsent(way, why);
        }
        if self.clock.until(permit.not_after()) < restart.drain {
            return unsent(way, "the permit would end before the drain does".to_owned());
        }
        let drained = match agent.drain {
            None => String::new(),
            Some(path) => match self.transport.ask(&to, &Call::post(path, ASKING)).await {
                Ok((200, _)) => {
                    tokio::time::sleep(restart.drain).await;
                    format!("drained for {} s; ", restart.drain.as_secs())
                }
                Err(Unanswered::NotAsked(why)) => {
                    return unsent(way, format!("the drain could not be asked for: {why}"));
                }
                // A proxy that hangs cannot drain; it has to be quit all the same. Where nobody knows whether
                // it drains, a quit is owed.
                Ok((status, _)) => format!("not drained (answered {status}); "),
                Err(Unanswered::Silent(why)) => format!("not known to be drained ({why}); "),
            },
        };
        self.quit(execute, permit, &restart, &drained).await
    }

    /// Looks whether pod and container are still those of the plan; what becomes of the step where they are not.
    async fn not_the_same(&self, restart: &Restart<'_>, way: Direction) -> Option<Outcome> {
        match self.found(restart).await {
            Ok(Found::Ready) => None,
            Ok(Found::AlreadyDone) => Some(Outcome::AlreadyDone),
            Ok(Found::Stale(why)) => Some(Outcome::Stale { why }),
            Ok(Found::Impossible(why)) => Some(Outcome::Failed { why }),
            Err(trouble) => Some(not_sent(way, trouble.right, &trouble.error)),
        }
    }

    /// The last look comes after all waiting, right before the quit, and asks for the container by its id.
    ///
    /// A drained proxy serves nobody until it is started anew, so this is sent even when the permit ended
    /// meanwhile (a stopped process, say), as long as the container is still the one that was drained.
    async fn quit(
        &self,
        execute: &Execute,
        permit: &Permit,
        restart: &Restart<'_>,
        drained: &str,
    ) -> Outcome {
        let agent = Agent::of(restart.container);
        let late = match permit.covers(execute, self.clock.now()) {
            Ok(()) => String::new(),
            Err(why) => format!("; {why}, but what is drained has to be quit"),
        };
        match self.found(restart).await {
            Ok(Found::Ready) => {}
            Ok(Found::AlreadyDone) => {
                return Outcome::Done { detail: format!("{drained}it was started again meanwhile") };
            }
            Ok(Found::Stale(why) | Found::Impossible(why)) => {
                return Outcome::Unknown { why: format!("{drained}not quit: {why}") };
            }
            // Not to know whether it is still the same is no reason to leave it drained, unless others
            // may have taken over since.
            Err(trouble) if late.is_empty() => {
                tracing::warn!(error = told(&trouble.error), "pod not read before the quit");
            }
            Err(trouble) => {
                return Outcome::Unknown {
                    why: format!("{drained}not quit: {}{late}", told(&trouble.error)),
                };
            }
        }
        let to = port_of(restart, &agent);
        let answer = self.transport.ask(&to, &Call::post(agent.quit, ASKING)).await;
        ended(restart, answer, &format!("{drained}{}", late.trim_start_matches("; ")))
    }

    async fn found(&self, restart: &Restart<'_>) -> Result<Found, Trouble> {
        let pod = self.wire.get(restart.target).await?;
        Ok(pod.map_or_else(
            || Found::Stale("the pod does not exist any more".to_owned()),
            |pod| look(&pod, restart),
        ))
    }

    /// There is no dry run of a port-forward: its rights are asked about instead, after the same precheck.
    pub(super) async fn rehearse_restart(&self, action: &Action) -> Rehearsal {
        let Some(restart) = Restart::of(action) else {
            return Rehearsal::Refused { why: "this action restarts no sidecar".to_owned() };
        };
        let namespace = &restart.target.namespace;
        match self.found(&restart).await {
            Ok(Found::Ready) => {}
            Ok(Found::AlreadyDone) => return Rehearsal::Accepted { diff: String::new() },
            Ok(Found::Stale(why) | Found::Impossible(why)) => return Rehearsal::Refused { why },
            Err(trouble) => {
                return super::act::refused(trouble.right, &trouble.error, namespace, String::new());
            }
        }
        let agent = Agent::of(restart.container);
        let drain = agent
            .drain
            .map_or_else(String::new, |path| format!("POST {path}, {} s later ", restart.drain.as_secs()));
        let diff = format!(
            "restarts {} of {} (container {}): {drain}POST {} on port {}; no undo\n",
            restart.container, restart.target, restart.container_id, agent.quit, agent.port
        );
        // Over a WebSocket both are asked for since Kubernetes 1.35.
        for verb in ["get", "create"] {
            match self.allowed(verb, namespace).await {
                Ok(true) => {}
                Ok(false) => {
                    return Rehearsal::Forbidden {
                        verb: verb.to_owned(),
                        resource: "pods/portforward".to_owned(),
                        namespace: namespace.to_string(),
                        diff,
                    };
                }
                Err(why) => return Rehearsal::Unreadable { why },
            }
        }
        Rehearsal::Accepted { diff }
    }

    async fn allowed(&self, verb: &str, namespace: &str) -> Result<bool, String> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "namespace": namespace, "verb": verb, "resource": "pods", "subresource": "portforward",
            } },
        });
        let uri = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = self.wire.request(&Method::POST, uri, JSON, &review).await;
        let answer = answer.map_err(|error| format!("our own rights could not be read: {}", told(&error)))?;
        answer
            .pointer("/status/allowed")
            .and_then(Value::as_bool)
            .ok_or_else(|| "our own rights could not be read: the answer does not say".to_owned())
    }
}

fn port_of(restart: &Restart<'_>, agent: &Agent) -> PodPort {
    let target = restart.target;
    PodPort {
        namespace: target.namespace.to_string(),
        pod: target.name.to_string(),
        ip: None,
        port: agent.port,
    }
}

/// What the answer to the quit means. An agent that went too fast to answer has done as it was told.
fn ended(restart: &Restart<'_>, answer: Result<Answer, Unanswered>, before: &str) -> Outcome {
    let (container, id) = (restart.container, short(restart.container_id));
    match answer {
        Ok((200, _)) => Outcome::Done { detail: format!("{before}{container} ({id}) was told to quit") },
        Ok((404, _)) if container == "linkerd-proxy" => Outcome::Failed {
            why: format!(
                "linkerd-proxy does not take a shutdown (404): it is switched off unless \
                 config.linkerd.io/proxy-admin-shutdown is \"enabled\"; {LEFT}"
            ),
        },
        Ok((status, body)) => {
            let said: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            let why = format!("{before}the quit was refused ({status} {}); {LEFT}", said.trim());
            if before.is_empty() { Outcome::Failed { why } } else { Outcome::Unknown { why } }
        }
        Err(Unanswered::Silent(why)) if why.starts_with("no answer within") || why.contains("refused") => {
            Outcome::Unknown { why: format!("{before}the quit was not answered ({why}); {LEFT}") }
        }
        Err(Unanswered::Silent(_)) => {
            Outcome::Done { detail: format!("{before}{container} ({id}) closed the connection on the quit") }
        }
        Err(Unanswered::NotAsked(why)) => {
            Outcome::Unknown { why: format!("{before}the quit could not be sent: {why}") }
        }
    }
}

/// A container's id as people are used to read it: without its runtime, cut to twelve characters.
fn short(id: &str) -> String {
    id.rsplit("://").next().unwrap_or(id).chars().take(12).collect()
}

/// What the pod as it is now says about the step.
fn look(pod: &Value, restart: &Restart<'_>) -> Found {
    if text(pod, "/metadata/uid") != restart.uid {
        return Found::Stale("it is another pod of the same name".to_owned());
    }
    if !text(pod, "/metadata/deletionTimestamp").is_empty() {
        return Found::Stale("the pod is being deleted".to_owned());
    }
    let named = |list: &str| {
        let items = pod.pointer(list).and_then(Value::as_array).into_iter().flatten();
        items.into_iter().find(|item| item["name"] == restart.container)
    };
    let native = named("/spec/initContainers").is_some_and(|found| found["restartPolicy"] == "Always");
    if !native && named("/spec/containers").is_none() {
        return Found::Impossible(format!("the pod has no sidecar {}", restart.container));
    }
    let policy = text(pod, "/spec/restartPolicy");
    // The agent ends with 0, which only `Always` takes for a reason to start it again.
    if !native && policy != "Always" {
        return Found::Impossible(format!(
            "the pod would not get its proxy back (restartPolicy {policy}); evict it instead"
        ));
    }
    let statuses = if native { "/status/initContainerStatuses" } else { "/status/containerStatuses" };
    let Some(status) = named(statuses) else {
        return Found::Stale(format!("{} has no status yet", restart.container));
    };
    if text(status, "/state/running/startedAt").is_empty() {
        return Found::Stale(format!("{} does not run now", restart.container));
    }
    let id = text(status, "/containerID");
    if id == restart.container_id && !id.is_empty() {
        return Found::Ready;
    }
    if restart.container_id.is_empty() {
        return Found::Stale("the plan does not know which container ran".to_owned());
    }
    Found::AlreadyDone
}

#[cfg(test)]
mod tests {
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
    use crate::model::plan::Plan;
    use crate::model::rate::Rate;
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
            let Found::Impossible(why) = found(&pod(policy, RUNNING)) else {
                panic!("{policy} loses the proxy")
            };
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
        let key = IncidentKey { owner: subject.clone(), family: "data_plane".into(), member: None };
        let incident: IncidentId = IncidentId::new("k", 1);
        let signal = Signal {
            symptom: "data_plane.proxy_hung".parse().expect("a symptom"),
            subject,
            state: SignalState::Firing,
            severity: Severity::Critical,
            value: None,
            labels: std::collections::BTreeMap::default().into(),
            at,
            source: "test".into(),
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
        run_at(Rate::Off, action, lasts_s, answers).await
    }

    /// The same at a rate whose burst is used up.
    async fn run_at(
        rate: Rate,
        action: Action,
        lasts_s: i64,
        answers: Vec<(&'static str, Result<Answer, Unanswered>)>,
    ) -> (Outcome, Vec<String>) {
        run_on(vec![pod("Always", RUNNING)], rate, action, lasts_s, answers).await
    }

    /// The same on a pod that looks so, look by look; the last of them stays.
    async fn run_on(
        looks: Vec<Value>,
        rate: Rate,
        action: Action,
        lasts_s: i64,
        answers: Vec<(&'static str, Result<Answer, Unanswered>)>,
    ) -> (Outcome, Vec<String>) {
        let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let looks = Arc::new(Mutex::new(looks));
        let pods = axum::Router::new().fallback(move || {
            let mut looks = looks.lock().unwrap();
            let pod = if looks.len() > 1 { looks.remove(0) } else { looks[0].clone() };
            async { axum::Json(pod) }
        });
        let cluster = Arc::new(Cluster::new(kube::Client::new(pods, "default"), vec!["*".to_owned()]));
        let told = Arc::new(Told { answers, asked: Mutex::default() });
        let transport: Arc<dyn ProxyTransport> = Arc::<Told>::clone(&told);
        let effectors = Effectors::new(cluster, clock, rate).reaching(transport);
        let (execute, permit) = permit(&action, clock, lasts_s);
        for _ in 0..rate.burst().get() {
            effectors.writes.pass().await;
        }
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

    // Mutations: the second look left out, which drains a pod that nobody planned for; the last one left out, which
    // quits it; a look that asks for the name only.
    #[tokio::test(start_paused = true)]
    async fn a_pod_that_was_replaced_meanwhile_is_neither_drained_nor_quit() {
        let planned = || pod("Always", RUNNING);
        let mut replaced = planned();
        replaced["metadata"]["uid"] = json!("v");
        let restarted = || pod("Always", "containerd://2");
        let (alive, drain) = ("GET /drain", "POST /drain");
        let cases = [
            (vec![replaced.clone()], "stale", vec![]),
            (vec![planned(), replaced.clone()], "stale", vec![alive]),
            (vec![planned(), restarted()], "already_done", vec![alive]),
            // What was drained is gone: whoever has its name now was neither drained nor is told to quit.
            (vec![planned(), planned(), replaced], "unknown", vec![alive, drain]),
            (vec![planned(), planned(), restarted()], "done", vec![alive, drain]),
            (vec![planned()], "done", vec![alive, drain, "POST /quitquitquit"]),
        ];
        for (looks, word, expected) in cases {
            let answers = vec![(drain, ok()), ("POST /quitquitquit", ok())];
            let (outcome, asked) =
                run_on(looks.clone(), Rate::Off, action(5, "istio-proxy"), 15, answers).await;
            assert_eq!((outcome.name(), &asked), (word, &to_strings(&expected)), "{looks:?}: {outcome:?}");
            if expected.len() == 3 {
                let Outcome::Done { detail } = outcome else { panic!("{outcome:?}") };
                assert!(detail.contains("istio-proxy (1) was told"), "{detail}");
            }
        }
    }

    fn to_strings(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
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

    // Mutations: writing past the brake; waiting for it beyond the permit.
    #[tokio::test(start_paused = true)]
    async fn a_write_that_the_brake_holds_longer_than_its_permit_is_stale() {
        let answers = vec![("POST /drain", ok()), ("POST /quitquitquit", ok())];
        let slow = "2/m".parse().unwrap();
        let (outcome, asked) = run_at(slow, action(5, "istio-proxy"), 15, answers.clone()).await;
        assert_eq!((outcome.name(), asked.len()), ("stale", 1), "{outcome:?}");
        let quick = "1/s".parse().unwrap();
        let (outcome, asked) = run_at(quick, action(5, "istio-proxy"), 15, answers).await;
        assert_eq!((outcome.name(), asked.len()), ("done", 3), "{outcome:?}");
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
}
