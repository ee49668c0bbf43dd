//! The patterns of BY and GET, and the numbers to sort by.
//!
//! A pattern names a key once its first star has become an element. Behind a `->` after the star
//! comes the field of a hash. `#` is the element itself. As in C, a pattern ends at a NUL for
//! whoever looks for marks in it.

use crate::command::extended::Extended;
use crate::data::hash::FieldValue;
use crate::data::packed::Element;
use crate::data::{Object, ValueRef};
use crate::shard::Keys;

#[derive(Debug, Clone, Copy)]
pub struct Pattern<'a> {
    text: &'a [u8],
    /// Where the star is.
    star: Option<usize>,
    /// Where the arrow is that ends the key's name.
    arrow: Option<usize>,
}

impl<'a> Pattern<'a> {
    pub fn new(text: &'a [u8]) -> Pattern<'a> {
        let visible = super::up_to_nul(text);
        let star = visible.iter().position(|&byte| byte == b'*');
        let arrow = star.and_then(|star| {
            let behind = &visible[star + 1..];
            let arrow = star + 1 + behind.windows(2).position(|two| two == b"->")?;
            // An arrow that points nowhere belongs to the name.
            (arrow + 2 < visible.len()).then_some(arrow)
        });
        Pattern { text, star, arrow }
    }

    /// Whether there is anything that an element could stand in for.
    pub fn has_star(self) -> bool {
        self.star.is_some()
    }

    fn is_element(self) -> bool {
        super::up_to_nul(self.text) == b"#"
    }

    /// Whether [`Pattern::find`] looks at a key.
    pub fn reads_a_key(self) -> bool {
        self.has_star() && !self.is_element()
    }

    /// The key that the pattern means for an element.
    pub fn key(self, element: &[u8]) -> Option<Vec<u8>> {
        let star = self.star?;
        let end = self.arrow.unwrap_or(self.text.len());
        Some([&self.text[..star], element, &self.text[star + 1..end]].concat())
    }

    /// What the pattern means for an element; the key's name is put together in `name`.
    pub fn find<'k>(
        self,
        keys: &'k mut Keys,
        element: &'k [u8],
        name: &mut Vec<u8>,
    ) -> Option<Element<'k>> {
        if self.is_element() {
            return Some(Element::Bytes(element));
        }
        let star = self.star?;
        let end = self.arrow.unwrap_or(self.text.len());
        name.clear();
        name.extend_from_slice(&self.text[..star]);
        name.extend_from_slice(element);
        name.extend_from_slice(&self.text[star + 1..end]);
        let now = keys.now();
        let value = keys.get(name)?.value();
        match (value, self.arrow) {
            (ValueRef::Int(int), None) => Some(Element::Int(int)),
            (ValueRef::Bytes(bytes), None) => Some(Element::Bytes(bytes)),
            (ValueRef::Object(Object::Hash(hash)), Some(arrow)) => {
                match hash.get(&self.text[arrow + 2..], now)? {
                    FieldValue::Int(int) => Some(Element::Int(int)),
                    FieldValue::Bytes(bytes) => Some(Element::Bytes(bytes)),
                }
            }
            _ => None,
        }
    }
}

/// The number that something is sorted by, as `strtod` reads it: white space in front, hexadecimal
/// and infinity are fine, nothing at all is 0; not so what is left over behind the number, what is
/// not a number, and what is too large or too small.
pub fn score_of(element: Element) -> Option<f64> {
    let text = match element {
        Element::Int(int) => return Some(int as f64),
        Element::Bytes(text) => super::up_to_nul(text),
    };
    if text.is_empty() {
        return Some(0.0);
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let number = &text[text.iter().take_while(|byte| is_space(byte)).count()..];
    let digits = number.strip_prefix(b"-").or(number.strip_prefix(b"+")).unwrap_or(number);
    match digits.first()? {
        b'0'..=b'9' | b'.' if digits[1..].first().is_none_or(|x| !matches!(x, b'x' | b'X')) => {
            decimal(number, digits)
        }
        // Hexadecimal digits, or infinity.
        b'0' | b'i' | b'I' => match Extended::parse(number)? {
            Extended::Infinite { negative: true } => Some(f64::NEG_INFINITY),
            Extended::Infinite { negative: false } => Some(f64::INFINITY),
            Extended::Finite { negative, mantissa, exponent } => {
                let half = exponent / 2;
                let scale = |exponent: i32| 2f64.powi(exponent);
                let value = mantissa as f64 * scale(half) * scale(exponent - half);
                let value = if negative { -value } else { value };
                Some(value).filter(|value| value.is_normal() || mantissa == 0)
            }
        },
        _ => None,
    }
}

fn decimal(number: &[u8], digits: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    let mantissa = digits.split(|byte| matches!(byte, b'e' | b'E')).next()?;
    let is_zero = !mantissa.iter().any(|byte| matches!(byte, b'1'..=b'9'));
    Some(value).filter(|value| value.is_normal() || is_zero)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_taken_apart_at_their_marks() {
        let parts = |text: &'static str| {
            let pattern = Pattern::new(text.as_bytes());
            (pattern.star, pattern.arrow, pattern.reads_a_key())
        };
        assert_eq!(parts("w_*"), (Some(2), None, true));
        assert_eq!(parts("h_*->f"), (Some(2), Some(3), true));
        assert_eq!(parts("*_x->f->g"), (Some(0), Some(3), true));
        assert_eq!(parts("->a*b"), (Some(3), None, true));
        assert_eq!(parts("h_*->"), (Some(2), None, true));
        assert_eq!(parts("nosort"), (None, None, false));
        assert_eq!(parts("a->b"), (None, None, false));
        assert_eq!(parts("#"), (None, None, false));
        assert_eq!(parts("x\0*"), (None, None, false));
    }

    #[test]
    fn scores_are_what_strtod_reads() {
        let score = |text: &str| score_of(Element::Bytes(text.as_bytes()));
        for (text, expected) in [
            ("", 0.0),
            ("1", 1.0),
            ("-1.5", -1.5),
            ("+2e3", 2000.0),
            (" \t7", 7.0),
            ("5.", 5.0),
            (".5", 0.5),
            ("0x10", 16.0),
            ("-0X1p-1", -0.5),
            ("0x0", 0.0),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("1\0rubbish", 1.0),
            ("0e999", 0.0),
            ("007", 7.0),
        ] {
            assert_eq!(score(text), Some(expected), "{text:?}");
        }
        for text in [
            " ", "x", "1x", "1 ", "nan", "-", ".", "e5", "1e", "1e999", "1e-999", "infinit", "--1",
            "0x",
        ] {
            assert_eq!(score(text), None, "{text:?}");
        }
        assert_eq!(score_of(Element::Int(-3)), Some(-3.0));
    }
}
