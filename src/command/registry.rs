//! Finding a command by its name, and its keys by its row.

use super::FAMILIES;
use super::names::Names;
use super::spec::{Begin, Command, Find, KeySpec, PLAIN, Run};
use crate::acl::Word;
use crate::error::{CmdError, shown};
use crate::resp::Args;
use smallvec::SmallVec;

/// A command's or subcommand's number in the table, which indexes its statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommandId(pub u16);

/// Why a request names no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    Command,
    Subcommand,
    /// The container alone, without the subcommand that it needs.
    MissingSubcommand,
    /// A line of HTTP: a browser made to talk to this port by a page. The connection must be closed
    /// before the rest of the page's bytes, which could be commands, is read.
    OtherProtocol,
    /// A [`PLAIN`] command that knows no such word.
    Words(CommandId),
}

/// Where the keys of a command are, when its row says so by one range alone: the usual case,
/// worked out once so that routing a request reads one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyShape {
    None,
    /// One key at this index.
    One(u8),
    /// More than one key, or keys that must be searched.
    Several,
}

struct Row {
    command: &'static Command,
    shape: KeyShape,
    /// First subcommand's number and how many there are.
    subcommands: (u16, u16),
    /// The command that rules of users name for it: itself, or what it is but a word of.
    ruled_by: CommandId,
}

/// The command table of one server, after `rename-command`.
pub struct Registry {
    rows: Vec<Row>,
    names: Names,
}

impl Registry {
    /// All commands, with the given ones renamed; an empty new name takes the command away.
    pub fn new(renames: &[(String, String)]) -> Result<Registry, String> {
        let (mut rows, mut names) = (Vec::new(), Vec::new());
        for command in FAMILIES.iter().flat_map(|family| family.iter()) {
            names.push((command.name.to_string(), add(&mut rows, command)));
        }
        for (old, new) in renames {
            let old = old.to_ascii_lowercase();
            let Some(at) = names.iter().position(|(name, _)| *name == old) else {
                return Err(format!("rename-command: there is no command '{old}'"));
            };
            let (_, id) = names.swap_remove(at);
            let new = new.to_ascii_lowercase();
            if names.iter().any(|(name, _)| *name == new) {
                return Err(format!("rename-command: '{new}' exists already"));
            }
            if !new.is_empty() {
                names.push((new, id));
            }
        }
        Ok(Registry { rows, names: Names::new(names) })
    }

    /// The command that a request names.
    pub fn find(&self, args: &Args) -> Result<CommandId, Unknown> {
        let id = self.by_name(args.at(0)).ok_or_else(|| unknown(args.at(0)))?;
        let row = &self.rows[id.0 as usize];
        match row.subcommands {
            (_, 0) => Ok(id),
            _ => match args.get(1) {
                // COMMAND does something by itself.
                None if !matches!(row.command.run, Run::Container) => Ok(id),
                None => Err(Unknown::MissingSubcommand),
                Some(word) => self.subcommand(id, word).ok_or(match row.command.flags.has(PLAIN) {
                    true => Unknown::Words(id),
                    false => Unknown::Subcommand,
                }),
            },
        }
    }

    /// The subcommand of `id` with this name, in any case.
    fn subcommand(&self, id: CommandId, name: &[u8]) -> Option<CommandId> {
        let row = &self.rows[id.0 as usize];
        let (first, count) = row.subcommands;
        let own = |i: u16| &self.rows[i as usize].command.name[row.command.name.len() + 1..];
        (first..first + count)
            .find(|&i| name.eq_ignore_ascii_case(own(i).as_bytes()))
            .map(CommandId)
    }

    /// The command or subcommand with this full name (`config|get`), in any case, if clients are
    /// told of it.
    pub fn by_full_name(&self, name: &[u8]) -> Option<CommandId> {
        match name.iter().position(|&b| b == b'|') {
            None => self.by_name(name),
            Some(bar) => {
                let container = self.by_name(&name[..bar])?;
                let listed = !self.command(container).flags.has(PLAIN);
                self.subcommand(container, &name[bar + 1..]).filter(|_| listed)
            }
        }
    }

    /// The error reply to a request that names no command.
    pub fn unknown_error(&self, args: &Args, unknown: Unknown) -> CmdError {
        match unknown {
            Unknown::Words(_) => self.wrong_words(args),
            Unknown::Subcommand => CmdError::err_of(&[
                b"unknown subcommand '",
                shown(args.get(1).unwrap_or_default(), UNKNOWN_SHOWN_MAX),
                b"'. Try ",
                &shown(args.at(0), usize::MAX).to_ascii_uppercase(),
                b" HELP.",
            ]),
            Unknown::MissingSubcommand => match self.by_name(args.at(0)) {
                Some(id) => CmdError::wrong_arity(self.command(id).name),
                None => CmdError::SYNTAX,
            },
            Unknown::Command | Unknown::OtherProtocol => {
                let mut words = Vec::new();
                for arg in args.iter().skip(1) {
                    if words.len() >= UNKNOWN_SHOWN_MAX {
                        break;
                    }
                    let room = UNKNOWN_SHOWN_MAX - words.len();
                    words.extend_from_slice(&[b"'", shown(arg, room), b"' "].concat());
                }
                let name = shown(args.at(0), UNKNOWN_SHOWN_MAX);
                let parts = [b"unknown command '", name, b"', with args beginning with: ", &words];
                CmdError::err_of(&parts)
            }
        }
    }

