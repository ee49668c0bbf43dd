//! Failures, by who has to hear of them.
//!
//! A [`Fatal`] is the process's: it ends the start (or the run) and is printed to the operator,
//! so it names the thing that failed, the cause as the system gave it, and a way out.

use std::{
    fmt,
    path::{Path, PathBuf},
};

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
