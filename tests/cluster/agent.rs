//! The agent as a separate process, with its own account, files and ports.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::control_plane::ControlPlane;
use crate::process::{Guard, free_port, signal};
use crate::wait::until;

/// The program under test.
const MESHMEND: &str = env!("CARGO_BIN_EXE_meshmend");
/// The shipped playbook that writes.
pub(crate) const ROLL_BACK: &str = include_str!("../../playbooks/roll-back-virtual-service.rhai");
/// The shipped playbook that tells people.
const NOTIFY_ONLY: &str = include_str!("../../playbooks/notify-only.rhai");
/// Tokens of the agent's own API, by role.
const TOKENS: [(&str, &str); 3] = [
    ("intake", "intake-token-of-the-tests"),
    ("read", "read-token-of-the-tests"),
    ("approve", "approve-token-of-the-tests"),
];
/// How long anything quick may take on a machine that is busy with all tests at once.
pub(crate) const SOON: Duration = Duration::from_secs(40);

/// Watches of an agent that watches all namespaces: routes of two kinds, rules, and the thirteen kinds beside
/// them.
pub(crate) const WATCHES: usize = 16;

/// What differs from test to test.
pub(crate) struct Settings {
    /// Address of the API server.
    pub(crate) server: String,
    /// Account in the namespace `meshmend`.
    pub(crate) account: &'static str,
    /// Mode of a policy for the test's namespace; `None`: only what is shipped.
    pub(crate) mode: Option<&'static str>,
    /// Playbooks as shipped, or the same with shorter waits.
    pub(crate) pace: Pace,
    /// Base URL of Prometheus.
    pub(crate) prometheus: Option<String>,
    /// Further sources, as lines of the configuration.
    pub(crate) sources: &'static str,
}

/// How long the playbook waits for proof that it helped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As shipped.
    Shipped,
    /// A second to soak, three to hold, twelve in all.
    Quick,
    /// Only the playbooks that the test puts there.
    Own,
}

/// Where the agents of a test live.
pub(crate) struct Place<'p> {
    /// The control plane.
    pub(crate) plane: &'p ControlPlane,
    /// A client that may do everything.
    pub(crate) client: &'p kube::Client,
    /// The test's folder.
    pub(crate) folder: &'p Path,
    /// The test's namespace.
    pub(crate) namespace: &'p str,
}

/// Files and ports of one agent; it can be started on them more than once.
pub(crate) struct Home {
    folder: PathBuf,
    api: String,
    probes: String,
    namespace: String,
    http: reqwest::Client,
}

impl Home {
    /// Writes the files.
    pub(crate) async fn make(place: &Place<'_>, name: &str, settings: &Settings) -> anyhow::Result<Self> {
        let folder = place.folder.join(name);
        std::fs::create_dir_all(folder.join("policies"))?;
        std::fs::create_dir_all(folder.join("playbooks"))?;
        let token = place.plane.token(place.client, settings.account).await?;
        let kubeconfig = place.plane.kubeconfig(&settings.server, &json!({ "token": token }));
        std::fs::write(folder.join("kubeconfig"), kubeconfig.to_string())?;
        for (role, token) in TOKENS {
            std::fs::write(folder.join(role), token)?;
        }
        let (api, probes) = (free_port()?, free_port()?);
        let text = configuration(settings, api, probes);
        std::fs::write(folder.join("meshmend.yaml"), text)?;
        if let Some(mode) = settings.mode {
            std::fs::write(folder.join("policies/test.yaml"), policy(place.namespace, mode))?;
        }
        if settings.pace == Pace::Quick {
            std::fs::write(folder.join("playbooks/roll-back-virtual-service.rhai"), quick()?)?;
            std::fs::write(folder.join("playbooks/notify-only.rhai"), NOTIFY_ONLY)?;
        }
        Ok(Self {
            folder,
            api: format!("127.0.0.1:{api}"),
            probes: format!("127.0.0.1:{probes}"),
            namespace: place.namespace.to_owned(),
            http: reqwest::Client::builder().no_proxy().timeout(SOON).build()?,
        })
    }

