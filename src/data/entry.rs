//! One key with its value, expiry and access history: one allocation where it can be.
//!
//! ```text
//!   0        1        2                 4        5                          8
//!   +--------+--------+-----------------+--------+--------------------------+
//!   | bits   | class  | value length    | key    | access                   |   header
//!   |        |        | (embedded) u16  | length | 24 bits                  |
//!   +--------+--------+-----------------+--------+--------------------------+
//!   | expiry, i64 milliseconds                              if bit EXPIRES  |
//!   | i64 or Vec<u8> or Object                              unless Embedded |
//!   | key length, u32                                 if it is 255 or more  |
//!   | key                                                                   |
//!   | value bytes                                               if Embedded |
//!   +------------------------------------------------------------------------+
//!   bits    0-1 kind, 2 EXPIRES, 3 MODIFIED, 4 SNAPSHOT, 5 PARTS, 6-7 free
//!   class   size of the allocation (layout.rs)
//! ```
//!
//! So a key of 16 bytes with a value of 64 takes 88 bytes, 96 with an expiry. Collections are small
//! structures in the entry itself with their elements elsewhere, which saves a look at another line.
//!
//! Where the bytes of a string are stored says nothing about the encoding that OBJECT ENCODING
//! names: that follows Redis' rules (`int`, `embstr` up to 44 bytes, `raw` beyond that and after a
//! change in place).
//!
//! PARTS says that parts of the value may expire by themselves (the fields of a hash). An entry all
//! of whose parts have expired has itself expired.
//!
//! Invariants: `ptr` is an allocation of `class_size(class)` bytes, aligned to 8, laid out as
//! above, that this entry alone owns; the fixed part is initialised and of its kind.
//!
//! Absent: the meaning of the access bits and of "now" (the keyspace's business); persistence.

mod layout;
#[cfg(test)]
mod tests;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;

use super::number::{Decimal, MAX_DECIMAL_LEN, decimal_len, parse_i64};
use super::table::Keyed;
use super::value::{Encoding, Object, Type, ValueRef};
pub(super) use layout::rounded as allocation_size;
use layout::{HEADER, KEY_OFFSET, Kind, LONG_KEY, Shape};

/// Longer strings get an allocation of their own. With 200 to 500 bytes, a look-up that then reads
/// the value is a third faster if it is embedded, and bytes per key are about the same.
pub const MAX_EMBEDDED: usize = 512;
/// Longer strings are `raw`.
const MAX_EMBSTR: usize = 44;
/// Keys are at most as long as the protocol's longest string.
pub const MAX_KEY: usize = u32::MAX as usize;
/// Strings that grow in place double their room up to here, and then get so much at a time.
const MAX_SPARE: usize = 1 << 20;

const EXPIRES: u8 = 1 << 2;
const MODIFIED: u8 = 1 << 3;
const SNAPSHOT: u8 = 1 << 4;
const PARTS: u8 = 1 << 5;

#[repr(C, align(8))]
struct Header {
    bits: u8,
    class: u8,
    value_len: u16,
    key_len: u8,
    access: [u8; 3],
}

const _: () = {
    assert!(size_of::<Header>() == HEADER);
    assert!(size_of::<Option<Entry>>() == 8);
    assert!(align_of::<Vec<u8>>() <= 8 && size_of::<Vec<u8>>() == 24);
    assert!(align_of::<Object>() <= 8 && size_of::<Object>() <= 40);
    assert!(MAX_EMBEDDED <= u16::MAX as usize);
};

#[repr(transparent)]
pub struct Entry {
    ptr: NonNull<Header>,
}

// SAFETY: an entry owns its allocation and what it holds, all of which may go to another thread.
unsafe impl Send for Entry {}

/// A value on its way into an entry.
enum Payload<'a> {
    Int(i64),
    Embedded(&'a [u8]),
    Heap(Vec<u8>),
    Object(Object),
}

