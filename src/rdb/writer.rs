//! RDB files, written in pieces; [`super::file`] draws what they look like.
//!
//! The pieces are made by functions on an [`Output`], and whoever has the file puts them one behind the other: magic,
//! facts, functions, and for each database its number with its entries. An entry is its head and what a
//! [`Saver`] makes of its value. A [`Writer`] does all that for one file; a [`Tally`] keeps the checksum and the length
//! of what others write.
//!
//! # The version
//!
//! It stands at the beginning: 11, or 80 if there is a hash with fields that expire ([`kind::HASH_2`]). Who knows
//! beforehand whether there is one says so. Who does not writes any magic first and the right one over it in
//! the end, since both have the same length: [`Tally::checksum`] is that of the file with either.

use super::crc64::{combine, crc64};
use super::file::{MAGIC_LEN, opcode};
use super::output::Output;
use super::save::{Saver, kind_of};
use super::{VERSION, VERSION_VALKEY, kind};
use crate::data::ValueRef;
use std::io::{self, Write};

/// What a file says of who wrote it, and when.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The version of Redis that the writer is like.
    pub redis_version: &'a str,
    /// Seconds since the epoch.
    pub made_at: i64,
    pub used_memory: u64,
    /// Commands of an AOF go on where this file ends.
    pub is_aof_base: bool,
}

/// An entry without its value.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    pub key: &'a [u8],
    /// As [`kind_of`] says.
    pub kind: u8,
    /// Milliseconds since the epoch.
    pub expire_at: Option<i64>,
    pub access: Access,
}

/// What is recorded of how a key was used. Redis writes it if its eviction policy asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    #[default]
    Untold,
    /// For how many seconds it was not used.
    Idle(u64),
    /// The logarithmic counter of its uses.
    Frequency(u8),
}

/// The first bytes of a file of this version.
pub fn magic(version: u16) -> [u8; MAGIC_LEN] {
    let mut magic = *b"REDIS0000";
    if version >= VERSION_VALKEY {
        magic = *b"VALKEY000";
    }
    let digits = [version / 100 % 10, version / 10 % 10, version % 10];
    for (slot, digit) in magic[MAGIC_LEN - 3..].iter_mut().zip(digits) {
        *slot = b'0' + digit as u8;
    }
    magic
}

/// The version that a file needs in which values of this type are.
pub fn version_for(kind: u8) -> u16 {
    if kind == kind::HASH_2 { VERSION_VALKEY } else { VERSION }
}

/// What follows the magic.
pub fn put_facts(out: &mut Output, facts: &Facts) {
    put_fact(out, "redis-ver", facts.redis_version.as_bytes());
    put_fact(out, "redis-bits", b"64");
    put_fact(out, "ctime", facts.made_at.to_string().as_bytes());
    put_fact(out, "used-mem", facts.used_memory.to_string().as_bytes());
    put_fact(out, "aof-base", if facts.is_aof_base { b"1" } else { b"0" });
}

pub fn put_fact(out: &mut Output, name: &str, value: &[u8]) {
    out.put_byte(opcode::AUX);
    out.put_string(name.as_bytes());
    out.put_string(value);
}

/// A library of functions, with its first line.
pub fn put_function(out: &mut Output, code: &[u8]) {
    out.put_byte(opcode::FUNCTION);
    out.put_string(code);
}

/// The database of the entries that follow, and how many of them there will be, about: a reader makes room.
pub fn put_db(out: &mut Output, db: u32, keys: u64, expires: u64) {
    out.put_byte(opcode::SELECT_DB);
    out.put_len(db.into());
    out.put_byte(opcode::RESIZE_DB);
    out.put_len(keys);
    out.put_len(expires);
}

/// What stands in front of a value.
pub fn put_head(out: &mut Output, head: &Head) {
    if let Some(at) = head.expire_at {
        out.put_byte(opcode::EXPIRE_MS);
        out.put_i64(at);
    }
    match head.access {
        Access::Untold => {}
        Access::Idle(seconds) => {
            out.put_byte(opcode::IDLE);
            out.put_len(seconds);
        }
        Access::Frequency(counter) => out.put_bytes(&[opcode::FREQ, counter]),
    }
    out.put_byte(head.kind);
    out.put_string(head.key);
}

/// What follows the last entry. The checksum, or 0, comes behind it in 8 bytes, the lowest first.
pub fn put_end(out: &mut Output) {
    out.put_byte(opcode::END);
}

/// Checksum and length of what was written so far, but for the magic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    crc: u64,
    len: u64,
}

impl Tally {
    pub fn add(&mut self, bytes: &[u8]) {
        self.crc = crc64(self.crc, bytes);
        self.len += bytes.len() as u64;
    }

    /// As [`Self::add`], for what was counted apart.
    pub fn add_tally(&mut self, other: Tally) {
        self.crc = combine(self.crc, other.crc, other.len);
        self.len += other.len;
    }

    /// As [`Self::add`], of so many bytes without their checksum.
    pub fn skip(&mut self, len: usize) {
        self.len += len as u64;
    }

    /// Bytes, with the magic.
    pub fn file_len(&self) -> u64 {
        MAGIC_LEN as u64 + self.len
    }

    /// That of the file if it begins with the magic of this version.
    pub fn checksum(&self, version: u16) -> u64 {
        combine(crc64(0, &magic(version)), self.crc, self.len)
    }
}