    /// Writes a file of rules: `playbooks/NAME.rhai`, `policies/NAME.yaml`.
    pub(crate) fn put(&self, path: &str, text: &str) -> anyhow::Result<()> {
        std::fs::write(self.folder.join(path), text).with_context(|| format!("{path} was not written"))
    }

    /// The journal.
    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.join("journal.db")
    }

    /// Where Alertmanager posts to.
    pub(crate) fn alerts_url(&self) -> String {
        format!("http://{}/v1/alerts/alertmanager", self.api)
    }

    /// The file with the token that Alertmanager shows.
    pub(crate) fn intake_file(&self) -> PathBuf {
        self.folder.join("intake")
    }

    /// Everything the agent has said so far.
    pub(crate) fn log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.folder.join("agent.log"))?)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(MESHMEND);
        command.env_clear().current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn run_command(&self) -> Command {
        let mut command = self.command();
        command.args(["run", "--config", "meshmend.yaml", "--kubeconfig", "kubeconfig"]);
        command
    }

    /// Starts the agent.
    pub(crate) async fn start(&self) -> anyhow::Result<Agent<'_>> {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("agent.log"))?;
        let child = self.run_command().stdout(log.try_clone()?).stderr(log).spawn()?;
        let pid = child.id().context("the agent has ended at once")?;
        Ok(Agent { home: self, guard: Guard::over(pid)?, child, pid })
    }

    /// Starts the agent and waits until it is ready.
    pub(crate) async fn start_ready(&self) -> anyhow::Result<Agent<'_>> {
        let mut agent = self.start().await?;
        agent.ready().await?;
        Ok(agent)
    }

    /// Runs the agent until it ends by itself: exit code and what it said.
    pub(crate) async fn run_to_end(&self) -> anyhow::Result<(Option<i32>, String)> {
        let output = tokio::time::timeout(SOON, self.run_command().output()).await;
        let output = output.context("the agent did not end by itself")??;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
    }

    /// Runs another command of the program: exit code and what it printed.
    pub(crate) async fn meshmend(&self, args: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
        let output = tokio::time::timeout(SOON, self.command().args(args).output()).await;
        let output = output.with_context(|| format!("meshmend {args:?} did not end"))??;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
    }

    /// Fails unless `audit verify` accepts the journal and `replay` decides everything the same again.
    pub(crate) async fn journal_holds(&self) -> anyhow::Result<()> {
        let journal = self.journal();
        let journal = journal.to_str().context("a temporary path is UTF-8")?;
        for command in [&["audit", "verify", "--journal", journal][..], &["replay", "--journal", journal]] {
            let (code, said) = self.meshmend(command).await?;
            anyhow::ensure!(code == Some(0), "meshmend {command:?} exited with {code:?}: {said}");
        }
        Ok(())
    }
}

/// A running agent.
pub(crate) struct Agent<'h> {
    /// Its files.
    pub(crate) home: &'h Home,
    guard: Guard,
    child: Child,
    /// Its process id.
    pub(crate) pid: u32,
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        // On the way out of a failed test; a stopped agent has ended already, and this does nothing.
        self.child.start_kill().ok();
        self.guard.off();
    }
}

