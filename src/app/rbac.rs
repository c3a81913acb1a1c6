//! Rbac: the least Roles for the loaded playbooks and policies, with a reason for each rule.

mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::rules::rights::{self, ISTIOD_NAMESPACE, Lies, Right};
use crate::rules::{Playbook, Reach, Rules};

pub use yaml::yaml;

/// Whom the rights are for, and what the configuration says about reading.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// Namespace and name of the ServiceAccount.
    pub account: (String, String),
    /// Namespaces that are watched; `*` means all.
    pub watched: Vec<String>,
    /// Whether istiod is asked for what it knows of its proxies.
    pub istiod: bool,
    /// Whether proxies are asked through the API server.
    pub proxies: bool,
    /// Namespaces to hold against the patterns of policies.
    pub named: BTreeSet<String>,
}

/// One rule with the reasons for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Verbs.
    pub verbs: BTreeSet<&'static str>,
    /// Why, one sentence each.
    pub why: BTreeSet<String>,
}

/// Rules by API group and resource.
pub type Rights = BTreeMap<(&'static str, &'static str), Rule>;

/// A Role, or a ClusterRole where it has no namespace, with its binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Name of role and binding.
    pub name: String,
    /// Namespace; none for the whole cluster.
    pub namespace: Option<String>,
    /// What it is for.
    pub about: Vec<String>,
    /// Rules.
    pub rules: Rights,
}

/// Everything that is to be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    /// Namespace and name of the ServiceAccount.
    pub account: (String, String),
    /// What cannot be granted, and what to know about what is.
    pub remarks: Vec<String>,
    /// Roles.
    pub roles: Vec<Role>,
}

const OBSERVE: &str = "meshmend-observe";
const ACT: &str = "meshmend-act";
const ISTIOD: &str = "meshmend-istiod";

/// The least rights under which the agent can do what these rules let it do.
#[must_use]
pub fn grants(rules: &Rules, wishes: &Wishes) -> Grants {
    let mut remarks = Vec::new();
    let mut roles = reading(rules, wishes);
    if wishes.istiod {
        let mut role = Role::new(ISTIOD, Some(ISTIOD_NAMESPACE), "To ask istiod what its proxies run with.");
        rights::ISTIOD.iter().for_each(|right| role.add(right, "source istiod"));
        roles.push(role);
    }
    roles.extend(acting(rules, wishes, &mut remarks));
    Grants { account: wishes.account.clone(), remarks, roles }
}

impl Role {
    fn new(name: &str, namespace: Option<&str>, about: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
            about: vec![about.to_owned()],
            rules: Rights::new(),
        }
    }

    fn add(&mut self, right: &Right, whose: &str) {
        let rule = self.rules.entry((right.group, right.resource)).or_default();
        rule.verbs.extend(right.verbs);
        rule.why.insert(format!("{whose}: {}", right.why));
    }
}

/// What the watches and the facts of all playbooks read.
fn reading(rules: &Rules, wishes: &Wishes) -> Vec<Role> {
    let mut read: Vec<(&Right, String)> =
        rights::WATCHES.iter().map(|right| (right, "watch".to_owned())).collect();
    read.extend(rights::OVERVIEW.iter().map(|right| (right, "overview".to_owned())));
    for playbook in rules.playbooks.iter() {
        for need in &playbook.needs {
            let of = rights::of(rights::FACTS, &need.fact);
            let needed = of.iter().filter(|right| playbook.may_need(right, of));
            read.extend(needed.map(|right| (right, format!("fact {}", need.fact))));
        }
    }
    if wishes.proxies {
        read.extend(rights::PROXIES.iter().map(|right| (right, "source proxies".to_owned())));
    }
    let all = wishes.watched.iter().any(|namespace| namespace == "*");
    let mut everywhere = Role::new(OBSERVE, None, "To look. Watching alone needs nothing else.");
    let mut inside = Role::new(OBSERVE, None, "To look into this namespace.");
    for (right, whose) in &read {
        let whole = all || right.lies == Lies::Cluster;
        let role = if whole { &mut everywhere } else { &mut inside };
        role.add(right, whose);
    }
    let mut roles = vec![everywhere];
    if !all {
        let names: BTreeSet<&String> = wishes.watched.iter().collect();
        roles.extend(names.into_iter().map(|name| Role { namespace: Some(name.clone()), ..inside.clone() }));
    }
    roles
}

