//! `struct`: numbers and strings packed as a format says.
//!
//! | option | what |
//! |---|---|
//! | `>` `<` | big endian, little endian (which is how it starts) |
//! | `!n` | alignment up to n, a power of 2; 8 without n |
//! | `x` | a byte of padding |
//! | `b` `h` `l` `B` `H` `L` `T` | integers of 1, 2, 8 bytes; in upper case without a sign |
//! | `in` `In` | integers of n bytes, 4 without n |
//! | `f` `d` | a float, a double |
//! | `s` | a string and a zero |
//! | `cn` | n bytes; with n = 0 all, or as many as the number read before says |

use super::super::lua::{Function, Lua, Raise, truncate};
use super::super::reply::until_nul;
use std::ffi::c_int;

pub const FUNCTIONS: &[(&str, Function)] = &[("pack", pack), ("unpack", unpack), ("size", size)];

const INTEGER_MAX: usize = 32;
const ALIGNMENT_MAX: i32 = 8;

/// Reads a format.
struct Format<'a> {
    lua: Lua,
    rest: &'a [u8],
    big_endian: bool,
    alignment: usize,
}

/// An option, and the bytes that it says it has.
struct Item {
    option: u8,
    size: usize,
}

impl<'a> Format<'a> {
    fn of(lua: Lua) -> Result<Format<'a>, Raise> {
        let rest = until_nul(lua.check_text(1)?);
        Ok(Format { lua, rest, big_endian: false, alignment: 1 })
    }

    fn number(&mut self, default: i32) -> Result<i32, Raise> {
        let mut number: Option<i32> = None;
        while let [digit @ b'0'..=b'9', rest @ ..] = self.rest {
            let value = number.unwrap_or(0).checked_mul(10);
            let value = value.and_then(|value| value.checked_add(i32::from(digit - b'0')));
            number = Some(value.ok_or_else(|| self.lua.error(b"integral size overflow"))?);
            self.rest = rest;
        }
        Ok(number.unwrap_or(default))
    }

    fn next(&mut self) -> Result<Option<Item>, Raise> {
        let Some((&option, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        let size = match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'f' => 4,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'c' => self.number(1)? as usize,
            b'i' | b'I' => {
                let size = self.number(4)? as usize;
                if size > INTEGER_MAX {
                    let text =
                        format!("integral size {size} is larger than limit of {INTEGER_MAX}");
                    return Err(self.lua.error(text.as_bytes()));
                }
                size
            }
            _ => 0,
        };
        Ok(Some(Item { option, size }))
    }

    /// Bytes between `position` and where the item may begin.
    fn padding(&self, position: usize, item: &Item) -> usize {
        if item.size == 0 || item.option == b'c' {
            return 0;
        }
        let size = item.size.min(self.alignment);
        size.wrapping_sub(position & (size - 1)) & (size - 1)
    }

    /// What is no value.
    fn control(&mut self, option: u8) -> Result<(), Raise> {
        match option {
            b' ' => {}
            b'>' => self.big_endian = true,
            b'<' => self.big_endian = false,
            b'!' => {
                let alignment = self.number(ALIGNMENT_MAX)?;
                if alignment <= 0 || alignment & (alignment - 1) != 0 {
                    let text = format!("alignment {alignment} is not a power of 2");
                    return Err(self.lua.error(text.as_bytes()));
                }
                self.alignment = alignment as usize;
            }
            _ => {
                self.lua.push_bytes(&[b"invalid format option '", &[option][..], b"'"].concat());
                return Err(Raise::ArgumentText(1));
            }
        }
        Ok(())
    }

    /// Bytes in the order of the format, from little endian or to it.
    fn ordered<const N: usize>(&self, mut bytes: [u8; N]) -> [u8; N] {
        if self.big_endian {
            bytes.reverse();
        }
        bytes
    }
}

fn pack(lua: Lua) -> Result<c_int, Raise> {
    let mut format = Format::of(lua)?;
    let mut out: Vec<u8> = Vec::new();
    // What follows the last argument is said to be nil.
    lua.push_nil();
    let mut index = 2;
    while let Some(item) = format.next()? {
        out.resize(out.len() + format.padding(out.len(), &item), 0);
        let at = index;
        match item.option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                pack_integer(lua.check_number(at)?, item.size, format.big_endian, &mut out);
                index += 1;
            }
            b'x' => out.push(0),
            b'f' => {
                let bytes = (lua.check_number(at)? as f32).to_le_bytes();
                out.extend_from_slice(&format.ordered(bytes));
                index += 1;
            }
            b'd' => {
                let bytes = lua.check_number(at)?.to_le_bytes();
                out.extend_from_slice(&format.ordered(bytes));
                index += 1;
            }
            b'c' | b's' => {
                let text = lua.check_text(at)?;
                index += 1;
                let size = if item.size == 0 { text.len() } else { item.size };
                let text = text.get(..size).ok_or(Raise::Argument(index, c"string too short"))?;
                out.extend_from_slice(text);
                if item.option == b's' {
                    out.push(0);
                }
            }
            option => format.control(option)?,
        }
    }
    lua.push_bytes(&out);
    Ok(1)
}

