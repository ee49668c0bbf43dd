//! Ids of entries as clients write and read them.
//!
//! Redis reads both parts as C does: up to the first NUL, with spaces in front, a sign, leading
//! zeros. That is accepted here as well, behind the usual form.

use crate::data::number::{Decimal, parse_i64, parse_u64};
use crate::data::stream::{Id, NewId};
use crate::error::{CmdError, shown};
use crate::resp::Encoder;

pub const INVALID: CmdError =
    CmdError::fixed("ERR Invalid stream ID specified as stream command argument");

/// Longer texts are no ids.
const MAX_LEN: usize = 127;

/// The longest text of an id: two numbers of 20 digits.
const TEXT_LEN: usize = 41;

/// A sequence as it is written.
enum Sequence {
    Missing,
    Any,
    Given(u64),
}

/// An id whose sequence is `missing` when there is none.
#[inline]
pub fn strict(text: &[u8], missing: u64) -> Result<Id, CmdError> {
    match parts(text) {
        Some((ms, Sequence::Given(seq))) => Ok(Id::new(ms, seq)),
        Some((ms, Sequence::Missing)) => Ok(Id::new(ms, missing)),
        Some((_, Sequence::Any)) | None => Err(INVALID),
    }
}

/// As [`strict`], but `-` and `+` are the smallest and the greatest id.
pub fn lenient(text: &[u8], missing: u64) -> Result<Id, CmdError> {
    match shown(text, usize::MAX) {
        b"-" if text.len() <= MAX_LEN => Ok(Id::MIN),
        b"+" if text.len() <= MAX_LEN => Ok(Id::MAX),
        _ => strict(text, missing),
    }
}

/// The id of a new entry, where the sequence may be `*`.
pub fn new(text: &[u8]) -> Result<NewId, CmdError> {
    match parts(text).ok_or(INVALID)? {
        (ms, Sequence::Any) => Ok(NewId::Within(ms)),
        (ms, Sequence::Missing) => Ok(NewId::Given(Id::new(ms, 0))),
        (ms, Sequence::Given(seq)) => Ok(NewId::Given(Id::new(ms, seq))),
    }
}

/// The first id of an interval; behind `(` the one that is left out.
pub fn interval_start(text: &[u8]) -> Result<Id, CmdError> {
    match text {
        [b'(', excluded @ ..] if !excluded.is_empty() => strict(excluded, 0)?
            .next()
            .ok_or(CmdError::fixed("ERR invalid start ID for the interval")),
        _ => lenient(text, 0),
    }
}

/// The last id of an interval; behind `(` the one that is left out.
pub fn interval_end(text: &[u8]) -> Result<Id, CmdError> {
    match text {
        [b'(', excluded @ ..] if !excluded.is_empty() => strict(excluded, u64::MAX)?
            .previous()
            .ok_or(CmdError::fixed("ERR invalid end ID for the interval")),
        _ => lenient(text, u64::MAX),
    }
}

#[inline]
fn parts(text: &[u8]) -> Option<(u64, Sequence)> {
    if let Some(dash) = text.iter().position(|&byte| byte == b'-')
        && let (Some(ms), Some(seq)) = (parse_u64(&text[..dash]), parse_u64(&text[dash + 1..]))
    {
        return Some((ms, Sequence::Given(seq)));
    }
    if text.len() > MAX_LEN {
        return None;
    }
    let text = shown(text, usize::MAX);
    let (ms, seq) = match text.iter().position(|&byte| byte == b'-') {
        None => (text, Sequence::Missing),
        Some(dash) => match &text[dash + 1..] {
            b"*" => (&text[..dash], Sequence::Any),
            seq => (&text[..dash], Sequence::Given(unsigned(seq)?)),
        },
    };
    Some((unsigned(ms)?, seq))
}

