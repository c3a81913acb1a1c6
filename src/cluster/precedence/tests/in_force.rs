//! Which routes are in force, held against the recorded cases.

use super::*;

/// No route that is in force for us is one that a recorded client does not obey.
// Mutation: asking for clients of one namespace only (A13c).
#[test]
fn no_route_in_force_is_one_that_a_client_of_istiod_disobeys() {
    let (mut undisputed, mut disputes) = (0, 0);
    // What a Sidecar imports is not watched, so that those cases are not for us to tell.
    for case in cases().into_iter().filter(|case| case.objects.iter().all(|o| o.kind != "Sidecar")) {
        let routes = objects(&case.objects);
        let alone =
            |route: &&Arc<Route>| route.is::<VirtualServiceKind>() && disputed(&routes, route).is_empty();
        for (namespace, expected) in &case.expect {
            for (host, expected) in &expected.routes {
                let Some(by) = &expected.by else { continue };
                let ours = routes
                    .iter()
                    .filter(alone)
                    .find(|route| route.is_at("mesh") && route.hosts.contains(host));
                match ours {
                    Some(ours) => {
                        assert_eq!(name(ours), *by, "{} ({}) {namespace}", case.case, case.question)
                    }
                    None => disputes += 1,
                }
                undisputed += usize::from(ours.is_some());
            }
        }
    }
    assert_eq!((undisputed, disputes), (44, 7));
}

// Where the rule that stood here before said otherwise: it compared equal hosts only, took an explicit export
// for better whoever the client is, and let the older of two routes win at a gateway, where both are served.
#[test]
fn a_route_is_in_force_only_where_all_clients_obey_it() {
    let names =
        |routes: &[Arc<Route>], of: usize| disputed(routes, &routes[of]).into_iter().collect::<Vec<_>>();
    let exact = route("shop", "exact", 2, json!({"hosts": [HOST]}));
    let wild = route("shop", "wild", 1, json!({"hosts": ["*.shop.svc.cluster.local"], "exportTo": ["."]}));
    assert!(names(std::slice::from_ref(&exact), 0).is_empty());
    assert!(names(&[exact.clone(), wild], 0)[0].contains("a narrower export meets a more specific host"));
    let [web, api] =
        ["web", "api"].map(|to| route("shop", to, 1, json!({"hosts": [HOST], "exportTo": [to]})));
    // Each serves its own clients, and the requests of the host are those of both.
    let two = [api, web];
    assert_eq!((names(&two, 0), names(&two, 1)), (vec!["shop/web".to_owned()], vec!["shop/api".to_owned()]));
    let at =
        |name: &str, second: u64| route("shop", name, second, json!({"hosts": [HOST], "gateways": ["gw"]}));
    let two = [at("old", 1), at("new", 2)];
    assert_eq!((names(&two, 0), names(&two, 1)), (vec!["shop/new".to_owned()], vec!["shop/old".to_owned()]));
    // At another gateway nothing meets.
    assert!(names(&[at("old", 1), exact], 0).is_empty());
}

#[test]
fn a_virtual_service_and_an_http_route_for_one_host_leave_nothing_clear() {
    let parent = json!({"kind": "Service", "group": "", "name": "server"});
    let http = json!({"metadata": {"namespace": "shop", "name": "http", "uid": "h"}, "spec": {"parentRefs": [parent]}});
    let http = Arc::new(Route::of_http(serde_json::from_value(http).unwrap()));
    let exact = route("shop", "exact", 2, json!({"hosts": [HOST]}));
    assert!(disputed(std::slice::from_ref(&http), &http).is_empty());
    // Mutation: comparing routes of one kind only lets both be in force.
    let both = [http, exact];
    for (route, other) in [(&both[0], "shop/exact"), (&both[1], "shop/http")] {
        assert_eq!(disputed(&both, route), BTreeSet::from([other.to_owned()]));
    }
}
