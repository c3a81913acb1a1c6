//! Shed: tighten the pool limits of the rule in force, in every block that matters, and know the way back.

use serde_json::{Map, Value};

use super::limits::PLACES;
use super::patch::rollback_patch;
use crate::model::action::Limits;

/// A tightened spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Shed {
    /// The new spec.
    pub spec: Value,
    /// What was tightened, in words.
    pub blocks: Vec<String>,
    /// The merge patch of the spec that leads back.
    pub undo: Value,
}

/// Tightens a spec: its top level, every subset with a pool of its own, and every port block, because none
/// of them takes anything from the top. Limits that are tighter already stay.
///
/// # Errors
/// The limits are none, the spec cannot be read, or nothing would change.
pub fn tighten(spec: &Value, limits: &Limits) -> Result<Shed, String> {
    let wanted = [limits.max_connections, limits.max_pending, limits.max_requests];
    if wanted.iter().all(Option::is_none) || wanted.contains(&Some(0)) {
        return Err("a limit of zero means none to Istio, and no limit sheds nothing".to_owned());
    }
    let mut new = spec.clone();
    let mut blocks = Vec::new();
    tighten_policy(&mut new, "the rule", &wanted, &mut blocks)?;
    for subset in list(&mut new, "subsets")? {
        let name = subset.get("name").and_then(Value::as_str).unwrap_or_default();
        let name = format!("subset {name}");
        let own = subset.get("trafficPolicy");
        if own.is_some_and(|own| own.get("connectionPool").is_some()) {
            tighten_policy(subset, &name, &wanted, &mut blocks)?;
        } else if own.is_some() {
            tighten_ports(child(subset, "trafficPolicy")?, &name, &wanted, &mut blocks)?;
        }
    }
    if blocks.is_empty() {
        return Err("its limits are as tight already".to_owned());
    }
    let undo = rollback_patch(&new, spec)?;
    Ok(Shed { spec: new, blocks, undo })
}

type Wanted = [Option<u32>; 3];

fn tighten_policy(
    holder: &mut Value,
    name: &str,
    wanted: &Wanted,
    blocks: &mut Vec<String>,
) -> Result<(), String> {
    let policy = child(holder, "trafficPolicy")?;
    tighten_pool(policy, name, wanted, blocks)?;
    tighten_ports(policy, name, wanted, blocks)
}

fn tighten_ports(
    policy: &mut Value,
    name: &str,
    wanted: &Wanted,
    blocks: &mut Vec<String>,
) -> Result<(), String> {
    for block in list(policy, "portLevelSettings")? {
        let port = block.get("port").and_then(|port| port.get("number")).and_then(Value::as_u64);
        let port = port.map_or_else(|| "without a number".to_owned(), |port| port.to_string());
        tighten_pool(block, &format!("port {port} of {name}"), wanted, blocks)?;
    }
    Ok(())
}

fn tighten_pool(
    policy: &mut Value,
    name: &str,
    wanted: &Wanted,
    blocks: &mut Vec<String>,
) -> Result<(), String> {
    let mut done = Vec::new();
    for ((protocol, key), limit) in PLACES.iter().zip(wanted) {
        let Some(limit) = limit else { continue };
        let now = policy.get("connectionPool").and_then(|pool| pool.get(protocol)).and_then(|p| p.get(key));
        let now = match now {
            None => None,
            Some(now) => Some(now.as_u64().ok_or_else(|| format!("{key} of {name} is no number: {now}"))?),
        };
        if now.is_some_and(|now| now > 0 && now <= u64::from(*limit)) {
            continue;
        }
        let pool = child(child(policy, "connectionPool")?, protocol)?;
        if let Some(pool) = pool.as_object_mut() {
            pool.insert((*key).to_owned(), Value::from(*limit));
        }
        let was = now.filter(|now| *now > 0).map(|now| format!(" (was {now})")).unwrap_or_default();
        done.push(format!("{key} {limit}{was}"));
    }
    if !done.is_empty() {
        blocks.push(format!("{name}: {}", done.join(", ")));
    }
    Ok(())
}

/// The map under a key, made where there is none.
fn child<'v>(value: &'v mut Value, key: &str) -> Result<&'v mut Value, String> {
    let map = value.as_object_mut().ok_or_else(|| format!("what holds {key} is no map"))?;
    let child = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if child.is_object() { Ok(child) } else { Err(format!("{key} is no map")) }
}

/// The list under a key; empty where there is none.
fn list<'v>(value: &'v mut Value, key: &str) -> Result<impl Iterator<Item = &'v mut Value>, String> {
    let found = match value.get_mut(key) {
        None => None,
        Some(Value::Array(items)) => Some(items.iter_mut()),
        Some(_) => return Err(format!("{key} is no list")),
    };
    Ok(found.into_iter().flatten())
}

#[cfg(test)]
mod tests;
