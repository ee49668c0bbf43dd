//! One client's state as commands see it: who it is, which protocol and database it chose.
//!
//! No socket and no buffer: those are `net`'s. A session moves with its connection to another shard.

use crate::acl::{User, UserId, Users};
use crate::resp::Protocol;
pub use crate::rt::Peer;
use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;
use std::num::NonZeroU64;
use std::sync::Arc;

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

/// What a client has asked for since MULTI.
#[derive(Debug, Clone, Copy, Default)]
pub struct Multi {
    /// Requests that wait for EXEC, and the memory that they take in bytes.
    pub requests: usize,
    pub bytes: usize,
    /// One of them writes.
    pub writes: bool,
    /// A request was refused, so that EXEC will be, too.
    pub failed: bool,
    /// EXEC has come and they run.
    pub running: bool,
}

/// A channel's or pattern's name, shared by all who know it.
pub type Name = Arc<[u8]>;

/// What a client listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    Channel,
    /// All channels that a pattern matches.
    Pattern,
    /// A sharded channel; they are apart from the others.
    Sharded,
}

/// All that a client listens to.
#[derive(Debug, Clone, Default)]
pub struct Subscriptions {
    channels: HashSet<Name, ahash::RandomState>,
    patterns: HashSet<Name, ahash::RandomState>,
    sharded: HashSet<Name, ahash::RandomState>,
}

impl Subscriptions {
    fn names(&self, topic: Topic) -> &HashSet<Name, ahash::RandomState> {
        match topic {
            Topic::Channel => &self.channels,
            Topic::Pattern => &self.patterns,
            Topic::Sharded => &self.sharded,
        }
    }

    fn names_mut(&mut self, topic: Topic) -> &mut HashSet<Name, ahash::RandomState> {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::Sharded => &mut self.sharded,
        }
    }

    /// `false` when it listens to that already.
    pub fn add(&mut self, topic: Topic, name: &Name) -> bool {
        self.names_mut(topic).insert(name.clone())
    }

    /// `false` when it does not listen to that.
    pub fn remove(&mut self, topic: Topic, name: &Name) -> bool {
        self.names_mut(topic).remove(name)
    }

    pub fn all(&self, topic: Topic) -> Vec<Name> {
        self.names(topic).iter().cloned().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty() && self.sharded.is_empty()
    }

    /// The number in acknowledgements: channels and patterns together, or sharded channels.
    pub fn counted(&self, topic: Topic) -> usize {
        match topic {
            Topic::Channel | Topic::Pattern => self.channels.len() + self.patterns.len(),
            Topic::Sharded => self.sharded.len(),
        }
    }
}

/// A client and the shard that serves it, in one word.
///
/// It is where its messages go for as long as the client does not move, as those do not who are sent
/// something without having asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientRef(NonZeroU64);

impl ClientRef {
    /// Not a client: a key that expires is changed by nobody.
    pub const NOBODY: ClientRef = ClientRef(NonZeroU64::MAX);
    const ID_BITS: u32 = 48;

    pub const fn new(shard: usize, id: u64) -> ClientRef {
        let word = (shard as u64) << Self::ID_BITS | id & Self::ID_MASK;
        ClientRef(NonZeroU64::new(word).expect("clients' ids begin at 1"))
    }

    const ID_MASK: u64 = (1 << Self::ID_BITS) - 1;

    pub const fn shard(self) -> usize {
        (self.0.get() >> Self::ID_BITS) as usize
    }

    pub const fn id(self) -> u64 {
        self.0.get() & Self::ID_MASK
    }
}

/// What CLIENT TRACKING chose: which changes of keys the client is told of, and how.
#[derive(Debug, Clone, Default)]
pub struct Tracking {
    /// All keys with certain prefixes, and not those that it has read.
    pub broadcast: bool,
    /// Only reads that follow a CLIENT CACHING YES are remembered.
    pub opt_in: bool,
    /// All reads are remembered but those that follow a CLIENT CACHING NO.
    pub opt_out: bool,
    /// The client's own changes are left out.
    pub no_loop: bool,
    /// CLIENT CACHING has spoken about the next command.
    pub caching: bool,
    /// Another client gets the messages.
    pub redirect: Option<ClientRef>,
    /// That client is gone.
    pub broken: bool,
    pub prefixes: BTreeSet<Name>,
}