impl<'a> Payload<'a> {
    /// Redis' rule: what looks like an integer is one.
    #[inline]
    fn string(value: &'a [u8]) -> Self {
        if value.len() <= MAX_DECIMAL_LEN
            && let Some(int) = parse_i64(value)
        {
            return Self::Int(int);
        }
        Self::bytes(value)
    }

    #[inline]
    fn bytes(value: &'a [u8]) -> Self {
        if value.len() <= MAX_EMBEDDED { Self::Embedded(value) } else { Self::Heap(value.to_vec()) }
    }

    #[inline]
    fn kind(&self) -> Kind {
        match self {
            Self::Int(_) => Kind::Int,
            Self::Embedded(_) => Kind::Embedded,
            Self::Heap(_) => Kind::Heap,
            Self::Object(_) => Kind::Object,
        }
    }

    #[inline]
    fn embedded_len(&self) -> usize {
        if let Self::Embedded(bytes) = self { bytes.len() } else { 0 }
    }

    #[inline]
    fn has_expiring_parts(&self) -> bool {
        matches!(self, Self::Object(object) if object.has_expiring_parts())
    }
}

impl Entry {
    /// A string, stored as an integer if it is the canonical form of one.
    #[inline]
    pub fn string(key: &[u8], value: &[u8], expire_at: Option<i64>) -> Self {
        Self::build(key, Payload::string(value), expire_at)
    }

    /// A string that stays a string even if it looks like an integer (as INCRBYFLOAT leaves it).
    pub fn bytes(key: &[u8], value: &[u8], expire_at: Option<i64>) -> Self {
        Self::build(key, Payload::bytes(value), expire_at)
    }

    pub fn int(key: &[u8], value: i64, expire_at: Option<i64>) -> Self {
        Self::build(key, Payload::Int(value), expire_at)
    }

    pub fn object(key: &[u8], value: Box<Object>, expire_at: Option<i64>) -> Self {
        Self::build(key, Payload::Object(*value), expire_at)
    }

    #[inline]
    fn build(key: &[u8], payload: Payload<'_>, expire_at: Option<i64>) -> Self {
        let (kind, value_len) = (payload.kind(), payload.embedded_len());
        let shape = Shape::new(kind, expire_at.is_some(), key.len(), value_len);
        let class = layout::class_of(shape.total);
        let ptr = allocate(class);
        let key_len = if layout::is_long(key.len()) { LONG_KEY } else { key.len() as u8 };
        let bits = kind as u8
            | if expire_at.is_some() { EXPIRES } else { 0 }
            | if payload.has_expiring_parts() { PARTS } else { 0 };
        let header = Header { bits, class, value_len: value_len as u16, key_len, access: [0; 3] };
        // SAFETY: the allocation has room for all parts of this shape.
        unsafe {
            ptr.write(header);
            if key_len == LONG_KEY {
                let len = u32::try_from(key.len()).expect("keys are shorter than 4 GiB");
                ptr.byte_add(shape.long).cast::<u32>().write_unaligned(len);
            }
            let at = ptr.byte_add(shape.key).cast::<u8>().as_ptr();
            at.copy_from_nonoverlapping(key.as_ptr(), key.len());
        }
        let mut entry = Self { ptr };
        entry.write_expiry(expire_at);
        entry.write_payload(payload, shape);
        entry
    }

    #[inline(always)]
    fn header(&self) -> &Header {
        // SAFETY: every entry starts with its header.
        unsafe { self.ptr.as_ref() }
    }

    #[inline(always)]
    fn header_mut(&mut self) -> &mut Header {
        // SAFETY: as for `header`, exclusively.
        unsafe { self.ptr.as_mut() }
    }

