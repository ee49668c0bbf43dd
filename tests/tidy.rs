//! The code's own rules, as a test: sizes, import directions, who may name what, the top level.
//!
//! It reads the sources as text with comments and literals blanked out, so it needs no parser and
//! sees code that this build leaves out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

/// The rooms of `src/`, top first: a room imports from lower rows only, and from itself.
const ROOMS: &[&[&str]] = &[
    &["main"],
    &["server"],
    &["net"],
    &["route", "persist", "replica"],
    &["command"],
    &["shard"],
    &["journal", "script", "session"],
    &["rdb", "acl"],
    &["resp", "data"],
    &["clock", "config", "metrics", "rt"],
    &["error"],
];

/// Imports between rooms of one row that the design allows.
const SIBLINGS: &[(&str, &str)] = &[("replica", "persist"), ("rt", "clock")];

const TOP_LEVEL: &[&str] = &[
    ".ci",
    ".clippy.toml",
    ".dockerignore",
    ".gitignore",
    ".rustfmt.toml",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bench",
    "configs",
    "scripts",
    "src",
    "tests",
];

/// Words of the workshop, which say nothing to a reader of the code. Matched as whole words,
/// whatever their case.
const FORBIDDEN_WORDS: &[&str] =
    &["fixme", "xxx", "agent", "agents", "chatgpt", "claude", "llm", "milestone", "wip"];

/// Calls that no committed code has.
const FORBIDDEN_CALLS: &[&str] = &["todo!(", "unimplemented!(", "dbg!("];

struct Source {
    path: PathBuf,
    text: String,
    /// The text with comments, strings and character literals blanked; lines stay where they are.
    code: String,
}

impl Source {
    /// `src/shard/expire.rs` belongs to the room `shard`, `src/main.rs` to `main`.
    fn room(&self) -> Option<String> {
        let inside = self.path.strip_prefix("src").ok()?;
        let first = inside.components().next()?.as_os_str().to_string_lossy().into_owned();
        Some(first.trim_end_matches(".rs").to_string())
    }

    fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path.display(), self.line_of(at))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(under: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(root().join(under)) else { return };
    for entry in entries {
        let entry = entry.expect("a readable directory");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = under.join(&name);
        if entry.path().is_dir() {
            if !matches!(name.as_str(), ".venv" | "target" | "__pycache__" | "results") {
                files(&path, extensions, found);
            }
        } else if extensions.iter().any(|e| name.ends_with(e)) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for directory in ["src", "tests", "bench"] {
        files(Path::new(directory), &[".rs"], &mut paths);
    }
    assert!(paths.len() > 20, "the sources are where this test looks for them");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(root().join(&path)).expect("UTF-8 source");
        let code = blank(&text);
        Source { path, text, code }
    };
    paths.into_iter().map(read).collect()
}

/// Replaces comments, strings and character literals by spaces.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => block_end(bytes, at),
            b'"' => string_end(bytes, at + 1),
            b'r' | b'b' | b'c' if at == 0 || !is_word(bytes[at - 1]) => raw_end(bytes, at),
            b'\'' => char_end(bytes, at),
            _ => at,
        };
        for b in &mut out[at..end] {
            if *b != b'\n' {
                *b = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).expect("only whole literals were replaced")
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| at + n)
}

fn block_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The end of a string whose contents start at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of `r"…"`, `r#"…"#`, `br"…"`, `b"…"`, `b'…'`; `at` itself for any other word.
fn raw_end(bytes: &[u8], at: usize) -> usize {
    let prefix = bytes[at..].iter().take_while(|b| b"rbc".contains(b)).count();
    let after = at + prefix;
    if prefix > 2 {
        return at;
    }
    let hashes = bytes[after..].iter().take_while(|&&b| b == b'#').count();
    let raw = bytes[at..after].contains(&b'r');
    match bytes.get(after + hashes) {
        Some(b'"') if raw => {
            let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let from = after + hashes + 1;
            let found = bytes[from..].windows(close.len()).position(|w| w == close);
            found.map_or(bytes.len(), |n| from + n + close.len())
        }
        Some(b'"') if hashes == 0 => string_end(bytes, after + 1),
        Some(b'\'') if hashes == 0 => char_end(bytes, after),
        _ => at,
    }
}

