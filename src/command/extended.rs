//! 80-bit extended precision (x87 `long double`) in software: parse, add, print.
//!
//! Redis on x86-64 adds floats of INCRBYFLOAT in this format and prints 17 decimals, so 1000.6 plus
//! 0.1 answers 1000.69999999999999996. Rust has no such type; doing the same steps on integers
//! gives the same bytes on every machine. A number is `mantissa * 2^exponent` with a mantissa of 64
//! bits whose highest is set, except below 2^-16382, where precision ends at 2^-16445.
//! Rounding is to nearest, ties to even.
//!
//! Short decimals take a path on `u128`; what does not fit goes through [`Big`]. Absent: every
//! operation but addition.

use smallvec::SmallVec;
use std::cmp::Ordering;

const EXPONENT_MIN: i32 = -16445;
const EXPONENT_MAX: i32 = 16320;
/// Redis reads numbers into a buffer of 5 KiB with its end mark.
const TEXT_LEN_MAX: usize = 5 * 1024 - 1;
/// Larger decimal exponents overflow or underflow whatever the (bounded) digits.
const EXPONENT_CLAMP: i64 = 1_000_000;
const TEN_POW_17: u64 = 100_000_000_000_000_000;

/// A number of 80 bits; not-a-number has no form here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extended {
    Finite { negative: bool, mantissa: u64, exponent: i32 },
    Infinite { negative: bool },
}

type Digits = SmallVec<[u8; 64]>;

impl Extended {
    /// Reads what `strtold` reads: decimal or hexadecimal with an optional exponent, or infinity.
    ///
    /// `None` for anything else, for not-a-number, and for what is too large or too small.
    pub fn parse(text: &[u8]) -> Option<Extended> {
        if text.len() > TEXT_LEN_MAX {
            return None;
        }
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity") {
            return Some(Extended::Infinite { negative });
        }
        match text {
            [b'0', b'x' | b'X', rest @ ..] => parse_hexadecimal(negative, rest),
            _ => parse_decimal(negative, text),
        }
    }

    /// `self + other`, or `None` when that is infinite or not a number.
    pub fn add(self, other: Extended) -> Option<Extended> {
        let (a, b) = (self.parts()?, other.parts()?);
        let (high, low) = if (a.2, a.1) >= (b.2, b.1) { (a, b) } else { (b, a) };
        if low.1 == 0 {
            return Some(Extended::finite(high.0, high.1, high.2));
        }
        // 63 bits below the mantissa, so that no rounding but the last one happens.
        let (x, y) = (u128::from(high.1) << 63, u128::from(low.1) << 63);
        let distance = (high.2 - low.2) as u32;
        let (y, lost) = match distance {
            0..128 => (y >> distance, y & ((1 << distance) - 1) != 0),
            _ => (0, true),
        };
        let sum = match high.0 == low.0 {
            true => x + y,
            false => x - y - u128::from(lost),
        };
        match round(high.0, sum, high.2 - 63, lost) {
            Extended::Infinite { .. } => None,
            finite => Some(finite),
        }
    }

    /// The product, rounded to this precision and then up to a whole number: at least `i64::MIN`,
    /// and `None` above `i64::MAX`.
    pub fn times_rounded_up(self, factor: u32) -> Option<i64> {
        let product = match self {
            Extended::Infinite { negative } => return negative.then_some(i64::MIN),
            Extended::Finite { negative, mantissa, exponent } => {
                round(negative, u128::from(mantissa) * u128::from(factor), exponent, false)
            }
        };
        let Some((negative, mantissa, exponent)) = product.parts() else {
            return self.parts()?.0.then_some(i64::MIN);
        };
        let mantissa = i128::from(mantissa);
        let signed = if negative { -mantissa } else { mantissa };
        let whole = match exponent {
            // A mantissa that is not 0 has 64 bits.
            1.. if mantissa == 0 => 0,
            1.. if negative => i128::from(i64::MIN),
            1.. => return None,
            // Shifting rounds down.
            -126..=0 => -(-signed >> -exponent),
            _ => i128::from(signed > 0),
        };
        match i64::try_from(whole) {
            Ok(whole) => Some(whole),
            Err(_) => negative.then_some(i64::MIN),
        }
    }

    fn finite(negative: bool, mantissa: u64, exponent: i32) -> Extended {
        Extended::Finite { negative, mantissa, exponent }
    }

    fn parts(self) -> Option<(bool, u64, i32)> {
        match self {
            Extended::Finite { negative, mantissa, exponent } => {
                Some((negative, mantissa, exponent))
            }
            Extended::Infinite { .. } => None,
        }
    }

    /// The number with at most 17 decimals, without zeros at their end, never with an exponent.
    pub fn to_text(self) -> String {
        let Some((negative, mantissa, exponent)) = self.parts() else {
            let negative = matches!(self, Extended::Infinite { negative: true });
            return if negative { "-inf" } else { "inf" }.to_string();
        };
        let mut text = String::new();
        if negative {
            text.push('-');
        }
        if exponent > 64 {
            text.push_str(&Big::from(u128::from(mantissa)).shifted(exponent as usize).to_text());
            return text;
        }
        if exponent >= 0 {
            text.push_str(&(u128::from(mantissa) << exponent).to_string());
            return text;
        }
        // Below 2^121, so that a shift by 128 or more leaves less than half a decimal.
        let scaled = u128::from(mantissa) * u128::from(TEN_POW_17);
        let shift = exponent.unsigned_abs();
        let scaled = if shift < 128 { shift_to_even(scaled, shift, false) } else { 0 };
        if scaled == 0 {
            return "0".to_string();
        }
        let (whole, decimals) = (scaled / u128::from(TEN_POW_17), scaled % u128::from(TEN_POW_17));
        text.push_str(&whole.to_string());
        if decimals != 0 {
            text.push('.');
            text.push_str(format!("{decimals:017}").trim_end_matches('0'));
        }
        text
    }
}