impl Agent<'_> {
    /// Waits until `/readyz` says so.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        until("the agent is ready", SOON, async || {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("the agent ended: {status}");
            }
            let answer = self.probe("/readyz").await;
            Ok(answer.is_ok_and(|(status, _)| status == 200).then_some(()))
        })
        .await
    }

    /// Asks one of the open probes.
    pub(crate) async fn probe(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let answer = self.home.http.get(format!("http://{}{path}", self.home.probes)).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    async fn call(&self, role: &str, path: &str, body: Option<&Value>) -> anyhow::Result<(u16, Value)> {
        let url = format!("http://{}{path}", self.home.api);
        let request = match body {
            Some(body) => self.home.http.post(url).json(body),
            None => self.home.http.get(url),
        };
        let (_, token) = TOKENS.iter().find(|(name, _)| *name == role).context("no token of this role")?;
        let answer = request.bearer_auth(token).send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await?))
    }

    /// Posts an alert as Alertmanager does; the answer is the incident it led to.
    pub(crate) async fn alert(&self, alert: &Value) -> anyhow::Result<String> {
        let (status, answer) = self.post_alert(alert).await?;
        anyhow::ensure!(status == 200, "the alert was answered {status}: {answer}");
        Ok(answer["incidents"][0].as_str().with_context(|| format!("no incident: {answer}"))?.to_owned())
    }

    /// Sends a signal; the answer is the incident it led to.
    pub(crate) async fn signal(&self, signal: &Value) -> anyhow::Result<String> {
        let (status, answer) = self.call("intake", "/v1/signals", Some(signal)).await?;
        anyhow::ensure!(status == 200, "the signal was answered {status}: {answer}");
        Ok(answer["incidents"][0].as_str().with_context(|| format!("no incident: {answer}"))?.to_owned())
    }

    /// Posts an alert as Alertmanager does.
    pub(crate) async fn post_alert(&self, alert: &Value) -> anyhow::Result<(u16, Value)> {
        self.call("intake", "/v1/alerts/alertmanager", Some(alert)).await
    }

    /// Votes for a plan.
    pub(crate) async fn vote(&self, id: &str, word: &str, plan: &Value) -> anyhow::Result<(u16, Value)> {
        self.call("approve", &format!("/v1/incidents/{id}/{word}"), Some(&json!({ "plan": plan }))).await
    }

    /// An incident as the API shows it.
    pub(crate) async fn incident(&self, id: &str) -> anyhow::Result<Value> {
        let (status, incident) = self.call("read", &format!("/v1/incidents/{id}"), None).await?;
        anyhow::ensure!(status == 200, "incident {id} was answered {status}: {incident}");
        Ok(incident)
    }

    /// All incidents.
    pub(crate) async fn incidents(&self) -> anyhow::Result<Vec<Value>> {
        let (status, all) = self.call("read", "/v1/incidents", None).await?;
        anyhow::ensure!(status == 200, "the incidents were answered {status}: {all}");
        Ok(all["incidents"].as_array().context("the incidents are a list")?.clone())
    }

    /// The newest incident about this symptom and subject.
    pub(crate) async fn incident_about(
        &self,
        (symptom, namespace, name): (&str, &str, &str),
        limit: Duration,
    ) -> anyhow::Result<Value> {
        until(&format!("an incident {symptom} of {namespace}/{name}"), limit, async || {
            let ours = |incident: &&Value| {
                let of = &incident["subject"];
                incident["symptom"] == symptom && of["namespace"] == namespace && of["name"] == name
            };
            Ok(self.incidents().await?.iter().rfind(ours).cloned())
        })
        .await
    }

    /// Waits until an incident is in a phase; when it ends in another one, it says how.
    pub(crate) async fn phase(&self, id: &str, phase: &str, limit: Duration) -> anyhow::Result<Value> {
        const ENDS: [&str; 5] = ["resolved", "escalated", "suppressed", "expired", "gone"];
        let what = format!("incident {id} is {phase}");
        let waited = until(&what, limit, async || {
            let incident = self.incident(id).await?;
            let now = incident["phase"].as_str().unwrap_or_default();
            let reasons = &incident["reasons"];
            anyhow::ensure!(now == phase || !ENDS.contains(&now), "{id} ended {now}, not {phase}: {reasons}");
            Ok((now == phase).then_some(incident))
        })
        .await;
        match waited {
            Ok(incident) => Ok(incident),
            Err(error) => {
                let seen = self.incident(id).await.unwrap_or_default();
                Err(error.context(format!("{} {} {}", seen["phase"], seen["verdict"], seen["reasons"])))
            }
        }
    }

    /// What is known about a route of the test's namespace; null when it was never seen.
    pub(crate) async fn history(&self, name: &str) -> anyhow::Result<Value> {
        self.history_of("VirtualService", name).await
    }

    /// The same of a routing object of another kind.
    pub(crate) async fn history_of(&self, kind: &str, name: &str) -> anyhow::Result<Value> {
        let (status, all) = self.call("read", "/v1/history", None).await?;
        anyhow::ensure!(status == 200, "the history was answered {status}: {all}");
        let routes = all["routes"].as_array().context("the history lists routes")?;
        let ours = |route: &&Value| {
            let of = &route["subject"];
            of["kind"] == kind && of["namespace"] == self.home.namespace.as_str() && of["name"] == name
        };
        Ok(routes.iter().find(ours).cloned().unwrap_or_default())
    }

    /// Waits until so many revisions of a route have been seen; the answer is its history.
    pub(crate) async fn revisions(&self, name: &str, count: usize) -> anyhow::Result<Value> {
        until(&format!("{count} revisions of {name} are seen"), SOON, async || {
            let history = self.history(name).await?;
            Ok((history["revisions"].as_array().map_or(0, Vec::len) == count).then_some(history))
        })
        .await
    }

    /// Marks the revision in force good on a person's word, with the command that people use.
    pub(crate) async fn bless(&self, name: &str) -> anyhow::Result<()> {
        let route = format!("{}/{name}", self.home.namespace);
        let server = format!("http://{}", self.home.api);
        let args = ["history", "bless", &route, "--server", &server, "--token-file", "approve"];
        let (code, said) = self.home.meshmend(&args).await?;
        anyhow::ensure!(code == Some(0), "meshmend {args:?} exited with {code:?}: {said}");
        Ok(())
    }

    /// Ends it as Kubernetes does, by SIGTERM.
    pub(crate) async fn terminate(mut self) -> anyhow::Result<ExitStatus> {
        signal("TERM", self.pid).await?;
        self.ended().await
    }

    /// Kills it (-9).
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        self.child.start_kill()?;
        self.ended().await.map(|_| ())
    }

    async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let status = tokio::time::timeout(SOON, self.child.wait()).await;
        let status = status.context("the agent did not end")??;
        self.guard.off();
        Ok(status)
    }
}

