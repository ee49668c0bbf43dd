//! What a command on the client's own state may touch, and what it may ask the server to do.

use super::Registry;
use super::function::restore_payload;
use super::tracking::TrackingRequest;
use crate::acl::Acl;
use crate::clock;
use crate::config::{Action, Change, CmdErrorText, Config, Secret, Values};
use crate::error::CmdError;
use crate::metrics::{
    CommandLogs, LatencyEvents, LatencyMonitor, MemorySum, PersistStats, ShardStats,
};
use crate::resp::Encoder;
use crate::script::{RestorePolicy, SlowScripts, Store};
use crate::session::{ClientRef, ConnectionFacts, Name, Session, Topic, client_line};
use crate::shard::{Loading, SlotTable};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What all shards share. Nothing here is locked by a command on keys.
pub struct Env {
    pub config: Mutex<Config>,
    pub registry: Registry,
    pub acl: Acl,
    /// One per shard.
    pub stats: Vec<Arc<ShardStats>>,
    /// 40 hex digits, new at every start.
    pub run_id: String,
    /// How many times the history of the data was given another id (`DEBUG CHANGE-REPL-ID`).
    pub repl_changes: AtomicU64,
    /// Milliseconds since the epoch.
    pub started_at: i64,
    /// What the shards sleep in, for INFO.
    pub runtime: &'static str,
    /// What the server does for a CONFIG SET beyond letting every shard know, by the new values;
    /// the reason when it cannot.
    pub act: Act,
    pub scripts: Store,
    pub slow_scripts: SlowScripts,
    pub persist: Arc<PersistStats>,
    pub memory: Arc<MemorySum>,
    /// When the process began, on the clock that never goes back.
    pub born: Instant,
    /// Locked to log a command that was slow or large, and to read the logs.
    pub logs: Mutex<CommandLogs>,
    /// What took long; the journal's threads tell it, too.
    pub latency: Arc<LatencyMonitor>,
    /// Until when all shards sleep (`DEBUG SLEEP`): microseconds since `born`, 0 for not at all.
    pub asleep_until_us: AtomicU64,
    /// Scripts may use any command, for tests (`DEBUG SET-DISABLE-DENY-SCRIPTS`).
    pub all_in_scripts: AtomicBool,
    /// Nothing is wrong, except in tests that make it so.
    pub faults: Faults,
}

/// What goes wrong on purpose, so that tests can prove that they would see it. No option of the
/// configuration leads here: only [`run_faulty`](crate::server::run_faulty) and
/// [`faulty_workers`](crate::server::faulty_workers) do, which tests alone call.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A shard runs requests on keys that are promised to a transaction as if they were free.
    pub ignore_intents: bool,
    /// A script that was given up leaves what it has written.
    pub keep_given_up: bool,
    /// Replies to writes leave before the journal has written.
    pub ack_before_write: bool,
    /// What is loaded of a segment is all of it, whether the other parts of its rounds are there or not.
    pub ignore_participants: bool,
    /// It takes a while to write to a data file, and to make, name or remove one: no fault, but what is wrong
    /// shows sooner.
    pub slow_disk: bool,
    /// Snapshots are written bucket by bucket, one a turn, whatever the time is: no fault either.
    pub small_slices: bool,
    /// Shards take part in a snapshot's cut when they come to it, and not all at one time.
    pub loose_cut: bool,
}

pub type Act = Box<dyn Fn(Action, &Values) -> Result<(), String> + Send + Sync>;

impl Env {
    /// The configuration. It is always whole: a change is made in one step, so a panic elsewhere
    /// while it was locked leaves nothing half done.
    pub fn config(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes libraries of functions from another store: in place of those that are there, or beside them.
    pub fn take_libraries(&self, from: &Store, how: Loading) -> Result<(), CmdError> {
        let restore = |policy| restore_payload(&self.scripts, &from.libraries().dump(), policy);
        match how {
            Loading::Replace => {}
            Loading::Merge => return restore(RestorePolicy::Replace),
            Loading::Add => return restore(RestorePolicy::Append),
        }
        self.scripts.change_libraries(|libraries| {
            libraries.clone_from(&from.libraries());
            Ok(())
        })
    }

    /// The logs of commands; an entry is added in one step, so they are always whole.
    pub fn logs(&self) -> MutexGuard<'_, CommandLogs> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What took long; always whole, too.
    pub fn latency(&self) -> MutexGuard<'_, LatencyEvents> {
        self.latency.events()
    }

