//! Commands as redis-cli lines: what a failing test prints can be pasted into redis-cli, and what
//! was typed into redis-cli can be pasted into a test.
//!
//! Beyond redis-cli's quoting there is one addition for long arguments: `rep(70000,"ab")`
//! stands for 70000 repetitions of `ab`.

use std::fmt;

/// One command with its arguments.
#[derive(Clone, PartialEq, Eq)]
pub struct Cmd(pub Vec<Vec<u8>>);

impl Cmd {
    pub fn new<A: AsRef<[u8]>>(args: impl IntoIterator<Item = A>) -> Cmd {
        Cmd(args.into_iter().map(|a| a.as_ref().to_vec()).collect())
    }

    /// The command's name in capitals.
    pub fn name(&self) -> String {
        self.upper(0)
    }

    /// An argument in capitals; empty when absent.
    pub fn upper(&self, index: usize) -> String {
        self.0.get(index).map(|a| String::from_utf8_lossy(a).to_uppercase()).unwrap_or_default()
    }

    /// Appends the command in RESP.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("*{}\r\n", self.0.len()).as_bytes());
        for arg in &self.0 {
            out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            out.extend_from_slice(arg);
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl fmt::Debug for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, arg) in self.0.iter().enumerate() {
            let gap = if i == 0 { "" } else { " " };
            let plain = |b: &u8| b.is_ascii_graphic() && !b"\"'\\".contains(b);
            match repetition(arg) {
                Some((times, unit)) => write!(f, "{gap}rep({times},{})", quote(unit))?,
                None if !arg.is_empty() && arg.iter().all(plain) && !arg.starts_with(b"rep(") => {
                    write!(f, "{gap}{}", String::from_utf8_lossy(arg))?
                }
                None => write!(f, "{gap}{}", quote(arg))?,
            }
        }
        Ok(())
    }
}

/// The shortest unit of up to 8 bytes that a long argument repeats.
fn repetition(arg: &[u8]) -> Option<(usize, &[u8])> {
    if arg.len() < 200 {
        return None;
    }
    (1..=8).find_map(|n| {
        let unit = &arg[..n];
        (arg.len().is_multiple_of(n) && arg.chunks(n).all(|c| c == unit))
            .then_some((arg.len() / n, unit))
    })
}

/// A double-quoted redis-cli argument.
pub fn quote(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for &b in bytes {
        match b {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(b as char);
            }
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x20..=0x7e => text.push(b as char),
            _ => text.push_str(&format!("\\x{b:02x}")),
        }
    }
    text.push('"');
    text
}

/// Reads one redis-cli line; panics on broken quoting, since lines are written by tests.
pub fn parse_line(line: &str) -> Cmd {
    let mut rest = line.trim().as_bytes();
    let mut args = Vec::new();
    while !rest.is_empty() {
        let (arg, used) = argument(rest).unwrap_or_else(|| panic!("broken quoting: {line}"));
        args.push(arg);
        rest = rest[used..].trim_ascii_start();
    }
    Cmd(args)
}

/// The commands of a script: a line each, `#` starts a comment line.
pub fn parse_script(script: &str) -> Vec<Cmd> {
    let lines = script.lines().map(str::trim);
    lines.filter(|l| !l.is_empty() && !l.starts_with('#')).map(parse_line).collect()
}

fn argument(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    if let Some(tail) = text.strip_prefix(b"rep(") {
        let comma = tail.iter().position(|&b| b == b',')?;
        let times: usize = std::str::from_utf8(&tail[..comma]).ok()?.parse().ok()?;
        let (unit, used) = argument(&tail[comma + 1..])?;
        let end = 4 + comma + 1 + used;
        return (text.get(end) == Some(&b')')).then(|| (unit.repeat(times), end + 1));
    }
    match text[0] {
        b'"' => double_quoted(text),
        b'\'' => {
            let end = text[1..].iter().position(|&b| b == b'\'')?;
            Some((text[1..1 + end].to_vec(), end + 2))
        }
        _ => {
            let end = text.iter().position(|b| b.is_ascii_whitespace()).unwrap_or(text.len());
            Some((text[..end].to_vec(), end))
        }
    }
}

fn double_quoted(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut arg = Vec::new();
    let mut at = 1;
    loop {
        match *text.get(at)? {
            b'"' => return Some((arg, at + 1)),
            b'\\' => {
                let escaped = *text.get(at + 1)?;
                at += 2;
                match escaped {
                    b'x' => {
                        let hex = std::str::from_utf8(text.get(at..at + 2)?).ok()?;
                        arg.push(u8::from_str_radix(hex, 16).ok()?);
                        at += 2;
                    }
                    b'n' => arg.push(b'\n'),
                    b'r' => arg.push(b'\r'),
                    b't' => arg.push(b'\t'),
                    other => arg.push(other),
                }
            }
            other => {
                arg.push(other);
                at += 1;
            }
        }
    }
}

#[test]
fn a_printed_command_reads_back_as_itself() {
    let cmd = Cmd::new([
        b"SET".to_vec(),
        b"".to_vec(),
        b"a b\"\\\x00\xff\r\n'".to_vec(),
        b"ab".repeat(500),
        b"'".to_vec(),
        b"rep(".to_vec(),
    ]);
    assert_eq!(parse_line(&format!("{cmd:?}")), cmd);
    assert!(format!("{cmd:?}").contains("rep(500,\"ab\")"));
    assert_eq!(parse_script("# note\n  GET 'a b'\n\n")[0], Cmd::new(["GET", "a b"]));
}