    /// The error reply to a [`PLAIN`] command's wrong word, or the wrong number of them.
    pub fn wrong_words(&self, args: &Args) -> CmdError {
        CmdError::err_of(&[
            b"unknown subcommand or wrong number of arguments for '",
            shown(args.get(1).unwrap_or_default(), UNKNOWN_SHOWN_MAX),
            b"'. Try ",
            &shown(args.at(0), usize::MAX).to_ascii_uppercase(),
            b" HELP.",
        ])
    }

    /// The command (not a subcommand) with this name, in any case.
    #[inline]
    pub fn by_name(&self, name: &[u8]) -> Option<CommandId> {
        self.names.find(name)
    }

    pub fn command(&self, id: CommandId) -> &'static Command {
        self.rows[id.0 as usize].command
    }

    /// The command that rules of users name for it: itself, or the [`PLAIN`] one of which it is a word.
    pub fn ruled_by(&self, id: CommandId) -> CommandId {
        self.rows[id.0 as usize].ruled_by
    }

    /// All commands and subcommands, renamed or not, as rules of users know them.
    pub fn words(&self) -> impl Iterator<Item = Word> + '_ {
        let of = |(at, row): (usize, &Row)| {
            let (first, count) = row.subcommands;
            let listed = if row.command.flags.has(PLAIN) { 0 } else { count };
            let number = at as u16;
            (row.ruled_by.0 == number).then(|| Word {
                number,
                name: row.command.name,
                is_subcommand: row.command.name.contains('|'),
                subcommands: first..first + listed,
            })
        };
        self.rows.iter().enumerate().filter_map(of)
    }

    pub fn shape(&self, id: CommandId) -> KeyShape {
        self.rows[id.0 as usize].shape
    }

    /// Commands and subcommands together.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The commands (without subcommands) as clients can name them, in the order of the table.
    pub fn named(&self) -> Vec<(&[u8], CommandId)> {
        self.names.all().collect()
    }
}

/// What a first word is that names no command.
fn unknown(name: &[u8]) -> Unknown {
    let http = [b"post".as_slice(), b"host:"].iter().any(|word| name.eq_ignore_ascii_case(word));
    if http { Unknown::OtherProtocol } else { Unknown::Command }
}

/// Appends the rows of a command and its subcommands.
fn add(rows: &mut Vec<Row>, command: &'static Command) -> CommandId {
    let id = CommandId(rows.len() as u16);
    let row =
        |command, ruled_by| Row { command, shape: shape(command), subcommands: (0, 0), ruled_by };
    rows.push(row(command, id));
    let first = rows.len() as u16;
    for (subcommand, at) in command.subcommands.iter().zip(first..) {
        let plain = command.flags.has(PLAIN);
        rows.push(row(subcommand, if plain { id } else { CommandId(at) }));
    }
    rows[id.0 as usize].subcommands = (first, command.subcommands.len() as u16);
    id
}

/// At most so many bytes of a client's words are repeated in an error text.
const UNKNOWN_SHOWN_MAX: usize = 128;

fn shape(command: &Command) -> KeyShape {
    match command.routing() {
        [] => KeyShape::None,
        [KeySpec { begin: Begin::Index(at), find: Find::Range { last: 0, .. }, .. }] => {
            KeyShape::One(*at as u8)
        }
        _ => KeyShape::Several,
    }
}

/// Where the keys of a request are.
pub type KeyIndexes = SmallVec<[u32; 8]>;

impl Command {
    /// What says where the keys of a request are, or the names that are routed like keys.
    fn routing(&self) -> &'static [KeySpec] {
        if self.keys.is_empty() { self.routes } else { self.keys }
    }

    /// The indexes of the keys in `args`, spec by spec.
    pub fn key_indexes(&self, args: &Args) -> Result<KeyIndexes, CmdError> {
        if let Some(find) = self.find_keys {
            return Ok(find(args).map(|index| index as u32).collect());
        }
        let mut indexes = KeyIndexes::new();
        for spec in self.routing() {
            spec_indexes(spec, args, &mut indexes)?;
        }
        Ok(indexes)
    }

    /// The indexes of the keys to which a command may write. One whose specs speak of reading only
    /// may do so all the same.
    pub fn written_indexes(&self, args: &Args) -> Result<KeyIndexes, CmdError> {
        let writes = |spec: &&KeySpec| !spec.flags.contains(&"RO");
        if self.find_keys.is_some() || !self.keys.iter().any(|spec| writes(&spec)) {
            return self.key_indexes(args);
        }
        let mut indexes = KeyIndexes::new();
        for spec in self.keys.iter().filter(writes) {
            spec_indexes(spec, args, &mut indexes)?;
        }
        Ok(indexes)
    }
}

