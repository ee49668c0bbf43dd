//! Strict decimal integers, as stored values, counters and arguments use them.
//!
//! Only the canonical form parses: what [`Decimal`] prints. No sign but a leading `-`, no leading
//! zero, no space, no `-0`. So a value can be stored as an integer and given back byte for byte.
//! Floating point is not here.

use std::ops::Deref;

/// The longest canonical i64 is `-9223372036854775808`.
pub const MAX_DECIMAL_LEN: usize = 20;

/// Parses a canonical decimal i64.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let magnitude = parse_digits(digits)?;
    match (negative, magnitude) {
        (false, _) => i64::try_from(magnitude).ok(),
        (true, 0) => None,
        (true, _) => 0i64.checked_sub_unsigned(magnitude),
    }
}

/// Parses a canonical decimal u64.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    parse_digits(text)
}

#[inline]
fn parse_digits(digits: &[u8]) -> Option<u64> {
    let (&first, rest) = digits.split_first()?;
    let first = first.wrapping_sub(b'0');
    if first > 9 || digits.len() > MAX_DECIMAL_LEN || (first == 0 && !rest.is_empty()) {
        return None;
    }
    let mut magnitude = u64::from(first);
    for (at, &byte) in rest.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits always fit; only the twentieth can overflow.
        magnitude = if at < 18 {
            magnitude * 10 + u64::from(digit)
        } else {
            magnitude.checked_mul(10)?.checked_add(u64::from(digit))?
        };
    }
    Some(magnitude)
}

/// The decimal form of an integer, in a buffer on the stack.
#[derive(Clone, Copy)]
pub struct Decimal {
    digits: [u8; MAX_DECIMAL_LEN],
    start: u8,
}

const PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut n = 0;
    while n < 100 {
        pairs[2 * n] = b'0' + (n / 10) as u8;
        pairs[2 * n + 1] = b'0' + (n % 10) as u8;
        n += 1;
    }
    pairs
};

impl Decimal {
    #[inline]
    pub fn new(value: i64) -> Self {
        let mut decimal = Self::unsigned(value.unsigned_abs());
        if value < 0 {
            decimal.start -= 1;
            decimal.digits[usize::from(decimal.start)] = b'-';
        }
        decimal
    }

    /// Two digits per division; 20 bytes hold any u64 and any i64 with its sign.
    #[inline]
    pub fn unsigned(mut value: u64) -> Self {
        let mut digits = [0; MAX_DECIMAL_LEN];
        let mut start = MAX_DECIMAL_LEN;
        while value >= 100 {
            let pair = (value % 100) as usize * 2;
            value /= 100;
            start -= 2;
            digits[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
        }
        if value >= 10 {
            let pair = value as usize * 2;
            start -= 2;
            digits[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
        } else {
            start -= 1;
            digits[start] = b'0' + value as u8;
        }
        Self { digits, start: start as u8 }
    }
}

impl Deref for Decimal {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.digits[usize::from(self.start)..]
    }
}

/// Length of the decimal form, as STRLEN and GETRANGE need it for integer values.
#[inline]
pub fn decimal_len(value: i64) -> usize {
    let magnitude = value.unsigned_abs();
    let digits = magnitude.checked_ilog10().map_or(1, |log| log as usize + 1);
    digits + usize::from(value < 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_is_not_canonical() {
        for text in [
            "",
            "-",
            "-0",
            "+1",
            "01",
            "-01",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "0x10",
            "--1",
            "1-",
            "00",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            "18446744073709551616",
            "100000000000000000000",
            "1:",
            "1/",
            "\u{661}",
        ] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_u64(b"-1"), None);
        assert_eq!(parse_u64(b"18446744073709551616"), None);
    }

    #[test]
    fn accepts_the_extremes() {
        for value in [0, 1, -1, 9, 10, -10, 99, 100, i64::MAX, i64::MIN, i64::MIN + 1] {
            let text = value.to_string();
            assert_eq!(parse_i64(text.as_bytes()), Some(value));
            assert_eq!(&*Decimal::new(value), text.as_bytes());
            assert_eq!(decimal_len(value), text.len());
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(&*Decimal::unsigned(u64::MAX), b"18446744073709551615");
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 4 } else { 1000 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn prints_and_parses_like_the_standard_library(value: i64, shift in 0u32..64) {
            let value = value >> shift;
            let text = value.to_string();
            prop_assert_eq!(&*Decimal::new(value), text.as_bytes());
            prop_assert_eq!(parse_i64(text.as_bytes()), Some(value));
            prop_assert_eq!(decimal_len(value), text.len());
        }

        #[test]
        fn parses_only_what_it_prints(text in "[-+0-9 ]{0,22}") {
            let canonical = text.parse::<i64>().ok().filter(|value| value.to_string() == text);
            prop_assert_eq!(parse_i64(text.as_bytes()), canonical);
        }
    }
}