    #[inline(always)]
    fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset <= layout::class_size(self.header().class));
        // SAFETY: all callers take offsets from the entry's own shape, hence in the allocation.
        unsafe { self.ptr.byte_add(offset).cast() }
    }

    #[inline(always)]
    fn kind_bits(&self) -> Kind {
        Kind::from_bits(self.header().bits)
    }

    #[inline(always)]
    fn has(&self, bit: u8) -> bool {
        self.header().bits & bit != 0
    }

    #[inline]
    fn set(&mut self, bit: u8, on: bool) {
        let bits = &mut self.header_mut().bits;
        *bits = (*bits & !bit) | if on { bit } else { 0 };
    }

    /// Offset and length of the key.
    #[inline(always)]
    fn key_range(&self) -> (usize, usize) {
        let header = self.header();
        let bits = header.bits & (Kind::MASK | EXPIRES);
        let at = usize::from(KEY_OFFSET[usize::from(bits)]);
        if header.key_len != LONG_KEY {
            return (at, usize::from(header.key_len));
        }
        // SAFETY: a long key's length is in front of it.
        let len = unsafe { self.at(at).cast::<u32>().read_unaligned() };
        (at + size_of::<u32>(), len as usize)
    }

    fn shape(&self) -> Shape {
        let value_len = usize::from(self.header().value_len);
        Shape::new(self.kind_bits(), self.has(EXPIRES), self.key_range().1, value_len)
    }

    /// Where the fixed part is.
    #[inline(always)]
    fn fixed(&self) -> NonNull<u8> {
        self.at(HEADER + if self.has(EXPIRES) { layout::EXPIRY } else { 0 })
    }

    #[inline(always)]
    pub fn key(&self) -> &[u8] {
        let (at, len) = self.key_range();
        // SAFETY: the key is there, initialised when the entry was built.
        unsafe { NonNull::slice_from_raw_parts(self.at(at), len).as_ref() }
    }

    #[inline]
    pub fn value(&self) -> ValueRef<'_> {
        // SAFETY: the fixed part is of its kind.
        unsafe {
            match self.kind_bits() {
                Kind::Int => ValueRef::Int(self.fixed().cast::<i64>().read()),
                Kind::Embedded => ValueRef::Bytes(self.embedded()),
                Kind::Heap => ValueRef::Bytes(self.fixed().cast::<Vec<u8>>().as_ref()),
                Kind::Object => ValueRef::Object(self.fixed().cast::<Object>().as_ref()),
            }
        }
    }

    /// The embedded bytes; none if the value is not embedded.
    #[inline(always)]
    fn embedded(&self) -> &[u8] {
        let (at, len) = self.key_range();
        let bytes = self.at(at + len);
        let len = usize::from(self.header().value_len);
        // SAFETY: embedded bytes follow the key; `value_len` is 0 for all other kinds.
        unsafe { NonNull::slice_from_raw_parts(bytes, len).as_ref() }
    }

    pub fn kind(&self) -> Type {
        self.value().kind()
    }

    /// What OBJECT ENCODING says.
    pub fn encoding(&self) -> Encoding {
        match self.value() {
            ValueRef::Int(_) => Encoding::Int,
            ValueRef::Bytes(bytes) if self.has(MODIFIED) || bytes.len() > MAX_EMBSTR => {
                Encoding::Raw
            }
            ValueRef::Bytes(_) => Encoding::Embstr,
            ValueRef::Object(object) => object.encoding(),
        }
    }

    /// Bytes of memory of the entry and all that it owns.
    pub fn allocated(&self) -> usize {
        let own = layout::class_size(self.header().class);
        // SAFETY: the fixed part is of its kind.
        let behind = unsafe {
            match self.kind_bits() {
                Kind::Int | Kind::Embedded => 0,
                Kind::Heap => layout::rounded(self.fixed().cast::<Vec<u8>>().as_ref().capacity()),
                Kind::Object => self.fixed().cast::<Object>().as_ref().allocated(),
            }
        };
        own + behind
    }

    #[inline]
    pub fn expire_at(&self) -> Option<i64> {
        // SAFETY: with that bit, the expiry follows the header.
        self.has(EXPIRES).then(|| unsafe { self.at(HEADER).cast::<i64>().read() })
    }

    /// Whether the key is gone at `now`: its time is over, or that of all parts of its value.
    #[inline]
    pub fn is_expired(&self, now: i64) -> bool {
        self.header().bits & (EXPIRES | PARTS) != 0
            && (self.expire_at().is_some_and(|at| now > at)
                || self.has(PARTS) && self.has_lost_its_parts(now))
    }

    #[cold]
    fn has_lost_its_parts(&self, now: i64) -> bool {
        self.parts().and_then(Object::last_part_expiry).is_some_and(|at| now > at)
    }

    /// Whether parts of the value have expired and not yet gone.
    pub fn has_expired_parts(&self, now: i64) -> bool {
        self.parts().and_then(Object::next_part_expiry).is_some_and(|at| now > at)
    }

    /// The value if parts of it may expire.
    fn parts(&self) -> Option<&Object> {
        match self.value() {
            ValueRef::Object(object) if self.has(PARTS) => Some(object),
            _ => None,
        }
    }

    /// To be called when the value's parts may have got expiries or lost the last one.
    pub fn note_parts(&mut self) {
        let expire = matches!(self.value(), ValueRef::Object(o) if o.has_expiring_parts());
        self.set(PARTS, expire);
    }

    /// The 24 bits of access history (LRU clock or LFU counter).
    #[inline]
    pub fn access(&self) -> u32 {
        let [a, b, c] = self.header().access;
        u32::from_le_bytes([a, b, c, 0])
    }

    /// Keeps the low 24 bits.
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        let [a, b, c, _] = access.to_le_bytes();
        self.header_mut().access = [a, b, c];
    }

    /// One bit for the keyspace's use: which snapshot has this entry.
    pub fn snapshot_bit(&self) -> bool {
        self.has(SNAPSHOT)
    }

    pub fn set_snapshot_bit(&mut self, on: bool) {
        self.set(SNAPSHOT, on);
    }

    #[inline]
    pub fn set_expire(&mut self, expire_at: Option<i64>) {
        if expire_at.is_some() != self.has(EXPIRES) {
            let value_len = usize::from(self.header().value_len);
            self.relayout(self.kind_bits(), value_len, value_len, expire_at.is_some());
        }
        self.write_expiry(expire_at);
    }

    /// Replaces the value by a string as [`Self::string`] stores it; the expiry stays.
    #[inline]
    pub fn set_string(&mut self, value: &[u8]) {
        self.assign(value, self.expire_at());
    }

    /// Replaces value and expiry at once, as SET does.
    #[inline]
    pub fn assign(&mut self, value: &[u8], expire_at: Option<i64>) {
        if value.len() > MAX_EMBEDDED
            && let Some(vec) = self.heap_mut()
            && value.len() <= vec.capacity()
            && value.len() >= vec.capacity() / 4 * 3
        {
            vec.clear();
            vec.extend_from_slice(value);
            self.set(MODIFIED, false);
            self.set_expire(expire_at);
            return;
        }
        self.replace(Payload::string(value), expire_at);
    }

    /// Replaces the value by bytes, even if they look like an integer; the expiry stays.
    pub fn set_bytes(&mut self, value: &[u8]) {
        self.replace(Payload::bytes(value), self.expire_at());
    }

    /// Replaces the value by an integer; the expiry stays.
    #[inline]
    pub fn set_int(&mut self, value: i64) {
        if self.kind_bits() == Kind::Int {
            // SAFETY: the fixed part is an integer.
            unsafe { self.fixed().cast::<i64>().write(value) }
        } else {
            self.replace(Payload::Int(value), self.expire_at());
        }
    }

    /// The string's bytes, for changes that keep their number. As after every change in
    /// place, the encoding is `raw` from now on, also if it was an integer.
    ///
    /// # Panics
    /// This and the other changes in place: if the value is not a string.
    pub fn make_mut_slice(&mut self) -> &mut [u8] {
        self.grow(0)
    }

    /// The string's bytes for changing, after zeros have been added up to a length of `len`.
    pub fn grow(&mut self, len: usize) -> &mut [u8] {
        let present = self.make_bytes();
        let embedded = self.kind_bits() == Kind::Embedded;
        if embedded && len.max(present) <= MAX_EMBEDDED {
            let len = len.max(present);
            let expire_at = self.expire_at();
            self.relayout(Kind::Embedded, len, present, expire_at.is_some());
            self.write_expiry(expire_at);
            let (at, key_len) = self.key_range();
            let bytes = self.at(at + key_len);
            // SAFETY: the block has room for `len` bytes of value; the first `present` ones are
            // initialised, and the others before the slice is made.
            return unsafe {
                bytes.add(present).write_bytes(0, len - present);
                NonNull::slice_from_raw_parts(bytes, len).as_mut()
            };
        }
        let vec = self.bytes_mut();
        if len > vec.len() {
            let more = len - vec.len();
            if len > vec.capacity() {
                // What is made at once is not known to grow further.
                let spare = if vec.is_empty() { 0 } else { len.min(MAX_SPARE) };
                vec.reserve_exact(more + spare);
            }
            vec.resize(len, 0);
        }
        vec
    }

    /// Adds bytes at the end; gives the new length.
    pub fn append(&mut self, more: &[u8]) -> usize {
        let present = self.string_len();
        let len = present + more.len();
        self.grow(len)[present..].copy_from_slice(more);
        len
    }

    /// The string as a vector of its own, which it becomes if it was not.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        self.make_bytes();
        if self.kind_bits() == Kind::Embedded {
            let vec = self.embedded().to_vec();
            self.replace(Payload::Heap(vec), self.expire_at());
            self.set(MODIFIED, true);
        }
        self.heap_mut().expect("only strings are changed in place, and this one is on the heap")
    }

    /// Bytes of a string, elements of anything else.
    pub fn size(&self) -> usize {
        match self.value() {
            ValueRef::Object(object) => object.len(),
            _ => self.string_len(),
        }
    }

    /// Length of the string that the value is.
    pub fn string_len(&self) -> usize {
        match self.value() {
            ValueRef::Int(int) => decimal_len(int),
            ValueRef::Bytes(bytes) => bytes.len(),
            ValueRef::Object(_) => 0,
        }
    }

    /// The value if it is not a string.
    pub fn object_mut(&mut self) -> Option<&mut Object> {
        // SAFETY: the fixed part is of its kind.
        (self.kind_bits() == Kind::Object)
            .then(|| unsafe { self.fixed().cast::<Object>().as_mut() })
    }

    /// Takes the value out if it is not a string, and leaves a number in its place.
    pub fn take_object(&mut self) -> Option<Box<Object>> {
        if self.kind_bits() != Kind::Object {
            return None;
        }
        // SAFETY: the fixed part is of its kind. The object moves out: `replace_taken` makes the
        // entry one of another kind before anything can use or drop it.
        let object = Box::new(unsafe { self.fixed().cast::<Object>().read() });
        self.replace_taken(Payload::Int(0), self.expire_at());
        Some(object)
    }

    /// The same value and expiry under another key, as RENAME needs it: nothing big is copied.
    /// The snapshot bit is not taken along.
    pub fn with_key(self, key: &[u8]) -> Self {
        let old = std::mem::ManuallyDrop::new(self);
        // SAFETY: the fixed part is of its kind; it moves, since `old` is not dropped.
        let payload = unsafe {
            match old.kind_bits() {
                Kind::Heap => Payload::Heap(old.fixed().cast::<Vec<u8>>().read()),
                Kind::Object => Payload::Object(old.fixed().cast::<Object>().read()),
                Kind::Int | Kind::Embedded => old.clone_payload(),
            }
        };
        let new = Self::build(key, payload, old.expire_at()).with_history_of(&old);
        // SAFETY: the allocation of `old`, which nothing uses any more.
        unsafe { free(old.ptr, old.header().class) }
        new
    }

    /// A copy under another key, as COPY needs it. The snapshot bit is not taken along.
    pub fn copy_with_key(&self, key: &[u8]) -> Self {
        Self::build(key, self.clone_payload(), self.expire_at()).with_history_of(self)
    }

    fn with_history_of(mut self, other: &Self) -> Self {
        self.header_mut().access = other.header().access;
        self.set(MODIFIED, other.has(MODIFIED));
        self
    }

    fn clone_payload(&self) -> Payload<'_> {
        match self.value() {
            ValueRef::Int(int) => Payload::Int(int),
            ValueRef::Bytes(bytes) if self.kind_bits() == Kind::Heap => {
                Payload::Heap(bytes.to_vec())
            }
            ValueRef::Bytes(bytes) => Payload::Embedded(bytes),
            ValueRef::Object(object) => Payload::Object(*object.duplicate()),
        }
    }

    fn heap_mut(&mut self) -> Option<&mut Vec<u8>> {
        // SAFETY: the fixed part is of its kind.
        (self.kind_bits() == Kind::Heap).then(|| unsafe { self.fixed().cast::<Vec<u8>>().as_mut() })
    }

    /// Makes a string that is an integer one of bytes and marks it changed; gives its length.
    fn make_bytes(&mut self) -> usize {
        if let ValueRef::Int(int) = self.value() {
            self.replace(Payload::Embedded(&Decimal::new(int)), self.expire_at());
        }
        self.set(MODIFIED, true);
        self.string_len()
    }

    /// Puts a value in place of the present one.
    #[inline]
    fn replace(&mut self, payload: Payload<'_>, expire_at: Option<i64>) {
        self.drop_payload();
        self.replace_taken(payload, expire_at);
    }

    /// As [`Self::replace`], once what the fixed part owned has been dropped or moved out.
    #[inline]
    fn replace_taken(&mut self, payload: Payload<'_>, expire_at: Option<i64>) {
        let value_len = payload.embedded_len();
        let shape = self.relayout(payload.kind(), value_len, 0, expire_at.is_some());
        self.set(MODIFIED, false);
        self.set(PARTS, payload.has_expiring_parts());
        self.write_expiry(expire_at);
        self.write_payload(payload, shape);
    }

    /// Drops what the fixed part owns. It must be written again, or the entry freed, before
    /// anything can panic.
    #[inline]
    fn drop_payload(&mut self) {
        // SAFETY: the fixed part is of its kind and not used again (see above).
        unsafe {
            match self.kind_bits() {
                Kind::Int | Kind::Embedded => {}
                Kind::Heap => self.fixed().cast::<Vec<u8>>().drop_in_place(),
                Kind::Object => self.fixed().cast::<Object>().drop_in_place(),
            }
        }
    }

    /// Changes kind, value length and whether there is an expiry; moves the key, the first `keep`
    /// embedded bytes and, if the kind stays, the fixed part to their new places, in a new
    /// allocation if the present one does not fit. The caller then writes what is new: the
    /// expiry (always), the fixed part, the embedded bytes.
    #[inline]
    fn relayout(&mut self, kind: Kind, value_len: usize, keep: usize, expires: bool) -> Shape {
        let from = self.shape();
        let to = Shape::new(kind, expires, from.data - from.key, value_len);
        let whole = kind == self.kind_bits();
        let (source, target) = if whole { (from.fixed, to.fixed) } else { (from.long, to.long) };
        let len = from.data + keep - source;
        debug_assert!(target + len <= to.total);
        let class = self.header().class;
        if !layout::fits(class, to.total) {
            self.move_to(layout::class_of(to.total), source, target, len);
        } else if source != target {
            // SAFETY: source + len is within the old shape and target + len within the new one,
            // both of which fit in the allocation.
            unsafe { self.at(target).copy_from(self.at(source), len) }
        }
        let header = self.header_mut();
        let kept = header.bits & !(Kind::MASK | EXPIRES);
        header.bits = kept | kind as u8 | if expires { EXPIRES } else { 0 };
        header.value_len = value_len as u16;
        to
    }

    /// Moves the header and `len` bytes at `source` to a new allocation, the bytes to `target`.
    fn move_to(&mut self, class: u8, source: usize, target: usize, len: usize) {
        let ptr = allocate(class);
        // SAFETY: the old allocation has `source + len` bytes and the new one, as its class is
        // that of the new shape, `target + len`; the old one is not used again.
        unsafe {
            ptr.copy_from_nonoverlapping(self.ptr, 1);
            let bytes = ptr.byte_add(target).cast::<u8>();
            bytes.copy_from_nonoverlapping(self.at(source), len);
            free(self.ptr, self.header().class);
        }
        self.ptr = ptr;
        self.header_mut().class = class;
    }

    #[inline]
    fn write_expiry(&mut self, expire_at: Option<i64>) {
        if let Some(expire_at) = expire_at {
            debug_assert!(self.has(EXPIRES));
            // SAFETY: the layout has room for it behind the header.
            unsafe { self.at(HEADER).cast::<i64>().write(expire_at) }
        }
    }

    #[inline]
    fn write_payload(&mut self, payload: Payload<'_>, shape: Shape) {
        let fixed = self.at(shape.fixed);
        // SAFETY: the allocation has this shape, whose fixed part is of the payload's kind.
        unsafe {
            match payload {
                Payload::Int(int) => fixed.cast::<i64>().write(int),
                Payload::Heap(vec) => fixed.cast::<Vec<u8>>().write(vec),
                Payload::Object(object) => fixed.cast::<Object>().write(object),
                Payload::Embedded(bytes) => {
                    let to = self.at(shape.data).as_ptr();
                    to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                }
            }
        }
    }
}

