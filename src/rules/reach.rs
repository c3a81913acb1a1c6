//! Reach: where the policies let an act be made at all, for those who grant rights.
//!
//! It is asked of the ruling itself, namespace by namespace, so that caps, exclusions and the more specific
//! policy count here as they count for an act. A namespace that no policy names stands for all the others.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::glob::Glob;
use super::policy::Scope;
use super::ruling::{Act, Policies};
use crate::model::subject::Subject;
use crate::model::verdict::Mode;

/// Where an act may be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Also in namespaces that no policy names: only a right in the whole cluster covers them.
    pub everywhere: bool,
    /// In these namespaces.
    pub namespaces: BTreeSet<String>,
    /// In namespaces that fit these patterns, with the policy that says so.
    pub patterns: BTreeSet<(String, String)>,
}

impl Reach {
    /// Takes in another reach.
    pub fn join(&mut self, other: Self) {
        self.everywhere |= other.everywhere;
        self.namespaces.extend(other.namespaces);
        self.patterns.extend(other.patterns);
    }

    /// Whether it is nowhere, as far as names tell.
    #[must_use]
    pub fn is_nowhere(&self) -> bool {
        !self.everywhere && self.namespaces.is_empty() && self.patterns.is_empty()
    }
}

/// A name that no namespace has and no pattern means but `*`.
const ANY_OTHER: &str = "\u{1}";

impl Policies {
    /// Where a playbook may make this act on an object of this kind; `named` are further namespaces that
    /// exist, to be held against the patterns.
    #[must_use]
    pub fn reach(&self, playbook: &str, action: &str, kind: &str, named: &BTreeSet<String>) -> Reach {
        let allowed = |namespace: &str| self.allows([playbook, action, kind, namespace]);
        let (mut names, mut patterns) = (named.clone(), BTreeSet::new());
        for policy in self.iter() {
            for glob in namespaces(&policy.scope) {
                if glob.is_pattern() {
                    patterns.insert((policy.name.clone(), glob.text().to_owned()));
                } else {
                    names.insert(glob.text().to_owned());
                }
            }
        }
        // A pattern is asked with a name of its own that fits it and that nobody has.
        patterns.retain(|(_, pattern)| allowed(&pattern.replace('*', ANY_OTHER)) && pattern != "*");
        names.retain(|namespace| allowed(namespace));
        Reach { everywhere: allowed(ANY_OTHER), namespaces: names, patterns }
    }

    /// Whether the act may be more than planned there, for an object with any labels that a policy names.
    fn allows(&self, [playbook, action, kind, namespace]: [&str; 4]) -> bool {
        let target = Subject::new("", kind, namespace, "");
        let mut labels = vec![BTreeMap::new()];
        labels.extend(self.iter().map(|policy| policy.scope.labels.iter().cloned().collect()));
        labels.iter().any(|labels| {
            let act = Act { playbook, actions: vec![action], target: &target, labels };
            // After every freeze: one that passes takes no rights away.
            self.ruling(&act, Timestamp::MAX).mode > Mode::Observe
        })
    }
}

/// The namespaces that a scope names, those it leaves out among them.
fn namespaces(scope: &Scope) -> Vec<&Glob> {
    let inner = scope.exclude.as_ref().map(|exclude| namespaces(exclude)).unwrap_or_default();
    scope.namespaces.iter().flatten().chain(inner).collect()
}

#[cfg(test)]
mod tests {
    use super::super::files::{RuleFiles, Rules};
    use super::*;

    fn reach(policies: &[&str], named: &[&str]) -> Reach {
        let mut files = RuleFiles::embedded();
        for (number, spec) in policies.iter().enumerate() {
            let text = format!(
                "apiVersion: meshmend.dev/v1alpha1\nkind: Policy\nmetadata: {{ name: p{number} }}\nspec: {spec}\n"
            );
            files.policies.insert(format!("p{number}.yaml"), text);
        }
        let rules = Rules::load(&files, None).expect("the policies are right").rules;
        let named = named.iter().map(|name| (*name).to_owned()).collect();
        rules.policies.reach("roll-back-x", "rollback_route", "VirtualService", &named)
    }

    fn names(reach: &Reach) -> Vec<&str> {
        reach.namespaces.iter().map(String::as_str).collect()
    }

    // Mutations: reading modes from the scopes instead of asking the ruling; counting observe as reach;
    // asking with no labels only; taking a pattern for a name.
    #[test]
    fn a_right_reaches_as_far_as_the_ruling_and_no_further() {
        assert!(reach(&[], &["shop"]).is_nowhere(), "observe writes nothing");
        let named = reach(&["{ scope: { namespaces: [shop, mail] }, mode: enforce }"], &["else"]);
        assert_eq!((names(&named), named.everywhere), (vec!["mail", "shop"], false));
        let excluded =
            "{ scope: { namespaces: [shop, mail], exclude: { namespaces: [mail] } }, mode: suggest }";
        assert_eq!(names(&reach(&[excluded], &[])), ["shop"]);
        let capped =
            reach(&["{ scope: { namespaces: [shop] }, mode: enforce }", "{ maxMode: observe }"], &[]);
        assert!(capped.is_nowhere(), "{capped:?}");
        let labelled = "{ scope: { namespaces: [shop], labels: { heal: \"yes\" } }, mode: enforce }";
        assert_eq!(names(&reach(&[labelled], &[])), ["shop"]);
        let other_kind = "{ scope: { namespaces: [shop], kinds: [HTTPRoute] }, mode: enforce }";
        assert!(reach(&[other_kind], &[]).is_nowhere());
    }

    #[test]
    fn patterns_reach_only_the_names_that_are_given() {
        let policy = "{ scope: { namespaces: [shop, \"shop-*\"] }, mode: enforce }";
        let found = reach(&[policy], &["shop-eu", "mail"]);
        assert_eq!(names(&found), ["shop", "shop-eu"]);
        assert!(!found.everywhere);
        assert_eq!(found.patterns.len(), 1);
        for everywhere in ["{ mode: enforce }", "{ scope: { namespaces: [\"*\"] }, mode: enforce }"] {
            // The shipped `observe` is as unspecific as the first; the lower mode wins between equals.
            let found = reach(&[everywhere], &[]);
            assert_eq!(found.everywhere, everywhere.contains('*'), "{everywhere}");
            assert!(found.patterns.is_empty());
        }
    }
}
