//! Whether this host lets the server run, asked before anything is built on it.
//!
//! glommio panics where io_uring is forbidden and fails unseen where too little memory may be
//! locked; so both are tried first, and either epoll takes its place or the answer says what to do.

use super::Runtime;
use crate::error::Fatal;
use std::io;

/// What one executor's rings need of RLIMIT_MEMLOCK, with room to spare.
const MEMLOCK_NEEDED: u64 = 512 << 10;

/// Raises the limits that `shards` executors need as far as allowed, and says which runtime the host
/// lets them have: the `wanted` one or an error, if one is wanted.
pub fn check_host(
    wanted: Option<Runtime>,
    shards: usize,
    connections: u64,
) -> Result<Runtime, Fatal> {
    raise_limit(libc::RLIMIT_NOFILE, connections + 64 + shards as u64 * 16);
    match wanted {
        Some(Runtime::Epoll) => Ok(Runtime::Epoll),
        Some(Runtime::IoUring) => check_rings(shards).map(|()| Runtime::IoUring),
        None => match check_rings(shards) {
            Ok(()) => Ok(Runtime::IoUring),
            Err(reason) => {
                tracing::info!(%reason, "this host does not let io_uring be used: serving over epoll");
                Ok(Runtime::Epoll)
            }
        },
    }
}

fn check_rings(shards: usize) -> Result<(), Fatal> {
    let needed = MEMLOCK_NEEDED * shards as u64;
    let memlock = raise_limit(libc::RLIMIT_MEMLOCK, needed);
    let mut builder = io_uring::IoUring::<io_uring::squeue::Entry>::builder();
    match builder.setup_single_issuer().setup_defer_taskrun().build(8) {
        Ok(_) => {}
        Err(error) => {
            let fatal = Fatal::system("use io_uring", error.to_string());
            return Err(fatal.with_way_out(ring_advice(&error, memlock)));
        }
    }
    if memlock < MEMLOCK_NEEDED {
        let cause = format!("the limit is {memlock} bytes and {needed} are needed");
        let way_out = "raise RLIMIT_MEMLOCK: Docker: --ulimit memlock=-1, systemd: \
             LimitMEMLOCK=infinity, shell: ulimit -l unlimited";
        return Err(Fatal::system("lock memory for the rings", cause).with_way_out(way_out));
    }
    Ok(())
}

/// Makes sure of enough file descriptors for more connections than at the start.
pub fn raise_descriptors(connections: u64) -> Result<(), String> {
    /// For the files, rings and listeners of the server itself.
    const OWN: u64 = 1024;
    match raise_limit(libc::RLIMIT_NOFILE, connections + OWN) {
        limit if limit >= connections + OWN => Ok(()),
        limit => Err(format!(
            "The operating system is not able to handle the specified number of clients, try with {}",
            limit.saturating_sub(OWN)
        )),
    }
}

fn ring_advice(error: &io::Error, memlock: u64) -> String {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .map(|text| text.trim().to_string())
        .unwrap_or_default();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if disabled == "2" || disabled == "1" => {
            format!(
                "kernel.io_uring_disabled is {disabled}; run: sysctl -w kernel.io_uring_disabled=0"
            )
        }
        Some(libc::EPERM | libc::EACCES) => "a seccomp profile forbids it, as Docker's and \
             containerd's default ones do; Docker: --security-opt seccomp=unconfined (or a profile \
             that allows io_uring_setup, io_uring_enter and io_uring_register); systemd: take \
             io_uring out of SystemCallFilter"
            .to_string(),
        Some(libc::ENOMEM) => format!(
            "RLIMIT_MEMLOCK is {memlock} bytes; Docker: --ulimit memlock=-1, systemd: \
             LimitMEMLOCK=infinity"
        ),
        Some(libc::EINVAL) => "this kernel is too old; Linux 6.1 or newer is needed".to_string(),
        Some(libc::ENOSYS) => {
            "this kernel has no io_uring; Linux 6.1 or newer is needed".to_string()
        }
        _ => "Linux 6.1 or newer with io_uring is needed".to_string(),
    }
}

/// Raises a soft limit to `wanted` if it is lower and may be raised; the soft limit afterwards.
fn raise_limit(resource: libc::__rlimit_resource_t, wanted: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: points to a live rlimit.
    if unsafe { libc::getrlimit(resource, &mut limit) } != 0 || limit.rlim_cur >= wanted {
        return limit.rlim_cur;
    }
    let raised = libc::rlimit { rlim_cur: wanted, rlim_max: limit.rlim_max.max(wanted) };
    // A privileged process may raise the hard limit too; any other gets as far as that.
    // SAFETY: points to a live rlimit.
    if unsafe { libc::setrlimit(resource, &raised) } == 0 {
        return wanted;
    }
    let up_to_hard = libc::rlimit { rlim_cur: limit.rlim_max.min(wanted), ..limit };
    // SAFETY: as above.
    match unsafe { libc::setrlimit(resource, &up_to_hard) } {
        0 => up_to_hard.rlim_cur,
        _ => limit.rlim_cur,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_the_way_out() {
        let denied = io::Error::from_raw_os_error(libc::EPERM);
        assert!(ring_advice(&denied, 0).contains("seccomp"));
        let old = io::Error::from_raw_os_error(libc::EINVAL);
        assert!(ring_advice(&old, 0).contains("6.1"));
    }
}