impl From<i64> for Extended {
    fn from(value: i64) -> Extended {
        round(value < 0, u128::from(value.unsigned_abs()), 0, false)
    }
}

/// `value >> shift` (below 128), rounded to nearest, ties to even; `lost` says that there is
/// something more below the lowest bit of `value`.
fn shift_to_even(value: u128, shift: u32, lost: bool) -> u128 {
    if shift == 0 {
        return value;
    }
    let (kept, rest, half) = (value >> shift, value & ((1 << shift) - 1), 1 << (shift - 1));
    match rest.cmp(&half) {
        Ordering::Less => kept,
        Ordering::Equal if !lost && kept & 1 == 0 => kept,
        _ => kept + 1,
    }
}

/// The number nearest to `value * 2^exponent`. When bits below it were `lost`, `value` has at
/// least 66 bits.
fn round(negative: bool, value: u128, exponent: i32, lost: bool) -> Extended {
    if value == 0 {
        return Extended::finite(negative, 0, EXPONENT_MIN);
    }
    let bits = 128 - value.leading_zeros() as i32;
    let drop = (bits - 64).max(EXPONENT_MIN - exponent);
    let mut exponent = exponent + drop;
    let mut mantissa = match drop {
        ..=0 => value << -drop,
        1..128 => shift_to_even(value, drop as u32, lost),
        // Half of the smallest number or more: only there a value can still round up.
        128 if value > 1 << 127 || (value == 1 << 127 && lost) => 1,
        _ => 0,
    };
    if mantissa >> 64 != 0 {
        mantissa >>= 1;
        exponent += 1;
    }
    match exponent > EXPONENT_MAX {
        true => Extended::Infinite { negative },
        false => Extended::finite(negative, mantissa as u64, exponent),
    }
}

/// A number read from a text that is not zero must not become zero or infinite.
fn in_range(number: Extended) -> Option<Extended> {
    number.parts().filter(|(_, mantissa, _)| *mantissa != 0).map(|_| number)
}

