//! How a command is declared: one row says everything that any part of the server knows of it.

use super::control::{Control, SessionCx};
use super::registry::KeyIndexes;
use crate::error::CmdError;
use crate::resp::{Args, Encoder};
use crate::shard::{Cx, Keys};
use std::ops::{BitOr, Range};

/// What stands in the place of a password.
const REDACTED: &[u8] = b"(redacted)";

/// A set of command flags, with Redis' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u32);

impl Flags {
    pub const NONE: Flags = Flags(0);

    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn has_any(self, others: Flags) -> bool {
        self.0 & others.0 != 0
    }

    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// The names of the flags set, in the order in which Redis lists them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        FLAG_NAMES.iter().enumerate().filter(move |(i, _)| self.0 & (1 << i) != 0).map(|(_, n)| *n)
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        self.with(other)
    }
}

const FLAG_NAMES: [&str; 20] = [
    "write",
    "readonly",
    "denyoom",
    "module",
    "admin",
    "pubsub",
    "noscript",
    "blocking",
    "loading",
    "stale",
    "skip_monitor",
    "skip_slowlog",
    "asking",
    "fast",
    "no_auth",
    "may_replicate",
    "no_mandatory_keys",
    "no_async_loading",
    "no_multi",
    "allow_busy",
];

pub const WRITE: Flags = Flags(1 << 0);
pub const READONLY: Flags = Flags(1 << 1);
pub const DENYOOM: Flags = Flags(1 << 2);
pub const ADMIN: Flags = Flags(1 << 4);
pub const PUBSUB: Flags = Flags(1 << 5);
pub const NOSCRIPT: Flags = Flags(1 << 6);
pub const BLOCKING: Flags = Flags(1 << 7);
pub const LOADING: Flags = Flags(1 << 8);
pub const STALE: Flags = Flags(1 << 9);
pub const SKIP_MONITOR: Flags = Flags(1 << 10);
pub const SKIP_SLOWLOG: Flags = Flags(1 << 11);
/// Runs on keys that are on their way here from another node.
pub const ASKING: Flags = Flags(1 << 12);
pub const FAST: Flags = Flags(1 << 13);
/// May be called before AUTH.
pub const NO_AUTH: Flags = Flags(1 << 14);
pub const MAY_REPLICATE: Flags = Flags(1 << 15);
pub const NO_MANDATORY_KEYS: Flags = Flags(1 << 16);
pub const NO_ASYNC_LOADING: Flags = Flags(1 << 17);
pub const NO_MULTI: Flags = Flags(1 << 18);
pub const ALLOW_BUSY: Flags = Flags(1 << 19);
// Flags without a name are the server's own: COMMAND does not show them.
/// Only for those whom `enable-debug-command` allows it.
pub const PROTECTED: Flags = Flags(1 << 20);
/// To clients a plain command that reads its own words: COMMAND lists no subcommands, and a wrong
/// one gets another error.
pub const PLAIN: Flags = Flags(1 << 21);
/// A client that waits is served with all its keys at hand, also those that are not ready, and is tried
/// again also when one of them goes or gets a value of another type: the command then has an error to tell.
pub const SERVED_WHOLE: Flags = Flags(1 << 22);
/// May be called by a client that listens to channels and speaks RESP2.
pub const SUBSCRIBED: Flags = Flags(1 << 23);
/// Looks at what belongs to shards and is no key, so a block or script with it has everything at hand where there
/// are several.
pub const APART: Flags = Flags(1 << 24);
/// As brief as a fast command, since large values are freed in slices, though clients are told that it is slow.
pub const BRIEF: Flags = Flags(1 << 27);
/// Runs when all earlier requests of the connection are answered.
pub const BEHIND: Flags = Flags(1 << 26);
/// Refused, as commands that write are, while nothing can be put on disk: by PING probes learn of it, and
/// EXEC is refused if its block writes.
pub const NEEDS_DISK: Flags = Flags(1 << 28);
/// Leaves what CLIENT CACHING has said standing for the next command.
pub const KEEPS_CACHING: Flags = Flags(1 << 25);

/// Where a command's keys begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    Index(i32),
    /// Behind this word, searched from an index (from the end when it is negative).
    Keyword(&'static str, i32),
    /// Where clients cannot tell.
    Unknown,
}

