//! The syntax of redis.conf, and the loader that carries directives to the rows.
//!
//! A line is a name and its words, split at white space. A word may be quoted: within `"..."`
//! the escapes are `\n \r \t \b \a`, `\xHH` for any byte, and `\c` for any other `c`; within
//! `'...'` only `\'`. Lines that start with `#` are comments; there is no comment at the end of
//! a line. Later lines win over earlier ones.
//!
//! ```text
//! line ──split_args──► name words ──► include: read that file here
//!                                 ├─► a row: set its value
//!                                 ├─► an option of Redis that we don't have: a warning
//!                                 └─► else: an error with place and nearest name
//! ```

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{
    include, options,
    row::{Row, Turn},
    suggest, unsupported,
    values::Values,
};
use crate::error::{Fatal, io_text};

/// Includes within includes. Deeper is a circle.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Splits a line into words. None when a quote isn't closed, or is followed by something other
/// than a space.
#[must_use]
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|byte| is_space(*byte)) {
            at += 1;
        }
        if at == line.len() {
            return Some(words);
        }
        let mut word = Vec::new();
        while let Some(&byte) = line.get(at) {
            match byte {
                b'"' | b'\'' => {
                    at = read_quoted(line, at + 1, byte, &mut word)?;
                    break;
                }
                byte if is_space(byte) => break,
                byte => word.push(byte),
            }
            at += 1;
        }
        words.push(word);
    }
}

/// Reads to the closing quote and returns the place after it.
fn read_quoted(line: &[u8], mut at: usize, quote: u8, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        let byte = *line.get(at)?;
        if byte == quote {
            let closed = line.get(at + 1).is_none_or(|next| is_space(*next));
            return closed.then_some(at + 1);
        }
        let (value, length) = match (quote, byte, line.get(at + 1)) {
            (b'"', b'\\', Some(&next)) => unescape(next, line.get(at + 2..at + 4)),
            (b'\'', b'\\', Some(b'\'')) => (b'\'', 2),
            _ => (byte, 1),
        };
        word.push(value);
        at += length;
    }
}

/// The byte that an escape stands for, and the escape's length with the backslash.
fn unescape(letter: u8, digits: Option<&[u8]>) -> (u8, usize) {
    let hex = |digit: u8| char::from(digit).to_digit(16);
    if let (b'x', Some(&[high, low])) = (letter, digits)
        && let (Some(high), Some(low)) = (hex(high), hex(low))
    {
        return ((high * 16 + low) as u8, 4);
    }
    let byte = match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    };
    (byte, 2)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

/// A word in double quotes, such that [`split_args`] gives it back.
#[must_use]
pub fn quote(word: &[u8]) -> Vec<u8> {
    let mut text = vec![b'"'];
    for byte in word {
        match byte {
            b'\\' | b'"' => text.extend([b'\\', *byte]),
            b'\n' => text.extend(b"\\n"),
            b'\r' => text.extend(b"\\r"),
            b'\t' => text.extend(b"\\t"),
            0x07 => text.extend(b"\\a"),
            0x08 => text.extend(b"\\b"),
            b' '..=b'~' => text.push(*byte),
            _ => text.extend(format!("\\x{byte:02x}").bytes()),
        }
    }
    text.push(b'"');
    text
}

/// Where a directive stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    File { path: PathBuf, line: usize },
    Stdin { line: usize },
    CommandLine,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Stdin { line } => write!(f, "standard input, line {line}"),
            Self::CommandLine => f.write_str("the command line"),
        }
    }
}

/// Something in the configuration that has no effect; to be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub place: Place,
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// A directive that set a row.
struct Seen {
    row: &'static Row,
    place: Place,
    /// As written, without secrets.
    directive: Vec<Vec<u8>>,
}

/// Collects directives into values.
pub struct Loader {
    values: Values,
    warnings: Vec<Warning>,
    /// The last directive about each row that was set.
    seen: Vec<Seen>,
    depth: usize,
}

impl Loader {
    #[must_use]
    pub fn new(defaults: Values) -> Self {
        Self { values: defaults, warnings: Vec::new(), seen: Vec::new(), depth: 0 }
    }

