//! The wire format: requests in (`parse`, `args`), replies out (`encode`).
//!
//! Nothing here knows a command, a key or a socket.

mod args;
mod encode;
mod parse;

pub use args::{Args, Span};
pub use encode::{Encoder, Protocol};
pub use parse::{Limits, Parser, ProtocolError, Step};
