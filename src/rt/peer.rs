//! Who is at the other end of a connection.

use std::net::SocketAddr;

/// Where a client comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    Tcp { remote: SocketAddr, local: SocketAddr },
    Unix { path: String },
}

impl Peer {
    /// As CLIENT LIST's `addr` shows it.
    pub fn address(&self) -> String {
        match self {
            Peer::Tcp { remote, .. } => shown(*remote),
            Peer::Unix { path } => format!("{path}:0"),
        }
    }

    /// Whether the client is on this machine for sure.
    pub fn is_local(&self) -> bool {
        match self {
            Peer::Tcp { remote, .. } => remote.ip().to_canonical().is_loopback(),
            Peer::Unix { .. } => true,
        }
    }

    /// As CLIENT LIST's `laddr` shows it.
    pub fn local_address(&self) -> String {
        match self {
            Peer::Tcp { local, .. } => shown(*local),
            Peer::Unix { path } => format!("{path}:0"),
        }
    }
}

/// An IPv4 client of a listener for both families is shown by its IPv4 address.
fn shown(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}
