//! What the load cost the server: its CPU time and memory, read from `/proc`.
//!
//! `task/*/schedstat` counts nanoseconds of each thread, kernel helpers such as io_uring's workers
//! included. Without it (CONFIG_SCHED_INFO off) the clock ticks of `task/*/stat` must do, usually
//! 10 ms. Threads that ended between two samples are not seen; servers do not end theirs under load.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::system;

#[derive(Debug, Default, Clone, PartialEq)]
pub struct ServerSample {
    /// CPU time by thread id.
    cpu_ns: HashMap<u64, u64>,
    pub rss_kib: u64,
    pub rss_peak_kib: u64,
}

impl ServerSample {
    pub fn take(pid: u32) -> Result<ServerSample, String> {
        let process = format!("/proc/{pid}");
        let status = read(&format!("{process}/status"))?;
        let mut cpu_ns = HashMap::new();
        let tasks = fs::read_dir(format!("{process}/task")).map_err(|e| format!("{pid}: {e}"))?;
        for task in tasks.flatten() {
            let thread = task.file_name().to_string_lossy().parse();
            // A thread may end between the listing and the reading.
            if let (Ok(thread), Some(ns)) = (thread, thread_cpu_ns(&task.path())) {
                cpu_ns.insert(thread, ns);
            }
        }
        Ok(ServerSample {
            cpu_ns,
            rss_kib: status_kib(&status, "VmRSS:"),
            rss_peak_kib: status_kib(&status, "VmHWM:"),
        })
    }

    /// CPU time of all threads since `before`; a new thread counts from its birth.
    pub fn cpu_ns_since(&self, before: &ServerSample) -> u64 {
        self.cpu_ns
            .iter()
            .map(|(thread, ns)| ns.saturating_sub(*before.cpu_ns.get(thread).unwrap_or(&0)))
            .sum()
    }
}

fn thread_cpu_ns(task: &Path) -> Option<u64> {
    let schedstat = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    let precise = schedstat.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok());
    // Kernels that do not account print zeroes.
    if let Some(ns) = precise.filter(|&ns| ns > 0) {
        return Some(ns);
    }
    let ticks = stat_ticks(&fs::read_to_string(task.join("stat")).ok()?)?;
    Some(ticks * 1_000_000_000 / system::ticks_per_second())
}

/// utime + stime; the thread's name, in parentheses, may itself hold blanks and parentheses.
fn stat_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn status_kib(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|v| v.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_after_an_awkward_name() {
        let stat = "71 (a) b) R 1 71 71 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(stat_ticks(stat), Some(300));
        assert_eq!(stat_ticks("71 (a"), None);
        assert_eq!(status_kib("VmHWM:\t  900 kB\nVmRSS:\t  800 kB\n", "VmRSS:"), 800);
        assert_eq!(status_kib("Name:\tx\n", "VmRSS:"), 0);
    }

    #[test]
    fn the_work_of_a_thread_is_seen() {
        let before = ServerSample::take(std::process::id()).unwrap();
        let started = crate::clock::now_ns();
        while crate::clock::now_ns() - started < 40_000_000 {}
        let after = ServerSample::take(std::process::id()).unwrap();
        assert!(after.cpu_ns_since(&before) > 0);
        assert!(after.rss_kib > 0 && after.rss_peak_kib >= after.rss_kib);
    }

    #[test]
    fn a_new_thread_counts_in_full_and_an_ended_one_not_at_all() {
        let sample = |threads: &[(u64, u64)]| ServerSample {
            cpu_ns: threads.iter().copied().collect(),
            ..ServerSample::default()
        };
        let before = sample(&[(1, 100), (2, 50)]);
        assert_eq!(sample(&[(1, 130), (3, 7)]).cpu_ns_since(&before), 37);
    }
}
