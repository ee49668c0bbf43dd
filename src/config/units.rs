//! Numbers as redis.conf and CONFIG SET write them.
//!
//! Durations have no unit suffix: an option's row says whether it counts seconds or
//! milliseconds.

const KB: u64 = 1024;
const MB: u64 = 1024 * KB;
const GB: u64 = 1024 * MB;

/// Bytes from `100`, `100b`, `1k` (1000), `1kb` (1024), `1m`, `1mb`, `1g`, `1gb`, in any case.
///
/// Unlike Redis, a value without digits and one beyond 64 bits are refused: Redis reads the
/// first as 0, which switches a limit off, and wraps the second around.
#[must_use]
pub fn parse_memory(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at(digits);
    let scale = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => KB,
        b"m" => 1000 * 1000,
        b"mb" => MB,
        b"g" => 1000 * 1000 * 1000,
        b"gb" => GB,
        _ => return None,
    };
    str::from_utf8(number).ok()?.parse::<u64>().ok()?.checked_mul(scale)
}

/// Bytes as a configuration file should show them: in the largest unit that divides them.
#[must_use]
pub fn format_memory(bytes: u64) -> String {
    for (scale, unit) in [(GB, "gb"), (MB, "mb"), (KB, "kb")] {
        if bytes != 0 && bytes.is_multiple_of(scale) {
            return format!("{}{unit}", bytes / scale);
        }
    }
    bytes.to_string()
}

/// A decimal integer in its only canonical form: no sign but `-`, no leading zero, no space.
#[must_use]
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

/// An unsigned octal number, as file permissions are written.
#[must_use]
pub fn parse_octal(text: &[u8]) -> Option<i64> {
    if !text.iter().all(|byte| matches!(byte, b'0'..=b'7')) {
        return None;
    }
    i64::from_str_radix(str::from_utf8(text).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_units() {
        for (text, bytes) in [
            ("0", 0),
            ("100", 100),
            ("100b", 100),
            ("1k", 1000),
            ("1kb", 1024),
            ("1KB", 1024),
            ("2m", 2_000_000),
            ("2Mb", 2 << 20),
            ("3g", 3_000_000_000),
            ("3gb", 3 << 30),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_memory(text.as_bytes()), Some(bytes), "{text}");
        }
        for text in [
            "",
            "mb",
            "-1",
            "+1",
            "1 mb",
            "1tb",
            "1.5gb",
            "99999999999999999999",
            "18014398509481984kb",
        ] {
            assert_eq!(parse_memory(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn memory_is_written_in_the_largest_exact_unit() {
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1kb"),
            (1536 * 1024, "1536kb"),
            (512 << 20, "512mb"),
            (1 << 30, "1gb"),
        ] {
            assert_eq!(format_memory(bytes), text);
            assert_eq!(parse_memory(text.as_bytes()), Some(bytes));
        }
    }

    #[test]
    fn integers_have_one_form() {
        assert_eq!(parse_integer(b"0"), Some(0));
        assert_eq!(parse_integer(b"-12"), Some(-12));
        assert_eq!(parse_integer(b"9223372036854775807"), Some(i64::MAX));
        for text in ["", "-", "-0", "007", "+5", " 5", "5 ", "0x10", "9223372036854775808", "1e3"] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn octal() {
        assert_eq!(parse_octal(b"0"), Some(0));
        assert_eq!(parse_octal(b"0770"), Some(0o770));
        for text in ["", "8", "-7", "7 "] {
            assert_eq!(parse_octal(text.as_bytes()), None, "{text}");
        }
    }
}
