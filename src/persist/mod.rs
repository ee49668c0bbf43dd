//! Files: what commands have done is written to them, and read back at the start.
//!
//! ```text
//!   shards ── hand over, once a turn ──> Journal: one queue, in the order of causes
//!                                           │  its writer thread, round by round
//!                                           v
//!                     segment.7.0.aof   segment.7.1.aof   ...       what is written is published,
//!                                                                   and shards let replies go
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | [`disk`] | the seam to the file system |
//! | [`manifest`] | which files make up the data |
//! | [`writer`] | rounds: what is in the queue, appended to the segments |
//! | [`scan`] | what a segment holds, and how far it can be used |
//! | [`replay`], [`recover`] | effects run again; from the files back to the keys |
//! | [`foreign`], [`aof_reader`], [`redis_manifest`] | what Redis has left, read |
//! | [`save`], [`shard_files`] | snapshots of all shards, written to files |
//! | [`check`], [`repair`] | files looked through without a server, and cut where they are damaged |
//! | [`journal`] | the queue, the threads that write and sync, what shards see of them |
//!
//! # Why half a transaction is never found
//!
//! What a transaction has done on several shards is handed over as one thing, and before keys leave a
//! shard what it has recorded until then is handed over. So in the queue nothing stands before what it
//! depends on. A round is a stretch of the queue, and rounds are written one after the other; recovery goes as far
//! as rounds are whole in all segments (see [`crate::journal::frame`]), which is a point in the queue.

pub mod aof_reader;
pub mod check;
pub mod disk;
pub mod foreign;
pub mod journal;
pub mod manifest;
pub mod recover;
pub mod redis_manifest;
pub mod repair;
pub mod replay;
pub mod save;
pub mod scan;
pub mod shard_files;
pub mod writer;

pub use disk::{Directory, Disk};
pub use journal::{Journal, State};
pub use recover::{Loading, Recovered, recover};
pub use writer::{Handed, Parts, Writer};
