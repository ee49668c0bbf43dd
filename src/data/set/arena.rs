//! Where the members of a big set are stored: packed into chunks, byte by byte.
//!
//! ```text
//!   Member    8 bytes in a slot of the table; its top byte says what it is:
//!               0x80 + n   the member itself, n of at most 7 bytes
//!               0x00       address of a block in a chunk
//!               0x40       address of a block with an allocation of its own
//!
//!   chunk     2048 bytes, aligned to its size, so that a block's address tells its chunk
//!             +------+------+------+------+-------------------------------+------------+
//!             | prev | next | used | live | block block block ...         |            |
//!             |  8   |  8   |  2   |  2   |                               | not used   |
//!             +------+------+------+------+-------------------------------+------------+
//!   block     | dead 1 bit, long 1 bit, length 6 bits | length >> 6, if long | bytes |
//!   own       | length 4 bytes | bytes |
//! ```
//!
//! Blocks are added behind one another in the first chunk. A removed one is only marked dead. A
//! chunk of which less than half is alive is *sparse*: its live blocks are to move to the first
//! chunk, and then it goes. There is at least one removed byte for each byte moved, so that costs
//! no more than the removals did; and no more than two chunks are moved for one of them.
//!
//! Invariants, on which every `unsafe` block here stands:
//!
//! 1. the chunks are a doubly linked list from `first`, each an allocation of [`CHUNK`] bytes
//!    aligned to as many, with whole blocks from [`START`] up to `used`;
//! 2. `live` is the sum of the sizes of the blocks that are not dead, and for each of these there
//!    is one [`Member`] in use (plus, while it moves, the one that takes its place);
//! 3. a member with an allocation of its own owns it; one in a chunk is used only while the arena
//!    lives, has not been [released](Arena::release), and its chunk has not been emptied.
//!
//! Deliberately absent: free lists. They would need sizes to be rounded, and a set that has become
//! small would keep the memory of a big one.

use crate::data::entry::allocation_size;
use crate::data::table::Keyed;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

const CHUNK: usize = 2048;
/// Longer members have an allocation of their own. At most that much is lost at a chunk's end.
const BLOCK_MAX: usize = 254;
const INLINE_MAX: usize = 7;
/// Less alive than this, and a chunk is sparse.
const LIVE_MIN: u16 = ((CHUNK - START) / 2) as u16;

const INLINE: usize = 0x80 << 56;
const OWN: usize = 0x40 << 56;
const TOP_BYTE: usize = 0xff << 56;

const DEAD: u8 = 0x80;
const LONG: u8 = 0x40;
const SHORT_MAX: usize = 63;
const OWN_HEADER: usize = size_of::<u32>();

#[repr(C)]
struct Chunk {
    prev: Link,
    next: Link,
    used: u16,
    live: u16,
}

type Link = Option<NonNull<Chunk>>;

/// The first block follows the last field at once.
const START: usize = std::mem::offset_of!(Chunk, live) + size_of::<u16>();

const _: () = {
    assert!(cfg!(target_endian = "little"), "a member's last byte is the top byte of a number");
    assert!(size_of::<Member>() == 8 && size_of::<usize>() == 8);
    assert!(CHUNK <= u16::MAX as usize && BLOCK_MAX < (LONG as usize) << 8);
};

/// One member of a set: short ones are stored in it, others it points to.
#[repr(transparent)]
pub(super) struct Member(*mut u8);

// SAFETY: a member is a value or an address of memory that belongs to its set, with which it goes
// to another thread.
unsafe impl Send for Member {}

impl Member {
    fn inline(bytes: &[u8]) -> Member {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        let word = usize::from_le_bytes(word) | INLINE | bytes.len() << 56;
        Member(ptr::without_provenance_mut(word))
    }

    fn own(bytes: &[u8]) -> Member {
        let layout = own_layout(bytes.len());
        let len = u32::try_from(bytes.len()).expect("an argument is shorter than 4 GiB");
        // SAFETY: the size is not 0; the block has room for the header and the bytes.
        let block = unsafe {
            let block = alloc(layout);
            if block.is_null() {
                handle_alloc_error(layout);
            }
            block.cast::<u32>().write_unaligned(len);
            block.add(OWN_HEADER).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            block
        };
        Member(tagged(block, OWN))
    }

    fn is_inline(&self) -> bool {
        self.0.addr() & INLINE != 0
    }

    fn is_own(&self) -> bool {
        self.0.addr() & (INLINE | OWN) == OWN
    }

