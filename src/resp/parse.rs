//! The request parser: incremental, zero-copy, resumable.
//!
//! ```text
//! *2\r\n$3\r\nGET\r\n$1\r\nk\r\n      a multibulk request: count, then length + bytes each
//! GET "k 1"\r\n                       an inline request: words, quoted as in a shell
//! ```
//!
//! A [`Parser`] keeps what it knows of a request that has not fully arrived (how many arguments are
//! left, how long the next one is), so that no byte is looked at twice however it is cut up on
//! the way. Arguments come out as [`Span`]s of the buffer; inline words with quotes are
//! unescaped in place, where they only get shorter. Limits are checked before bytes are awaited.

use super::args::Span;

/// What a client may send; the first three are options of the same names.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `proto-max-bulk-len`, bytes.
    pub bulk_len_max: usize,
    /// Arguments of one request.
    pub multibulk_max: usize,
    /// A client that has not yet authenticated gets far less.
    pub authenticated: bool,
}

/// Longest inline request, and longest `*<count>` or `$<length>` line, in bytes.
const LINE_MAX: usize = 64 * 1024;
/// Limits before authentication, as in Redis.
const UNAUTHENTICATED_MULTIBULK_MAX: i64 = 10;
const UNAUTHENTICATED_BULK_MAX: i64 = 16384;

/// A request that cannot be understood: the connection gets the text and is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProtocolError {
    TooBigInline,
    UnbalancedQuotes,
    TooBigMultibulkCount,
    InvalidMultibulk,
    UnauthenticatedMultibulk,
    TooBigBulkCount,
    ExpectedDollar(u8),
    InvalidBulk,
    UnauthenticatedBulk,
}

impl ProtocolError {
    /// Redis' text, with the `ERR` code; bytes, since one repeats what the client sent.
    pub fn text(&self) -> Vec<u8> {
        let what: &[u8] = match self {
            ProtocolError::TooBigInline => b"too big inline request",
            ProtocolError::UnbalancedQuotes => b"unbalanced quotes in request",
            ProtocolError::TooBigMultibulkCount => b"too big mbulk count string",
            ProtocolError::InvalidMultibulk => b"invalid multibulk length",
            ProtocolError::UnauthenticatedMultibulk => b"unauthenticated multibulk length",
            ProtocolError::TooBigBulkCount => b"too big bulk count string",
            ProtocolError::ExpectedDollar(got) => {
                return [b"ERR Protocol error: expected '$', got '", &[*got][..], b"'"].concat();
            }
            ProtocolError::InvalidBulk => b"invalid bulk length",
            ProtocolError::UnauthenticatedBulk => b"unauthenticated bulk length",
        };
        [b"ERR Protocol error: ", what].concat()
    }
}

/// What one call of [`Parser::parse`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A whole request: its spans were pushed (none for an empty one), and it ends at this offset.
    Request {
        end: usize,
    },
    /// More bytes are needed; spans pushed so far stay valid relative to the request's start.
    Incomplete,
    Error(ProtocolError),
}

/// The state of the request at the head of the buffer.
#[derive(Debug, Default, Clone, Copy)]
pub struct Parser {
    /// Next byte to look at, from the start of the request.
    position: u32,
    /// Arguments still to come; 0 between requests.
    arguments_left: u32,
    /// Length of the argument being read, plus one; 0 when its `$` line is still to come.
    bulk_len_plus1: u32,
}

impl Parser {
    /// Bytes at the head that have been read, of a request that is not whole yet.
    pub fn passed(&self) -> usize {
        if self.arguments_left > 0 { self.position as usize } else { 0 }
    }

    /// Bytes that the argument now being read still needs beyond `have`, to size a buffer by.
    pub fn wanted(&self, have: usize) -> usize {
        match self.bulk_len_plus1 {
            0 => 0,
            n => (self.position as usize + n as usize + 1).saturating_sub(have),
        }
    }