/// More than 8 bytes have zeros above these.
fn pack_integer(number: f64, size: usize, big_endian: bool, out: &mut Vec<u8>) {
    let value = if number < 0.0 { truncate(number) as u64 } else { number as u64 };
    let from = out.len();
    let low = value.to_le_bytes();
    out.extend((0..size).map(|at| low.get(at).copied().unwrap_or(0)));
    if big_endian {
        out[from..].reverse();
    }
}

fn unpack_integer(bytes: &[u8], big_endian: bool, signed: bool) -> f64 {
    let push = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    let value = match big_endian {
        true => bytes.iter().fold(0, push),
        false => bytes.iter().rev().fold(0, push),
    };
    if !signed {
        return value as f64;
    }
    let mask = u64::MAX.wrapping_shl((bytes.len() as u32).wrapping_mul(8).wrapping_sub(1));
    let extended = if value & mask != 0 { value | mask } else { value };
    extended as i64 as f64
}

/// The bytes of an item.
fn piece(data: &[u8], position: usize, size: usize) -> Result<&[u8], Raise> {
    let rest = data.get(position..).and_then(|rest| rest.get(..size));
    rest.ok_or(Raise::Argument(2, c"data string too short"))
}

fn unpack(lua: Lua) -> Result<c_int, Raise> {
    let mut format = Format::of(lua)?;
    let data = lua.check_text(2)?;
    let mut position = match lua.optional_int(3, 1)? {
        0 => return Err(Raise::Argument(3, c"offset must be 1 or greater")),
        // A negative one is too great.
        from => (from as usize) - 1,
    };
    let mut count = 0;
    while let Some(Item { option, mut size }) = format.next()? {
        position = position.wrapping_add(format.padding(position, &Item { option, size }));
        let bytes = piece(data, position, size)?;
        if !lua.room(2) {
            return Err(lua.error(b"stack overflow (too many results)"));
        }
        count += 1;
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let signed = option.is_ascii_lowercase();
                lua.push_number(unpack_integer(bytes, format.big_endian, signed));
            }
            b'f' => {
                let bytes = format.ordered(bytes.try_into().unwrap_or_default());
                lua.push_number(f32::from_le_bytes(bytes).into());
            }
            b'd' => {
                let bytes = format.ordered(bytes.try_into().unwrap_or_default());
                lua.push_number(f64::from_le_bytes(bytes));
            }
            b'c' if size == 0 => {
                if count == 1 || !lua.is_number(-1) {
                    return Err(lua.error(b"format 'c0' needs a previous size"));
                }
                size = usize::try_from(truncate(lua.number(-1))).unwrap_or(usize::MAX);
                let bytes = piece(data, position, size)?;
                lua.pop(1);
                count -= 1;
                lua.push_bytes(bytes);
            }
            b'c' => lua.push_bytes(bytes),
            b's' => {
                let rest = &data[position..];
                let end = rest.iter().position(|&byte| byte == 0);
                let end = end.ok_or_else(|| lua.error(b"unfinished string in data"))?;
                lua.push_bytes(&rest[..end]);
                size = end + 1;
            }
            option => {
                count -= 1;
                if option != b'x' {
                    format.control(option)?;
                }
            }
        }
        position += size;
    }
    lua.push_number((position + 1) as f64);
    Ok(count + 1)
}

fn size(lua: Lua) -> Result<c_int, Raise> {
    let mut format = Format::of(lua)?;
    let mut position = 0;
    while let Some(item) = format.next()? {
        position += format.padding(position, &item);
        match item {
            Item { option: b's', .. } => {
                return Err(Raise::Argument(1, c"option 's' has no fixed size"));
            }
            Item { option: b'c', size: 0 } => {
                return Err(Raise::Argument(1, c"option 'c0' has no fixed size"));
            }
            Item { option, .. } if !option.is_ascii_alphanumeric() => format.control(option)?,
            _ => {}
        }
        position += item.size;
    }
    lua.push_number(position as f64);
    Ok(1)
}
