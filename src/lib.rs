//! Corelane: a Redis-compatible in-memory server that uses all cores of a machine as one system.

pub mod clock;
pub mod command;
pub mod config;
pub mod data;
pub mod error;
pub mod metrics;
pub mod net;
pub mod resp;
pub mod route;
pub mod rt;
pub mod server;
pub mod session;
pub mod shard;
