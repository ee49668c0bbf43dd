//! What a command on the client's own state may touch, and what it may ask the server to do.

use super::Registry;
use crate::config::Config;
use crate::metrics::ShardStats;
use crate::resp::Encoder;
use crate::shard::SlotTable;
use crate::session::Session;
use std::sync::{Arc, Mutex};

/// What all shards share. Nothing here is locked by a command on keys.
pub struct Env {
    pub config: Mutex<Config>,
    pub registry: Registry,
    /// One per shard.
    pub stats: Vec<Arc<ShardStats>>,
    /// 40 hex digits, new at every start.
    pub run_id: String,
    /// Milliseconds since the epoch.
    pub started_at: i64,
    /// The file that the configuration came from.
    pub config_file: Option<String>,
}

/// The context of a command on one client's state.
pub struct SessionCx<'a> {
    pub session: &'a mut Session,
    pub out: Encoder<'a>,
    pub env: &'a Env,
    pub slots: &'a SlotTable,
    /// The shard on which the connection is.
    pub shard: usize,
    /// Milliseconds since the epoch.
    pub now: i64,
    /// The command's full name in lower case, for error texts.
    pub name: &'static str,
}

/// What remains to be done by the server when the handler has returned.
#[derive(Debug)]
pub enum Control {
    /// Nothing: the reply is written.
    Done,
    /// Close this connection once its replies are out.
    Close,
    /// Ask the connections of every shard; the answers make the reply.
    Clients(ClientsRequest),
    /// The configuration has changed: `+OK` once every shard works by it.
    Reconfigured,
    /// Stop the server; the connection is closed without a reply.
    Shutdown,
}

/// A request to the connections of every shard.
#[derive(Debug, Clone)]
pub enum ClientsRequest {
    /// The reply is the lines of the clients that match, in the order of their ids.
    List(ClientFilter),
    /// The reply is how many were closed.
    Kill(ClientFilter),
    /// As `Kill`, in the old form by address alone: `+OK`, or an error when there is no such client.
    KillAddress(ClientFilter),
}

/// Which clients are meant; what is `None` or empty matches all.
#[derive(Debug, Clone, Default)]
pub struct ClientFilter {
    pub ids: Vec<u64>,
    pub address: Option<Vec<u8>>,
    pub local_address: Option<Vec<u8>>,
    pub user: Option<Vec<u8>>,
    /// `normal`, `master`, `replica` or `pubsub`.
    pub kind: Option<&'static str>,
    /// Only clients connected for at least so many seconds.
    pub age_s_min: Option<i64>,
    /// This client is left out (`SKIPME yes`).
    pub except: Option<u64>,
}

impl ClientFilter {
    pub fn matches(&self, session: &Session, now: i64) -> bool {
        let user = self.user.as_deref().is_none_or(|u| u == b"default");
        (self.ids.is_empty() || self.ids.contains(&session.id))
            && self.address.as_deref().is_none_or(|a| a == session.peer.address().as_bytes())
            && self
                .local_address
                .as_deref()
                .is_none_or(|a| a == session.peer.local_address().as_bytes())
            && user
            && self.kind.is_none_or(|k| k == "normal")
            && self.age_s_min.is_none_or(|s| now - session.created_at >= s * 1000)
            && self.except != Some(session.id)
    }
}
