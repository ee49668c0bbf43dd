//! CONFIG GET and CONFIG SET.
//!
//! SET works on a copy: every name is looked up, then every value is set, and only when all of
//! that went well is the copy put in place. Between [`Config::prepare`] and [`Config::commit`]
//! the server carries out the [`Action`]s; when one fails it drops the change, and nothing
//! happened.

use std::fmt;

use super::{
    Action, Config, Mutability, Row,
    options::{find, rows},
    row::Turn,
    values::Values,
};
use crate::error::shown;

/// An error reply's line, with its code and without the protocol's framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CmdErrorText(pub Vec<u8>);

impl fmt::Display for CmdErrorText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// A valid CONFIG SET that isn't in place yet.
#[derive(Debug)]
#[must_use = "a change has no effect until it is committed"]
pub struct Change {
    values: Values,
    changed: Vec<&'static Row>,
}

impl Change {
    /// The values as they will be.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The options whose values differ from before, or what their values name may do so.
    pub fn changed(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.changed.iter().map(|row| row.name)
    }

    /// What the server has to do, each once, with the option that asks for it.
    #[must_use]
    pub fn actions(&self) -> Vec<(Action, &'static str)> {
        let mut actions: Vec<(Action, &'static str)> = Vec::new();
        for row in &self.changed {
            if let Some(action) = row.action
                && actions.iter().all(|(known, _)| *known != action)
            {
                actions.push((action, row.name));
            }
        }
        // New connections get what it has read from then on: nothing that can fail may follow.
        actions.sort_by_key(|(action, _)| *action == Action::Tls);
        actions
    }

    /// The error reply for an action that failed.
    #[must_use]
    pub fn failure(option: &str, reason: &str) -> CmdErrorText {
        failed(option.as_bytes(), reason)
    }
}

impl Config {
    /// The options that match any of the patterns, each once, with their values.
    ///
    /// A pattern without `*`, `?` and `[` is a name, and is answered as it was written. Others go
    /// to `matcher`, which is asked with the pattern in lower case, as the names are.
    pub fn get(
        &self,
        patterns: &[&[u8]],
        matcher: impl Fn(&[u8], &str) -> bool,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let lower: Vec<_> = patterns.iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
        let wanted = |name: &'static str| {
            let first = lower.iter().position(|pattern| {
                match pattern.iter().any(|byte| b"*?[".contains(byte)) {
                    true => matcher(pattern, name),
                    false => pattern == name.as_bytes(),
                }
            });
            let as_written = |at: usize| match lower[at] == name.as_bytes() {
                true => patterns[at].to_vec(),
                false => name.as_bytes().to_vec(),
            };
            first.map(as_written)
        };
        rows()
            .filter(|row| row.mutability != Mutability::FileOnly)
            .flat_map(|row| row.names().map(move |name| (name, row)))
            .filter_map(|(name, row)| Some((wanted(name)?, row.show(&self.values))))
            .collect()
    }

    /// Checks a CONFIG SET as a whole, without doing it. Whether the client is of this machine decides
    /// with `enable-protected-configs` about options that name files.
    pub fn prepare(
        &self,
        pairs: &[(Vec<u8>, Vec<u8>)],
        is_local: bool,
    ) -> Result<Change, CmdErrorText> {
        let mut chosen: Vec<&'static Row> = Vec::with_capacity(pairs.len());
        for (name, _) in pairs {
            let row = find(name).filter(|row| row.mutability != Mutability::FileOnly);
            let Some(row) = row else {
                let text = b"ERR Unknown option or number of arguments for CONFIG SET - '";
                return Err(one_line(&[text, shown(name, usize::MAX), b"'"]));
            };
            match row.mutability {
                Mutability::Immutable => return Err(failed(name, "can't set immutable config")),
                Mutability::Protected if !self.enable_protected_configs.allows(is_local) => {
                    return Err(failed(name, "can't set protected config"));
                }
                Mutability::Protected if self.appendonly => {
                    let reason = "it can't be changed while the append-only files are there";
                    return Err(failed(name, reason));
                }
                Mutability::Protected | Mutability::Mutable | Mutability::FileOnly => {}
            }
            if chosen.iter().any(|other| other.name == row.name) {
                return Err(failed(name, "duplicate parameter"));
            }
            chosen.push(row);
        }
        let mut values = self.values.clone();
        for (row, (_, value)) in chosen.iter().zip(pairs) {
            set_one(row, &mut values, value)
                .map_err(|reason| failed(row.name.as_bytes(), &reason))?;
        }
        chosen.retain(|row| row.volatile || row.show(&values) != row.show(&self.values));
        Ok(Change { values, changed: chosen })
    }

