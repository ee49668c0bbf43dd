//! The manifest of an AOF of Redis 7, which names its parts.
//!
//! ```text
//!   file appendonly.aof.2.base.rdb seq 2 type b       the base, at most one
//!   file appendonly.aof.1.incr.aof seq 1 type h       history, of no use any more
//!   file appendonly.aof.4.incr.aof seq 4 type i       increments, in ascending order
//!   # a comment
//! ```
//!
//! A line is pairs of a word and a value, in any order, of which unknown ones are passed over. A name
//! with unusual characters stands in quotes.

use crate::config::split_args;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Bytes of a line.
const LINE_MAX: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    pub base: Option<Part>,
    pub increments: Vec<Part>,
    pub history: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// In the manifest's own directory.
    pub name: PathBuf,
    pub sequence: i64,
}

/// Why something is no manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    /// From 1 on; 0 for the whole.
    pub line: usize,
    pub text: String,
    pub problem: &'static str,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(self.problem),
            line => write!(f, "line {line}: {}: '{}'", self.problem, self.text),
        }
    }
}

impl std::error::Error for ManifestError {}

const FORMAT: &str = "it is not pairs of a word and a value with a file, a seq and a type";

impl Manifest {
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::default();
        if text.is_empty() {
            let problem = "it is empty";
            return Err(ManifestError { line: 0, text: String::new(), problem });
        }
        for (index, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
            manifest.line(line).map_err(|problem| ManifestError {
                line: index + 1,
                text: String::from_utf8_lossy(line).trim().to_string(),
                problem,
            })?;
        }
        Ok(manifest)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if line.starts_with(b"#") {
            return Ok(());
        }
        if line.len() > LINE_MAX || !line.ends_with(b"\n") {
            return Err("it is too long or has no end");
        }
        let words = split_args(line.trim_ascii()).ok_or(FORMAT)?;
        if words.len() < 6 || words.len() % 2 != 0 {
            return Err(FORMAT);
        }
        let value = |name: &str| {
            let mut pairs = words.chunks_exact(2).rev();
            pairs
                .find(|pair| pair[0].eq_ignore_ascii_case(name.as_bytes()))
                .map(|pair| &pair[1][..])
        };
        let name = value("file").filter(|name| !name.is_empty()).ok_or(FORMAT)?;
        if name.contains(&b'/') || name.contains(&b'\\') {
            return Err("a file is not in the manifest's own directory");
        }
        let sequence = value("seq").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let sequence: i64 = sequence.filter(|sequence| *sequence != 0).ok_or(FORMAT)?;
        let part = Part { name: OsStr::from_bytes(name).into(), sequence };
        match value("type").and_then(<[u8]>::first) {
            Some(b'b') if self.base.is_some() => return Err("there is a second base"),
            Some(b'b') => self.base = Some(part),
            Some(b'h') => self.history.push(part),
            Some(b'i') => {
                let last = self.increments.last().map_or(0, |last| last.sequence);
                if sequence <= last {
                    return Err("the sequence numbers of the increments do not ascend");
                }
                self.increments.push(part);
            }
            Some(_) => return Err("there is no such type of a file"),
            None => return Err(FORMAT),
        }
        Ok(())
    }

    /// What is loaded, in order.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.base.iter().chain(&self.increments)
    }

    pub fn is_empty(&self) -> bool {
        self.parts().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_in_their_order() {
        let text = b"file a.2.base.rdb seq 2 type b\nfile a.1.incr.aof seq 1 type h\n# comment\n\
                     TYPE i seq 3 new x FILE \"a b\\x41\"\nfile c seq 7 type incr\r\n";
        let manifest = Manifest::parse(text).unwrap();
        let names: Vec<_> = manifest.parts().map(|part| part.name.to_str().unwrap()).collect();
        assert_eq!(names, ["a.2.base.rdb", "a bA", "c"]);
        assert_eq!((manifest.history.len(), manifest.increments[1].sequence), (1, 7));
        assert!(Manifest::parse(b"# nothing\n").unwrap().is_empty());
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let good = "file a seq 1 type b\n";
        for (line, problem) in [
            ("file b seq 2 type b\n", "there is a second base"),
            ("file b seq 2 type i", "it is too long or has no end"),
            ("\n", FORMAT),
            ("file b seq 2\n", FORMAT),
            ("file b seq 2 type\n", FORMAT),
            ("file b seq x type i\n", FORMAT),
            ("file b seq 0 type i\n", FORMAT),
            ("file \"b seq 1 type i\n", FORMAT),
            ("file ../b seq 1 type i\n", "a file is not in the manifest's own directory"),
            ("file b seq 1 type x\n", "there is no such type of a file"),
            ("file b seq -1 type i\n", "the sequence numbers of the increments do not ascend"),
        ] {
            let error = Manifest::parse(format!("{good}{line}").as_bytes()).unwrap_err();
            assert_eq!((error.line, error.problem), (2, problem), "{line}");
        }
        let long = format!("{good}file {} seq 1 type i\n", "x".repeat(1100));
        assert_eq!(Manifest::parse(long.as_bytes()).unwrap_err().line, 2);
        assert_eq!(Manifest::parse(b"").unwrap_err().to_string(), "it is empty");
    }
}
