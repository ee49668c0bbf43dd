//! What a request needs of its user, by its row: the command itself, its keys, its channels.
//!
//! This is the one place that decides. The connection asks before a request runs or is queued, EXEC
//! asks again for each of its requests, and a script asks for every command that it calls.

use super::introspect::{CATEGORIES, categories};
use super::registry::{CommandId, KeyIndexes, Registry, spec_indexes};
use super::spec::{Channels, Command, KeySpec, NO_AUTH};
use crate::acl::{self, READ, Reason, Selector, User, Vocabulary, WRITE, Word};
use crate::error::CmdError;
use crate::resp::Args;
use smallvec::SmallVec;

/// Why a user may not do what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    pub reason: Reason,
    /// The argument that is the key or channel; 0 for the command.
    pub at: usize,
}

impl Denied {
    /// Of what several selectors deny, that is told which is closest to being allowed.
    fn rank(self) -> (u8, usize) {
        let kind = match self.reason {
            Reason::Command | Reason::Auth => 0,
            Reason::Key => 1,
            Reason::Channel => 2,
        };
        (kind, self.at)
    }

    /// What was denied: the command's full name, the key or the channel.
    pub fn object<'a>(self, command: &'static Command, args: &Args<'a>) -> &'a [u8] {
        match self.reason {
            Reason::Command | Reason::Auth => command.name.as_bytes(),
            Reason::Key | Reason::Channel => args.get(self.at).unwrap_or_default(),
        }
    }

    /// The error, without its code.
    pub fn text(self, user: &[u8], command: &Command) -> Vec<u8> {
        match self.reason {
            Reason::Command | Reason::Auth => self.long_text(user, command, b""),
            Reason::Key => b"No permissions to access a key".to_vec(),
            Reason::Channel => b"No permissions to access a channel".to_vec(),
        }
    }

    /// The error as ACL DRYRUN tells it.
    pub fn long_text(self, user: &[u8], command: &Command, object: &[u8]) -> Vec<u8> {
        let (what, object, end): (&[u8], &[u8], &[u8]) = match self.reason {
            Reason::Command | Reason::Auth => (b"run", command.name.as_bytes(), b"command"),
            Reason::Key => (b"access", object, b"key"),
            Reason::Channel => (b"access", object, b"channel"),
        };
        [b"User ", user, b" has no permissions to ", what, b" the '", object, b"' ", end].concat()
    }

    /// The reply to the request.
    pub fn error(self, user: &[u8], command: &Command) -> CmdError {
        CmdError::of_bytes([b"NOPERM ", &self.text(user, command)[..]].concat())
    }

    /// The reply to a request that was allowed when it was queued, and is not any more.
    pub fn error_in_exec(self) -> CmdError {
        let reason = match self.reason {
            Reason::Command | Reason::Auth => "no permission to execute the command or subcommand",
            Reason::Key => "no permission to touch the specified keys",
            Reason::Channel => "no permission to access one of the channels used as arguments",
        };
        CmdError::of_bytes(format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the \
             EXEC call. This command is no longer allowed for the following reason: {reason}"
        ))
    }
}

/// Where a request's keys are, and what it does with each: [`READ`], [`WRITE`], both or neither.
type UsedKeys = SmallVec<[(u32, u8); 8]>;

impl Registry {
    /// Whether a user may run a request with enough arguments.
    pub fn permit(&self, user: &User, id: CommandId, args: &Args) -> Result<(), Denied> {
        let id = self.ruled_by(id);
        let command = self.command(id);
        let mut keys = None;
        let mut told = Denied { reason: Reason::Command, at: 0 };
        for selector in user.selectors() {
            match permit_by(selector, (id, command), args, &mut keys) {
                Ok(()) => return Ok(()),
                Err(denied) if denied.rank() > told.rank() => told = denied,
                Err(_) => {}
            }
        }
        Err(told)
    }

    /// Whether a user that may run a request may also have it read any other key.
    pub fn permits_all_reads(&self, user: &User, id: CommandId, args: &Args) -> bool {
        let id = self.ruled_by(id);
        let request = (id, self.command(id));
        user.selectors().iter().any(|selector| {
            selector.reads_all_keys() && permit_by(selector, request, args, &mut None).is_ok()
        })
    }
}

