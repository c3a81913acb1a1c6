//! `/certs`: the certificates a proxy shows. Istio's are delivered by its agent, so no file tells of them.

use jiff::Timestamp;
use serde::Deserialize;

use super::json;

/// A workload's own certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Whose it is: the first URI or DNS name in it; empty where it has none.
    pub identity: String,
    /// From when on it is valid.
    pub valid_from: Timestamp,
    /// Until when.
    pub expires: Timestamp,
}

impl Leaf {
    /// Share of its life that is left: negative once it has expired. One that is not valid yet has none.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> f64 {
        if now < self.valid_from {
            return 0.0;
        }
        let life = self.expires.duration_since(self.valid_from).as_secs_f64();
        self.expires.duration_since(now).as_secs_f64() / life
    }
}

// `days_until_expiration` is a text, and a day is most of such a certificate's life: it is not read.
#[derive(Deserialize)]
struct Written {
    certificates: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    #[serde(default)]
    cert_chain: Vec<Certificate>,
}

#[derive(Deserialize)]
struct Certificate {
    #[serde(default)]
    subject_alt_names: Vec<Name>,
    valid_from: Timestamp,
    expiration_time: Timestamp,
}

#[derive(Deserialize)]
struct Name {
    #[serde(default)]
    uri: String,
    #[serde(default)]
    dns: String,
}

pub(in super::super) fn read(body: &[u8]) -> Result<Vec<Leaf>, String> {
    let written: Written = json(body)?;
    let mut leaves = Vec::new();
    for pair in written.certificates {
        let Some(leaf) = pair.cert_chain.into_iter().next() else { continue };
        if leaf.expiration_time <= leaf.valid_from {
            let (from, to) = (leaf.valid_from, leaf.expiration_time);
            return Err(format!("unexpected answer: a certificate is valid from {from} to {to}"));
        }
        let names = leaf.subject_alt_names.into_iter();
        let identity = names.flat_map(|name| [name.uri, name.dns]).find(|name| !name.is_empty());
        let leaf = Leaf {
            identity: identity.unwrap_or_default(),
            valid_from: leaf.valid_from,
            expires: leaf.expiration_time,
        };
        // Client and server side of a sidecar show the same one.
        if !leaves.contains(&leaf) {
            leaves.push(leaf);
        }
    }
    Ok(leaves)
}
