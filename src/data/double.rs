//! Doubles as text: read as C's `strtod` does, written as Redis writes scores and distances.
//!
//! | function | text |
//! |---|---|
//! | [`shortest`] | few digits that read back as the same double: scores |
//! | [`general`] | 17 significant digits, as `%.17g`: scores in ZSCAN of big sets |
//! | [`significant`] | any number of significant digits: JSON |
//! | [`plain`] | up to 17 decimals, never an exponent: coordinates |
//! | [`four_decimals`] | exactly four decimals: distances |

mod grisu;

use super::number::parse_i64;
use smallvec::SmallVec;
use std::ops::Deref;

/// A short text on the stack.
#[derive(Clone, Default)]
pub struct Text(SmallVec<[u8; 32]>);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits, signs and letters of ASCII")
    }
}

impl Text {
    fn of(text: &str) -> Text {
        Text(SmallVec::from_slice(text.as_bytes()))
    }

    fn push(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
    }

    fn zeros(&mut self, count: usize) {
        self.0.resize(self.0.len() + count, b'0');
    }
}

/// Integers up to here, half of the greatest, are written without an exponent.
const INTEGER_MAX: f64 = (i64::MAX / 2) as f64;

/// The integer that a double is, if it is one and not too large to be written as such.
#[inline]
fn integer_of(value: f64) -> Option<i64> {
    let int = value as i64;
    (value.abs() <= INTEGER_MAX && int as f64 == value).then_some(int)
}

/// Digits enough to read back the same double, with an exponent where that is usual.
#[inline]
pub fn shortest(value: f64) -> Text {
    match integer_of(value) {
        Some(0) if value.is_sign_negative() => Text::of("-0"),
        Some(int) => Text::of(itoa::Buffer::new().format(int)),
        None => shortest_of_fraction(value),
    }
}

fn shortest_of_fraction(value: f64) -> Text {
    if value.is_nan() {
        return Text::of("nan");
    }
    let mut text = Text::default();
    if value < 0.0 {
        text.push(b"-");
    }
    if value.is_infinite() {
        text.push(b"inf");
        return text;
    }
    let (digits, len, exponent) = grisu::digits(value.abs());
    write_digits(&mut text, &digits[..len], exponent);
    text
}

/// Writes `digits * 10^exponent` as Redis does: in full if that takes few zeros.
fn write_digits(text: &mut Text, digits: &[u8], exponent: i32) {
    let len = digits.len() as i32;
    // Of the first digit.
    let leading = exponent + len - 1;
    if exponent >= 0 && leading.abs() < len + 7 {
        text.push(digits);
        text.zeros(exponent as usize);
    } else if exponent < 0 && (exponent > -7 || leading.abs() < 4) {
        match usize::try_from(len + exponent) {
            Ok(whole @ 1..) => {
                text.push(&digits[..whole]);
                text.push(b".");
                text.push(&digits[whole..]);
            }
            _ => {
                text.push(b"0.");
                text.zeros((-exponent - len) as usize);
                text.push(digits);
            }
        }
    } else {
        text.push(&digits[..1]);
        if len > 1 {
            text.push(b".");
            text.push(&digits[1..]);
        }
        text.push(if leading < 0 { b"e-" } else { b"e+" });
        text.push(itoa::Buffer::new().format(leading.abs()).as_bytes());
    }
}

/// As `%.17g` writes it: 17 significant digits without zeros at their end.
pub fn general(value: f64) -> Text {
    significant(value, 17)
}

