//! The sink: takes notifications and writes down which incident came when. It speaks just enough HTTP to be
//! cheap, because it runs on the same cores.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// What arrived.
#[derive(Default)]
pub(crate) struct Sink {
    /// Times of arrival by incident.
    arrived: Mutex<BTreeMap<String, Vec<Instant>>>,
}

#[derive(Deserialize)]
struct News {
    id: String,
}

impl Sink {
    /// A sink that listens on loopback; the URL to post to.
    pub(crate) async fn listen() -> anyhow::Result<(Arc<Self>, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let sink = Arc::new(Self::default());
        let taking = Arc::clone(&sink);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).ok();
                tokio::spawn(Arc::clone(&taking).take(stream));
            }
        });
        Ok((sink, url))
    }

    async fn take(self: Arc<Self>, mut stream: TcpStream) {
        let mut buffer = Vec::with_capacity(8_192);
        loop {
            let Some(end) = request_end(&buffer) else {
                match stream.read_buf(&mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => continue,
                }
            };
            let (head, all) = end;
            if let Ok(news) = serde_json::from_slice::<News>(&buffer[head..all]) {
                let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
                arrived.entry(news.id).or_default().push(Instant::now());
            }
            buffer.drain(..all);
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    }

    /// Incidents told of, and those told of more than once.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        (arrived.len(), arrived.values().filter(|times| times.len() > 1).count())
    }

    /// When an incident was told of first.
    pub(crate) fn when(&self, incident: &str) -> Option<Instant> {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.get(incident).and_then(|times| times.first().copied())
    }
}

/// Where the head and the whole of the first request in the buffer end; `None` while it is not complete.
pub(crate) fn request_end(buffer: &[u8]) -> Option<(usize, usize)> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let all = head + length.unwrap_or(0);
    (buffer.len() >= all).then_some((head, all))
}
