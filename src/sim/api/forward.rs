//! Port-forward to what listens in a pod: WebSocket with the framing `v4.channel.k8s.io`.
//!
//! Byte 0 of a frame is the channel: 2i data, 2i+1 errors of the i-th port. The first frame on each is the
//! port in little endian. One request is answered on a connection, then it is closed.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header, request};
use axum::response::{IntoResponse, Response};
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::request::{Target, decode};
use crate::sim::Sim;
use crate::sim::refused::Refused;

const PROTOCOL: &str = "v4.channel.k8s.io";

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Answers the upgrade, and goes on serving the connection by itself.
pub(super) fn upgrade(sim: &Arc<Sim>, target: &Target, parts: &mut request::Parts) -> Response {
    match begin(sim, target, parts) {
        Ok(response) => response,
        Err(refused) => refused.into_response(),
    }
}

fn begin(sim: &Arc<Sim>, target: &Target, parts: &mut request::Parts) -> Result<Response, Refused> {
    let pod = target.key()?;
    let query = parts.uri.query().unwrap_or_default();
    let ports = query.split('&').filter_map(|pair| pair.strip_prefix("ports=")).map(decode);
    let ports: Vec<u16> =
        ports.flat_map(|list| list.split(',').map(str::parse).collect::<Vec<_>>()).flatten().collect();
    let head = |name: header::HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let asked = head(header::UPGRADE).is_some_and(|what| what.eq_ignore_ascii_case("websocket"));
    let key = head(header::SEC_WEBSOCKET_KEY).map(str::to_owned);
    let offers =
        parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let known = offers.flat_map(|list| list.split(',')).any(|name| name.trim() == PROTOCOL);
    let known_pod = sim.with(|store, _| store.get(&pod).is_some());
    if !known_pod {
        return Err(Refused::not_found(&pod));
    }
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let (Some(key), Some(upgrade), true) = (key, upgrade, asked) else {
        return Err(Refused::bad("Upgrade request required"));
    };
    if !known {
        return Err(Refused::bad(format!("only the protocol {PROTOCOL} is spoken here")));
    }
    if ports.is_empty() {
        return Err(Refused::bad("query parameter \"ports\" is required"));
    }
    let sim = Arc::clone(sim);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let socket =
                    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
                // A client that goes away in the middle is no fault.
                talk(&sim, (&pod.1, &pod.2), &ports, socket).await.ok();
            }
            Err(error) => tracing::debug!(%error, "a port-forward was not upgraded"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok(response)
}

fn frame(channel: usize, bytes: &[u8]) -> Message {
    let mut out = vec![u8::try_from(channel).unwrap_or(u8::MAX)];
    out.extend_from_slice(bytes);
    Message::binary(out)
}

async fn talk(
    sim: &Sim,
    (namespace, pod): (&str, &str),
    ports: &[u16],
    mut socket: Socket,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    for (index, port) in ports.iter().enumerate() {
        socket.send(frame(2 * index, &port.to_le_bytes())).await?;
        socket.send(frame(2 * index + 1, &port.to_le_bytes())).await?;
    }
    let mut read: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    while let Some(message) = socket.next().await {
        let Message::Binary(bytes) = message? else { continue };
        let Some((channel, bytes)) = bytes.split_first() else { continue };
        let (channel, index) = (usize::from(*channel), usize::from(*channel) / 2);
        let Some(port) = ports.get(index).filter(|_| channel % 2 == 0) else { continue };
        let so_far = read.entry(index).or_default();
        so_far.extend_from_slice(bytes);
        let Some((method, path)) = whole(so_far) else { continue };
        so_far.clear();
        match sim.proxy_answer(namespace, pod, *port, &method, &path) {
            // It accepts and never answers: the connection stays open until the client has had enough.
            None => {}
            Some((0, why)) => {
                let text = format!("error forwarding port {port} to pod {namespace}/{pod}: {why}");
                socket.send(frame(channel + 1, text.as_bytes())).await?;
                return socket.close(None).await;
            }
            Some((code, body)) => {
                let phrase = StatusCode::from_u16(code).ok().and_then(|code| code.canonical_reason());
                let head = format!(
                    "HTTP/1.1 {code} {}\r\ncontent-length: {}\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n",
                    phrase.unwrap_or_default(),
                    body.len()
                );
                socket.send(frame(channel, format!("{head}{body}").as_bytes())).await?;
                return socket.close(None).await;
            }
        }
    }
    Ok(())
}

/// Method and path of a request that has arrived whole.
fn whole(bytes: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    if body.len() < length.unwrap_or(0) {
        return None;
    }
    let mut words = head.lines().next()?.split(' ');
    Some((words.next()?.to_owned(), words.next()?.to_owned()))
}
