//! The bytes of a snapshot on their way out.
//!
//! ```text
//!   main   [ entry ][ entry ][ big entry, so far ...           ──> chunks ──> whoever writes the file
//!   aside                       [ entry ][ entry ]   goes behind the big entry once it is whole
//! ```
//!
//! An entry stands in one piece. While a big one is written step by step, others that are about to
//! change are written aside.
//!
//! ```text
//!   FE number                                       a database, where it is not that of the entry before
//!   FC milliseconds, i64 LE   F8 seconds   F9 uses  expiry; idle time, or frequency of use, if wanted
//!   type  key  value
//! ```

use crate::data::Entry;
use crate::rdb::output::Output;
use crate::rdb::{VERSION, VERSION_VALKEY, kind, save};
use std::collections::VecDeque;

const SELECT_DB: u8 = 0xfe;
const EXPIRES_AT: u8 = 0xfc;
const FREQUENCY: u8 = 0xf9;
const IDLE: u8 = 0xf8;

/// Bytes of a chunk, a little more or less.
const CHUNK: usize = 256 << 10;
/// What may come on top.
const CHUNK_SPARE: usize = 16 << 10;

/// How an entry was used, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    Unwanted,
    /// Seconds.
    Idle(u32),
    Frequency(u8),
}

#[derive(Default)]
struct Lane {
    /// Whole chunks.
    chunks: VecDeque<Vec<u8>>,
    /// Bytes of these.
    full: usize,
    /// The next chunk as far as it goes.
    open: Vec<u8>,
    /// The database of the last entry.
    selected: Option<usize>,
}

impl Lane {
    fn close(&mut self) {
        if !self.open.is_empty() {
            self.full += self.open.len();
            self.chunks.push_back(std::mem::take(&mut self.open));
        }
    }
}

pub(super) struct Lanes {
    out: Output,
    main: Lane,
    aside: Lane,
    /// Whether an entry in the main lane is not yet whole.
    parted: bool,
    /// All bytes that were ever written.
    pub(super) written: u64,
    /// The version of the format that is needed to read them.
    pub(super) version: u16,
}

impl Default for Lanes {
    fn default() -> Lanes {
        Lanes {
            out: Output::default(),
            main: Lane::default(),
            aside: Lane::default(),
            parted: false,
            written: 0,
            version: VERSION,
        }
    }
}

impl Lanes {
    pub(super) fn compress(&mut self, compress: bool) {
        self.out.uncompressed = !compress;
    }

    /// Writes an entry or its beginning; `value` writes the value and says whether that is all.
    pub(super) fn begin(
        &mut self,
        db: usize,
        entry: &Entry,
        usage: Usage,
        value: impl FnOnce(&mut Output) -> bool,
    ) -> bool {
        let lane = if self.parted { &mut self.aside } else { &mut self.main };
        let selects = lane.selected.replace(db) != Some(db);
        let kind = save::kind_of(&entry.value());
        if kind == kind::HASH_2 {
            self.version = self.version.max(VERSION_VALKEY);
        }
        let whole = self.write(self.parted, |out| {
            if selects {
                out.put_byte(SELECT_DB);
                out.put_len(db as u64);
            }
            if let Some(at) = entry.expire_at() {
                out.put_byte(EXPIRES_AT);
                out.put_i64(at);
            }
            match usage {
                Usage::Unwanted => {}
                Usage::Idle(seconds) => {
                    out.put_byte(IDLE);
                    out.put_len(seconds.into());
                }
                Usage::Frequency(uses) => out.put_bytes(&[FREQUENCY, uses]),
            }
            out.put_byte(kind);
            out.put_string(entry.key());
            value(out)
        });
        debug_assert!(whole || !self.parted, "what is written aside is written whole");
        self.parted |= !whole;
        whole
    }

    /// Writes more of the entry in the main lane that is not yet whole.
    pub(super) fn go_on(&mut self, value: impl FnOnce(&mut Output) -> bool) -> bool {
        debug_assert!(self.parted);
        let whole = self.write(false, value);
        if whole {
            self.parted = false;
            self.join();
        }
        whole
    }

    /// Whether an entry is not yet whole, so that others go aside.
    pub(super) fn is_parted(&self) -> bool {
        self.parted
    }

    fn write<T>(&mut self, aside: bool, write: impl FnOnce(&mut Output) -> T) -> T {
        let Lanes { out, main, aside: other, .. } = self;
        let lane = if aside { other } else { main };
        if lane.open.capacity() == 0 {
            lane.open.reserve(CHUNK + CHUNK_SPARE);
        }
        std::mem::swap(&mut out.bytes, &mut lane.open);
        let before = out.bytes.len();
        let result = write(out);
        self.written += (out.bytes.len() - before) as u64;
        std::mem::swap(&mut out.bytes, &mut lane.open);
        if lane.open.len() >= CHUNK {
            lane.close();
        }
        result
    }

