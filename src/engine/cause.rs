//! Cause before cure: while the control plane of a proxy is down, what its proxies suffer is explained by
//! that, and nothing is done about them. One dead istiod never turns into five hundred restarts.

use jiff::Timestamp;

use super::case::Case;
use super::deadlines::EXPLAINED;
use super::state::State;
use crate::model::change::Change;
use crate::model::incident::{IncidentId, Phase};
use crate::model::signal::{Signal, Symptom};
use crate::rules::Rules;

/// The incident of what this case cannot work without, while that is down.
pub(super) fn of(case: &Case<'_>) -> Option<IncidentId> {
    let depends_on = case.incident.depends_on.as_ref()?;
    // The control plane's own case is not explained by itself.
    let down = case.state.down.get(depends_on).filter(|_| *depends_on != case.incident.key.owner)?;
    Some(down.incident.clone())
}

/// Attaches the case to its cause: it waits, and starts nothing.
pub(super) fn attach(case: &mut Case<'_>, cause: IncidentId) {
    let (incident, deadline) = (case.id(), case.after(EXPLAINED));
    case.push(Change::Caused { incident, cause, deadline });
}

/// What a signal about a control plane that is down explains: every waiting case of its proxies. What is
/// already being acted on is let finish; its outcome is still verified.
pub(super) fn explains(
    state: &State,
    rules: &Rules,
    at: Timestamp,
    signal: &Signal,
    cause: &IncidentId,
) -> Vec<Change> {
    if signal.symptom.as_str() != Symptom::CONTROL_PLANE_DOWN || signal.owner.is_some() {
        return Vec::new();
    }
    let waits = |phase: Phase| !phase.is_acting() && !phase.is_end();
    let explained = state.open_incidents().filter(|case| {
        case.depends_on.as_ref() == Some(&signal.subject) && case.cause.is_none() && waits(case.phase)
    });
    let attached = explained.filter_map(|known| {
        let mut case = Case::of(state, rules, at, &known.id)?;
        attach(&mut case, cause.clone());
        Some(case.changes)
    });
    attached.flatten().collect()
}
