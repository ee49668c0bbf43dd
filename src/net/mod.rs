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
mod clients;
mod conn;
mod cron;
mod dispatch;
mod gather;
mod line;
mod mail;
mod migrate;
mod monitor;
mod operation;
mod pause;
mod recording;
mod saving;
mod scanning;
mod script;
mod squash;
mod subscribers;
mod syncing;
mod tour;
mod tracking;
mod transaction;
mod whole;
mod worker;

pub use busy::BusyShards;
pub use mail::Message;
pub use saving::{functions, unsaved_changes};
pub use worker::{Shared, Worker, shard_settings};
