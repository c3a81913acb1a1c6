//! The body of Alertmanager's webhook, version 4. Keys that later versions add are let pass: a sender
//! that was upgraded must not lose its alerts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use crate::model::signal::SignalState;

/// One notification: a group of alerts.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// `4`.
    pub version: String,
    /// Alerts of the group.
    pub alerts: Vec<Alert>,
    /// Alerts left out because of `max_alerts`.
    #[serde(default)]
    pub truncated_alerts: u64,
    /// Key of the group, for logs.
    #[serde(default)]
    pub group_key: String,
}

/// One alert.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Firing or resolved.
    pub status: SignalState,
    /// Labels; `alertname` among them.
    pub labels: BTreeMap<String, String>,
    /// When it began.
    pub starts_at: Timestamp,
    /// When it ended, for resolved ones; year 1 otherwise.
    #[serde(default)]
    pub ends_at: Option<Timestamp>,
    /// Hash of its labels.
    #[serde(default)]
    pub fingerprint: String,
}