/// As `%.<precision>g` writes it: so many significant digits, at least 1, without zeros at their end.
pub fn significant(value: f64, precision: u8) -> Text {
    let precision = i32::from(precision);
    if !value.is_finite() || value == 0.0 {
        return shortest(value);
    }
    let scientific = format!("{:.*e}", precision as usize - 1, value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: SmallVec<[u8; 20]> = mantissa.bytes().filter(|b| *b != b'.').collect();
    let end = digits.iter().rposition(|d| *d != b'0').map_or(1, |last| last + 1);
    let digits = &digits[..end];
    let mut text = Text::of(if value < 0.0 { "-" } else { "" });
    if !(-4..precision).contains(&exponent) {
        text.push(&digits[..1]);
        if digits.len() > 1 {
            text.push(b".");
            text.push(&digits[1..]);
        }
        text.push(if exponent < 0 { b"e-" } else { b"e+" });
        text.push(format!("{:02}", exponent.abs()).as_bytes());
    } else if exponent < 0 {
        text.push(b"0.");
        text.zeros((-exponent - 1) as usize);
        text.push(digits);
    } else {
        let whole = exponent as usize + 1;
        text.push(&digits[..whole.min(digits.len())]);
        text.zeros(whole.saturating_sub(digits.len()));
        if digits.len() > whole {
            text.push(b".");
            text.push(&digits[whole..]);
        }
    }
    text
}

/// At most 17 decimals, without zeros at their end; for numbers of some size, as coordinates are.
pub fn plain(value: f64) -> Text {
    let text = format!("{value:.17}");
    match text.trim_end_matches('0').trim_end_matches('.') {
        "-0" => Text::of("0"),
        text => Text::of(text),
    }
}

/// Exactly four decimals, rounded after multiplying.
pub fn four_decimals(value: f64) -> Text {
    if value == 0.0 {
        return Text::of("0.0000");
    }
    let scaled = (value * 10_000.0).round_ties_even() as i64;
    let magnitude = scaled.unsigned_abs();
    let sign = if scaled < 0 { "-" } else { "" };
    Text::of(&format!("{sign}{}.{:04}", magnitude / 10_000, magnitude % 10_000))
}

/// The text as a double, if all of it is one that a double can hold: decimal or hexadecimal, or an
/// infinity; neither NaN nor spaces.
#[inline]
pub fn parse(text: &[u8]) -> Option<f64> {
    if let Some(int) = parse_i64(text) {
        return Some(int as f64);
    }
    let (value, in_range) = read(text)?;
    in_range.then_some(value)
}

/// As [`parse`], but as loosely as a limit of a range is read: spaces in front are skipped, what
/// follows a NUL is ignored, what is too large or too small becomes infinity or zero, and nothing at all is 0.
pub fn parse_limit(text: &[u8]) -> Option<f64> {
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let spaces = text.iter().take_while(|b| matches!(b, b' ' | b'\t'..=b'\r')).count();
    read(&text[spaces..]).map(|(value, _)| value)
}

/// A number, and whether it is neither an overflow nor an underflow to zero.
fn read(text: &[u8]) -> Option<(f64, bool)> {
    let unsigned = match text {
        [b'-' | b'+', rest @ ..] => rest,
        _ => text,
    };
    match unsigned {
        [b'0', b'x' | b'X', rest @ ..] => {
            let (value, in_range) = hexadecimal(rest)?;
            Some((if text.starts_with(b"-") { -value } else { value }, in_range))
        }
        [b'0'..=b'9' | b'.', ..] => {
            let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            let digits = unsigned.iter().take_while(|b| !matches!(b, b'e' | b'E'));
            let zero = digits.clone().all(|b| matches!(b, b'0' | b'.'));
            Some((value, value.is_finite() && (value != 0.0 || zero)))
        }
        _ => {
            let infinite =
                unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity");
            let value = if text.starts_with(b"-") { f64::NEG_INFINITY } else { f64::INFINITY };
            infinite.then_some((value, true))
        }
    }
}

/// What follows `0x`: digits with at most one point, then perhaps `p` and a power of two.
fn hexadecimal(text: &[u8]) -> Option<(f64, bool)> {
    let end = text.iter().position(|b| matches!(b, b'p' | b'P')).unwrap_or(text.len());
    let (digits, power) = text.split_at(end);
    let mut power = match power {
        [] => 0,
        [_, power @ ..] => decimal_power(power)?,
    };
    let (mut mantissa, mut lost, mut seen, mut point) = (0u64, false, 0, false);
    for &byte in digits {
        if byte == b'.' && !point {
            point = true;
            continue;
        }
        let digit = char::from(byte).to_digit(16)?;
        seen += 1;
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
            power -= if point { 4 } else { 0 };
        } else {
            lost |= digit != 0;
            power += if point { 0 } else { 4 };
        }
    }
    if seen == 0 {
        return None;
    }
    if mantissa == 0 {
        return Some((0.0, true));
    }
    let value = rounded(mantissa, lost, power);
    Some((value, value.is_finite() && value != 0.0))
}

/// The decimal number behind a `p`, kept within what matters.
fn decimal_power(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |power: i64, digit: &u8| (power * 10 + i64::from(digit - b'0')).min(1 << 40);
    let power = digits.iter().fold(0, add);
    Some(if negative { -power } else { power })
}

/// `mantissa * 2^power`, a little more if something was `lost`, to the nearest double, ties to even.
fn rounded(mantissa: u64, lost: bool, power: i64) -> f64 {
    // The power of two of the top bit decides where a double's last bit is.
    let top = power + 63 - i64::from(mantissa.leading_zeros());
    if top > 1023 {
        return f64::INFINITY;
    }
    let least = (top - 52).max(-1074);
    let shift = least - power;
    let (kept, half, rest) = match shift {
        // All bits fit.
        ..=0 => (mantissa << -shift, false, false),
        1..=63 => {
            let half = 1u64 << (shift - 1);
            (mantissa >> shift, mantissa & half != 0, mantissa & (half - 1) != 0 || lost)
        }
        64 => (0, mantissa >> 63 != 0, mantissa << 1 != 0 || lost),
        _ => (0, false, true),
    };
    let kept = kept + u64::from(half && (rest || kept & 1 == 1));
    // In two steps, since the power alone can be smaller than any double with all its bits.
    kept as f64 * power_of_two(least / 2) * power_of_two(least - least / 2)
}

