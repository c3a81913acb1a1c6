//! Names of hosts, who may see an object, and whom it is for.

use serde_json::Value;

use super::objects::{Config, Labels, Proxy};

/// A short name is one of the namespace that it is written in. What has a dot is not touched: `server.shop`
/// stays as it is and means nobody.
pub(crate) fn full(host: &str, namespace: &str) -> String {
    if host.contains('.') || host.contains('*') {
        host.to_owned()
    } else {
        format!("{host}.{namespace}.svc.cluster.local")
    }
}

/// Whether a host, which may begin with a star, covers another one.
pub(crate) fn covers(pattern: &str, host: &str) -> bool {
    pattern == host || pattern.strip_prefix('*').is_some_and(|end| host.ends_with(end))
}

/// Names before wildcards, long wildcards before short ones.
pub(crate) fn specific(pattern: &str) -> (bool, usize) {
    (!pattern.starts_with('*'), pattern.len())
}

/// The strings of a list.
pub(crate) fn words(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// How an object is exported to a namespace.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Export {
    /// To its own namespace alone.
    Private,
    /// To this namespace by name.
    Named,
    /// To everybody.
    Public,
}

/// How `config` is exported to `namespace`, if at all.
pub(crate) fn exported(config: &Config, namespace: &str) -> Option<Export> {
    let list = words(&config.spec["exportTo"]);
    let own = config.namespace == namespace;
    if list.is_empty() || list.contains(&"*") {
        Some(Export::Public)
    } else if own && (list.contains(&".") || list.contains(&namespace)) {
        Some(Export::Private)
    } else {
        list.contains(&namespace).then_some(Export::Named)
    }
}

/// Whether the proxy imports a host of a namespace.
pub(crate) fn imported(proxy: &Proxy, namespace: &str, host: &str) -> bool {
    let wanted = |import: &String| {
        let Some((from, pattern)) = import.split_once('/') else { return false };
        let from = if from == "." { &proxy.namespace } else { from };
        (from == "*" || from == namespace) && (covers(pattern, host) || covers(host, pattern))
    };
    proxy.imports.is_empty() || proxy.imports.iter().any(wanted)
}

/// Whether all the labels asked for are there.
pub(crate) fn selects(wanted: &Labels, labels: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}
