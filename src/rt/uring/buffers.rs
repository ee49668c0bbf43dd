//! The ring of provided buffers that all receives of a shard share.
//!
//! The kernel takes the next free buffer when bytes arrive, so that a connection which is
//! waiting owns none. They are a mapping of their own, 2 MB a shard whatever clients do, and are no part of
//! the heap that the memory limit is about.

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

/// The buffer group's number on a ring; there is one.
pub(super) const GROUP: u16 = 0;
const COUNT: u16 = 128;
/// Bytes; Redis reads as much at once.
const SIZE: usize = 16 << 10;

/// Invariants: `entries` is the begin of the mapping, and a page-aligned array of `COUNT` entries registered
/// with the ring; `memory`, behind them, is `COUNT` buffers of `SIZE` bytes. A buffer is
/// the kernel's from `release` until a completion names it, then ours until `release`.
pub(super) struct Buffers {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    tail: u16,
}

/// A page for the entries, and the buffers behind it.
const ENTRIES_BYTES: usize = 4096;
const BYTES: usize = ENTRIES_BYTES + COUNT as usize * SIZE;
const _: () = assert!(COUNT as usize * size_of::<BufRingEntry>() <= ENTRIES_BYTES);

impl Buffers {
    pub fn register(ring: &IoUring) -> io::Result<Buffers> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping of its own, of zeros; failure is handled.
        let pages = unsafe { libc::mmap(std::ptr::null_mut(), BYTES, access, kind, -1, 0) };
        if pages == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: inside the mapping.
        let memory = unsafe { pages.cast::<u8>().add(ENTRIES_BYTES) };
        let mut buffers = Buffers { entries: pages.cast(), memory, tail: 0 };
        // SAFETY: the entries are aligned to a page, live as long as `self`, and `self` outlives
        // every use of the ring (the driver drops its ring first).
        unsafe { ring.submitter().register_buf_ring_with_flags(pages as u64, COUNT, GROUP, 0)? };
        for id in 0..COUNT {
            buffers.release(id);
        }
        Ok(buffers)
    }

    /// The bytes of a buffer that a completion has handed over.
    ///
    /// # Safety
    /// The kernel must have written `len` bytes into buffer `id`, and `release(id)` must not be
    /// called before the last use of the slice.
    pub unsafe fn filled<'a>(&self, id: u16, len: usize) -> &'a mut [u8] {
        assert!(id < COUNT && len <= SIZE);
        // SAFETY: inside `memory` by the assertion; ours alone by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.memory.add(id as usize * SIZE), len) }
    }

    /// Gives a buffer back to the kernel.
    pub fn release(&mut self, id: u16) {
        assert!(id < COUNT);
        let at = (self.tail & (COUNT - 1)) as usize;
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `at` is below COUNT; the kernel does not read beyond the tail, which is
        // published only below, by an atomic store to its place in the first entry.
        unsafe {
            let entry = &mut *self.entries.add(at);
            entry.set_addr(self.memory.add(id as usize * SIZE) as u64);
            entry.set_len(SIZE as u32);
            entry.set_bid(id);
            let tail = BufRingEntry::tail(self.entries).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: mapped in `register` with this length, and nobody reads or writes it any more.
        unsafe { libc::munmap(self.entries.cast(), BYTES) };
    }
}
