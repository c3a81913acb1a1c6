//! Which VirtualServices a proxy takes, in which order, and their routes with delegates put in.

use serde_json::{Map, Value, json};

use crate::mesh::hosts::{covers, exported, full, imported, specific, words};
use crate::mesh::objects::{Config, Mesh, Proxy};

/// Those that a proxy takes part in, first come first served: private before exported by name before
/// public, then by age, name, namespace.
pub(crate) fn visible<'m>(mesh: &'m Mesh, proxy: &Proxy) -> Vec<&'m Config> {
    let mut found: Vec<_> = mesh
        .virtual_services
        .iter()
        .filter(|config| {
            let gateways = words(&config.spec["gateways"]);
            gateways.is_empty() || gateways.contains(&"mesh")
        })
        .filter(|config| hosts(config).iter().any(|host| imported(proxy, &config.namespace, host)))
        .filter_map(|config| Some((exported(config, &proxy.namespace)?, config)))
        .collect();
    found.sort_by(|(a_export, a), (b_export, b)| {
        let key = |config: &Config| (config.created.clone(), config.name.clone(), config.namespace.clone());
        a_export.cmp(b_export).then_with(|| key(a).cmp(&key(b)))
    });
    found.into_iter().map(|(_, config)| config).collect()
}

/// The full hosts of a VirtualService; a delegate has none.
pub(crate) fn hosts(config: &Config) -> Vec<String> {
    words(&config.spec["hosts"]).into_iter().map(|host| full(host, &config.namespace)).collect()
}

/// The one that serves a host: the most specific of its hosts counts first, then the order.
pub(crate) fn serving<'m>(visible: &[&'m Config], host: &str) -> Option<&'m Config> {
    let mut best: Option<((bool, usize), &Config)> = None;
    for config in visible {
        let how = hosts(config).iter().filter(|own| covers(own, host)).map(|own| specific(own)).max();
        if let Some(how) = how
            && best.is_none_or(|(known, _)| how > known)
        {
            best = Some((how, config));
        }
    }
    best.map(|(_, config)| config)
}

/// Its HTTP routes, each with the namespace that short names in it belong to. A route whose delegate does
/// not exist is left out.
pub(crate) fn http_routes<'m>(mesh: &'m Mesh, root: &'m Config) -> Vec<(Value, &'m str)> {
    let mut found = Vec::new();
    for route in root.spec["http"].as_array().into_iter().flatten() {
        let delegate = &route["delegate"];
        let Some(name) = delegate["name"].as_str() else {
            found.push((route.clone(), root.namespace.as_str()));
            continue;
        };
        let namespace = delegate["namespace"].as_str().unwrap_or(&root.namespace);
        let child = mesh.virtual_services.iter().find(|config| {
            config.name == name
                && config.namespace == namespace
                && words(&config.spec["hosts"]).is_empty()
                && exported(config, &root.namespace).is_some()
        });
        for part in child.into_iter().flat_map(|child| child.spec["http"].as_array().into_iter().flatten()) {
            if let (Some(joined), Some(child)) = (join(route, part), child) {
                found.push((joined, child.namespace.as_str()));
            }
        }
    }
    found
}

/// A delegate's route under the root's: both must match; what the delegate leaves open the root decides.
fn join(root: &Value, child: &Value) -> Option<Value> {
    let mut joined = root.as_object()?.clone();
    joined.remove("delegate");
    joined.extend(child.as_object()?.clone());
    let name = |value: &Value| value["name"].as_str().map(str::to_owned);
    let names: Vec<String> = [name(root), name(child)].into_iter().flatten().collect();
    if !names.is_empty() {
        joined.insert("name".to_owned(), json!(names.join("-")));
    }
    let none = [Value::Null];
    let list = |value: &Value| value["match"].as_array().filter(|list| !list.is_empty()).cloned();
    let (outer, inner) = (list(root).unwrap_or(none.to_vec()), list(child).unwrap_or(none.to_vec()));
    let pairs = outer.iter().flat_map(|a| inner.iter().map(move |b| both(a, b)));
    let matches: Vec<Value> = pairs.flatten().filter(|found| !found.is_null()).collect();
    let open = list(root).is_none() && list(child).is_none();
    if matches.is_empty() && !open {
        return None;
    }
    joined.remove("match");
    if !matches.is_empty() {
        joined.insert("match".to_owned(), Value::Array(matches));
    }
    Some(Value::Object(joined))
}

/// What matches both, if anything can.
fn both(root: &Value, child: &Value) -> Option<Value> {
    let none = Map::new();
    let (root, child) = (root.as_object().unwrap_or(&none), child.as_object().unwrap_or(&none));
    let mut joined = root.clone();
    for (key, value) in child {
        match (key.as_str(), root.get(key)) {
            ("uri", Some(outer)) => {
                let prefix = outer["prefix"].as_str()?;
                let inner = value["prefix"].as_str().or(value["exact"].as_str())?;
                if !inner.starts_with(prefix) {
                    return None;
                }
                joined.insert(key.clone(), value.clone());
            }
            ("headers" | "queryParams" | "withoutHeaders" | "sourceLabels", Some(Value::Object(outer))) => {
                let mut all = outer.clone();
                all.extend(value.as_object()?.clone());
                joined.insert(key.clone(), Value::Object(all));
            }
            ("name", _) => {}
            (_, Some(outer)) if outer != value => return None,
            _ => {
                joined.insert(key.clone(), value.clone());
            }
        }
    }
    Some(if joined.is_empty() { Value::Null } else { Value::Object(joined) })
}
