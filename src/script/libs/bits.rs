//! `bit`: operations on 32 bits, as Lua BitOp 1.0.2 has them. Results are signed.

use super::super::lua::{Function, Kind, Lua, Raise};
use std::ffi::c_int;

type Result = std::result::Result<c_int, Raise>;

pub const FUNCTIONS: &[(&str, Function)] = &[
    ("tobit", |lua| give(lua, argument(lua, 1)?)),
    ("bnot", |lua| give(lua, !argument(lua, 1)?)),
    ("band", |lua| fold(lua, |a, b| a & b)),
    ("bor", |lua| fold(lua, |a, b| a | b)),
    ("bxor", |lua| fold(lua, |a, b| a ^ b)),
    ("lshift", |lua| shift(lua, |bits, by| bits << by)),
    ("rshift", |lua| shift(lua, |bits, by| bits >> by)),
    ("arshift", |lua| shift(lua, |bits, by| (bits as i32 >> by) as u32)),
    ("rol", |lua| shift(lua, u32::rotate_left)),
    ("ror", |lua| shift(lua, u32::rotate_right)),
    ("bswap", |lua| give(lua, argument(lua, 1)?.swap_bytes())),
    ("tohex", to_hex),
];

/// The lowest 32 bits of a number that is rounded to an integer.
fn argument(lua: Lua, index: c_int) -> std::result::Result<u32, Raise> {
    // With 2^52 + 2^51 added, a double's lowest bits are those of the integer.
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    let bits = (lua.number(index) + SHIFT).to_bits() as u32;
    if bits == 0 && !lua.is_number(index) {
        return Err(Raise::Type(index, c"number"));
    }
    Ok(bits)
}

fn give(lua: Lua, bits: u32) -> Result {
    lua.push_number(f64::from(bits as i32));
    Ok(1)
}

fn fold(lua: Lua, operation: fn(u32, u32) -> u32) -> Result {
    let first = argument(lua, 1)?;
    let rest = (2..=lua.top()).rev();
    let bits = rest
        .map(|index| argument(lua, index))
        .try_fold(first, |bits, argument| Ok(operation(bits, argument?)))?;
    give(lua, bits)
}

fn shift(lua: Lua, operation: fn(u32, u32) -> u32) -> Result {
    let bits = argument(lua, 1)?;
    give(lua, operation(bits, argument(lua, 2)? & 31))
}

/// So many digits, 8 if it isn't said; in upper case when the number is negative.
fn to_hex(lua: Lua) -> Result {
    let bits = argument(lua, 1)?;
    let count = if lua.kind(2) == Kind::Nothing { 8 } else { argument(lua, 2)? as i32 };
    let digits = format!("{bits:08x}");
    let digits = if count < 0 { digits.to_uppercase() } else { digits };
    let len = count.unsigned_abs().min(8) as usize;
    lua.push_bytes(&digits.as_bytes()[8 - len..]);
    Ok(1)
}