/// Digits, the position of the point from their end (0 or negative), and what follows them.
fn split_digits(text: &[u8], is_digit: impl Fn(u8) -> bool) -> Option<(Digits, i64, &[u8])> {
    let (mut digits, mut scale, mut any) = (Digits::new(), 0, false);
    let mut point = false;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'.' if !point => point = true,
            b if is_digit(b) => {
                any = true;
                scale -= i64::from(point);
                if b != b'0' || !digits.is_empty() {
                    digits.push(b);
                }
            }
            _ => break,
        }
        at += 1;
    }
    any.then_some((digits, scale, &text[at..]))
}

/// The exponent behind `mark`; 0 when nothing is left to read.
fn parse_exponent(text: &[u8], mark: u8) -> Option<i64> {
    let [first, rest @ ..] = text else { return Some(0) };
    let (negative, digits) = match rest {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, rest),
    };
    if first.to_ascii_lowercase() != mark || digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = (value * 10 + i64::from(digit - b'0')).min(EXPONENT_CLAMP);
    }
    Some(if negative { -value } else { value })
}

fn parse_hexadecimal(negative: bool, text: &[u8]) -> Option<Extended> {
    let (digits, scale, rest) = split_digits(text, |b| b.is_ascii_hexdigit())?;
    let mut exponent = scale * 4 + parse_exponent(rest, b'p')?;
    let (mut value, mut lost) = (0u128, false);
    for &digit in &digits {
        let nibble = (digit as char).to_digit(16)?;
        match value >> 124 {
            0 => value = value << 4 | u128::from(nibble),
            _ => {
                lost |= nibble != 0;
                exponent += 4;
            }
        }
    }
    match value {
        0 => Some(Extended::finite(negative, 0, EXPONENT_MIN)),
        _ => in_range(round(negative, value, exponent as i32, lost)),
    }
}

fn parse_decimal(negative: bool, text: &[u8]) -> Option<Extended> {
    let (mut digits, scale, rest) = split_digits(text, |b| b.is_ascii_digit())?;
    let mut scale = scale + parse_exponent(rest, b'e')?;
    while digits.last() == Some(&b'0') {
        digits.pop();
        scale += 1;
    }
    if digits.is_empty() {
        return Some(Extended::finite(negative, 0, EXPONENT_MIN));
    }
    if digits.len() <= 19 && (-18..=19).contains(&scale) {
        let value = digits.iter().fold(0u64, |value, d| value * 10 + u64::from(d - b'0'));
        return Some(short_decimal(negative, value, scale as i32));
    }
    // The first digit's place: the largest number is about 1e4932, the smallest 4e-4951.
    if !(-4960..=4940).contains(&(scale + digits.len() as i64)) {
        return None;
    }
    let (value, exponent, lost) = match scale >= 0 {
        true => Big::decimal(&digits).times_ten_pow(scale as u32).top_bits(),
        false => {
            let divisor = Big::from(1).times_ten_pow(scale.unsigned_abs() as u32);
            Big::decimal(&digits).divided_by(divisor)
        }
    };
    in_range(round(negative, value, exponent, lost))
}

/// `value * 10^scale` for a scale of -18 to 19.
fn short_decimal(negative: bool, value: u64, scale: i32) -> Extended {
    let power = 10u128.pow(scale.unsigned_abs());
    if scale >= 0 {
        return round(negative, u128::from(value) * power, 0, false);
    }
    // The dividend has 128 bits and the divisor at most 60: enough remain for the rounding.
    let shift = u128::from(value).leading_zeros();
    let dividend = u128::from(value) << shift;
    round(negative, dividend / power, -(shift as i32), dividend % power != 0)
}

/// A natural number of any size: 32-bit limbs, the lowest first, none of them zero at the end.
#[derive(Clone)]
struct Big(Vec<u32>);

impl From<u128> for Big {
    fn from(value: u128) -> Big {
        let mut big = Big((0..4).map(|i| (value >> (32 * i)) as u32).collect());
        big.trim();
        big
    }
}

impl Big {
    fn decimal(digits: &[u8]) -> Big {
        let mut big = Big(Vec::new());
        for chunk in digits.chunks(9) {
            let value = chunk.iter().fold(0u32, |value, d| value * 10 + u32::from(d - b'0'));
            big.multiply_add(10u32.pow(chunk.len() as u32), value);
        }
        big
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for limb in &mut self.0 {
            let value = u64::from(*limb) * u64::from(factor) + carry;
            *limb = value as u32;
            carry = value >> 32;
        }
        if carry != 0 {
            self.0.push(carry as u32);
        }
    }

