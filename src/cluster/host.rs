//! Hosts, as Istio resolves them.

/// A host fully qualified: a short name belongs to the namespace of the object that says it. A partly
/// qualified name (`cart.shop`) is not expanded by Istio and so not by us.
#[must_use]
pub fn fqdn(host: &str, namespace: &str) -> String {
    if host.contains('.') || host.contains('*') {
        host.to_owned()
    } else {
        format!("{host}.{namespace}.svc.cluster.local")
    }
}

/// Service and namespace of a host in the cluster; `None` for any other.
pub(super) fn service(host: &str) -> Option<(&str, &str)> {
    let rest = host.strip_suffix(".svc.cluster.local")?;
    rest.split_once('.').filter(|(name, namespace)| !name.is_empty() && !namespace.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::{fqdn, service};

    #[test]
    fn short_names_belong_to_the_objects_namespace() {
        assert_eq!(fqdn("cart", "shop"), "cart.shop.svc.cluster.local");
        // Mutation: expanding partly qualified names makes a route claim a host it does not serve.
        assert_eq!(fqdn("cart.shop", "web"), "cart.shop");
        assert_eq!(fqdn("*", "shop"), "*");
        assert_eq!(service("cart.shop.svc.cluster.local"), Some(("cart", "shop")));
        assert_eq!(service("example.com"), None);
    }
}
