//! Where commands run: what travels between shards, and how parts become one reply.
//!
//! ```text
//!   connection's shard                               owner's shard
//!     Batch (requests of one read) ── mailbox ──>  runs them in order
//!     replies in place of the request <── mailbox ──  the same Batch, with replies
//! ```
//!
//! Between each pair of shards there is one bounded queue with one producer and one consumer, so
//! messages from one shard to another arrive in the order in which they were sent. No mutex.

mod batch;
mod mailbox;
mod merge;
mod replies;
mod waiting;

pub use batch::{Batch, Kind, Request};
pub use mailbox::{Mailboxes, mesh};
pub use merge::merge;
pub use replies::{Merging, ReplyQueue};
pub use waiting::{CLAIMED, DONE, Waiting};
