//! A shelf: the objects of one kind by namespace and name, brought up to date by a watch.

use std::collections::BTreeMap;
use std::sync::Arc;

/// By name, with the number of the list that named it last.
type ByName<V> = BTreeMap<Box<str>, (u32, Arc<V>)>;

/// Objects of one kind. Each remembers in which list it was seen last, so that a fresh list can tell what
/// vanished without a second copy of all names.
#[derive(Debug)]
pub(super) struct Shelf<V> {
    by_namespace: BTreeMap<Arc<str>, ByName<V>>,
}

impl<V> Default for Shelf<V> {
    fn default() -> Self {
        Self { by_namespace: BTreeMap::new() }
    }
}

impl<V> Shelf<V> {
    /// Puts one in; the answer is the one that was there.
    pub(super) fn put(&mut self, namespace: &Arc<str>, name: &str, list: u32, value: V) -> Option<Arc<V>> {
        if !self.by_namespace.contains_key(namespace) {
            self.by_namespace.insert(Arc::clone(namespace), BTreeMap::new());
        }
        let objects = self.by_namespace.get_mut(namespace)?;
        let value = (list, Arc::new(value));
        if let Some(known) = objects.get_mut(name) {
            return Some(std::mem::replace(known, value).1);
        }
        objects.insert(Box::from(name), value);
        None
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<V>> {
        let objects = self.by_namespace.get_mut(namespace)?;
        let removed = objects.remove(name).map(|(_, value)| value);
        if objects.is_empty() {
            self.by_namespace.remove(namespace);
        }
        removed
    }

    /// Takes out what the list of this number did not name, in one namespace or in all.
    pub(super) fn sweep(&mut self, scope: Option<&str>, list: u32) -> Vec<Arc<V>> {
        let mut gone = Vec::new();
        for (namespace, objects) in &mut self.by_namespace {
            if scope.is_some_and(|scope| *scope != **namespace) {
                continue;
            }
            let old = objects.extract_if(.., |_, (seen, _)| *seen != list);
            gone.extend(old.map(|(_, (_, value))| value));
        }
        self.by_namespace.retain(|_, objects| !objects.is_empty());
        gone
    }

    /// One of them.
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<V>> {
        self.by_namespace.get(namespace)?.get(name).map(|(_, value)| value)
    }

    /// Those of a namespace, by name.
    pub(super) fn of(&self, namespace: &str) -> impl Iterator<Item = &Arc<V>> {
        self.by_namespace.get(namespace).into_iter().flatten().map(|(_, (_, value))| value)
    }

    /// All of them, by namespace and name.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<V>> {
        self.by_namespace.values().flatten().map(|(_, (_, value))| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutations: sweeping without looking at the scope takes the other namespace too; not sweeping at all
    // keeps what vanished while nobody looked.
    #[test]
    fn a_fresh_list_takes_out_what_it_does_not_name() {
        let (shop, bank): (Arc<str>, Arc<str>) = (Arc::from("shop"), Arc::from("bank"));
        let mut shelf = Shelf::default();
        for (namespace, name) in [(&shop, "a"), (&shop, "b"), (&bank, "c")] {
            assert!(shelf.put(namespace, name, 1, name.to_owned()).is_none());
        }
        assert_eq!(*shelf.put(&shop, "a", 2, "A".to_owned()).unwrap(), "a");
        let gone: Vec<_> = shelf.sweep(Some("shop"), 2).into_iter().map(|value| value.to_string()).collect();
        assert_eq!(gone, vec!["b"]);
        let left: Vec<&str> = shelf.all().map(|value| value.as_str()).collect();
        assert_eq!(left, vec!["c", "A"]);
        assert_eq!(shelf.remove("bank", "c").map(|value| value.to_string()).as_deref(), Some("c"));
        assert!(shelf.get("bank", "c").is_none());
    }
}
