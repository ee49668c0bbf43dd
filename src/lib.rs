//! Corelane: a Redis-compatible in-memory server that uses all cores of a machine as one system.
//!
//! # Threads
//!
//! ```text
//!   main ── reads the configuration, binds the ports, starts the shards, waits for a signal
//!
//!   shard 0 (core 0)          shard 1 (core 1)            shard n
//!   ┌──────────────────┐      ┌──────────────────┐
//!   │ driver: own ring │      │ driver: own ring │      one pinned executor each;
//!   │   sockets, bells │      │   sockets, bells │      the thread sleeps in its ring
//!   │ worker           │<────>│ worker           │      mailboxes: one bounded queue for
//!   │   connections    │      │   connections    │      each pair and direction
//!   │   keys of its    │      │   keys of its    │
//!   │   slots          │      │   slots          │
//!   └────────┬─────────┘      └────────┬─────────┘
//!            └── effects, once a turn ─┴──> journal-write ── rounds ──> segment.<n>.<shard>.aof
//!                chunks of snapshots ─────> saver ────────────────────> dump.rdb, base.<n>.<shard>.rdb
//! ```
//!
//! The threads below the shards are there when something is kept on disk ([`persist`]); another one
//! syncs, and at the start one for each core loads. With `admin-port` one more answers HTTP. Where io_uring is
//! forbidden, drivers sleep in epoll instead ([`rt`]).
//!
//! A shard serves the connections that it accepted *and* owns the keys of its slots
//! (`slot = crc16(key) mod 16384`, [`shard::SlotTable`]).
//!
//! # Life of a command
//!
//! ```text
//!   rt::Driver ── bytes ──> net::Worker::received
//!     resp::Parser            a read's requests, a few ahead, arguments borrowed from the buffer
//!     command::Registry       the row of the command: arity, flags, keys, handler
//!     plan                    which shard owns its keys; prefetch what the look-up will read
//!     ├─ here                 command::execute: the handler runs now, into the output buffer
//!     ├─ elsewhere            route::Batch to the owner, one message per read and shard
//!     ├─ in parts             PerKey, EveryShard, MULTI blocks: a tour through the owners, each of which
//!     │                       runs its parts and holds the keys until all have run (net::tour)
//!     ├─ gathered             several keys, one handler: entries are borrowed from their owners,
//!     │                       who hold the keys meanwhile (net::gather)
//!     ├─ a script             as a command on the keys that it names, or that it is expected to touch, or
//!     │                       with all shards' tables borrowed (net::script, net::foretold, net::whole)
//!     └─ blocking             a first attempt by one of the ways above, then a place in the line of each key
//!                             (net::blocking)
//!   route::ReplyQueue         replies in the order of the requests
//!   rt::Driver <── one send per connection and turn
//! ```
//!
//! # Code map
//!
//! | room | what it is | may import |
//! |---|---|---|
//! | [`server`] | boot and shutdown | all |
//! | [`net`] | connections on one shard; where requests are routed and put off | below |
//! | [`route`] | what travels between shards and how parts become one reply | below |
//! | [`persist`] | files: what was done is appended to them, snapshots, both read back; what Redis has left | below |
//! | [`journal`] | what commands have done, as commands; the lines between them in a file | below |
//! | [`command`] | the command table: rows, handlers, a file per family | below |
//! | [`shard`] | one core's keys: databases, expiry, access history, who has read what; its channels and events | below |
//! | [`session`] | one client's state | below |
//! | [`script`] | Lua: one interpreter, what scripts see, libraries of functions | below |
//! | [`rdb`] | Redis' format of values, on disk and in DUMP, and of whole files | below |
//! | [`acl`] | users and what they may do | below |
//! | [`resp`], [`data`] | the wire format; the hash table, the entry, collections, patterns | below |
//! | [`config`], [`metrics`], [`rt`], [`clock`] | options; counters; the runtime seam; time | [`error`] |
//!
//! # Invariants, and what is deliberately absent
//!
//! - A command name is compared in [`command::Registry`] and nowhere else: everything else reads rows.
//! - Handlers are synchronous, see no socket and no clock, and run to their end.
//! - No mutex on the path of a command on keys. Shared atomics are counters with one writer, the
//!   number of clients, the bells, one word for each client that waits for keys, a flag for giving up
//!   keys that clients track, the versions of the scripts, the memory sum, and which shards a slow script holds. A new script
//!   is looked up under a lock, once a shard.
//! - A driver's thread sleeps in its own ring or epoll instance only. No task per connection; nothing waits on
//!   glommio's reactor. Only [`rt`] names glommio and io_uring, only [`clock`] reads the time.
//! - Who works on several shards visits them in ascending order and holds keys until it is done, so
//!   nobody waits in a circle, and everything is strictly serializable ([`shard::Intents`], net::line).
//!   There is no common clock.
//! - What is kept on disk passes one queue under a mutex, which a shard takes once a turn, not for each
//!   command. Its order is that of causes; files hold whole stretches of it ([`persist`]).
//! - No shard's thread calls the file system for data: threads of their own write, sync and load.
//! - Order: messages from one shard to another arrive in the order sent, so requests of one
//!   connection run in order on each shard.
//! - A memory limit is for the whole server: each shard shows what it uses once a turn, and the shard with the
//!   key that should go first evicts it (net::memory). Nothing is evicted that a transaction holds.
//! - A script runs to its end on one thread. Nothing that somebody could have seen is ever undone: only a script
//!   that touches a key which nobody expected is given up, on the spot and without a trace
//!   ([`shard::Trial`]), and runs again with more held.
//! - Background work (expiry, eviction, freeing, growth of tables, snapshots) is cut into slices of a bounded size.
//! - `unsafe` is in [`data`] (entry, table, prefetch, members of big collections), [`rt`] (system calls, the ring, the allocator's counters) and [`script`]
//!   (the seam to Lua), with the invariants written beside it.

pub mod acl;
pub mod clock;
pub mod command;
pub mod config;
pub mod data;
pub mod error;
pub mod journal;
pub mod metrics;
pub mod net;
pub mod persist;
pub mod rdb;
pub mod resp;
pub mod route;
pub mod rt;
pub mod script;
pub mod server;
pub mod session;
pub mod shard;
