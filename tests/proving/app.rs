//! The application of a pod: an HTTP server that answers as its environment says.
//!
//! `APP_STATUS` (200), `APP_DELAY_MS` (0) and `APP_AT_ONCE` (0: any number): so many requests are served at
//! once, and the others wait for their turn, so that an overload is a real one. `APP_PORT` is 8080; the
//! kubelet's `APP_SHIFT` is added to it. With `APP_EXIT` it ends with that code after `APP_EXIT_AFTER_MS` (500).

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use tokio::sync::Semaphore;

/// What it does with a request.
struct Ways {
    status: StatusCode,
    delay: Duration,
    turns: Semaphore,
}

/// Serves for ever.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let number = |name: &str, default: u64| match std::env::var(name) {
        Ok(text) => text.parse::<u64>().with_context(|| format!("{name} is {text}, which is no number")),
        Err(_) => Ok(default),
    };
    let turns = match number("APP_AT_ONCE", 0)? {
        0 => Semaphore::MAX_PERMITS,
        some => usize::try_from(some)?,
    };
    let ways = Ways {
        status: StatusCode::from_u16(u16::try_from(number("APP_STATUS", 200)?)?)?,
        delay: Duration::from_millis(number("APP_DELAY_MS", 0)?),
        turns: Semaphore::new(turns),
    };
    let address = std::env::var("POD_IP").context("POD_IP is not set")?;
    let address: SocketAddr =
        format!("{address}:{}", number("APP_PORT", 8080)? + number("APP_SHIFT", 0)?).parse()?;
    let end = std::env::var_os("APP_EXIT").map(|_| number("APP_EXIT", 0)).transpose()?;
    let last = (Duration::from_millis(number("APP_EXIT_AFTER_MS", 500)?), end);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let served = axum::serve(listener, Router::new().fallback(answer).with_state(Arc::new(ways)));
        // Asked to end, it ends at once, as most programs do.
        tokio::select! {
            ended = served => ended?,
            asked = crate::proxy::asked_to_end() => asked?,
            code = done(last) => return Ok(ExitCode::from(u8::try_from(code)?)),
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Waits until its work is done, if it is of the kind that ends.
async fn done((after, code): (Duration, Option<u64>)) -> u64 {
    match code {
        Some(code) => {
            tokio::time::sleep(after).await;
            code
        }
        None => std::future::pending().await,
    }
}

async fn answer(State(ways): State<Arc<Ways>>) -> StatusCode {
    let Ok(_turn) = ways.turns.acquire().await else { return StatusCode::SERVICE_UNAVAILABLE };
    if !ways.delay.is_zero() {
        tokio::time::sleep(ways.delay).await;
    }
    ways.status
}