    fn age_us(&self) -> u64 {
        clock::monotonic().duration_since(self.born).as_micros() as u64
    }

    /// The calling shard sleeps, and all others do from the next time on that they have something to do.
    pub fn sleep(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let until = self.age_us().saturating_add(us);
        self.asleep_until_us.fetch_max(until, Ordering::AcqRel);
        std::thread::sleep(duration);
        // Unless another shard sleeps longer.
        let (order, other) = (Ordering::AcqRel, Ordering::Relaxed);
        let _ = self.asleep_until_us.compare_exchange(until, 0, order, other);
    }

    /// Whether all shards are to sleep.
    #[inline]
    pub fn is_asleep(&self) -> bool {
        self.asleep_until_us.load(Ordering::Acquire) > 0
    }

    /// Sleeps for as long as the others do.
    #[cold]
    pub fn sleep_along(&self) {
        let until = self.asleep_until_us.load(Ordering::Acquire);
        std::thread::sleep(Duration::from_micros(until.saturating_sub(self.age_us())));
    }

    /// Carries out a CONFIG SET: all of it or nothing.
    ///
    /// The configuration stays locked meanwhile, so two changes at once come one after the other.
    pub fn reconfigure(
        &self,
        pairs: &[(Vec<u8>, Vec<u8>)],
        is_local: bool,
    ) -> Result<(), CmdError> {
        let mut config = self.config();
        let password = config.requirepass.clone();
        let change = config.prepare(pairs, is_local).map_err(reply)?;
        let is_loading = self.persist.loading_since.load(Ordering::Relaxed) > 0;
        if is_loading && change.actions().iter().any(|(action, _)| *action == Action::AppendOnly) {
            return Err(CmdError::LOADING);
        }
        for (action, option) in change.actions() {
            (self.act)(action, change.values())
                .map_err(|reason| reply(Change::failure(option, &reason)))?;
        }
        config.commit(change);
        if config.requirepass != password {
            self.acl.set_default_password(config.requirepass.as_ref().map(Secret::as_bytes));
        }
        Ok(())
    }
}

/// An error of the configuration as an error reply.
pub fn reply(text: CmdErrorText) -> CmdError {
    CmdError::of_bytes(text.0)
}

/// The context of a command on one client's state.
pub struct SessionCx<'a> {
    pub session: &'a mut Session,
    pub out: Encoder<'a>,
    pub env: &'a Env,
    pub slots: &'a SlotTable,
    /// The shard on which the connection is.
    pub shard: usize,
    /// Milliseconds since the epoch.
    pub now: i64,
    /// The time since the epoch, for a script, in which it stands still.
    pub frozen: Option<Duration>,
    /// The command's full name in lower case, for error texts.
    pub name: &'static str,
    /// As whom the client has tried to log in, and may not: to be logged.
    pub refused_as: Option<Vec<u8>>,
}

impl SessionCx<'_> {
    /// The counters of the shard on which the connection is.
    pub fn stats(&self) -> &ShardStats {
        &self.env.stats[self.shard]
    }
}

