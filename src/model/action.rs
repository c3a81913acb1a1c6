//! The closed list of things we may do. An action that has no effector is not in it, so no playbook can
//! name one.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::duration;
use super::subject::Subject;

/// One deed with everything it needs: execution has nothing left to choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Make the `spec` of a routing object exactly what it was at an earlier revision.
    RollbackRoute {
        /// The routing object: VirtualService, DestinationRule or HTTPRoute.
        target: Subject,
        /// Its uid: a precondition.
        uid: String,
        /// Hash of the spec we expect to find: a precondition.
        from: Digest,
        /// Hash of the spec to restore; its content lies in the journal's blobs.
        to: Digest,
    },
    /// Let the proxy of one pod drain and quit, so that the kubelet starts that container again.
    RestartSidecar {
        /// The pod.
        target: Subject,
        /// Its uid: a precondition.
        uid: String,
        /// Name of the proxy's container, for instance `istio-proxy`.
        container: String,
        /// Id of the container that runs now: a precondition; another one means it was restarted already.
        container_id: String,
        /// Seconds between drain and quit.
        drain_s: u64,
    },
    /// Evict one pod by the eviction API, which honours disruption budgets.
    EvictPod {
        /// The pod.
        target: Subject,
        /// Its uid: a precondition.
        uid: String,
    },
    /// Replace all pods of a workload one after the other, as `kubectl rollout restart` does.
    RolloutRestart {
        /// Deployment, StatefulSet or DaemonSet.
        target: Subject,
        /// Its uid: a precondition.
        uid: String,
        /// `metadata.generation` we expect to find: a precondition.
        generation: u64,
        /// kubectl's annotation of the last restart as it was before; a scale leaves it as it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restarted_at: Option<String>,
    },
    /// Tighten the connection pool limits of the DestinationRule in force for a host, for a while.
    ShedLoad {
        /// The rule in force, or the one to create where none matches.
        target: Subject,
        /// Its uid: a precondition; empty: no rule matches the host, and this one is created.
        uid: String,
        /// Hash of the spec we expect to find: a precondition; `None` when the rule is created.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Digest>,
        /// Fully qualified host that the limits are for.
        host: String,
        /// Limits for each client's proxy. They only ever tighten what is there.
        limits: Limits,
        /// Seconds after which it is taken back, however it went.
        expires_s: u64,
    },
    /// Ask the issuer for a new certificate now.
    RotateCertificate {
        /// The cert-manager Certificate.
        target: Subject,
        /// Its uid: a precondition.
        uid: String,
        /// `status.revision` we expect to find: a precondition; a higher one means it was renewed already.
        revision: u64,
    },
    /// Take a shed back by what it left on the object: only ever an inverse, no playbook can ask for it.
    Restore {
        /// The rule.
        target: Subject,
        /// Its uid; empty when the shed created the rule: then the mark on the object must say so.
        uid: String,
        /// Fully qualified host that the limits are for.
        host: String,
        /// Hash of the spec before the shed: found without a mark, it was taken back already. Absent when the
        /// shed created the rule.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<Digest>,
        /// Incident that the mark has to name, where it is not the one of this step: the agent that left it
        /// wrote another journal. Empty where its mark cannot be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
    },
    /// Tell people.
    Notify {
        /// What to say; the incident goes along.
        text: String,
    },
}

/// Limits of a connection pool, for each client's proxy; none is ever zero, because zero means unset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// `connectionPool.tcp.maxConnections`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// `connectionPool.http.http1MaxPendingRequests`: requests that wait for a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pending: Option<u32>,
    /// `connectionPool.http.http2MaxRequests`: requests under way, also those of HTTP/1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
}

impl Action {
    /// Names of all actions that playbooks and policies may write.
    pub const NAMES: [&str; 7] = [
        "rollback_route",
        "restart_sidecar",
        "evict_pod",
        "rollout_restart",
        "shed_load",
        "rotate_certificate",
        "notify",
    ];