/// Which of the arguments from there on are keys.
#[derive(Debug, Clone, Copy)]
pub enum Find {
    /// Up to `last` (relative to the first; counted from the end when it is negative), every `step`-th.
    Range { last: i32, step: i32, limit: i32 },
    /// A count at `count_at`, keys from `first` on, every `step`-th; all relative to the beginning.
    Count { count_at: i32, first: i32, step: i32 },
    /// Those that the function finds.
    Unknown(KeysFn),
}

/// How a command uses some of its keys, with Redis' flag names.
#[derive(Debug, Clone, Copy)]
pub struct KeySpec {
    pub flags: &'static [&'static str],
    pub begin: Begin,
    pub find: Find,
}

impl KeySpec {
    /// The key at `index`.
    pub const fn one(index: i32, flags: &'static [&'static str]) -> KeySpec {
        KeySpec::range(index, 0, 1, flags)
    }

    /// Keys from `first` on, every `step`-th; `last` as in [`Find::Range`].
    pub const fn range(
        first: i32,
        last: i32,
        step: i32,
        flags: &'static [&'static str],
    ) -> KeySpec {
        KeySpec { flags, begin: Begin::Index(first), find: Find::Range { last, step, limit: 0 } }
    }
}

pub const RO_ACCESS: &[&str] = &["RO", "access"];
pub const RO: &[&str] = &["RO"];
pub const RW_ACCESS_UPDATE: &[&str] = &["RW", "access", "update"];
pub const RW_UPDATE: &[&str] = &["RW", "update"];
pub const RW_INSERT: &[&str] = &["RW", "insert"];
pub const RW_ACCESS_DELETE: &[&str] = &["RW", "access", "delete"];
pub const RM_DELETE: &[&str] = &["RM", "delete"];
pub const OW_UPDATE: &[&str] = &["OW", "update"];
pub const OW_INSERT: &[&str] = &["OW", "insert"];

/// Which part of the documentation a command belongs to; each implies an ACL category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Generic,
    String,
    Bitmap,
    List,
    Hash,
    Set,
    SortedSet,
    Stream,
    HyperLogLog,
    Geo,
    Connection,
    Server,
    Cluster,
    Transactions,
    PubSub,
    Scripting,
}

impl Group {
    pub fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::Bitmap => "bitmap",
            Group::List => "list",
            Group::Hash => "hash",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Stream => "stream",
            Group::HyperLogLog => "hyperloglog",
            Group::Geo => "geo",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Cluster => "cluster",
            Group::Transactions => "transactions",
            Group::PubSub => "pubsub",
            Group::Scripting => "scripting",
        }
    }

    /// The category that Redis gives to all commands of the group.
    pub fn category(self) -> Option<&'static str> {
        match self {
            Group::Generic => Some("keyspace"),
            Group::String => Some("string"),
            Group::Bitmap => Some("bitmap"),
            Group::List => Some("list"),
            Group::Hash => Some("hash"),
            Group::Set => Some("set"),
            Group::SortedSet => Some("sortedset"),
            Group::Stream => Some("stream"),
            Group::HyperLogLog => Some("hyperloglog"),
            Group::Geo => Some("geo"),
            Group::Connection => Some("connection"),
            Group::Transactions => Some("transaction"),
            Group::Scripting => Some("scripting"),
            // A flag implies that of most of the last ones.
            Group::Server | Group::Cluster | Group::PubSub => None,
        }
    }
}

/// A handler that runs on the shard of its keys.
pub type ShardFn = fn(&mut Cx, Args) -> Result<(), CmdError>;
/// A handler that runs where the connection is, on the client's own state.
pub type SessionFn = fn(&mut SessionCx, Args) -> Result<Control, CmdError>;
/// Makes one reply of the parts' encoded replies, given in the order of the parts.
pub type MergeFn = fn(&[&[u8]], &mut Encoder, &mut fastrand::Rng);

/// Appends the indexes of those arguments that are keys of a kind.
pub type KeysFn = fn(&Args, &mut KeyIndexes);

/// Keys whose names are not among a request's arguments.
#[derive(Clone, Copy)]
pub struct UnnamedKeys {
    /// Whether a request uses some.
    pub are_used: fn(&Args) -> bool,
    /// Which ones, as the data are now; to be asked on the shard of the request's first key.
    pub names: fn(&mut Keys, &Args) -> Vec<Box<[u8]>>,
}

/// How a request uses its keys: the flags that stand in place of `variable_flags`.
pub type KeyFlagsFn = fn(&Args) -> &'static [&'static str];

