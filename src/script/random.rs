//! `math.random`: the generator of `lrand48`, so that a seed gives the same numbers everywhere.
//!
//! As in Redis, a script that does not seed it goes on where the one before it has stopped.

use super::lua::{Lua, Raise};
use std::ffi::c_int;

/// 48 bits.
#[derive(Debug, Clone, Copy)]
pub struct Random(u64);

const LOW: u64 = 0x330e;
const MASK: u64 = (1 << 48) - 1;

impl Default for Random {
    fn default() -> Random {
        Random(0x1234_abcd_330e)
    }
}

impl Random {
    fn seeded(seed: i32) -> Random {
        Random(u64::from(seed as u32) << 16 | LOW)
    }

    /// 31 bits.
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & MASK;
        (self.0 >> 17) as u32
    }
}

fn int(lua: Lua, index: c_int) -> Result<i32, Raise> {
    lua.check_int(index).map(|int| int as i32)
}

pub fn random(lua: Lua) -> Result<c_int, Raise> {
    const MAX: u32 = i32::MAX as u32;
    let mut generator = lua.state().random.get();
    let fraction = f64::from(generator.next() % MAX) / f64::from(MAX);
    lua.state().random.set(generator);
    let number = match lua.top() {
        0 => fraction,
        1 => {
            let upper = int(lua, 1)?;
            if upper < 1 {
                return Err(Raise::Argument(1, c"interval is empty"));
            }
            (fraction * f64::from(upper)).floor() + 1.0
        }
        2 => {
            let (lower, upper) = (int(lua, 1)?, int(lua, 2)?);
            if lower > upper {
                return Err(Raise::Argument(2, c"interval is empty"));
            }
            let width = upper.wrapping_sub(lower).wrapping_add(1);
            (fraction * f64::from(width)).floor() + f64::from(lower)
        }
        _ => return Err(lua.error(b"wrong number of arguments")),
    };
    lua.push_number(number);
    Ok(1)
}

pub fn seed(lua: Lua) -> Result<c_int, Raise> {
    let seed = int(lua, 1)?;
    lua.state().random.set(Random::seeded(seed));
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_lrand48() {
        let mut random = Random::seeded(0);
        assert_eq!([random.next(), random.next()], [366850414, 1610402240]);
    }
}
