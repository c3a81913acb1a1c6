//! The machine: what the figures were measured on.

use std::fs;
use std::path::PathBuf;

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// One paragraph: cores, processor, memory, kernel, file system of the journal.
pub(crate) fn describe() -> String {
    let cpus = read("/proc/cpuinfo");
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo");
    let memory = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let memory = memory.map_or(0, |kib| kib / (1 << 20));
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?");
    let folder = folder();
    format!(
        "{cores} cores of {model}, {memory} GiB, Linux {}, journal on {} ({}), load {load} at the start",
        kernel.trim(),
        file_system(&folder),
        folder.display(),
    )
}

/// Where journals are written: below the build's own folder, because a temporary folder may be memory.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Kind of the file system a folder lies on: the longest mount point above it.
fn file_system(folder: &std::path::Path) -> String {
    let mounts = read("/proc/mounts");
    let above = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (_, at, kind) = (words.next()?, words.next()?, words.next()?);
        folder.starts_with(at).then_some((at.len(), kind))
    });
    above.max().map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

/// Resident memory of a process now, in MiB.
pub(crate) fn resident_mib(process: u32) -> f64 {
    memory_mib(process, "VmRSS:")
}

/// The most memory a process was resident in so far, in MiB.
pub(crate) fn peak_mib(process: u32) -> f64 {
    memory_mib(process, "VmHWM:")
}

fn memory_mib(process: u32, line_of: &str) -> f64 {
    let status = read(&format!("/proc/{process}/status"));
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix(line_of))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1_024.0
}

/// Processor time a process has taken so far, in seconds.
pub(crate) fn processor_s(process: u32) -> f64 {
    let stat = read(&format!("/proc/{process}/stat"));
    // User and system time, the 14th and 15th field; the second one is a name that may hold blanks.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 =
        after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    // Linux counts in hundredths towards processes, whatever its own clock does.
    ticks / 100.0
}
