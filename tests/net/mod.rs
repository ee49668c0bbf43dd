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

use crate::harness::{Client, now};
use std::time::Duration;

/// Longest that another client may wait for a reply, also on a machine that others use.
const LONG: Duration = Duration::from_secs(8);

fn time_of_ping(client: &mut Client) -> Duration {
    let start = now();
    assert_eq!(client.run("PING").text(), "PONG");
    start.elapsed()
}
