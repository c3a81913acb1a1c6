//! One act at a time, by the effectors themselves and under an account with the rights of that act alone.
//! The permit comes from a state that was folded as the driver folds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use jiff::SignedDuration;
use meshmend::clock::Clock;
use meshmend::cluster::{Access, Cluster, connect};
use meshmend::effectors::{Effectors, Specs};
use meshmend::engine::{State, apply, gate};
use meshmend::model::action::Action;
use meshmend::model::change::Change;
use meshmend::model::effect::Execute;
use meshmend::model::incident::{IncidentId, IncidentKey};
use meshmend::model::plan::{Direction, Outcome, Plan, Rehearsal};
use meshmend::model::rate::Rate;
use meshmend::model::signal::{Severity, Signal, SignalState};
use serde_json::{Value, json};

use crate::control_plane::apply as put;
use crate::scene::Scene;

/// The incident of every deed.
pub(crate) const INCIDENT: &str = "deed-00001";

/// Effectors with an account of their own.
pub(crate) struct Hands {
    effectors: Effectors,
    clock: Clock,
    user: String,
    /// The kubeconfig of that account.
    pub(crate) kubeconfig: std::path::PathBuf,
}

impl Hands {
    /// An account named after the test, with these rights in its namespace (group, resource, verbs), and with
    /// the right to look everywhere.
    pub(crate) async fn with(scene: &Scene, rights: &[(&str, &str, &[&str])]) -> anyhow::Result<Self> {
        let (client, name) = (&scene.client, &scene.namespace);
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": "meshmend" },
        });
        put(client, account).await?;
        let rules: Vec<Value> = rights
            .iter()
            .map(|(group, resource, verbs)| {
                json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs })
            })
            .collect();
        let rbac = "rbac.authorization.k8s.io";
        let subjects = json!([{ "kind": "ServiceAccount", "name": name, "namespace": "meshmend" }]);
        let version = format!("{rbac}/v1");
        put(client, json!({
            "apiVersion": version, "kind": "Role", "metadata": { "name": "deed", "namespace": name }, "rules": rules,
        }))
        .await?;
        put(client, json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": { "name": "deed", "namespace": name },
            "roleRef": { "apiGroup": rbac, "kind": "Role", "name": "deed" }, "subjects": subjects,
        }))
        .await?;
        put(client, json!({
            "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": { "name": format!("deed-{name}") },
            "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": "meshmend-observe" },
            "subjects": subjects,
        }))
        .await?;
        let token = scene.plane.token(client, name).await?;
        let kubeconfig = scene.folder.join("deed-kubeconfig");
        let file = scene.plane.kubeconfig(&scene.plane.url, &json!({ "token": token }));
        std::fs::write(&kubeconfig, file.to_string())?;
        let access = Access { kubeconfig: Some(kubeconfig.clone()), context: None };
        let cluster = Arc::new(Cluster::new(connect(&access).await?, vec!["*".to_owned()]));
        let clock = Clock::system(None);
        let effectors = Effectors::new(cluster, clock, Rate::Off);
        let user = format!("system:serviceaccount:meshmend:{name}");
        Ok(Self { effectors, clock, user, kubeconfig })
    }

    /// Does a step forward.
    pub(crate) async fn execute(&self, action: &Action) -> anyhow::Result<Outcome> {
        self.step(action, action, Direction::Forward).await
    }

    /// Takes a step back.
    pub(crate) async fn undo(&self, action: &Action) -> anyhow::Result<Outcome> {
        let inverse = action.inverse().context("it can be taken back")?;
        self.step(action, &inverse, Direction::Undo).await
    }

    async fn step(&self, planned: &Action, action: &Action, way: Direction) -> anyhow::Result<Outcome> {
        let at = self.clock.now();
        let subject = planned.target().context("it has a target")?.clone();
        let plan = Plan { playbook: "deed".to_owned(), steps: vec![planned.clone()], recover: None };
        let (identity, incident) = (plan.identity(), IncidentId(INCIDENT.into()));
        let signal = Signal {
            symptom: "custom.deed".parse().map_err(anyhow::Error::msg)?,
            subject: subject.clone(),
            state: SignalState::Firing,
            severity: Severity::Critical,
            value: None,
            labels: BTreeMap::new().into(),
            at,
            source: "deed".into(),
            alert: None,
            owner: None,
            depends_on: None,
        };
        let started = Change::StepStarted {
            incident: incident.clone(),
            plan: identity,
            step: 0,
            direction: way,
            permit_until: at + SignedDuration::from_secs(15),
            deadline: at + SignedDuration::from_secs(40),
        };
        let mut state = State::default();
        let opened = Change::Opened {
            incident: incident.clone(),
            key: IncidentKey { owner: subject, family: "custom".into(), member: None },
            signal: Box::new(signal),
            candidates: Vec::new(),
            deadline: at,
        };
        let planned = Change::Planned { incident: incident.clone(), plan, deadline: at };
        for change in [&opened, &planned, &started] {
            apply(&mut state, at, change);
        }
        let permit = gate::permit(&state, &started).context("the state knows the plan")?;
        let execute =
            Execute { incident, plan: identity, step: 0, direction: way, run: 0, action: action.clone() };
        Ok(self.effectors.execute(&execute, permit, &Specs::new()).await)
    }

    /// Tries a step as a dry run.
    pub(crate) async fn rehearse(&self, action: &Action) -> Rehearsal {
        let plan = Plan { playbook: "deed".to_owned(), steps: vec![action.clone()], recover: None };
        self.effectors.rehearse(&plan, &Specs::new()).await
    }

    /// What this account asked of the API server to change in the test's namespace, oldest first: verb,
    /// resource with subresource, whether it was a dry run, and the answer's code.
    pub(crate) fn asked(&self, scene: &Scene) -> anyhow::Result<Vec<(String, String, bool, u64)>> {
        const READS: [&str; 3] = ["get", "list", "watch"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let requests = scene.plane.requests()?.into_iter().filter(|request| {
            request["user"]["username"] == self.user.as_str()
                && request["objectRef"]["namespace"] == scene.namespace.as_str()
                && !READS.contains(&request["verb"].as_str().unwrap_or_default())
        });
        Ok(requests
            .map(|request| {
                let of = &request["objectRef"];
                let resource = match of["subresource"].as_str() {
                    Some(sub) => format!("{}/{sub}", text(&of["resource"])),
                    None => text(&of["resource"]),
                };
                let dry = text(&request["requestURI"]).contains("dryRun=All");
                let code = request["responseStatus"]["code"].as_u64().unwrap_or(0);
                (text(&request["verb"]), resource, dry, code)
            })
            .collect())
    }
}

/// The words of an outcome that is none of the good ones.
pub(crate) fn why(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Done { detail } => detail,
        Outcome::AlreadyDone => "",
        Outcome::Moot { why }
        | Outcome::Stale { why }
        | Outcome::Failed { why }
        | Outcome::Unknown { why } => why,
    }
}

/// Fails, with what came of it, unless it is this.
pub(crate) fn is(outcome: &Outcome, word: &str) -> anyhow::Result<()> {
    anyhow::ensure!(outcome.name() == word, "expected {word}, found {outcome:?}");
    Ok(())
}
