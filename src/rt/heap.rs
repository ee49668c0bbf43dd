//! What the allocator knows of the process' memory.
//!
//! jemalloc counts, for each thread, the bytes that it has allocated and freed since it began. Their
//! difference is the thread's *balance*: negative for one that frees what others have allocated. All
//! balances together are what is in use, and a thread reads its own by two loads.
//!
//! In a program with another allocator, as the unit tests are, everything is 0.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use tikv_jemalloc_sys as jemalloc;

/// A thread's two counters, which live as long as it does.
type Counters = (*const u64, *const u64);

thread_local! {
    static COUNTERS: Cell<Option<Counters>> = const { Cell::new(None) };
}

/// All arenas together, where jemalloc wants the number of one.
macro_rules! of_all_arenas {
    ($head:literal, $tail:literal) => {
        const {
            match CStr::from_bytes_with_nul(concat!($head, "4096", $tail, "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => unreachable!(),
            }
        }
    };
}

/// The allocator's name and version, as Redis tells it.
pub const NAME: &str = "jemalloc-5.3.1";

/// Bytes that this thread has allocated less those that it has freed.
#[inline]
pub fn balance() -> i64 {
    let (allocated, freed) = match COUNTERS.get() {
        Some(counters) => counters,
        None => find_counters(),
    };
    // SAFETY: they were found for this very thread, which is alive and alone writes them.
    let (allocated, freed) = unsafe { (allocated.read(), freed.read()) };
    allocated.wrapping_sub(freed) as i64
}

#[cold]
fn find_counters() -> Counters {
    static ZERO: u64 = 0;
    let find = |name: &CStr| {
        let found: *const u64 = read(name).unwrap_or(std::ptr::null());
        if found.is_null() { &raw const ZERO } else { found }
    };
    let counters = (find(c"thread.allocatedp"), find(c"thread.deallocatedp"));
    COUNTERS.set(Some(counters));
    counters
}

/// Bytes of memory, as the allocator sees them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heap {
    /// In use by the program.
    pub allocated: u64,
    /// Of the pages in which something is in use.
    pub active: u64,
    /// Of all pages that are in memory, those with the allocator's own data among them.
    pub resident: u64,
    /// Address space that is kept for later, with no memory behind it.
    pub retained: u64,
    /// The allocator's own.
    pub metadata: u64,
}

/// The state of the whole heap. It takes a look at every arena, some tens of microseconds.
pub fn state() -> Heap {
    let mut epoch: u64 = 1;
    // SAFETY: the name ends with a NUL and stands for a number of this type.
    let _ = unsafe {
        jemalloc::mallctl(
            c"epoch".as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            (&raw mut epoch).cast(),
            size_of::<u64>(),
        )
    };
    let bytes = |name: &CStr| read::<usize>(name).unwrap_or(0) as u64;
    // What threads have at hand for their next allocations is in use by nobody.
    let at_hand = bytes(of_all_arenas!("stats.arenas.", ".tcache_bytes"));
    Heap {
        allocated: bytes(c"stats.allocated").saturating_sub(at_hand),
        active: bytes(c"stats.active"),
        resident: bytes(c"stats.resident"),
        retained: bytes(c"stats.retained"),
        metadata: bytes(c"stats.metadata"),
    }
}

/// Gives all pages back to the system in which nothing is in use.
pub fn purge() {
    let name = of_all_arenas!("arena.", ".purge");
    let (null, none) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the name ends with a NUL, and stands for an action that takes and gives nothing.
    let _ = unsafe { jemalloc::mallctl(name.as_ptr(), null, none, std::ptr::null_mut(), 0) };
}

/// The allocator's own report, for people.
pub fn report() -> String {
    unsafe extern "C" fn write(to: *mut c_void, text: *const c_char) {
        // SAFETY: `to` is the vector below, which nobody else uses meanwhile, and `text` ends with a
        // NUL, as jemalloc promises.
        unsafe { (*to.cast::<Vec<u8>>()).extend_from_slice(CStr::from_ptr(text).to_bytes()) }
    }
    let mut text: Vec<u8> = Vec::new();
    // SAFETY: the function is called before this returns, with the pointer given here.
    unsafe {
        jemalloc::malloc_stats_print(Some(write), (&raw mut text).cast(), std::ptr::null());
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A value that jemalloc knows by name. `T` must be of the type that it has there.
fn read<T: Copy>(name: &CStr) -> Option<T> {
    let mut value = std::mem::MaybeUninit::<T>::uninit();
    let mut len = size_of::<T>();
    // SAFETY: the name ends with a NUL, and there is room for as many bytes as are announced.
    let result = unsafe {
        jemalloc::mallctl(
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            &raw mut len,
            std::ptr::null_mut(),
            0,
        )
    };
    // SAFETY: jemalloc has written a value of just this size.
    (result == 0 && len == size_of::<T>()).then(|| unsafe { value.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allocator_answers() {
        // The tests run with another allocator, so there is little of its own.
        assert_eq!(balance(), 0);
        assert!(state().active >= state().allocated);
        purge();
        assert!(report().contains("jemalloc statistics"));
        assert_eq!(read::<u64>(c"no.such.name"), None);
    }
}