/// The end of a character literal; `at` itself for a lifetime.
fn char_end(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at + 1) {
        Some(b'\\') => {
            let close = bytes[at + 3..].iter().position(|&b| b == b'\'');
            close.map_or(bytes.len(), |n| at + 3 + n + 1)
        }
        Some(_) => {
            let width = std::str::from_utf8(&bytes[at + 1..(at + 5).min(bytes.len())])
                .map_or_else(|e| e.valid_up_to().max(1), str::len);
            let first =
                bytes[at + 1..at + 1 + width].iter().skip(1).take_while(|b| **b & 0xc0 == 0x80);
            let close = at + 2 + first.count();
            if bytes.get(close) == Some(&b'\'') { close + 1 } else { at }
        }
        None => at,
    }
}

/// The places of a whole word in code.
fn words<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = usize> + 'c {
    let bytes = code.as_bytes();
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = at == 0 || !is_word(bytes[at - 1]);
        before && bytes.get(at + word.len()).is_none_or(|&b| !is_word(b))
    })
}

/// The place after the bracket that closes the one at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (i, b) in code.bytes().enumerate().skip(open) {
        match b {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return i + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// Where a function's body starts: the first brace outside brackets. `None` without a body.
fn body(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0;
    for (i, b) in code.bytes().enumerate().skip(from) {
        match b {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(i),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The code without its `#[cfg(test)] mod … { … }`.
fn without_tests(code: &str) -> String {
    let mut code = code.to_string();
    while let Some(at) = code.find("#[cfg(test)]") {
        let tail = code[at + 12..].trim_start();
        let start = code.len() - tail.len();
        let end = match body(&code, start) {
            Some(open) if tail.starts_with("mod ") || tail.starts_with("pub mod ") => {
                closing(&code, open)
            }
            _ => start,
        };
        let blanked: String =
            code[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(at..end, &blanked);
    }
    code
}

fn assert_none(what: &str, mut found: Vec<String>) {
    found.sort();
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn files_are_short() {
    let long = |s: &Source| {
        let lines = s.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", s.path.display()))
    };
    let found = sources().iter().filter_map(long).collect();
    assert_none(&format!("files of more than {FILE_LINES_MAX} lines"), found);
}

#[test]
fn functions_are_short() {
    let mut found = Vec::new();
    for source in sources() {
        for at in words(&source.code, "fn") {
            let name = source.code[at + 2..].trim_start();
            if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
                continue; // a function pointer's type
            }
            let Some(open) = body(&source.code, at) else { continue };
            let end = closing(&source.code, open);
            let lines = source.code[at..end].matches('\n').count() + 1;
            if lines > FUNCTION_LINES_MAX {
                let name: String = name.chars().take_while(|c| is_word(*c as u8)).collect();
                found.push(format!("{}: {name} has {lines}", source.place(at)));
            }
        }
    }
    assert_none(&format!("functions of more than {FUNCTION_LINES_MAX} lines"), found);
}

/// The rooms that a file names as `crate::room`, also inside `crate::{…}`, with their places.
fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let word = |text: &str| {
        text.chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect::<String>()
    };
    for at in words(code, "crate") {
        let Some(path) = code[at + 5..].strip_prefix("::") else { continue };
        if !path.starts_with('{') {
            found.push((at, word(path)));
            continue;
        }
        let open = at + 7;
        let group = &code[open + 1..closing(code, open) - 1];
        let mut depth = 0;
        let mut start = true;
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && !c.is_whitespace() => {
                    found.push((at, word(&group[i..])));
                    start = false;
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn imports_point_down() {
    let level = |room: &str| ROOMS.iter().position(|row| row.contains(&room));
    let mut found = Vec::new();
    for source in sources() {
        let Some(room) = source.room().filter(|r| r != "lib") else { continue };
        let Some(from) = level(&room) else {
            found.push(format!("{} is in no room of the design", source.path.display()));
            continue;
        };
        for (at, target) in imports(&without_tests(&source.code)) {
            let Some(to) = level(&target) else { continue };
            let allowed = target == room || to > from || SIBLINGS.contains(&(&room, &target));
            if !allowed {
                found.push(format!("{}: {room} imports {target}", source.place(at)));
            }
        }
    }
    assert_none("imports that point up or sideways", found);
}

#[test]
fn only_rt_names_the_runtime() {
    let mut found = Vec::new();
    for source in
        sources().iter().filter(|s| s.path.starts_with("src") && !s.path.starts_with("src/rt"))
    {
        for word in ["glommio", "io_uring"] {
            found.extend(
                words(&source.code, word).map(|at| format!("{}: {word}", source.place(at))),
            );
        }
    }
    assert_none("code outside src/rt that names the runtime", found);
}

#[test]
fn only_clock_reads_time() {
    let mut found = Vec::new();
    for source in sources() {
        let exempt = ["src/clock.rs", "tests/harness/mod.rs"];
        if source.path.starts_with("bench") || exempt.iter().any(|e| source.path == Path::new(e)) {
            continue;
        }
        for call in ["SystemTime::now", "Instant::now"] {
            found.extend(
                words(&source.code, call).map(|at| format!("{}: {call}", source.place(at))),
            );
        }
    }
    assert_none("code that reads time elsewhere than in src/clock.rs", found);
}

#[test]
fn no_words_of_the_workshop() {
    let mut paths = vec![PathBuf::from("README.md"), PathBuf::from("Cargo.toml")];
    for directory in ["src", "tests", "bench", "configs", "scripts", ".ci"] {
        files(Path::new(directory), &[""], &mut paths);
    }
    let mut found = Vec::new();
    for path in paths.iter().filter(|p| !p.ends_with("tidy.rs")) {
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        for (number, line) in text.to_lowercase().lines().enumerate() {
            let bare_todo = words(line, "todo").any(|at| !line[at + 4..].starts_with(": "));
            let word = FORBIDDEN_WORDS.iter().find(|w| words(line, w).next().is_some());
            let call = FORBIDDEN_CALLS.iter().find(|c| line.contains(*c));
            if let Some(what) = word.or(call).or(bare_todo.then_some(&"a TODO without its text")) {
                found.push(format!("{}:{}: {what}", path.display(), number + 1));
            }
        }
    }
    assert_none("words that say nothing to a reader", found);
}

fn tree_names(command: &mut Command) -> String {
    let output = command.output().expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("names in UTF-8")
}

#[test]
fn the_top_level_is_complete_and_exact() {
    // What the repository holds, not what else lies about: editors and tools leave things.
    let mut git = Command::new("git");
    let listed = tree_names(git.args(["ls-tree", "--name-only", "HEAD"]).current_dir(root()));
    let mut names: Vec<&str> = listed.lines().collect();
    names.sort_unstable();
    assert_eq!(names, TOP_LEVEL);
}

#[test]
fn the_reader_of_sources_sees_code_only() {
    let text = "fn a() { let c = '{'; let s = \"}\\\"\"; /* { /* } */ */ let r = r#\"{\"#; } // {\nfn b<'a>() {}";
    let code = blank(text);
    assert_eq!(code.len(), text.len());
    let open = body(&code, 0).unwrap();
    assert_eq!(text[closing(&code, open)..].trim_start(), "// {\nfn b<'a>() {}");
    assert_eq!(blank("b'\\'' 'é' b\"x\" 'static"), format!("{}'static", " ".repeat(16)));
    let found = imports("use crate::{data::{self, crate_x}, shard};\nfn f() { crate::net::g() }");
    let rooms: Vec<&str> = found.iter().map(|(_, r)| r.as_str()).collect();
    assert_eq!(rooms, ["data", "shard", "net"]);
    let tests = "use crate::a;\n#[cfg(test)]\nmod tests { use crate::b; }\nuse crate::c;";
    let rooms: Vec<String> = imports(&without_tests(tests)).into_iter().map(|(_, r)| r).collect();
    assert_eq!(rooms, ["a", "c"]);
}
