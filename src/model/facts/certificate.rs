//! Facts about a certificate that cert-manager keeps.

use serde::{Deserialize, Serialize};

/// The certificate as its object says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFacts {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Seconds until it ends; negative when it has.
    pub not_after_s: i64,
    /// Seconds until cert-manager renews it by itself; negative when that time has passed.
    pub renewal_s: i64,
    /// Whole life of the certificate in seconds.
    pub life_s: i64,
    /// Whether an issuance is under way.
    pub issuing: bool,
    /// For how many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuing_s: Option<u64>,
    /// Whether its issuer is ready.
    pub issuer_ready: bool,
    /// Revision; it rises with every issuance.
    pub revision: u64,
    /// Issuances that failed since the last success.
    pub failed_attempts: u32,
}
