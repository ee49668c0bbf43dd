//! `cmsgpack`: values as MessagePack, and back.
//!
//! Numbers without a fraction become integers, others floats when nothing is lost, or doubles. A table with the
//! keys 1 to n becomes an array, others maps. What has no form, and tables in 16 others, become nil.
//! Not understood are binary strings and extensions.

use super::super::lua::{Function, Kind, Lua, Raise, truncate};
use smallvec::SmallVec;
use std::ffi::c_int;

pub const FUNCTIONS: &[(&str, Function)] = &[
    ("pack", pack),
    ("unpack", |lua| unpack_some(lua, 0, 0)),
    ("unpack_one", unpack_one),
    ("unpack_limit", unpack_limit),
];

const DEPTH_MAX: usize = 16;

pub fn add_facts(lua: Lua) {
    super::set_texts(
        lua,
        &[
            ("_NAME", "cmsgpack"),
            ("_VERSION", "lua-cmsgpack 0.4.0"),
            ("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo"),
            ("_DESCRIPTION", "MessagePack C implementation for Lua"),
        ],
    );
}

fn pack(lua: Lua) -> Result<c_int, Raise> {
    let count = lua.top();
    if count == 0 {
        return Err(Raise::Argument(0, c"MessagePack pack needs input."));
    }
    if !lua.room(count) {
        return Err(Raise::Argument(0, c"Too many arguments for MessagePack pack."));
    }
    let mut out = Vec::new();
    for index in 1..=count {
        lua.copy(index);
        pack_value(lua, 0, &mut out)?;
    }
    lua.push_bytes(&out);
    Ok(1)
}

/// Writes the value on top and takes it.
fn pack_value(lua: Lua, depth: usize, out: &mut Vec<u8>) -> Result<(), Raise> {
    match lua.kind(-1) {
        Kind::String => {
            let text = lua.bytes(-1).unwrap_or_default();
            pack_len(
                text.len(),
                [(0xa0, 31), (0xd9, 0xff), (0xda, 0xffff), (0xdb, usize::MAX)],
                out,
            );
            out.extend_from_slice(text);
        }
        Kind::Boolean => out.push(if lua.bool(-1) { 0xc3 } else { 0xc2 }),
        Kind::Number => pack_number(lua.number(-1), out),
        Kind::Table if depth < DEPTH_MAX => {
            if !lua.room(4) {
                return Err(lua.error(b"stack overflow (in function mp_encode_lua_table_as_map)"));
            }
            match is_array(lua) {
                true => pack_array(lua, depth, out)?,
                false => pack_map(lua, depth, out)?,
            }
        }
        _ => out.push(0xc0),
    }
    lua.pop(1);
    Ok(())
}

