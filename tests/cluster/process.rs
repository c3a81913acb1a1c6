//! Processes of a test run: started with a log file, and gone when the run is, however it ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::Context as _;

/// How long a process may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process that ends when its standard input does, as the control plane's do: even if this one is
/// killed, the pipe closes.
pub(crate) struct Piped {
    name: &'static str,
    child: Child,
}

impl Piped {
    /// Starts it; what it writes goes to `log`.
    pub(crate) fn start(name: &'static str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let out = File::create(log)?;
        let child = command
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("{name} did not start"))?;
        Ok(Self { name, child })
    }

    /// Fails when it has ended by itself.
    pub(crate) fn alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("{} ended by itself: {status}", self.name),
        }
    }

    /// Ends it and waits until it has ended.
    pub(crate) fn stop(mut self) {
        drop(self.child.stdin.take());
        let step = Duration::from_millis(20);
        for _ in 0..PATIENCE.as_millis() / step.as_millis() {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(step),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Kills another process when this one dies without having called [`Guard::off`].
pub(crate) struct Guard(Child);

impl Guard {
    /// A shell that waits for a word on a pipe; if the pipe closes without one, it kills `pid`.
    pub(crate) fn over(pid: u32) -> anyhow::Result<Self> {
        let child = Command::new("sh")
            .args(["-c", "read -r word && exit 0; kill -9 \"$0\"", &pid.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("the shell that guards an agent did not start")?;
        Ok(Self(child))
    }

    /// The guarded process has ended.
    pub(crate) fn off(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            std::io::Write::write_all(&mut pipe, b"ended\n").ok();
        }
        self.0.wait().ok();
    }
}

/// Sends a signal by name to a process that we started.
pub(crate) async fn signal(name: &str, pid: u32) -> anyhow::Result<()> {
    let status = tokio::process::Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()])
        .status()
        .await?;
    anyhow::ensure!(status.success(), "signal {name} could not be sent");
    Ok(())
}

/// A port nobody listens on. Taken from below the range that the system gives to outgoing connections, so
/// that none of those takes it before it is used.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 15_000;
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Two runs at once begin at different places.
    let base = u16::try_from(std::process::id() % u32::from(COUNT))?;
    for _ in 0..COUNT {
        let offset = u32::from(base) * 7 + u32::from(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from(offset % u32::from(COUNT))?;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free")
}

/// The last lines of every log below a folder, for a failure's message.
pub(crate) fn logs(folder: &Path) -> String {
    const LINES: usize = 40;
    let mut open: Vec<PathBuf> = vec![folder.to_path_buf()];
    let mut text = String::new();
    while let Some(path) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&path) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "log") {
                let lines = std::fs::read(&path).unwrap_or_default();
                let lines = String::from_utf8_lossy(&lines).into_owned();
                let last: Vec<&str> = lines.lines().rev().take(LINES).collect();
                text.push_str(&format!("\n--- {}\n", path.display()));
                last.into_iter().rev().for_each(|line| text.push_str(&format!("{line}\n")));
            }
        }
    }
    text
}
