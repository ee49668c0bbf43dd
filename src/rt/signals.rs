//! SIGTERM and SIGINT as an event of the main thread.

use crate::error::Fatal;
use std::sync::atomic::{AtomicBool, Ordering};

/// The signals that stop the server, blocked in this thread and those that it starts.
pub struct Signals(libc::sigset_t);

impl Signals {
    /// Blocks them; to be called before any other thread is started.
    pub fn block() -> Result<Signals, Fatal> {
        // SAFETY: the set is initialised by sigemptyset before it is used; SIGPIPE is ignored as
        // the Rust runtime does already.
        let (set, result) = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGTERM);
            libc::sigaddset(&mut set, libc::SIGINT);
            (set, libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()))
        };
        match result {
            0 => Ok(Signals(set)),
            code => {
                let cause = std::io::Error::from_raw_os_error(code).to_string();
                Err(Fatal::system("block signals", cause))
            }
        }
    }

    /// Waits until one arrives, or until `stopping` is set: looked at five times a second, and `meanwhile`
    /// is called as often.
    pub fn wait(&self, stopping: &AtomicBool, mut meanwhile: impl FnMut()) {
        let timeout = libc::timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        while !stopping.load(Ordering::Acquire) {
            meanwhile();
            // SAFETY: the set was initialised in `block`; no information is asked for.
            let signal = unsafe { libc::sigtimedwait(&self.0, std::ptr::null_mut(), &timeout) };
            if signal > 0 {
                return;
            }
        }
    }
}
