//! One client's state as commands see it: who it is, which protocol and database it chose.
//!
//! No socket and no buffer: those are `net`'s. A session moves with its connection to another shard.

use crate::resp::Protocol;
use crate::rt::Peer;

/// What CLIENT REPLY chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// The reply to the next command is left out.
    SkipNext,
    /// This command's reply is left out.
    Skip,
}

/// One client.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: u64,
    pub peer: Peer,
    pub name: Vec<u8>,
    pub library_name: Vec<u8>,
    pub library_version: Vec<u8>,
    pub protocol: Protocol,
    pub db: usize,
    pub authenticated: bool,
    pub reply_mode: ReplyMode,
    /// `CLIENT NO-EVICT on`
    pub no_evict: bool,
    /// `CLIENT NO-TOUCH on`
    pub no_touch: bool,
    /// To be closed when the replies so far are out.
    pub closing: bool,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    pub active_at: i64,
    /// Full name of the last command.
    pub last_command: &'static str,
    pub commands: u64,
    pub input_bytes: u64,
    pub output_bytes: u64,
}

impl Session {
    pub fn new(id: u64, peer: Peer, authenticated: bool, now: i64) -> Session {
        Session {
            id,
            peer,
            name: Vec::new(),
            library_name: Vec::new(),
            library_version: Vec::new(),
            protocol: Protocol::default(),
            db: 0,
            authenticated,
            reply_mode: ReplyMode::default(),
            no_evict: false,
            no_touch: false,
            closing: false,
            created_at: now,
            active_at: now,
            last_command: "NULL",
            commands: 0,
            input_bytes: 0,
            output_bytes: 0,
        }
    }
}
