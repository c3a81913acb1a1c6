//! Renewals that are not asked for: one that is under way already, one that no issuer could answer, and one that
//! cert-manager asked for itself and that hangs.

use anyhow::ensure;
use jiff::{SignedDuration, Timestamp};
use meshmend::clock::Clock;
use serde_json::{Value, json};

use super::{EXPIRING, Scene, id_of};
use crate::ground::SOON;
use crate::proofs::certs::{issuing_since, nears_its_end};
use crate::proofs::shop::{between, refusals};
use crate::table::Row;
use crate::wait::same;

/// An issuance hangs when it is older than this.
const HANGS: SignedDuration = SignedDuration::from_secs(600);

impl Scene<'_> {
    /// A case that ended with people, because the playbook refused for this reason; it has no step.
    async fn refused(&self, id: &Value, reason: &str) -> anyhow::Result<Value> {
        let ended = self.agent.phase(id_of(id)?, "escalated", SOON).await?;
        let said = refusals(&ended).remove("rotate-certificate").unwrap_or_default();
        ensure!(said.contains(reason), "{reason:?} is not why it was refused: {said}");
        same("its steps", &ended["steps"].as_array().map_or(0, Vec::len), &0)?;
        Ok(ended)
    }
}

/// Told of the same certificate again, the agent does not ask again; and from the age of the condition it
/// knows what to say.
///
/// Mutations that break it: a playbook that does not look at `issuing` (the agent refuses then, in other words);
/// an age that is counted from anything but the condition.
pub(super) async fn told_again(scene: &Scene<'_>, first: &Value) -> anyhow::Result<()> {
    let again = async || {
        let subject = &first["subject"];
        let signal = json!({
            "symptom": EXPIRING, "subject": subject, "state": "firing", "severity": "critical",
            "at": Clock::wall(),
        });
        scene.agent.signal(&signal).await.map(Value::from)
    };
    let id = again().await?;
    ensure!(id != first["id"], "what began after the end is another case");
    scene.refused(&id, "an issuance is under way already").await?;
    scene.controllers.freeze()?;
    issuing_since(scene.ground, "api", Clock::wall() - HANGS - SignedDuration::from_mins(1)).await?;
    scene.refused(&again().await?, "an issuance has been under way for more than ten minutes").await?;
    same("the writes", &scene.writes("api")?.len(), &1)
}

/// The issuer was not ready before anybody asked.
///
/// Mutations that break it: a playbook that does not look at the issuer (the agent refuses then, in other
/// words); an issuer that counts as ready because it is there.
pub(super) async fn not_asked(scene: &Scene<'_>) -> anyhow::Result<()> {
    let fault = Clock::wall();
    nears_its_end(scene.ground, scene.controllers, "late").await?;
    let found = scene.found("late").await?;
    let ended = scene.refused(&found["id"], "the issuer is not ready").await?;
    same("the writes", &scene.writes("late")?, &Vec::new())?;
    scene.ground.row(&Row {
        fault: "the same, not ready before it is asked",
        detected: Some(between(fault, &ended["opened_at"])?),
        acted: None,
        recovered: None,
        lost: None,
        writes: 0,
    })
}

/// A certificate that comes to its end while cert-manager's own renewal of it hangs. The agent waits for that
/// for ten minutes, and no longer.
///
/// Mutations that break it: an issuance that is an excuse for ever, or for no time at all.
pub(super) async fn stuck(scene: &Scene<'_>) -> anyhow::Result<()> {
    const LEFT: SignedDuration = SignedDuration::from_secs(12);
    let since = Clock::wall() - HANGS + LEFT;
    issuing_since(scene.ground, "stuck", since).await?;
    nears_its_end(scene.ground, scene.controllers, "stuck").await?;
    let found = scene.found("stuck").await?;
    let opened: Timestamp = id_of(&found["opened_at"])?.parse()?;
    ensure!(opened.duration_since(since) > HANGS, "it is told at {opened}, and began at {since}");
    let reason = "an issuance has been under way for more than ten minutes";
    scene.refused(&found["id"], reason).await?;
    scene.ground.note("a renewal of cert-manager's own that hangs is told after ten minutes")?;
    same("the writes", &scene.writes("stuck")?, &Vec::new())
}