/// What remains to be done by the server when the handler has returned.
#[derive(Debug)]
pub enum Control {
    /// Nothing: the reply is written, or there is none.
    Done,
    /// Nothing but to look at the clock: all shards have slept.
    Slept,
    /// Close this connection once its replies are out.
    Close,
    /// Reply with this connection's own line: [`write_client_line`].
    ClientInfo,
    /// Ask the connections of every shard by [`ClientsRequest::visit`]; their answers make the
    /// reply by [`ClientsRequest::reply`].
    Clients(ClientsRequest),
    /// The configuration has changed: `+OK` once every shard works by it.
    Reconfigured,
    /// The users have changed: the reply is written, to be sent once every shard works by them.
    UsersChanged,
    /// Write the configuration file by [`Config::rewrite`], which waits for the disk and so is not
    /// for a shard's thread; then `+OK` or its error.
    RewriteConfig,
    /// Every shard sets its counters back by [`ShardStats::reset`]; then `+OK`.
    ///
    /// Not done here since a counter has one writer: its shard's thread.
    ResetStats,
    /// No command runs, or none that writes, until then (milliseconds since the epoch): `+OK` once
    /// nothing is under way on any shard.
    Pause { until: i64, all: bool },
    /// Commands run again, on all shards; then `+OK`.
    Unpause,
    /// Run the requests since MULTI, unless they are to be discarded or a watched key has changed.
    Exec,
    /// The requests since MULTI and what is watched are forgotten; the reply is written.
    Forget,
    /// The client is as new: as [`Control::Forget`], and it listens to nothing any more.
    Reset,
    /// Watch the keys that are the arguments, then `+OK`.
    Watch,
    /// Watch nothing any more, then `+OK`.
    Unwatch,
    /// What the client listens to has changed: the reply, once the shards concerned know.
    Subscribe(Vec<SubscriptionChange>),
    /// The client tracks keys from now on, otherwise than before, or no more.
    Track(Box<TrackingRequest>),
    /// The client is shown what all clients do; then `+OK`.
    Monitor,
    /// Begin a snapshot.
    Save(SaveRequest),
    /// Read the data back from their files; then `+OK`.
    Reload(ReloadRequest),
    /// Reply when what the client has written is on disk.
    WaitAof(AofWait),
    /// Stop the server, after a snapshot if that is asked for; the connection is closed without a reply.
    Shutdown { save: Option<bool> },
}

/// From where the data are read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReloadRequest {
    /// From the append-only files, not from a snapshot.
    pub appended: bool,
    /// A snapshot is written before.
    pub saves: bool,
    pub mode: Loading,
}

/// What a client waits for that has written something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AofWait {
    /// This server's disk.
    pub local: bool,
    /// So many replicas' disks.
    pub replicas: u64,
    /// No longer than until then, milliseconds since the epoch.
    pub until: Option<i64>,
}

/// What a snapshot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveKind {
    Snapshot,
    /// It takes the place of the append-only files until now.
    Rewrite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaveRequest {
    pub kind: SaveKind,
    /// The reply comes when it is written.
    pub wait: bool,
    /// It may begin when the one that runs has ended.
    pub later: bool,
}

/// A client listens to something from now on, or no more.
#[derive(Debug, Clone)]
pub struct SubscriptionChange {
    pub topic: Topic,
    pub name: Name,
    pub more: bool,
}

/// A request to the connections of every shard.
#[derive(Debug, Clone)]
pub enum ClientsRequest {
    /// The reply is the lines of the clients that match.
    List(ClientFilter),
    /// The reply is how many were closed.
    Kill(ClientFilter),
    /// As `Kill`, in the old form by address alone: `+OK`, or an error when there is no such client.
    KillAddress(ClientFilter),
    /// Ends the wait of a client as if its time were up, or with an error; the reply is whether it
    /// waited.
    Unblock { client: u64, error: bool },
}

/// What the connections of one shard answer, or of several together.
#[derive(Debug, Clone, Default)]
pub struct ClientsAnswer {
    /// Lines of CLIENT LIST by client id.
    pub lines: Vec<(u64, String)>,
    /// Clients that were closed, or whose wait has ended.
    pub found: u64,
    /// The client that was looked for, which stays where it is.
    pub target: Option<ClientRef>,
}

impl ClientsRequest {
    /// The request as of a moment at which the next client would have had this id. Shards get to it one after the
    /// other, and who is killed comes back, perhaps to one that has not got to it yet.
    pub fn at(mut self, next: u64) -> ClientsRequest {
        if let ClientsRequest::Kill(filter) | ClientsRequest::KillAddress(filter) = &mut self {
            filter.before = Some(next);
        }
        self
    }

