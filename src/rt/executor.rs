//! One pinned executor per shard, and how many shards a machine is good for.

use super::Runtime;
use crate::error::Fatal;
use glommio::{CpuSet, LocalExecutorBuilder, Placement};
use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

/// glommio preallocates this for its own file and socket buffers, of which a shard uses none.
const GLOMMIO_IO_MEMORY: usize = 64 << 10;
const GLOMMIO_RING_DEPTH: usize = 8;

/// Starts a thread with an executor pinned to `core` and runs a future on it to its end.
///
/// Over epoll the thread runs nothing but this future, which never waits.
pub fn on_core<F, R>(
    runtime: Runtime,
    core: usize,
    name: &str,
    make: impl FnOnce() -> F + Send + 'static,
) -> Result<JoinHandle<Result<R, Fatal>>, Fatal>
where
    F: Future<Output = Result<R, Fatal>> + 'static,
    R: Send + 'static,
{
    let thread_name = name.to_string();
    let run = move || {
        if runtime == Runtime::Epoll {
            pin_to(core);
            return block_on(make());
        }
        let executor = LocalExecutorBuilder::new(placement(core))
            .name(&thread_name)
            .io_memory(GLOMMIO_IO_MEMORY)
            .ring_depth(GLOMMIO_RING_DEPTH)
            .make();
        match executor {
            Ok(executor) => executor.run(async move { make().await }),
            Err(error) => Err(Fatal::system(
                format!("build the executor of {thread_name} on core {core}"),
                error.to_string(),
            )),
        }
    };
    std::thread::Builder::new()
        .name(name.to_string())
        .spawn(run)
        .map_err(|error| Fatal::system(format!("start the thread {name}"), error.to_string()))
}

/// glommio looks for the core in /sys and panics where there is none, as in a bare chroot. There the
/// calling thread is pinned beforehand, and what the executor starts stays on its core as well.
fn placement(core: usize) -> Placement {
    if CpuSet::online().is_ok() {
        return Placement::Fixed(core);
    }
    pin_to(core);
    Placement::Unbound
}

/// Keeps the calling thread on a core. Where the host forbids that it runs where it may.
fn pin_to(core: usize) {
    // SAFETY: an all-zero cpu_set_t is a valid empty set, CPU_SET checks the index, and the kernel reads
    // the size that is given.
    let pinned = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) == 0
    };
    if !pinned {
        let error = std::io::Error::last_os_error();
        tracing::warn!(core, %error, "cannot pin a shard's thread to its core");
    }
}

fn block_on<R>(future: impl Future<Output = R>) -> R {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
        std::thread::yield_now();
    }
}

/// The cores that this process may use: its affinity mask, cut to the cgroup's CPU quota.
pub fn usable_cores() -> Vec<usize> {
    let mut cores = affinity();
    if let Some(quota) = cgroup_cpus() {
        cores.truncate(quota.max(1));
    }
    cores
}

fn affinity() -> Vec<usize> {
    // SAFETY: an all-zero cpu_set_t is a valid empty set, and the kernel writes at most its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        match libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) {
            0 => set,
            _ => return vec![0],
        }
    };
    let cores: Vec<usize> = (0..libc::CPU_SETSIZE as usize)
        // SAFETY: the index is below CPU_SETSIZE.
        .filter(|&core| unsafe { libc::CPU_ISSET(core, &set) })
        .collect();
    if cores.is_empty() { vec![0] } else { cores }
}

/// Whole CPUs of the cgroup's quota (version 2 at the root of the container's view, or version 1).
fn cgroup_cpus() -> Option<usize> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let (quota, period) = match read("/sys/fs/cgroup/cpu.max") {
        Some(line) => {
            let mut words = line.split_whitespace().map(|w| w.parse::<f64>().ok());
            (words.next()??, words.next()??)
        }
        None => {
            let number = |path: &str| read(path)?.trim().parse::<f64>().ok();
            let quota = number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")?;
            (quota, number("/sys/fs/cgroup/cpu/cpu.cfs_period_us")?)
        }
    };
    (quota > 0.0 && period > 0.0).then(|| (quota / period).ceil() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_core_to_run_on() {
        assert!(!usable_cores().is_empty());
    }
}
