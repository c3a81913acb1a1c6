//! Intake: alerts to signals, and names to objects of our own cache, before anything is decided.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use smol_str::format_smolstr;

use crate::api::{Alert, Notification, Refusal};
use crate::cluster::{Cluster, Resolved};
use crate::model::digest::Digest;
use crate::model::signal::{Severity, Signal, SignalState, Symptom};
use crate::model::subject::Subject;
use crate::rules::{AlertMap, Mapped, Named};

/// Kind of the subject that is the mesh as a whole.
const MESH: &str = "Mesh";
/// How far a sender's clock may be ahead of ours.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// The signals of one notification, in its order.
pub fn alerts(notification: &Notification, source: &str, map: &AlertMap, here: &Here<'_>) -> Vec<Signal> {
    notification.alerts.iter().map(|alert| signal(alert, source, map, here)).collect()
}

/// Where signals are resolved.
pub struct Here<'a> {
    /// Watched stores.
    pub cluster: &'a Cluster,
    /// Our cluster's name, where the configuration gives one.
    pub name: Option<&'a str>,
    /// What clocks elsewhere read now.
    pub now: Timestamp,
}

impl Here<'_> {
    /// Says no to a cluster that is surely another one: an object of the same name may live there.
    fn is_ours(&self, named: Option<&String>) -> Result<(), String> {
        match (self.name, named) {
            (Some(ours), Some(named)) if ours != named => {
                Err(format!("it is about the cluster {named}, this one is {ours}"))
            }
            _ => Ok(()),
        }
    }
}

fn signal(alert: &Alert, source: &str, map: &AlertMap, here: &Here<'_>) -> Signal {
    let name = alert.labels.get("alertname").map_or("", String::as_str);
    let elsewhere = here.is_ours(alert.labels.get("cluster")).err();
    let mapped = match elsewhere {
        Some(why) => Mapped::Unmapped { namespace: alert.labels.get("namespace").cloned(), why },
        None => map.map(name, &alert.labels),
    };
    let (symptom, subject, why) = match mapped {
        Mapped::Known { symptom, named } => match resolve(named, here.cluster) {
            Ok(subject) => (Some(symptom), subject, None),
            Err((namespace, why)) => (None, Subject::of_namespace(&namespace), Some(why)),
        },
        Mapped::Unmapped { namespace, why } => {
            (None, Subject::of_namespace(namespace.as_deref().unwrap_or("unknown")), Some(why))
        }
    };
    let mut labels = alert.labels.clone();
    if let Some(why) = why {
        tracing::debug!(alert = name, why, "alert not mapped");
        labels.insert("meshmend_unmapped".to_owned(), why);
    }
    let ended = alert.ends_at.filter(|_| alert.status == SignalState::Resolved);
    let signal = Signal {
        symptom: symptom.or_else(|| Symptom::CUSTOM_ALERT.parse().ok()).unwrap_or_else(unreachable_symptom),
        subject,
        state: alert.status,
        severity: severity(&alert.labels),
        value: None,
        labels: labels.into(),
        at: ended.unwrap_or(alert.starts_at),
        source: format_smolstr!("{source}/{}", identity(alert)),
        alert: (!name.is_empty()).then(|| name.into()),
        owner: None,
        depends_on: None,
    };
    resolved(signal, here.cluster)
}

fn unreachable_symptom() -> Symptom {
    unreachable!("custom.alert is a symptom")
}

/// Two alerts of one group end separately, so each is a source of its own.
fn identity(alert: &Alert) -> String {
    if alert.fingerprint.is_empty() {
        Digest::of_json(&serde_json::json!(alert.labels)).short()
    } else {
        alert.fingerprint.clone()
    }
}

fn severity(labels: &BTreeMap<String, String>) -> Severity {
    match labels.get("severity").map(String::as_str) {
        Some("critical" | "page" | "emergency") => Severity::Critical,
        Some("info" | "none") => Severity::Info,
        _ => Severity::Warning,
    }
}

