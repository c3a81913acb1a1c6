//! A stub of a kubelet, as far as port-forwards need one; behind it are the agents of proxies, which answer
//! as told.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;

use crate::control_plane::ControlPlane;
use crate::port_forward::{Door, Forward};

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
        let door = Door::open("127.0.0.1", plane).await?;
        let port = door.port;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok(caller) = door.next().await {
                let (agent, heard) = (Arc::clone(&agent), Arc::clone(&heard));
                tokio::spawn(async move {
                    let Ok(forward) = caller.take().await else { return };
                    answer(forward, &agent, &heard).await.ok();
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

/// One request over one port-forward.
async fn answer(mut forward: Forward, agent: &Agent, heard: &Mutex<Vec<String>>) -> anyhow::Result<()> {
    let port = forward.port;
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        request.extend_from_slice(&forward.read().await?.context("the request ended early")?);
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let line = text.split(" HTTP/").next().unwrap_or_default().to_owned();
    heard.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{port} {line}"));
    match agent(port, &line) {
        Answer::Status(status) => {
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            forward.write(answer.as_bytes()).await?;
        }
        Answer::Body(body) => {
            let length = body.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            forward.write(answer.as_bytes()).await?;
        }
        Answer::Closed => {}
        Answer::Silence => return std::future::pending().await,
    }
    forward.close().await
}