    /// What was written aside goes behind what is now whole.
    fn join(&mut self) {
        let Lanes { main, aside, .. } = self;
        if let Some(selected) = aside.selected.take() {
            main.selected = Some(selected);
            main.close();
            main.full += std::mem::take(&mut aside.full);
            main.chunks.append(&mut aside.chunks);
            main.open = std::mem::take(&mut aside.open);
        }
    }

    /// The next bytes, as many as lie together.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let lane = &mut self.main;
        let chunk = lane.chunks.pop_front();
        lane.full -= chunk.as_ref().map_or(0, Vec::len);
        chunk.or_else(|| (!lane.open.is_empty()).then(|| std::mem::take(&mut lane.open)))
    }

    /// Bytes that wait to be taken; those aside, which cannot be yet, among them.
    pub(super) fn pending(&self) -> usize {
        [&self.main, &self.aside].iter().map(|lane| lane.full + lane.open.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(lanes: &mut Lanes, db: usize, key: &[u8], usage: Usage, whole: bool) {
        let entry = Entry::string(key, b"v", None);
        let is_whole = lanes.begin(db, &entry, usage, |out| {
            out.put_string(b"v");
            whole
        });
        assert_eq!(is_whole, whole);
    }

    fn taken(lanes: &mut Lanes) -> Vec<u8> {
        assert_eq!(lanes.pending() > 0, !lanes.main.open.is_empty() || lanes.main.full > 0);
        std::iter::from_fn(|| lanes.take()).flatten().collect()
    }

    #[test]
    fn entries_are_written_as_drawn() {
        let mut lanes = Lanes::default();
        put(&mut lanes, 0, b"a", Usage::Unwanted, true);
        put(&mut lanes, 0, b"b", Usage::Idle(70), true);
        let entry = Entry::string(b"12", b"v", Some(0x0102));
        lanes.begin(3, &entry, Usage::Frequency(7), |out| {
            out.put_string(b"v");
            true
        });
        let expected = [
            &b"\xfe\x00\x00\x01a\x01v"[..],
            b"\xf8\x40\x46\x00\x01b\x01v",
            b"\xfe\x03\xfc\x02\x01\0\0\0\0\0\0\xf9\x07\x00\xc0\x0c\x01v",
        ];
        assert_eq!(taken(&mut lanes), expected.concat());
        assert_eq!((lanes.written, lanes.pending()), (expected.concat().len() as u64, 0));
    }

    #[test]
    fn what_comes_while_an_entry_is_written_goes_behind_it() {
        let mut lanes = Lanes::default();
        put(&mut lanes, 1, b"big", Usage::Unwanted, false);
        assert_eq!(taken(&mut lanes), b"\xfe\x01\x00\x03big\x01v");
        put(&mut lanes, 1, b"a", Usage::Unwanted, true);
        put(&mut lanes, 2, b"b", Usage::Unwanted, true);
        assert!(lanes.is_parted() && lanes.take().is_none());
        assert!(!lanes.go_on(|out| {
            out.put_byte(b'1');
            false
        }));
        assert!(lanes.go_on(|out| {
            out.put_byte(b'2');
            true
        }));
        put(&mut lanes, 2, b"c", Usage::Unwanted, true);
        let expected = b"12\xfe\x01\x00\x01a\x01v\xfe\x02\x00\x01b\x01v\x00\x01c\x01v";
        assert_eq!(taken(&mut lanes), expected);
        // Nothing aside leaves the database as it was.
        put(&mut lanes, 2, b"big", Usage::Unwanted, false);
        lanes.go_on(|_| true);
        put(&mut lanes, 2, b"d", Usage::Unwanted, true);
        assert_eq!(taken(&mut lanes), b"\x00\x03big\x01v\x00\x01d\x01v");
    }

    #[test]
    fn chunks_come_in_their_order() {
        let mut lanes = Lanes::default();
        let mut all = Vec::new();
        for n in 0..200_000_u32 {
            put(&mut lanes, 0, &n.to_be_bytes(), Usage::Unwanted, true);
            if n % 70_000 == 0 {
                all.extend(lanes.take().unwrap());
            }
        }
        assert!(lanes.main.chunks.iter().all(|chunk| chunk.len() < CHUNK + CHUNK_SPARE));
        all.extend(taken(&mut lanes));
        assert_eq!(all.len() as u64, lanes.written);
        for (n, entry) in all[2..].chunks(8).enumerate() {
            assert_eq!(entry, [b"\x00\x04", &(n as u32).to_be_bytes()[..], b"\x01v"].concat());
        }
    }
}
