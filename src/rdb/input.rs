//! The words of the format, read: lengths, strings, integers, doubles. See [`super::output`] for
//! how they look.

use super::output::{ENCODED, INT_8, INT_16, INT_32, LEN_14, LEN_32, LEN_64, LZF};
use super::{Corrupt, Result, lzf};
use crate::data::double;
use crate::data::number::Decimal;

/// Longer strings than that have no place in any of our data types.
const STRING_MAX: usize = u32::MAX as usize - 64;

/// Where bytes come from. Values are read from one front to back, a piece at a time.
pub trait Source {
    /// The next `len` bytes. Must fail without having allocated `len` when there are not so many.
    fn take(&mut self, len: usize) -> Result<&[u8]>;
}

impl Source for &[u8] {
    #[inline]
    fn take(&mut self, len: usize) -> Result<&[u8]> {
        let (piece, rest) = self.split_at_checked(len).ok_or(Corrupt::Truncated)?;
        *self = rest;
        Ok(piece)
    }
}

impl<S: Source> Source for &mut S {
    fn take(&mut self, len: usize) -> Result<&[u8]> {
        (**self).take(len)
    }
}

/// What stands where a length is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Of(u64),
    /// A string in an encoding of its own.
    Encoded(u8),
}

pub struct Input<S> {
    source: S,
    /// Of one string, bytes.
    string_max: usize,
}

impl<S: Source> Input<S> {
    pub fn new(source: S, string_max: usize) -> Input<S> {
        Input { source, string_max: string_max.min(STRING_MAX) }
    }

    pub fn source(&self) -> &S {
        &self.source
    }

    pub fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    pub fn into_source(self) -> S {
        self.source
    }

    pub fn take(&mut self, len: usize) -> Result<&[u8]> {
        self.source.take(len)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.source.take(N)?;
        bytes.try_into().map_err(|_| Corrupt::Truncated)
    }