    fn times_ten_pow(mut self, power: u32) -> Big {
        for _ in 0..power / 9 {
            self.multiply_add(1_000_000_000, 0);
        }
        self.multiply_add(10u32.pow(power % 9), 0);
        self
    }

    fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }

    fn shifted(&self, shift: usize) -> Big {
        let (limbs, bits) = (shift / 32, shift % 32);
        let mut shifted = vec![0; limbs];
        let mut carry = 0u64;
        for &limb in &self.0 {
            let value = u64::from(limb) << bits | carry;
            shifted.push(value as u32);
            carry = value >> 32;
        }
        shifted.push(carry as u32);
        let mut big = Big(shifted);
        big.trim();
        big
    }

    fn at_least(&self, other: &Big) -> bool {
        let lengths = self.0.len().cmp(&other.0.len());
        lengths.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev())).is_ge()
    }

    /// Takes away `other`, which is not larger.
    fn subtract(&mut self, other: &Big) {
        let mut borrow = 0i64;
        for (at, limb) in self.0.iter_mut().enumerate() {
            let value =
                i64::from(*limb) - i64::from(other.0.get(at).copied().unwrap_or(0)) + borrow;
            *limb = value as u32;
            borrow = value >> 32;
        }
        self.trim();
    }

    /// The highest bits with their exponent, and whether any of the others is set.
    fn top_bits(&self) -> (u128, i32, bool) {
        let skip = self.0.len().saturating_sub(4);
        let (low, high) = self.0.split_at(skip);
        let value = high.iter().rev().fold(0u128, |value, &limb| value << 32 | u128::from(limb));
        (value, skip as i32 * 32, low.iter().any(|&limb| limb != 0))
    }

    /// 68 bits of the quotient with their exponent, and whether there would be more.
    fn divided_by(mut self, divisor: Big) -> (u128, i32, bool) {
        const BITS: i32 = 68;
        let mut exponent = self.bits() as i32 - divisor.bits() as i32;
        let divisor = divisor.shifted(exponent.max(0) as usize);
        self = self.shifted((-exponent).max(0) as usize);
        if !self.at_least(&divisor) {
            self = self.shifted(1);
            exponent -= 1;
        }
        let mut quotient = 0;
        for _ in 0..BITS {
            quotient <<= 1;
            if self.at_least(&divisor) {
                self.subtract(&divisor);
                quotient |= 1;
            }
            self = self.shifted(1);
        }
        (quotient, exponent - (BITS - 1), !self.0.is_empty())
    }

    fn to_text(&self) -> String {
        let mut limbs = self.0.clone();
        let mut groups = Vec::new();
        while !limbs.is_empty() {
            let mut rest = 0u64;
            for limb in limbs.iter_mut().rev() {
                let value = rest << 32 | u64::from(*limb);
                *limb = (value / 1_000_000_000) as u32;
                rest = value % 1_000_000_000;
            }
            groups.push(rest);
            while limbs.last() == Some(&0) {
                limbs.pop();
            }
        }
        let mut text = groups.pop().unwrap_or(0).to_string();
        for group in groups.iter().rev() {
            text.push_str(&format!("{group:09}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(input: &str) -> Option<String> {
        Extended::parse(input.as_bytes()).map(Extended::to_text)
    }

    fn sum(a: &str, b: &str) -> Option<String> {
        let (a, b) =
            (Extended::parse(a.as_bytes()).unwrap(), Extended::parse(b.as_bytes()).unwrap());
        a.add(b).map(Extended::to_text)
    }

    /// The expected texts are those of redis-server 7.0 on x86-64.
    #[test]
    fn sums_are_those_of_a_long_double() {
        for (a, b, expected) in [
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("1000.6", "0.1", "1000.69999999999999996"),
            ("0.1", "0.2", "0.3"),
            ("3", "1.1", "4.1"),
            ("-1.5", "1.5", "0"),
            ("-1e-20", "0", "0"),
            ("1e17", "0.1", "100000000000000000.1015625"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("18446744073709551616", "1", "18446744073709551616"),
            ("0x1p3", "0x.8", "8.5"),
            ("1e40", "0.5", "9999999999999999999783686092270256259072"),
        ] {
            assert_eq!(sum(a, b).as_deref(), Some(expected), "{a} + {b}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for input in [
            "",
            "-",
            "+",
            ".",
            "-.",
            "1e",
            "1e+",
            "e5",
            " 1",
            "1 ",
            "1x",
            "0x",
            "0x.",
            "0x1p",
            "nan",
            "-nan",
            "infinit",
            "1e5000",
            "1e-5000",
            "0x1p16384",
            "1.0.0",
            "--1",
            "1_0",
        ] {
            assert_eq!(text(input), None, "{input:?}");
        }
        assert_eq!(text(&"1".repeat(5120)), None);
        assert_eq!(text("0e99999999999"), Some("0".to_string()));
        assert_eq!(text("-0"), Some("0".to_string()));
        assert_eq!(text("-.5e1"), Some("-5".to_string()));
        assert_eq!(text("+5."), Some("5".to_string()));
    }

    #[test]
    fn infinity_is_read_and_never_the_result() {
        let infinity = Extended::parse(b"-Infinity").unwrap();
        assert_eq!(infinity, Extended::Infinite { negative: true });
        assert_eq!(infinity.add(Extended::from(1)), None);
        assert_eq!(sum("1.18e4932", "1.18e4932"), None);
    }

    #[test]
    fn extremes_keep_their_digits() {
        let largest = text("0x1.fffffffffffffffep16383").unwrap();
        assert_eq!(largest.len(), 4933);
        assert!(largest.starts_with("118973149535723176502126385303"));
        assert_eq!(text(&largest), Some(largest));
        let smallest = Extended::parse(b"0x1p-16445").unwrap();
        assert_eq!(smallest, Extended::finite(false, 1, EXPONENT_MIN));
        assert_eq!(Extended::parse(b"3.6e-4951"), Some(smallest));
        assert_eq!(Extended::parse(b"1e-4951"), None);
    }

    /// The short path and the long one must agree wherever both apply.
    #[test]
    fn both_paths_give_the_same_number() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let value = random.u64(1..) >> random.u32(0..64);
            let value = value.clamp(1, 9_999_999_999_999_999_999);
            let scale = random.i32(-18..=19);
            let digits = value.to_string();
            let (top, exponent, lost) = match scale >= 0 {
                true => Big::decimal(digits.as_bytes()).times_ten_pow(scale as u32).top_bits(),
                false => Big::decimal(digits.as_bytes())
                    .divided_by(Big::from(1).times_ten_pow(scale.unsigned_abs())),
            };
            let long = round(false, top, exponent, lost);
            assert_eq!(short_decimal(false, value, scale), long, "{value}e{scale}");
        }
    }

    /// As `ceill(strtold(text) * 1000.0)` on x86-64 has it.
    #[test]
    fn seconds_become_milliseconds() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0.001", Some(1)),
            ("-0.001", Some(0)),
            ("0.0001", Some(1)),
            ("-0.0001", Some(0)),
            ("0.1", Some(100)),
            ("0.007", Some(7)),
            ("12.3456", Some(12346)),
            ("-1.5", Some(-1500)),
            ("1e-400", Some(1)),
            ("9223372036854775.807", Some(9223372036854775807)),
            ("9223372036854775.808", None),
            ("9223372036854775", Some(9223372036854775000)),
            ("-1e30", Some(-9223372036854775808)),
            ("1e30", None),
            ("1e20", None),
            ("-1e20", Some(-9223372036854775808)),
            ("0x1p-4", Some(63)),
            ("123456789.123", Some(123456789123)),
            ("4.35", Some(4350)),
            ("-inf", Some(-9223372036854775808)),
            ("inf", None),
        ] {
            let number = Extended::parse(text.as_bytes()).unwrap();
            assert_eq!(number.times_rounded_up(1000), expected, "{text}");
        }
    }
}
