//! The two kinds of failure: a client's mistake and the process's trouble.
//!
//! They never mix. A [`CmdError`] is a reply: it goes to one client in Redis' own words and changes
//! nothing. A [`Fatal`] ends the start (or the run) and is printed to the operator, so it names the
//! thing that failed, the cause as the system gave it, and a way out.

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
};

/// An error reply, without the leading `-`: an upper-case code, a space, and Redis' text.
///
/// Bytes, since Redis repeats a client's words in it as they came.
#[derive(Clone, PartialEq, Eq)]
pub struct CmdError(Cow<'static, [u8]>);

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
    pub const LOADING: CmdError = CmdError::fixed("LOADING Redis is loading the dataset in memory");
    pub const NO_AUTH: CmdError = CmdError::fixed("NOAUTH Authentication required.");

    /// An error whose text is known at compile time.
    pub const fn fixed(text: &'static str) -> CmdError {
        CmdError(Cow::Borrowed(text.as_bytes()))
    }

    /// An error with the usual `ERR` code and a text made at run time.
    pub fn err(text: impl fmt::Display) -> CmdError {
        CmdError(Cow::Owned(format!("ERR {text}").into_bytes()))
    }

    /// An error with the usual `ERR` code and a text that repeats words of the client.
    pub fn err_of(parts: &[&[u8]]) -> CmdError {
        CmdError(Cow::Owned([b"ERR ", &parts.concat()[..]].concat()))
    }

    /// An error whose code is in its text.
    pub fn of_bytes(text: impl Into<Vec<u8>>) -> CmdError {
        CmdError(Cow::Owned(text.into()))
    }

    /// Whether a command was not run for lack of rights.
    pub fn is_denial(&self) -> bool {
        self.0.starts_with(b"NOPERM ")
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
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
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for CmdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CmdError({self})")
    }
}

/// A client's word as an error text repeats it: no more than `max` bytes, and none from a NUL on.
pub fn shown(word: &[u8], max: usize) -> &[u8] {
    let word = &word[..word.len().min(max)];
    word.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Why the process cannot start or go on.
#[derive(Debug)]
pub enum Fatal {
    /// A configuration file, standard input or the command line says something wrong.
    Config {
        /// Where: a file with its line, or the command line.
        place: String,
        /// The directive as written; secrets are already left out.
        directive: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it, when there is something to say beyond the problem.
        way_out: Option<String>,
    },
    /// An operation on a path failed.
    File {
        /// What was tried, as in "read the configuration file".
        action: &'static str,
        path: PathBuf,
        cause: std::io::Error,
        way_out: Option<String>,
    },
    /// The machine, container or kernel refuses something that the server needs.
    System {
        /// What is not possible, as in "set up io_uring".
        action: String,
        cause: String,
        way_out: Option<String>,
    },
}

impl Fatal {
    /// An operation on `path` that failed with `cause`.
    #[must_use]
    pub fn file(action: &'static str, path: &Path, cause: std::io::Error) -> Self {
        Self::File { action, path: path.to_owned(), cause, way_out: None }
    }

    /// A refusal by the system.
    pub fn system(action: impl Into<String>, cause: impl Into<String>) -> Self {
        Self::System { action: action.into(), cause: cause.into(), way_out: None }
    }

    /// Adds what the operator can do about it.
    #[must_use]
    pub fn with_way_out(mut self, text: impl Into<String>) -> Self {
        match &mut self {
            Self::Config { way_out, .. }
            | Self::File { way_out, .. }
            | Self::System { way_out, .. } => *way_out = Some(text.into()),
        }
        self
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way_out = match self {
            Self::Config { place, directive, problem, way_out } => {
                write!(f, "configuration error at {place}: `{directive}`: {problem}")?;
                way_out
            }
            Self::File { action, path, cause, way_out } => {
                write!(f, "cannot {action} {}: {}", path.display(), io_text(cause))?;
                way_out
            }
            Self::System { action, cause, way_out } => {
                write!(f, "cannot {action}: {cause}")?;
                way_out
            }
        };
        match way_out {
            Some(text) => write!(f, "\n  {text}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fatal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { cause, .. } => Some(cause),
            Self::Config { .. } | Self::System { .. } => None,
        }
    }
}

/// The system's own words for an I/O error ("No such file or directory"), without the number
/// that the standard library appends.
#[must_use]
pub fn io_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_failure_names_path_cause_and_way_out() {
        let cause = std::io::Error::from_raw_os_error(libc::EACCES);
        let fatal = Fatal::file("read the configuration file", Path::new("/etc/x.conf"), cause)
            .with_way_out("run as a user that may read it");
        assert_eq!(
            fatal.to_string(),
            "cannot read the configuration file /etc/x.conf: Permission denied\n  \
             run as a user that may read it"
        );
        assert!(std::error::Error::source(&fatal).is_some());
    }

    #[test]
    fn a_configuration_failure_names_place_and_directive() {
        let fatal = Fatal::Config {
            place: "/etc/x.conf, line 3".into(),
            directive: "port seven".into(),
            problem: "argument couldn't be parsed into an integer".into(),
            way_out: None,
        };
        assert_eq!(
            fatal.to_string(),
            "configuration error at /etc/x.conf, line 3: `port seven`: \
             argument couldn't be parsed into an integer"
        );
    }

    #[test]
    fn a_system_failure_without_a_way_out_is_one_line() {
        assert_eq!(
            Fatal::system("listen on port 80", "denied").to_string(),
            "cannot listen on port 80: denied"
        );
    }
}
