//! How the parts' replies become one reply.

use crate::command::Merge;
use crate::resp::Encoder;

/// Writes the reply that the parts' encoded replies make, given in the order of the parts.
///
/// A part that failed fails the whole, with the first part's error, except where each part's reply
/// is an element of its own.
pub fn merge(kind: Merge, parts: &[&[u8]], out: &mut Encoder, random: &mut fastrand::Rng) {
    let error = parts.iter().find(|part| part.first() == Some(&b'-'));
    match (kind, error) {
        (Merge::Elements, _) => {
            out.array(parts.len());
            parts.iter().for_each(|part| out.raw(part));
        }
        (_, Some(error)) => out.raw(error),
        (Merge::FirstError, None) => out.raw(parts.first().copied().unwrap_or(b"+OK\r\n")),
        (Merge::Sum, None) => out.int(parts.iter().map(|part| number(part)).sum()),
        (Merge::Concat, None) => {
            out.array(parts.iter().map(|part| number(part) as usize).sum());
            parts.iter().for_each(|part| out.raw(after_header(part)));
        }
        (Merge::Custom(merge), None) => merge(parts, out, random),
    }
}

/// The number in the first line of a reply: an integer's value, an array's length.
fn number(part: &[u8]) -> i64 {
    let end = part.iter().position(|&b| b == b'\r').unwrap_or(part.len());
    let digits = part.get(1..end).unwrap_or_default();
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn after_header(part: &[u8]) -> &[u8] {
    match part.iter().position(|&b| b == b'\n') {
        Some(at) => &part[at + 1..],
        None => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Protocol;

    fn merged(kind: Merge, parts: &[&[u8]]) -> String {
        let mut buffer = Vec::new();
        let mut out = Encoder::new(&mut buffer, Protocol::Resp2);
        merge(kind, parts, &mut out, &mut fastrand::Rng::with_seed(1));
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn parts_become_one_reply() {
        assert_eq!(merged(Merge::Sum, &[b":2\r\n", b":40\r\n"]), ":42\r\n");
        assert_eq!(merged(Merge::Sum, &[b":2\r\n", b"-ERR no\r\n"]), "-ERR no\r\n");
        assert_eq!(merged(Merge::FirstError, &[b"+OK\r\n", b"+OK\r\n"]), "+OK\r\n");
        let elements: &[&[u8]] = &[b"$1\r\na\r\n", b"$-1\r\n"];
        assert_eq!(merged(Merge::Elements, elements), "*2\r\n$1\r\na\r\n$-1\r\n");
        let arrays: &[&[u8]] = &[b"*1\r\n$1\r\na\r\n", b"*0\r\n", b"*1\r\n$1\r\nb\r\n"];
        assert_eq!(merged(Merge::Concat, arrays), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    }
}