/// What the labels name, as an object of our own cache. A target that we do not see ourselves is never
/// acted on: then only its namespace is told.
fn resolve(named: Named, cluster: &Cluster) -> Result<Subject, (String, String)> {
    match named {
        Named::Namespace(namespace) => Ok(Subject::of_namespace(&namespace)),
        Named::Object(subject) => match known(&subject, cluster) {
            Ok(()) => Ok(subject),
            Err(why) => Err((subject.namespace.to_string(), why)),
        },
        Named::Host(host) => match cluster.resolve_host(&host) {
            Resolved::Subject(subject) => Ok(subject),
            Resolved::Unclear(why) => {
                let namespace = host.split('.').nth(1).unwrap_or("unknown").to_owned();
                Err((namespace, why))
            }
        },
        Named::Workload { namespace, name } => {
            let host = format!("{name}.{namespace}.svc.cluster.local");
            match cluster.resolve_host(&host) {
                Resolved::Subject(subject) => Ok(subject),
                Resolved::Unclear(why) => Err((namespace, why)),
            }
        }
    }
}

/// Whether an object is one of our own cache. Kinds that no watch keeps are not looked up: nothing acts on
/// them.
///
/// # Errors
/// It is not, or nobody knows.
fn known(subject: &Subject, cluster: &Cluster) -> Result<(), String> {
    if subject.kind == "VirtualService" {
        let found = cluster.route(subject).map(|_| ());
        return found.ok_or_else(|| format!("{subject} is not in our cache"));
    }
    match cluster.holds(subject) {
        None | Some((_, true)) => Ok(()),
        Some((kind, false)) => Err(match cluster.whole(kind, &subject.namespace) {
            Ok(()) => format!("{subject} is not in our cache"),
            Err(why) => format!("{subject} is not in our cache: {why}"),
        }),
    }
}

/// A signal with what only we may say of it: whose its subject is, and what it cannot work without. Both are
/// looked up in our own watches and replace whatever a sender wrote.
#[must_use]
pub fn resolved(mut signal: Signal, cluster: &Cluster) -> Signal {
    signal.owner = None;
    signal.depends_on = None;
    if let Some(pod) = cluster.pod(&signal.subject) {
        let owner = cluster.owner_of(&pod);
        signal.owner = Some(owner).filter(|owner| *owner != signal.subject);
        signal.depends_on = cluster.control_plane_of(&pod).ok();
    }
    // What is said of the mesh as a whole hangs on its control plane, where there is only one.
    if signal.subject.kind == MESH
        && let [plane] = cluster.control_planes().as_slice()
    {
        signal.depends_on = Some(plane.subject());
    }
    signal
}

/// Signals that were sent as such, with their subjects looked up.
///
/// # Errors
/// 422 with every subject that is not what it says.
pub fn signals(signals: Vec<Signal>, source: &str, here: &Here<'_>) -> Result<Vec<Signal>, Refusal> {
    let mut wrong = Vec::new();
    let mut taken = Vec::with_capacity(signals.len());
    for mut signal in signals {
        signal.source = format_smolstr!("api/{source}");
        if let Err(why) = here.is_ours(signal.subject.cluster.as_ref()) {
            wrong.push(format!("{}: {why}", signal.subject));
        }
        signal.subject.cluster = None;
        signal.subject.mesh = None;
        if signal.at.duration_since(here.now) > AHEAD {
            wrong.push(format!("{}: at lies more than an hour ahead: {}", signal.subject, signal.at));
        }
        if signal.value.is_some_and(|value| !value.is_finite()) {
            wrong.push(format!("{}: the value is not a number", signal.subject));
        }
        if let Err(why) = known(&signal.subject, here.cluster) {
            wrong.push(why);
        }
        taken.push(resolved(signal, here.cluster));
    }
    if wrong.is_empty() { Ok(taken) } else { Err(Refusal::new(422, "unknown_subject", wrong.join("; "))) }
}