    /// The address of the block, if there is one.
    fn block(&self) -> *mut u8 {
        self.0.map_addr(|address| address & !TOP_BYTE)
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        if self.is_inline() {
            let len = (self.0.addr() >> 56) & INLINE_MAX;
            // SAFETY: the low bytes of the word are the member's, and `len` is at most 7.
            return unsafe { std::slice::from_raw_parts((&raw const self.0).cast(), len) };
        }
        let block = self.block();
        // SAFETY: invariant 3: the block is there, and nothing writes to it but the dead mark, of
        // which there is none while the member is borrowed.
        unsafe {
            if self.is_own() {
                let len = block.cast::<u32>().read_unaligned() as usize;
                return std::slice::from_raw_parts(block.add(OWN_HEADER), len);
            }
            let (header, len) = header_of(block);
            std::slice::from_raw_parts(block.add(header), len)
        }
    }
}

impl Keyed for Member {
    #[inline]
    fn key(&self) -> &[u8] {
        self.bytes()
    }

    fn address(&self) -> *const u8 {
        self.block()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.is_own() {
            let layout = own_layout(self.bytes().len());
            // SAFETY: allocated by `own` with this layout, and not used again.
            unsafe { dealloc(self.block(), layout) }
        }
    }
}

fn own_layout(len: usize) -> Layout {
    Layout::array::<u8>(OWN_HEADER + len).expect("the length of bytes that exist, and a header")
}

fn tagged(block: *mut u8, tag: usize) -> *mut u8 {
    assert!(block.addr() & TOP_BYTE == 0, "addresses of a process leave the top byte free");
    block.map_addr(|address| address | tag)
}

/// The sizes of a block's header and of its bytes.
///
/// # Safety
/// `block` is a block in a chunk.
#[inline]
unsafe fn header_of(block: *const u8) -> (usize, usize) {
    // SAFETY: a block has its header.
    unsafe {
        let first = *block;
        let low = usize::from(first & SHORT_MAX as u8);
        match first & LONG {
            0 => (1, low),
            _ => (2, low | usize::from(*block.add(1)) << 6),
        }
    }
}

/// A chunk whose live blocks are to move.
struct Sparse(NonNull<Chunk>);

/// The memory of the members of one set.
pub(super) struct Arena {
    first: Link,
    sparse: Option<Sparse>,
    chunks: usize,
    /// Bytes of allocations of members' own.
    own: usize,
}

// SAFETY: the arena owns its chunks as a Vec does.
unsafe impl Send for Arena {}

impl Arena {
    pub(super) const fn new() -> Arena {
        Arena { first: None, sparse: None, chunks: 0, own: 0 }
    }

    /// Bytes allocated.
    pub(super) fn memory(&self) -> usize {
        self.chunks * CHUNK + self.own
    }

    /// Stores a member. [`Arena::settle`] is due.
    pub(super) fn store(&mut self, bytes: &[u8]) -> Member {
        match bytes.len() {
            0..=INLINE_MAX => Member::inline(bytes),
            len @ ..=BLOCK_MAX => {
                let header = if len <= SHORT_MAX { 1 } else { 2 };
                let block = self.room(header + len);
                // SAFETY: room for header and bytes, which nobody else knows of yet.
                unsafe {
                    *block = (len & SHORT_MAX) as u8;
                    if header == 2 {
                        *block |= LONG;
                        *block.add(1) = (len >> 6) as u8;
                    }
                    block.add(header).copy_from_nonoverlapping(bytes.as_ptr(), len);
                }
                Member(tagged(block, 0))
            }
            len => {
                self.own += allocation_size(OWN_HEADER + len);
                Member::own(bytes)
            }
        }
    }

    /// Gives up a member that no table has any more. [`Arena::settle`] is due.
    ///
    /// # Safety
    /// The member was stored in this arena.
    pub(super) unsafe fn release(&mut self, member: Member) {
        if member.is_own() {
            self.own -= allocation_size(OWN_HEADER + member.bytes().len());
            return;
        }
        if member.is_inline() {
            return;
        }
        let block = member.block();
        let chunk = block.map_addr(|address| address & !(CHUNK - 1)).cast::<Chunk>();
        // SAFETY: the block is alive in a chunk of this arena (caller), which is aligned to its
        // size; nobody borrows the member, which was given up.
        let (chunk, live) = unsafe {
            let (header, len) = header_of(block);
            *block |= DEAD;
            (*chunk).live -= (header + len) as u16;
            (NonNull::new_unchecked(chunk), (*chunk).live)
        };
        if self.first == Some(chunk) {
            if live == 0 {
                // SAFETY: a chunk of ours in which nothing is alive: from its start again.
                unsafe { (*chunk.as_ptr()).used = START as u16 }
            }
        } else if live < LIVE_MIN {
            debug_assert!(self.sparse.is_none(), "settled after every change");
            self.sparse = Some(Sparse(chunk));
        }
    }

