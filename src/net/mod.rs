//! Connections: from bytes to requests, from replies to bytes, on one shard.
//!
//! ```text
//!   received ─> parse ─> plan ──┬─ keys here ────────> run now ──> conn.out ─┐
//!                               ├─ keys elsewhere ──> Batch ─> mailbox      ├─> send, once a turn
//!                               └─ must wait ───────> Operation             │
//!   mailbox ──> answered Batch ─> conn.queue (order of the requests) ────────┘
//! ```
//!
//! A [`Worker`] is one shard's half of that: it owns the connections it serves and the slice of the
//! keys. It is told what happened and never waits. Absent on purpose: tasks, locks, a clock.

mod blocking;
mod busy;
mod client_memory;
mod clients;
mod conn;
mod cron;
mod desk;
mod dispatch;
mod foretold;
mod gather;
mod line;
mod logging;
mod mail;
mod memory;
mod migrate;
mod monitor;
mod operation;
mod pause;
mod pool;
mod recording;
mod reloading;
mod rights;
mod saving;
mod scanning;
mod script;
mod squash;
mod subscribers;
mod syncing;
mod tls;
mod tour;
mod tracking;
mod transaction;
mod whole;
mod worker;

pub use busy::BusyShards;
pub use desk::{Desk, DeskAnswer, DeskQuestion};
pub use mail::Message;
pub use reloading::LoadAgain;
pub use saving::{functions, unsaved_changes};
pub use tls::TlsContext;
pub use worker::{Shared, Worker, shard_settings};
