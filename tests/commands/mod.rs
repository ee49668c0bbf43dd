//! Scripted sequences, a file per family, run against redis-server and Corelane.
//!
//! A script is a list of redis-cli lines. It runs on one shard and on three, in RESP2 and in RESP3,
//! and every reply is compared. A program that the random tests printed becomes a script here.

mod acl;
mod bitmaps;
mod blocking;
mod command_table;
mod connection;
mod databases;
mod dumps;
mod expiry;
mod hashes;
mod keys;
mod latency;
mod lists;
mod memory;
mod monitor;
mod notifications;
mod options;
mod pubsub;
mod scan;
mod scripts;
mod server;
mod sets;
mod slowlog;
mod sorted_sets;
mod streams;
mod strings;
mod tracking;
mod transactions;
mod waitaof;
