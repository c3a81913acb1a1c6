//! A certificate renewed by cert-manager's own controllers.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::SignedDuration;
use meshmend::clock::Clock;
use meshmend::model::action::Action;
use meshmend::model::plan::{Outcome, Rehearsal};
use meshmend::model::subject::{CERT_MANAGER, Subject};
use serde_json::{Value, json};

use crate::acts::{objects, read, status};
use crate::agent::SOON;
use crate::control_plane::apply;
use crate::deed::{Hands, is, why};
use crate::heal::results;
use crate::least::{self, Duty};
use crate::process::Piped;
use crate::scene::Scene;
use crate::wait::{same, until};

/// Controllers that start on a busy machine take a while; an issuance itself takes less than a second.
const ISSUED: Duration = Duration::from_secs(90);
/// Held while cert-manager's controllers run: they write to every Certificate of the API server that all stories
/// share. Whoever compares what the server makes of a Certificate by itself waits for it.
pub(crate) static CONTROLLERS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const ROTATE: &str = include_str!("../../playbooks/rotate-certificate.rhai");

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
    let _running = CONTROLLERS.lock().await;
    let mut controllers = start(&scene, "cert-manager.log")?;

    let told = async {
        issuer(&scene, "own", &json!({ "selfSigned": {} })).await?;
        issuer(&scene, "broken", &json!({ "ca": { "secretName": "none" } })).await?;
        certificate(&scene, "web", "own").await?;
        let api = objects(&scene, CERT_MANAGER, "Certificate");
        let at = async |revision: u64| {
            until(&format!("revision {revision} is issued"), ISSUED, async || {
                controllers.alive()?;
                let found = read(&api, "web").await?;
                // The revision is written a moment before the certificate is called ready, and the name of the
                // next key is taken away a moment after it.
                let settled = found["status"]["nextPrivateKeySecretName"].is_null();
                let idle = conditions(&found) == ["Ready"] && settled;
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
    told.context("with cert-manager's controllers")?;
    expiring(&scene).await
}

/// cert-manager's controllers.
fn start(scene: &Scene, log: &str) -> anyhow::Result<Piped> {
    let kubeconfig = scene.folder.join("cert-manager-kubeconfig");
    std::fs::write(&kubeconfig, scene.plane.admin_kubeconfig().to_string())?;
    let mut command = Command::new(scene.plane.built("cert_manager"));
    command.arg("--kubeconfig").arg(&kubeconfig);
    Piped::start("cert-manager", &mut command, &scene.folder.join(log))
}

/// Through the agent: while the controllers are away a certificate comes to its end, by its status. The agent
/// asks for another one; the controllers find nothing due by themselves when they are back (the certificate
/// in the Secret is young), and issue because they were asked.
///
/// Mutations that break it: calling it recovered before the new one is issued; asking more than once; a right
/// missing in what `meshmend rbac` prints.
async fn expiring(scene: &Scene) -> anyhow::Result<()> {
    const ACCOUNT: &str = "agent-of-renew";
    let api = objects(scene, CERT_MANAGER, "Certificate");
    let secrets = objects(scene, "", "Secret");
    let secret = read(&secrets, "web-tls").await?["data"]["tls.crt"].clone();
    let now = Clock::wall();
    let minutes = |minutes: i64| (now + SignedDuration::from_mins(minutes)).strftime("%FT%TZ").to_string();
    let old = json!({ "notBefore": minutes(-50), "renewalTime": minutes(-10), "notAfter": minutes(5) });
    status(&api, "web", &old).await?;

    let quick =
        [("soak: \"5s\", within: \"3m\", hold: \"10s\"", "soak: \"1s\", within: \"2m\", hold: \"3s\"")];
    let playbooks = [("rotate-certificate", least::with(ROTATE, &quick)?)];
    let (server, actions) = (scene.plane.url.clone(), "[\"rotate_certificate\"]");
    let duty = Duty { account: ACCOUNT, server, sources: "  signals: {}\n", playbooks: &playbooks, actions };
    let home = least::home(scene, &duty).await?;
    let agent = home.start_ready().await?;
    let subject = json!({
        "group": CERT_MANAGER, "kind": "Certificate", "namespace": scene.namespace, "name": "web",
    });
    let id = agent.signal(&least::signal("security.certificate_expiring", &subject)).await?;
    until("a new one is asked for", SOON, async || {
        let found = read(&api, "web").await?;
        Ok(conditions(&found).contains(&"Issuing".to_owned()).then_some(()))
    })
    .await?;
    let controllers = start(scene, "cert-manager-again.log")?;
    let told = agent.phase(&id, "resolved", ISSUED).await;
    let found = read(&api, "web").await;
    controllers.stop();
    let (incident, found) = (told?, found?);
    same("the playbook", &incident["plan"]["playbook"], &json!("rotate-certificate"))?;
    same("the steps", &results(&incident), &vec!["done".to_owned()])?;
    same("the revision", &found["status"]["revision"], &json!(3))?;
    ensure!(read(&secrets, "web-tls").await?["data"]["tls.crt"] != secret, "the certificate is another one");
    same("the writes", &scene.written_by(&least::user(ACCOUNT))?, &vec![200])?;
    least::nothing_was_forbidden(scene, ACCOUNT)?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
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
