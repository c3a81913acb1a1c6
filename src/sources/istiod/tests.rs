//! Recorded answers of a real istiod.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::syncz::read;
use super::*;
use crate::cluster::{Answer, Unanswered};
use crate::model::proxy::Standing;
use crate::model::subject::Subject;

const HEALTHY: &str = include_str!("../../../tests/recorded/istiod/syncz-healthy.json");
const NACK: &str = include_str!("../../../tests/recorded/istiod/syncz-nack.json");
const RECOVERED: &str = include_str!("../../../tests/recorded/istiod/syncz-nack-recovered.json");
const ADSZ: &str = include_str!("../../../tests/recorded/istiod/adsz-healthy.json");
const FROZEN: &str = include_str!("../../../tests/recorded/istiod/syncz-stale-frozen-proxy.json");

fn standings(text: &str) -> Vec<(String, Standing)> {
    let words = read(text.as_bytes()).unwrap();
    words.into_iter().map(|(pod, word)| (pod.name.to_string(), word.standing)).collect()
}

fn well(text: &[u8]) -> usize {
    let words = read(text).unwrap_or_default();
    words.values().filter(|word| word.standing == Standing::Acknowledged).count()
}

#[test]
fn recorded_answers_are_read_as_they_were_meant() {
    assert_eq!(well(HEALTHY.as_bytes()), 3);
    assert_eq!(well(RECOVERED.as_bytes()), 3);
    let nack = standings(NACK);
    let client = nack.iter().find(|(name, _)| name.starts_with("client-v1-")).unwrap();
    // Mutation: looking at sent and acked only makes a stale proxy, to be restarted, of one that rejects.
    assert!(
        matches!(&client.1, Standing::Rejected(why) if why.starts_with("Error adding/updating listener"))
    );
    assert_eq!(well(NACK.as_bytes()), 2);
    let words = read(FROZEN.as_bytes()).unwrap();
    let frozen = &words[&Subject::pod("shop", "server-v1-77d498bd8d-j95z5")];
    assert_eq!(frozen.standing, Standing::Waiting);
    assert_eq!(frozen.types, ["Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration"]);
    assert_eq!(frozen.version, "1.31.0");
    // The oldest of four pushes, two of which were sent again. Mutation: the newest of them.
    assert_eq!(frozen.waits_since.map(|at| at.to_string()), Some("2026-11-23T13:18:50.77564351Z".to_owned()));
    assert_eq!(well(FROZEN.as_bytes()), 3);
}