/// A number as C's `strtoull` reads it, but that the plain form of a negative one is none.
fn unsigned(text: &[u8]) -> Option<u64> {
    if let Some(number) = parse_i64(text) {
        return u64::try_from(number).ok();
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_space(byte))?;
    let (negative, digits) = match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then_some(())?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })?;
    Some(if negative { number.wrapping_neg() } else { number })
}

/// An id as text, on the stack.
pub struct Text {
    bytes: [u8; TEXT_LEN],
    len: usize,
}

impl Text {
    #[inline]
    pub fn new(id: Id) -> Text {
        let mut text = Text { bytes: [0; TEXT_LEN], len: 0 };
        text.push(&Decimal::unsigned(id.ms));
        text.push(b"-");
        text.push(&Decimal::unsigned(id.seq));
        text
    }

    #[inline]
    fn push(&mut self, part: &[u8]) {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Replies an id.
#[inline]
pub fn write(out: &mut Encoder, id: Id) {
    out.bulk(Text::new(id).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_are_read_as_c_does() {
        for (text, id) in [
            ("1-2", Some((1, 2))),
            ("7", Some((7, 9))),
            ("18446744073709551615-18446744073709551615", Some((u64::MAX, u64::MAX))),
            ("007-01", Some((7, 1))),
            (" 5- 6", Some((5, 6))),
            ("5-+6", Some((5, 6))),
            ("5- -1", Some((5, u64::MAX))),
            ("+5-1", Some((5, 1))),
            ("1-2\0rest", Some((1, 2))),
            ("5--0", Some((5, 0))),
            ("5--1", None),
            ("5-6 ", None),
            ("5-", None),
            ("-5", None),
            ("", None),
            ("-", None),
            ("+", None),
            ("*", None),
            ("5-*", None),
            ("5-6-7", None),
            ("0x10-1", None),
            ("18446744073709551616-1", None),
            ("a-1", None),
        ] {
            let expected = id.map(|(ms, seq)| Id::new(ms, seq)).ok_or(INVALID);
            assert_eq!(strict(text.as_bytes(), 9), expected, "{text:?}");
        }
        assert_eq!(strict(&[b' '; 126], 0), Err(INVALID));
        let padded = format!("{}1-1", " ".repeat(124));
        assert_eq!(strict(padded.as_bytes(), 0), Ok(Id::new(1, 1)));
        assert_eq!(strict(format!(" {padded}").as_bytes(), 0), Err(INVALID));
    }

    #[test]
    fn intervals_may_leave_their_ends_out() {
        assert_eq!(interval_start(b"-"), Ok(Id::MIN));
        assert_eq!(interval_end(b"+"), Ok(Id::MAX));
        assert_eq!(interval_start(b"5"), Ok(Id::new(5, 0)));
        assert_eq!(interval_end(b"5"), Ok(Id::new(5, u64::MAX)));
        assert_eq!(interval_start(b"(5"), Ok(Id::new(5, 1)));
        assert_eq!(interval_end(b"(5"), Ok(Id::new(5, u64::MAX - 1)));
        assert_eq!(interval_end(b"(5-0"), Ok(Id::new(4, u64::MAX)));
        assert_eq!(interval_start(b"(-"), Err(INVALID));
        assert_eq!(interval_start(b"("), Err(INVALID));
        let all = format!("({}", std::str::from_utf8(Text::new(Id::MAX).as_bytes()).unwrap());
        assert!(interval_start(all.as_bytes()).unwrap_err().to_string().contains("start ID"));
        assert!(interval_end(b"(0-0").unwrap_err().to_string().contains("end ID"));
    }

    #[test]
    fn new_ids_may_be_given_in_part() {
        assert_eq!(new(b"5-*"), Ok(NewId::Within(5)));
        assert_eq!(new(b"5"), Ok(NewId::Given(Id::new(5, 0))));
        assert_eq!(new(b"5-3"), Ok(NewId::Given(Id::new(5, 3))));
        assert_eq!(new(b"*"), Err(INVALID));
        assert_eq!(new(b"*-5"), Err(INVALID));
    }
}
