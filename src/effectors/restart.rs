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
use crate::model::plan::{Outcome, Rehearsal};
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
        match self.found(&restart).await {
            Ok(Found::Ready) => {}
            Ok(Found::AlreadyDone) => return Outcome::AlreadyDone,
            Ok(Found::Stale(why)) => return Outcome::Stale { why },
            Ok(Found::Impossible(why)) => return Outcome::Failed { why },
            Err(trouble) => return not_sent(way, trouble.right, &trouble.error),
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
                        namespace: namespace.clone(),
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
    PodPort { namespace: target.namespace.clone(), pod: target.name.clone(), ip: None, port: agent.port }
}

/// What the answer to the quit means. An agent that went too fast to answer has done as it was told.
fn ended(restart: &Restart<'_>, answer: Result<Answer, Unanswered>, before: &str) -> Outcome {
    let container = restart.container;
    match answer {
        Ok((200, _)) => Outcome::Done { detail: format!("{before}{container} was told to quit") },
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
            Outcome::Done { detail: format!("{before}{container} closed the connection on the quit") }
        }
        Err(Unanswered::NotAsked(why)) => {
            Outcome::Unknown { why: format!("{before}the quit could not be sent: {why}") }
        }
    }
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
mod tests;