/// Appends the indexes of one spec's keys.
pub fn spec_indexes(spec: &KeySpec, args: &Args, indexes: &mut KeyIndexes) -> Result<(), CmdError> {
    const INVALID: CmdError = CmdError::fixed("ERR Invalid arguments specified for command");
    let len = args.len() as i32;
    let first = match spec.begin {
        Begin::Index(at) => at,
        // One key behind a word that may come again: which of them counts is the command's business.
        Begin::Keyword(word, from @ 0..) if matches!(spec.find, Find::Range { last: 0, .. }) => {
            let behind = (from..len - 1).filter(|&i| args.is(i as usize, word)).map(|i| i + 1);
            indexes.extend(behind.map(|i| i as u32));
            return Ok(());
        }
        Begin::Keyword(word, from) => match keyword(args, word, from) {
            Some(at) => at + 1,
            None => return Ok(()),
        },
        Begin::Unknown => 0,
    };
    let (first, last, step) = match spec.find {
        Find::Range { last, step, limit } => {
            let end = match last {
                n if n >= 0 => first + n,
                // A limit of 2 or more means: the first half, third, ... of what remains.
                n if limit > 1 => first + (len - first) / limit + n,
                n => len + n,
            };
            (first, end, step)
        }
        Find::Count { count_at, first: keys_from, step } => {
            let count = args
                .get((first + count_at) as usize)
                .and_then(|n| std::str::from_utf8(n).ok().and_then(|n| n.parse::<i32>().ok()));
            let count = count.filter(|&n| n >= 0 && n < len).ok_or(INVALID)?;
            (first + keys_from, first + keys_from + (count - 1) * step, step)
        }
        Find::Unknown(find) => {
            find(args, indexes);
            return Ok(());
        }
    };
    if last >= len {
        return Err(INVALID);
    }
    indexes.extend((first..=last).step_by(step.max(1) as usize).map(|i| i as u32));
    Ok(())
}

fn keyword(args: &Args, word: &str, from: i32) -> Option<i32> {
    let len = args.len() as i32;
    match from >= 0 {
        true => (from..len).find(|&i| args.is(i as usize, word)),
        false => (1..=len + from).rev().find(|&i| args.is(i as usize, word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::with_args;

    fn unknown(words: &[&[u8]]) -> String {
        let registry = Registry::new(&[]).unwrap();
        with_args(words, |args| {
            let unknown = registry.find(&args).unwrap_err();
            registry.unknown_error(&args, unknown).to_string()
        })
    }

    #[test]
    fn errors_name_what_is_unknown() {
        assert_eq!(
            unknown(&[b"Foo", b"a", b"b c"]),
            "ERR unknown command 'Foo', with args beginning with: 'a' 'b c' "
        );
        assert_eq!(unknown(&[b"foo"]), "ERR unknown command 'foo', with args beginning with: ");
        let long = "x".repeat(200);
        assert_eq!(
            unknown(&[long.as_bytes(), b"abcd", long.as_bytes(), b"never"]),
            format!(
                "ERR unknown command '{}', with args beginning with: 'abcd' '{}' ",
                &long[..128],
                &long[..121]
            )
        );
        assert_eq!(
            unknown(&[b"Client", b"nope", b"x"]),
            "ERR unknown subcommand 'nope'. Try CLIENT HELP."
        );
        assert_eq!(unknown(&[b"CLIENT"]), "ERR wrong number of arguments for 'client' command");
        assert_eq!(
            unknown(&[b"Debug", b"nope", b"x"]),
            "ERR unknown subcommand or wrong number of arguments for 'nope'. Try DEBUG HELP."
        );
        let bytes = with_args(&[b"\xff\x00x", b"\x80"], |args| {
            Registry::new(&[]).unwrap().unknown_error(&args, Unknown::Command)
        });
        assert_eq!(
            bytes.as_bytes(),
            b"ERR unknown command '\xff', with args beginning with: '\x80' "
        );
    }

    #[test]
    fn full_names_are_found() {
        let registry = Registry::new(&[]).unwrap();
        let name =
            |full: &str| registry.by_full_name(full.as_bytes()).map(|i| registry.command(i).name);
        assert_eq!(name("GET"), Some("get"));
        assert_eq!(name("client|LIST"), Some("client|list"));
        for wrong in ["get|x", "client|", "client|list|x", "|", "", "debug|sleep"] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn command_does_something_by_itself() {
        let registry = Registry::new(&[]).unwrap();
        let id = with_args(&[b"command"], |args| registry.find(&args)).unwrap();
        assert_eq!(registry.command(id).name, "command");
    }
}
