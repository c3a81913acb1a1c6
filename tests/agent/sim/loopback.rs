//! The cluster over loopback, with the client that the product uses.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, EvictParams, ListParams};
use meshmend::sim::{Fault, Sim, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use meshmend::clock::Clock;

fn client(serving: &meshmend::sim::Serving) -> kube::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    let url = format!("http://{}", serving.api).parse().expect("an address");
    let mut config = kube::Config::new(url);
    // A refusal is an answer here as in the product: kube would ask again for minutes.
    config.default_retry = false;
    kube::Client::try_from(config).expect("a client")
}

/// One request through a port-forward; what came back, or the words of the error channel.
async fn through(api: &Api<Pod>, pod: &str, port: u16, request: &str) -> Result<String, String> {
    let mut forward = api.portforward(pod, &[port]).await.map_err(|error| error.to_string())?;
    let (mut stream, error) = (forward.take_stream(port).expect("a stream"), forward.take_error(port));
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok();
    if text.is_empty() { Err(error.expect("its channel").await.unwrap_or_default()) } else { Ok(text) }
}

// Mutations: frames without their channel; answering a hung proxy; ending the connection before the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_forward_reaches_the_agent_of_a_proxy_and_hangs_where_it_hangs() {
    let sim = Sim::new(1, Clock::system(None));
    let serving = serve(&sim, "127.0.0.1:0".parse().expect("an address")).await.expect("it listens");
    let api: Api<Pod> = Api::namespaced(client(&serving), "shop");
    let hung = sim.inject(Fault::HungProxy).subject.name;
    let web = api.list(&ListParams::default().labels("app=cart")).await.expect("pods").items.remove(0);
    let web = web.metadata.name.expect("a name");
    let ask = |path: &str, method: &str| {
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
    };
    let answer = through(&api, &web, 15021, &ask("/healthz/ready", "GET")).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let answer = through(&api, &web, 15020, &ask("/quitquitquit", "GET")).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{answer}");
    let refused = through(&api, &web, 4191, &ask("/shutdown", "POST")).await;
    assert!(refused.as_ref().is_err_and(|text| text.contains("connection refused")), "{refused:?}");
    let request = ask("/healthz/ready", "GET");
    let silent =
        tokio::time::timeout(Duration::from_millis(300), through(&api, &hung, 15021, &request)).await;
    assert!(silent.is_err(), "it accepts and never answers");
    let quit = through(&api, &hung, 15020, &ask("/quitquitquit", "POST")).await.expect("an answer");
    assert!(quit.starts_with("HTTP/1.1 200 OK\r\n"), "{quit}");
}

// Mutation: another address than one of this machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_for_this_machine_and_takes_the_calls_of_the_product() {
    let sim = Sim::new(1, Clock::system(None));
    assert!(serve(&sim, "0.0.0.0:0".parse().expect("an address")).await.is_err());
    let serving = serve(&sim, "127.0.0.1:0".parse().expect("an address")).await.expect("it listens");
    let client = client(&serving);
    assert_eq!(client.apiserver_version().await.expect("a version").minor, "36");
    let api: Api<Pod> = Api::namespaced(client, "shop");
    let pods = api.list_metadata(&ListParams::default().labels("app=payment")).await.expect("metadata").items;
    let name = pods[0].metadata.name.clone().expect("a name");
    match api.evict(&name, &EvictParams::default()).await {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 429),
        other => panic!("no room, and yet {other:?}"),
    }
}
