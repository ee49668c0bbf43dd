//! A DUMP payload: the type of a value, the value, and a footer.
//!
//! ```text
//!   [ type ][ value ][ version, u16 LE ][ CRC64 of all before, u64 LE ]
//! ```

use super::crc64::crc64;
use super::load::{Limits, Value, load};
use super::output::Output;
use super::save::{Saver, kind_of};
use super::{Result, VERSION, VERSION_VALKEY, is_known_version, kind};
use crate::data::ValueRef;
use std::cell::RefCell;

const FOOTER: usize = 10;
const CRC: usize = 8;

/// The payload of a value at a time.
pub fn dump(value: ValueRef, now: i64) -> Vec<u8> {
    let kind = kind_of(&value);
    let bytes = OUTPUT.with_borrow_mut(|out| {
        out.put_byte(kind);
        let whole = Saver::default().step(&value, now, usize::MAX, out);
        debug_assert!(whole, "a step without a limit does all");
        std::mem::take(&mut out.bytes)
    });
    seal(bytes, if kind == kind::HASH_2 { VERSION_VALKEY } else { VERSION })
}

thread_local! {
    /// To make a compressor's table for every payload would take longer than most of them do.
    static OUTPUT: RefCell<Output> = RefCell::default();
}

/// Puts the footer behind what has none.
pub fn seal(mut bytes: Vec<u8>, version: u16) -> Vec<u8> {
    bytes.extend_from_slice(&version.to_le_bytes());
    let crc = crc64(0, &bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Version and content of a payload, if its footer is right.
pub fn unseal(payload: &[u8]) -> Option<(u16, &[u8])> {
    let (covered, crc) = payload.split_at_checked(payload.len().checked_sub(CRC)?)?;
    let (content, version) = covered.split_at_checked(payload.len().checked_sub(FOOTER)?)?;
    let version = u16::from_le_bytes(version.try_into().ok()?);
    let right = is_known_version(version) && crc64(0, covered).to_le_bytes() == crc;
    right.then_some((version, content))
}

/// The value in the content of a payload; nothing when all its parts have expired. What follows
/// the value is ignored, as in Redis.
pub fn restore(
    (version, content): (u16, &[u8]),
    now: i64,
    string_max: usize,
    limits: &Limits,
) -> Result<Option<Value>> {
    let mut input = super::input::Input::new(content, string_max);
    let kind = input.byte()?;
    load(&mut input, kind, version, now, limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::list::{Limit, List};
    use crate::data::packed::Element;
    use crate::data::value::Object;

    #[test]
    fn a_footer_covers_all_before_it() {
        let sealed = seal(b"\x00\x01a".to_vec(), 11);
        assert_eq!(unseal(&sealed), Some((11, &b"\x00\x01a"[..])));
        for at in 0..sealed.len() {
            let mut wrong = sealed.clone();
            wrong[at] ^= 0x10;
            assert_eq!(unseal(&wrong), None, "byte {at}");
            assert_eq!(unseal(&sealed[..at]), None, "{at} bytes");
        }
        for (version, known) in
            [(0, true), (12, true), (13, false), (79, false), (80, true), (81, false)]
        {
            assert_eq!(unseal(&seal(vec![0], version)).is_some(), known, "{version}");
        }
    }

    /// What redis-server 7.0 answers to DUMP, of a string and of a list.
    #[test]
    fn payloads_of_redis() {
        let hello = b"\x00\x05hello\x0a\x00\x63\x72\xdf\x76\x65\x34\x20\x0a";
        assert_eq!(unseal(hello), Some((10, &b"\x00\x05hello"[..])));
        assert_eq!(seal(b"\x00\x05hello".to_vec(), 10), hello);
        let list = b"\x12\x01\x02\x0f\x0f\x00\x00\x00\x03\x00\x81a\x02\x01\x01\xdf\xfb\x02\xff\
                     \x0a\x00\xaf\x37\x40\x3b\x85\xfe\x55\x39";
        let (_, content) = unseal(list).unwrap();
        let items = List::of(
            [Element::Bytes(b"a"), Element::Int(1), Element::Int(-5)].into_iter(),
            Limit::new(-2),
        );
        let ours = dump(ValueRef::Object(&Object::List(items)), 0);
        assert_eq!(unseal(&ours), Some((11, content)));
    }
}
