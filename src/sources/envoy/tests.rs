//! Recorded pages of real Envoys.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::*;
use crate::cluster::{Answer, Unanswered};

macro_rules! recorded {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/recorded/envoy/", $name))
    };
}

// Mutations: an absent stat as zero; the stream to istiod as traffic; only the first of many clusters.
#[test]
fn stats_that_are_absent_are_told_from_those_that_are_zero() {
    let ejected = stats::read(recorded!("stats-ejected.json")).unwrap();
    assert_eq!(ejected.get(Stat::PendingOverflow), Ok(205 + 91));
    assert_eq!(ejected.get(Stat::Ejections), Ok(1));
    assert_eq!(ejected.get(Stat::RejectedListeners), Ok(1));
    assert_eq!(ejected.get(Stat::RejectedClusters), Ok(0));
    let default = stats::read(recorded!("stats-default-inclusions.json")).unwrap();
    assert_eq!(default.get(Stat::RejectedListeners), Ok(0));
    for stat in [Stat::PendingOverflow, Stat::Ejections, Stat::Handshakes, Stat::Allowed] {
        let why = default.get(stat).unwrap_err();
        assert!(why.contains("statsInclusionSuffixes"), "{why}");
    }
    assert!(default.get(Stat::Handshakes).unwrap_err().contains("Suffixes: ssl.handshake,"));
    // As Envoy names them (admin documentation): the listeners' own, with their addresses.
    let named = r#"{"stats":[{"histograms":{}},{"name":"listener.0.0.0.0_15006.ssl.handshake","value":7},
        {"name":"listener.admin.ssl.handshake","value":0},{"name":"http.inbound_0.0.0.0_80;.rbac.denied","value":3},
        {"name":"cluster.outbound|80||a.b;.ssl.handshake","value":9}]}"#;
    let named = stats::read(named.as_bytes()).unwrap();
    assert_eq!((named.get(Stat::Handshakes), named.get(Stat::Denied)), (Ok(7), Ok(3)));
    for broken in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"stats":[{"name":"cluster_manager.cds.update_rejected"}]}"#,
        r#"{"stats":[{"name":"cluster_manager.cds.update_rejected","value":"0"}]}"#,
        r#"{"stats":[{"name":"cluster_manager.cds.update_rejected","value":-1}]}"#,
    ] {
        assert!(stats::read(broken.as_bytes()).is_err(), "{broken}");
    }
}

// Mutations: taking a host without a flag for an ejected one, or a count that is not there for an error.
#[test]
fn clusters_say_which_hosts_are_kept_out() {
    let read = |body: &[u8], name: &str| {
        let found = clusters::read(body).unwrap();
        found.into_iter().find(|cluster| cluster.name == name).unwrap()
    };
    const V2: &str = "outbound|80|v2|server.shop.svc.cluster.local";
    let ejected = read(recorded!("clusters-ejected.json"), V2);
    assert_eq!((ejected.hosts, ejected.ejected, ejected.unhealthy), (1, 1, 1));
    assert_eq!(ejected.service(), Some("server.shop.svc.cluster.local"));
    assert!(ejected.requests > 0 && ejected.requests == ejected.errors, "{ejected:?}");
    let v1 = read(recorded!("clusters-ejected.json"), "outbound|80|v1|server.shop.svc.cluster.local");
    assert_eq!((v1.hosts, v1.ejected, v1.connections, v1.errors), (1, 0, 1, 0));
    let healthy = clusters::read(recorded!("clusters-healthy.json")).unwrap();
    assert!(healthy.iter().all(|cluster| cluster.ejected == 0 && cluster.unhealthy == 0));
    for name in ["inbound|8080||", "BlackHoleCluster", "outbound|80||", "outbound|80|a", "outbound|80||a|b"] {
        let cluster = ClusterStatus { name: name.to_owned(), ..ClusterStatus::default() };
        assert_eq!(cluster.service(), None, "{name}");
    }
    for broken in ["", "{}", r#"{"cluster_statuses":null}"#, r#"{"cluster_statuses":[{}]}"#] {
        assert!(clusters::read(broken.as_bytes()).is_err(), "{broken}");
    }
}

