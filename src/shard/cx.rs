//! What a command's handler may touch.

use super::{Keys, Settings};
use crate::resp::Encoder;

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
}

impl Cx<'_> {
    /// The time at which this command happens, milliseconds since the epoch.
    pub fn now(&self) -> i64 {
        self.keys.now()
    }
}