    /// The values and what is to be logged. Only now are values refused that the server doesn't
    /// serve, since a later directive may have put another in the place of one.
    pub fn finish(mut self) -> Result<(Values, Vec<Warning>), Fatal> {
        for Seen { row, place, directive } in self.seen {
            let Some(refusal) = row.refused(&self.values) else { continue };
            if !refusal.lenient_in_file {
                return Err(problem_at(&place, &directive, refusal.reason.to_owned()));
            }
            let text = format!("'{}' has no effect: {}", row.name, refusal.reason);
            self.warnings.push(Warning { place, text });
            super::set_default(row, &mut self.values);
        }
        Ok((self.values, self.warnings))
    }

    /// Reads a file.
    pub fn file(&mut self, path: &Path) -> Result<(), Fatal> {
        let bytes = std::fs::read(path)
            .map_err(|cause| Fatal::file("read the configuration file", path, cause))?;
        self.text(&bytes, |line| Place::File { path: path.to_owned(), line })
    }

    /// Reads what came from standard input.
    pub fn stdin(&mut self, bytes: &[u8]) -> Result<(), Fatal> {
        self.text(bytes, |line| Place::Stdin { line })
    }

    fn text(&mut self, bytes: &[u8], place: impl Fn(usize) -> Place) -> Result<(), Fatal> {
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let place = place(index + 1);
            let words = split_args(line).ok_or_else(|| Fatal::Config {
                place: place.to_string(),
                directive: shown_without_words(line),
                problem: "unbalanced quotes".to_owned(),
                way_out: Some("close the quote; after it comes a space or the end".to_owned()),
            })?;
            self.directive(&place, &words)?;
        }
        Ok(())
    }

    /// Carries out one directive: its name and words.
    pub fn directive(&mut self, place: &Place, directive: &[Vec<u8>]) -> Result<(), Fatal> {
        let [name, words @ ..] = directive else { return Ok(()) };
        if name.eq_ignore_ascii_case(b"include") {
            return self.include(place, directive, words);
        }
        if let Some(row) = options::find(name) {
            return self.set(place, row, directive, words);
        }
        let shown = String::from_utf8_lossy(name);
        if unsupported::is_known(name) {
            let text = format!("'{shown}' of Redis or Valkey isn't supported and has no effect");
            self.warnings.push(Warning { place: place.clone(), text });
            return Ok(());
        }
        let unknown = problem_at(place, &directive[..1], "unknown option".to_owned());
        let names = options::rows().flat_map(Row::names).chain(["include"]);
        Err(match suggest::nearest(&shown, names.chain(unsupported::NAMES.iter().copied())) {
            Some(near) => unknown.with_way_out(format!("did you mean '{near}'?")),
            None => unknown,
        })
    }

    fn set(
        &mut self,
        place: &Place,
        row: &'static Row,
        directive: &[Vec<u8>],
        words: &[Vec<u8>],
    ) -> Result<(), Fatal> {
        let seen = self.seen.iter().any(|seen| seen.row.name == row.name);
        let turn = if seen { Turn::Again } else { Turn::First };
        let fail = |problem: String| {
            let shown = if row.sensitive { &directive[..1] } else { directive };
            problem_at(place, shown, problem)
        };
        let resplit;
        let words = match words {
            // `save` alone is no rule, as in Redis.
            [] if row.name != "save" => return Err(fail("wrong number of arguments".to_owned())),
            // "a b c" as one word is as good as three words.
            [one] if row.takes_many() && !one.is_empty() => {
                resplit = split_args(one).ok_or_else(|| fail("unbalanced quotes".to_owned()))?;
                resplit.as_slice()
            }
            words => words,
        };
        row.set(&mut self.values, words, turn).map_err(fail)?;
        self.seen.retain(|seen| seen.row.name != row.name);
        let directive = if row.sensitive { &directive[..1] } else { directive }.to_vec();
        self.seen.push(Seen { row, place: place.clone(), directive });
        Ok(())
    }

    /// Reads other files in place of the directive. Paths are relative to the working directory.
    fn include(
        &mut self,
        place: &Place,
        directive: &[Vec<u8>],
        words: &[Vec<u8>],
    ) -> Result<(), Fatal> {
        use std::os::unix::ffi::OsStrExt;
        let [word] = words else {
            return Err(problem_at(place, directive, "wrong number of arguments".to_owned()));
        };
        if self.depth == INCLUDE_DEPTH_MAX {
            return Err(problem_at(
                place,
                directive,
                "files include each other in a circle".into(),
            ));
        }
        let path = Path::new(std::ffi::OsStr::from_bytes(word));
        let files = if include::is_pattern(path) {
            include::expand(path).map_err(|error| problem_at(place, directive, io_text(&error)))?
        } else {
            vec![path.to_owned()]
        };
        self.depth += 1;
        for file in files {
            self.file(&file).map_err(|fatal| match fatal {
                Fatal::File { .. } => fatal.with_way_out(format!("it is included at {place}")),
                other => other,
            })?;
        }
        self.depth -= 1;
        Ok(())
    }
}

