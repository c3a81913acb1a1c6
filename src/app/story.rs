//! The story of a run in short lines: what was heard, planned, gated, done and verified.

use crate::engine::explain;
use crate::model::change::Change;
use crate::model::plan::{Direction, Outcome, Rehearsal};
use crate::model::record::Draft;
use crate::model::verdict::Verdict;

/// One line: a word for what happened, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `heard`, `found`, `planned`, `rehearsed`, `gate`, `done`, `undone`, `noted`, `measured`, `ended`,
    /// `learnt`, `paused`, `resumed`, `storm`, `breaker`; the demo adds `fault`.
    pub word: &'static str,
    /// The rest, for people.
    pub text: String,
}

/// The lines of one record.
#[must_use]
pub fn lines(draft: &Draft) -> Vec<Line> {
    of(&draft.changes)
}

/// The lines of what was decided.
#[must_use]
pub fn of(changes: &[Change]) -> Vec<Line> {
    changes.iter().filter_map(line).map(|(word, text)| Line { word, text }).collect()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only some changes are worth a line")]
fn line(change: &Change) -> Option<(&'static str, String)> {
    Some(match change {
        Change::Opened { incident, signal, .. } => {
            let value = signal.value.map(|value| format!(" ({:.1} %)", value * 100.0)).unwrap_or_default();
            ("heard", format!("{} on {}{value}: {incident}", signal.symptom, signal.subject))
        }
        Change::PassedOver { passed, .. } => {
            ("passed over", format!("{}: {}", passed.playbook, passed.reason))
        }
        Change::Found { findings, .. } => ("found", explain::found(&findings.facts).into_iter().next()?),
        Change::Caused { incident, cause, .. } => ("waits", format!("{incident} is explained by {cause}")),
        Change::Held { until, reason, .. } => {
            ("held", format!("{reason}; what was done is taken back at {until}"))
        }
        Change::Planned { plan, .. } => {
            let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
            ("planned", steps.join(", "))
        }
        Change::Rehearsed { rehearsal, .. } => ("rehearsed", rehearsed(rehearsal)),
        Change::Gated { verdict, checks, .. } => ("gate", gated(verdict, checks.len())),
        Change::StepEnded { direction, outcome, .. } => {
            let word = if *direction == Direction::Undo { "undone" } else { "done" };
            (word, ended(outcome))
        }
        Change::Noted { reason, .. } => ("noted", reason.to_string()),
        Change::Probed { reading, .. } => {
            let value = reading.figure.map(|figure| format!(" {:.1} %", figure.value * 100.0));
            let why = if reading.why.is_empty() { String::new() } else { format!(": {}", reading.why) };
            let (indicator, level) = (&reading.indicator, reading.level);
            ("measured", format!("{indicator}{} {level}{why}", value.unwrap_or_default()))
        }
        Change::Ended { phase, reason, .. } => ("ended", format!("{phase}: {reason}")),
        Change::Reopened { .. } => ("reopened", "what it did is to be undone after all".to_owned()),
        Change::RevisionGood { subject, spec_hash, .. } => {
            ("learnt", format!("{subject}: revision {} is good", spec_hash.short()))
        }
        _ => return stop(change),
    })
}

/// What holds new acts for a while, and lets them go.
#[expect(clippy::wildcard_enum_match_arm, reason = "only some changes are about stops")]
fn stop(change: &Change) -> Option<(&'static str, String)> {
    Some(match change {
        Change::PauseBegan { pause } => {
            let (reach, by, until, reason) = (&pause.reach, &pause.by, pause.until, &pause.reason);
            ("paused", format!("{reach} by {by} until {until}: {reason}"))
        }
        Change::PauseEnded { reach, by } => {
            let by = by.as_ref().map_or_else(|| "its time is up".to_owned(), |by| format!("by {by}"));
            ("resumed", format!("{reach}: {by}"))
        }
        Change::StormBegan { storm, .. } => ("storm", explain::storm_began(storm)),
        Change::StormCalmed { domain } => ("storm", format!("fewer {domain} are ill")),
        Change::StormResumed { domain } => ("storm", format!("as many {domain} are ill again")),
        Change::StormEnded { domain, .. } => ("storm", explain::storm_ended(domain)),
        Change::BreakerTripped { .. } => ("breaker", explain::breaker(change)?),
        Change::BreakerTried { policy, playbook, .. } => {
            ("breaker", format!("one act of {playbook} may try under policy {policy}"))
        }
        Change::BreakerClosed { policy, playbook, .. } => {
            ("breaker", format!("{playbook} helped: the breaker of policy {policy} is closed"))
        }
        _ => return None,
    })
}

fn rehearsed(rehearsal: &Rehearsal) -> String {
    match rehearsal {
        Rehearsal::Accepted { .. } => "the API server accepts the dry run".to_owned(),
        Rehearsal::Forbidden { verb, resource, .. } => format!("the right to {verb} {resource} is missing"),
        Rehearsal::Refused { why } | Rehearsal::Unreadable { why } => why.clone(),
    }
}

fn gated(verdict: &Verdict, checks: usize) -> String {
    let first = |reasons: Vec<String>| reasons.into_iter().next().unwrap_or_default();
    match verdict {
        Verdict::Allow => format!("go: all {checks} checks passed"),
        Verdict::Ask { .. } => "people are asked".to_owned(),
        Verdict::Hold { holds } => {
            format!("not now: {}", first(holds.iter().map(|hold| hold.reason.to_string()).collect()))
        }
        Verdict::Refuse { reasons } => {
            format!("no: {}", first(reasons.iter().map(ToString::to_string).collect()))
        }
    }
}

fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { detail } => detail.clone(),
        Outcome::AlreadyDone => "nothing was left to do".to_owned(),
        Outcome::Moot { why }
        | Outcome::Stale { why }
        | Outcome::Failed { why }
        | Outcome::Unknown { why } => why.clone(),
    }
}

/// Blocks from empty to full.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A chart of shares, newest last: `rows` lines of at most `width` columns, with the scale at the left.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a picture"
)]
pub fn chart(values: &[f64], width: usize, rows: usize) -> Vec<String> {
    let shown = &values[values.len().saturating_sub(width)..];
    let top = shown.iter().copied().fold(0.1_f64, f64::max);
    (0..rows)
        .map(|row| {
            let floor = (rows - 1 - row) as f64;
            let bar = shown.iter().map(|value| {
                let filled = (value / top * rows as f64 - floor).clamp(0.0, 1.0);
                BLOCKS[(filled * 8.0).round() as usize]
            });
            let label = if row == 0 {
                format!("{:>4.0} %", top * 100.0)
            } else if row + 1 == rows {
                "   0 %".to_owned()
            } else {
                " ".repeat(6)
            };
            format!("{label} ┤{}", bar.collect::<String>().trim_end())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::chart;

    #[test]
    fn the_chart_goes_up_and_down_with_the_values() {
        let lines = chart(&[0.0, 0.2, 0.4, 0.2, 0.0], 10, 2);
        assert_eq!(lines, ["  40 % ┤  █", "   0 % ┤ ███"]);
    }
}
