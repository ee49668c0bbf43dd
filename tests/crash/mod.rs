//! Sudden ends: what is there afterwards is what was acknowledged, and whole.
//!
//! | module | what ends | what it shows |
//! |---|---|---|
//! | [`kill`] | a server process, by `kill -9` | no acknowledged write is lost, nothing is half done, whatever was under way |
//! | [`torn`] | the power of a disk in memory | the same by policy, when unsynced bytes are lost, torn, or written out of order |
//! | [`syncs`] | syncs of such a disk that fail, or take long | nothing counts as synced that may be lost; what is written waits |
//! | [`parts`] | the same, while snapshots are written | there is the last one, or a later one |
//! | [`full`] | the room on a disk | writes are refused, reads go on, and all goes on when there is room |
//!
//! [`players`] are the clients who make the load for the first and know what they may find, and [`saves`] has
//! snapshots and rewrites be under way and tells which were; [`sim_disk`] is the disk of the second. That they find what is wrong is shown by servers with a deliberate fault.

mod full;
mod kill;
mod parts;
mod players;
mod saves;
mod sim_disk;
mod syncs;
mod torn;
