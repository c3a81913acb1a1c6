//! The closed list of things we may do. An action that has no effector is not in it, so no playbook can
//! name one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::subject::Subject;

/// One deed with everything it needs: execution has nothing left to choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[expect(
    clippy::large_enum_variant,
    reason = "plans hold one or two actions; a box would only hide the fields"
)]
pub enum Action {
    /// Make the `spec` of a routing object exactly what it was at an earlier revision.
    RollbackRoute {
        /// The routing object.
        target: Subject,
        /// Its uid: a precondition.
        uid: String,
        /// Hash of the spec we expect to find: a precondition.
        from: Digest,
        /// Hash of the spec to restore; its content lies in the journal's blobs.
        to: Digest,
    },
    /// Tell people.
    Notify {
        /// What to say; the incident goes along.
        text: String,
    },
}

impl Action {
    /// Names of all actions, as playbooks and policies write them.
    pub const NAMES: [&str; 2] = ["rollback_route", "notify"];

    /// The name as playbooks and policies write it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RollbackRoute { .. } => "rollback_route",
            Self::Notify { .. } => "notify",
        }
    }

    /// The object it writes to; `None` for those that write to nothing in the cluster.
    #[must_use]
    pub fn target(&self) -> Option<&Subject> {
        match self {
            Self::RollbackRoute { target, .. } => Some(target),
            Self::Notify { .. } => None,
        }
    }

    /// Blobs (by hash) that execution needs: the spec to write, and the one to put back.
    #[must_use]
    pub fn blobs(&self) -> Vec<Digest> {
        match self {
            Self::RollbackRoute { from, to, .. } => vec![*from, *to],
            Self::Notify { .. } => Vec::new(),
        }
    }

    /// The action that takes this one back; `None` where there is none.
    #[must_use]
    pub fn inverse(&self) -> Option<Self> {
        match self {
            Self::RollbackRoute { target, uid, from, to } => {
                Some(Self::RollbackRoute { target: target.clone(), uid: uid.clone(), from: *to, to: *from })
            }
            Self::Notify { .. } => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RollbackRoute { target, from, to, .. } => {
                write!(f, "roll back {target} from {} to {}", from.short(), to.short())
            }
            Self::Notify { text } => write!(f, "notify: {text}"),
        }
    }
}
