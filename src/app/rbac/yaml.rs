//! The grants as YAML with comments: a rule without its reason is soon taken for a mistake.

use std::fmt::Write as _;

use super::{Grants, Role, is_path};

/// Columns of comments.
const COLUMNS: usize = 100;

/// The documents, ready for `kubectl apply -f -`.
#[must_use]
pub fn yaml(grants: &Grants) -> String {
    let mut out = String::new();
    comment(
        &mut out,
        "",
        "The rights of the agent, and no others: printed by `meshmend rbac` for the playbooks and policies it \
         was given. Print it again when they change; a right that is missing then is named by the agent, \
         which goes on without it.",
    );
    for remark in &grants.remarks {
        out.push_str("#\n");
        comment(&mut out, "", remark);
    }
    let (namespace, name) = (word(&grants.account.0), word(&grants.account.1));
    line(&mut out, format_args!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n---"));
    comment(&mut out, "", "Who the agent is.");
    line(
        &mut out,
        format_args!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  namespace: {namespace}"
        ),
    );
    for role in &grants.roles {
        out.push_str("---\n");
        write_role(&mut out, role);
        out.push_str("---\n");
        write_binding(&mut out, role, grants);
    }
    out
}

/// Writing to a String cannot fail.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).ok();
    out.push('\n');
}

/// A name as YAML reads it as a text: policies may hold any.
fn word(name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&name);
    if plain { name.to_owned() } else { serde_json::Value::from(name).to_string() }
}

/// A comment, broken into lines.
fn comment(out: &mut String, indent: &str, text: &str) {
    let mut row = format!("{indent}#");
    for word in text.split_whitespace() {
        if row.len() + 1 + word.len() > COLUMNS {
            line(out, format_args!("{row}"));
            row = format!("{indent}#");
        }
        row.push(' ');
        row.push_str(word);
    }
    line(out, format_args!("{row}"));
}

fn metadata(out: &mut String, role: &Role) {
    line(out, format_args!("metadata:\n  name: {}", role.name));
    if let Some(namespace) = &role.namespace {
        line(out, format_args!("  namespace: {}", word(namespace)));
    }
}

fn write_role(out: &mut String, role: &Role) {
    role.about.iter().for_each(|about| comment(out, "", about));
    line(out, format_args!("apiVersion: rbac.authorization.k8s.io/v1\nkind: {}", role.kind()));
    metadata(out, role);
    out.push_str("rules:\n");
    for ((group, resource), rule) in &role.rules {
        rule.why.iter().for_each(|why| comment(out, "  ", why));
        let verbs: Vec<String> = rule.verbs.iter().map(|verb| format!("\"{verb}\"")).collect();
        if is_path(resource) {
            line(out, format_args!("  - nonResourceURLs: [\"{resource}\"]"));
        } else {
            line(out, format_args!("  - apiGroups: [\"{group}\"]"));
            line(out, format_args!("    resources: [\"{resource}\"]"));
        }
        line(out, format_args!("    verbs: [{}]", verbs.join(", ")));
    }
}

fn write_binding(out: &mut String, role: &Role, grants: &Grants) {
    let (namespace, name) = (word(&grants.account.0), word(&grants.account.1));
    line(out, format_args!("apiVersion: rbac.authorization.k8s.io/v1\nkind: {}Binding", role.kind()));
    metadata(out, role);
    line(
        out,
        format_args!(
            "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {}\n  name: {}\nsubjects:\n  \
             - kind: ServiceAccount\n    name: {name}\n    namespace: {namespace}",
            role.kind(),
            role.name
        ),
    );
}
