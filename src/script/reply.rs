//! Values of Lua from replies of commands, and replies to clients from values of Lua.
//!
//! | reply | value | and back |
//! |---|---|---|
//! | integer | number | without its fraction |
//! | bulk string | string | |
//! | array | table | up to the first nil |
//! | status | `{ok = text}` | |
//! | error | `{err = text}` | |
//! | null | `false`, with RESP3 `nil` | `false` and `nil` |
//! | | `true` | 1, with RESP3 a boolean |
//! | map | `{map = {...}}` | |
//! | set | `{set = {key = true}}` | |
//! | double | `{double = number}` | |
//! | big number | `{big_number = text}` | |
//! | verbatim string | `{verbatim_string = {string =, format =}}` | |

use super::lua::{Kind, Lua, truncate};
use crate::data::double;
use crate::data::number::parse_i64;
use crate::error::CmdError;
use crate::resp::{Encoder, Protocol};
use smallvec::SmallVec;

/// Commands have no replies that are nested deeper.
const DEPTH_MAX: usize = 64;

/// Pushes `{err = "ERR <text>"}`.
pub fn push_error(lua: Lua, text: &[u8]) {
    push_coded_error(lua, b"ERR", text);
}

/// Pushes the error that an error reply without its `-` says. Without a code it gets the usual one.
pub fn push_error_reply(lua: Lua, text: &[u8]) {
    match text.iter().position(|&byte| byte == b' ') {
        Some(at) => push_coded_error(lua, &text[..at], &text[at + 1..]),
        None => push_coded_error(lua, b"ERR", text),
    }
}

fn push_coded_error(lua: Lua, code: &[u8], text: &[u8]) {
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = text.iter().position(|byte| !is_break(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_break(byte)).map_or(start, |last| last + 1);
    lua.push_table(0, 4);
    {
        let message: SmallVec<[u8; 128]> =
            [code, b" ", &text[start..end]].into_iter().flatten().copied().collect();
        lua.push_bytes(until_nul(&message));
    }
    lua.set_field(b"err");
}

/// Texts of errors and statuses end there.
pub fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Pushes the value of a reply, or nil if it is none.
pub fn push(lua: Lua, reply: &[u8]) {
    let top = lua.top();
    if (Reader { lua, rest: reply }).value(0).is_none() {
        lua.set_top(top);
        lua.push_nil();
    }
}

struct Reader<'a> {
    lua: Lua,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn line(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|&byte| byte == b'\r')?;
        let line = &self.rest[..end];
        self.rest = self.rest.get(end + 2..)?;
        Some(line)
    }

    fn number(&mut self) -> Option<i64> {
        match *self.line()? {
            [digit @ b'0'..=b'9'] => Some(i64::from(digit - b'0')),
            ref line => parse_i64(line),
        }
    }

    /// As many bytes as a line says; nothing for -1.
    fn bulk(&mut self) -> Option<Option<&'a [u8]>> {
        let Ok(len) = usize::try_from(self.number()?) else { return Some(None) };
        let bulk = self.rest.get(..len)?;
        self.rest = self.rest.get(len + 2..)?;
        Some(Some(bulk))
    }

    /// Pushes one value.
    fn value(&mut self, depth: usize) -> Option<()> {
        let lua = self.lua;
        if depth > DEPTH_MAX || !lua.room(6) {
            return None;
        }
        let (&kind, rest) = self.rest.split_first()?;
        self.rest = rest;
        match kind {
            b'$' => match self.bulk()? {
                Some(bulk) => lua.push_bytes(bulk),
                None => lua.push_bool(false),
            },
            b':' => lua.push_number(self.number()? as f64),
            b'+' => self.wrapped(b"ok")?,
            b'-' => {
                push_error_reply(lua, self.line()?);
                lua.push_bool(true);
                lua.set_field(b"ignore_error_stats_update");
            }
            b'*' => match usize::try_from(self.number()?) {
                Ok(len) => self.array(len, depth)?,
                Err(_) => lua.push_bool(false),
            },
            b'|' => {
                // What is said about a reply is not for scripts.
                self.map(depth)?;
                lua.pop(1);
                self.value(depth + 1)?;
            }
            b'%' => self.map(depth)?,
            b'~' => self.set(depth)?,
            b'_' => {
                self.line()?;
                lua.push_nil();
            }
            b'#' => lua.push_bool(self.line()? == b"t"),
            b',' => {
                let number = double::parse(self.line()?).unwrap_or(f64::NAN);
                lua.push_table(0, 1);
                lua.push_number(number);
                lua.set_field(b"double");
            }
            b'(' => self.wrapped(b"big_number")?,
            b'=' => self.verbatim()?,
            _ => return None,
        }
        Some(())
    }

    /// A line as the one field of a table.
    fn wrapped(&mut self, name: &[u8]) -> Option<()> {
        let line = self.line()?;
        self.lua.push_table(0, 1);
        self.lua.push_bytes(line);
        self.lua.set_field(name);
        Some(())
    }

    fn array(&mut self, len: usize, depth: usize) -> Option<()> {
        self.lua.push_table(len.min(self.rest.len()), 0);
        for at in 1..=len {
            self.value(depth + 1)?;
            self.lua.raw_set_index(-2, at);
        }
        Some(())
    }

    fn map(&mut self, depth: usize) -> Option<()> {
        let len = usize::try_from(self.number()?).ok()?;
        self.lua.push_table(0, 1);
        self.lua.push_table(0, len.min(self.rest.len()));
        for _ in 0..len {
            self.value(depth + 1)?;
            self.value(depth + 1)?;
            self.set_pair();
        }
        self.lua.set_field(b"map");
        Some(())
    }

    fn set(&mut self, depth: usize) -> Option<()> {
        let len = usize::try_from(self.number()?).ok()?;
        self.lua.push_table(0, 1);
        self.lua.push_table(0, len.min(self.rest.len()));
        for _ in 0..len {
            self.value(depth + 1)?;
            self.lua.push_bool(true);
            self.set_pair();
        }
        self.lua.set_field(b"set");
        Some(())
    }

    /// A table has no pair for nil.
    fn set_pair(&mut self) {
        match self.lua.kind(-2) {
            Kind::Nil => self.lua.pop(2),
            _ => self.lua.raw_set(-3),
        }
    }

    fn verbatim(&mut self) -> Option<()> {
        let text = self.bulk()??;
        let (format, string) = (text.get(..3)?, text.get(4..)?);
        let lua = self.lua;
        lua.push_table(0, 1);
        lua.push_table(0, 2);
        lua.push_bytes(string);
        lua.set_field(b"string");
        lua.push_bytes(format);
        lua.set_field(b"format");
        lua.set_field(b"verbatim_string");
        Some(())
    }
}

