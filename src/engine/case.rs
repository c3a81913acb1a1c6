//! One incident on the desk: a working copy that changes are folded into as they are decided, so that a
//! decision of several steps sees what its earlier steps did.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::apply::fold;
use super::state::State;
use crate::model::action::Action;
use crate::model::change::Change;
use crate::model::incident::{Incident, IncidentId, Phase};
use crate::model::plan::Direction;
use crate::model::reason::Reason;
use crate::rules::{Playbook, Rules};

pub(super) struct Case<'a> {
    pub(super) state: &'a State,
    pub(super) rules: &'a Rules,
    pub(super) at: Timestamp,
    pub(super) incident: Arc<Incident>,
    pub(super) changes: Vec<Change>,
}

impl<'a> Case<'a> {
    /// The case of a known incident.
    pub(super) fn of(state: &'a State, rules: &'a Rules, at: Timestamp, id: &IncidentId) -> Option<Self> {
        let incident = state.incidents.get(id)?.clone();
        Some(Self { state, rules, at, incident, changes: Vec::new() })
    }

    /// Decides a change.
    pub(super) fn push(&mut self, change: Change) {
        fold(Arc::make_mut(&mut self.incident), self.at, &change);
        self.changes.push(change);
    }

    /// A later time.
    pub(super) fn after(&self, span: SignedDuration) -> Timestamp {
        self.at.saturating_add(span).unwrap_or(Timestamp::MAX)
    }

    /// Its id, for changes.
    pub(super) fn id(&self) -> IncidentId {
        self.incident.id.clone()
    }

    /// Notes something worth telling.
    pub(super) fn note(&mut self, reason: Reason) {
        let incident = self.id();
        self.push(Change::Noted { incident, reason });
    }

    /// Ends the case; one whose act is still to expire only when that was taken back.
    pub(super) fn end(mut self, phase: Phase, reason: Reason) -> Vec<Change> {
        let incident = self.id();
        if let Some(until) = self.incident.expires_at.filter(|_| phase != Phase::Gone) {
            let until = until.max(self.at);
            self.push(Change::Held { incident, until, phase, reason });
            return self.changes;
        }
        self.push(Change::Ended { incident, phase, reason });
        self.changes
    }

    /// Ends the case now, whatever is still to expire.
    pub(super) fn over(mut self, phase: Phase, reason: Reason) -> Vec<Change> {
        let incident = self.id();
        self.push(Change::Ended { incident, phase, reason });
        self.changes
    }

    /// The step that runs, as it runs: for an undo already the inverse.
    pub(super) fn running(&self) -> Option<Action> {
        let step = self.incident.plan.as_ref()?.steps.get(self.incident.step)?;
        match self.incident.direction {
            Direction::Forward => Some(step.clone()),
            Direction::Undo => step.inverse(),
        }
    }

    /// The playbook of the plan, if it is still loaded.
    pub(super) fn playbook(&self) -> Option<&'a Playbook> {
        self.rules.playbooks.get(&self.incident.plan.as_ref()?.playbook)
    }
}
