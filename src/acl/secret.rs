//! Passwords, of which only the SHA-256 is kept, and what nobody can guess.

use sha2::{Digest, Sha256};
use std::fmt;

const LEN: usize = 32;

/// The SHA-256 of a password.
#[derive(Clone, Copy)]
pub struct Hash([u8; LEN]);

impl Hash {
    pub fn of(password: &[u8]) -> Hash {
        Hash(Sha256::digest(password).into())
    }

    /// A hash as rules write it: 64 digits, letters in lower case.
    pub fn parse(text: &[u8]) -> Option<Hash> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        if text.len() != 2 * LEN {
            return None;
        }
        let mut hash = [0; LEN];
        for (byte, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Hash(hash))
    }

    /// Whether they are the same, in a time that depends on neither: one loop over all bytes whose
    /// result the compiler must not know before its end.
    pub fn is(&self, other: &Hash) -> bool {
        let mut difference = 0;
        for (a, b) in self.0.iter().zip(&other.0) {
            difference = std::hint::black_box(difference | (a ^ b));
        }
        difference == 0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A hash is a secret, too: it can be guessed at.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(..)")
    }
}

/// So many random hexadecimal digits, from the system.
pub fn random_hex(digits: usize) -> Result<String, String> {
    use fmt::Write;
    let mut bytes = vec![0; digits.div_ceil(2)];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.truncate(digits);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_sha_256_in_hexadecimal() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Hash::of(b"abc").to_string(), abc);
        assert!(Hash::parse(abc.as_bytes()).unwrap().is(&Hash::of(b"abc")));
        assert!(!Hash::of(b"abc").is(&Hash::of(b"abd")));
        assert_eq!(format!("{:?}", Hash::of(b"abc")), "Hash(..)");
        for wrong in [&abc[1..], &abc.to_uppercase(), &abc.replace('b', "g"), ""] {
            assert!(Hash::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn random_digits_are_as_many_as_asked_for_and_never_the_same() {
        for digits in [1, 2, 3, 64, 1024] {
            let text = random_hex(digits).unwrap();
            assert_eq!(text.len(), digits);
            assert!(text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        }
        assert_ne!(random_hex(64).unwrap(), random_hex(64).unwrap());
    }
}