    /// Reads one request from `buffer[start..]`, where the request's first byte is at `start`.
    ///
    /// Spans are pushed relative to `buffer`. After [`Step::Incomplete`] call again with the
    /// same request at the head and more bytes behind it.
    // Always, with what it calls for each argument: without, a GET takes 60 instructions of 1,700
    // more as soon as there is a second caller.
    #[inline(always)]
    pub fn parse(
        &mut self,
        buffer: &mut [u8],
        start: usize,
        spans: &mut Vec<Span>,
        limits: &Limits,
    ) -> Step {
        if self.arguments_left == 0 {
            match buffer.get(start) {
                None => return Step::Incomplete,
                Some(b'*') => match self.multibulk_count(buffer, start, limits) {
                    Ok(true) => {}
                    Ok(false) => return Step::Incomplete,
                    Err(error) => return Step::Error(error),
                },
                Some(_) => return self.inline(buffer, start, spans),
            }
        }
        while self.arguments_left > 0 {
            if self.bulk_len_plus1 == 0 {
                match self.bulk_length(buffer, start, limits) {
                    Ok(true) => {}
                    Ok(false) => return Step::Incomplete,
                    Err(error) => return Step::Error(error),
                }
            }
            let from = start + self.position as usize;
            let len = self.bulk_len_plus1 as usize - 1;
            if buffer.len() < from + len + 2 {
                return Step::Incomplete;
            }
            spans.push(Span::new(from, from + len));
            self.position += len as u32 + 2;
            self.bulk_len_plus1 = 0;
            self.arguments_left -= 1;
        }
        let end = start + self.position as usize;
        self.position = 0;
        Step::Request { end }
    }

    /// Reads `*<count>\r\n`; `false` when it has not fully arrived.
    #[inline(always)]
    fn multibulk_count(
        &mut self,
        buffer: &[u8],
        start: usize,
        limits: &Limits,
    ) -> Result<bool, ProtocolError> {
        // What nearly all requests have; no limit is so low.
        if let Some(&[_, count @ b'1'..=b'9', b'\r', _]) = buffer[start..].first_chunk() {
            self.position = 4;
            self.arguments_left = u32::from(count - b'0');
            return Ok(true);
        }
        let Some((line, next)) = line(buffer, start + 1) else {
            return match buffer.len() - start > LINE_MAX {
                true => Err(ProtocolError::TooBigMultibulkCount),
                false => Ok(false),
            };
        };
        let count = integer(line).ok_or(ProtocolError::InvalidMultibulk)?;
        if count > limits.multibulk_max as i64 {
            return Err(ProtocolError::InvalidMultibulk);
        }
        if count > UNAUTHENTICATED_MULTIBULK_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulk);
        }
        self.position = (next - start) as u32;
        self.arguments_left = count.max(0) as u32;
        Ok(true)
    }

    /// Reads `$<length>\r\n`; `false` when it has not fully arrived.
    #[inline(always)]
    fn bulk_length(
        &mut self,
        buffer: &[u8],
        start: usize,
        limits: &Limits,
    ) -> Result<bool, ProtocolError> {
        let from = start + self.position as usize;
        // One digit or two, as most arguments have; the bytes behind them are awaited anyway.
        let brief = match buffer.get(from..).and_then(<[u8]>::first_chunk) {
            Some(&[b'$', ones @ b'0'..=b'9', b'\r', _, _]) => Some((ones - b'0', 4)),
            Some(&[b'$', tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', _]) => {
                Some((10 * (tens - b'0') + ones - b'0', 5))
            }
            _ => None,
        };
        if let Some((len, header)) = brief
            && usize::from(len) <= limits.bulk_len_max
        {
            self.position += header;
            self.bulk_len_plus1 = u32::from(len) + 1;
            return Ok(true);
        }
        let Some((line, next)) = line(buffer, from) else {
            return match buffer.len().saturating_sub(from) > LINE_MAX {
                true => Err(ProtocolError::TooBigBulkCount),
                false => Ok(false),
            };
        };
        match line.first() {
            Some(b'$') => {}
            Some(&other) => return Err(ProtocolError::ExpectedDollar(other)),
            None => return Err(ProtocolError::ExpectedDollar(b'\r')),
        }
        let len = integer(&line[1..]).ok_or(ProtocolError::InvalidBulk)?;
        if len < 0 || len > limits.bulk_len_max as i64 {
            return Err(ProtocolError::InvalidBulk);
        }
        if len > UNAUTHENTICATED_BULK_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedBulk);
        }
        self.position = (next - start) as u32;
        self.bulk_len_plus1 = len as u32 + 1;
        Ok(true)
    }

    /// Reads a line of words; an empty one is a request without arguments, which is skipped.
    fn inline(&mut self, buffer: &mut [u8], start: usize, spans: &mut Vec<Span>) -> Step {
        let Some(newline) = buffer[start..].iter().position(|&b| b == b'\n') else {
            return match buffer.len() - start > LINE_MAX {
                true => Step::Error(ProtocolError::TooBigInline),
                false => Step::Incomplete,
            };
        };
        let mut end = start + newline;
        if end > start && buffer[end - 1] == b'\r' {
            end -= 1;
        }
        match split_words(buffer, start, end, spans) {
            true => Step::Request { end: start + newline + 1 },
            false => Step::Error(ProtocolError::UnbalancedQuotes),
        }
    }
}

