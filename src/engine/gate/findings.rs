//! What the checks found, sorted by what follows from it.

use jiff::Timestamp;

use crate::model::reason::{Hold, Reason};
use crate::model::storm::Storm;
use crate::model::verdict::{Check, Verdict};

#[derive(Default)]
pub(super) struct Findings {
    checks: Vec<Check>,
    holds: Vec<Hold>,
    refusals: Vec<Reason>,
    ask_s: Option<u64>,
    /// Storms that nobody noticed before.
    pub(super) storms: Vec<Storm>,
    /// Policies under whose breaker this act would be the one that may try.
    pub(super) trials: Vec<String>,
}

impl Findings {
    pub(super) fn passed(&mut self, name: &str, detail: String) {
        self.checks.push(Check { name: name.to_owned(), passed: true, detail });
    }

    /// A check that holds the act; `inputs` say what was compared and where the bound comes from.
    pub(super) fn held(&mut self, name: &str, inputs: &str, reason: Reason, until: Option<Timestamp>) {
        self.failed(name, inputs, &reason);
        self.holds.push(Hold { reason, until });
    }

    pub(super) fn refused(&mut self, name: &str, inputs: &str, reason: Reason) {
        self.failed(name, inputs, &reason);
        self.refusals.push(reason);
    }

    /// A check that holds the act for a reason that another one has given already.
    pub(super) fn held_as_said(&mut self, name: &str, detail: String) {
        self.checks.push(Check { name: name.to_owned(), passed: false, detail });
    }

    /// People have to agree first.
    pub(super) fn asks(&mut self, inputs: &str, expires_s: u64) {
        self.failed("approval", inputs, &Reason::ApprovalNeeded);
        self.ask_s = Some(expires_s);
    }

    fn failed(&mut self, name: &str, inputs: &str, reason: &Reason) {
        let detail = if inputs.is_empty() { reason.to_string() } else { format!("{reason} ({inputs})") };
        self.checks.push(Check { name: name.to_owned(), passed: false, detail });
    }

    pub(super) fn verdict(self) -> (Verdict, Vec<Check>) {
        let verdict = if !self.refusals.is_empty() {
            Verdict::Refuse { reasons: self.refusals }
        } else if !self.holds.is_empty() {
            Verdict::Hold { holds: self.holds }
        } else if let Some(expires_s) = self.ask_s {
            Verdict::Ask { expires_s }
        } else {
            Verdict::Allow
        };
        (verdict, self.checks)
    }
}
