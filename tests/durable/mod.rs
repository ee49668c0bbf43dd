//! Data directories of whole servers: what Redis left, what is left for Redis, restarts with other
//! numbers of shards, snapshots under load, damage.
//!
//! A redis-server 7.2 that reads what is written here is named by `CORELANE_REDIS_7_2`; without it
//! those comparisons are left out. `CORELANE_KEEP=1` keeps the directory of a test that fails.

mod commands;
mod content;
mod golden;
mod load;
mod reloading;
mod replayed;
mod rig;
mod shards;
mod startup;
mod switching;
mod takeover;
mod written;