    /// The name as playbooks and policies write it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RollbackRoute { .. } => "rollback_route",
            Self::RestartSidecar { .. } => "restart_sidecar",
            Self::EvictPod { .. } => "evict_pod",
            Self::RolloutRestart { .. } => "rollout_restart",
            Self::ShedLoad { .. } => "shed_load",
            Self::RotateCertificate { .. } => "rotate_certificate",
            Self::Restore { .. } => "restore",
            Self::Notify { .. } => "notify",
        }
    }

    /// The object it writes to; `None` for those that write to nothing in the cluster.
    #[must_use]
    pub fn target(&self) -> Option<&Subject> {
        match self {
            Self::RollbackRoute { target, .. }
            | Self::RestartSidecar { target, .. }
            | Self::EvictPod { target, .. }
            | Self::RolloutRestart { target, .. }
            | Self::ShedLoad { target, .. }
            | Self::RotateCertificate { target, .. }
            | Self::Restore { target, .. } => Some(target),
            Self::Notify { .. } => None,
        }
    }

    /// Blobs (by hash) that execution needs: the spec to write, and the one to put back.
    #[must_use]
    pub fn blobs(&self) -> Vec<Digest> {
        match self {
            Self::RollbackRoute { from, to, .. } => vec![*from, *to],
            Self::RestartSidecar { .. }
            | Self::EvictPod { .. }
            | Self::RolloutRestart { .. }
            | Self::ShedLoad { .. }
            | Self::RotateCertificate { .. }
            | Self::Restore { .. }
            | Self::Notify { .. } => Vec::new(),
        }
    }

    /// The action that takes this one back; `None` where there is none: a container that ended, a pod that
    /// went and a certificate that was issued stay so.
    #[must_use]
    pub fn inverse(&self) -> Option<Self> {
        match self {
            Self::RollbackRoute { target, uid, from, to } => {
                Some(Self::RollbackRoute { target: target.clone(), uid: uid.clone(), from: *to, to: *from })
            }
            Self::ShedLoad { target, uid, from, host, .. } => Some(Self::Restore {
                target: target.clone(),
                uid: uid.clone(),
                host: host.clone(),
                was: *from,
                of: None,
            }),
            Self::RestartSidecar { .. }
            | Self::EvictPod { .. }
            | Self::RolloutRestart { .. }
            | Self::RotateCertificate { .. }
            | Self::Restore { .. }
            | Self::Notify { .. } => None,
        }
    }

    /// Seconds after which it has to be taken back, however it went; `None` for acts that last.
    #[must_use]
    pub fn expires_s(&self) -> Option<u64> {
        match self {
            Self::ShedLoad { expires_s, .. } => Some(*expires_s),
            Self::RollbackRoute { .. }
            | Self::RestartSidecar { .. }
            | Self::EvictPod { .. }
            | Self::RolloutRestart { .. }
            | Self::RotateCertificate { .. }
            | Self::Restore { .. }
            | Self::Notify { .. } => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RollbackRoute { target, from, to, .. } => {
                write!(f, "roll back {target} from {} to {}", from.short(), to.short())
            }
            Self::RestartSidecar { target, container, .. } => write!(f, "restart {container} of {target}"),
            Self::EvictPod { target, .. } => write!(f, "evict {target}"),
            Self::RolloutRestart { target, .. } => write!(f, "restart all pods of {target}"),
            Self::ShedLoad { target, host, limits, expires_s, .. } => {
                let span = duration::format(Duration::from_secs(*expires_s));
                write!(f, "shed load of {host} by {target} to {limits} for {span}")
            }
            Self::RotateCertificate { target, .. } => write!(f, "renew {target}"),
            Self::Restore { target, .. } => write!(f, "take back the limits of {target}"),
            Self::Notify { text } => write!(f, "notify: {text}"),
        }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.max_connections, "connections"),
            (self.max_pending, "waiting"),
            (self.max_requests, "requests"),
        ];
        let words: Vec<String> =
            parts.iter().filter_map(|(limit, of)| limit.map(|limit| format!("{limit} {of}"))).collect();
        write!(f, "{} per client", words.join(", "))
    }
}
