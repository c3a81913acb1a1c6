//! Facts about a certificate that cert-manager keeps.

use super::Effectors;
use crate::cluster::Certificate;
use crate::model::effect::Inspect;
use crate::model::facts::{CertificateFacts, Findings};

impl Effectors {
    /// Reads what was asked about a certificate.
    pub(super) async fn inspect_certificate(&self, inspect: &Inspect, findings: &mut Findings) {
        let facts = match self.cluster.read_certificate(&inspect.subject).await {
            Ok(Some(certificate)) => {
                let labels = certificate.labels.iter();
                findings.labels = labels.map(|(key, value)| (key.to_string(), value.to_string())).collect();
                self.certificate_facts(&certificate).await
            }
            Ok(None) => {
                findings.gone = true;
                return;
            }
            Err(why) => Err(why),
        };
        findings.facts.certificate = super::miss(findings, inspect, "certificate", facts);
    }

    async fn certificate_facts(&self, found: &Certificate) -> Result<CertificateFacts, String> {
        let times = found.not_before.zip(found.not_after).zip(found.renewal);
        let ((begin, end), renewal) =
            times.ok_or("nothing has been issued for it yet: its status names no times")?;
        let issuer = self.cluster.read_issuer(&found.namespace, &found.issuer).await?;
        let now = self.clock.now();
        Ok(CertificateFacts {
            namespace: found.namespace.to_string(),
            name: found.name.to_string(),
            uid: found.uid.to_string(),
            not_after_s: end.duration_since(now).as_secs(),
            renewal_s: renewal.duration_since(now).as_secs(),
            life_s: end.duration_since(begin).as_secs(),
            issuing: found.issuing.is_some(),
            issuing_s: found.issuing.flatten().map(|since| self.since(since)),
            // An issuer that is not there, or does not say, is none that could issue.
            issuer_ready: issuer.and_then(|issuer| issuer.ready) == Some(true),
            revision: found.revision,
            failed_attempts: found.failed_attempts,
        })
    }
}