impl Clone for Entry {
    fn clone(&self) -> Self {
        self.copy_with_key(self.key())
    }
}

impl Drop for Entry {
    #[inline]
    fn drop(&mut self) {
        self.drop_payload();
        // SAFETY: the entry's own allocation, which nothing uses any more.
        unsafe { free(self.ptr, self.header().class) }
    }
}

impl Keyed for Entry {
    #[inline(always)]
    fn key(&self) -> &[u8] {
        Entry::key(self)
    }

    #[inline(always)]
    fn address(&self) -> *const u8 {
        self.ptr.as_ptr().cast()
    }

    #[inline(always)]
    fn marked(&self) -> bool {
        self.header().bits & (EXPIRES | PARTS) != 0
    }

    #[inline(always)]
    fn marked_in_part(&self) -> bool {
        self.header().bits & (EXPIRES | PARTS) == PARTS
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key().escape_ascii().to_string())
            .field("value", &self.value())
            .field("encoding", &self.encoding())
            .field("expire_at", &self.expire_at())
            .finish()
    }
}

#[inline]
fn memory(class: u8) -> Layout {
    Layout::from_size_align(layout::class_size(class), align_of::<Header>())
        .expect("a class of an allocation that exists or of a request within the address space")
}

#[inline]
fn allocate(class: u8) -> NonNull<Header> {
    let memory = memory(class);
    // SAFETY: no class has size 0.
    let block = unsafe { alloc(memory) };
    NonNull::new(block.cast()).unwrap_or_else(|| handle_alloc_error(memory))
}

/// # Safety
/// `block` comes from `allocate(class)` and is not used again.
#[inline]
unsafe fn free(block: NonNull<Header>, class: u8) {
    // SAFETY: as the caller promises.
    unsafe { dealloc(block.as_ptr().cast(), memory(class)) }
}
