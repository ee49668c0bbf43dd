//! JSON from a value.

use super::super::super::lua::{Kind, Lua, Raise};
use super::{Config, Invalid};
use crate::data::double;
use smallvec::SmallVec;
use std::ffi::c_int;

/// Integers below are written as such whatever the precision of 14 digits makes of others.
const INTEGER_MAX: f64 = 1e14;
const PRECISION_MAX: i32 = 14;

/// A table that is being written; it is on the stack, and of an object the key where it has come to.
enum Open {
    Array { at: usize, len: usize },
    Object { first: bool },
}

struct Writer {
    lua: Lua,
    config: Config,
    out: Vec<u8>,
}

pub fn encode(lua: Lua) -> Result<c_int, Raise> {
    if lua.top() != 1 {
        return Err(Raise::Argument(1, c"expected 1 argument"));
    }
    let mut writer = Writer { lua, config: lua.state().json.get(), out: Vec::new() };
    lua.copy(1);
    writer.value()?;
    lua.push_bytes(&writer.out);
    Ok(1)
}

impl Writer {
    /// The value at `index` cannot be written.
    fn refuse(&self, index: c_int, reason: &str) -> Raise {
        let text = format!("Cannot serialise {}: {reason}", self.lua.type_name(index));
        self.lua.error(text.as_bytes())
    }

    /// Writes the value on top, and takes it.
    fn value(&mut self) -> Result<(), Raise> {
        let lua = self.lua;
        let mut open: SmallVec<[Open; 8]> = SmallVec::new();
        loop {
            let mut complete = true;
            match lua.kind(-1) {
                Kind::String => self.string(lua.bytes(-1).unwrap_or_default()),
                Kind::Number => self.number(-1)?,
                Kind::Boolean if lua.bool(-1) => self.out.extend_from_slice(b"true"),
                Kind::Boolean => self.out.extend_from_slice(b"false"),
                Kind::Nil => self.out.extend_from_slice(b"null"),
                Kind::LightUserdata if lua.is_null(-1) => self.out.extend_from_slice(b"null"),
                Kind::Table => {
                    open.push(self.table(open.len() + 1)?);
                    complete = false;
                }
                _ => return Err(self.refuse(-1, "type not supported")),
            }
            if complete {
                lua.pop(1);
            }
            loop {
                let Some(table) = open.last_mut() else { return Ok(()) };
                if self.advance(table)? {
                    break;
                }
                open.pop();
            }
        }
    }

    /// Opens the table on top.
    fn table(&mut self, depth: usize) -> Result<Open, Raise> {
        let lua = self.lua;
        if depth > self.config.encode_depth as usize || !lua.room(6) {
            let text = format!("Cannot serialise, excessive nesting ({depth})");
            return Err(lua.error(text.as_bytes()));
        }
        Ok(match self.array_len()? {
            Some(len @ 1..) => {
                self.out.push(b'[');
                Open::Array { at: 0, len }
            }
            _ => {
                self.out.push(b'{');
                lua.push_nil();
                Open::Object { first: true }
            }
        })
    }

    /// Pushes the next value of a table, with what comes before it; or closes and takes the table.
    fn advance(&mut self, table: &mut Open) -> Result<bool, Raise> {
        let lua = self.lua;
        match table {
            Open::Array { at, len } if *at < *len => {
                if *at > 0 {
                    self.out.push(b',');
                }
                *at += 1;
                lua.raw_get_index(-1, *at);
                return Ok(true);
            }
            Open::Array { .. } => self.out.push(b']'),
            Open::Object { first } => {
                if lua.next(-2) {
                    if !std::mem::take(first) {
                        self.out.push(b',');
                    }
                    self.key()?;
                    return Ok(true);
                }
                self.out.push(b'}');
            }
        }
        lua.pop(1);
        Ok(false)
    }

    /// Writes the key below the top.
    fn key(&mut self) -> Result<(), Raise> {
        match self.lua.kind(-2) {
            Kind::Number => {
                self.out.push(b'"');
                self.number(-2)?;
                self.out.push(b'"');
            }
            Kind::String => self.string(self.lua.bytes(-2).unwrap_or_default()),
            _ => return Err(self.refuse(-2, "table key must be a number or string")),
        }
        self.out.push(b':');
        Ok(())
    }

    /// The greatest key of the table on top, if all are indices and enough of them are there.
    fn array_len(&self) -> Result<Option<usize>, Raise> {
        let lua = self.lua;
        let (mut max, mut count) = (0.0_f64, 0.0);
        lua.push_nil();
        while lua.next(-2) {
            lua.pop(1);
            let key = lua.number(-1);
            if lua.kind(-1) != Kind::Number || key < 1.0 || key.floor() != key {
                lua.pop(1);
                return Ok(None);
            }
            max = max.max(key);
            count += 1.0;
        }
        let config = &self.config;
        let ratio = f64::from(config.sparse_ratio);
        if ratio > 0.0 && max > count * ratio && max > f64::from(config.sparse_safe) {
            if !config.sparse_convert {
                return Err(self.refuse(-1, "excessively sparse array"));
            }
            return Ok(None);
        }
        Ok(Some(max as usize))
    }

    fn number(&mut self, index: c_int) -> Result<(), Raise> {
        let number = self.lua.number(index);
        if !number.is_finite() {
            match self.config.encode_invalid {
                Invalid::Refuse => return Err(self.refuse(index, "must not be NaN or Inf")),
                Invalid::Null => self.out.extend_from_slice(b"null"),
                Invalid::Accept if number.is_nan() => self.out.extend_from_slice(b"nan"),
                Invalid::Accept => {
                    let text: &[u8] = if number > 0.0 { b"inf" } else { b"-inf" };
                    self.out.extend_from_slice(text);
                }
            }
            return Ok(());
        }
        let precision = self.config.precision;
        let is_int = number.abs() < INTEGER_MAX && number.fract() == 0.0;
        if is_int && precision == PRECISION_MAX && !(number == 0.0 && number.is_sign_negative()) {
            let mut digits = itoa::Buffer::new();
            self.out.extend_from_slice(digits.format(number as i64).as_bytes());
        } else {
            let text = double::significant(number, precision as u8);
            self.out.extend_from_slice(text.as_bytes());
        }
        Ok(())
    }

    fn string(&mut self, text: &[u8]) {
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        let mut plain = 0;
        for (at, &byte) in text.iter().enumerate() {
            let short: &[u8] = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'/' => b"\\/",
                0x08 => b"\\b",
                b'\t' => b"\\t",
                b'\n' => b"\\n",
                0x0c => b"\\f",
                b'\r' => b"\\r",
                0..0x20 | 0x7f => b"",
                _ => continue,
            };
            self.out.extend_from_slice(&text[plain..at]);
            plain = at + 1;
            match short {
                b"" => self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                short => self.out.extend_from_slice(short),
            }
        }
        self.out.extend_from_slice(&text[plain..]);
        self.out.push(b'"');
    }
}