/// Whether one selector allows a request. Its keys are looked for once, for all selectors.
fn permit_by(
    selector: &Selector,
    (id, command): (CommandId, &Command),
    args: &Args,
    keys: &mut Option<UsedKeys>,
) -> Result<(), Denied> {
    if !selector.allows_command(id.0, args.get(1)) && !command.flags.has(NO_AUTH) {
        return Err(Denied { reason: Reason::Command, at: 0 });
    }
    if !selector.all_keys() && !command.keys.is_empty() {
        let keys = keys.get_or_insert_with(|| used_keys(command, args));
        for &(at, needs) in keys.iter() {
            if !selector.allows_key(args.at(at as usize), needs) {
                return Err(Denied { reason: Reason::Key, at: at as usize });
            }
        }
    }
    if let Some(channels) = command.channels
        && !selector.all_channels()
    {
        let (last, is_pattern) = match channels {
            Channels::First => (2, false),
            Channels::All => (args.len(), false),
            Channels::Patterns => (args.len(), true),
        };
        for at in 1..last.min(args.len()) {
            if !selector.allows_channel(args.at(at), is_pattern) {
                return Err(Denied { reason: Reason::Channel, at });
            }
        }
    }
    Ok(())
}

/// A request whose keys cannot be told has an error to answer, and touches none.
fn used_keys(command: &Command, args: &Args) -> UsedKeys {
    let mut used = UsedKeys::new();
    let mut indexes = KeyIndexes::new();
    for spec in command.keys.iter().filter(|spec| !spec.flags.contains(&"not_key")) {
        indexes.clear();
        match command.find_keys {
            Some(find) => indexes.extend(find(args).map(|at| at as u32)),
            None if spec_indexes(spec, args, &mut indexes).is_err() => return UsedKeys::new(),
            None => {}
        }
        let needs = needs(spec, command, args);
        used.extend(indexes.iter().map(|&at| (at, needs)));
    }
    used
}

fn needs(spec: &KeySpec, command: &Command, args: &Args) -> u8 {
    let flags = command.key_flags.map_or(spec.flags, |of| of(args));
    flags.iter().fold(0, |needs, &flag| match flag {
        "access" => needs | READ,
        "insert" | "delete" | "update" => needs | WRITE,
        _ => needs,
    })
}

/// Commands of Redis that this server does not have. Rules that allow or deny them are kept, so that
/// files written for Redis load and come back. A command that is here as well is found first.
#[rustfmt::skip]
const ABSENT: &[&str] = &[
    "cluster|addslots", "cluster|addslotsrange", "cluster|bumpepoch",
    "cluster|count-failure-reports", "cluster|countkeysinslot", "cluster|delslots",
    "cluster|delslotsrange", "cluster|failover", "cluster|flushslots", "cluster|forget",
    "cluster|getkeysinslot", "cluster|meet", "cluster|replicate", "cluster|reset",
    "cluster|saveconfig", "cluster|set-config-epoch", "cluster|setslot", "failover",
    "memory|doctor", "memory|malloc-stats", "memory|purge", "memory|stats", "migrate",
    "module|load", "module|loadex", "module|unload", "psync", "replconf", "replicaof",
    "slaveof", "sync", "wait",
];

impl Vocabulary for Registry {
    fn command(&self, name: &[u8]) -> Option<Word> {
        let is_it = |own: &str| own.as_bytes().eq_ignore_ascii_case(name);
        let absent = || ABSENT.iter().find(|own| is_it(own));
        let mut words = self.words();
        words.find(|word| is_it(word.name)).or_else(|| {
            absent().map(|own| Word {
                number: acl::ABSENT,
                name: own,
                is_subcommand: own.contains('|'),
                subcommands: 0..0,
            })
        })
    }

    fn category(&self, name: &[u8]) -> Option<Vec<Word>> {
        let mut known = CATEGORIES.into_iter();
        let category = known.find(|own| own.as_bytes().eq_ignore_ascii_case(name))?;
        let is_in = |word: &Word| {
            categories(Registry::command(self, CommandId(word.number))).any(|own| own == category)
        };
        Some(self.words().filter(is_in).collect())
    }
}