impl Tracking {
    /// Whether what the client reads next is remembered.
    pub fn remembers(&self) -> bool {
        match (self.broadcast, self.opt_in, self.opt_out) {
            (true, ..) => false,
            (_, true, _) => self.caching,
            (_, _, true) => !self.caching,
            _ => true,
        }
    }
}

/// One client.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: u64,
    pub peer: Peer,
    /// It came by a TLS listener.
    pub tls: bool,
    pub name: Vec<u8>,
    pub library_name: Vec<u8>,
    pub library_version: Vec<u8>,
    pub protocol: Protocol,
    pub db: usize,
    user: Arc<User>,
    /// It has shown who it is, or need not.
    authenticated: bool,
    /// It must log in before anything else.
    is_stranger: bool,
    /// Whose rights are looked at before it runs anything; nobody's when it may do whatever it asks for.
    rights: Option<UserId>,
    /// The command that runs may read keys that it does not name.
    pub reads_all_keys: bool,
    pub reply_mode: ReplyMode,
    /// `CLIENT NO-EVICT on`
    pub no_evict: bool,
    /// `CLIENT NO-TOUCH on`
    pub no_touch: bool,
    pub multi: Option<Multi>,
    /// It waits for a key.
    pub blocked: bool,
    /// How many keys it watches.
    pub watched: usize,
    /// What it listens to, if it does.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// What it is told of changes, if it has asked for that.
    pub tracking: Option<Box<Tracking>>,
    /// It is shown what all clients do (`MONITOR`).
    pub monitor: bool,
    /// `READONLY`: as a cluster client it accepts answers of a replica.
    pub readonly: bool,
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
    pub fn new(id: u64, peer: Peer, users: &Users, now: i64) -> Session {
        let user = users.default_user().clone();
        let mut session = Session {
            id,
            peer,
            tls: false,
            name: Vec::new(),
            library_name: Vec::new(),
            library_version: Vec::new(),
            protocol: Protocol::default(),
            db: 0,
            user,
            authenticated: false,
            is_stranger: true,
            rights: None,
            reads_all_keys: true,
            reply_mode: ReplyMode::default(),
            no_evict: false,
            no_touch: false,
            multi: None,
            blocked: false,
            watched: 0,
            subscriptions: None,
            tracking: None,
            monitor: false,
            readonly: false,
            closing: false,
            created_at: now,
            active_at: now,
            last_command: "NULL",
            commands: 0,
            input_bytes: 0,
            output_bytes: 0,
        };
        session.log_out(users);
        session
    }

    /// Who it is.
    pub fn user(&self) -> &Arc<User> {
        &self.user
    }

    pub fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// Whether it must log in before anything else.
    #[inline]
    pub fn is_stranger(&self) -> bool {
        self.is_stranger
    }

    /// Whether it may do whatever it asks for.
    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        self.rights.is_none()
    }

    /// Whose rights the commands of its scripts have; nobody's when there is nothing to look at.
    #[inline]
    pub fn rights(&self) -> Option<UserId> {
        self.rights
    }

    /// It has shown that it is this user.
    pub fn log_in(&mut self, user: Arc<User>, users: &Users) {
        self.user = user;
        self.authenticated = true;
        self.settle_rights(users);
    }

    /// It is the default user, as when it came.
    pub fn log_out(&mut self, users: &Users) {
        self.user = users.default_user().clone();
        self.authenticated = !users.ask_for_password();
        self.settle_rights(users);
    }

    /// Gets its user as it is now; `false` when it must be closed, since its user is gone or may not listen
    /// any more to all that it listens to.
    pub fn follow(&mut self, users: &Users) -> bool {
        let before = self.user.clone();
        match users.by_id(before.id) {
            Some(user) => self.user = user.clone(),
            None => {
                self.log_out(users);
                self.authenticated = false;
                self.is_stranger = true;
                self.rights = Some(self.user.id);
                self.reads_all_keys = false;
                return false;
            }
        }
        self.settle_rights(users);
        let Some(topics) = &self.subscriptions else { return true };
        let names = |topic| topics.names(topic).iter().map(|name| &name[..]);
        let channels = names(Topic::Channel).chain(names(Topic::Sharded));
        !self.user.ends_listening(&before, channels, names(Topic::Pattern))
    }

    fn settle_rights(&mut self, users: &Users) {
        self.is_stranger = !self.authenticated && users.ask_for_password();
        let looks = self.is_stranger || !self.user.is_unrestricted();
        self.rights = looks.then_some(self.user.id);
        self.reads_all_keys = !looks;
    }

    /// Back to the state of a new connection, as RESET does. The library's name and version stay:
    /// they say what is behind the connection, not what it asked for. What others know of it as well
    /// (what it listens to, tracks and is shown) is for them to end.
    pub fn reset(&mut self, users: &Users) {
        self.name.clear();
        self.protocol = Protocol::default();
        self.db = 0;
        self.log_out(users);
        self.reply_mode = ReplyMode::On;
        self.no_evict = false;
        self.no_touch = false;
        self.multi = None;
        self.watched = 0;
        self.readonly = false;
    }

    /// Whether it listens to something and so can be sent what it has not asked for.
    pub fn is_subscriber(&self) -> bool {
        self.subscriptions.is_some()
    }

    /// Whether what it reads now is to be remembered for it.
    #[inline]
    pub fn tracks_reads(&self) -> bool {
        self.tracking.as_ref().is_some_and(|tracking| tracking.remembers())
    }

    /// As CLIENT GETREDIR tells it: who gets the messages, 0 for the client itself, -1 when there are
    /// none.
    pub fn redirected_to(&self) -> i64 {
        let Some(tracking) = &self.tracking else { return -1 };
        tracking.redirect.map_or(0, |redirect| redirect.id() as i64)
    }

    /// The class of clients to which it belongs, as CLIENT LIST's TYPE names it.
    pub fn class(&self) -> &'static str {
        if self.is_subscriber() { "pubsub" } else { "normal" }
    }

    /// Channels, patterns and sharded channels that it listens to.
    fn subscription_counts(&self) -> [usize; 3] {
        let count = |topic| self.subscriptions.as_ref().map_or(0, |all| all.names(topic).len());
        [Topic::Channel, Topic::Pattern, Topic::Sharded].map(count)
    }

    /// Bytes of memory beside the session itself: names, and its share of what it listens to or follows.
    pub fn memory(&self) -> usize {
        /// A name in a set, and the word that points to it.
        const TOPIC: usize = 48;
        let names = self.name.capacity() + self.library_name.capacity();
        let prefixes = self.tracking.as_ref().map_or(0, |tracking| tracking.prefixes.len());
        let topics = self.subscription_counts().iter().sum::<usize>() + prefixes;
        names + self.library_version.capacity() + topics * TOPIC
    }

    /// Whether an EXEC of this client is under way.
    pub fn is_executing(&self) -> bool {
        self.multi.is_some_and(|multi| multi.running)
    }

    /// Whether a reply that is made now goes out.
    pub fn wants_reply(&self) -> bool {
        matches!(self.reply_mode, ReplyMode::On | ReplyMode::SkipNext)
    }

    /// Whether the reply of the command that just ran goes out, and what that means for the next.
    ///
    /// To be called once for every command, after its handler.
    pub fn take_reply(&mut self) -> bool {
        let (wanted, next) = match self.reply_mode {
            ReplyMode::On => (true, ReplyMode::On),
            ReplyMode::Off => (false, ReplyMode::Off),
            // The requests in an EXEC have their replies, or not, as one.
            mode if self.is_executing() => (self.wants_reply(), mode),
            // CLIENT REPLY SKIP itself, which wrote nothing.
            ReplyMode::SkipNext => (true, ReplyMode::Skip),
            ReplyMode::Skip => (false, ReplyMode::On),
        };
        self.reply_mode = next;
        wanted
    }
}

