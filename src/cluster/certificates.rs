//! cert-manager's certificates and issuers as they are kept. Secrets are never read.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use serde::Deserialize;

use super::names::{Labels, Names};
use super::slim::{Condition, Nothing, Slim, SlimKind, holds, list};
use crate::model::subject::{CERT_MANAGER, Subject};

/// A Certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Box<str>,
    /// Uid.
    pub uid: Box<str>,
    /// Labels.
    pub labels: Labels,
    /// Its issuer.
    pub issuer: IssuerRef,
    /// Begin of the certificate in the Secret; `None` before the first issuance.
    pub not_before: Option<Timestamp>,
    /// Its end.
    pub not_after: Option<Timestamp>,
    /// When cert-manager renews it by itself.
    pub renewal: Option<Timestamp>,
    /// Whether an issuance is under way, and since when.
    pub issuing: Option<Option<Timestamp>>,
    /// Revision; it rises with every issuance.
    pub revision: u64,
    /// Issuances that failed since the last success.
    pub failed_attempts: u32,
}

/// Names an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerRef {
    /// API group.
    pub group: Arc<str>,
    /// `Issuer`, `ClusterIssuer`, or a kind of somebody else's.
    pub kind: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Certificate {
    /// Itself.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject::new(CERT_MANAGER, "Certificate", &self.namespace, &self.name)
    }

    pub(super) fn of(object: &CertificateObject, names: &mut Names) -> Self {
        let (meta, spec, status) = (&object.metadata, &object.spec, &object.status);
        let written = &spec.issuer_ref;
        let or = |text: &str, default: &'static str| if text.is_empty() { default } else { text }.to_owned();
        let issuing = status.conditions.iter().find(|c| c.kind == "Issuing" && c.status == "True");
        Self {
            namespace: names.text(meta.namespace.as_deref().unwrap_or_default()),
            name: Box::from(meta.name.as_deref().unwrap_or_default()),
            uid: Box::from(meta.uid.as_deref().unwrap_or_default()),
            labels: names.labels(meta.labels.as_ref()),
            issuer: IssuerRef {
                group: names.text(&or(&written.group, CERT_MANAGER)),
                kind: names.text(&or(&written.kind, "Issuer")),
                name: names.text(&written.name),
            },
            not_before: status.not_before,
            not_after: status.not_after,
            renewal: status.renewal_time,
            issuing: issuing.map(|condition| condition.last_transition_time),
            revision: status.revision,
            failed_attempts: status.failed_issuance_attempts,
        }
    }
}

/// An Issuer or ClusterIssuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Whether it is ready; `None` when it does not say.
    pub ready: Option<bool>,
}

impl Issuer {
    pub(super) fn of(status: &IssuerStatus) -> Self {
        Self { ready: holds(&status.conditions, "Ready") }
    }
}

/// A certificate as it is read.
pub type CertificateObject = Slim<CertificateKind>;

/// Certificates.
#[derive(Clone, Debug)]
pub struct CertificateKind;

impl SlimKind for CertificateKind {
    const GROUP: &'static str = CERT_MANAGER;
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Certificate";
    const PLURAL: &'static str = "certificates";
    type Scope = NamespaceResourceScope;
    type Spec = CertificateSpec;
    type Status = CertificateStatus;
}

/// Issuers.
#[derive(Clone, Debug)]
pub(super) struct IssuerKind;

impl SlimKind for IssuerKind {
    const GROUP: &'static str = CERT_MANAGER;
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Issuer";
    const PLURAL: &'static str = "issuers";
    type Scope = NamespaceResourceScope;
    type Spec = Nothing;
    type Status = IssuerStatus;
}

/// ClusterIssuers.
#[derive(Clone, Debug)]
pub(super) struct ClusterIssuerKind;

impl SlimKind for ClusterIssuerKind {
    const GROUP: &'static str = CERT_MANAGER;
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "ClusterIssuer";
    const PLURAL: &'static str = "clusterissuers";
    type Scope = ClusterResourceScope;
    type Spec = Nothing;
    type Status = IssuerStatus;
}

/// What is read of a certificate's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateSpec {
    issuer_ref: Written,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Written {
    group: String,
    kind: String,
    name: String,
}

/// What is read of a certificate's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateStatus {
    #[serde(deserialize_with = "list")]
    conditions: Vec<Condition>,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    renewal_time: Option<Timestamp>,
    revision: u64,
    failed_issuance_attempts: u32,
}

/// What is read of an issuer's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct IssuerStatus {
    #[serde(deserialize_with = "list")]
    conditions: Vec<Condition>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const BEFORE: &str = include_str!("../../tests/recorded/certificates-before.json");
    const FAILING: &str = include_str!("../../tests/recorded/certificates-failing-states.json");
    const STUCK: &str = include_str!("../../tests/recorded/certificate-renewal-stuck-issuer-not-ready.json");
    const ISSUERS: &str = include_str!("../../tests/recorded/issuers.json");

    fn read(value: &Value) -> Certificate {
        Certificate::of(&serde_json::from_value(value.clone()).unwrap(), &mut Names::default())
    }

    fn named(list: &str, name: &str) -> Value {
        let list: Value = serde_json::from_str(list).unwrap();
        let items = list["items"].as_array().unwrap();
        items.iter().find(|item| item["metadata"]["name"] == name).unwrap().clone()
    }

    // Mutations: taking the condition Issuing for true because it is there; Ready False for issuing.
    #[test]
    fn recorded_certificates_are_what_they_say() {
        let fast = read(&named(BEFORE, "fast"));
        assert_eq!(fast.subject(), Subject::new(CERT_MANAGER, "Certificate", "demo", "fast"));
        assert_eq!((&*fast.issuer.kind, &*fast.issuer.name, fast.revision), ("ClusterIssuer", "lab-ca", 2));
        assert_eq!(fast.not_after, Some("2026-11-23T14:12:24Z".parse().unwrap()));
        assert_eq!((fast.issuing, fast.failed_attempts), (None, 0));
        let denied = read(&named(FAILING, "on-denying-vault"));
        assert_eq!((denied.issuing, denied.failed_attempts, denied.not_after), (None, 2, None));
        let stuck = read(&serde_json::from_str(STUCK).unwrap());
        assert_eq!(stuck.issuing, Some(Some("2026-11-23T13:13:16Z".parse().unwrap())));
    }

    #[test]
    fn recorded_issuers_are_ready_or_not() {
        for (name, ready) in [("vault-denies", true), ("vault-down", false), ("broken-ca", false)] {
            let object: Slim<IssuerKind> = serde_json::from_value(named(ISSUERS, name)).unwrap();
            assert_eq!(Issuer::of(&object.status).ready, Some(ready), "{name}");
        }
        assert_eq!(Issuer::of(&IssuerStatus::default()).ready, None);
    }
}