/// What the acts of the playbooks need where policies let them act.
fn acting(rules: &Rules, wishes: &Wishes, remarks: &mut Vec<String>) -> Vec<Role> {
    let about = "To act: the dry run before a plan is shown, the act, and its undo.";
    let mut roles: BTreeMap<Option<String>, Role> = BTreeMap::new();
    let mut patterns: BTreeSet<(String, String)> = BTreeSet::new();
    let role_in = |namespace: Option<&str>| Role::new(ACT, namespace, about);
    for playbook in rules.playbooks.iter() {
        let deeds = playbook.deeds();
        if deeds.assumed {
            remarks.push(format!(
                "The playbook {} makes calls out of texts: it could name any act, so it is given the rights of all.",
                playbook.name
            ));
        }
        for act in deeds.acts {
            let of = rights::of(rights::ACTS, act);
            for right in of.iter().filter(|right| playbook.may_need(right, of)) {
                let reach = reach(rules, wishes, playbook, (act, right));
                patterns.extend(reach.patterns.iter().cloned());
                let whole = reach.everywhere || right.lies == Lies::Cluster && !reach.is_nowhere();
                let places: Vec<Option<String>> =
                    if whole { vec![None] } else { reach.namespaces.into_iter().map(Some).collect() };
                for place in places {
                    let role = roles.entry(place.clone()).or_insert_with(|| role_in(place.as_deref()));
                    role.add(right, &format!("{act} of {}", playbook.name));
                }
            }
        }
    }
    roles.retain(|_, role| !role.rules.is_empty());
    remarks.extend(patterns.iter().map(|(policy, pattern)| ungranted(policy, pattern)));
    if roles.contains_key(&None) {
        remarks.push(
            "A policy lets acts be made in namespaces that none names, so meshmend-act holds in the whole \
             cluster. Name the namespaces in the policy, and it becomes a Role in each of them."
                .to_owned(),
        );
    }
    roles.into_values().collect()
}

fn reach(rules: &Rules, wishes: &Wishes, playbook: &Playbook, (act, right): (&str, &Right)) -> Reach {
    let mut reach = Reach::default();
    for kind in rights::kinds(act, right) {
        reach.join(rules.policies.reach(&playbook.name, act, kind, &wishes.named));
    }
    reach
}

fn ungranted(policy: &str, pattern: &str) -> String {
    format!(
        "The policy {policy} names the namespaces {pattern}. Kubernetes knows no patterns, and the whole \
         cluster would be too much: nothing is granted for it but where a namespace is named. Name those \
         that exist with --namespace NAME; elsewhere the agent plans, and says which right is missing."
    )
}

/// Whether a right is one to a path of the API server itself, and to no object.
fn is_path(resource: &str) -> bool {
    resource.starts_with('/')
}

impl Grants {
    /// The objects, as `kubectl apply` takes them.
    #[must_use]
    pub fn objects(&self) -> Vec<Value> {
        let (namespace, name) = &self.account;
        let mut objects = vec![
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }),
            json!({
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": { "name": name, "namespace": namespace },
            }),
        ];
        for role in &self.roles {
            objects.push(role.object());
            objects.push(role.binding(&self.account));
        }
        objects
    }
}

impl Role {
    fn kind(&self) -> &'static str {
        if self.namespace.is_some() { "Role" } else { "ClusterRole" }
    }

    fn metadata(&self) -> Value {
        match &self.namespace {
            Some(namespace) => json!({ "name": self.name, "namespace": namespace }),
            None => json!({ "name": self.name }),
        }
    }

    fn object(&self) -> Value {
        let rule = |((group, resource), rule): (&(&str, &str), &Rule)| {
            if is_path(resource) {
                return json!({ "nonResourceURLs": [resource], "verbs": rule.verbs });
            }
            json!({ "apiGroups": [group], "resources": [resource], "verbs": rule.verbs })
        };
        let rules: Vec<Value> = self.rules.iter().map(rule).collect();
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": self.kind(),
            "metadata": self.metadata(), "rules": rules,
        })
    }

    fn binding(&self, (namespace, name): &(String, String)) -> Value {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{}Binding", self.kind()),
            "metadata": self.metadata(),
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": self.kind(), "name": self.name },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
        })
    }
}
