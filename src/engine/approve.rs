//! Approve: people's votes. A vote binds to one plan, is used once, and expires.

use super::case::Case;
use super::select;
use crate::model::change::Change;
use crate::model::digest::Digest;
use crate::model::event::Vote;
use crate::model::incident::Phase;
use crate::model::reason::Reason;

/// A vote that is late, doubled, or about another plan changes nothing; the API tells its sender.
pub(super) fn voted(mut case: Case<'_>, plan: &Digest, by: &str, vote: Vote, comment: &str) -> Vec<Change> {
    let asked = case.incident.approval.as_ref().is_some_and(|approval| {
        approval.plan == *plan && approval.granted_by.is_none() && case.at < approval.expires
    });
    if !asked || case.incident.phase != Phase::AwaitingApproval {
        return Vec::new();
    }
    match vote {
        Vote::Approve => {
            let incident = case.id();
            case.push(Change::ApprovalGranted { incident, plan: *plan, by: by.to_owned() });
            // The world moved on while people thought: facts, plan and dry run are made anew, and the
            // approval holds only if the same plan comes out.
            select::inspect(&mut case);
            case.changes
        }
        Vote::Deny => {
            let reason = Reason::Denied { by: by.to_owned(), comment: comment.to_owned() };
            case.end(Phase::Suppressed, reason)
        }
    }
}
