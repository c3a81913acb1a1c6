//! What makes the agent hold its own acts: a storm of ill subjects, and a breaker after acts that did not help.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::incident::IncidentId;
use super::subject::Subject;

/// Objects of one kind in a namespace, or in the whole mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; `None` for the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl Domain {
    /// Objects of this one's kind in a namespace, or in the mesh.
    #[must_use]
    pub fn of(subject: &Subject, namespace: Option<&str>) -> Self {
        let namespace = namespace.map(str::to_owned);
        Self { group: subject.group.to_string(), kind: subject.kind.to_string(), namespace }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}s in namespace {namespace}", self.kind),
            None => write!(f, "{}s in the mesh", self.kind),
        }
    }
}

/// So many are ill at once that people have to look for the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// Where.
    pub domain: Domain,
    /// Since when.
    pub since: Timestamp,
    /// The incident at which it was noticed; people are told on it.
    pub incident: IncidentId,
    /// How many were ill then.
    pub ill: u64,
    /// Of how many.
    pub of: u64,
    /// So many or more are a storm.
    pub bound: u64,
    /// Rest after it, in seconds.
    pub cooldown_s: u64,
    /// Since when fewer are ill; `None` while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calm_since: Option<Timestamp>,
}

impl Storm {
    /// When acts may start again, if it stays calm; `None` while it lasts.
    #[must_use]
    pub fn over_at(&self) -> Option<Timestamp> {
        let rest = SignedDuration::from_secs(i64::try_from(self.cooldown_s).unwrap_or(i64::MAX));
        self.calm_since.map(|since| since.saturating_add(rest).unwrap_or(Timestamp::MAX))
    }
}

/// Failures of a playbook under a policy. It is closed, open until a time, or half open: one act may try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    /// The policy whose breaker it is.
    pub policy: String,
    /// The playbook whose acts failed.
    pub playbook: String,
    /// When acts failed or did not help, oldest first.
    pub failures: Vec<Timestamp>,
    /// Open until then, half open afterwards; `None` while closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_until: Option<Timestamp>,
    /// The incident whose act is the one that may try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<IncidentId>,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(policy: &str, playbook: &str) -> Self {
        let (policy, playbook) = (policy.to_owned(), playbook.to_owned());
        Self { policy, playbook, failures: Vec::new(), open_until: None, trial: None }
    }

    /// Failures within the window that ends at this time; one exactly a window ago does not count.
    #[must_use]
    pub fn within(&self, window_s: u64, at: Timestamp) -> u32 {
        let window = SignedDuration::from_secs(i64::try_from(window_s).unwrap_or(i64::MAX));
        let start = at.saturating_sub(window).unwrap_or(Timestamp::MIN);
        u32::try_from(self.failures.iter().filter(|failed| **failed > start).count()).unwrap_or(u32::MAX)
    }
}
