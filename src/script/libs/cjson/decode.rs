//! A value from JSON.

use super::super::super::lua::{Lua, Raise};
use super::Config;
use crate::data::double;
use smallvec::SmallVec;
use std::ffi::c_int;

/// What a text is made of. Strings and numbers are read with it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    /// Without escapes, it is in the text; otherwise it has been unescaped.
    String {
        start: usize,
        end: usize,
    },
    Unescaped,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Token {
    /// As errors name it.
    fn name(self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String { .. } | Token::Unescaped => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Error(what) => what,
        }
    }
}

/// A collection that is being filled; it is on the stack, and of an object the key of the next value.
enum Open {
    Object,
    Array { at: usize },
}

struct Reader<'a> {
    lua: Lua,
    config: Config,
    text: &'a [u8],
    at: usize,
    /// Where the last token, or the error in it, is.
    token_at: usize,
    unescaped: Vec<u8>,
}

pub fn decode(lua: Lua) -> Result<c_int, Raise> {
    if lua.top() != 1 {
        return Err(Raise::Argument(1, c"expected 1 argument"));
    }
    let text = lua.check_text(1)?;
    if text.len() >= 2 && text[..2].contains(&0) {
        return Err(lua.error(b"JSON parser does not support UTF-16 or UTF-32"));
    }
    let config = lua.state().json.get();
    let unescaped = Vec::new();
    let mut reader = Reader { lua, config, text, at: 0, token_at: 0, unescaped };
    reader.document()?;
    Ok(1)
}