    /// Puts the request to one connection; `true` means that it is to be closed.
    ///
    /// The one that asked may be among them: it is closed once its replies are out, any other at once.
    pub fn visit(
        &self,
        session: &mut Session,
        facts: impl FnOnce() -> ConnectionFacts,
        now: i64,
        answer: &mut ClientsAnswer,
    ) -> bool {
        match self {
            ClientsRequest::List(filter) => {
                if filter.matches(session, now) {
                    answer.lines.push((session.id, client_line(session, &facts(), now)));
                }
                false
            }
            ClientsRequest::Kill(filter) | ClientsRequest::KillAddress(filter) => {
                // A connection that is closing already can be found but not killed again.
                let kill = filter.matches(session, now) && !session.closing;
                session.closing |= kill;
                answer.found += u64::from(kill);
                kill
            }
            // More than the session is needed for that.
            ClientsRequest::Unblock { .. } => false,
        }
    }

    /// Writes the reply that all the answers make together.
    pub fn reply(&self, answers: Vec<ClientsAnswer>, out: &mut Encoder) {
        let found: u64 = answers.iter().map(|a| a.found).sum();
        match self {
            ClientsRequest::List(filter) => {
                let mut lines: Vec<_> = answers.into_iter().flat_map(|a| a.lines).collect();
                lines.sort_unstable_by_key(|(id, _)| *id);
                let mut text = String::new();
                let mut add = |line: &str| {
                    text.push_str(line);
                    text.push('\n');
                };
                match filter.ids.is_empty() {
                    true => lines.iter().for_each(|(_, line)| add(line)),
                    false => filter.ids.iter().for_each(|id| {
                        let at = lines.binary_search_by_key(id, |(own, _)| *own);
                        at.ok().into_iter().for_each(|at| add(&lines[at].1));
                    }),
                }
                out.verbatim("txt", text.as_bytes());
            }
            ClientsRequest::Kill(_) | ClientsRequest::Unblock { .. } => out.int(found as i64),
            ClientsRequest::KillAddress(_) if found > 0 => out.ok(),
            ClientsRequest::KillAddress(_) => {
                out.error(&CmdError::fixed("ERR No such client"));
            }
        }
    }
}

/// Writes the reply to CLIENT INFO.
pub fn write_client_line(session: &Session, facts: &ConnectionFacts, now: i64, out: &mut Encoder) {
    let line = client_line(session, facts, now) + "\n";
    out.verbatim("txt", line.as_bytes());
}

/// Which clients are meant; what is `None` or empty matches all.
#[derive(Debug, Clone, Default)]
pub struct ClientFilter {
    pub ids: Vec<u64>,
    pub address: Option<Vec<u8>>,
    pub local_address: Option<Vec<u8>>,
    pub user: Option<Vec<u8>>,
    /// `normal`, `master`, `replica` or `pubsub`.
    pub kind: Option<&'static str>,
    /// Only clients connected for at least so many seconds.
    pub age_s_min: Option<i64>,
    /// This client is left out (`SKIPME yes`).
    pub except: Option<u64>,
    /// Only clients with smaller ids: those that were there when it was asked.
    pub before: Option<u64>,
}

impl ClientFilter {
    pub fn matches(&self, session: &Session, now: i64) -> bool {
        let is = |wanted: &Option<Vec<u8>>, own: &dyn Fn() -> String| {
            wanted.as_deref().is_none_or(|wanted| wanted == own().as_bytes())
        };
        (self.ids.is_empty() || self.ids.contains(&session.id))
            && self.except != Some(session.id)
            && self.before.is_none_or(|next| session.id < next)
            && self.kind.is_none_or(|kind| kind == session.class())
            && self.age_s_min.is_none_or(|s| now / 1000 - session.created_at / 1000 >= s)
            && self.user.as_deref().is_none_or(|user| user == &session.user().name[..])
            && is(&self.address, &|| session.peer.address())
            && is(&self.local_address, &|| session.peer.local_address())
    }
}