/// A length, by the first kind that it fits: within the first byte, then in 1, 2 or 4 more. Kinds
/// that there are not have the size 0.
fn pack_len(len: usize, kinds: [(u8, usize); 4], out: &mut Vec<u8>) {
    let fits = kinds.iter().position(|(_, max)| len <= *max).unwrap_or(3);
    let (kind, _) = kinds[fits];
    match fits {
        0 => out.push(kind | len as u8),
        1 => out.extend_from_slice(&[kind, len as u8]),
        2 => {
            out.push(kind);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(kind);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

fn pack_number(number: f64, out: &mut Vec<u8>) {
    let int = truncate(number);
    if int as f64 == number {
        return pack_int(int, out);
    }
    let float = number as f32;
    if f64::from(float) == number {
        out.push(0xca);
        out.extend_from_slice(&float.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn pack_int(int: i64, out: &mut Vec<u8>) {
    let mut put = |kind: u8, len: usize| {
        out.push(kind);
        out.extend_from_slice(&int.to_be_bytes()[8 - len..]);
    };
    match int {
        -32..=127 => out.push(int as u8),
        128..=0xff => put(0xcc, 1),
        0x100..=0xffff => put(0xcd, 2),
        0x1_0000..=0xffff_ffff => put(0xce, 4),
        0x1_0000_0000.. => put(0xcf, 8),
        -128..-32 => put(0xd0, 1),
        -0x8000..-128 => put(0xd1, 2),
        -0x8000_0000..-0x8000 => put(0xd2, 4),
        _ => put(0xd3, 8),
    }
}

/// Whether the keys of the table on top are 1 to n.
fn is_array(lua: Lua) -> bool {
    let top = lua.top();
    let (mut count, mut max) = (0.0, 0.0);
    lua.push_nil();
    while lua.next(-2) {
        lua.pop(1);
        let key = lua.number(-1);
        let is_index = lua.kind(-1) == Kind::Number
            && key > 0.0
            && key <= f64::from(i32::MAX)
            && key.fract() == 0.0;
        if !is_index {
            lua.set_top(top);
            return false;
        }
        max = key.max(max);
        count += 1.0;
    }
    max == count
}

fn pack_array(lua: Lua, depth: usize, out: &mut Vec<u8>) -> Result<(), Raise> {
    let len = lua.len(-1);
    pack_len(len, [(0x90, 15), (0, 0), (0xdc, 0xffff), (0xdd, usize::MAX)], out);
    for at in 1..=len {
        lua.raw_get_index(-1, at);
        pack_value(lua, depth + 1, out)?;
    }
    Ok(())
}

fn pack_map(lua: Lua, depth: usize, out: &mut Vec<u8>) -> Result<(), Raise> {
    let mut len = 0;
    lua.push_nil();
    while lua.next(-2) {
        lua.pop(1);
        len += 1;
    }
    pack_len(len, [(0x80, 15), (0, 0), (0xde, 0xffff), (0xdf, usize::MAX)], out);
    lua.push_nil();
    while lua.next(-2) {
        lua.copy(-2);
        pack_value(lua, depth + 1, out)?;
        pack_value(lua, depth + 1, out)?;
    }
    Ok(())
}

fn unpack_one(lua: Lua) -> Result<c_int, Raise> {
    let offset = lua.optional_int(2, 0)?;
    lua.set_top(1);
    unpack_some(lua, 1, offset)
}

fn unpack_limit(lua: Lua) -> Result<c_int, Raise> {
    let limit = lua.check_int(2)?;
    let offset = lua.optional_int(3, 0)?;
    lua.set_top(1);
    unpack_some(lua, limit, offset)
}

/// Unpacks as many values as the limit says; with neither limit nor offset all. Otherwise the first result is
/// where to go on, or -1.
fn unpack_some(lua: Lua, limit: i64, offset: i64) -> Result<c_int, Raise> {
    let all = limit == 0 && offset == 0;
    let data = lua.check_text(1)?;
    let len = data.len();
    let start = match (usize::try_from(offset), limit) {
        (Ok(start), 0..) if start <= len => start,
        (Ok(_), 0..) => {
            let text = format!("Start offset {} greater than input length {len}.", offset as i32);
            return Err(lua.error(text.as_bytes()));
        }
        _ => {
            let text = format!(
                "Invalid request to unpack with offset of {} and limit of {len}.",
                offset as i32
            );
            return Err(lua.error(text.as_bytes()));
        }
    };
    let limit = if all { i64::from(i32::MAX) } else { limit };
    let mut reader = Reader { lua, rest: &data[start..] };
    let mut count = 0;
    while !reader.rest.is_empty() && i64::from(count) < limit {
        if let Err(fault) = reader.value() {
            return Err(match fault {
                Fault::End => lua.error(b"Missing bytes in input."),
                Fault::Format => lua.error(b"Bad data format in input."),
                Fault::Key(text) => {
                    lua.push_bytes(text.as_bytes());
                    Raise::Value
                }
                Fault::Stack => lua.error(
                    b"stack overflow (too many return values at once; use unpack_one or \
                      unpack_limit instead.)",
                ),
            });
        }
        count += 1;
    }
    if all {
        return Ok(count);
    }
    if !lua.room(1) {
        return Err(lua.error(b"stack overflow (in function mp_unpack_full)"));
    }
    let rest = reader.rest.len();
    lua.push_number(if rest == 0 { -1.0 } else { (len - rest) as f64 });
    lua.insert(2);
    Ok(count + 1)
}

enum Fault {
    End,
    Format,
    /// A key that a table cannot have.
    Key(&'static str),
    Stack,
}

/// What follows the first bytes of a value.
enum Item {
    Nothing,
    Array(usize),
    Map(usize),
}

/// A collection that is being filled; it is on the stack, with the key of the next value if it has one.
enum Open {
    Array { left: usize, at: usize },
    Map { left: usize, has_key: bool },
}

struct Reader<'a> {
    lua: Lua,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Fault::End)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.take(N)?.try_into().map_err(|_| Fault::End)
    }

    fn len_8(&mut self) -> Result<usize, Fault> {
        Ok(self.array::<1>()?[0].into())
    }

    fn len_16(&mut self) -> Result<usize, Fault> {
        Ok(u16::from_be_bytes(self.array()?).into())
    }

    fn len_32(&mut self) -> Result<usize, Fault> {
        Ok(u32::from_be_bytes(self.array()?) as usize)
    }

    /// Pushes a value.
    fn value(&mut self) -> Result<(), Fault> {
        let mut open: SmallVec<[Open; 8]> = SmallVec::new();
        loop {
            if !self.lua.room(3) {
                return Err(Fault::Stack);
            }
            match self.item()? {
                Item::Nothing => {}
                Item::Array(left) => {
                    self.lua.push_table(0, 0);
                    if left > 0 {
                        open.push(Open::Array { left, at: 1 });
                        continue;
                    }
                }
                Item::Map(left) => {
                    self.lua.push_table(0, 0);
                    if left > 0 {
                        open.push(Open::Map { left, has_key: false });
                        continue;
                    }
                }
            }
            loop {
                let Some(collection) = open.last_mut() else { return Ok(()) };
                if !self.put(collection)? {
                    break;
                }
                open.pop();
            }
        }
    }

    /// Puts the value on top where it belongs. Whether the collection is complete.
    fn put(&self, collection: &mut Open) -> Result<bool, Fault> {
        match collection {
            Open::Array { left, at } => {
                self.lua.raw_set_index(-2, *at);
                *at += 1;
                *left -= 1;
                Ok(*left == 0)
            }
            Open::Map { has_key: has_key @ false, .. } => {
                *has_key = true;
                Ok(false)
            }
            Open::Map { left, has_key } => {
                match self.lua.kind(-2) {
                    Kind::Nil => return Err(Fault::Key("table index is nil")),
                    Kind::Number if self.lua.number(-2).is_nan() => {
                        return Err(Fault::Key("table index is NaN"));
                    }
                    _ => self.lua.raw_set(-3),
                }
                *has_key = false;
                *left -= 1;
                Ok(*left == 0)
            }
        }
    }

    /// Pushes a value that is no collection, or says which collection comes.
    fn item(&mut self) -> Result<Item, Fault> {
        let lua = self.lua;
        let [kind] = self.array()?;
        let number = match kind {
            0x00..=0x7f => kind.into(),
            0xe0..=0xff => (kind as i8).into(),
            0xcc => self.array::<1>()?[0].into(),
            0xcd => u16::from_be_bytes(self.array()?).into(),
            0xce => u32::from_be_bytes(self.array()?).into(),
            // Read with a sign, as Redis does.
            0xcf | 0xd3 => i64::from_be_bytes(self.array()?) as f64,
            0xd0 => i8::from_be_bytes(self.array()?).into(),
            0xd1 => i16::from_be_bytes(self.array()?).into(),
            0xd2 => i32::from_be_bytes(self.array()?).into(),
            0xca => f32::from_be_bytes(self.array()?).into(),
            0xcb => f64::from_be_bytes(self.array()?),
            _ => return self.other(kind),
        };
        lua.push_number(number);
        Ok(Item::Nothing)
    }

    fn other(&mut self, kind: u8) -> Result<Item, Fault> {
        let small = usize::from(kind & 0x0f);
        let len = match kind {
            0xc0 => {
                self.lua.push_nil();
                return Ok(Item::Nothing);
            }
            0xc2 | 0xc3 => {
                self.lua.push_bool(kind == 0xc3);
                return Ok(Item::Nothing);
            }
            0x90..=0x9f => return Ok(Item::Array(small)),
            0x80..=0x8f => return Ok(Item::Map(small)),
            0xdc => return Ok(Item::Array(self.len_16()?)),
            0xdd => return Ok(Item::Array(self.len_32()?)),
            0xde => return Ok(Item::Map(self.len_16()?)),
            0xdf => return Ok(Item::Map(self.len_32()?)),
            0xa0..=0xbf => usize::from(kind & 0x1f),
            0xd9 => self.len_8()?,
            0xda => self.len_16()?,
            0xdb => self.len_32()?,
            _ => return Err(Fault::Format),
        };
        self.lua.push_bytes(self.take(len)?);
        Ok(Item::Nothing)
    }
}
