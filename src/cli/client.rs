//! Commands that talk to a running agent over its local API.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::commands::{Output, Remote, Vote};
use super::operators;
use super::people;
use super::work::journal;
use super::{FINE, Usage};
use crate::engine::explain::lines;
use crate::model::history::{Revision, Standing};
use crate::model::incident::Incident;
use crate::model::plan::Rehearsal;
use crate::model::subject::Subject;

/// What `run` leaves beside its journal.
#[derive(Deserialize)]
struct Word {
    server: String,
    #[serde(default)]
    token_file: Option<PathBuf>,
}

pub(super) struct Client {
    http: reqwest::Client,
    server: String,
    token: String,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    pub(super) fn new(remote: &Remote) -> anyhow::Result<Self> {
        let (server, token_file) = match (&remote.server, &remote.token_file) {
            (Some(server), Some(token_file)) => (server.clone(), token_file.clone()),
            // Only then it matters where the journal is: a container has no home to look in.
            _ => Self::left_word(remote)?,
        };
        if server.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).is_none() {
            return Err(
                Usage(format!("{server:?} is not a URL; write for instance http://127.0.0.1:8480")).into()
            );
        }
        let token = std::fs::read_to_string(&token_file)
            .with_context(|| format!("the token {} cannot be read", token_file.display()))?;
        Ok(Self {
            http: reqwest::Client::builder().timeout(Duration::from_secs(35)).no_proxy().build()?,
            server: server.trim_end_matches('/').to_owned(),
            token: token.trim().to_owned(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        })
    }

    /// Server and token file: those given, and where one is missing, what `run` left beside its journal.
    fn left_word(remote: &Remote) -> anyhow::Result<(String, PathBuf)> {
        let path = journal(remote.journal.clone())?.with_extension("api.json");
        let word: Option<Word> =
            std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let unknown = |what: &str| {
            Usage(format!(
                "no agent has left word at {}: start meshmend run, name its journal (--journal FILE), or give {what}",
                path.display()
            ))
        };
        let server = remote.server.clone().or_else(|| word.as_ref().map(|word| word.server.clone()));
        let token_file = remote.token_file.clone().or_else(|| word.and_then(|word| word.token_file));
        let server = server.ok_or_else(|| unknown("--server URL"))?;
        Ok((server, token_file.ok_or_else(|| unknown("--token-file FILE"))?))
    }

    pub(super) fn call(&self, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.server);
        let request = match body {
            Some(body) => self.http.post(&url).json(&body),
            None => self.http.get(&url),
        };
        self.runtime.block_on(async {
            let answer = request.bearer_auth(&self.token).send().await;
            let answer =
                answer.with_context(|| format!("no agent answers at {}; is it running?", self.server))?;
            let status = answer.status();
            let value: Value = answer.json().await.unwrap_or_default();
            if status.is_success() {
                return Ok(value);
            }
            let message = value["error"]["message"].as_str().unwrap_or("no message").to_owned();
            anyhow::bail!("the agent refused ({status}): {message}")
        })
    }
}

pub(super) fn incidents(remote: &Remote) -> anyhow::Result<u8> {
    let client = Client::new(remote)?;
    let found = client.call("/v1/incidents", None)?;
    if remote.output == Output::Json {
        people::json(&found)?;
        return Ok(FINE);
    }
    let incidents: Vec<Incident> = serde_json::from_value(found["incidents"].clone())?;
    let rows: Vec<[String; 5]> = incidents
        .iter()
        .map(|case| {
            let why = case.holds().first().map(|hold| hold.reason.to_string());
            let why = why.or_else(|| case.reasons.last().map(|timed| timed.reason.to_string()));
            let subject = &case.subject;
            let slash = if subject.namespace.is_empty() { "" } else { "/" };
            let what = format!("{}{slash}{}", subject.namespace, subject.name);
            [
                case.id.to_string(),
                case.phase.to_string(),
                case.symptom.to_string(),
                what,
                why.unwrap_or_default(),
            ]
        })
        .collect();
    operators::say_held(&client)?;
    people::table(["INCIDENT", "PHASE", "SYMPTOM", "SUBJECT", "WHY"], &rows);
    Ok(FINE)
}

