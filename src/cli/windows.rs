//! `meshmend windows`: when the loaded policies allow to act over the next days.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::commands::Output;
use super::{FINE, people, work};
use crate::app::files;
use crate::clock::Clock;
use crate::rules::{Policies, Policy, Span, open_spans};

#[derive(Debug, Args)]
pub(super) struct WindowsArgs {
    /// Configuration file; its policies count.
    #[arg(long, value_name = "FILE", env = "MESHMEND_CONFIG")]
    config: Option<PathBuf>,
    /// Folder of policies instead.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// How many days to look ahead.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(i64).range(1..=60))]
    days: i64,
    /// From when on, as 2026-12-24T00:00:00Z; now without it.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Output.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

pub(super) fn windows(args: &WindowsArgs) -> anyhow::Result<u8> {
    let policies = match &args.policies {
        Some(folder) => Some(folder.clone()),
        None => work::config(args.config.as_deref())?.policies,
    };
    let (_, loaded) = files::load(None, policies.as_deref(), None)?;
    let at = args.at.unwrap_or_else(Clock::wall);
    if args.output == Output::Json {
        people::json(&as_json(&loaded.rules.policies, at, args.days))?;
        return Ok(FINE);
    }
    people::say(format!(
        "acting is allowed in these times within {} days from {}",
        args.days,
        at.strftime("%F %H:%MZ")
    ));
    for policy in loaded.rules.policies.iter() {
        say(policy, at, args.days);
    }
    people::say("an act needs all policies that cover it to be open; taking back never waits");
    Ok(FINE)
}

fn spans(policy: &Policy, at: Timestamp, days: i64) -> Vec<Span> {
    open_spans(policy.windows(), policy.freezes(), at, days)
}

/// The zone in which people read the times of a policy: that of its first window.
fn zone(policy: &Policy) -> TimeZone {
    let first = policy.windows().and_then(|table| table.windows.first());
    first.map_or(TimeZone::UTC, |window| window.place().clone())
}

fn say(policy: &Policy, at: Timestamp, days: i64) {
    people::say(format!("\n{}", policy.name));
    for window in policy.windows().iter().flat_map(|table| &table.windows) {
        people::say(format!("  {} {} {}", window.says.as_str(), window.text, window.zone));
    }
    let zone = zone(policy);
    let show = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%a %m-%d %H:%M %Z").to_string();
    for freeze in policy.freezes() {
        people::say(people::cut(
            &format!("  freeze {} - {}: {}", show(freeze.from), show(freeze.to), freeze.reason),
            80,
        ));
    }
    let spans = spans(policy, at, days);
    match spans.first() {
        Some((from, _)) if *from == at => people::say("  open now"),
        Some((from, _)) => people::say(format!("  closed now, opens {}", show(*from))),
        None => people::say(format!("  closed for all of the next {days} days")),
    }
    for (from, to) in spans {
        people::say(format!("    {} - {}", show(from), show(to)));
    }
}

fn as_json(policies: &Policies, at: Timestamp, days: i64) -> Value {
    let policies = policies.iter().map(|policy| {
        let spans = spans(policy, at, days);
        let table = policy.windows();
        let windows = table
            .iter()
            .flat_map(|table| &table.windows)
            .map(|window| json!({ window.says.as_str(): window.text, "zone": window.zone }));
        let freezes = policy.freezes().iter();
        let freezes =
            freezes.map(|freeze| json!({ "from": freeze.from, "to": freeze.to, "reason": freeze.reason }));
        let open = |(from, to): &Span| json!({ "from": from, "to": to });
        json!({
            "policy": policy.name,
            "windows": windows.collect::<Vec<_>>(),
            "freezes": freezes.collect::<Vec<_>>(),
            "open_now": spans.first().is_some_and(|(from, _)| *from == at),
            "opens": spans.first().map(|(from, _)| from),
            "open": spans.iter().map(open).collect::<Vec<_>>(),
        })
    });
    json!({ "at": at, "days": days, "policies": policies.collect::<Vec<_>>() })
}