fn configuration(settings: &Settings, api: u16, probes: u16) -> String {
    let mut text = format!(
        "apiVersion: meshmend.dev/v1alpha1\nkind: Config\ncluster: {{ name: tests }}\n\
         journal: {{ sqlite: {{ path: journal.db }} }}\n\
         listen: {{ api: \"127.0.0.1:{api}\", probes: \"127.0.0.1:{probes}\" }}\n\
         history: {{ hold: 5s, minRequests: 10 }}\ntokens:\n"
    );
    for (role, _) in TOKENS {
        text.push_str(&format!("  - {{ name: {role}, roles: [{role}], file: {role} }}\n"));
    }
    // All of them, or nobody could see which route of a host is in force.
    text.push_str("sources:\n  kubernetes: { namespaces: [\"*\"] }\n  alertmanager: {}\n");
    text.push_str(settings.sources);
    if let Some(url) = &settings.prometheus {
        text.push_str(&format!("  prometheus: {{ url: \"{url}\", interval: 1s }}\n"));
    }
    if settings.mode.is_some() {
        text.push_str("policies: policies\n");
    }
    if settings.pace != Pace::Shipped {
        text.push_str("playbooks: playbooks\n");
    }
    text
}

/// Some tests let all of their few routes fall ill at once: that is to be no storm.
fn policy(namespace: &str, mode: &str) -> String {
    format!(
        "apiVersion: meshmend.dev/v1alpha1\nkind: Policy\nmetadata: {{ name: test }}\nspec:\n  \
         scope: {{ namespaces: [\"{namespace}\"], playbooks: [\"roll-back-*\"], actions: [\"rollback_route\"] }}\n  \
         mode: {mode}\n  limits: [ {{ per: target, acts: 3, window: 1h }} ]\n  cooldown: 1s\n  \
         attempts: {{ max: 3, refill: 1h }}\n  \
         blastRadius: {{ storm: {{ namespace: {{ share: 30%, least: 20 }}, mesh: {{ share: 10%, least: 20 }} }} }}\n"
    )
}

/// The shipped playbook with shorter waits, so that a test takes seconds.
fn quick() -> anyhow::Result<String> {
    let (shipped, quick) =
        ("soak: \"5s\", within: \"2m\", hold: \"30s\"", "soak: \"1s\", within: \"12s\", hold: \"3s\"");
    anyhow::ensure!(ROLL_BACK.contains(shipped), "the shipped playbook has other waits than {shipped}");
    Ok(ROLL_BACK.replace(shipped, quick))
}
