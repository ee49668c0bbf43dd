//! The reply encoder: RESP2 and RESP3 from the same calls.
//!
//! A handler says what a reply *is* (a map, a set, a double, nothing); the encoder writes what the
//! connection's protocol has for it. It appends to the connection's output buffer and keeps no state.

use crate::error::CmdError;

/// The protocol that a connection chose by HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

impl Protocol {
    pub fn number(self) -> i64 {
        match self {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        }
    }
}

/// Appends replies to a buffer.
pub struct Encoder<'a> {
    buffer: &'a mut Vec<u8>,
    pub protocol: Protocol,
}

impl<'a> Encoder<'a> {
    pub fn new(buffer: &'a mut Vec<u8>, protocol: Protocol) -> Encoder<'a> {
        Encoder { buffer, protocol }
    }

    /// Bytes in the buffer, to come back to with [`Encoder::truncate`].
    pub fn position(&self) -> usize {
        self.buffer.len()
    }

    /// Takes back what was written since `position`.
    pub fn truncate(&mut self, position: usize) {
        self.buffer.truncate(position);
    }

    /// The bytes written since `position`.
    pub fn since(&self, position: usize) -> &[u8] {
        &self.buffer[position..]
    }

    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A status line; `text` has no line break.
    pub fn simple(&mut self, text: &str) {
        self.buffer.reserve(text.len() + 3);
        self.buffer.push(b'+');
        self.buffer.extend_from_slice(text.as_bytes());
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// An error line; line breaks in it, which a client's words can carry, become spaces, and
    /// go at the end.
    pub fn error(&mut self, error: &CmdError) {
        let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let text = error.as_bytes();
        let end = text.iter().rposition(|byte| !is_break(byte)).map_or(0, |last| last + 1);
        self.buffer.push(b'-');
        self.buffer.extend(text[..end].iter().map(|b| if is_break(b) { b' ' } else { *b }));
        self.buffer.extend_from_slice(b"\r\n");
    }

    pub fn int(&mut self, value: i64) {
        self.header(b':', value);
    }

    pub fn bulk(&mut self, value: &[u8]) {
        self.buffer.reserve(value.len() + 24);
        self.header(b'$', value.len() as i64);
        self.buffer.extend_from_slice(value);
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// An integer as a bulk string, which is what GET of one answers.
    pub fn bulk_int(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// No value: `$-1` in RESP2, `_` in RESP3.
    pub fn null(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.raw(b"$-1\r\n"),
            Protocol::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// No array: `*-1` in RESP2, `_` in RESP3.
    pub fn null_array(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.raw(b"*-1\r\n"),
            Protocol::Resp3 => self.raw(b"_\r\n"),
        }
    }

    pub fn array(&mut self, len: usize) {
        self.header(b'*', len as i64);
    }

    /// A map of `len` pairs; RESP2 has an array of twice as many.
    pub fn map(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', len as i64 * 2),
            Protocol::Resp3 => self.header(b'%', len as i64),
        }
    }

    pub fn set(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', len as i64),
            Protocol::Resp3 => self.header(b'~', len as i64),
        }
    }

    /// A message that answers no request.
    pub fn push(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', len as i64),
            Protocol::Resp3 => self.header(b'>', len as i64),
        }
    }

    pub fn bool(&mut self, value: bool) {
        match self.protocol {
            Protocol::Resp2 => self.int(i64::from(value)),
            Protocol::Resp3 => self.raw(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// A double whose shortest text the caller has made.
    pub fn double(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => {
                self.buffer.push(b',');
                self.buffer.extend_from_slice(text.as_bytes());
                self.buffer.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Text for people, such as INFO's; `format` has three letters.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.header(b'=', text.len() as i64 + 4);
                self.buffer.extend_from_slice(format.as_bytes());
                self.buffer.push(b':');
                self.buffer.extend_from_slice(text);
                self.buffer.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Bytes that are replies already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn header(&mut self, kind: u8, value: i64) {
        if (0..10).contains(&value) {
            self.buffer.extend_from_slice(&[kind, b'0' + value as u8, b'\r', b'\n']);
            return;
        }
        let mut digits = itoa::Buffer::new();
        let text = digits.format(value).as_bytes();
        let mut line = [0; 24];
        line[0] = kind;
        line[1..=text.len()].copy_from_slice(text);
        line[text.len() + 1] = b'\r';
        line[text.len() + 2] = b'\n';
        self.buffer.extend_from_slice(&line[..text.len() + 3]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(protocol: Protocol, write: impl FnOnce(&mut Encoder)) -> String {
        let mut buffer = Vec::new();
        write(&mut Encoder::new(&mut buffer, protocol));
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn both_protocols_write_what_they_have() {
        let all = |e: &mut Encoder| {
            e.null();
            e.null_array();
            e.map(1);
            e.set(2);
            e.bool(true);
            e.double("1.5");
            e.verbatim("txt", b"hi");
            e.int(-12);
            e.bulk(b"0123456789");
            e.bulk_int(i64::MIN);
        };
        let tail = ":-12\r\n$10\r\n0123456789\r\n$20\r\n-9223372036854775808\r\n";
        let resp2 = "$-1\r\n*-1\r\n*2\r\n*2\r\n:1\r\n$3\r\n1.5\r\n$2\r\nhi\r\n";
        let resp3 = "_\r\n_\r\n%1\r\n~2\r\n#t\r\n,1.5\r\n=6\r\ntxt:hi\r\n";
        assert_eq!(encode(Protocol::Resp2, all), format!("{resp2}{tail}"));
        assert_eq!(encode(Protocol::Resp3, all), format!("{resp3}{tail}"));
    }

    #[test]
    fn an_error_stays_on_its_line() {
        let error = CmdError::err("unknown command 'a\r\nb'");
        let text = encode(Protocol::Resp2, |e| e.error(&error));
        assert_eq!(text, "-ERR unknown command 'a  b'\r\n");
    }
}
