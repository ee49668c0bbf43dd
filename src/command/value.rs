//! What the families that work on strings share: reading a value as bytes, parsing arguments,
//! resolving ranges.
//!
//! [`string_of`] is the only place that answers WRONGTYPE for a string command, also for those
//! that go on to change the entry in place.

use crate::data::number::parse_i64;
use crate::data::{Entry, ValueRef};
use crate::error::CmdError;
use crate::resp::Encoder;
use crate::shard::Cx;

/// A string value as it is stored.
pub enum Text<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> Text<'a> {
    /// The value's bytes; an integer's digits are written to `digits`.
    pub fn bytes(self, digits: &'a mut itoa::Buffer) -> &'a [u8] {
        match self {
            Text::Int(n) => digits.format(n).as_bytes(),
            Text::Bytes(bytes) => bytes,
        }
    }

    #[inline]
    pub fn write(self, out: &mut Encoder) {
        match self {
            Text::Int(n) => out.bulk_int(n),
            Text::Bytes(bytes) => out.bulk(bytes),
        }
    }
}

/// The string that `entry` holds.
#[inline]
pub fn string_of(entry: &Entry) -> Result<Text<'_>, CmdError> {
    match entry.value() {
        ValueRef::Int(n) => Ok(Text::Int(n)),
        ValueRef::Bytes(bytes) => Ok(Text::Bytes(bytes)),
        #[allow(unreachable_patterns)] // while strings are the only type
        _ => Err(CmdError::WRONG_TYPE),
    }
}

/// Gives the string at `key` to `read`, an empty one when there is no such key.
pub fn read_string<R>(
    cx: &mut Cx,
    key: &[u8],
    read: impl FnOnce(&[u8], &mut Encoder) -> R,
) -> Result<R, CmdError> {
    let mut digits = itoa::Buffer::new();
    let bytes = match cx.keys.get(key) {
        None => &[][..],
        Some(entry) => string_of(entry)?.bytes(&mut digits),
    };
    Ok(read(bytes, &mut cx.out))
}

/// An argument that must be an integer.
pub fn integer(arg: &[u8]) -> Result<i64, CmdError> {
    parse_i64(arg).ok_or(CmdError::NOT_AN_INTEGER)
}

/// Refuses a string that would be longer than a value may be.
pub fn check_length(cx: &Cx, start: usize, added: usize) -> Result<(), CmdError> {
    match start.checked_add(added) {
        Some(len) if len <= cx.settings.bulk_len_max => Ok(()),
        _ => Err(CmdError::STRING_TOO_LONG),
    }
}

/// First and last place that `start..=end` names among `len` places, negative numbers counting
/// from the end; `None` when that is none.
pub fn resolve_range(start: i64, end: i64, len: usize) -> Option<(usize, usize)> {
    let len = len as i64;
    let from_end = |at: i64| if at < 0 { (at + len).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    (start <= end).then_some((start as usize, end as usize))
}

/// How long a value is to live, as an option of SET and its kin says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// Seconds from now.
    Ex,
    /// Milliseconds from now.
    Px,
    /// Seconds since the epoch.
    ExAt,
    /// Milliseconds since the epoch.
    PxAt,
}

impl Term {
    pub fn is_absolute(self) -> bool {
        matches!(self, Term::ExAt | Term::PxAt)
    }

    /// The time that `amount` means, in milliseconds since the epoch.
    pub fn deadline(self, amount: &[u8], cx: &Cx) -> Result<i64, CmdError> {
        let amount = integer(amount)?;
        let scale = if matches!(self, Term::Ex | Term::ExAt) { 1000 } else { 1 };
        let base = if self.is_absolute() { 0 } else { cx.now() };
        Some(amount)
            .filter(|&n| n > 0)
            .and_then(|n| n.checked_mul(scale))
            .and_then(|n| n.checked_add(base))
            .ok_or_else(|| CmdError::invalid_expire(cx.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_counts_from_both_ends() {
        assert_eq!(resolve_range(0, -1, 5), Some((0, 4)));
        assert_eq!(resolve_range(-3, -2, 5), Some((2, 3)));
        assert_eq!(resolve_range(-100, 100, 5), Some((0, 4)));
        assert_eq!(resolve_range(0, -100, 5), Some((0, 0)));
        assert_eq!(resolve_range(3, 2, 5), None);
        assert_eq!(resolve_range(5, 9, 5), None);
        assert_eq!(resolve_range(0, -1, 0), None);
        assert_eq!(resolve_range(i64::MIN, i64::MAX, 5), Some((0, 4)));
    }
}