    /// Puts a change in place. It must have been prepared on these very values.
    pub fn commit(&mut self, change: Change) {
        self.values = change.values;
    }

    /// [`Config::prepare`] and [`Config::commit`] in one, for where no action can fail. Returns
    /// the options whose values changed.
    pub fn set(&mut self, pairs: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<&'static str>, CmdErrorText> {
        let change = self.prepare(pairs, true)?;
        let changed = change.changed().collect();
        self.commit(change);
        Ok(changed)
    }
}

fn set_one(row: &Row, values: &mut Values, value: &[u8]) -> Result<(), String> {
    let words: Vec<Vec<u8>> = match row.takes_many() {
        // Exactly at each space, so that a double one makes an empty word; nothing is no word.
        true if value.is_empty() => Vec::new(),
        true => value.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect(),
        false => vec![value.to_vec()],
    };
    row.set(values, &words, Turn::First)?;
    row.refused(values).map_or(Ok(()), |refusal| Err(refusal.reason.to_owned()))
}

fn failed(name: &[u8], reason: &str) -> CmdErrorText {
    one_line(&[
        b"ERR CONFIG SET failed (possibly related to argument '",
        shown(name, usize::MAX),
        b"') - ",
        reason.as_bytes(),
    ])
}

/// A reply's error is one line, whatever the client put into a name.
fn one_line(parts: &[&[u8]]) -> CmdErrorText {
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let text = parts.concat();
    CmdErrorText(text.iter().map(|byte| if is_break(byte) { b' ' } else { *byte }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(words: &[&str]) -> Vec<(Vec<u8>, Vec<u8>)> {
        words.chunks(2).map(|pair| (pair[0].into(), pair[1].into())).collect()
    }

    fn set(config: &mut Config, words: &[&str]) -> Result<Vec<&'static str>, String> {
        config.set(&pairs(words)).map_err(|error| error.to_string())
    }

    /// Enough of a matcher for tests: `*` at the end, or anywhere alone.
    fn prefix(pattern: &[u8], name: &str) -> bool {
        let star = pattern.iter().position(|byte| *byte == b'*').unwrap();
        name.as_bytes().starts_with(&pattern[..star])
    }

    fn get(config: &Config, patterns: &[&str]) -> Vec<(String, String)> {
        let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        let found = config.get(&patterns, prefix);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        found.into_iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn get_shows_values_as_redis_does() {
        let config = Config::default();
        for (name, value) in [
            ("port", "6379"),
            ("bind", "* -::*"),
            ("protected-mode", "yes"),
            ("requirepass", ""),
            ("unixsocketperm", "0"),
            ("proto-max-bulk-len", "536870912"),
            ("maxmemory-policy", "noeviction"),
            ("save", ""),
            (
                "client-output-buffer-limit",
                "normal 1073741824 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
            ),
            ("set-proc-title", "yes"),
        ] {
            assert_eq!(get(&config, &[name]), [(name.to_owned(), value.to_owned())]);
        }
        assert!(get(&config, &["rename-command"]).is_empty());
        assert!(get(&config, &["syslog-ident", "nonsense"]).is_empty());
    }

    #[test]
    fn get_takes_patterns_in_any_case_and_lists_each_option_once() {
        let config = Config::default();
        let found = get(&config, &["MAXMEMORY*", "maxmemory", "Port", "port"]);
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        let memory = ["maxmemory", "maxmemory-policy", "maxmemory-samples"];
        assert_eq!((names[0], &names[1..4]), ("Port", &memory[..]));
        assert_eq!(names[4..], ["maxmemory-eviction-tenacity", "maxmemory-clients"]);
        let shown = rows().filter(|row| row.mutability != Mutability::FileOnly);
        let shown = shown.flat_map(Row::names).count();
        assert_eq!(get(&config, &["*"]).len(), shown);
    }

    #[test]
    fn set_changes_several_at_once() {
        let mut config = Config::default();
        let changed =
            set(&mut config, &["timeout", "30", "LogLevel", "WARNING", "hz", "10"]).unwrap();
        assert_eq!(changed, ["timeout", "loglevel"]);
        assert_eq!(config.timeout, 30);
        assert_eq!(config.loglevel, super::super::LogLevel::Warning);
        set(&mut config, &["hz", "1000"]).unwrap();
        assert_eq!(config.hz, 500);
        set(&mut config, &["hz", "0"]).unwrap();
        assert_eq!(config.hz, 1);
    }

    #[test]
    fn set_is_all_or_nothing() {
        let mut config = Config::default();
        let before = config.clone();
        for words in [
            ["timeout", "30", "port", "x"],
            ["timeout", "30", "databases", "3"],
            ["timeout", "30", "nonsense", "3"],
            ["timeout", "30", "maxmemory", "-1"],
        ] {
            set(&mut config, &words).unwrap_err();
            assert_eq!(config, before);
        }
    }

    #[test]
    fn set_refuses_with_the_texts_of_redis() {
        let mut config = Config::default();
        let failed = |name: &str, reason: &str| {
            format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
        };
        for (words, expected) in [
            (&["PORT", "abc"][..], failed("port", "argument couldn't be parsed into an integer")),
            (&["port", "70000"], failed("port", "argument must be between 0 and 65535 inclusive")),
            (&["DATABASES", "3"], failed("DATABASES", "can't set immutable config")),
            (&["dir", "/tmp"], failed("dir", "can't set protected config")),
            (&["timeout", "1", "TIMEOUT", "2"], failed("TIMEOUT", "duplicate parameter")),
            (&["maxmemory", "abc"], failed("maxmemory", "argument must be a memory value")),
            (&["dynamic-hz", "1"], failed("dynamic-hz", "argument must be 'yes' or 'no'")),
            (
                &["loglevel", "loud"],
                failed(
                    "loglevel",
                    "argument(s) must be one of the following: debug, verbose, notice, warning, nothing",
                ),
            ),
            (&["save", "10"], failed("save", "Invalid save parameters")),
            (
                &["Fo\r\no", "1"],
                "ERR Unknown option or number of arguments for CONFIG SET - 'Fo  o'".to_owned(),
            ),
            (
                &["rename-command", "1"],
                "ERR Unknown option or number of arguments for CONFIG SET - 'rename-command'"
                    .to_owned(),
            ),
        ] {
            assert_eq!(set(&mut config, words).unwrap_err(), expected);
        }
    }

    #[test]
    fn options_that_name_files_are_protected() {
        let mut config = Config::default();
        let dir = std::env::temp_dir().canonicalize().unwrap();
        let change = pairs(&["dir", dir.to_str().unwrap()]);
        for (allowed, from_here, from_elsewhere) in
            [("no", false, false), ("local", true, false), ("yes", true, true)]
        {
            let row = find(b"enable-protected-configs").unwrap();
            row.set(&mut config.values, &[allowed.into()], Turn::First).unwrap();
            assert_eq!(config.prepare(&change, true).is_ok(), from_here, "{allowed}");
            assert_eq!(config.prepare(&change, false).is_ok(), from_elsewhere, "{allowed}");
        }
    }

    #[test]
    fn what_is_so_already_is_no_change() {
        let mut config = Config::default();
        assert_eq!(set(&mut config, &["maxmemory", "1gb"]), Ok(vec!["maxmemory"]));
        set(&mut config, &["maxmemory", "0"]).unwrap();
        for words in [["maxmemory", "0"], ["sanitize-dump-payload", "yes"]] {
            assert_eq!(set(&mut config, &words), Ok(vec![]));
        }
    }

    #[test]
    fn actions_are_listed_once() {
        let config = Config::default();
        let change = config
            .prepare(
                &pairs(&["port", "7000", "bind", "127.0.0.1", "maxclients", "5", "timeout", "1"]),
                true,
            )
            .unwrap();
        assert_eq!(
            change.actions(),
            [(Action::Listen, "port"), (Action::Descriptors, "maxclients")]
        );
        assert_eq!(change.values().bind, ["127.0.0.1"]);
        assert_eq!(config.port, 6379);
        let same = config.prepare(&pairs(&["port", "6379"]), true).unwrap();
        assert!(same.actions().is_empty());
    }
}