/// The line that begins at `from`, without its end, and the offset behind it.
///
/// As in Redis a line ends at `\r` and the byte behind it is taken for the `\n`.
fn line(buffer: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let rest = buffer.get(from..)?;
    let end = rest.iter().position(|&b| b == b'\r')?;
    (from + end + 1 < buffer.len()).then(|| (&rest[..end], from + end + 2))
}

/// A decimal number as Redis reads one in a header: an optional `-`, digits, nothing else.
fn integer(line: &[u8]) -> Option<i64> {
    let (negative, digits) = match line.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, line),
    };
    if digits.is_empty() || digits.len() > 10 || (digits[0] == b'0' && digits.len() > 1) {
        return None;
    }
    let mut value = 0i64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    match negative {
        true if value == 0 => None,
        true => Some(-value),
        false => Some(value),
    }
}

/// What ends a word without quotes; fewer than separate words, as in Redis.
fn ends_word(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0)
}

/// Splits `buffer[start..end]` into words, unescaping quoted ones in place.
///
/// `false` on unbalanced quotes or when a closing quote is not followed by a space.
fn split_words(buffer: &mut [u8], start: usize, end: usize, spans: &mut Vec<Span>) -> bool {
    let mut read = start;
    loop {
        while read < end && is_space(buffer[read]) {
            read += 1;
        }
        if read >= end {
            return true;
        }
        let word = read;
        let mut write = read;
        loop {
            match buffer[..end].get(read) {
                None => break,
                Some(&b) if ends_word(b) => break,
                Some(&quote @ (b'"' | b'\'')) => {
                    match unquote(buffer, read + 1, end, quote, &mut write) {
                        Some(next) => read = next,
                        None => return false,
                    }
                    break;
                }
                Some(&b) => {
                    buffer[write] = b;
                    write += 1;
                    read += 1;
                }
            }
        }
        spans.push(Span::new(word, write));
        if buffer[..end].get(read) == Some(&0) {
            return true; // a NUL ends the line, as it does for a C string
        }
    }
}

/// Copies a quoted word to `write` up to its closing quote; the offset behind it, or `None`.
fn unquote(
    buffer: &mut [u8],
    mut read: usize,
    end: usize,
    quote: u8,
    write: &mut usize,
) -> Option<usize> {
    loop {
        let byte = *buffer[..end].get(read)?;
        let escaped = buffer[..end].get(read + 1).copied();
        let (value, used) = match (byte, escaped) {
            (0, _) => return None,
            (b, next) if b == quote => {
                return next.is_none_or(|n| is_space(n) || n == 0).then_some(read + 1);
            }
            (b'\\', Some(b'\'')) if quote == b'\'' => (b'\'', 2),
            (b'\\', Some(next)) if quote == b'"' => {
                let hex = (next == b'x').then(|| hex_pair(&buffer[..end], read + 2)).flatten();
                match hex {
                    Some(value) => (value, 4),
                    None => (unescape(next), 2),
                }
            }
            (b, _) => (b, 1),
        };
        buffer[*write] = value;
        *write += 1;
        read += used;
    }
}

fn hex_pair(buffer: &[u8], at: usize) -> Option<u8> {
    let high = (*buffer.get(at)? as char).to_digit(16)?;
    let low = (*buffer.get(at + 1)? as char).to_digit(16)?;
    Some((high * 16 + low) as u8)
}

