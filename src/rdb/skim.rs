//! Values passed over without being made: where each ends is told by lengths alone.
//!
//! So one thread can find the values in a file while others make them. What is inside is not looked at, so whoever
//! makes the value finds what is wrong with it.

use super::input::{Input, Source};
use super::{Corrupt, Result, VERSION_VALKEY, kind};

/// Bytes that are kept as they are taken.
pub struct Kept<'a, S> {
    pub source: &'a mut S,
    pub bytes: &'a mut Vec<u8>,
}

impl<S: Source> Source for Kept<'_, S> {
    #[inline]
    fn take(&mut self, len: usize) -> Result<&[u8]> {
        let piece = self.source.take(len)?;
        self.bytes.extend_from_slice(piece);
        Ok(piece)
    }
}

/// Passes over the value of this type that comes next, as something of this version wrote it.
pub fn skim<S: Source>(input: &mut Input<S>, kind: u8, version: u16) -> Result<()> {
    let mut each = |parts: &[Part]| -> Result<()> {
        for _ in 0..input.number()? {
            parts.iter().try_for_each(|part| part.pass(input))?;
        }
        Ok(())
    };
    use Part::{Bytes, Number, String, TextDouble};
    match kind {
        kind::STRING
        | kind::HASH_ZIPMAP..=kind::HASH_ZIPLIST
        | kind::HASH_LISTPACK
        | kind::ZSET_LISTPACK
        | kind::SET_LISTPACK
        | kind::HASH_LISTPACK_EX_RC => input.skip_string(),
        kind::LIST | kind::SET | kind::QUICKLIST => each(&[String]),
        kind::ZSET => each(&[String, TextDouble]),
        kind::ZSET_2 => each(&[String, Bytes(8)]),
        kind::HASH => each(&[String, String]),
        kind::QUICKLIST_2 => each(&[Number, String]),
        kind::HASH_2 if version >= VERSION_VALKEY => each(&[String, String, Bytes(8)]),
        kind::HASH_METADATA_RC => each(&[Number, String, String]),
        kind::HASH_METADATA => {
            input.take(8)?;
            skim(input, kind::HASH_METADATA_RC, 0)
        }
        kind::HASH_LISTPACK_EX => {
            input.take(8)?;
            input.skip_string()
        }
        kind::STREAM_1 | kind::STREAM_2 | kind::STREAM_3 => stream(input, kind),
        kind::MODULE_1 | kind::MODULE_2 => Err(Corrupt::Module),
        _ => Err(Corrupt::UnknownType(kind)),
    }
}

/// What comes again and again.
#[derive(Clone, Copy)]
enum Part {
    String,
    Number,
    Bytes(usize),
    /// A score as text with a length in one byte, of which three mean something else.
    TextDouble,
}

impl Part {
    #[inline]
    fn pass<S: Source>(self, input: &mut Input<S>) -> Result<()> {
        match self {
            Part::String => input.skip_string(),
            Part::Number => input.number().map(drop),
            Part::Bytes(len) => input.take(len).map(drop),
            Part::TextDouble => match input.byte()? {
                253.. => Ok(()),
                len => input.take(len.into()).map(drop),
            },
        }
    }
}

/// See [`super::load`] for how it looks.
fn stream<S: Source>(input: &mut Input<S>, kind: u8) -> Result<()> {
    let numbers =
        |input: &mut Input<S>, count: usize| (0..count).try_for_each(|_| input.number().map(drop));
    for _ in 0..input.number()? {
        input.skip_string()?;
        input.skip_string()?;
    }
    numbers(input, if kind == kind::STREAM_1 { 3 } else { 8 })?;
    for _ in 0..input.number()? {
        input.skip_string()?;
        numbers(input, if kind == kind::STREAM_1 { 2 } else { 3 })?;
        for _ in 0..input.number()? {
            input.take(16 + 8)?;
            input.number()?;
        }
        for _ in 0..input.number()? {
            input.skip_string()?;
            input.take(if kind == kind::STREAM_3 { 16 } else { 8 })?;
            for _ in 0..input.number()? {
                input.take(16)?;
            }
        }
    }
    Ok(())
}
