//! A signal: one normalised observation that something is wrong, or right again.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::subject::Subject;

/// The kind of wrongness a signal reports, as `component.condition`, for instance `traffic.route_errors`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Symptom(SmolStr);

impl Symptom {
    /// Where an alert goes that maps to nothing: it can only notify.
    pub const CUSTOM_ALERT: &str = "custom.alert";
    /// A revision of the control plane has no ready replica: it explains what its proxies suffer.
    pub const CONTROL_PLANE_DOWN: &str = "control_plane.down";
    /// Family of the symptoms of control planes.
    pub const CONTROL_PLANE: &str = "control_plane";

    /// Limits of an agent that is gone, or whose journal is.
    pub const LIMITS_ORPHANED: &str = "limits.orphaned";

    /// The symptom of limits that no case of the journal accounts for.
    #[must_use]
    pub fn limits_orphaned() -> Self {
        Self(SmolStr::new_static(Self::LIMITS_ORPHANED))
    }

    /// The text `component.condition`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The family that shares one incident per subject: the component before the dot.
    #[must_use]
    pub fn family(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }
}

impl FromStr for Symptom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |part: &str| {
            !part.is_empty()
                && part.len() <= 64
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        match text.split_once('.') {
            Some((component, condition)) if word(component) && word(condition) => Ok(Self(text.into())),
            _ => Err(format!(
                "symptom {text:?} is not of the form component.condition (lower case, digits, _)"
            )),
        }
    }
}

impl TryFrom<String> for Symptom {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Symptom> for String {
    fn from(symptom: Symptom) -> Self {
        symptom.0.into()
    }
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the wrongness is there or over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignalState {
    /// The wrongness is there.
    Firing,
    /// The wrongness is over, says the sender; never starts an act.
    Resolved,
}

/// How bad it is, in the sender's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For information.
    Info,
    /// Somebody should look.
    #[default]
    Warning,
    /// Users are hurt.
    Critical,
}

impl Severity {
    /// The lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Labels of a sender. Shared, because a signal, its incident and everything told of it name the same ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(Arc<BTreeMap<String, String>>);

impl Labels {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(labels: BTreeMap<String, String>) -> Self {
        Self(Arc::new(labels))
    }
}

impl Deref for Labels {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Labels {
    /// Where others share them, they keep theirs.
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(&mut self.0)
    }
}

/// One normalised observation. The JSON form is the body of `POST /v1/signals`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// What is wrong.
    pub symptom: Symptom,
    /// Where.
    pub subject: Subject,
    /// There or over.
    pub state: SignalState,
    /// How bad.
    #[serde(default)]
    pub severity: Severity,
    /// The figure behind it, in the indicator's unit; `None` where the sender has none. Never NaN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Labels of the sender: data for playbooks, never code and never a target by themselves.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// When the wrongness began (firing) or ended (resolved), as the sender says.
    pub at: Timestamp,
    /// Who says so: `alertmanager`, `api/NAME`, `prometheus`. Set by the intake, not by the sender.
    #[serde(default, skip_serializing_if = "SmolStr::is_empty")]
    pub source: SmolStr,
    /// The alert's name, where it came as an alert; matched by `alert(...)` of a playbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<SmolStr>,
    /// Top owner of the subject, where it is not the subject itself: a pod's Deployment. Looked up in our
    /// own watches by the intake, never taken from a sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Subject>,
    /// What the subject cannot work without: the control plane of a proxy's revision. Looked up as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depends_on: Option<Subject>,
}