pub(super) fn vote(args: &Vote, word: &str) -> anyhow::Result<u8> {
    let client = Client::new(&args.remote)?;
    let plan = match &args.plan {
        Some(plan) => plan.clone(),
        None => ask(&client, &args.incident, word)?,
    };
    let body = json!({ "plan": plan, "comment": args.comment });
    let after = client.call(&format!("/v1/incidents/{}/{word}", args.incident), Some(body))?;
    if args.remote.output == Output::Json {
        people::json(&after)?;
    } else {
        let phase = after["phase"].as_str().unwrap_or_default();
        people::say(format!("{}: vote counted, the incident is {phase}", args.incident));
    }
    Ok(FINE)
}

/// Shows the plan and asks. Without a terminal nobody can be asked, and the plan must be named.
fn ask(client: &Client, id: &str, word: &str) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        let text = format!(
            "no terminal to ask on: name the plan with --plan HASH (see meshmend incidents -o json, or explain {id})"
        );
        return Err(Usage(text).into());
    }
    let incident: Incident = serde_json::from_value(client.call(&format!("/v1/incidents/{id}"), None)?)?;
    lines(&incident).iter().for_each(people::say);
    if let Some(Rehearsal::Accepted { diff }) = &incident.rehearsal {
        people::say(diff);
    }
    let plan = incident.approval.as_ref().map(|asked| asked.plan);
    let plan =
        plan.ok_or_else(|| anyhow::anyhow!("{id} does not wait for an approval, it is {}", incident.phase))?;
    write!(std::io::stdout(), "{word} this plan? [y/N] ")?;
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    anyhow::ensure!(matches!(answer.trim(), "y" | "Y" | "yes"), "nothing was sent");
    Ok(plan.to_string())
}

#[derive(Deserialize)]
struct Route {
    subject: Subject,
    in_force: Option<crate::model::digest::Digest>,
    revisions: Vec<Revision>,
}

pub(super) fn history(remote: &Remote) -> anyhow::Result<u8> {
    let found = Client::new(remote)?.call("/v1/history", None)?;
    if remote.output == Output::Json {
        people::json(&found)?;
        return Ok(FINE);
    }
    let routes: Vec<Route> = serde_json::from_value(found["routes"].clone())?;
    let mut rows = Vec::new();
    for route in &routes {
        for revision in &route.revisions {
            let mark = if route.in_force == Some(revision.spec_hash) { "*" } else { "" };
            let standing = match &revision.standing {
                Standing::Seen => "seen".to_owned(),
                Standing::Good { .. } => "good".to_owned(),
                Standing::Bad { incident } => format!("bad ({incident})"),
            };
            let name = format!("{}/{}", route.subject.namespace, route.subject.name);
            let by = format!("{}, {}", revision.manager, revision.seen_at.strftime("%m-%d %H:%M"));
            rows.push([name, mark.to_owned(), revision.spec_hash.short(), standing, by]);
        }
    }
    people::table(["ROUTE", "", "REVISION", "STANDING", "WRITTEN BY"], &rows);
    Ok(FINE)
}

pub(super) fn bless(route: &str, remote: &Remote) -> anyhow::Result<u8> {
    let (namespace, name) = route
        .split_once('/')
        .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'))
        .ok_or_else(|| Usage(format!("{route:?} is not NAMESPACE/NAME")))?;
    let subject = Subject::virtual_service(namespace, name);
    let answer = Client::new(remote)?.call("/v1/history/bless", Some(json!({ "subject": subject })))?;
    if remote.output == Output::Json {
        people::json(&answer)?;
    } else {
        let hash = answer["spec_hash"].as_str().unwrap_or_default();
        people::say(format!("{route}: revision {hash} is good on your word"));
    }
    Ok(FINE)
}
