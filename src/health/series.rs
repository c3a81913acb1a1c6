//! What a series is about, as its labels tell.

use std::collections::BTreeMap;

use crate::model::subject::Subject;

/// Labels that name a namespaced object, the telling ones first: namespace, name, group, kind.
const NAMED: [(&str, &str, &str, &str); 7] = [
    ("destination_service_namespace", "destination_service_name", "", "Service"),
    ("backend_namespace", "backend_name", "", "Service"),
    ("namespace", "pod", "", "Pod"),
    ("namespace", "deployment", "apps", "Deployment"),
    ("dst_namespace", "dst_deployment", "apps", "Deployment"),
    ("namespace", "service", "", "Service"),
    ("destination_workload_namespace", "destination_workload", "", "Workload"),
];

/// The subject of a series. One without labels is about the mesh as a whole; one whose labels name no object
/// is named by all of them.
#[must_use]
pub fn subject_of(labels: &BTreeMap<String, String>) -> Subject {
    let label = |key: &str| labels.get(key).map(String::as_str).filter(|text| !text.is_empty());
    for (namespace, name, group, kind) in NAMED {
        // A pair of workloads is more than its second half.
        if let (Some(namespace), Some(name), None) = (label(namespace), label(name), label("source_workload"))
        {
            return Subject::new(group, kind, namespace, name);
        }
    }
    let host = label("destination_service").map(|host| host.split('.').collect::<Vec<_>>());
    if let Some([name, namespace, "svc", ..]) = host.as_deref() {
        return Subject::service(namespace, name);
    }
    if labels.is_empty() {
        return Subject::new("", "Mesh", "", "all");
    }
    let all: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let namespace =
        label("namespace").or_else(|| label("destination_workload_namespace")).unwrap_or_default();
    Subject::new("", "Series", namespace, &all.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutations: a host that is taken for a name; labels of two workloads taken for one.
    #[test]
    fn a_series_is_about_what_its_labels_name() {
        let of = |labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            subject_of(&labels).to_string()
        };
        assert_eq!(of(&[]), "Mesh all");
        assert_eq!(of(&[("destination_service", "cart.shop.svc.cluster.local")]), "Service shop/cart");
        assert_eq!(of(&[("destination_service", "example.com")]), "Series destination_service=example.com");
        assert_eq!(of(&[("namespace", "shop"), ("pod", "web-1")]), "Pod shop/web-1");
        assert_eq!(
            of(&[("destination_service_namespace", "shop"), ("destination_service_name", "cart")]),
            "Service shop/cart"
        );
        assert_eq!(
            of(&[
                ("destination_workload", "b"),
                ("destination_workload_namespace", "s"),
                ("source_workload", "a")
            ]),
            "Series s/destination_workload=b,destination_workload_namespace=s,source_workload=a"
        );
        assert_eq!(of(&[("type", "cds")]), "Series type=cds");
    }
}
