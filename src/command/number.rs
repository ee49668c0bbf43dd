//! Integer arguments, with Redis' error texts.

use crate::data::number::parse_i64;
use crate::error::CmdError;

/// An integer argument.
pub fn integer(text: &[u8]) -> Result<i64, CmdError> {
    parse_i64(text).ok_or(CmdError::NOT_AN_INTEGER)
}

/// An integer argument of 32 bits; `else_error` in place of the usual texts if there is one.
pub fn integer_32(text: &[u8], else_error: Option<CmdError>) -> Result<i32, CmdError> {
    let outside = || {
        let (min, max) = (i32::MIN, i32::MAX);
        CmdError::err(format_args!("value is out of range, value must between {min} and {max}"))
    };
    match (parse_i64(text), else_error) {
        (Some(n), error) => i32::try_from(n).map_err(|_| error.unwrap_or_else(outside)),
        (None, error) => Err(error.unwrap_or(CmdError::NOT_AN_INTEGER)),
    }
}

/// The index of one of `count` databases.
pub fn db_index(
    text: &[u8],
    count: usize,
    else_error: Option<CmdError>,
) -> Result<usize, CmdError> {
    let index = integer_32(text, else_error)?;
    usize::try_from(index).ok().filter(|&i| i < count).ok_or(CmdError::DB_INDEX)
}
