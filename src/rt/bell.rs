//! Waking a shard that sleeps, and only one that sleeps.
//!
//! Protocol (Dekker's): the sleeper sets `armed`, then looks into its mailboxes once more, then
//! sleeps. A sender pushes its message, then looks at `armed`. A full fence between the two steps of
//! each side makes sure that at least one of them sees the other. Whoever takes `armed` away rings,
//! so many messages cost one wake-up.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering, fence};

/// Awake, or on the way to sleep and still going to look.
const AWAKE: u8 = 0;
/// To be woken for what is urgent.
const ASLEEP: u8 = 1;
/// To be woken for anything.
const EXPECTING: u8 = 2;

/// One shard's bell.
#[derive(Debug)]
pub struct Bell {
    armed: AtomicU8,
    /// The shard's ring, once it has one: another ring posts straight into it.
    ring_fd: AtomicI32,
    /// For threads without a ring of their own.
    event: OwnedFd,
}

/// All shards' bells, by shard.
pub type Bells = Arc<[Bell]>;

impl Bell {
    pub fn new() -> io::Result<Bell> {
        // SAFETY: eventfd takes no pointers; the result is checked before it is owned.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else has it.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Bell { armed: AtomicU8::new(AWAKE), ring_fd: AtomicI32::new(-1), event })
    }

    /// The sleeper's first step; it must look for work again before it sleeps. When it is
    /// `expecting` something it wants to be woken also for what is not urgent by itself.
    pub fn arm(&self, expecting: bool) {
        self.armed.store(if expecting { EXPECTING } else { ASLEEP }, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub fn disarm(&self) {
        self.armed.store(AWAKE, Ordering::Relaxed);
    }

    /// The sender's second step: whether it is the one who must ring.
    pub fn take(&self, urgent: bool) -> bool {
        fence(Ordering::SeqCst);
        let enough = if urgent { ASLEEP } else { EXPECTING };
        self.armed.load(Ordering::Relaxed) >= enough
            && self.armed.swap(AWAKE, Ordering::Relaxed) != AWAKE
    }

    /// Wakes the shard from a thread that has no ring.
    pub fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: writes eight bytes of a live array to a descriptor that `self` owns.
        let written = unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), 8) };
        // The only failure is a counter at its limit, and then the shard is being woken anyway.
        let _ = written;
    }

    pub(super) fn event_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    pub(super) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    pub(super) fn set_ring_fd(&self, fd: RawFd) {
        self.ring_fd.store(fd, Ordering::Release);
    }

    /// The sleeping shard's ring, if it runs on one.
    pub(super) fn ring_fd(&self) -> Option<RawFd> {
        Some(self.ring_fd.load(Ordering::Acquire)).filter(|&fd| fd >= 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_is_taken_once() {
        let bell = Bell::new().unwrap();
        assert!(!bell.take(true));
        bell.arm(false);
        assert!(!bell.take(false));
        assert!(bell.take(true));
        assert!(!bell.take(true));
        bell.arm(true);
        assert!(bell.take(false));
        assert!(!bell.take(true));
        bell.arm(true);
        bell.disarm();
        assert!(!bell.take(true));
    }
}