impl Reader<'_> {
    fn expected(&self, what: &str, found: Token) -> Raise {
        let (found, place) = (found.name(), self.token_at + 1);
        let text = format!("Expected {what} but found {found} at character {place}");
        self.lua.error(text.as_bytes())
    }

    /// Makes room for one more collection.
    fn descend(&self, depth: usize) -> Result<(), Raise> {
        if depth <= self.config.decode_depth as usize && self.lua.room(4) {
            return Ok(());
        }
        let place = self.at;
        let text = format!("Found too many nested data structures ({depth}) at character {place}");
        Err(self.lua.error(text.as_bytes()))
    }

    fn document(&mut self) -> Result<(), Raise> {
        let lua = self.lua;
        let mut open: SmallVec<[Open; 8]> = SmallVec::new();
        let mut token = self.next();
        'value: loop {
            match token {
                Token::String { .. } | Token::Unescaped => self.push_string(token),
                Token::Number(number) => lua.push_number(number),
                Token::Boolean(value) => lua.push_bool(value),
                Token::Null => lua.push_null(),
                Token::ObjectBegin => {
                    self.descend(open.len() + 1)?;
                    lua.push_table(0, 0);
                    token = self.next();
                    if token != Token::ObjectEnd {
                        open.push(Open::Object);
                        token = self.key(token)?;
                        continue 'value;
                    }
                }
                Token::ArrayBegin => {
                    self.descend(open.len() + 1)?;
                    lua.push_table(0, 0);
                    token = self.next();
                    if token != Token::ArrayEnd {
                        open.push(Open::Array { at: 1 });
                        continue 'value;
                    }
                }
                _ => return Err(self.expected("value", token)),
            }
            // A value is complete, and perhaps the collections that it is in.
            while let Some(collection) = open.last_mut() {
                match collection {
                    Open::Object => {
                        lua.raw_set(-3);
                        token = self.next();
                        if token == Token::Comma {
                            let key = self.next();
                            token = self.key(key)?;
                            continue 'value;
                        }
                        if token != Token::ObjectEnd {
                            return Err(self.expected("comma or object end", token));
                        }
                    }
                    Open::Array { at } => {
                        lua.raw_set_index(-2, *at);
                        *at += 1;
                        token = self.next();
                        if token == Token::Comma {
                            token = self.next();
                            continue 'value;
                        }
                        if token != Token::ArrayEnd {
                            return Err(self.expected("comma or array end", token));
                        }
                    }
                }
                open.pop();
            }
            break;
        }
        match self.next() {
            Token::End => Ok(()),
            token => Err(self.expected("the end", token)),
        }
    }

    /// Pushes a key, and gives the first token of its value.
    fn key(&mut self, token: Token) -> Result<Token, Raise> {
        if !matches!(token, Token::String { .. } | Token::Unescaped) {
            return Err(self.expected("object key string", token));
        }
        self.push_string(token);
        match self.next() {
            Token::Colon => Ok(self.next()),
            token => Err(self.expected("colon", token)),
        }
    }

    fn push_string(&self, token: Token) {
        self.lua.push_bytes(match token {
            Token::String { start, end } => &self.text[start..end],
            _ => &self.unescaped,
        });
    }

    /// The byte at a place; 0 behind the end, as a NUL in the text ends it, too.
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn next(&mut self) -> Token {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.token_at = self.at;
        let token = match self.byte(self.at) {
            b'{' => Token::ObjectBegin,
            b'}' => Token::ObjectEnd,
            b'[' => Token::ArrayBegin,
            b']' => Token::ArrayEnd,
            b',' => Token::Comma,
            b':' => Token::Colon,
            0 => return Token::End,
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => {
                if !self.config.decode_invalid && self.is_invalid_number() {
                    return Token::Error("invalid number");
                }
                return self.number();
            }
            b'f' | b'i' | b'I' | b'n' | b'N' | b't' | b'+' => return self.word(),
            _ => return Token::Error("invalid token"),
        };
        self.at += 1;
        token
    }

    fn word(&mut self) -> Token {
        let rest = &self.text[self.at..];
        for (word, token) in [
            (&b"true"[..], Token::Boolean(true)),
            (b"false", Token::Boolean(false)),
            (b"null", Token::Null),
        ] {
            if rest.starts_with(word) {
                self.at += word.len();
                return token;
            }
        }
        match self.config.decode_invalid && self.is_invalid_number() {
            true => self.number(),
            false => Token::Error("invalid token"),
        }
    }

    /// Whether what looks like a number is one for C but not for JSON.
    fn is_invalid_number(&self) -> bool {
        let at = match self.byte(self.at) {
            b'+' => return true,
            b'-' => self.at + 1,
            _ => self.at,
        };
        let next = self.byte(at + 1);
        match self.byte(at) {
            b'0' => matches!(next, b'x' | b'X' | b'0'..=b'9'),
            0..=b'9' => false,
            _ => {
                let word = self.text.get(at..at + 3).unwrap_or_default();
                word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan")
            }
        }
    }

    fn number(&mut self) -> Token {
        match read_number(&self.text[self.at..]) {
            Some((number, len)) => {
                self.at += len;
                Token::Number(number)
            }
            None => Token::Error("invalid number"),
        }
    }

    fn string_error(&mut self, what: &'static str) -> Token {
        self.token_at = self.at;
        Token::Error(what)
    }

    fn string(&mut self) -> Token {
        self.at += 1;
        let start = self.at;
        let is_end = |byte: &u8| matches!(byte, b'"' | b'\\' | 0);
        let plain = self.text[start..].iter().position(is_end);
        self.at = plain.map_or(self.text.len(), |len| start + len);
        if self.byte(self.at) == b'"' {
            let end = self.at;
            self.at += 1;
            return Token::String { start, end };
        }
        self.unescaped.clear();
        self.unescaped.extend_from_slice(&self.text[start..self.at]);
        loop {
            match self.byte(self.at) {
                b'"' => break,
                0 => return self.string_error("unexpected end of string"),
                b'\\' => {
                    let byte = match self.byte(self.at + 1) {
                        byte @ (b'"' | b'\\' | b'/') => byte,
                        b'b' => 0x08,
                        b't' => b'\t',
                        b'n' => b'\n',
                        b'f' => 0x0c,
                        b'r' => b'\r',
                        b'u' => match self.unicode() {
                            Some(()) => continue,
                            None => return self.string_error("invalid unicode escape code"),
                        },
                        _ => return self.string_error("invalid escape code"),
                    };
                    self.unescaped.push(byte);
                    self.at += 2;
                }
                byte => {
                    self.unescaped.push(byte);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        Token::Unescaped
    }

    /// Four hexadecimal digits.
    fn hex4(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 4)?;
        digits.iter().try_fold(0, |sum, byte| Some(sum << 4 | char::from(*byte).to_digit(16)?))
    }

    /// A `\uXXXX`, or a pair of them.
    fn unicode(&mut self) -> Option<()> {
        let mut code = self.hex4(self.at + 2)?;
        let mut len = 6;
        if code & 0xf800 == 0xd800 {
            let follows = self.text.get(self.at + 6..self.at + 8) == Some(b"\\u");
            if code & 0x400 != 0 || !follows {
                return None;
            }
            let low = self.hex4(self.at + 8).filter(|low| low & 0xfc00 == 0xdc00)?;
            code = ((code & 0x3ff) << 10 | low & 0x3ff) + 0x1_0000;
            len = 12;
        }
        let letter = char::from_u32(code)?;
        self.unescaped.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        self.at += len;
        Some(())
    }
}

/// The number that a text begins with, and its length, as C's `strtod` reads it.
fn read_number(text: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let negative = text.first() == Some(&b'-');
    let digits = |from: usize, is: fn(&u8) -> bool| {
        text.get(from..).unwrap_or_default().iter().take_while(|byte| is(byte)).count()
    };
    let starts = |word: &[u8]| {
        let start = text.get(sign..sign + word.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    let signed = |value: f64| if negative { -value } else { value };
    for (word, value) in
        [(&b"infinity"[..], f64::INFINITY), (b"inf", f64::INFINITY), (b"nan", f64::NAN)]
    {
        if starts(word) {
            return Some((signed(value), sign + word.len()));
        }
    }
    if starts(b"0x") {
        let whole = digits(sign + 2, u8::is_ascii_hexdigit);
        let mut end = sign + 2 + whole;
        let mut count = whole;
        if text.get(end) == Some(&b'.') {
            let fraction = digits(end + 1, u8::is_ascii_hexdigit);
            count += fraction;
            end += if count > 0 { 1 + fraction } else { 0 };
        }
        if count == 0 {
            return Some((signed(0.0), sign + 1));
        }
        end += exponent(text, end, b'p');
        return Some((double::parse(&text[..end]).unwrap_or(signed(f64::INFINITY)), end));
    }
    let whole = digits(sign, u8::is_ascii_digit);
    let mut end = sign + whole;
    if text.get(end) == Some(&b'.') {
        let fraction = digits(end + 1, u8::is_ascii_digit);
        if whole + fraction == 0 {
            return None;
        }
        end += 1 + fraction;
    } else if whole == 0 {
        return None;
    }
    end += exponent(text, end, b'e');
    let number = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some((number, end))
}

/// The length of an exponent at a place, if there is one.
fn exponent(text: &[u8], at: usize, letter: u8) -> usize {
    if !text.get(at).is_some_and(|byte| byte.eq_ignore_ascii_case(&letter)) {
        return 0;
    }
    let sign = usize::from(matches!(text.get(at + 1), Some(b'-' | b'+')));
    let digits = text[at + 1 + sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 { 0 } else { 1 + sign + digits }
}
