//! The name of a script: the SHA-1 of its body.

use sha1::{Digest, Sha1};
use std::fmt;

/// A script's name. As text it has 40 digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha([u8; 20]);

impl Sha {
    pub fn of(body: &[u8]) -> Sha {
        Sha(Sha1::digest(body).into())
    }

    /// Reads 40 digits, in any case.
    pub fn parse(text: &[u8]) -> Option<Sha> {
        let text: &[u8; 40] = text.try_into().ok()?;
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|d| d as u8);
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Sha(bytes))
    }

    /// Its 40 digits, in lower case.
    pub fn hex(&self) -> [u8; 40] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 40];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        text
    }
}

impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.hex()))
    }
}

impl fmt::Debug for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let sha = Sha::of(b"return 1");
        assert_eq!(sha.to_string(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert_eq!(Sha::parse(&sha.hex()), Some(sha));
        assert_eq!(Sha::parse(sha.to_string().to_uppercase().as_bytes()), Some(sha));
        assert_eq!(Sha::parse(b"e0e1"), None);
        assert_eq!(Sha::parse(&[b'g'; 40]), None);
    }
}