/// A collection that is being written; it is on the stack, and so is the key where it has come to.
enum Open {
    Array { at: usize, len: usize },
    Map { value_next: bool },
    Set,
}

/// Writes the value on top as a reply, and takes it. Whether the whole of it is an error
/// reply.
///
/// Lua's stack is the only one that grows with the depth of the value, up to Lua's own limit.
pub fn write(lua: Lua, protocol: Protocol, out: &mut Encoder) {
    let mut open: SmallVec<[Open; 8]> = SmallVec::new();
    loop {
        if !lua.room(4) {
            out.error(&CmdError::fixed("ERR reached lua stack limit"));
            lua.pop(1);
        } else if let Some(collection) = write_one(lua, protocol, out) {
            open.push(collection);
        }
        loop {
            let Some(collection) = open.last_mut() else { return };
            if advance(lua, collection) {
                break;
            }
            open.pop();
        }
    }
}

/// Pushes the next value of a collection, or takes the collection when there is none.
fn advance(lua: Lua, collection: &mut Open) -> bool {
    match collection {
        Open::Array { at, len } if *at < *len => {
            *at += 1;
            lua.raw_get_index(-1, *at);
            return true;
        }
        Open::Array { .. } => lua.pop(1),
        // The stack has the key, and the value above it.
        Open::Map { value_next: value_next @ true } => {
            *value_next = false;
            return true;
        }
        Open::Map { value_next } => {
            if lua.next(-2) {
                *value_next = true;
                lua.copy(-2);
                return true;
            }
            lua.pop(1);
        }
        Open::Set => {
            if lua.next(-2) {
                lua.pop(1);
                lua.copy(-1);
                return true;
            }
            lua.pop(1);
        }
    }
    false
}

