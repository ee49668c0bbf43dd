//! What a command's handler may touch.

use super::{Channels, Keys, Settings};
use crate::data::Type;
use crate::resp::Encoder;
use std::ops::Range;

/// The context of one command on one shard: the keys, the reply, and nothing else.
///
/// The parts are fields, so that a handler can hold an entry of `keys` while it writes to `out`.
pub struct Cx<'a> {
    pub keys: Keys<'a>,
    pub out: Encoder<'a>,
    pub settings: &'a Settings,
    pub random: &'a mut fastrand::Rng,
    /// The command's full name in lower case, for error texts.
    pub name: &'static str,
    /// Whether the client may be kept waiting: not inside a transaction or a script, where a
    /// blocking command answers at once that there is nothing.
    pub may_wait: bool,
    /// Some commands have an error to tell a script.
    pub in_script: bool,
    /// Whether it may read keys that its request does not name.
    pub reads_all_keys: bool,
    /// Set by a handler that has found nothing and has written no reply: the client waits.
    pub wait: Option<Wait>,
}

/// What a blocking command waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Milliseconds since the epoch; for ever without.
    pub until: Option<i64>,
    /// The arguments that are the keys to wait for.
    pub keys: Range<usize>,
    /// What a key must hold to be of use.
    pub kind: Type,
    /// The request with which to try again, if it is another one than the first (XREAD's `$`).
    pub retry: Option<Vec<Vec<u8>>>,
    /// What the client is told when the time is up, which a handler knows best.
    pub timed_out: TimedOut,
}

/// The reply to a client that has waited in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimedOut {
    NullArray,
    Null,
}

impl Cx<'_> {
    /// The channels of this shard.
    pub fn channels(&mut self) -> &mut Channels {
        self.keys.channels()
    }

    /// The time at which this command happens, milliseconds since the epoch.
    pub fn now(&self) -> i64 {
        self.keys.now()
    }
}
