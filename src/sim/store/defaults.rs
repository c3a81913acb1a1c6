//! What the API server fills in where an object does not say it: of the fields that the shop, the mesh and
//! the tests use, not of all that there are.

use serde_json::{Map, Value, json};

use crate::sim::control::{hash, text};

/// Fills in what is left open, at each write.
pub(super) fn complete(plural: &str, object: &mut Value) {
    match plural {
        "pods" => {
            template(object.get_mut("spec"));
            set(
                object.get_mut("spec"),
                &json!({
                    "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority", "priority": 0,
                    "tolerations": [taint("not-ready"), taint("unreachable")],
                }),
            );
        }
        "services" => service(object),
        "events" => set(
            Some(object),
            &json!({ "eventTime": null, "reportingComponent": "", "reportingInstance": "", "source": {} }),
        ),
        "deployments" | "replicasets" | "statefulsets" | "daemonsets" => {
            template(object.pointer_mut("/spec/template/spec"));
            set(object.get_mut("spec"), &workload(plural));
        }
        _ => {}
    }
}

/// The status of an object that was just made; nobody sets it while creating.
pub(super) fn status(plural: &str, object: &Value) -> Option<Value> {
    match plural {
        "namespaces" => Some(json!({ "phase": "Active" })),
        "pods" => Some(json!({ "phase": "Pending", "qosClass": quality(object) })),
        "services" => Some(json!({ "loadBalancer": {} })),
        "deployments" => Some(json!({})),
        "replicasets" => Some(json!({ "replicas": 0 })),
        "statefulsets" => Some(json!({ "availableReplicas": 0, "replicas": 0 })),
        "daemonsets" => Some(json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
        })),
        "poddisruptionbudgets" => Some(json!({
            "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0,
        })),
        _ => None,
    }
}

/// What is left of a status when somebody takes it away.
pub(super) fn empty_status(plural: &str, object: &Value) -> Option<Value> {
    match plural {
        "pods" => Some(json!({ "qosClass": quality(object) })),
        "namespaces" => None,
        _ => status(plural, object),
    }
}

/// An address of the service range that follows from the service's place.
pub(super) fn address(object: &mut Value) {
    let place = format!("{}/{}", text(object, "/metadata/namespace"), text(object, "/metadata/name"));
    let number = hash(0, &place);
    let address = format!("10.96.{}.{}", number % 256, 1 + number / 256 % 254);
    if text(object, "/spec/clusterIP").is_empty() && text(object, "/spec/type") != "ExternalName" {
        set(object.get_mut("spec"), &json!({ "clusterIP": address, "clusterIPs": [address] }));
    }
}

/// Sets the fields that are not there. A null is as good as nothing.
fn set(object: Option<&mut Value>, defaults: &Value) {
    let (Some(Value::Object(map)), Some(defaults)) = (object, defaults.as_object()) else { return };
    for (field, value) in defaults {
        let known = map.entry(field.clone()).or_insert(Value::Null);
        if known.is_null() {
            *known = value.clone();
        }
    }
}

fn taint(what: &str) -> Value {
    let key = format!("node.kubernetes.io/{what}");
    json!({ "effect": "NoExecute", "key": key, "operator": "Exists", "tolerationSeconds": 300 })
}

fn each<'o>(object: &'o mut Value, list: &str) -> impl Iterator<Item = &'o mut Value> {
    object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

fn template(spec: Option<&mut Value>) {
    let Some(spec) = spec.filter(|spec| spec.is_object()) else { return };
    set(
        Some(&mut *spec),
        &json!({
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 30,
        }),
    );
    for list in ["initContainers", "containers"] {
        each(spec, list).for_each(container);
    }
}

fn container(container: &mut Value) {
    let image = text(container, "/image");
    let tag = image
        .rsplit_once('/')
        .map_or(image, |(_, last)| last)
        .split_once(':')
        .map_or("latest", |(_, tag)| tag);
    let pull = if tag == "latest" { "Always" } else { "IfNotPresent" };
    set(
        Some(&mut *container),
        &json!({
            "imagePullPolicy": pull, "resources": {},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        }),
    );
    for port in each(container, "ports") {
        set(Some(port), &json!({ "protocol": "TCP" }));
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container.get(probe).is_some() {
            set(
                container.get_mut(probe),
                &json!({
                    "failureThreshold": 3, "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1,
                }),
            );
            set(container.pointer_mut(&format!("/{probe}/httpGet")), &json!({ "scheme": "HTTP" }));
        }
    }
}

fn workload(plural: &str) -> Value {
    match plural {
        "deployments" => json!({
            "replicas": 1, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } },
        }),
        "statefulsets" => json!({
            "replicas": 1, "revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady",
            "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Retain", "whenScaled": "Retain" },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } },
        }),
        "daemonsets" => json!({
            "revisionHistoryLimit": 10,
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 1 } },
        }),
        _ => json!({ "replicas": 1 }),
    }
}

fn service(object: &mut Value) {
    set(
        object.get_mut("spec"),
        &json!({
            "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None", "type": "ClusterIP",
        }),
    );
    if let Some(spec) = object.get_mut("spec") {
        for port in each(spec, "ports") {
            let same = port.get("port").cloned().unwrap_or_default();
            set(Some(port), &json!({ "protocol": "TCP", "targetPort": same }));
        }
    }
}

/// The quality of service that follows from what the containers ask for.
fn quality(pod: &Value) -> &'static str {
    let lists = ["/spec/initContainers", "/spec/containers"].into_iter().filter_map(|list| pod.pointer(list));
    let containers: Vec<&Value> = lists.filter_map(Value::as_array).flatten().collect();
    let of = |container: &Value, what: &str| -> Map<String, Value> {
        let found = container.pointer(&format!("/resources/{what}")).and_then(Value::as_object);
        found.cloned().unwrap_or_default()
    };
    let limited = |container: &&Value| {
        let (requests, limits) = (of(container, "requests"), of(container, "limits"));
        let whole = limits.contains_key("cpu") && limits.contains_key("memory");
        whole && requests.iter().all(|(key, value)| limits.get(key) == Some(value))
    };
    if containers.iter().all(|one| of(one, "requests").is_empty() && of(one, "limits").is_empty()) {
        "BestEffort"
    } else if containers.iter().all(limited) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutation: taking the port of a registry for a tag, or overwriting what an object says.
    #[test]
    fn what_is_left_open_is_filled_in_and_what_is_said_stays() {
        let mut pod = json!({ "spec": { "restartPolicy": "Never", "containers": [
            { "name": "a", "image": "registry:5000/a" }, { "name": "b", "image": "registry:5000/b:1" },
        ] } });
        complete("pods", &mut pod);
        assert_eq!(pod["spec"]["restartPolicy"], "Never");
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], "Always");
        assert_eq!(pod["spec"]["containers"][1]["imagePullPolicy"], "IfNotPresent");
    }
}