/// The command that puts back what a request has taken, by its encoded reply.
pub type UndoFn = fn(&Args, &[u8]) -> Option<Vec<Vec<u8>>>;
/// Where the keys of a request are, for commands whose key specs may be mistaken.
pub type FindKeysFn = fn(&Args) -> Range<usize>;

/// Which arguments are channels that a user must be allowed to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// The first one alone.
    First,
    All,
    /// All, and they are patterns.
    Patterns,
}

/// How a request names the script that it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptCall {
    pub named_by: ScriptName,
    /// It may not write.
    pub read_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptName {
    /// The whole script is the argument.
    Body,
    /// The SHA-1 of one that is known.
    Sha,
    /// A function of a library.
    Function,
}

/// What runs a command.
#[derive(Clone, Copy)]
pub enum Run {
    Shard(ShardFn),
    Session(SessionFn),
    /// A script or function, which runs other commands.
    Script(ScriptCall),
    /// Nothing but its subcommands.
    Container,
}

/// How the parts' replies become one.
#[derive(Clone, Copy)]
pub enum Merge {
    /// The first error if there is one, else the first reply.
    FirstError,
    /// The sum of integers.
    Sum,
    /// An array with one part's reply an element.
    Elements,
    /// One array of all the elements of the parts' arrays.
    Concat,
    Custom(MergeFn),
}

/// Where the work of a command goes when there are several shards.
#[derive(Clone, Copy)]
pub enum Spread {
    /// To the one shard that owns all its keys, or runs here when it has none.
    OneShard,
    /// Each key (with the arguments up to the next) is a part for its own shard.
    PerKey { part: ShardFn, merge: Merge },
    /// Every shard runs `part` with the whole request.
    EveryShard { part: ShardFn, merge: Merge },
    /// From shard to shard, as the cursor in the first argument says.
    Cursor,
}

/// What a request does between MULTI and EXEC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InMulti {
    /// It waits for EXEC.
    Waits,
    /// It runs at once.
    Runs,
    /// It runs those that wait; if it is refused, they never run.
    Executes,
}

/// A row of the command table.
pub struct Command {
    /// Lower case; a subcommand's is `container|name`.
    pub name: &'static str,
    /// As in Redis: the exact number of arguments with the name, or minus the least number.
    pub arity: i32,
    pub flags: Flags,
    pub keys: &'static [KeySpec],
    /// In place of key specs, for names that are no keys but go where keys of that name would.
    pub routes: &'static [KeySpec],
    /// For key specs with `variable_flags`.
    pub key_flags: Option<KeyFlagsFn>,
    /// For commands that can use keys whose names only the data tell: such a request must run with
    /// the keys of all shards at hand. The others need no more than what the key specs name.
    pub unnamed_keys: Option<UnnamedKeys>,
    /// In place of the key specs, which only tell others.
    pub find_keys: Option<FindKeysFn>,
    pub channels: Option<Channels>,
    pub run: Run,
    pub spread: Spread,
    pub in_multi: InMulti,
    pub group: Group,
    /// ACL categories beyond those that flags and group imply.
    pub categories: &'static [&'static str],
    /// Whether the group implies one, as it does for all commands but a few.
    pub group_category: bool,
    pub tips: &'static [&'static str],
    pub since: &'static str,
    pub complexity: &'static str,
    pub summary: &'static str,
    /// The arguments as a person would write them: `key value [NX | XX] [GET]`.
    pub syntax: &'static str,
    /// Since when it is deprecated and what replaces it.
    pub deprecated: Option<(&'static str, &'static str)>,
    pub subcommands: &'static [Command],
    /// For what takes something away for a client that waits.
    pub undo: Option<UndoFn>,
    /// The arguments that nobody is shown.
    pub secrets: Option<KeysFn>,
}

/// A command that runs on a shard.
pub const fn shard(
    name: &'static str,
    arity: i32,
    flags: Flags,
    keys: &'static [KeySpec],
    run: ShardFn,
) -> Command {
    Command {
        name,
        arity,
        flags,
        keys,
        routes: &[],
        key_flags: None,
        unnamed_keys: None,
        find_keys: None,
        channels: None,
        run: Run::Shard(run),
        spread: Spread::OneShard,
        in_multi: InMulti::Waits,
        group: Group::Generic,
        categories: &[],
        group_category: true,
        tips: &[],
        since: "1.0.0",
        complexity: "O(1)",
        summary: "",
        syntax: "",
        deprecated: None,
        subcommands: &[],
        undo: None,
        secrets: None,
    }
}

