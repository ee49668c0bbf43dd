//! The words of Lua 5.1.

use std::borrow::Cow;

#[derive(Debug, Clone, PartialEq)]
pub enum Token<'a> {
    Name(&'a [u8]),
    Text(Cow<'a, [u8]>),
    Number,
    /// A keyword or an operator.
    Sign(&'static str),
    End,
}

const KEYWORDS: [&str; 21] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local",
    "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];

/// Longer ones before those that they begin with.
const OPERATORS: [&str; 26] = [
    "...", "..", "==", "~=", "<=", ">=", "+", "-", "*", "/", "%", "^", "#", "<", ">", "=", "(",
    ")", "{", "}", "[", "]", ";", ":", ",", ".",
];

/// Reads words from the front. A copy reads ahead.
#[derive(Clone)]
pub struct Lexer<'a> {
    rest: &'a [u8],
}

impl<'a> Lexer<'a> {
    /// Without the line that says what the script is.
    pub fn new(body: &'a [u8]) -> Lexer<'a> {
        let line = if body.starts_with(b"#!") { line_len(body) } else { 0 };
        Lexer { rest: &body[line..] }
    }

    /// The next word; nothing when it isn't Lua.
    pub fn next(&mut self) -> Option<Token<'a>> {
        self.skip_space()?;
        let Some(&first) = self.rest.first() else { return Some(Token::End) };
        match first {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => Some(self.name()),
            b'0'..=b'9' => self.number(),
            b'.' if self.rest.get(1).is_some_and(u8::is_ascii_digit) => self.number(),
            b'"' | b'\'' => self.quoted(first),
            b'[' => match self.long() {
                Long::Is(text) => Some(Token::Text(Cow::Borrowed(text))),
                Long::Not => self.operator(),
                Long::Unfinished => None,
            },
            _ => self.operator(),
        }
    }

    fn skip_space(&mut self) -> Option<()> {
        loop {
            let space = self.rest.iter().take_while(|byte| is_space(**byte)).count();
            self.rest = &self.rest[space..];
            let Some(comment) = self.rest.strip_prefix(b"--") else { return Some(()) };
            self.rest = comment;
            match self.long() {
                Long::Is(_) => {}
                Long::Not => self.rest = &self.rest[line_len(self.rest)..],
                Long::Unfinished => return None,
            }
        }
    }

    fn name(&mut self) -> Token<'a> {
        let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
        let len = self.rest.iter().take_while(is_part).count();
        let (name, rest) = self.rest.split_at(len);
        self.rest = rest;
        match KEYWORDS.iter().find(|keyword| keyword.as_bytes() == name) {
            Some(keyword) => Token::Sign(keyword),
            None => Token::Name(name),
        }
    }

    fn number(&mut self) -> Option<Token<'a>> {
        let mut len = 0;
        while let Some(&byte) = self.rest.get(len) {
            let is_sign = matches!(byte, b'-' | b'+')
                && matches!(self.rest[len - 1], b'e' | b'E')
                && !self.rest.starts_with(b"0x")
                && !self.rest.starts_with(b"0X");
            if !is_sign && !byte.is_ascii_alphanumeric() && byte != b'.' && byte != b'_' {
                break;
            }
            len += 1;
        }
        self.rest = &self.rest[len..];
        Some(Token::Number)
    }

    fn operator(&mut self) -> Option<Token<'a>> {
        let found = OPERATORS.iter().find(|sign| self.rest.starts_with(sign.as_bytes()))?;
        self.rest = &self.rest[found.len()..];
        Some(Token::Sign(found))
    }

    fn quoted(&mut self, quote: u8) -> Option<Token<'a>> {
        let mut text = Vec::new();
        let mut at = 1;
        loop {
            match *self.rest.get(at)? {
                byte if byte == quote => break,
                b'\n' | b'\r' => return None,
                b'\\' => at += self.escape(at + 1, &mut text)?,
                byte => text.push(byte),
            }
            at += 1;
        }
        self.rest = &self.rest[at + 1..];
        Some(Token::Text(Cow::Owned(text)))
    }

    /// Reads what follows a backslash, and gives its length.
    fn escape(&self, at: usize, text: &mut Vec<u8>) -> Option<usize> {
        let byte = *self.rest.get(at)?;
        let is_digit = |byte: &&u8| byte.is_ascii_digit();
        let digits = self.rest[at..].iter().take(3).take_while(is_digit);
        let len = digits.clone().count();
        if len > 0 {
            let value = digits.fold(0, |value: u32, digit| value * 10 + u32::from(digit - b'0'));
            text.push(u8::try_from(value).ok()?);
            return Some(len);
        }
        let pair = (byte, self.rest.get(at + 1));
        text.push(match byte {
            b'a' => 0x07,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' | b'\n' | b'\r' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            other => other,
        });
        Some(if matches!(pair, (b'\r', Some(b'\n')) | (b'\n', Some(b'\r'))) { 2 } else { 1 })
    }

    /// A string or comment between `[==[` and `]==]`, without the line break that it begins with.
    fn long(&mut self) -> Long<'a> {
        let Some(after) = self.rest.strip_prefix(b"[") else { return Long::Not };
        let level = after.iter().take_while(|&&byte| byte == b'=').count();
        let Some(inner) = after[level..].strip_prefix(b"[") else { return Long::Not };
        let close = [b"]", &b"=".repeat(level)[..], b"]"].concat();
        let end = inner.windows(close.len()).position(|window| window == close);
        let Some(end) = end else { return Long::Unfinished };
        self.rest = &inner[end + close.len()..];
        let text = &inner[..end];
        let breaks: [&[u8]; 4] = [b"\r\n", b"\n\r", b"\n", b"\r"];
        let shorter = breaks.iter().find_map(|line_break| text.strip_prefix(*line_break));
        Long::Is(shorter.unwrap_or(text))
    }
}

enum Long<'a> {
    Is(&'a [u8]),
    Not,
    Unfinished,
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// The length of the first line.
fn line_len(text: &[u8]) -> usize {
    text.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<Vec<String>> {
        let mut lexer = Lexer::new(text.as_bytes());
        let mut words = Vec::new();
        loop {
            words.push(match lexer.next()? {
                Token::Name(name) => String::from_utf8_lossy(name).into_owned(),
                Token::Text(text) => format!("{:?}", String::from_utf8_lossy(&text)),
                Token::Number => "0".to_string(),
                Token::Sign(sign) => sign.to_string(),
                Token::End => return Some(words),
            });
        }
    }

    #[test]
    fn words_of_all_kinds() {
        let text = "#!lua flags=x\nlocal a_1 = b.c..'d\\n\\065\\'' --x\n--[[ y\n]]--[==[ ]] ]==] z";
        let expected = ["local", "a_1", "=", "b", ".", "c", "..", "\"d\\nA'\"", "z"];
        assert_eq!(words(text).unwrap(), expected);
        assert_eq!(words("[[\na]]..[=[]]]=]").unwrap(), ["\"a\"", "..", "\"]]\""]);
        assert_eq!(words("1+0x1f-1e-5*.5..3").unwrap(), ["0", "+", "0", "-", "0", "*", "0"]);
        assert_eq!(words("a[b]~=...").unwrap(), ["a", "[", "b", "]", "~=", "..."]);
        assert_eq!(words("\"a\\\nb\"").unwrap(), ["\"a\\nb\""]);
        for wrong in ["'a", "'a\nb'", "[[a", "--[[a", "a ! b", "'\\999'", "a ~ b"] {
            assert_eq!(words(wrong), None, "{wrong}");
        }
    }
}