/// What CLIENT LIST shows of a connection beyond its session; bytes if not said otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConnectionFacts {
    pub fd: i32,
    /// Bytes of requests that were read and not yet run.
    pub qbuf: usize,
    /// What else fits into the query buffer.
    pub qbuf_free: usize,
    /// Size of the reply buffer.
    pub rbs: usize,
    /// Most that was in it lately.
    pub rbp: usize,
    /// Reply bytes not yet sent, in the reply buffer.
    pub obl: usize,
    /// How many further blocks of replies wait.
    pub oll: usize,
    /// Bytes in these blocks.
    pub omem: usize,
    /// All memory of the connection.
    pub tot_mem: usize,
}

/// A client as CLIENT LIST and CLIENT INFO show it, without a line break.
///
/// Arguments are borrowed from the query buffer, so `argv-mem` is nothing of its own.
pub fn client_line(session: &Session, facts: &ConnectionFacts, now: i64) -> String {
    let mut line = String::with_capacity(320);
    let seconds = |since: i64| (now / 1000 - since / 1000).max(0);
    let text = String::from_utf8_lossy;
    let [channels, patterns, sharded] = session.subscription_counts();
    // Writing to a string cannot fail.
    let _ = write!(
        line,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} \
         multi={} watch={} qbuf={} qbuf-free={} argv-mem=0 multi-mem={} rbs={} rbp={} obl={} oll={} omem={} \
         tot-mem={} events=r cmd={} user={} redir={} resp={} lib-name={} lib-ver={}",
        session.id,
        session.peer.address(),
        session.peer.local_address(),
        facts.fd,
        text(&session.name),
        seconds(session.created_at),
        seconds(session.active_at),
        flags(session),
        session.db,
        channels,
        patterns,
        sharded,
        session.multi.map_or(-1, |multi| multi.requests as i64),
        session.watched,
        facts.qbuf,
        facts.qbuf_free,
        session.multi.map_or(0, |multi| multi.bytes),
        facts.rbs,
        facts.rbp,
        facts.obl,
        facts.oll,
        facts.omem,
        facts.tot_mem,
        session.last_command,
        text(&session.user.name),
        session.redirected_to(),
        session.protocol.number(),
        text(&session.library_name),
        text(&session.library_version),
    );
    line
}