fn unescape(letter: u8) -> u8 {
    match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { bulk_len_max: 512 << 20, multibulk_max: 1 << 20, authenticated: true };

    fn words(input: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
        let mut buffer = input.to_vec();
        let mut spans = Vec::new();
        match Parser::default().parse(&mut buffer, 0, &mut spans, &LIMITS) {
            Step::Request { end } => {
                assert_eq!(end, input.len());
                Ok(spans
                    .iter()
                    .map(|s| buffer[s.start as usize..s.end as usize].to_vec())
                    .collect())
            }
            Step::Incomplete => panic!("incomplete"),
            Step::Error(error) => Err(error),
        }
    }

    #[test]
    fn a_multibulk_request_is_read_whatever_the_cuts() {
        let input = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\n\r\n\r\n\r\n";
        let mut parser = Parser::default();
        let mut spans = Vec::new();
        for cut in 0..input.len() {
            let mut part = input[..cut].to_vec();
            assert_eq!(parser.parse(&mut part, 0, &mut spans, &LIMITS), Step::Incomplete);
        }
        let mut whole = input.to_vec();
        let step = parser.parse(&mut whole, 0, &mut spans, &LIMITS);
        assert_eq!(step, Step::Request { end: input.len() });
        assert_eq!(&whole[spans[2].start as usize..spans[2].end as usize], b"\r\n\r\n");
        assert_eq!(spans.len(), 3);
    }

    #[test]
    fn inline_words_are_unquoted_in_place() {
        assert_eq!(words(b"PING\r\n"), Ok(vec![b"PING".to_vec()]));
        assert_eq!(words(b"  a  b\n"), Ok(vec![b"a".to_vec(), b"b".to_vec()]));
        assert_eq!(words(b"\r\n"), Ok(vec![]));
        let quoted = words(b"set \"a\\x41\\n b\" 'it\\'s'\r\n");
        assert_eq!(quoted, Ok(vec![b"set".to_vec(), b"aA\n b".to_vec(), b"it's".to_vec()]));
        assert_eq!(words(b"set \"a\r\n"), Err(ProtocolError::UnbalancedQuotes));
        assert_eq!(words(b"set \"a\"b\r\n"), Err(ProtocolError::UnbalancedQuotes));
        let odd = words(b"\x0b a\x0bb \"c\"\x0bd\n");
        assert_eq!(odd, Ok(vec![b"a\x0bb".to_vec(), b"c".to_vec(), b"d".to_vec()]));
    }

    #[test]
    fn limits_are_checked_before_the_bytes_arrive() {
        assert_eq!(words(b"*1\r\n$536870913\r\n"), Err(ProtocolError::InvalidBulk));
        assert_eq!(words(b"*1\r\n$-1\r\n"), Err(ProtocolError::InvalidBulk));
        assert_eq!(words(b"*1048577\r\n"), Err(ProtocolError::InvalidMultibulk));
        assert_eq!(words(b"*1\r\n+OK\r\n"), Err(ProtocolError::ExpectedDollar(b'+')));
        assert_eq!(words(b"*abc\r\n"), Err(ProtocolError::InvalidMultibulk));
        assert_eq!(words(b"*-5\r\n"), Ok(vec![]));
        let strangers = Limits { authenticated: false, ..LIMITS };
        let mut spans = Vec::new();
        let mut many = b"*11\r\n".to_vec();
        let step = Parser::default().parse(&mut many, 0, &mut spans, &strangers);
        assert_eq!(step, Step::Error(ProtocolError::UnauthenticatedMultibulk));
        let mut long = b"*1\r\n$16385\r\n".to_vec();
        let step = Parser::default().parse(&mut long, 0, &mut spans, &strangers);
        assert_eq!(step, Step::Error(ProtocolError::UnauthenticatedBulk));
        let mut endless = vec![b'a'; LINE_MAX + 1];
        let step = Parser::default().parse(&mut endless, 0, &mut spans, &LIMITS);
        assert_eq!(step, Step::Error(ProtocolError::TooBigInline));
    }
}
