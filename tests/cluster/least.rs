//! An agent under an account of its own, with exactly the rights that `meshmend rbac` prints for its
//! configuration, its playbooks and its policies.

use anyhow::ensure;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

use crate::agent::{Home, Pace, Settings};
use crate::grant::{account, grant};
use crate::scene::Scene;

/// What an agent is there for.
pub(crate) struct Duty<'d> {
    /// Its account in the namespace `meshmend`.
    pub(crate) account: &'static str,
    /// Address of the API server.
    pub(crate) server: String,
    /// Sources beside those of every test, as lines of the configuration.
    pub(crate) sources: &'static str,
    /// Names and texts of its playbooks.
    pub(crate) playbooks: &'d [(&'d str, String)],
    /// What it may do in the test's namespace, as a list of YAML.
    pub(crate) actions: &'d str,
}

/// The account as the API server calls it.
pub(crate) fn user(account: &str) -> String {
    format!("system:serviceaccount:meshmend:{account}")
}

/// Files, account and rights of an agent.
pub(crate) async fn home(scene: &Scene, duty: &Duty<'_>) -> anyhow::Result<Home> {
    account(&scene.client, duty.account).await?;
    let settings = Settings {
        account: duty.account,
        server: duty.server.clone(),
        sources: duty.sources,
        ..scene.settings("enforce", Pace::Own)
    };
    let home = Home::make(&scene.place(), "agent", &settings).await?;
    for (name, text) in duty.playbooks {
        home.put(&format!("playbooks/{name}.rhai"), text)?;
    }
    home.put("policies/test.yaml", &policy(&scene.namespace, duty.actions))?;
    grant(&scene.place(), &home, duty.account).await?;
    Ok(home)
}

/// A role of the account as it was granted, by the name that `meshmend rbac` gives it.
pub(crate) async fn role(
    scene: &Scene,
    name: &str,
    namespace: Option<&str>,
    account: &str,
) -> anyhow::Result<Value> {
    let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", kind));
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(scene.client.clone(), namespace, &resource),
        None => Api::all_with(scene.client.clone(), &resource),
    };
    Ok(serde_json::to_value(api.get(&format!("{name}-{account}")).await?)?)
}

fn policy(namespace: &str, actions: &str) -> String {
    format!(
        "apiVersion: meshmend.dev/v1alpha1\nkind: Policy\nmetadata: {{ name: test }}\nspec:\n  \
         scope: {{ namespaces: [\"{namespace}\"], actions: {actions} }}\n  mode: enforce\n  \
         limits: [ {{ per: target, acts: 5, window: 1h }} ]\n  cooldown: 1s\n  \
         attempts: {{ max: 3, refill: 1h }}\n"
    )
}

/// A playbook with other words; each of them must be there.
pub(crate) fn with(text: &str, changes: &[(&str, &str)]) -> anyhow::Result<String> {
    changes.iter().try_fold(text.to_owned(), |text, (from, to)| {
        ensure!(text.contains(from), "the shipped playbook does not say {from}");
        Ok(text.replace(from, to))
    })
}

/// A critical signal that begins now.
pub(crate) fn signal(symptom: &str, subject: &Value) -> Value {
    json!({
        "symptom": symptom, "subject": subject, "state": "firing", "severity": "critical",
        "at": meshmend::clock::Clock::wall(),
    })
}

/// Fails when the account was refused anything.
pub(crate) fn nothing_was_forbidden(scene: &Scene, account: &str) -> anyhow::Result<()> {
    let user = user(account);
    let refused: Vec<Value> = scene
        .plane
        .requests()?
        .into_iter()
        .filter(|request| request["user"]["username"] == user.as_str())
        .filter(|request| request["annotations"]["authorization.k8s.io/decision"] != "allow")
        .collect();
    ensure!(refused.is_empty(), "a right is missing: {refused:?}");
    Ok(())
}