fn problem_at(place: &Place, directive: &[Vec<u8>], problem: String) -> Fatal {
    let show = |word: &Vec<u8>| {
        let plain = !word.is_empty() && word.iter().all(|b| b.is_ascii_graphic() && *b != b'"');
        let text = if plain { word.clone() } else { quote(word) };
        String::from_utf8_lossy(&text).into_owned()
    };
    let directive = directive.iter().map(show).collect::<Vec<_>>().join(" ");
    Fatal::Config { place: place.to_string(), directive, problem, way_out: None }
}

/// The first word of a line that cannot be split; the rest could be a secret.
fn shown_without_words(line: &[u8]) -> String {
    let end = line.iter().position(|byte| is_space(*byte)).unwrap_or(line.len());
    format!("{} ...", String::from_utf8_lossy(&line[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Option<Vec<String>> {
        let words = split_args(line.as_bytes())?;
        Some(words.into_iter().map(|word| String::from_utf8(word).unwrap()).collect())
    }

    fn load(text: &str) -> Result<(Values, Vec<String>), String> {
        let mut loader = Loader::new(super::super::defaults());
        loader.stdin(text.as_bytes()).map_err(|fatal| fatal.to_string())?;
        let (values, warnings) = loader.finish().map_err(|fatal| fatal.to_string())?;
        Ok((values, warnings.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn words_and_quotes() {
        for (line, words) in [
            ("", vec![]),
            ("  a\tb  ", vec!["a", "b"]),
            ("save \"\"", vec!["save", ""]),
            ("a 'b c'", vec!["a", "b c"]),
            ("a \"b c\"  d", vec!["a", "b c", "d"]),
            (r#"a "\x41\n\r\t\"\\\q""#, vec!["a", "A\n\r\t\"\\q"]),
            (r#"a "\xzz""#, vec!["a", "xzz"]),
            (r"a 'it\'s' '\n'", vec!["a", "it's", "\\n"]),
            ("pre\"fix\" x", vec!["prefix", "x"]),
            ("a #b", vec!["a", "#b"]),
        ] {
            let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            assert_eq!(split(line), Some(words), "{line}");
        }
        for line in ["\"a", "'a", "\"a\"b", "'a'b", "\"a\\\"", "\"\\x4"] {
            assert_eq!(split(line), None, "{line}");
        }
    }

    #[test]
    fn quoted_words_come_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(split_args(&quote(&all)), Some(vec![all]));
        assert_eq!(quote(b"a\"b\x00"), b"\"a\\\"b\\x00\"");
    }

    #[test]
    fn later_lines_win_and_comments_are_skipped() {
        let text =
            "# port 1\r\n\n  PORT 7000\r\nport 7001\nbind 127.0.0.1 -::1\nrequirepass \"a b\"\n";
        let (values, warnings) = load(text).unwrap();
        assert_eq!(values.port, 7001);
        assert_eq!(values.bind, ["127.0.0.1", "-::1"]);
        assert_eq!(values.requirepass.unwrap().as_bytes(), b"a b");
        assert!(warnings.is_empty());
    }

    #[test]
    fn one_quoted_word_may_hold_several() {
        let (values, _) =
            load("bind \"127.0.0.1 ::1\"\nclient-output-buffer-limit \"pubsub 1mb 2mb 3\"")
                .unwrap();
        assert_eq!(values.bind, ["127.0.0.1", "::1"]);
        assert_eq!(values.client_output_buffer_limit.pubsub.hard, 1 << 20);
        assert_eq!(values.client_output_buffer_limit.replica.hard, 256 << 20);
    }

    #[test]
    fn commands_are_renamed_in_order() {
        let (values, _) = load("rename-command CONFIG hush\nrename-command DEBUG \"\"").unwrap();
        assert_eq!(values.rename_command[0].to, b"hush");
        assert_eq!(values.rename_command[1].to, b"");
    }

    #[test]
    fn errors_name_place_directive_and_nearest_name() {
        for (text, expected) in [
            (
                "\nport seven",
                "configuration error at standard input, line 2: `port seven`: \
                 argument couldn't be parsed into an integer",
            ),
            (
                "maxmemroy 1gb",
                "configuration error at standard input, line 1: `maxmemroy`: unknown option\n  \
                 did you mean 'maxmemory'?",
            ),
            ("frob 1", "configuration error at standard input, line 1: `frob`: unknown option"),
            (
                "port 1 2",
                "configuration error at standard input, line 1: `port 1 2`: wrong number of arguments",
            ),
            (
                "requirepass hush hush",
                "configuration error at standard input, line 1: `requirepass`: \
                 wrong number of arguments",
            ),
            (
                "requirepass \"hush",
                "configuration error at standard input, line 1: `requirepass ...`: unbalanced \
                 quotes\n  close the quote; after it comes a space or the end",
            ),
        ] {
            assert_eq!(load(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn what_the_server_does_not_do_is_refused() {
        for (text, reason) in [
            ("daemonize yes", "into the background"),
            ("supervised upstart", "use supervised systemd"),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let fine = "maxmemory 1gb\ndaemonize no\nappendonly no\nsupervised auto\nsave ''";
        assert!(load(fine).unwrap().1.is_empty());
    }

    #[test]
    fn unsupported_options_are_warned_of() {
        let text = "save 3600 1\nsave 60 10\nsyslog-ident 5\nSlave-Priority 1\n\
                    sanitize-dump-payload no";
        let (values, warnings) = load(text).unwrap();
        assert_eq!(values.save.len(), 2);
        assert_eq!(
            warnings,
            [
                "standard input, line 3: 'syslog-ident' of Redis or Valkey isn't supported and \
                 has no effect",
                "standard input, line 4: 'Slave-Priority' of Redis or Valkey isn't supported and \
                 has no effect",
                "standard input, line 5: 'sanitize-dump-payload' has no effect: every payload is \
                 checked: only sanitize-dump-payload yes is accepted",
            ]
        );
    }

    #[test]
    fn a_refused_value_may_be_overridden() {
        let text = "daemonize yes\nsave 60 1\nmaxmemory 1gb\nmaxmemory 0\nsave \"\"\ndaemonize no";
        assert!(load(text).unwrap().1.is_empty());
        let error = load("daemonize no\n\ndaemonize yes").unwrap_err();
        assert!(error.contains("line 3: `daemonize yes`"), "{error}");
    }

    #[test]
    fn includes_are_read_in_place() {
        let room = std::env::temp_dir().join(format!("corelane-file-{}", std::process::id()));
        std::fs::create_dir_all(room.join("d")).unwrap();
        let write = |name: &str, text: String| std::fs::write(room.join(name), text).unwrap();
        let at = room.display();
        write("main.conf", format!("port 1\ninclude {at}/d/*.conf\ninclude {at}/none*\ntimeout 9"));
        write("d/a.conf", "port 2\ntimeout 3".into());
        write("d/b.conf", "port 3".into());
        let mut loader = Loader::new(Values::default());
        loader.file(&room.join("main.conf")).unwrap();
        let (values, _) = loader.finish().unwrap();
        assert_eq!((values.port, values.timeout), (3, 9));

        write("d/b.conf", "\nprot 3".into());
        let error = Loader::new(Values::default()).file(&room.join("main.conf")).unwrap_err();
        assert!(error.to_string().contains("/d/b.conf, line 2: `prot`"), "{error}");

        write("missing.conf", format!("include {at}/nothing.conf"));
        let error = Loader::new(Values::default()).file(&room.join("missing.conf")).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("nothing.conf: No such file") && error.contains("missing.conf, line 1")
        );

        write("circle.conf", format!("include {at}/circle.conf"));
        let error = Loader::new(Values::default()).file(&room.join("circle.conf")).unwrap_err();
        assert!(error.to_string().contains("in a circle"), "{error}");
        std::fs::remove_dir_all(room).unwrap();
    }
}
