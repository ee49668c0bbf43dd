//! Who may do what: users, their passwords, their rules, and the log of what was denied.
//!
//! ```text
//!   Acl ── Users       all users at one moment: never changed, replaced as a whole
//!    │      └ User     on or off, passwords as SHA-256, its selectors
//!    │         └ Selector   a bitset of commands, key patterns, channel patterns; one is enough
//!    └─ Log            what was denied lately
//! ```
//!
//! A change makes new [`Users`]; every shard is told, gives its clients their users anew, and only then
//! the change is answered. So a command looks at its client's own user and at nothing that is shared.
//!
//! Names of commands and categories come from outside ([`Vocabulary`]): this room does not know the
//! command table, sees no client and no key but those that it is asked about. What a request needs is
//! found out by `command::permit`.

mod load;
mod log;
mod rules;
mod secret;
mod selector;
mod user;
mod users;

pub use load::{file_text, users_of_config, users_of_file};
pub use log::{Context, Entry, Log, Reason};
pub use rules::RuleError;
pub use secret::{Hash, random_hex};
pub use selector::{READ, Selector, WRITE};
pub use user::{User, has_spaces};
pub use users::{Acl, UserId, Users};

use std::ops::Range;

/// A command or subcommand as rules name it.
#[derive(Debug, Clone)]
pub struct Word {
    /// Its number, which is that of its bit in a [`Selector`].
    pub number: u16,
    /// The full name in lower case: `config|get`.
    pub name: &'static str,
    pub is_subcommand: bool,
    /// The numbers of its subcommands.
    pub subcommands: Range<u16>,
}

/// The commands that rules can name, by their own names, whatever `rename-command` calls them.
pub trait Vocabulary {
    /// The command with this full name, in any case.
    fn command(&self, name: &[u8]) -> Option<Word>;

    /// The commands and subcommands in a category, whose name may be in any case; `None` when there is
    /// no such category.
    fn category(&self, name: &[u8]) -> Option<Vec<Word>>;
}

/// The number of commands of Redis that are not here: rules may name them, and nothing comes of it.
pub const ABSENT: u16 = selector::BITS as u16 - 1;
