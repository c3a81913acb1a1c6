//! The account of an agent, and exactly the rights that `meshmend rbac` prints for its files.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::agent::{Home, Place};
use crate::control_plane::apply;

/// Makes an account in the namespace `meshmend`.
pub(crate) async fn account(client: &kube::Client, name: &str) -> anyhow::Result<()> {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": "meshmend" },
    });
    apply(client, account).await.map(|_| ())
}

/// Grants an account what its agent asks for: configuration, playbooks and policies have been written.
pub(crate) async fn grant(place: &Place<'_>, home: &Home, account: &str) -> anyhow::Result<()> {
    let whose = format!("meshmend/{account}");
    let args = ["rbac", "--config", "meshmend.yaml", "--service-account", &whose, "-o", "json"];
    let (code, said) = home.meshmend(&args).await?;
    ensure!(code == Some(0), "meshmend {args:?} exited with {code:?}: {said}");
    let list: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    for object in list["items"].as_array().context("it prints a list")? {
        apply(place.client, named_after(object.clone(), account)).await?;
    }
    Ok(())
}

/// Several agents share a cluster, so their roles are told apart by their names.
fn named_after(mut object: Value, account: &str) -> Value {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    for (of, pointer) in [("Role", "/metadata/name"), ("Binding", "/roleRef/name")] {
        if let Some(name) = object.pointer_mut(pointer).filter(|_| kind.contains(of)) {
            *name = json!(format!("{}-{account}", name.as_str().unwrap_or_default()));
        }
    }
    object
}
