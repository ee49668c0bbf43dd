//! One member of a big sorted set with its score, in one allocation that table and tree share.
//!
//! ```text
//!   0           8        9
//!   +-----------+--------+--------------------------+
//!   | score f64 | length | bytes                    |
//!   +-----------+--------+--------------------------+
//!   length 255: the length is in the four bytes that follow, and then come the bytes
//! ```
//!
//! The [`Member`] in the table owns the allocation; the tree has an [`Alias`]. Two owners with a
//! count (`Rc<[u8]>`) would take 16 bytes more for the counts and 8 more in each of the two places,
//! where a slot of the table has room for 8 only: 105 bytes per member instead of 65. That is
//! what the `unsafe` here is for.
//!
//! Invariants: the pointer of a member is an allocation of `size(len)` bytes, laid out as above,
//! that it alone owns; nothing but the score changes while it lives; an alias is either
//! [`Alias::NONE`] or that of a live member.

use crate::data::entry::allocation_size;
use crate::data::table::Keyed;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;

/// Lengths from here on have four bytes more.
const LONG: u8 = u8::MAX;
const LENGTH_AT: usize = size_of::<f64>();
const SHORT_AT: usize = LENGTH_AT + 1;
const LONG_AT: usize = SHORT_AT + size_of::<u32>();

#[repr(C, align(8))]
struct Head {
    score: f64,
    length: u8,
}

#[repr(transparent)]
pub(super) struct Member(NonNull<Head>);

/// A member as the tree knows it: the bytes may be read, the score is the tree's own.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Alias(NonNull<Head>);

// SAFETY: a member owns its allocation, which has no tie to a thread.
unsafe impl Send for Member {}
// SAFETY: aliases are read by whoever has the set that owns the members, and travel with it.
unsafe impl Send for Alias {}
// SAFETY: the bytes that an alias reads never change.
unsafe impl Sync for Alias {}

const _: () = assert!(size_of::<Member>() == 8 && size_of::<Alias>() == 8);

/// Bytes of the allocation for a member of so many bytes.
fn size(len: usize) -> usize {
    len + if len < usize::from(LONG) { SHORT_AT } else { LONG_AT }
}

fn layout(len: usize) -> Layout {
    Layout::from_size_align(size(len), align_of::<Head>())
        .expect("members are shorter than the address space")
}

/// # Safety
/// `head` is that of a live member or of [`NONE`].
#[inline(always)]
unsafe fn bytes<'a>(head: NonNull<Head>) -> &'a [u8] {
    // SAFETY: the length is where the layout has it, and so many initialised bytes follow.
    unsafe {
        let short = head.byte_add(LENGTH_AT).cast::<u8>().read();
        let (at, len) = match short {
            LONG => (LONG_AT, head.byte_add(SHORT_AT).cast::<u32>().read_unaligned() as usize),
            short => (SHORT_AT, usize::from(short)),
        };
        NonNull::slice_from_raw_parts(head.byte_add(at).cast::<u8>(), len).as_ref()
    }
}

impl Member {
    pub fn new(score: f64, member: &[u8]) -> Member {
        let layout = layout(member.len());
        // SAFETY: the size is not 0.
        let block = unsafe { alloc(layout) };
        let head = NonNull::new(block).unwrap_or_else(|| handle_alloc_error(layout)).cast::<Head>();
        // SAFETY: the allocation has room for score, length and bytes, in this layout.
        unsafe {
            head.cast::<f64>().write(score);
            let at = if member.len() < usize::from(LONG) {
                head.byte_add(LENGTH_AT).cast::<u8>().write(member.len() as u8);
                SHORT_AT
            } else {
                let len = u32::try_from(member.len()).expect("members are shorter than 4 GiB");
                head.byte_add(LENGTH_AT).cast::<u8>().write(LONG);
                head.byte_add(SHORT_AT).cast::<u32>().write_unaligned(len);
                LONG_AT
            };
            let to = head.byte_add(at).cast::<u8>().as_ptr();
            to.copy_from_nonoverlapping(member.as_ptr(), member.len());
        }
        Member(head)
    }

    #[inline]
    pub fn score(&self) -> f64 {
        // SAFETY: every member starts with its score.
        unsafe { self.0.cast::<f64>().read() }
    }

    #[inline]
    pub fn set_score(&mut self, score: f64) {
        // SAFETY: as for `score`; an alias never reads it.
        unsafe { self.0.cast::<f64>().write(score) }
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: a live member's.
        unsafe { bytes(self.0) }
    }

    /// Bytes that the allocator sets aside for it.
    pub fn allocated(&self) -> usize {
        allocation_size(size(self.bytes().len()))
    }

    /// # Safety
    /// The alias is not read any more when the member is dropped.
    #[inline]
    pub unsafe fn alias(&self) -> Alias {
        Alias(self.0)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let layout = layout(self.bytes().len());
        // SAFETY: the member's own allocation, which nothing uses any more.
        unsafe { dealloc(self.0.as_ptr().cast(), layout) }
    }
}

impl Keyed for Member {
    #[inline(always)]
    fn key(&self) -> &[u8] {
        self.bytes()
    }

    #[inline(always)]
    fn address(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.bytes().escape_ascii(), self.score())
    }
}

static EMPTY: Head = Head { score: 0.0, length: 0 };

impl Alias {
    /// What a free slot has; its bytes are none.
    pub const NONE: Alias = Alias(NonNull::from_ref(&EMPTY));

    #[inline(always)]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: whoever made the alias has promised that its member lives as long as it is read.
        unsafe { bytes(self.0) }
    }

    #[inline(always)]
    pub fn address(self) -> *const u8 {
        self.0.as_ptr().cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_length_come_back() {
        for len in [0, 1, 7, 8, 254, 255, 256, 70_000] {
            let text: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut member = Member::new(1.5, &text);
            // SAFETY: read before the member goes.
            let alias = unsafe { member.alias() };
            assert_eq!((member.bytes(), alias.bytes()), (&text[..], &text[..]));
            member.set_score(-2.0);
            assert_eq!((member.score(), alias.bytes()), (-2.0, &text[..]));
            assert!(member.allocated() > len);
        }
        assert_eq!(Alias::NONE.bytes(), b"");
    }

    #[test]
    fn a_member_of_sixteen_bytes_takes_half_a_cache_line() {
        assert_eq!(Member::new(0.0, b"member:000000001").allocated(), 32);
        assert_eq!(Member::new(0.0, b"member1").allocated(), 16);
    }
}
