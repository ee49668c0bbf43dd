//! The wire: what is sent badly, too much, too slowly or too often, and what crosses shards.

mod admin;
mod connections;
mod corpus;
mod fuzz;
mod hostile;
mod limits;
mod migration;
mod pipelines;
mod pressure;
mod shard_ports;
mod slow_peers;
mod tls;
mod tls_trouble;