#[test]
fn forms_of_old_and_new_releases_and_of_none() {
    let one = |fields: &str| format!(r#"[{{"proxy":"a.b.shop",{fields}}}]"#);
    let standing = |fields: &str| {
        read(one(fields).as_bytes()).map(|words| words[&Subject::pod("shop", "a.b")].standing.clone())
    };
    assert_eq!(standing(r#""cluster_sent":"1","cluster_acked":"1""#), Ok(Standing::Acknowledged));
    assert_eq!(standing(r#""cluster_sent":"2","cluster_acked":"1""#), Ok(Standing::Waiting));
    // Mutation: nothing sent read as nothing to acknowledge is a healthy proxy without configuration.
    assert_eq!(standing(r#""resources":{}"#), Ok(Standing::Waiting));
    assert_eq!(standing(r#""resources":{"x.Cluster":{"acked":"1"}}"#), Ok(Standing::Waiting));
    assert_eq!(
        standing(r#""resources":{"x.Cluster":{"sent":"1","acked":"1"},"x.Secret":{}}"#),
        Ok(Standing::Acknowledged)
    );
    assert!(standing(r#""cluster_sent":2"#).is_err());
    for broken in
        ["", "null", "{}", "[{}]", r#"[{"proxy":"x"}]"#, r#"[{"proxy":7}]"#, r#"[{"proxy":".shop"}]"#]
    {
        assert!(read(broken.as_bytes()).is_err(), "{broken}");
    }
    let ztunnel = one(r#""proxy_type":"ztunnel","resources":{}"#);
    assert_eq!(read(ztunnel.as_bytes()), Ok(SyncWords::new()));
}

#[test]
fn who_is_connected_is_known_only_from_a_whole_list() {
    let connected = adsz::read(ADSZ.as_bytes()).unwrap();
    assert_eq!((connected.clients, connected.since.len()), (3, 3));
    let since = connected.since[&Subject::pod("shop", "client-v1-74867dcd64-7b5nd")];
    assert_eq!(since.to_string(), "2026-11-23T12:41:20.792510639Z");
    assert_eq!(adsz::read(br#"{"totalClients":0,"clients":null}"#), Ok(Connected::default()));
    let twice = r#"{"totalClients":2,"clients":[
        {"connectionId":"a.b.shop-7","connectedAt":"2026-11-23T12:00:00Z"},
        {"connectionId":"a.b.shop-9","connectedAt":"2026-11-23T12:00:09Z"}]}"#;
    let twice = adsz::read(twice.as_bytes()).unwrap();
    assert_eq!(twice.clients, 2);
    assert_eq!(twice.since[&Subject::pod("shop", "a.b")].to_string(), "2026-11-23T12:00:09Z");
    for broken in [
        "",
        "null",
        "{}",
        "[]",
        r#"{"totalClients":0}"#,
        r#"{"totalClients":1,"clients":[]}"#,
        r#"{"totalClients":-1,"clients":[]}"#,
        r#"{"clients":[]}"#,
        r#"{"totalClients":1,"clients":[{"connectionId":"a.shop","connectedAt":"2026-11-23T12:00:00Z"}]}"#,
        r#"{"totalClients":1,"clients":[{"connectionId":"a.shop-1"}]}"#,
        r#"{"totalClients":1,"clients":[{"connectionId":".shop-1","connectedAt":"2026-11-23T12:00:00Z"}]}"#,
    ] {
        // Mutation: trusting the total alone, or the list alone.
        assert!(adsz::read(broken.as_bytes()).is_err(), "{broken}");
    }
}

/// A transport that answers by port, and counts.
struct Ports(AtomicUsize, fn(u16, &str) -> Result<Answer, Unanswered>);

impl ProxyTransport for Ports {
    fn ask<'a>(&'a self, to: &'a PodPort, call: &'a Call) -> BoxFuture<'a, Result<Answer, Unanswered>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let answer = (self.1)(to.port, &call.path);
        async move { answer }.boxed()
    }
}

fn replica() -> PodPort {
    PodPort { namespace: "istio-system".to_owned(), pod: "istiod-1".to_owned(), ip: None, port: 0 }
}

#[tokio::test(start_paused = true)]
async fn one_port_is_enough_and_a_failing_replica_is_let_alone_for_a_while() {
    let second = Arc::new(Ports(AtomicUsize::new(0), |port, path| {
        assert_eq!(path, "/debug/syncz");
        if port == 8080 { Ok((200, HEALTHY.into())) } else { Ok((404, Vec::new())) }
    }));
    let told = Istiod::new(Arc::clone(&second) as Arc<dyn ProxyTransport>).read(&[replica()]).await;
    assert_eq!(told[0].1.as_ref().unwrap().len(), 3);

    let failing = Arc::new(Ports(AtomicUsize::new(0), |_, _| Err(Unanswered::NotAsked("403".to_owned()))));
    let istiod = Istiod::new(Arc::clone(&failing) as Arc<dyn ProxyTransport>);
    for _ in 0..60 {
        let told = istiod.read(&[replica()]).await;
        assert_eq!(
            told,
            [("istio-system/istiod-1".to_owned(), Err("it could not be asked: 403".to_owned()))]
        );
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    // At 0, 5, 15, 35 seconds, two ports each. Mutation: no pause asks a hundred and twenty times.
    assert_eq!(failing.0.load(Ordering::Relaxed), 8);
}

#[tokio::test(start_paused = true)]
async fn each_question_has_its_own_port_pause_and_advice() {
    let ports = Arc::new(Ports(AtomicUsize::new(0), |port, path| match (port, path) {
        (15014, "/metrics") => Ok((200, b"pilot_xds 3\nother 1\n".to_vec())),
        (8080, "/ready") => Ok((503, Vec::new())),
        _ => Ok((401, Vec::new())),
    }));
    let istiod = Istiod::new(Arc::clone(&ports) as Arc<dyn ProxyTransport>);
    let error = istiod.connected(&[replica()]).await.remove(0).1.unwrap_err();
    assert!(error.contains("401") && error.contains("pods/portforward"), "{error}");
    // Mutation: one pause for all; a replica that does not let us see its proxies still tells its metrics.
    let page = istiod.metrics(&[replica()], &|name| name == "pilot_xds").await.remove(0).1.unwrap();
    assert_eq!(page.iter().map(|sample| sample.value).collect::<Vec<_>>(), [3.0]);
    let ready = istiod.ready(&[replica()]).await.remove(0).1;
    assert_eq!(ready, Ok(Err("port 8080 answered 503 to /ready".to_owned())));
    let nobody =
        Arc::new(Ports(AtomicUsize::new(0), |_, _| Err(Unanswered::NotAsked("forbidden".to_owned()))));
    // Mutation: taking one who could not be asked for one that is not ready.
    assert!(Istiod::new(nobody).ready(&[replica()]).await.remove(0).1.is_err());
    // Mutations: one that listens elsewhere as one that is down; one that hangs as one that may be well.
    let elsewhere = |port: u16, _: &str| match port {
        15014 => Ok((200, Vec::new())),
        _ => Err(Unanswered::Silent("no answer".to_owned())),
    };
    let elsewhere = Istiod::new(Arc::new(Ports(AtomicUsize::new(0), elsewhere)));
    assert!(elsewhere.ready(&[replica()]).await.remove(0).1.is_err());
    let hangs = |_: u16, _: &str| Err(Unanswered::Silent("no answer".to_owned()));
    let hangs = Istiod::new(Arc::new(Ports(AtomicUsize::new(0), hangs)));
    assert_eq!(hangs.ready(&[replica()]).await.remove(0).1, Ok(Err("no answer".to_owned())));
}
