//! Select: the playbooks for a signal, and what must be read for them.

use std::collections::BTreeSet;

use super::case::Case;
use super::cause;
use super::deadlines::INSPECTING;
use super::history::good_revisions;
use super::late;
use super::standing;
use crate::model::change::Change;
use crate::model::incident::{IncidentId, PassedOver, Phase};
use crate::model::reason::Reason;
use crate::model::signal::Signal;
use crate::rules::Rules;

/// Names of the playbooks that match, best first, and those whose `applies` said no.
///
/// Matching is an index look-up; `applies` runs once, when a case opens, never for repeats.
pub(super) fn candidates(rules: &Rules, id: &IncidentId, signal: &Signal) -> (Vec<String>, Vec<Change>) {
    let mut names = Vec::new();
    let mut passed = Vec::new();
    for playbook in rules.playbooks.matching(signal) {
        let reason = match playbook.applies(signal) {
            Ok(true) => {
                names.push(playbook.name.clone());
                continue;
            }
            Ok(false) => Reason::NotApplicable,
            Err(text) => Reason::ScriptFailed { text },
        };
        let passed_over = PassedOver { playbook: playbook.name.clone(), reason };
        passed.push(Change::PassedOver { incident: id.clone(), passed: passed_over });
    }
    (names, passed)
}

/// Plans once more after an act that was not made or did not help, if anything still fires: what resolved
/// meanwhile starts nothing.
pub(super) fn again(mut case: Case<'_>) -> Vec<Change> {
    if case.incident.firing.is_empty() {
        return case.end(Phase::Resolved, Reason::SignalResolved);
    }
    // What it depends on may have gone down while it acted.
    match cause::of(&case) {
        Some(down) => cause::attach(&mut case, down),
        None => inspect(&mut case),
    }
    case.changes
}

/// Whether no candidate asks for a fact or an indicator. None of them can write then, because a write needs
/// an indicator to verify with: people can be told at once, without a look at anything.
pub(super) fn asks_nothing(case: &Case<'_>) -> bool {
    let mut asked = case.incident.candidates.iter().filter_map(|name| case.rules.playbooks.get(name));
    asked.all(|playbook| playbook.needs.is_empty() && playbook.recover.is_none())
}

/// Asks for one inspection that serves all candidates.
pub(super) fn inspect(case: &mut Case<'_>) {
    let mut needs = BTreeSet::new();
    let mut indicators = BTreeSet::new();
    for name in &case.incident.candidates {
        let Some(playbook) = case.rules.playbooks.get(name) else { continue };
        needs.extend(playbook.needs.iter().map(|need| need.fact.clone()));
        indicators.extend(playbook.recover.iter().map(|recover| recover.indicator.clone()));
    }
    // What was begun is read back whatever the playbooks of today ask for.
    let begun = if case.incident.reconciling { case.running() } else { late::awaited(case) };
    if let Some(running) = begun {
        needs.extend(standing::facts(&running).iter().map(|fact| (*fact).to_owned()));
    }
    let (uid, good) = good_revisions(case.state, &case.incident.subject);
    let change = Change::InspectionStarted {
        incident: case.id(),
        inspection: case.incident.inspection + 1,
        needs: needs.into_iter().collect(),
        indicators: indicators.into_iter().collect(),
        uid,
        good,
        deadline: if case.incident.reconciling {
            case.incident.deadline.unwrap_or(case.at)
        } else {
            case.after(INSPECTING)
        },
    };
    case.push(change);
}
