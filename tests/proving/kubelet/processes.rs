//! Processes of containers, as the kernel lists them.

use anyhow::Context as _;
use rustix::process::{Pid, Signal};

/// A process of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its id.
    pub(crate) pid: i32,
    /// The name of its program, as the kernel shortens it.
    pub(crate) name: String,
    /// Its state: `R`, `S`, `T` for a frozen one.
    pub(crate) state: char,
}

impl Process {
    /// Freezes it (SIGSTOP).
    pub(crate) fn freeze(&self) -> anyhow::Result<()> {
        self.send(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    pub(crate) fn thaw(&self) -> anyhow::Result<()> {
        self.send(Signal::CONT)
    }

    /// Kills it (-9).
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        self.send(Signal::KILL)
    }

    fn send(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.pid).context("a process has an id above zero")?;
        rustix::process::kill_process(pid, signal)
            .with_context(|| format!("{} ({}) got no signal", self.name, self.pid))
    }
}

/// The processes of a group, its leader first; those that only wait to be reaped are none.
pub(super) fn of_group(leader: Pid) -> anyhow::Result<Vec<Process>> {
    let leader = leader.as_raw_nonzero().get();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        // A process may end while it is looked at.
        let Ok(text) = std::fs::read_to_string(entry?.path().join("stat")) else { continue };
        if let Some((process, group)) = parse(&text)
            && group == leader
            && process.state != 'Z'
        {
            found.push(process);
        }
    }
    found.sort_by_key(|process| (process.pid != leader, process.pid));
    Ok(found)
}

/// `PID (NAME) STATE PARENT GROUP ...`, where the name may hold anything.
fn parse(text: &str) -> Option<(Process, i32)> {
    let (pid, rest) = text.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let mut rest = rest.split(' ');
    let state = rest.next()?.chars().next()?;
    let group = rest.nth(1)?.parse().ok()?;
    Some((Process { pid: pid.parse().ok()?, name: name.to_owned(), state }, group))
}
