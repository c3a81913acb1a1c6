//! Strings that many objects share, kept once: namespaces, nodes, images, owners' kinds, sets of labels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Labels in the order of their keys.
pub type Labels = Arc<[(Arc<str>, Arc<str>)]>;

/// Looked through when it has grown to twice what was in use last time, and never below this.
const LOOK_THROUGH: usize = 4_096;

/// Every string and every set of labels once.
#[derive(Debug, Default)]
pub(super) struct Names {
    texts: BTreeSet<Arc<str>>,
    labels: BTreeSet<Labels>,
    look_through_at: usize,
}

impl Names {
    /// The one copy of a text.
    pub(super) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(text);
        self.texts.insert(Arc::clone(&new));
        new
    }

    /// The one copy of a set of labels. Replicas of a workload have the same ones.
    pub(super) fn labels(&mut self, labels: Option<&BTreeMap<String, String>>) -> Labels {
        let pairs = labels.into_iter().flatten();
        let pairs: Vec<(Arc<str>, Arc<str>)> =
            pairs.map(|(key, value)| (self.text(key), self.text(value))).collect();
        let new: Labels = Arc::from(pairs);
        if let Some(known) = self.labels.get(&new) {
            return Arc::clone(known);
        }
        self.labels.insert(Arc::clone(&new));
        new
    }

    /// Forgets what nobody uses any more; cheap unless much was added since the last time.
    pub(super) fn forget_unused(&mut self) {
        if self.texts.len() + self.labels.len() < self.look_through_at.max(LOOK_THROUGH) {
            return;
        }
        self.labels.retain(|labels| Arc::strong_count(labels) > 1);
        self.texts.retain(|text| Arc::strong_count(text) > 1);
        self.look_through_at = 2 * (self.texts.len() + self.labels.len());
    }
}

/// The value of a label.
#[must_use]
pub(super) fn label<'l>(labels: &'l Labels, key: &str) -> Option<&'l str> {
    labels.iter().find(|(known, _)| &**known == key).map(|(_, value)| &**value)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutation: never forgetting keeps the names of all pods there ever were.
    #[test]
    fn what_nobody_uses_is_forgotten() {
        let mut names = Names::default();
        let kept = names.text("kept");
        for number in 0..2 * LOOK_THROUGH {
            names.text(&number.to_string());
            names.forget_unused();
        }
        assert!(names.texts.len() <= LOOK_THROUGH, "{}", names.texts.len());
        assert!(Arc::ptr_eq(&kept, &names.text("kept")));
    }

    // Mutation: not looking for the set that is there makes every pod pay for its labels.
    #[test]
    fn equal_labels_are_kept_once() {
        let mut names = Names::default();
        let map = BTreeMap::from([("app".to_owned(), "cart".to_owned())]);
        let (first, second) = (names.labels(Some(&map)), names.labels(Some(&map)));
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(label(&first, "app"), Some("cart"));
        assert_eq!(label(&first, "ap"), None);
    }
}
