//! What a recorded API server says, and one that refuses.

use super::*;

const CHECKS: &str = include_str!("../../../tests/recorded/apiserver/readyz-verbose.txt");
const METRICS: &[u8] = include_bytes!("../../../tests/recorded/apiserver/metrics.prom");

fn server(answer: impl Fn(&str) -> (u16, Vec<u8>) + Clone + Send + Sync + 'static) -> ApiServer {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (status, body) = answer(request.uri().path());
        let body = Response::builder().status(status).body(Body::from(body));
        async move { body }
    });
    ApiServer::new(Client::new(service, "default"))
}

// Mutations: the status alone, the last line alone, or a list without one.
#[test]
fn each_check_is_told_and_only_a_whole_list_counts() {
    let well = readiness(200, CHECKS.as_bytes()).unwrap();
    assert!(well.failed.is_empty() && well.passed.iter().any(|name| name == "etcd"));
    assert_eq!(well.passed.len(), CHECKS.lines().count() - 1);
    let ill = CHECKS
        .replace("[+]etcd ok", "[-]etcd failed: reason withheld")
        .replace("readyz check passed", "readyz check failed");
    assert_eq!(readiness(500, ill.as_bytes()).unwrap().failed, ["etcd"]);
    let cut = CHECKS.rsplit_once("[+]").unwrap().0;
    for (status, body) in
        [(200, ""), (200, cut), (200, "ok"), (200, &*ill), (500, CHECKS), (503, CHECKS), (200, "<html>")]
    {
        assert!(readiness(status, body.as_bytes()).is_err(), "{status} {body}");
    }
    assert!(readiness(200, format!("{CHECKS}[-]etcd failed\n").as_bytes()).is_err());
}

#[tokio::test]
async fn metrics_are_kept_by_name_and_a_refusal_names_the_right() {
    let well = server(|path| match path {
        "/metrics" => (200, METRICS.to_vec()),
        _ => (200, CHECKS.as_bytes().to_vec()),
    });
    let wanted = |name: &str| name == "apiserver_admission_webhook_fail_open_count";
    let found = well.metrics(&wanted).await.unwrap();
    assert!(!found.is_empty() && found.iter().all(|sample| wanted(&sample.name)));
    assert!(well.readiness().await.unwrap().failed.is_empty());
    let refusing = server(|_| (403, b"forbidden".to_vec()));
    for (path, error) in [
        ("/metrics", refusing.metrics(&wanted).await.unwrap_err()),
        ("/readyz", refusing.readiness().await.unwrap_err()),
    ] {
        let right = format!("{path} of the API server: forbidden: allow get on the nonResourceURL {path} ");
        assert!(error.starts_with(&right), "{error}");
    }
    let cut = server(|_| (200, METRICS[..METRICS.len() - 2].to_vec()));
    assert!(cut.metrics(&wanted).await.unwrap_err().contains("breaks off"));
}
