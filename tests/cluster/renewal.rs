//! A certificate renewed by cert-manager's own controllers.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use meshmend::model::action::Action;
use meshmend::model::plan::{Outcome, Rehearsal};
use meshmend::model::subject::{CERT_MANAGER, Subject};
use serde_json::{Value, json};

use crate::acts::{objects, read};
use crate::control_plane::apply;
use crate::deed::{Hands, is, why};
use crate::process::Piped;
use crate::scene::Scene;
use crate::wait::{same, until};

/// Controllers that start on a busy machine take a while; an issuance itself takes less than a second.
const ISSUED: Duration = Duration::from_secs(90);

fn rotate(certificate: &Value) -> Action {
    let text = |key: &str| certificate["metadata"][key].as_str().unwrap_or_default().to_owned();
    Action::RotateCertificate {
        target: Subject::new(CERT_MANAGER, "Certificate", &text("namespace"), &text("name")),
        uid: text("uid"),
        revision: certificate["status"]["revision"].as_u64().unwrap_or(0),
    }
}

async fn certificate(scene: &Scene, name: &str, issuer: &str) -> anyhow::Result<()> {
    apply(
        &scene.client,
        json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
            "metadata": { "name": name, "namespace": scene.namespace },
            "spec": {
                "secretName": format!("{name}-tls"), "dnsNames": [format!("{name}.example.com")],
                "issuerRef": { "name": issuer, "kind": "Issuer" },
            },
        }),
    )
    .await
    .map(|_| ())
}

async fn issuer(scene: &Scene, name: &str, spec: &Value) -> anyhow::Result<()> {
    let object = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Issuer",
        "metadata": { "name": name, "namespace": scene.namespace }, "spec": spec,
    });
    apply(&scene.client, object).await.map(|_| ())
}

/// Asked once, renewed once, seen by the revision; asked again for the same revision, nothing is done; an
/// issuer that is not ready is not asked. Secrets are never touched: the account has no right to.
///
/// Mutations that break it: patching the object instead of its status; losing the other conditions; asking
/// for what was renewed already; not looking at the issuer.
pub(crate) async fn story(scene: Scene) -> anyhow::Result<()> {
    let rights: [(&str, &str, &[&str]); 3] = [
        (CERT_MANAGER, "certificates", &["get"]),
        (CERT_MANAGER, "issuers", &["get"]),
        (CERT_MANAGER, "certificates/status", &["patch"]),
    ];
    let hands = Hands::with(&scene, &rights).await?;
    let kubeconfig = scene.folder.join("cert-manager-kubeconfig");
    std::fs::write(&kubeconfig, scene.plane.admin_kubeconfig().to_string())?;
    let mut command = Command::new(scene.plane.built("cert_manager"));
    command.arg("--kubeconfig").arg(&kubeconfig);
    let mut controllers = Piped::start("cert-manager", &mut command, &scene.folder.join("cert-manager.log"))?;

    let told = async {
        issuer(&scene, "own", &json!({ "selfSigned": {} })).await?;
        issuer(&scene, "broken", &json!({ "ca": { "secretName": "none" } })).await?;
        certificate(&scene, "web", "own").await?;
        let api = objects(&scene, CERT_MANAGER, "Certificate");
        let at = async |revision: u64| {
            until(&format!("revision {revision} is issued"), ISSUED, async || {
                controllers.alive()?;
                let found = read(&api, "web").await?;
                let idle = !conditions(&found).contains(&"Issuing".to_owned());
                Ok((found["status"]["revision"] == revision && idle).then_some(found))
            })
            .await
        };
        let mut at = at;
        let first = at(1).await?;
        let action = rotate(&first);
        let rehearsal = hands.rehearse(&action).await;
        ensure!(
            matches!(&rehearsal, Rehearsal::Accepted { diff } if diff.contains("asks for revision 2")),
            "{rehearsal:?}"
        );
        same("after the dry run", &read(&api, "web").await?["status"], &first["status"])?;
        is(&hands.execute(&action).await?, "done")?;
        let second = at(2).await?;
        ensure!(second["status"]["notAfter"] != Value::Null, "{second}");
        ensure!(
            conditions(&second).contains(&"Ready".to_owned()),
            "the other conditions are there: {second}"
        );
        same("asked again", &hands.execute(&action).await?, &Outcome::AlreadyDone)?;
        let real: Vec<_> = hands.asked(&scene)?.into_iter().filter(|(_, _, dry, _)| !dry).collect();
        let once = ("patch".to_owned(), "certificates/status".to_owned(), false, 200);
        same("what was written", &real, &vec![once])?;

        orphan(&scene, &hands).await
    }
    .await;
    controllers.stop();
    told.context("with cert-manager's controllers")
}

/// A certificate whose issuer is not ready is not asked for.
async fn orphan(scene: &Scene, hands: &Hands) -> anyhow::Result<()> {
    certificate(scene, "orphan", "broken").await?;
    let api = objects(scene, CERT_MANAGER, "Certificate");
    let orphan = until("the orphan is seen", ISSUED, async || {
        let found = read(&api, "orphan").await?;
        Ok(found["status"]["conditions"].is_array().then_some(found))
    })
    .await?;
    let outcome = hands.execute(&rotate(&orphan)).await?;
    is(&outcome, "failed")?;
    let words = why(&outcome);
    ensure!(words.contains("under way") || words.contains("not ready"), "{outcome:?}");
    Ok(())
}

/// Types of the conditions that say True.
fn conditions(certificate: &Value) -> Vec<String> {
    let all = certificate["status"]["conditions"].as_array().into_iter().flatten();
    let holds = all.filter(|condition| condition["status"] == "True");
    holds.map(|condition| condition["type"].as_str().unwrap_or_default().to_owned()).collect()
}
