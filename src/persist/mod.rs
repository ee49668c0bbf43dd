//! Data on disk.
//!
//! | file | what it is |
//! |---|---|
//! | [`foreign`] | what Redis has left: `dump.rdb`, an AOF in one file or in parts, into a shard |
//! | [`aof_reader`] | the commands of an AOF |
//! | [`redis_manifest`] | which files are the parts of an AOF of Redis |

pub mod aof_reader;
pub mod foreign;
pub mod redis_manifest;
