//! Certificates and keys of a control plane that lives as long as one test run.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Where the files are.
pub(crate) struct Certificates {
    /// The authority that signed all of them.
    pub(crate) ca: PathBuf,
    /// The API server's certificate and key.
    pub(crate) server: (PathBuf, PathBuf),
    /// A client that may do everything.
    pub(crate) admin: (PathBuf, PathBuf),
    /// The key pair that signs tokens of service accounts: public, private.
    pub(crate) accounts: (PathBuf, PathBuf),
}

impl Certificates {
    /// Makes them in this folder.
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let write = |name: &str, text: String| -> anyhow::Result<PathBuf> {
            let path = folder.join(name);
            std::fs::write(&path, text)?;
            Ok(path)
        };
        let mut params = named("meshmend tests", None, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let ca = write("ca.crt", params.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(params, key);
        let sign = |name: &str, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose| {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate()?;
            let signed = params.signed_by(&key, &issuer)?;
            anyhow::Ok((
                write(&format!("{name}.crt"), signed.pem())?,
                write(&format!("{name}.key"), key.serialize_pem())?,
            ))
        };
        let names = ["localhost", "127.0.0.1", "10.96.0.1", "10.244.0.1", "kubernetes.default.svc"];
        let server = named("kube-apiserver", None, &names)?;
        let admin = named("admin", Some("system:masters"), &[])?;
        let server = sign("server", server, ExtendedKeyUsagePurpose::ServerAuth)?;
        let admin = sign("admin", admin, ExtendedKeyUsagePurpose::ClientAuth)?;
        let pair = KeyPair::generate()?;
        let accounts = (write("sa.pub", pair.public_key_pem())?, write("sa.key", pair.serialize_pem())?);
        Ok(Self { ca, server, admin, accounts })
    }
}

fn named(name: &str, group: Option<&str>, hosts: &[&str]) -> anyhow::Result<CertificateParams> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    Ok(params)
}