/// The letters of the `flags` field, `N` when there is none.
fn flags(session: &Session) -> String {
    let tracks = |is: fn(&Tracking) -> bool| session.tracking.as_deref().is_some_and(is);
    let letters = [
        (session.monitor, 'O'),
        (session.is_subscriber(), 'P'),
        (session.multi.is_some(), 'x'),
        (session.blocked, 'b'),
        (tracks(|_| true), 't'),
        (tracks(|tracking| tracking.broken), 'R'),
        (tracks(|tracking| tracking.broadcast), 'B'),
        (session.closing, 'c'),
        (matches!(session.peer, Peer::Unix { .. }), 'U'),
        (session.readonly, 'r'),
        (session.no_evict, 'e'),
        (session.no_touch, 'T'),
    ];
    let set: String = letters.iter().filter(|(on, _)| *on).map(|(_, letter)| letter).collect();
    if set.is_empty() { "N".to_string() } else { set }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let peer = Peer::Tcp {
            remote: "[::ffff:10.0.0.7]:5000".parse().unwrap(),
            local: "[::1]:6379".parse().unwrap(),
        };
        Session::new(3, peer, &Users::default(), 10_000)
    }

    #[test]
    fn a_line_has_the_fields_of_redis_in_order() {
        let mut session = session();
        session.name = b"worker".to_vec();
        session.active_at = 12_500;
        session.no_touch = true;
        session.last_command = "client|list";
        let facts = ConnectionFacts { fd: 8, qbuf: 26, tot_mem: 99, ..Default::default() };
        assert_eq!(
            client_line(&session, &facts, 15_000),
            "id=3 addr=10.0.0.7:5000 laddr=[::1]:6379 fd=8 name=worker age=5 idle=3 flags=T db=0 \
             sub=0 psub=0 ssub=0 multi=-1 watch=0 qbuf=26 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 \
             obl=0 oll=0 omem=0 tot-mem=99 events=r cmd=client|list user=default redir=-1 resp=2 \
             lib-name= lib-ver="
        );
    }

    #[test]
    fn skip_leaves_out_one_reply() {
        let mut session = session();
        session.reply_mode = ReplyMode::SkipNext;
        assert_eq!([0; 3].map(|_| session.take_reply()), [true, false, true]);
        session.reply_mode = ReplyMode::Off;
        assert!(!session.take_reply());
        assert!(!session.take_reply());
    }
}