/// How a [`Writer`] writes.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// [`VERSION_VALKEY`] if fields of hashes may have expiries, else [`VERSION`].
    pub version: u16,
    /// `rdbcompression`.
    pub compress: bool,
    /// `rdbchecksum`.
    pub checksum: bool,
}

/// Writes one file from its beginning to its end.
pub struct Writer<W> {
    sink: W,
    out: Output,
    tally: Tally,
    options: Options,
}

impl<W: Write> Writer<W> {
    /// Bytes that are gathered before they go to the file.
    const PIECE: usize = 64 << 10;

    pub fn begin(mut sink: W, options: Options, facts: &Facts) -> io::Result<Writer<W>> {
        sink.write_all(&magic(options.version))?;
        let mut out = Output::default();
        out.uncompressed = !options.compress;
        put_facts(&mut out, facts);
        Ok(Writer { sink, out, tally: Tally::default(), options })
    }

    pub fn function(&mut self, code: &[u8]) -> io::Result<()> {
        put_function(&mut self.out, code);
        self.pass(Self::PIECE)
    }

    pub fn begin_db(&mut self, db: u32, keys: u64, expires: u64) -> io::Result<()> {
        put_db(&mut self.out, db, keys, expires);
        self.pass(Self::PIECE)
    }

    /// A key with a value as it is at `now`.
    pub fn entry(
        &mut self,
        key: &[u8],
        value: &ValueRef,
        expire_at: Option<i64>,
        access: Access,
        now: i64,
    ) -> io::Result<()> {
        let kind = kind_of(value);
        if version_for(kind) > self.options.version {
            return Err(io::Error::other("fields that expire have no place in this version"));
        }
        put_head(&mut self.out, &Head { key, kind, expire_at, access });
        let mut saver = Saver::default();
        while !saver.step(value, now, Self::PIECE, &mut self.out) {
            self.pass(0)?;
        }
        self.pass(Self::PIECE)
    }

    /// What others have made with the functions above, and counted.
    pub fn entries(&mut self, bytes: &[u8], tally: Tally) -> io::Result<()> {
        self.pass(0)?;
        self.tally.add_tally(tally);
        self.sink.write_all(bytes)
    }

    /// Ends the file; what it was written to, and how long it is.
    pub fn end(mut self) -> io::Result<(W, u64)> {
        put_end(&mut self.out);
        self.pass(0)?;
        let checksum = match self.options.checksum {
            true => self.tally.checksum(self.options.version),
            false => 0,
        };
        self.sink.write_all(&checksum.to_le_bytes())?;
        self.sink.flush()?;
        Ok((self.sink, self.tally.file_len() + size_of_val(&checksum) as u64))
    }

    /// Gives what was gathered to the file, if it is this much.
    fn pass(&mut self, min: usize) -> io::Result<()> {
        if self.out.bytes.len() < min {
            return Ok(());
        }
        match self.options.checksum {
            true => self.tally.add(&self.out.bytes),
            false => self.tally.skip(self.out.bytes.len()),
        }
        self.sink.write_all(&self.out.bytes)?;
        self.out.bytes.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts = Facts {
        redis_version: "7.2.4",
        made_at: 1_700_000_000,
        used_memory: 1000,
        is_aof_base: false,
    };

    fn written(version: u16) -> Vec<u8> {
        let options = Options { version, compress: true, checksum: true };
        let mut writer = Writer::begin(Vec::new(), options, &FACTS).unwrap();
        writer.begin_db(0, 1, 1).unwrap();
        let access = Access::Frequency(7);
        writer.entry(b"k", &ValueRef::Bytes(b"v"), Some(5), access, 0).unwrap();
        let (bytes, len) = writer.end().unwrap();
        assert_eq!(bytes.len() as u64, len);
        bytes
    }

    #[test]
    fn a_file_looks_as_drawn() {
        let bytes = written(VERSION);
        let facts = b"\xfa\x09redis-ver\x057.2.4\xfa\x0aredis-bits\xc0\x40\xfa\x05ctime\xc2\x00\xf1\x53\x65\
                      \xfa\x08used-mem\xc1\xe8\x03\xfa\x08aof-base\xc0\x00";
        let rest = b"\xfe\x00\xfb\x01\x01\xfc\x05\0\0\0\0\0\0\0\xf9\x07\x00\x01k\x01v\xff";
        let content = [&b"REDIS0011"[..], facts, rest].concat();
        let crc = crc64(0, &content).to_le_bytes();
        assert_eq!(
            bytes.escape_ascii().to_string(),
            [&content[..], &crc].concat().escape_ascii().to_string()
        );
    }

    #[test]
    fn the_magic_can_come_last() {
        let mut tally = Tally::default();
        let (one, other) = (written(VERSION), written(VERSION_VALKEY));
        let (first, second) = one[MAGIC_LEN..one.len() - 8].split_at(30);
        tally.add(first);
        let mut apart = Tally::default();
        apart.add(second);
        tally.add_tally(apart);
        assert_eq!(tally.file_len() + 8, one.len() as u64);
        for (version, file) in [(VERSION, one), (VERSION_VALKEY, other)] {
            assert_eq!(file[..MAGIC_LEN], magic(version));
            assert_eq!(file[file.len() - 8..], tally.checksum(version).to_le_bytes());
        }
    }

    #[test]
    fn magics() {
        assert_eq!((&magic(11), &magic(80)), (b"REDIS0011", b"VALKEY080"));
    }
}
