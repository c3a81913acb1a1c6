//! `meshmend rbac`.

use std::collections::BTreeSet;

use serde_json::json;

use super::rights::{Rbac, YamlOutput};
use super::{FINE, Usage, people, work};
use crate::app::files;
use crate::app::rbac::{Wishes, grants, yaml};
use crate::config::Via;

/// Prints the least rights for the rules in force.
pub(super) fn rbac(args: &Rbac) -> anyhow::Result<u8> {
    let config = work::config(args.config.as_deref())?;
    let playbooks = args.playbooks.as_deref().or(config.playbooks.as_deref());
    let policies = args.policies.as_deref().or(config.policies.as_deref());
    let (_, loaded) = files::load(playbooks, policies, args.mode)?;
    let account = account(&args.service_account)?;
    let named: BTreeSet<String> = args.namespaces.iter().cloned().collect();
    named.iter().try_for_each(|name| label(name, "--namespace"))?;
    let written = serde_json::to_value(config.written())?;
    let istiod = written.pointer("/sources/istiod").is_some_and(|source| !source.is_null());
    let proxies = config.proxies.is_some_and(|source| source.via == Via::PortForward);
    let wishes = Wishes { account, watched: config.namespaces, istiod, proxies, named };
    let grants = grants(&loaded.rules, &wishes);
    match args.output {
        YamlOutput::Yaml => people::say(yaml(&grants).trim_end()),
        YamlOutput::Json => {
            people::json(&json!({ "apiVersion": "v1", "kind": "List", "items": grants.objects() }))?;
        }
    }
    Ok(FINE)
}

fn account(text: &str) -> anyhow::Result<(String, String)> {
    let wrong = || Usage(format!("--service-account is NAMESPACE/NAME, not {text:?}"));
    let (namespace, name) = text.split_once('/').ok_or_else(wrong)?;
    label(namespace, "the namespace of --service-account")?;
    // Names of accounts may have dots in them.
    name.split('.').try_for_each(|part| label(part, "the name of --service-account"))?;
    Ok((namespace.to_owned(), name.to_owned()))
}

/// Names go into YAML as they are, so only what Kubernetes takes as a name gets there.
fn label(text: &str, what: &str) -> anyhow::Result<()> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edges = text.starts_with('-') || text.ends_with('-');
    if text.is_empty() || text.len() > 63 || edges || !text.bytes().all(fits) {
        let text = format!("{what}: {text:?} is no name in Kubernetes (lower case, digits, -)");
        return Err(Usage(text).into());
    }
    Ok(())
}
