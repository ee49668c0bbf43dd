//! The only reader of time in the load generator: nanoseconds of the monotonic clock.

/// Nanoseconds since an arbitrary fixed point, the same for all threads of the process.
pub fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid, writable timespec for the whole call.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    assert_eq!(rc, 0, "CLOCK_MONOTONIC exists on every Linux");
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

pub fn ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
