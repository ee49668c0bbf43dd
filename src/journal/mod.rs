//! What commands have done to a shard's keys, as commands that do it again: the one stream that files
//! and followers are fed from.
//!
//! ```text
//!   command::execute ── records ──> Effects: this shard's bytes
//!                                   or, while a transaction runs, a unit: bytes by shard
//!   net ── hands over, once a turn ──> persist: one queue of all shards, in the order of causes
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | [`effects`] | what a shard has recorded and not handed over yet |
//! | [`frame`] | the lines in a segment that are no commands: its head, and one before each round |
//!
//! Effects are deterministic: times are absolute, chance has been decided, and a key that has expired
//! is deleted by an effect of its own. So they are replayed with a clock that stands still.
//!
//! Deliberately absent: files, threads, which shard owns a key.

pub mod effects;
pub mod frame;

pub use effects::{Effects, Unit};