/// A command that runs on the client's connection.
pub const fn session(name: &'static str, arity: i32, flags: Flags, run: SessionFn) -> Command {
    let mut command = shard(name, arity, flags, &[], no_handler);
    command.run = Run::Session(run);
    command
}

/// A command that is nothing without a subcommand.
pub const fn container(name: &'static str, arity: i32, subcommands: &'static [Command]) -> Command {
    let mut command = shard(name, arity, Flags::NONE, &[], no_handler);
    command.run = Run::Container;
    command.subcommands = subcommands;
    command
}

/// Stands in the rows whose `run` is replaced.
pub(super) fn no_handler(_: &mut Cx, _: Args) -> Result<(), CmdError> {
    Err(CmdError::fixed("ERR this command has no handler"))
}

impl Command {
    /// The subcommands that clients are told of.
    pub fn listed_subcommands(&self) -> &'static [Command] {
        if self.flags.has(PLAIN) { &[] } else { self.subcommands }
    }

    pub const fn spread(mut self, spread: Spread) -> Command {
        self.spread = spread;
        self
    }

    pub const fn undo(mut self, undo: UndoFn) -> Command {
        self.undo = Some(undo);
        self
    }

    /// What finds the arguments that MONITOR must not show.
    pub const fn secrets(mut self, find: KeysFn) -> Command {
        self.secrets = Some(find);
        self
    }

    pub const fn in_multi(mut self, in_multi: InMulti) -> Command {
        self.in_multi = in_multi;
        self
    }

    /// What names the shards of a request that has no keys.
    pub const fn routed(mut self, routes: &'static [KeySpec]) -> Command {
        self.routes = routes;
        self
    }

    /// What says how one request uses the keys, when that depends on its options.
    pub const fn key_flags(mut self, of: KeyFlagsFn) -> Command {
        self.key_flags = Some(of);
        self
    }

    /// What tells the keys that the arguments of a request do not name.
    pub const fn unnamed_keys(mut self, of: UnnamedKeys) -> Command {
        self.unnamed_keys = Some(of);
        self
    }

    /// What finds the keys of a request where the key specs could be wrong.
    pub const fn find_keys(mut self, find: FindKeysFn) -> Command {
        self.find_keys = Some(find);
        self
    }

    /// Which arguments are channels that it publishes to or listens to.
    pub const fn channels(mut self, channels: Channels) -> Command {
        self.channels = Some(channels);
        self
    }

    /// Which group it is in, since which Redis version it exists, and what it does.
    pub const fn doc(
        mut self,
        group: Group,
        since: &'static str,
        complexity: &'static str,
        syntax: &'static str,
        summary: &'static str,
    ) -> Command {
        self.group = group;
        self.since = since;
        self.complexity = complexity;
        self.syntax = syntax;
        self.summary = summary;
        self
    }

    pub const fn categories(mut self, categories: &'static [&'static str]) -> Command {
        self.categories = categories;
        self
    }

    /// The ACL categories without any that the group implies.
    pub const fn own_categories(mut self, categories: &'static [&'static str]) -> Command {
        self.group_category = false;
        self.categories(categories)
    }

    pub const fn tips(mut self, tips: &'static [&'static str]) -> Command {
        self.tips = tips;
        self
    }

    pub const fn deprecated(mut self, since: &'static str, instead: &'static str) -> Command {
        self.deprecated = Some((since, instead));
        self
    }

    /// The arguments as others may see them: without passwords.
    pub fn shown_args<'a>(&self, args: &Args<'a>) -> Vec<&'a [u8]> {
        let mut shown: Vec<&[u8]> = args.iter().collect();
        if let Some(find) = self.secrets {
            let mut secrets = KeyIndexes::new();
            find(args, &mut secrets);
            for at in secrets {
                shown[at as usize] = REDACTED;
            }
        }
        shown
    }

    /// Whether a request needs the keys of all shards at hand.
    pub fn uses_unnamed(&self, args: &Args) -> bool {
        self.unnamed_keys.is_some_and(|unnamed| (unnamed.are_used)(args))
    }

    /// Whether a request of `len` arguments (the name included) has as many as it needs.
    pub const fn accepts(&self, len: usize) -> bool {
        match self.arity >= 0 {
            true => len == self.arity as usize,
            false => len >= self.arity.unsigned_abs() as usize,
        }
    }
}
