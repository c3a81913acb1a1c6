//! A kubelet's side of port-forwards: TLS with the run's own authority, a WebSocket, and in it the fourth
//! version of the protocol: byte 0 of a frame is the channel, and the first frame on each says the port.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::control_plane::ControlPlane;

/// The channel of data, and that of an error's text.
const DATA: u8 = 0;
const ERROR: u8 = 1;

/// A listener that the API server comes to.
pub(crate) struct Door {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    /// Its port.
    pub(crate) port: u16,
}

/// A connection whose first words have not been heard yet.
pub(crate) struct Caller {
    stream: TcpStream,
    acceptor: TlsAcceptor,
}

/// One port-forward of one port.
pub(crate) struct Forward {
    /// The path that was asked for: `/portForward/NAMESPACE/POD`.
    pub(crate) path: String,
    /// The port.
    pub(crate) port: u16,
    socket: WebSocketStream<TlsStream<TcpStream>>,
}

impl Door {
    /// Listens with the control plane's own server certificate.
    pub(crate) async fn open(address: &str, plane: &ControlPlane) -> anyhow::Result<Self> {
        let (certificate, key) = plane.server_files();
        let chain = vec![CertificateDer::from_pem_file(certificate).context("the server's certificate")?];
        let key = PrivateKeyDer::from_pem_file(key).context("the server's key")?;
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
        let address: SocketAddr = format!("{address}:0").parse()?;
        let listener = TcpListener::bind(address).await?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)), port })
    }

    /// The next connection.
    pub(crate) async fn next(&self) -> anyhow::Result<Caller> {
        let (stream, _) = self.listener.accept().await?;
        Ok(Caller { stream, acceptor: self.acceptor.clone() })
    }
}

impl Caller {
    /// Takes what it asks for and says the ports, as a kubelet does.
    pub(crate) async fn take(self) -> anyhow::Result<Forward> {
        let stream = self.acceptor.accept(self.stream).await?;
        let (mut path, mut port) = (String::new(), 0_u16);
        #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
        let take = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            let query = request.uri().query().unwrap_or_default();
            let given = query.split('&').find_map(|part| part.strip_prefix("port="));
            port = given.and_then(|text| text.parse().ok()).unwrap_or(0);
            request.uri().path().clone_into(&mut path);
            let protocol = http::HeaderValue::from_static("v4.channel.k8s.io");
            response.headers_mut().insert("sec-websocket-protocol", protocol);
            Ok(response)
        };
        let mut socket = tokio_tungstenite::accept_hdr_async(stream, take).await?;
        for channel in [DATA, ERROR] {
            let [low, high] = port.to_le_bytes();
            socket.send(Message::binary(vec![channel, low, high])).await?;
        }
        Ok(Forward { path, port, socket })
    }
}

impl Forward {
    /// The next bytes of the client; `None` when it has gone.
    pub(crate) async fn read(&mut self) -> anyhow::Result<Option<Bytes>> {
        while let Some(message) = self.socket.next().await {
            if let Message::Binary(bytes) = message?
                && bytes.first() == Some(&DATA)
            {
                return Ok(Some(bytes.slice(1..)));
            }
        }
        Ok(None)
    }

    /// Sends bytes to the client.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::binary([&[DATA], bytes].concat())).await?)
    }

    /// Ends it.
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        Ok(self.socket.close(None).await?)
    }

    /// Says why there is nothing, and ends it.
    pub(crate) async fn fail(mut self, why: &str) -> anyhow::Result<()> {
        self.socket.send(Message::binary([&[ERROR], why.as_bytes()].concat())).await?;
        self.close().await
    }

    /// Carries bytes both ways until one side has ended.
    pub(crate) async fn relay(mut self, mut pod: TcpStream) -> anyhow::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            tokio::select! {
                asked = self.read() => match asked? {
                    Some(bytes) => pod.write_all(&bytes).await?,
                    None => return Ok(()),
                },
                answered = pod.read(&mut buffer) => match answered? {
                    0 => return self.close().await,
                    count => self.write(&buffer[..count]).await?,
                },
            }
        }
    }
}
