//! What the functions of one interpreter share, beside Lua's own values.

use super::libraries::Registration;
use super::libs::JsonConfig;
use super::lua::{HostCell, Ref};
use super::random::Random;
use crate::resp::Protocol;
use std::cell::{Cell, RefCell};
use std::time::Instant;

/// Only cells: functions of Lua's get at it while others have a borrow.
#[derive(Default)]
pub struct State {
    pub host: HostCell,
    /// What `redis.setresp` chose.
    pub protocol: Cell<Protocol>,
    /// Why the running script must end, once it must.
    pub ending: Cell<Option<&'static str>>,
    pub random: Cell<Random>,
    pub json: Cell<JsonConfig>,
    /// Room for the reply to a command.
    pub reply: Cell<Vec<u8>>,
    /// Tables that scripts cannot change, in the order of their addresses, and what is in them.
    pub shields: RefCell<Vec<Shield>>,
    /// Lua's own `next`, and ours.
    pub next: Cell<Option<(Ref, Ref)>>,
    /// What `getmetatable` gives for a string.
    pub string_metatable: Cell<Option<Ref>>,
    /// What the library that is being loaded has registered.
    pub registration: RefCell<Option<Registration>>,
    /// When the library that is being loaded should be done.
    pub deadline: Cell<Option<Instant>>,
}

/// A table that scripts see in the place of one that they must not change.
#[derive(Clone, Copy)]
pub struct Shield {
    pub address: usize,
    pub content: Ref,
    /// What `getmetatable` gives for it.
    pub metatable: Option<Ref>,
}

impl State {
    /// The table behind the one at an address, if that is a shield.
    pub fn shield(&self, address: usize) -> Option<Shield> {
        let shields = self.shields.borrow();
        let at = shields.binary_search_by_key(&address, |shield| shield.address).ok()?;
        Some(shields[at])
    }

    pub fn add_shield(&self, shield: Shield) {
        let mut shields = self.shields.borrow_mut();
        let at = shields.partition_point(|other| other.address < shield.address);
        shields.insert(at, shield);
    }

    /// Whether a library takes too long to load.
    pub fn is_late(&self) -> bool {
        self.deadline.get().is_some_and(|deadline| crate::clock::monotonic() > deadline)
    }
}
