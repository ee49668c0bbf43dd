//! Redis' format of values on disk and in DUMP payloads, both ways.
//!
//! ```text
//!   RDB file       ... [ type ][ key ][ value ] ...                               file.rs, writer.rs
//!   DUMP payload       [ type ][ value ][ version, u16 LE ][ CRC64 of all before, u64 LE ]
//!                      `---- this room ----'`------------- dump.rs ----------------------'
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | [`crc64`], [`lzf`] | the checksum; the compression |
//! | [`output`], [`input`] | lengths, strings, integers, doubles: the words of which values are made |
//! | [`listpack`], [`legacy`] | packed collections of today, and of before Redis 7: ziplist, zipmap, intset |
//! | [`load`] | from any type that Redis up to 8.0 or Valkey up to 9.1 writes to a value |
//! | [`save`] | from a value to what Redis 7.2 writes, in steps of a bounded size |
//! | [`dump`] | the footer of a DUMP payload |
//! | [`file`], [`buffered`] | whole files, read item by item; the buffer in front of them |
//! | [`writer`] | whole files, written in pieces |
//!
//! What is written is version 11, which Redis from 7.2 and Valkey from 7.2 on read, with one exception:
//! a hash with fields that expire has no form there. It is written as Valkey 9 does
//! ([`kind::HASH_2`], version 80), whose commands for such fields these are, too.
//!
//! Everything that is read is taken for hostile: every size is checked against what is there, nothing is
//! allocated by a number that input claims, elements that must differ do. The one thing that input
//! can blow up is compression, at most 88 times.
//!
//! Deliberately absent: the file system, whether a key comes twice or its time is over, the clock, modules' values.

pub mod buffered;
pub mod crc64;
pub mod dump;
pub mod file;
pub mod input;
pub mod legacy;
pub mod listpack;
pub mod load;
pub mod lzf;
pub mod output;
pub mod save;
pub mod skim;
pub mod writer;

use std::fmt;

/// The version of what is written, unless a value needs [`VERSION_VALKEY`].
pub const VERSION: u16 = 11;
/// The last version of Redis' that is understood: 7.4 and 8.0.
pub const VERSION_REDIS_MAX: u16 = 12;
/// Valkey 9.0 and 9.1. The numbers in between are for Redis' versions to come.
pub const VERSION_VALKEY: u16 = 80;

/// Whether what says that it has this version is understood.
pub fn is_known_version(version: u16) -> bool {
    version <= VERSION_REDIS_MAX || version == VERSION_VALKEY
}

/// The numbers of the types of values.
pub mod kind {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    /// Scores as text.
    pub const ZSET: u8 = 3;
    pub const HASH: u8 = 4;
    /// Scores in binary.
    pub const ZSET_2: u8 = 5;
    pub const MODULE_1: u8 = 6;
    pub const MODULE_2: u8 = 7;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const ZSET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const QUICKLIST: u8 = 14;
    pub const STREAM_1: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const ZSET_LISTPACK: u8 = 17;
    pub const QUICKLIST_2: u8 = 18;
    pub const STREAM_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    pub const STREAM_3: u8 = 21;
    /// With expiries of fields, as Valkey 9 has it.
    pub const HASH_2: u8 = 22;
    // With expiries of fields, as Redis has them: two of 7.4's release candidates, two since 7.4.
    pub const HASH_METADATA_RC: u8 = 22;
    pub const HASH_LISTPACK_EX_RC: u8 = 23;
    pub const HASH_METADATA: u8 = 24;
    pub const HASH_LISTPACK_EX: u8 = 25;
}

/// Why something is not a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corrupt {
    /// It ends too early.
    Truncated,
    /// A collection without elements. What follows it can be read.
    Empty,
    UnknownType(u8),
    Module,
    Wrong(&'static str),
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Corrupt::Truncated => f.write_str("it ends too early"),
            Corrupt::Empty => f.write_str("a collection is empty"),
            Corrupt::UnknownType(kind) => write!(f, "there is no type {kind}"),
            Corrupt::Module => f.write_str("it is a module's"),
            Corrupt::Wrong(what) => f.write_str(what),
        }
    }
}

type Result<T> = std::result::Result<T, Corrupt>;
