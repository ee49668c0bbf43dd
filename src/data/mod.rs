//! Data structures that hold what users store: no sockets, no RESP, no clock, no threads.
//!
//! | file | what it is |
//! |---|---|
//! | [`table`] | the hash table of one database of one shard: grows and shrinks one bucket at a time |
//! | [`entry`] | one key with its value, expiry and access history, in one allocation |
//! | [`hash`] | a map of fields to values, packed or a table, whose fields may expire |
//! | [`set`] | a set of strings: integers, packed, or a table with its members in chunks |
//! | [`value`] | types and encodings as clients see them; the seam for collection types |
//! | [`number`] | strict decimal integers: parsing and printing |
//! | [`prefixes`] | values by prefix, to find those with which a text begins |
//! | [`packed`] | a sequence of strings and integers in one allocation: the small form of collections |
//! | [`sorted_set`] | strings ordered by scores: a packed block, or a B+-tree with a table |
//! | [`list`] | a sequence with two quick ends, in packed chunks |
//! | [`stream`] | entries by their ids in packed nodes, and the groups that read them |
//! | [`geo`] | places on Earth as 52-bit numbers |
//! | [`double`] | doubles as text: as C reads them, as Redis writes them |
//! | [`hyperloglog`] | the bytes of a string that counts different things |
//! | [`glob`] | the pattern language of KEYS, SCAN and PSUBSCRIBE |
//!
//! Everything here belongs to one thread: there are no atomics and no locks. `unsafe` is confined
//! to `entry.rs`, `table.rs`, `table/bucket.rs`, `prefetch.rs`, and what large collections keep
//! their members in: `hash/field.rs`, `set/arena.rs` with its user `set/members.rs`, and
//! `sorted_set/member.rs` with its two uses in `sorted_set/big.rs`. Their tests run under Miri
//! (`MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --lib data::`).

pub mod double;
pub mod entry;
pub mod geo;
pub mod glob;
pub mod hash;
pub mod hyperloglog;
pub mod list;
pub mod number;
pub mod packed;
mod prefetch;
pub mod prefixes;
pub mod set;
pub mod sorted_set;
pub mod stream;
pub mod table;
pub mod value;

pub use entry::Entry;
pub use table::{Keyed, Occupied, Table};
pub use value::{Encoding, Object, Type, ValueRef};
