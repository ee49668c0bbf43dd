//! One field of a big hash: its record (see `record.rs`) in an allocation of its own.
//!
//! A pointer and nothing else, so that it fits a slot of the hash table. The size of the
//! allocation is not stored: it is always what [`allocation`] says of the record's length.
//!
//! Invariant, on which every `unsafe` block here stands: `ptr` is an allocation of
//! `allocation(total)` bytes that this field alone owns; its first `total` bytes are an
//! initialised record of that length.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;

use super::record::{Draft, FIRST, FieldValue, Head, head_len};
use crate::data::entry::allocation_size;
use crate::data::table::Keyed;

pub(super) struct Field {
    ptr: NonNull<u8>,
}

const _: () = assert!(size_of::<Option<Field>>() == 8);

// SAFETY: a field owns its allocation, which is plain bytes.
unsafe impl Send for Field {}

/// Bytes to ask for: the allocator's own sizes, of which the smallest is 8.
#[inline]
fn allocation(total: usize) -> usize {
    if total <= 8 { 8 } else { allocation_size(total) }
}

#[inline]
fn layout(total: usize) -> Layout {
    Layout::from_size_align(allocation(total), 1).expect("a record within the address space")
}

impl Field {
    #[inline]
    pub(super) fn new(draft: &Draft) -> Self {
        let layout = layout(draft.total());
        // SAFETY: the size is not 0.
        let block = unsafe { alloc(layout) };
        let ptr = NonNull::new(block).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: the allocation is for a record of this draft's length.
        unsafe { write(ptr, draft) }
        Self { ptr }
    }

    /// Becomes the record of another draft, in the same memory if that is of the right size.
    #[inline]
    pub(super) fn assign(&mut self, draft: &Draft) {
        if allocation(self.head().total()) != allocation(draft.total()) {
            *self = Self::new(draft);
            return;
        }
        // SAFETY: the allocation is as large as one for this draft. The draft borrows nothing
        // from it, as this field is borrowed exclusively.
        unsafe { write(self.ptr, draft) }
    }

    /// Sets or takes away the expiry.
    pub(super) fn set_expire(&mut self, at: Option<i64>) {
        let new = Self::new(&Draft::new(self.key(), self.value(), at));
        *self = new;
    }

    #[inline(always)]
    fn head(&self) -> Head {
        // SAFETY: a record has `FIRST` bytes at least, which tell how many its head has.
        unsafe {
            let first = self.ptr.cast::<[u8; FIRST]>().read();
            Head::read(NonNull::slice_from_raw_parts(self.ptr, head_len(first)).as_ref())
        }
    }

    #[inline(always)]
    fn bytes(&self, head: Head) -> &[u8] {
        // SAFETY: `head` is this record's, whose bytes are all initialised.
        unsafe { NonNull::slice_from_raw_parts(self.ptr, head.total()).as_ref() }
    }

    #[inline(always)]
    pub(super) fn value(&self) -> FieldValue<'_> {
        let head = self.head();
        head.value(self.bytes(head))
    }

    #[inline(always)]
    pub(super) fn expire_at(&self) -> Option<i64> {
        let head = self.head();
        head.expire_at(self.bytes(head))
    }

    /// Field and value, unless the field has expired.
    #[inline]
    pub(super) fn live(&self, now: i64) -> Option<(&[u8], FieldValue<'_>)> {
        let head = self.head();
        let bytes = self.bytes(head);
        let live = head.expire_at(bytes).is_none_or(|at| now <= at);
        live.then(|| (head.field(bytes), head.value(bytes)))
    }

    /// Bytes of memory of the allocation.
    #[inline]
    pub(super) fn allocated(&self) -> usize {
        allocation(self.head().total())
    }
}

/// # Safety
/// `to` has room for as many bytes as the draft has in all, exclusively the caller's, and the
/// draft borrows none of them.
#[inline]
unsafe fn write(to: NonNull<u8>, draft: &Draft) {
    let mut at = to;
    for part in draft.parts() {
        // SAFETY: the parts together are as long as the draft; the rest the caller promises.
        unsafe {
            at.as_ptr().copy_from_nonoverlapping(part.as_ptr(), part.len());
            at = at.add(part.len());
        }
    }
}

impl Clone for Field {
    fn clone(&self) -> Self {
        Self::new(&Draft::new(self.key(), self.value(), self.expire_at()))
    }
}

impl Drop for Field {
    #[inline]
    fn drop(&mut self) {
        let layout = layout(self.head().total());
        // SAFETY: the field's own allocation, asked for with this layout and not used again.
        unsafe { dealloc(self.ptr.as_ptr(), layout) }
    }
}

impl Keyed for Field {
    #[inline(always)]
    fn key(&self) -> &[u8] {
        let head = self.head();
        head.field(self.bytes(head))
    }

    #[inline(always)]
    fn address(&self) -> *const u8 {
        self.ptr.as_ptr()
    }

    #[inline(always)]
    fn marked(&self) -> bool {
        // SAFETY: a record's first byte.
        let first = unsafe { self.ptr.cast::<[u8; FIRST]>().read() };
        super::record::expires(first)
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field")
            .field("key", &self.key().escape_ascii().to_string())
            .field("value", &self.value())
            .field("expire_at", &self.expire_at())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(key: &[u8], value: &[u8], at: Option<i64>) -> Field {
        Field::new(&Draft::new(key, FieldValue::of(value), at))
    }

    #[test]
    fn a_field_takes_what_its_record_needs() {
        assert_eq!(field(b"a", b"1", None).allocated(), 8);
        assert_eq!(field(&[b'f'; 15], &[b'v'; 15], None).allocated(), 32);
        assert_eq!(field(&[b'f'; 15], &[b'v'; 16], None).allocated(), 48);
        assert_eq!(field(b"at", b"1700000000", Some(7)).allocated(), 16);
        let big = field(&[b'f'; 200], &[b'v'; 100_000], Some(7));
        assert_eq!((big.key().len(), big.expire_at()), (200, Some(7)));
        assert_eq!(big.value(), FieldValue::Bytes(&[b'v'; 100_000]));
    }

    #[test]
    fn values_and_expiries_change_in_place_and_out_of_it() {
        let mut one = field(b"key", b"12", None);
        let address = one.address();
        one.assign(&Draft::new(b"key", FieldValue::of(b"99"), None));
        assert_eq!((one.address(), one.value()), (address, FieldValue::Int(99)));
        for value in [&b"a longer value"[..], b"", b"short", &[b'v'; 300], b"-1"] {
            one.assign(&Draft::new(b"key", FieldValue::of(value), None));
            assert_eq!((one.key(), one.value()), (&b"key"[..], FieldValue::of(value)));
            assert!(!one.marked());
            one.set_expire(Some(5));
            assert!(one.marked());
            assert_eq!((one.expire_at(), one.value()), (Some(5), FieldValue::of(value)));
            assert_eq!(one.live(5), Some((&b"key"[..], FieldValue::of(value))));
            assert_eq!(one.live(6), None);
            let copy = one.clone();
            one.set_expire(None);
            assert_eq!((copy.expire_at(), one.expire_at()), (Some(5), None));
        }
    }
}