    pub fn byte(&mut self) -> Result<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub fn length(&mut self) -> Result<Length> {
        let first = self.byte()?;
        Ok(match first {
            0..LEN_14 => Length::Of(first.into()),
            LEN_14..LEN_32 => Length::Of(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            LEN_32 => Length::Of(u32::from_be_bytes(self.array()?).into()),
            LEN_64 => Length::Of(u64::from_be_bytes(self.array()?)),
            ENCODED.. => Length::Encoded(first - ENCODED),
            _ => return Err(Corrupt::Wrong("a length has an unknown form")),
        })
    }

    /// A length that is only a number.
    pub fn number(&mut self) -> Result<u64> {
        match self.length()? {
            Length::Of(number) => Ok(number),
            Length::Encoded(_) => Err(Corrupt::Wrong("a string stands in the place of a number")),
        }
    }

    /// How many elements follow; a collection has some.
    pub fn count(&mut self) -> Result<u64> {
        match self.number()? {
            0 => Err(Corrupt::Empty),
            count => Ok(count),
        }
    }

    fn string_len(&self, len: u64) -> Result<usize> {
        let len = usize::try_from(len).ok().filter(|len| *len <= self.string_max);
        len.ok_or(Corrupt::Wrong("a string is too long"))
    }

    /// A string, in `scratch` unless the source has it as it is.
    pub fn string<'i>(&'i mut self, scratch: &'i mut Vec<u8>) -> Result<&'i [u8]> {
        match self.length()? {
            Length::Of(len) => {
                let len = self.string_len(len)?;
                self.source.take(len)
            }
            Length::Encoded(encoding) => {
                self.encoded(encoding, scratch)?;
                Ok(scratch)
            }
        }
    }

    /// A string, which nobody wants.
    pub fn skip_string(&mut self) -> Result<()> {
        let len = match self.length()? {
            Length::Of(len) => self.string_len(len)?,
            Length::Encoded(INT_8) => 1,
            Length::Encoded(INT_16) => 2,
            Length::Encoded(INT_32) => 4,
            Length::Encoded(LZF) => {
                let (packed, len) = (self.number()?, self.number()?);
                self.string_len(len)?;
                self.string_len(packed)?
            }
            Length::Encoded(_) => return Err(Corrupt::Wrong("a string has an unknown encoding")),
        };
        self.source.take(len).map(drop)
    }

    /// A string, in place of what is in `out`.
    pub fn string_into(&mut self, out: &mut Vec<u8>) -> Result<()> {
        match self.length()? {
            Length::Of(len) => {
                let len = self.string_len(len)?;
                let string = self.source.take(len)?;
                out.clear();
                out.extend_from_slice(string);
                Ok(())
            }
            Length::Encoded(encoding) => self.encoded(encoding, out),
        }
    }

    /// A string: in place of what is in `out`, or it is what was taken last, of this length.
    pub fn string_or_taken(&mut self, out: &mut Vec<u8>) -> Result<Option<usize>> {
        match self.length()? {
            Length::Of(len) => {
                let len = self.string_len(len)?;
                self.source.take(len)?;
                Ok(Some(len))
            }
            Length::Encoded(encoding) => self.encoded(encoding, out).map(|()| None),
        }
    }

    /// A string in an encoding of its own, in place of what is in `out`.
    fn encoded(&mut self, encoding: u8, out: &mut Vec<u8>) -> Result<()> {
        let int = match encoding {
            INT_8 => i8::from_le_bytes(self.array()?).into(),
            INT_16 => i16::from_le_bytes(self.array()?).into(),
            INT_32 => i32::from_le_bytes(self.array()?).into(),
            LZF => {
                let (packed, len) = (self.number()?, self.number()?);
                let (packed, len) = (self.string_len(packed)?, self.string_len(len)?);
                return lzf::decompress(self.source.take(packed)?, len, out);
            }
            _ => return Err(Corrupt::Wrong("a string has an unknown encoding")),
        };
        out.clear();
        out.extend_from_slice(&Decimal::new(int));
        Ok(())
    }

    /// A time in milliseconds, or another number of 64 bits with a sign.
    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A time in seconds.
    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    /// A score in binary.
    pub fn double(&mut self) -> Result<f64> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// A score as text with a length in one byte.
    pub fn text_double(&mut self) -> Result<f64> {
        match self.byte()? {
            255 => Ok(f64::NEG_INFINITY),
            254 => Ok(f64::INFINITY),
            253 => Ok(f64::NAN),
            len => {
                let text = self.source.take(len.into())?;
                double::parse(text).ok_or(Corrupt::Wrong("a score is not a number"))
            }
        }
    }

    /// An id of a stream: 16 bytes, the highest first.
    pub fn big_endian_pair(&mut self) -> Result<(u64, u64)> {
        Ok((u64::from_be_bytes(self.array()?), u64::from_be_bytes(self.array()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::Output;
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Output::default();
        let numbers =
            [0, 63, 64, 16_383, 16_384, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX];
        numbers.iter().for_each(|n| out.put_len(*n));
        let strings =
            ["", "a", "12", "-129", "40000", "2147483648", "-0", "007", &"ab".repeat(999)];
        strings.iter().for_each(|s| out.put_string(s.as_bytes()));
        for int in [i64::MIN, -1, 127, 128, 32_768, 1 << 31] {
            out.put_int(int);
        }
        out.put_double(1.5);
        out.put_i64(-7);
        let mut input = Input::new(&out.bytes[..], 1 << 20);
        for number in numbers {
            assert_eq!(input.number(), Ok(number));
        }
        let mut scratch = Vec::new();
        for string in strings {
            assert_eq!(input.string(&mut scratch), Ok(string.as_bytes()));
        }
        for int in [i64::MIN, -1, 127, 128, 32_768, 1 << 31] {
            assert_eq!(input.string(&mut scratch), Ok(int.to_string().as_bytes()));
        }
        assert_eq!(input.double(), Ok(1.5));
        assert_eq!(input.i64(), Ok(-7));
        assert_eq!(input.byte(), Err(Corrupt::Truncated));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let mut scratch = Vec::new();
        let mut string = |bytes: &[u8]| Input::new(bytes, 100).string(&mut scratch).is_ok();
        assert!(string(b"\x03abc") && !string(b"\x04abc") && !string(b""));
        assert!(!string(b"\x81\xff\xff\xff\xff\xff\xff\xff\xff"));
        assert!(!string(b"\x80\x00\x00\x00\x65"), "longer than allowed");
        assert!(!string(b"\xc3\x02\x40\x65\x00a"), "longer than allowed when unpacked");
        assert!(!string(b"\xc3\xc0\x01\x01a") && !string(b"\xc4") && !string(b"\x82"));
        assert!(string(b"\xc3\x04\x04\x00a\x20\x00") && string(b"\xc0\x80"));
        assert_eq!(scratch, b"-128");
    }

    #[test]
    fn old_scores_are_text() {
        let score = |bytes: &[u8]| Input::new(bytes, 0).text_double();
        assert_eq!(score(b"\x03-.5"), Ok(-0.5));
        assert_eq!(score(b"\xff"), Ok(f64::NEG_INFINITY));
        assert_eq!(score(b"\xfe"), Ok(f64::INFINITY));
        assert!(score(b"\xfd").is_ok_and(f64::is_nan));
        assert!(score(b"\x01x").is_err() && score(b"\x00").is_err() && score(b"\x051").is_err());
    }
}
