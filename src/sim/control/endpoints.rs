//! EndpointSlices follow the readiness of the pods behind a Service.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Control, beside, keys, leaves, owned_by, ready, text};
use crate::sim::store::{Key, Part, Store, Write};

const BY: &str = "kube-controller-manager";

/// Every slice has this ending: there is one a service.
const ENDING: &str = "abcde";

pub(super) fn follow(control: &mut Control, store: &mut Store, at: Timestamp) {
    for key in keys(store, "services") {
        let Some(service) = store.get(&key).cloned() else { continue };
        let Some(selector) = service.pointer("/spec/selector") else { continue };
        let slice = beside("endpointslices", &key, &format!("{}-{ENDING}", key.2));
        let endpoints = behind(store, &key, selector);
        // What people wrote into a slice stays until its pods change.
        if control.slices.get(&slice) == Some(&endpoints) && store.get(&slice).is_some() {
            continue;
        }
        control.slices.insert(slice.clone(), endpoints.clone());
        if store.get(&slice).is_some() {
            store.edit(&slice, &json!({ "endpoints": endpoints }), BY, at);
            continue;
        }
        let ports = service.pointer("/spec/ports/0");
        let object = json!({
            "addressType": "IPv4", "endpoints": endpoints,
            "metadata": {
                "labels": { "kubernetes.io/service-name": key.2,
                    "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io" },
                "ownerReferences": owned_by(&service),
            },
            "ports": [{ "name": ports.map(|port| &port["name"]), "port": ports.map(|port| &port["targetPort"]), "protocol": "TCP" }],
        });
        store.create(slice, object, &Write::by(BY, at, Part::Main)).ok();
    }
}

fn behind(store: &Store, service: &Key, selector: &Value) -> Value {
    let selector = json!({ "matchLabels": selector });
    let pods = store.list("pods", Some(&service.1)).filter(|pod| super::selects(Some(&selector), pod));
    let addressed = pods.filter(|pod| pod.pointer("/status/podIP").is_some());
    let endpoint = |pod: &Value| {
        let up = ready(pod);
        json!({
            "addresses": [text(pod, "/status/podIP")],
            "conditions": { "ready": up, "serving": up, "terminating": leaves(pod) },
            "nodeName": text(pod, "/spec/nodeName"),
            "targetRef": { "kind": "Pod", "namespace": service.1, "name": text(pod, "/metadata/name"), "uid": text(pod, "/metadata/uid") },
        })
    };
    Value::Array(addressed.map(endpoint).collect())
}