    /// Moves what is left in sparse chunks; `moved` puts each new member in the old one's place.
    pub(super) fn settle(&mut self, mut moved: impl FnMut(Member)) {
        while let Some(Sparse(chunk)) = self.sparse.take() {
            let mut at = START;
            // SAFETY: a chunk of ours, which is not the first, so that storing does not touch it;
            // `at` goes from block to block up to its end.
            unsafe {
                while at < usize::from((*chunk.as_ptr()).used) {
                    let block = chunk.as_ptr().cast::<u8>().add(at);
                    let (header, len) = header_of(block);
                    if *block & DEAD == 0 {
                        moved(self.store(std::slice::from_raw_parts(block.add(header), len)));
                    }
                    at += header + len;
                }
            }
            // SAFETY: nobody refers to its blocks any more.
            unsafe { self.free(chunk) }
        }
    }

    /// Frees up to `max` chunks; `true` when none is left.
    ///
    /// # Safety
    /// There are no members any more.
    pub(super) unsafe fn clear_step(&mut self, max: usize) -> bool {
        self.sparse = None;
        self.own = 0;
        for _ in 0..max {
            let Some(chunk) = self.first else { break };
            // SAFETY: a chunk of ours; there are no members any more (caller).
            unsafe { self.free(chunk) }
        }
        self.first.is_none()
    }

    /// Room for a block of `size` bytes, which counts as alive.
    fn room(&mut self, size: usize) -> *mut u8 {
        let fits = |chunk: &NonNull<Chunk>| {
            // SAFETY: a chunk of ours.
            usize::from(unsafe { (*chunk.as_ptr()).used }) + size <= CHUNK
        };
        let chunk = match self.first.filter(fits) {
            Some(chunk) => chunk,
            None => self.add(),
        };
        // SAFETY: a chunk of ours with room for the block behind `used`.
        unsafe {
            let block = chunk.as_ptr().cast::<u8>().add(usize::from((*chunk.as_ptr()).used));
            (*chunk.as_ptr()).used += size as u16;
            (*chunk.as_ptr()).live += size as u16;
            block
        }
    }

    /// Puts a new chunk in front of the others; the one that was there may turn out sparse.
    fn add(&mut self) -> NonNull<Chunk> {
        // SAFETY: the size is not 0.
        let chunk = unsafe { alloc(chunk_layout()) }.cast();
        let Some(chunk) = NonNull::new(chunk) else { handle_alloc_error(chunk_layout()) };
        let new = Chunk { prev: None, next: self.first, used: START as u16, live: 0 };
        // SAFETY: the chunk has room for its head, which is longer than START by padding only.
        unsafe { chunk.write(new) }
        if let Some(old) = self.first.replace(chunk) {
            // SAFETY: a chunk of ours.
            unsafe {
                (*old.as_ptr()).prev = Some(chunk);
                if (*old.as_ptr()).live < LIVE_MIN {
                    debug_assert!(self.sparse.is_none(), "a new chunk has room for a sparse one");
                    self.sparse = Some(Sparse(old));
                }
            }
        }
        self.chunks += 1;
        chunk
    }

    /// # Safety
    /// A chunk of ours whose blocks nobody refers to any more.
    unsafe fn free(&mut self, chunk: NonNull<Chunk>) {
        // SAFETY: ours (caller), and so are its neighbours in the list.
        unsafe {
            let Chunk { prev, next, .. } = chunk.read();
            match prev {
                Some(prev) => (*prev.as_ptr()).next = next,
                None => self.first = next,
            }
            if let Some(next) = next {
                (*next.as_ptr()).prev = prev;
            }
            dealloc(chunk.as_ptr().cast(), chunk_layout());
        }
        self.chunks -= 1;
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the table has gone before the arena, and its members with it.
        unsafe { self.clear_step(usize::MAX) };
    }
}

fn chunk_layout() -> Layout {
    Layout::from_size_align(CHUNK, CHUNK).expect("a power of two")
}
