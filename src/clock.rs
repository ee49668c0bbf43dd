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
