//! Who wrote an object, and which tool owns it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::model::facts::ManagedBy;

/// The field manager that wrote the spec last, and when; empty when the object does not say.
pub(super) fn writer(meta: &ObjectMeta) -> (String, Option<Timestamp>) {
    let entries = meta.managed_fields.as_deref().unwrap_or_default();
    let spec = entries.iter().filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        entry.subresource.as_deref().is_none_or(str::is_empty)
            && fields.is_some_and(|fields| fields.get("f:spec").is_some())
    });
    let newest = spec.max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    newest.map_or((String::new(), None), |entry| {
        (entry.manager.clone().unwrap_or_default(), entry.time.as_ref().map(|time| time.0))
    })
}

/// Marks of tools that keep an object as they want it: prefixes of label and annotation keys.
const KEYS: [(&str, ManagedBy); 6] = [
    ("argocd.argoproj.io/", ManagedBy::Argocd),
    ("kustomize.toolkit.fluxcd.io/", ManagedBy::Flux),
    ("helm.toolkit.fluxcd.io/", ManagedBy::Flux),
    ("meta.helm.sh/", ManagedBy::Helm),
    ("flagger.app/", ManagedBy::Flagger),
    ("rollout.argoproj.io/", ManagedBy::Rollouts),
];

/// Field managers of the same tools.
const MANAGERS: [(&str, ManagedBy); 8] = [
    ("flagger", ManagedBy::Flagger),
    ("rollouts-controller", ManagedBy::Rollouts),
    ("argo-rollouts", ManagedBy::Rollouts),
    ("argocd-controller", ManagedBy::Argocd),
    ("argocd-application-controller", ManagedBy::Argocd),
    ("kustomize-controller", ManagedBy::Flux),
    ("helm-controller", ManagedBy::Flux),
    ("helm", ManagedBy::Helm),
];

/// The tool that owns an object. Canary tools come first: they write often and under other tools' labels.
#[must_use]
pub fn managed_by(meta: &ObjectMeta) -> ManagedBy {
    let mut found: Vec<ManagedBy> = Vec::new();
    let labels = meta.labels.iter().flatten();
    for (key, value) in labels.chain(meta.annotations.iter().flatten()) {
        found.extend(KEYS.iter().filter(|(prefix, _)| key.starts_with(prefix)).map(|(_, tool)| *tool));
        if key == "app.kubernetes.io/managed-by" {
            found.push(match value.to_ascii_lowercase().as_str() {
                "helm" => ManagedBy::Helm,
                "flagger" => ManagedBy::Flagger,
                "argocd" => ManagedBy::Argocd,
                "flux" => ManagedBy::Flux,
                _ => ManagedBy::Other,
            });
        }
    }
    for entry in meta.managed_fields.iter().flatten() {
        let manager = entry.manager.as_deref().unwrap_or_default();
        found.extend(MANAGERS.iter().filter(|(name, _)| *name == manager).map(|(_, tool)| *tool));
    }
    for owner in meta.owner_references.iter().flatten() {
        found.push(match owner.kind.as_str() {
            "Canary" => ManagedBy::Flagger,
            "Rollout" => ManagedBy::Rollouts,
            _ => ManagedBy::Other,
        });
    }
    let order = [
        ManagedBy::Flagger,
        ManagedBy::Rollouts,
        ManagedBy::Argocd,
        ManagedBy::Flux,
        ManagedBy::Helm,
        ManagedBy::Other,
    ];
    order.into_iter().find(|tool| found.contains(tool)).unwrap_or(ManagedBy::None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn meta(value: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn each_tool_leaves_its_mark() {
        for (value, tool) in [
            (json!({}), ManagedBy::None),
            (json!({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}), ManagedBy::Argocd),
            (json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}}), ManagedBy::Flux),
            (json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}}), ManagedBy::Helm),
            (
                json!({"ownerReferences": [{"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "name": "c", "uid": "1"}]}),
                ManagedBy::Flagger,
            ),
            (
                json!({"managedFields": [{"manager": "rollouts-controller"}], "labels": {"argocd.argoproj.io/instance": "x"}}),
                ManagedBy::Rollouts,
            ),
            (
                json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Thing", "name": "c", "uid": "1"}]}),
                ManagedBy::Other,
            ),
        ] {
            assert_eq!(managed_by(&meta(value.clone())), tool, "{value}");
        }
    }

    #[test]
    fn the_last_writer_of_the_spec_counts_not_of_the_status() {
        let meta = meta(json!({"managedFields": [
            {"manager": "kubectl", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {}}},
            {"manager": "edit", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:spec": {}}},
            {"manager": "labeller", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:metadata": {}}},
            {"manager": "status", "time": "2026-01-04T00:00:00Z", "subresource": "status", "fieldsV1": {"f:spec": {}}},
        ]}));
        assert_eq!(writer(&meta).0, "edit");
    }
}
