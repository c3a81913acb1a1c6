//! A stub of a kubelet, as far as port-forwards need one: TLS with the run's own authority, a WebSocket, and
//! behind it the agents of proxies, which answer as told.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use futures::{SinkExt as _, StreamExt as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::control_plane::ControlPlane;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This status.
    Status(u16),
    /// 200 with this body.
    Body(Arc<str>),
    /// The connection is closed without an answer, as by a process that ends at once.
    Closed,
    /// Nothing, for ever.
    Silence,
}

/// Answers by what was asked: the port, and method and path.
pub(crate) type Agent = Arc<dyn Fn(u16, &str) -> Answer + Send + Sync>;

/// The running stub.
pub(crate) struct Kubelet {
    /// Its port.
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Kubelet {
    /// Listens on loopback; requests to any pod are answered by this agent.
    pub(crate) async fn start(plane: &ControlPlane, agent: Agent) -> anyhow::Result<Self> {
        let (certificate, key) = plane.server_files();
        let chain = vec![CertificateDer::from_pem_file(certificate).context("the server's certificate")?];
        let key = PrivateKeyDer::from_pem_file(key).context("the server's key")?;
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, agent, heard) = (acceptor.clone(), Arc::clone(&agent), Arc::clone(&heard));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    forward(stream, &agent, &heard).await.ok();
                });
            }
        });
        Ok(Self { port, asked })
    }

    /// What the agents were asked, in order: `PORT METHOD PATH`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One port-forward of one port, by the fourth version of the protocol: byte 0 is the channel, and the first
/// frame on each says the port.
async fn forward(
    stream: TlsStream<TcpStream>,
    agent: &Agent,
    heard: &Mutex<Vec<String>>,
) -> anyhow::Result<()> {
    let mut port = 0_u16;
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let take = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        let query = request.uri().query().unwrap_or_default();
        let given = query.split('&').find_map(|part| part.strip_prefix("port=")).and_then(|p| p.parse().ok());
        port = given.unwrap_or(0);
        let protocol = http::HeaderValue::from_static("v4.channel.k8s.io");
        response.headers_mut().insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    let mut socket: WebSocketStream<_> = tokio_tungstenite::accept_hdr_async(stream, take).await?;
    for channel in [0, 1] {
        let [low, high] = port.to_le_bytes();
        socket.send(Message::binary(vec![channel, low, high])).await?;
    }
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let message = socket.next().await.context("the request ended early")??;
        if let Message::Binary(bytes) = message
            && bytes.first() == Some(&0)
        {
            request.extend_from_slice(&bytes[1..]);
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let line = text.split(" HTTP/").next().unwrap_or_default().to_owned();
    heard.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{port} {line}"));
    match agent(port, &line) {
        Answer::Status(status) => {
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            socket.send(Message::binary([&[0], answer.as_bytes()].concat())).await?;
        }
        Answer::Body(body) => {
            let length = body.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            socket.send(Message::binary([&[0], answer.as_bytes()].concat())).await?;
        }
        Answer::Closed => {}
        Answer::Silence => return std::future::pending().await,
    }
    socket.close(None).await?;
    Ok(())
}
