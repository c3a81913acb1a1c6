//! Several files of indicators as one: the first is the base, the others override by id and add.

use super::read::indicator;
use super::{Catalogue, Indicator};
use crate::rules::note::Note;
use crate::yaml::{Faults, Node, Value, header};

/// One indicator as it is written, and where.
struct Written {
    id: String,
    file: String,
    node: Node,
}

/// Ways of reading: to name one takes the place of the others.
const WAYS: [&str; 3] = ["prometheus", "check", "readings"];

impl Catalogue {
    /// Reads the base and what overrides it; their mistakes become notes, each of its own file.
    pub(in crate::rules) fn read(files: &[(String, Node)], notes: &mut Vec<Note>) -> Self {
        let mut all: Vec<Written> = Vec::new();
        for (number, (file, root)) in files.iter().enumerate() {
            let mut faults = Faults::default();
            let found = items(file, root, &mut faults);
            for written in found {
                match all.iter_mut().find(|known| known.id == written.id) {
                    None => all.push(written),
                    Some(known) if known.file == *file => {
                        faults.add(&written.node, format!("the indicator {} stands here twice", known.id));
                    }
                    // Whoever wins would be an accident of names.
                    Some(known) if number > 1 && known.file != files[0].0 => {
                        let text =
                            format!("{} says something of {} too: put both into one", known.file, known.id);
                        faults.add(&written.node, text);
                    }
                    Some(known) => {
                        if let Some(readings) = loses_its_way(&known.node, &written.node) {
                            let text = "acts are measured by the way it has: take out readings, or give yours \
                                        another id";
                            faults.add(readings, text);
                        }
                        *known = Written { node: overridden(&known.node, &written.node), ..written }
                    }
                }
            }
            notes.extend(Note::faults(file, faults.0));
        }
        let read = |written: Written| -> Option<Indicator> {
            let mut faults = Faults::default();
            let found = indicator(&written.node, &mut faults);
            notes.extend(Note::faults(&written.file, faults.0));
            found
        };
        Self { all: all.into_iter().filter_map(read).collect() }
    }
}

fn items(file: &str, root: &Node, faults: &mut Faults) -> Vec<Written> {
    let top = root.fields(&["apiVersion", "kind", "indicators"], &[], faults);
    header(top, root, "Indicators", faults);
    let items = top.need("indicators", root, faults).map(|node| node.items(faults)).unwrap_or_default();
    let mut found = Vec::new();
    for node in items {
        let Value::Map(entries) = &node.value else {
            faults.add(node, "an indicator is a map with the key id");
            continue;
        };
        let id = entries.iter().find(|(key, _)| key == "id").map(|(_, id)| id);
        match id.map(|id| &id.value) {
            Some(Value::Text(id)) => {
                found.push(Written { id: id.clone(), file: file.to_owned(), node: node.clone() });
            }
            _ => faults.add(node, "an indicator has an id: component.name"),
        }
    }
    found
}

/// The readings that would take the place of a way that signals and acts rely on.
fn loses_its_way<'n>(base: &Node, over: &'n Node) -> Option<&'n Node> {
    let (Value::Map(known), Value::Map(named)) = (&base.value, &over.value) else { return None };
    let has = |wanted: &str| known.iter().any(|(key, _)| key == wanted);
    let measures = has("trigger") && (has("prometheus") || has("check"));
    named.iter().find(|(key, _)| measures && key == "readings").map(|(_, readings)| readings)
}

/// An indicator with the keys that another file names in their place.
fn overridden(base: &Node, over: &Node) -> Node {
    let entries =
        |node: &Node| if let Value::Map(entries) = &node.value { entries.clone() } else { Vec::new() };
    let named = entries(over);
    let names = |wanted: &str| named.iter().any(|(key, _)| key == wanted);
    let other_way = |key: &str| WAYS.contains(&key) && WAYS.iter().any(|way| names(way));
    // A mistake between a key of each is told where it can be changed.
    let moved = |(key, node): (String, Node)| (key, Node { line: over.line, column: over.column, ..node });
    let kept = entries(base).into_iter().filter(|(key, _)| !names(key) && !other_way(key)).map(moved);
    let all = kept.chain(named.iter().cloned()).collect();
    Node { line: over.line, column: over.column, value: Value::Map(all) }
}