/// Writes the value on top and takes it, or the header of a collection, which it leaves.
fn write_one(lua: Lua, protocol: Protocol, out: &mut Encoder) -> Option<Open> {
    match lua.kind(-1) {
        Kind::String => out.bulk(lua.bytes(-1).unwrap_or_default()),
        Kind::Number => out.int(truncate(lua.number(-1))),
        Kind::Boolean => match (protocol, lua.bool(-1)) {
            (Protocol::Resp2, true) => out.int(1),
            (Protocol::Resp2, false) => out.null(),
            (Protocol::Resp3, value) => out.bool(value),
        },
        Kind::Table => return write_table(lua, out),
        _ => out.null(),
    }
    lua.pop(1);
    None
}

/// Pushes a field of the table on top and says whether it is of that kind; if not, takes it back.
fn field_is(lua: Lua, name: &[u8], kind: Kind) -> bool {
    lua.push_field(name);
    let is = lua.kind(-1) == kind;
    if !is {
        lua.pop(1);
    }
    is
}

fn write_table(lua: Lua, out: &mut Encoder) -> Option<Open> {
    if field_is(lua, b"err", Kind::String) {
        out.error(&CmdError::of_bytes(until_nul(lua.bytes(-1).unwrap_or_default())));
    } else if field_is(lua, b"ok", Kind::String) {
        write_line(b'+', until_nul(lua.bytes(-1).unwrap_or_default()), out);
    } else if field_is(lua, b"double", Kind::Number) {
        out.double(&double::shortest(lua.number(-1)));
    } else if field_is(lua, b"big_number", Kind::String) {
        let digits = lua.bytes(-1).unwrap_or_default();
        match out.protocol {
            Protocol::Resp2 => out.bulk(&without_breaks(digits)),
            Protocol::Resp3 => write_line(b'(', digits, out),
        }
    } else if field_is(lua, b"verbatim_string", Kind::Table) {
        if !write_verbatim(lua, out) {
            lua.pop(1);
            return Some(write_collection(lua, out));
        }
    } else {
        return Some(write_collection(lua, out));
    }
    lua.pop(2);
    None
}

fn without_breaks(text: &[u8]) -> SmallVec<[u8; 64]> {
    text.iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }).collect()
}

fn write_line(kind: u8, text: &[u8], out: &mut Encoder) {
    out.raw(&[kind]);
    out.raw(&without_breaks(text));
    out.raw(b"\r\n");
}

fn write_verbatim(lua: Lua, out: &mut Encoder) -> bool {
    if !field_is(lua, b"format", Kind::String) {
        return false;
    }
    let format = lua.bytes(-1).unwrap_or_default();
    lua.pop(1); // The table still has it.
    if !field_is(lua, b"string", Kind::String) {
        return false;
    }
    let text = lua.bytes(-1).unwrap_or_default();
    let mut letters = [b' '; 3];
    letters.iter_mut().zip(until_nul(format)).for_each(|(letter, byte)| *letter = *byte);
    match out.protocol {
        Protocol::Resp2 => out.bulk(text),
        Protocol::Resp3 => {
            out.raw(b"=");
            out.raw(itoa::Buffer::new().format(text.len() + 4).as_bytes());
            out.raw(b"\r\n");
            out.raw(&letters);
            out.raw(b":");
            out.raw(text);
            out.raw(b"\r\n");
        }
    }
    lua.pop(1);
    true
}

fn write_collection(lua: Lua, out: &mut Encoder) -> Open {
    if field_is(lua, b"map", Kind::Table) {
        lua.remove(-2);
        out.map(count_pairs(lua));
        lua.push_nil();
        return Open::Map { value_next: false };
    }
    if field_is(lua, b"set", Kind::Table) {
        lua.remove(-2);
        out.set(count_pairs(lua));
        lua.push_nil();
        return Open::Set;
    }
    let mut len = 0;
    loop {
        lua.raw_get_index(-1, len + 1);
        let end = lua.kind(-1) == Kind::Nil;
        lua.pop(1);
        if end {
            break;
        }
        len += 1;
    }
    out.array(len);
    Open::Array { at: 0, len }
}

fn count_pairs(lua: Lua) -> usize {
    let mut count = 0;
    lua.push_nil();
    while lua.next(-2) {
        lua.pop(1);
        count += 1;
    }
    count
}
