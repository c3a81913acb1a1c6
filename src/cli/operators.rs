//! `meshmend pause`, `resume` and `pauses`: what operators hold of a running agent, and how far that reaches.

use clap::Args;
use serde_json::{Map, Value, json};

use super::FINE;
use super::client::Client;
use super::commands::{Output, Remote};
use super::people;
use crate::model::pause::{Pause, Reach};
use crate::model::storm::{Breaker, Storm};

/// How far a wish reaches.
#[derive(Debug, Args)]
pub(super) struct Scope {
    /// Only targets in this namespace.
    #[arg(short, long, value_name = "NAME", conflicts_with = "playbook")]
    namespace: Option<String>,
    /// Only plans of this playbook.
    #[arg(long, value_name = "NAME")]
    playbook: Option<String>,
}

impl Scope {
    /// The body that names it.
    pub(super) fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        match (&self.namespace, &self.playbook) {
            (Some(name), _) => body.insert("namespace".to_owned(), json!(name)),
            (None, Some(name)) => body.insert("playbook".to_owned(), json!(name)),
            (None, None) => body.insert("all".to_owned(), json!(true)),
        };
        body
    }
}

#[derive(Debug, Args)]
pub(super) struct PauseArgs {
    #[command(flatten)]
    scope: Scope,
    /// How long, at most 7d.
    #[arg(long = "for", value_name = "DURATION")]
    lasts: String,
    /// Why: it stands in the journal and beside everything that is held.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn pause(args: &PauseArgs) -> anyhow::Result<u8> {
    let mut body = args.scope.body();
    body.insert("for".to_owned(), json!(args.lasts));
    body.insert("reason".to_owned(), json!(args.reason));
    let answer = Client::new(&args.remote)?.call("/v1/pause", Some(Value::Object(body)))?;
    if args.remote.output == Output::Json {
        people::json(&answer)?;
        return Ok(FINE);
    }
    let pause: Pause = serde_json::from_value(answer)?;
    people::say(format!("{} is paused until {}", pause.reach, pause.until));
    people::say("what runs goes on and is taken back if it does not help; stop it with meshmend abort");
    Ok(FINE)
}

pub(super) fn resume(args: &ResumeArgs) -> anyhow::Result<u8> {
    let body = Value::Object(args.scope.body());
    let answer = Client::new(&args.remote)?.call("/v1/resume", Some(body))?;
    if args.remote.output == Output::Json {
        people::json(&answer)?;
        return Ok(FINE);
    }
    let reach: Reach = serde_json::from_value(answer["resumed"].clone())?;
    people::say(format!("{reach} is resumed"));
    Ok(FINE)
}

/// What holds new acts now, as `GET /v1/pauses` answers it.
struct Stops {
    pauses: Vec<Pause>,
    storms: Vec<Storm>,
    breakers: Vec<Breaker>,
}

impl Stops {
    fn read(answer: &Value) -> anyhow::Result<Self> {
        Ok(Self {
            pauses: serde_json::from_value(answer["pauses"].clone())?,
            storms: serde_json::from_value(answer["storms"].clone())?,
            breakers: serde_json::from_value(answer["breakers"].clone())?,
        })
    }

    /// What, until when, and why.
    fn rows(&self) -> Vec<[String; 3]> {
        let pauses = self.pauses.iter().map(|pause| {
            let why = format!("paused by {}: {}", pause.by, pause.reason);
            [pause.reach.to_string(), pause.until.strftime("%m-%d %H:%MZ").to_string(), why]
        });
        let storms = self.storms.iter().map(|storm| {
            let until =
                storm.over_at().map_or_else(|| "-".to_owned(), |at| at.strftime("%m-%d %H:%MZ").to_string());
            let why = format!("storm since {}, see {}", storm.since.strftime("%m-%d %H:%MZ"), storm.incident);
            [storm.domain.to_string(), until, why]
        });
        let breakers = self.breakers.iter().map(|breaker| {
            let until = breaker.open_until.map(|at| at.strftime("%m-%d %H:%MZ").to_string());
            let why = format!("breaker of policy {}: too many failures", breaker.policy);
            [format!("playbook {}", breaker.playbook), until.unwrap_or_default(), why]
        });
        pauses.chain(storms).chain(breakers).collect()
    }
}

pub(super) fn pauses(remote: &Remote) -> anyhow::Result<u8> {
    let answer = Client::new(remote)?.call("/v1/pauses", None)?;
    if remote.output == Output::Json {
        people::json(&answer)?;
        return Ok(FINE);
    }
    let rows = Stops::read(&answer)?.rows();
    if rows.is_empty() {
        people::say("nothing is held: no pause, no storm, no open breaker");
    } else {
        people::table(["HELD", "UNTIL", "WHY"], &rows);
    }
    Ok(FINE)
}

/// One line for each thing that holds new acts, above the incidents.
pub(super) fn say_held(client: &Client) -> anyhow::Result<()> {
    for [what, until, why] in Stops::read(&client.call("/v1/pauses", None)?)?.rows() {
        let until = if until == "-" { String::new() } else { format!(" until {until}") };
        people::say(people::cut(&format!("! {what} held{until}: {why}"), 80));
    }
    Ok(())
}