// Mutations: only listeners with a name, or only those that were never taken; a 404 of another page as no listener.
#[test]
fn a_dump_says_what_is_rejected_now() {
    let nack = config::read(200, recorded!("config_dump-listeners-nack.json")).unwrap();
    assert_eq!((nack.listeners, nack.rejected.len()), (2, 2));
    assert_eq!(nack.rejected[0].name, "good");
    assert!(nack.rejected[1].name.is_empty());
    assert!(nack.rejected.iter().all(|one| one.details.starts_with("Didn't find a registered")));
    let accepted = config::read(200, recorded!("config_dump-listeners-accepted.json")).unwrap();
    assert_eq!((accepted.listeners, accepted.rejected.len()), (1, 0));
    assert_eq!(config::read(200, recorded!("config_dump-none.json")), Ok(Configuration::default()));
    assert_eq!(config::read(404, recorded!("config_dump-not-found.txt")), Ok(Configuration::default()));
    assert!(config::read(404, b"404 page not found").is_err());
    assert!(config::read(503, recorded!("config_dump-listeners-accepted.json")).is_err());
    // A whole dump is what an Envoy that knows no masks would answer.
    assert!(config::read(200, recorded!("config_dump-whole-nack.json")).is_err());
    let kind = "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener";
    let nacked = format!(r#"{{"configs":[{{"@type":"{kind}","client_status":"NACKED"}}]}}"#);
    assert_eq!(config::read(200, nacked.as_bytes()).unwrap().rejected.len(), 1);
}

// Mutations: the CA instead of the leaf; whole days, which are 0 for a certificate of a day.
#[test]
fn leaves_have_a_life_and_plain_text_has_none() {
    let leaves = certs::read(recorded!("certs-mtls.json")).unwrap();
    assert_eq!(leaves.len(), 1, "client and server side show the same one");
    assert_eq!(leaves[0].identity, "spiffe://cluster.local/ns/mtls/sa/default");
    let left = |at: &str| leaves[0].left(at.parse().unwrap());
    assert!((left("2026-11-24T00:51:42Z") - 0.5).abs() < 0.001);
    assert!(left("2026-11-24T12:52:43Z") < 0.0);
    assert_eq!(left("2026-11-23T12:00:00Z"), 0.0);
    assert_eq!(certs::read(recorded!("certs-plaintext.json")), Ok(Vec::new()));
    for broken in ["", "{}", "[]", r#"{"certificates":[{"cert_chain":[{"valid_from":"now"}]}]}"#] {
        assert!(certs::read(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn a_server_says_its_state_and_age() {
    for (body, state, live) in [
        (&recorded!("server_info-live.json")[..], "LIVE", true),
        (recorded!("server_info-draining.json"), "DRAINING", false),
        (recorded!("server_info-pre-initializing.json"), "PRE_INITIALIZING", false),
    ] {
        let info = server::read(body).unwrap();
        assert_eq!((info.state.as_str(), info.is_live()), (state, live));
        assert!(info.version.contains("/1.39.3/"));
    }
    assert_eq!(server::read(recorded!("server_info-live.json")).unwrap().uptime_s(), 87);
    // Mutation: a default for the state, which is LIVE in Envoy's own list.
    assert!(server::read(br#"{"version":"1","uptime_current_epoch":"3s"}"#).is_err());
    assert!(server::read(br#"{"version":"1","state":"LIVE","uptime_current_epoch":3}"#).is_err());
}

/// An Envoy that answers every page with the same, and says what it was asked.
struct Page(std::sync::Mutex<Vec<(u16, String)>>, Result<Answer, Unanswered>);

impl ProxyTransport for Page {
    fn ask<'a>(&'a self, to: &'a PodPort, call: &'a Call) -> BoxFuture<'a, Result<Answer, Unanswered>> {
        self.0.lock().unwrap().push((to.port, call.path.clone()));
        async { self.1.clone() }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn errors_say_what_was_asked_where_and_a_proxy_that_hangs_is_let_alone() {
    let pod = PodPort { namespace: "shop".to_owned(), pod: "cart-1".to_owned(), ip: None, port: 0 };
    let silent = Err(Unanswered::Silent("no answer within 3 s".to_owned()));
    let page = Arc::new(Page(std::sync::Mutex::default(), silent));
    let admin = EnvoyAdmin::new(Arc::clone(&page) as Arc<dyn ProxyTransport>);
    let expected = |page: &str| format!("{page} at port 15000 of shop/cart-1: no answer within 3 s");
    assert_eq!(admin.leaves(&pod).await.unwrap_err(), expected("/certs"));
    // Mutation: a pause for each page; a hanging proxy would take three seconds for every one of them.
    assert_eq!(admin.stats(&pod).await.unwrap_err(), expected("/stats"));
    assert_eq!(*page.0.lock().unwrap(), [(15000, "/certs".to_owned())]);
    let live = Ok((200, recorded!("server_info-live.json").to_vec()));
    let page = Arc::new(Page(std::sync::Mutex::default(), live));
    let admin = EnvoyAdmin::new(Arc::clone(&page) as Arc<dyn ProxyTransport>);
    // Mutation: a pause after an answer that is none of the page's.
    assert!(admin.stats(&pod).await.unwrap_err().starts_with("/stats at port 15000"));
    assert!(admin.server(&pod).await.unwrap().is_live());
    let filter = "(%5C.ssl%5C.handshake%7C%5C.ssl%5C.connection_error%7C%5C.rbac%5C.allowed%7C";
    assert!(page.0.lock().unwrap()[0].1.starts_with(&format!("/stats?format=json&filter={filter}")));
}
