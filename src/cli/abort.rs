//! `meshmend abort`: stops at once, shows what is in force, and asks whether to keep or to undo it.

use std::io::{BufRead, IsTerminal as _, Write};

use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Client;
use super::commands::{Output, Remote};
use super::operators::Scope;
use super::people;
use super::{FINDINGS, FINE, Usage};
use crate::model::event::InForce;

#[derive(Debug, Args)]
pub(super) struct AbortArgs {
    /// Incident id.
    #[arg(required_unless_present_any = ["namespace", "playbook", "all"],
        conflicts_with_all = ["namespace", "playbook", "all"])]
    incident: Option<String>,
    /// Every open incident.
    #[arg(long, conflicts_with_all = ["namespace", "playbook"])]
    all: bool,
    #[command(flatten)]
    scope: Scope,
    /// Keep what was done; what expires still ends at its time.
    #[arg(long, conflicts_with = "undo")]
    keep: bool,
    /// Undo what was done; also of an incident that was stopped before.
    #[arg(long)]
    undo: bool,
    /// Why: it stands in the journal.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    remote: Remote,
}

impl AbortArgs {
    fn in_force(&self) -> Option<InForce> {
        match (self.keep, self.undo) {
            (true, _) => Some(InForce::Keep),
            (_, true) => Some(InForce::Undo),
            (false, false) => None,
        }
    }
}

/// What a stopped incident did that stays in force, as the API tells it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Kept {
    incident: String,
    act: String,
    running: bool,
    healthy: bool,
    expires: Option<Timestamp>,
    undo: String,
}

impl Kept {
    fn line(&self) -> String {
        let Self { incident, act, .. } = self;
        let verb = if self.running { "is just being done" } else { "in force" };
        let healthy =
            if self.healthy { ", and the last probe was healthy" } else { ", not yet seen to help" };
        let until = self.expires.map(|at| format!(", until {at:.0}")).unwrap_or_default();
        format!("{incident}: {verb}: {act}{until}{healthy}")
    }
}

/// What the answer to a stop says is kept.
fn kept(answer: &Value) -> anyhow::Result<Vec<Kept>> {
    Ok(match answer.get("inForce") {
        None => Vec::new(),
        Some(all @ Value::Array(_)) => serde_json::from_value(all.clone())?,
        Some(one) => vec![serde_json::from_value(one.clone())?],
    })
}

pub(super) fn abort(args: &AbortArgs) -> anyhow::Result<u8> {
    let client = Client::new(&args.remote)?;
    if args.reason.trim().is_empty() {
        return Err(Usage("--reason is empty: say why, others will ask".to_owned()).into());
    }
    // Stopped first, whatever is answered then.
    let answer = match &args.incident {
        Some(id) => client.call(&of_one(id), Some(wish(&args.reason, args.in_force())))?,
        None => client.call("/v1/abort", Some(all(args)))?,
    };
    let kept = kept(&answer)?;
    let open = args.in_force().is_none() && !kept.is_empty();
    if args.remote.output == Output::Json {
        people::json(&answer)?;
        return Ok(if open { FINDINGS } else { FINE });
    }
    people::say(stopped(args, &answer));
    kept.iter().for_each(|kept| people::say(kept.line()));
    if !open {
        return Ok(FINE);
    }
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        people::say("nobody could be asked: it is kept; to undo it:");
        kept.iter().for_each(|kept| people::say(format!("  {}", kept.undo)));
        return Ok(FINDINGS);
    }
    match ask(&mut std::io::stdin().lock(), &mut std::io::stdout(), kept.iter().all(|kept| kept.healthy)) {
        InForce::Keep => people::say("it is kept"),
        InForce::Undo => {
            for Kept { incident, .. } in &kept {
                client.call(&of_one(incident), Some(wish(&args.reason, Some(InForce::Undo))))?;
                people::say(format!("{incident}: what was done is being undone"));
            }
        }
    }
    Ok(FINE)
}

fn of_one(id: &str) -> String {
    format!("/v1/incidents/{id}/abort")
}

fn wish(comment: &str, in_force: Option<InForce>) -> Value {
    let mut body = json!({ "comment": comment });
    if let Some(in_force) = in_force {
        body["inForce"] = json!(in_force);
    }
    body
}

fn all(args: &AbortArgs) -> Value {
    let mut body = args.scope.body();
    body.insert("reason".to_owned(), json!(args.reason));
    if let Some(in_force) = args.in_force() {
        body.insert("inForce".to_owned(), json!(in_force));
    }
    Value::Object(body)
}

/// What the stop did.
fn stopped(args: &AbortArgs, answer: &Value) -> String {
    let Some(id) = &args.incident else {
        let count = answer["incidents"].as_array().map_or(0, Vec::len);
        return format!("{count} incidents aborted");
    };
    let phase = answer["phase"].as_str().unwrap_or_default();
    let rest = match (phase, answer.get("inForce")) {
        (_, Some(_)) => "nothing more is done",
        ("suppressed", None) => "it is over",
        _ => "what was done is being undone",
    };
    format!("{id}: aborted, the incident is {phase}: {rest}")
}

/// Asks until there is an answer. Enter keeps what was seen to help; where nothing has been seen there is no
/// answer without a word. Whoever goes away keeps it.
fn ask(input: &mut impl BufRead, out: &mut impl Write, healthy: bool) -> InForce {
    let question = if healthy { "keep or undo it? [K/u] " } else { "keep or undo it? [k/u] " };
    loop {
        write!(out, "{question}").and_then(|()| out.flush()).ok();
        let mut line = String::new();
        if input.read_line(&mut line).unwrap_or(0) == 0 {
            return InForce::Keep;
        }
        match line.trim().to_lowercase().as_str() {
            "k" | "keep" => return InForce::Keep,
            "u" | "undo" => return InForce::Undo,
            "" if healthy => return InForce::Keep,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutations: Enter that undoes; Enter that keeps what nobody has seen to help; an end of the input that undoes.
    #[test]
    fn enter_keeps_what_helped_and_answers_nothing_else() {
        let cases = [
            ("\n", true, InForce::Keep, 1),
            ("\n", false, InForce::Keep, 2),
            ("\nu\n", false, InForce::Undo, 2),
            ("what\nUNDO\n", true, InForce::Undo, 2),
            ("k\n", false, InForce::Keep, 1),
            ("", false, InForce::Keep, 1),
        ];
        for (typed, healthy, expected, questions) in cases {
            let mut out = Vec::new();
            assert_eq!(ask(&mut typed.as_bytes(), &mut out, healthy), expected, "{typed:?} {healthy}");
            let asked = String::from_utf8(out).unwrap().matches("keep or undo it?").count();
            assert_eq!(asked, questions, "{typed:?} {healthy}");
        }
    }

    // Mutation: a key that the API does not tell.
    #[test]
    fn what_is_kept_is_told_with_its_end_and_whether_it_helped() {
        let answer = json!({ "phase": "holding", "inForce": { "incident": "j-00001", "act": "shed load of cart",
            "running": false, "healthy": true, "expires": "2026-01-01T00:10:00Z", "undo": "meshmend abort .." } });
        let kept = kept(&answer).unwrap();
        let line = "j-00001: in force: shed load of cart, until 2026-01-01T00:10:00Z, \
            and the last probe was healthy";
        assert_eq!(kept[0].line(), line);
        assert_eq!(super::kept(&json!({ "incidents": [] })).unwrap(), []);
    }
}
