//! The two kinds of failure: a client's mistake and the process's trouble.
//!
//! They never mix. A [`CmdError`] is a reply: it goes to one client in Redis' own words and changes
//! nothing. A `Fatal` ends the start or the run of the process and says what to do about it.

use std::borrow::Cow;
use std::fmt;

/// An error reply, without the leading `-`: an upper-case code, a space, and Redis' text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CmdError(pub Cow<'static, str>);

impl CmdError {
    pub const SYNTAX: CmdError = CmdError::fixed("ERR syntax error");
    pub const WRONG_TYPE: CmdError =
        CmdError::fixed("WRONGTYPE Operation against a key holding the wrong kind of value");
    pub const NOT_AN_INTEGER: CmdError =
        CmdError::fixed("ERR value is not an integer or out of range");
    pub const NOT_A_FLOAT: CmdError = CmdError::fixed("ERR value is not a valid float");
    pub const NO_SUCH_KEY: CmdError = CmdError::fixed("ERR no such key");
    pub const OVERFLOW: CmdError = CmdError::fixed("ERR increment or decrement would overflow");
    pub const STRING_TOO_LONG: CmdError =
        CmdError::fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    pub const DB_INDEX: CmdError = CmdError::fixed("ERR DB index is out of range");
    pub const NO_AUTH: CmdError = CmdError::fixed("NOAUTH Authentication required.");

    /// An error whose text is known at compile time.
    pub const fn fixed(text: &'static str) -> CmdError {
        CmdError(Cow::Borrowed(text))
    }

    /// An error with the usual `ERR` code and a text made at run time.
    pub fn err(text: impl fmt::Display) -> CmdError {
        CmdError(Cow::Owned(format!("ERR {text}")))
    }

    pub fn wrong_arity(full_name: &str) -> CmdError {
        CmdError::err(format_args!("wrong number of arguments for '{full_name}' command"))
    }

    pub fn invalid_expire(full_name: &str) -> CmdError {
        CmdError::err(format_args!("invalid expire time in '{full_name}' command"))
    }
}

impl fmt::Display for CmdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The process's trouble: what failed, why, and the way out.
#[derive(Debug)]
pub struct Fatal(String);

impl Fatal {
    pub fn new(text: impl Into<String>) -> Fatal {
        Fatal(text.into())
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