/// Of an exponent that a double with all its bits can have.
fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scores_are_written_as_redis_does() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-5.0, "-5"),
            (0.1, "0.1"),
            (-1.5, "-1.5"),
            (3.0e-5, "0.00003"),
            (1e-7, "1e-7"),
            (1.5e-7, "1.5e-7"),
            (1.234567e-5, "1.234567e-5"),
            (0.001234567, "0.001234567"),
            (1.5e-10, "1.5e-10"),
            (1e18, "1000000000000000000"),
            (4e18, "4000000000000000000"),
            (5e18, "5e+18"),
            (1e20, "1e+20"),
            (1.5e300, "1.5e+300"),
            (-2.5e-300, "-2.5e-300"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (123456.789, "123456.789"),
            (9007199254740993.0, "9007199254740992"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(&*shortest(value), text);
        }
    }

    #[test]
    fn other_forms_are_written_as_c_does() {
        for (value, text) in [
            (0.1, "0.10000000000000001"),
            (1.0, "1"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (-1.5e300, "-1.5000000000000001e+300"),
            (123456789.125, "123456789.125"),
            // Exactly between two texts of 17 digits: the even one.
            (1_125_899_906_842_625.2, "1125899906842625.2"),
            (1_125_899_906_842_625.8, "1125899906842625.8"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(&*general(value), text);
        }
        assert_eq!(&*plain(13.361389338970184), "13.36138933897018433");
        assert_eq!(&*plain(-0.0), "0");
        assert_eq!(&*plain(120.0), "120");
        assert_eq!(&*plain(2.5), "2.5");
        assert_eq!(&*four_decimals(166_274.151_562_6), "166274.1516");
        assert_eq!(&*four_decimals(0.00005), "0.0000");
        assert_eq!(&*four_decimals(0.0), "0.0000");
        assert_eq!(&*four_decimals(-1.0), "-1.0000");
    }

    #[test]
    fn numbers_are_read_as_strtod_does() {
        for (text, value) in [
            ("1", 1.0),
            ("+1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("-1e3", -1000.0),
            ("1E+2", 100.0),
            ("0x10", 16.0),
            ("-0X.8p1", -1.0),
            ("0x1.8", 1.5),
            ("0x1p-1074", 5e-324),
            ("0x1.8p-1074", 1e-323),
            ("0x0.8000000001p-1074", 5e-324),
            ("0xfffffffffffffbffp960", f64::MAX),
            ("0x1.fffffffffffff7p0", 1.9999999999999998),
            ("0x1.fffffffffffff8p0", 2.0),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000001p0", 1.0000000000000002),
            ("0x123456789abcdef12345p-16", 1311768467463790322.0),
            ("inf", f64::INFINITY),
            ("-InFiNiTy", f64::NEG_INFINITY),
            ("0e999999", 0.0),
            ("1e-310", 1e-310),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(value), "{text}");
        }
        for text in [
            "",
            " 1",
            "1 ",
            "nan",
            "-nan",
            "nan(x)",
            "1e",
            "e1",
            ".",
            "-",
            "+",
            "0x",
            "0x.",
            "0xp1",
            "0x1p",
            "1_0",
            "1e400",
            "-1e400",
            "1e-400",
            "0x1p5000",
            "0x1p-5000",
            "0x1p-1075",
            "0xfffffffffffffc00p960",
            "0x1.1.1",
            "1\0",
            "infi",
            "infinityx",
            "0x1g",
            "--1",
            "1.2.3",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn limits_are_read_loosely() {
        for (text, value) in [
            ("", 0.0),
            ("\0abc", 0.0),
            (" 1", 1.0),
            ("\t\n\u{b}\u{c}\r -2.5\0x", -2.5),
            ("1e400", f64::INFINITY),
            ("-1e400", f64::NEG_INFINITY),
            ("1e-400", 0.0),
            ("0x1p5000", f64::INFINITY),
        ] {
            assert_eq!(parse_limit(text.as_bytes()), Some(value), "{text:?}");
        }
        for text in [" ", "1 ", "x", "nan", "(1", "- 1"] {
            assert_eq!(parse_limit(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 4 } else { 3000 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn what_is_written_reads_back(bits: u64, decimals in -20i32..20, small in -100_000i32..100_000) {
            for value in [f64::from_bits(bits), f64::from(small) * 10f64.powi(decimals)] {
                prop_assume!(value.is_finite());
                let texts = [shortest(value), general(value)];
                for text in texts {
                    let back = text.parse::<f64>().ok().map(f64::to_bits);
                    prop_assert_eq!(back, Some(value.to_bits()), "{}", &*text);
                    prop_assert_eq!(parse(text.as_bytes()).map(f64::to_bits), Some(value.to_bits()));
                }
            }
        }

        #[test]
        fn hexadecimal_and_decimal_agree(mantissa in 1u64.., power in -900i32..960) {
            let text = format!("0x{mantissa:x}p{power}");
            let product = mantissa as f64 * 2f64.powi(power);
            prop_assert_eq!(parse(text.as_bytes()), Some(product));
        }
    }
}
