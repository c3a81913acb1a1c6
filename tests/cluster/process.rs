//! Processes of a test run: started with a log file, and gone when the run is, however it ends.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

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
        // Started a second time, it goes on below what it said the first time.
        let out = OpenOptions::new().create(true).append(true).open(log)?;
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

    /// Its process id.
    fn pid(&self) -> anyhow::Result<Pid> {
        let pid = i32::try_from(self.child.id())?;
        Pid::from_raw(pid).context("a process has an id above zero")
    }

    /// Kills it (-9) and waits until it has ended.
    fn kill(mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
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

/// A part of the run that can be stopped, frozen, killed and started alone. It is started on the same
/// files and ports each time.
pub(crate) struct Component {
    name: &'static str,
    program: PathBuf,
    args: Vec<OsString>,
    log: PathBuf,
    running: Mutex<Option<Piped>>,
}

impl Component {
    /// Starts the program of this command; what it writes goes to `log`.
    pub(crate) fn start_as(name: &'static str, command: &Command, log: &Path) -> anyhow::Result<Self> {
        let component = Self {
            name,
            program: command.get_program().into(),
            args: command.get_args().map(Into::into).collect(),
            log: log.to_path_buf(),
            running: Mutex::default(),
        };
        component.start()?;
        Ok(component)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    fn running(&self) -> MutexGuard<'_, Option<Piped>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it again; what runs already goes on.
    pub(crate) fn start(&self) -> anyhow::Result<()> {
        let mut running = self.running();
        if running.is_none() {
            let mut command = Command::new(&self.program);
            *running = Some(Piped::start(self.name, command.args(&self.args), &self.log)?);
        }
        Ok(())
    }

    /// Fails when it has ended by itself.
    pub(crate) fn alive(&self) -> anyhow::Result<()> {
        self.running().as_mut().map_or(Ok(()), Piped::alive)
    }

    /// Ends it in order and waits until it has ended; a frozen one is killed.
    pub(crate) fn stop(&self) {
        if let Some(running) = self.running().take() {
            running.stop();
        }
    }

    /// Kills it (-9).
    pub(crate) fn kill(&self) {
        if let Some(running) = self.running().take() {
            running.kill();
        }
    }

    /// Freezes it (SIGSTOP): its ports still take connections, and nobody answers. On a busy machine its threads
    /// run on for a while after the signal; when this returns, none of them does.
    pub(crate) fn freeze(&self) -> anyhow::Result<()> {
        let pid = self.send(Signal::STOP)?;
        // That it has stopped stays to be seen until it goes on, also for the next who asks.
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let step = Duration::from_millis(1);
        for _ in 0..PATIENCE.as_millis() / step.as_millis() {
            if rustix::process::waitid(WaitId::Pid(pid), stopped)?.is_some() {
                return Ok(());
            }
            std::thread::sleep(step);
        }
        anyhow::bail!("{} does not freeze", self.name)
    }

    /// Lets it go on (SIGCONT).
    pub(crate) fn thaw(&self) -> anyhow::Result<()> {
        self.send(Signal::CONT).map(|_| ())
    }

    fn send(&self, signal: Signal) -> anyhow::Result<Pid> {
        let running = self.running();
        let running = running.as_ref().with_context(|| format!("{} does not run", self.name))?;
        let pid = running.pid()?;
        rustix::process::kill_process(pid, signal).with_context(|| format!("{} got no signal", self.name))?;
        Ok(pid)
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
            // Of what proxies carried, the last lines say nothing.
            } else if path.extension().is_some_and(|ending| ending == "log") && !path.ends_with("access.log")
            {
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
