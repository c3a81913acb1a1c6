//! Answers in every form, silence, and port-forwards against a stub of the API server.

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Longer than any machine needs for an answer that is there.
const PATIENCE: Duration = Duration::from_secs(60);

fn there() -> PodPort {
    PodPort { namespace: "shop".to_owned(), pod: "cart".to_owned(), ip: None, port: 15021 }
}

/// Asks one who has only these bytes to say, and then closes.
async fn told_by(bytes: &'static [u8]) -> Result<Answer, String> {
    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    let server = tokio::spawn(async move {
        let mut request = vec![0_u8; 1024];
        let read = theirs.read(&mut request).await.unwrap();
        theirs.write_all(bytes).await.unwrap();
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    let answer = talk(ours, &there(), &Call::get("/healthz/ready", PATIENCE)).await;
    assert!(server.await.unwrap().starts_with("GET /healthz/ready HTTP/1.1\r\n"));
    answer
}

// Mutation: dropping the exchange when the connection ends loses answers of servers that close at once.
#[tokio::test]
async fn whole_answers_are_taken_in_every_form_and_broken_ones_in_none() {
    let sized = told_by(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(sized, Ok((200, b"ok".to_vec())));
    let chunked = told_by(b"HTTP/1.1 503 X\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n").await;
    assert_eq!(chunked, Ok((503, b"no".to_vec())));
    let until_closed = told_by(b"HTTP/1.1 200 OK\r\n\r\n[]").await;
    assert_eq!(until_closed, Ok((200, b"[]".to_vec())));
    for broken in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nok"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nno",
        b"HTTP/1.1 2",
        b"\0\0\0",
        b"",
    ] {
        assert!(told_by(broken).await.is_err(), "{broken:?}");
    }
}

// Mutation: collecting the body without a bound.
#[tokio::test]
async fn an_answer_without_end_is_none() {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        theirs.read_u8().await.unwrap();
        theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while theirs.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let answer = talk(ours, &there(), &Call::get("/", PATIENCE)).await;
    assert_eq!(answer, Err(format!("the answer is longer than {} bytes", 64 << 10)));
}

// Mutation: telling a refused connection from one that hangs is what says whether a proxy was asked.
#[tokio::test]
async fn silence_of_the_pod_is_not_silence_on_the_way() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let call = Call::get("/healthz/ready", Duration::from_millis(50));
    let here = PodPort { ip: Some(IpAddr::from([127, 0, 0, 1])), port, ..there() };
    // The kernel takes the connection, nobody answers: that is a hung proxy.
    let hung = ByPodIp.ask(&here, &call).await;
    assert_eq!(hung, Err(Unanswered::Silent("no answer within 0 s".to_owned())));
    drop(listener);
    let refused = ByPodIp.ask(&here, &call).await;
    assert!(matches!(refused, Err(Unanswered::Silent(_))), "{refused:?}");
    let nowhere = ByPodIp.ask(&there(), &call).await;
    assert!(matches!(nowhere, Err(Unanswered::NotAsked(_))), "{nowhere:?}");
}

/// A frame of the WebSocket protocol as a server sends it.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    [&[0x80 | kind, u8::try_from(payload.len()).unwrap()][..], payload].concat()
}

/// The API server's end of one port-forward: takes the request, sends these frames, and stays.
async fn kubelet(listener: tokio::net::TcpListener, frames: Vec<Vec<u8>>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("GET /api/v1/namespaces/shop/pods/cart/portforward?&ports=15021 "), "{head}");
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let key = fields.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key")).unwrap().1;
    let key = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
    let accept = serde_json::json!(k8s_openapi::ByteString(hash.as_ref().to_vec()));
    let accept = accept.as_str().unwrap().to_owned();
    let answer = format!(
        "HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\
         sec-websocket-protocol: v4.channel.k8s.io\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    let port = 15021_u16.to_le_bytes();
    for channel in [0, 1] {
        stream.write_all(&frame(2, &[channel, port[0], port[1]])).await.unwrap();
    }
    // The first bytes of our request.
    stream.read_u8().await.unwrap();
    if frames.is_empty() {
        // Who never answers is waited for in virtual time: nothing is under way any more but the wait.
        tokio::time::pause();
    }
    for frame in frames {
        stream.write_all(&frame).await.unwrap();
    }
    // Until the other side goes.
    while stream.read_u8().await.is_ok() {}
}

async fn forwarded(frames: Vec<Vec<u8>>) -> Result<Answer, Unanswered> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let client = Client::try_from(kube::Config::new(uri)).unwrap();
    let silent = frames.is_empty();
    let server = tokio::spawn(kubelet(listener, frames));
    let answer = ByPortForward::new(client).ask(&there(), &Call::get("/healthz/ready", PATIENCE)).await;
    if silent {
        tokio::time::resume();
    }
    // Mutation: without the abort on drop, the task of a pod that hangs never ends, nor does its connection.
    timeout(PATIENCE, server).await.expect("the connection was let go").unwrap();
    answer
}

#[tokio::test]
async fn a_port_forward_carries_one_exchange_and_ends() {
    let whole = frame(2, b"\0HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(forwarded(vec![whole]).await, Ok((200, b"ok".to_vec())));
    let closed = vec![frame(2, b"\0HTTP/1.1 200 OK\r\n\r\nok"), frame(8, &[])];
    assert_eq!(forwarded(closed).await, Ok((200, b"ok".to_vec())));
    let refused = forwarded(vec![frame(2, b"\x01connection refused")]).await;
    assert_eq!(refused, Err(Unanswered::Silent("connection refused".to_owned())));
    // Mutation: without a limit of our own this one waits for ever.
    assert!(matches!(forwarded(Vec::new()).await, Err(Unanswered::Silent(_))));
}

#[tokio::test]
async fn a_port_forward_that_does_not_open_asked_nobody() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let client = Client::try_from(kube::Config::new(uri)).unwrap();
    let call = Call::get("/healthz/ready", Duration::from_millis(50));
    let answer = ByPortForward::new(client).ask(&there(), &call).await;
    // Mutation: counting this as a miss makes a hung proxy of every pod when the API server is slow.
    assert!(matches!(answer, Err(Unanswered::NotAsked(_))), "{answer:?}");
    drop(listener);
}
