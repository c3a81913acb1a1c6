//! Deeds: what a playbook may do, found without running its plan, for those who grant rights.
//!
//! The syntax tree is walked, the tests of the playbook left out. A name of an act anywhere in it counts,
//! called or written as a text, because a text can become a call. A script that makes calls out of texts
//! that are put together could name any act; then all of them count, and it is said. So the answer may be
//! too much and is never too little.

use std::collections::BTreeSet;

use rhai::{ASTNode, Expr, FnCallExpr, Stmt};
use smol_str::SmolStr;

use super::constructors::On;
use super::playbook::Playbook;
use super::rights::{ACTS, Right};
use crate::model::signal::{Labels, Severity, Signal, SignalState, Symptom};
use crate::model::subject::Subject;

/// What a playbook may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deeds {
    /// Names of acts.
    pub acts: BTreeSet<&'static str>,
    /// Whether calls are made out of texts, so that every act had to be assumed.
    pub assumed: bool,
}

/// What the walk found.
#[derive(Default)]
struct Names {
    called: BTreeSet<String>,
    texts: BTreeSet<String>,
    computed: bool,
}

impl Names {
    fn call(&mut self, call: &FnCallExpr) {
        self.called.insert(call.name.to_string());
        // `Fn("name")` with a fixed name was made a constant; any other one is put together at run time.
        self.computed |= call.name == "Fn";
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all other nodes hold these as their parts")]
    fn look(&mut self, node: &ASTNode<'_>) {
        match node {
            ASTNode::Expr(Expr::FnCall(call, _) | Expr::MethodCall(call, _))
            | ASTNode::Stmt(Stmt::FnCall(call, _)) => self.call(call),
            ASTNode::Expr(Expr::StringConstant(text, _)) => {
                self.texts.insert(text.to_string());
            }
            // Lists and maps of constants, and pointers to functions, were folded into one value.
            ASTNode::Expr(Expr::DynamicConstant(value, _)) => {
                self.texts.insert(format!("{value:?}"));
            }
            _ => {}
        }
    }

    fn name(&self, word: &str) -> bool {
        self.called.contains(word) || self.texts.iter().any(|text| text.contains(word))
    }
}

impl Playbook {
    fn names(&self) -> Names {
        let mut names = Names::default();
        let Ok(tree) = self.script.tree() else {
            return Names { computed: true, ..names };
        };
        let ast = tree.clone_functions_only_filtered(|_, _, _, name, _| name != "tests");
        ast.walk(&mut |path: &[ASTNode<'_>]| {
            if let Some(node) = path.last() {
                names.look(node);
            }
            true
        });
        names
    }

    /// The acts that its plans may hold.
    #[must_use]
    pub fn deeds(&self) -> Deeds {
        let names = self.names();
        let acts = ACTS.iter().map(|(name, _)| *name).filter(|name| names.computed || names.name(name));
        Deeds { acts: acts.collect(), assumed: names.computed }
    }

    /// Whether a right of an act or a fact can be needed, by the kind of its subject. A kind is left out
    /// only if the script never names it and `applies` says no to it where it says yes to another one.
    #[must_use]
    pub fn may_need(&self, right: &Right, of: &[Right]) -> bool {
        if right.kind.is_empty() || !self.has("applies") || self.names().name(right.kind) {
            return true;
        }
        let kinds: BTreeSet<&str> =
            of.iter().map(|right| right.kind).filter(|kind| !kind.is_empty()).collect();
        self.on.iter().any(|on| {
            let says = |kind: &str| self.applies(&about(on, kind));
            let others = kinds.iter().any(|kind| says(kind) == Ok(true));
            !others || says(right.kind) != Ok(false)
        })
    }
}

/// A signal of this kind as the playbook would hear it.
fn about(on: &On, kind: &str) -> Signal {
    let custom = || Symptom::CUSTOM_ALERT.parse().ok();
    let (symptom, alert) = match on {
        On::Symptom(symptom) => (Some(symptom.clone()), None),
        On::Alert { name, .. } => (None, Some(name.into())),
    };
    Signal {
        symptom: symptom.or_else(custom).unwrap_or_else(|| unreachable!("custom.alert is a symptom")),
        subject: Subject::new("", kind, "namespace", "name"),
        state: SignalState::Firing,
        severity: Severity::Critical,
        value: Some(1.0),
        labels: Labels::default(),
        at: jiff::Timestamp::UNIX_EPOCH,
        source: SmolStr::default(),
        alert,
        owner: None,
        depends_on: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::{RuleFiles, Rules};
    use super::super::rights;
    use super::*;

    fn playbook(text: &str) -> Rules {
        let mut files = RuleFiles::embedded();
        files.playbooks.insert("x.rhai".to_owned(), text.to_owned());
        Rules::load(&files, None).expect("it compiles").rules
    }

    fn deeds(plan: &str) -> Deeds {
        let text =
            format!("//! X.\nfn about() {{ #{{ on: [symptom(\"a.b\")] }} }}\nfn plan(facts) {{ {plan} }}\n");
        playbook(&text).playbooks.get("x").expect("it is there").deeds()
    }

    // Mutations: looking at calls only; not counting `Fn` with a text that is put together.
    #[test]
    fn a_name_of_an_act_counts_however_it_is_written() {
        for plan in [
            "[evict_pod(facts.pod)]",
            "if facts.x { [facts.pod.evict_pod()] } else { refuse(\"no\") }",
            "evict_pod(facts.pod); []",
            "let f = Fn(\"evict_pod\"); [f.call(facts.pod)]",
            "let name = \"evict_pod\"; [call(name, facts.pod)]",
            "for n in [\"evict_pod\", \"x\"] { return [call(n, facts.pod)]; } []",
        ] {
            let found = deeds(plan);
            assert!(found.acts.contains("evict_pod"), "{plan}: {found:?}");
            assert!(!found.acts.contains("shed_load"), "{plan}: {found:?}");
        }
        let computed = deeds("let f = Fn(\"evict\" + \"_pod\" + this.x); [f.call(facts.pod)]");
        assert!(computed.assumed && computed.acts.len() == ACTS.len(), "{computed:?}");
    }

    // Mutations: narrowing by `applies` alone; not narrowing at all.
    #[test]
    fn a_kind_is_left_out_only_when_the_script_surely_does_not_want_it() {
        let rights = rights::of(ACTS, "rollback_route");
        let kinds = |applies: &str| -> Vec<&str> {
            let rules = playbook(&format!(
                "//! X.\nfn about() {{ #{{ on: [symptom(\"a.b\")] }} }}\nfn applies() {{ {applies} }}\n\
                 fn plan(facts) {{ [rollback_route(facts.route)] }}\n"
            ));
            let playbook = rules.playbooks.get("x").expect("it is there");
            rights.iter().filter(|right| playbook.may_need(right, rights)).map(|right| right.kind).collect()
        };
        assert_eq!(kinds("this.subject.kind == \"HTTPRoute\""), ["HTTPRoute"]);
        let all = ["VirtualService", "DestinationRule", "HTTPRoute"];
        assert_eq!(kinds("this.subject.namespace == \"shop\""), all);
        assert_eq!(kinds("this.subject.kind == \"HTTPRoute\" && this.subject.namespace == \"shop\""), all);
        let two = "this.subject.kind == \"HTTPRoute\" || this.subject.kind == \"DestinationRule\" && this.value > 9";
        assert_eq!(kinds(two), ["DestinationRule", "HTTPRoute"]);
    }
}
