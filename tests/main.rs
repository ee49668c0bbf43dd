//! The integration tests: one binary, real server processes, real clients.
//!
//! | module     | what it proves |
//! |------------|----------------|
//! | `harness`  | starts servers, speaks RESP, compares two servers' replies |
//! | `commands` | scripted sequences per family, run against redis-server and Corelane |
//! | `compat`   | random programs, run against redis-server and Corelane, shrunk on a difference |
//! | `crash`    | sudden ends of a server and of a disk: what was acknowledged is there, and whole |
//! | `net`      | the wire: malformed input, limits, pipelines, connections, migration between shards |
//! | `serial`   | checkers of histories: is there one order of all operations that explains the answers? |
//! | `sim`      | the server in one thread, in an order that a seed decides: order, atomicity, liveness |
//! | `persist`  | files of Redis and Valkey, and files for them |
//! | `durable`  | data directories: taken over, written, restarted with other shards, damaged, under load |
//! | `clients`  | redis-cli, redis-benchmark, memtier_benchmark and redis-py, unmodified |
//! | `packaging` | image, package, unit and chart: linted, rendered, and what is in them started |
//! | `tidy`     | the code's own rules: sizes, import directions, forbidden calls |
//!
//! The environment changes a run: `CORELANE_BIN` names the server under test, `CORELANE_ORACLE` the
//! redis-server to compare with, `CORELANE_CASES` scales the random tests (1 by default),
//! `CORELANE_SEED` picks other random programs. `CORELANE_REDIS_7_2` and `CORELANE_VALKEY` name a redis-server 7.2 and a
//! valkey-server 9 whose files are compared, too. With `CORELANE_TOOLS=required` the tests of packages fail where
//! a tool is missing instead of doing nothing.
#![allow(clippy::unwrap_used)] // a test that panics is a test that reports

mod clients;
mod commands;
mod compat;
mod crash;
mod durable;
mod harness;
mod net;
mod packaging;
mod persist;
mod serial;
mod sim;
mod tidy;
