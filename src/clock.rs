//! The only reader of time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall-clock time since the epoch.
pub fn wall() -> Duration {
    #[allow(clippy::disallowed_methods)]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Wall-clock milliseconds since the epoch, the unit of every expiry.
pub fn wall_ms() -> i64 {
    wall().as_millis() as i64
}

/// A point on the clock that never goes back, for measuring.
pub fn monotonic() -> Instant {
    #[allow(clippy::disallowed_methods)]
    Instant::now()
}

/// A number that changes every few milliseconds and costs next to nothing to look at: the kernel's own
/// clock tick. For noticing that time has passed, not for measuring it.
#[inline]
pub fn tick() -> i64 {
    let time = kernel_clock(libc::CLOCK_MONOTONIC_COARSE);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// How often [`tick`] changes at least, for as long as the machine runs.
pub const TICK_MAX: Duration = Duration::from_millis(10);

/// CPU time that the calling thread has used.
pub fn thread_cpu() -> Duration {
    let time = kernel_clock(libc::CLOCK_THREAD_CPUTIME_ID);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.max(0) as u32)
}

#[inline]
fn kernel_clock(which: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer, and both clocks exist on every Linux.
    unsafe { libc::clock_gettime(which, &mut time) };
    time
}
