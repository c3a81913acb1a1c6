//! Sequences of requests that follow from a seed.

use serde_json::{Value, json};

use super::ask::{Ask, JSON_PATCH, STRATEGIC};
use super::objects::{KINDS, Kind};

const NAMES: [&str; 3] = ["a", "b", "c"];
/// Kinds in one sequence: few, so that its requests meet.
const TOGETHER: usize = 3;

/// A generator that stays the same on every machine (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((x ^ (x >> 31)) % u64::try_from(end.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn variant(&mut self) -> u64 {
        u64::try_from(self.below(4)).unwrap_or(0)
    }

    /// One in so many.
    fn seldom(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// The requests of a seed. Each sequence begins with the list that its watches start from, and ends with a
/// watch of each of its kinds from there, which a last object brings to its end.
pub(crate) fn sequence(seed: u64, steps: usize) -> Vec<Ask> {
    let mut dice = Dice(seed);
    let mut kinds: Vec<&Kind> = Vec::new();
    while kinds.len() < TOGETHER {
        let kind = &KINDS[dice.below(KINDS.len())];
        if !kinds.iter().any(|known| known.plural == kind.plural) {
            kinds.push(kind);
        }
    }
    let mut asks = Vec::new();
    for kind in &kinds {
        let first = dice.one(&NAMES);
        let variant = dice.variant();
        asks.push(Ask::post(kind.all(), &kind.object(first, variant)));
    }
    while asks.len() < steps {
        let kind = dice.one(&kinds);
        let name = dice.one(&NAMES);
        asks.push(step(&mut dice, kind, name));
    }
    for kind in &kinds {
        let seen = format!("{}?watch=1&resourceVersion=<<born>>", kind.all());
        let selected = if dice.seldom(2) { "&labelSelector=app%3Dcart" } else { "" };
        asks.push(Ask::post(kind.all(), &kind.object("fence", 0)));
        asks.push(Ask::watch(format!("{seen}{selected}"), "fence"));
    }
    asks
}

fn step(dice: &mut Dice, kind: &Kind, name: &str) -> Ask {
    let ask = match dice.below(16) {
        0..=2 => Ask::post(kind.all(), &kind.object(name, dice.variant())),
        3 => Ask::get(kind.one(name)),
        4 | 5 => return list(dice, kind),
        6 | 7 => merge(dice, kind, name),
        8 => json_patch(dice, kind, name),
        9 if kind.native => Ask::patch(kind.one(name), STRATEGIC, &metadata(dice)),
        9 | 10 => put(dice, kind, name),
        11 | 12 if !kind.parts.is_empty() => part(dice, kind, name),
        11 | 12 => merge(dice, kind, name),
        13 | 14 => delete(dice, kind, name),
        _ => return many(dice, kind),
    };
    if ask.method != http::Method::GET && dice.seldom(6) { ask.with("dryRun=All") } else { ask }
}

fn list(dice: &mut Dice, kind: &Kind) -> Ask {
    let query = dice.one(&[
        "",
        "labelSelector=app%3Dcart",
        "labelSelector=app%20in%20(cart,web),name!%3Da",
        "labelSelector=!app",
        "labelSelector=name%20notin%20(a,b)",
        "fieldSelector=metadata.name%3Da",
        "fieldSelector=metadata.name!%3Da,metadata.namespace%3D<<ns>>",
        "limit=1",
        "limit=2",
        "limit=1&continue=<<continue>>",
        "limit=1&labelSelector=app%3Dcart",
        "resourceVersion=0",
    ]);
    if query.is_empty() { Ask::get(kind.all()) } else { Ask::get(kind.all()).with(query) }
}

/// A patch of labels and annotations, sometimes with a condition on the version.
fn metadata(dice: &mut Dice) -> Value {
    let value = dice.one(&["cart", "web"]);
    match dice.below(5) {
        0 => json!({ "metadata": { "labels": { "app": value } } }),
        1 => json!({ "metadata": { "labels": { "app": null, "gone": null } } }),
        2 => json!({ "metadata": { "annotations": { "example.com/note": value } } }),
        3 => json!({ "metadata": { "annotations": null } }),
        _ => json!({ "metadata": { "annotations": { "example.com/note": null, "example.com/other": "1" } } }),
    }
}

fn merge(dice: &mut Dice, kind: &Kind, name: &str) -> Ask {
    let mut patch = if dice.seldom(2) { metadata(dice) } else { (kind.rest)(dice.variant()) };
    match dice.below(6) {
        0 => patch["metadata"]["resourceVersion"] = json!(format!("<<rv {}/{name}>>", kind.kind)),
        1 => patch["metadata"]["resourceVersion"] = json!(format!("<<old {}/{name}>>", kind.kind)),
        2 => patch["metadata"]["uid"] = json!(format!("<<uid {}/{name}>>", kind.kind)),
        _ => {}
    }
    Ask::merge(kind.one(name), &patch)
}

fn json_patch(dice: &mut Dice, kind: &Kind, name: &str) -> Ask {
    let patch = match dice.below(6) {
        0 => json!([{ "op": "add", "path": "/metadata/labels/added", "value": "yes" }]),
        1 => json!([
            { "op": "test", "path": "/metadata/labels/app", "value": "cart" },
            { "op": "replace", "path": "/metadata/labels/app", "value": "web" },
        ]),
        2 => json!([{ "op": "remove", "path": "/metadata/labels/added" }]),
        3 => {
            json!([{ "op": "test", "path": "/metadata/resourceVersion", "value": format!("<<old {}/{name}>>", kind.kind) },
            { "op": "add", "path": "/metadata/annotations", "value": { "example.com/note": "1" } }])
        }
        4 => json!([{ "op": "copy", "from": "/metadata/labels/app", "path": "/metadata/labels/copied" }]),
        _ => json!([{ "op": "move", "from": "/metadata/labels/name", "path": "/metadata/labels/moved" }]),
    };
    Ask::patch(kind.one(name), JSON_PATCH, &patch)
}

fn put(dice: &mut Dice, kind: &Kind, name: &str) -> Ask {
    let mut object = kind.object(name, dice.variant());
    match dice.below(3) {
        0 => {}
        1 => object["metadata"]["resourceVersion"] = json!(format!("<<rv {}/{name}>>", kind.kind)),
        _ => object["metadata"]["resourceVersion"] = json!(format!("<<old {}/{name}>>", kind.kind)),
    }
    Ask::put(kind.one(name), &object)
}

fn part(dice: &mut Dice, kind: &Kind, name: &str) -> Ask {
    let part = dice.one(kind.parts);
    let path = format!("{}/{part}", kind.one(name));
    match part {
        "eviction" => Ask::post(
            path,
            &json!({
                "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name },
            }),
        ),
        "scale" if dice.seldom(3) => Ask::get(path),
        "scale" => Ask::merge(path, &json!({ "spec": { "replicas": dice.variant() } })),
        _ if dice.seldom(4) => Ask::get(path),
        _ => Ask::merge(path, &json!({ "status": (kind.status)(dice.variant()) })),
    }
}

fn delete(dice: &mut Dice, kind: &Kind, name: &str) -> Ask {
    let options = match dice.below(6) {
        0 => json!({ "preconditions": { "uid": format!("<<uid {}/{name}>>", kind.kind) } }),
        1 => json!({ "preconditions": { "resourceVersion": format!("<<old {}/{name}>>", kind.kind) } }),
        2 => json!({ "propagationPolicy": "Background" }),
        3 => json!({ "gracePeriodSeconds": 0 }),
        _ => Value::Null,
    };
    Ask::delete(kind.one(name), &options)
}

/// All objects with a label go at once.
fn many(dice: &mut Dice, kind: &Kind) -> Ask {
    let label = dice.one(&["app%3Dweb", "name%3Db", "app%3Dnobody"]);
    Ask::delete(kind.all(), &Value::Null).with(&format!("labelSelector={label}"))
}
