//! TLS between sockets and the parser, and between replies and sockets.
//!
//! ```text
//!   received ──> open ──> plaintext ──> feed (parse, run)
//!                  └────> own (handshake, alerts) ─┐
//!   conn.pieces, conn.out ──> rest ──> seal ───────┴──> send
//! ```
//!
//! A connection of a TLS listener has a [`Tls`]; any other has none, and pays a look at a null pointer
//! for each read and each send.
//!
//! Invariants:
//! - What has been sealed goes out before anything is sealed after it: records are numbered.
//! - Of replies no more is sealed than is sent at once; the rest waits as plaintext and counts as output.
//! - Until the handshake is done no reply is sent, and no more than [`INCOMING_MAX`] is held.
//! - A connection keeps the certificates and rules with which it began.
//! - The session is always shown what it has left of what was received, and nothing once it has failed.
//!
//! Absent on purpose: renegotiation, early data, compression, TLS of the server's own connections.

mod ciphers;
mod context;
mod files;
mod sessions;

use super::conn::Conn;
use super::worker::Worker;
use crate::rt::{Io, Token};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError};

pub use context::TlsContext;

/// Bytes of a handshake, or of one record, that are held until the rest of it comes.
const INCOMING_MAX: usize = 128 << 10;
/// The first byte of every connection, the kind of its first record.
const HANDSHAKE: u8 = 22;
/// A handshake must be done within this time, milliseconds.
const HANDSHAKE_MS: i64 = 60_000;
/// Most plaintext that is sealed for one send, bytes.
const PART: usize = 256 << 10;
/// Plaintext of a full record, and what its sealing adds at most, bytes.
const RECORD: usize = 16 << 10;
const RECORD_ADDS: usize = 64;
/// Room for plaintext that is kept for the next read, bytes.
const KEPT_PLAIN: usize = 64 << 10;

/// Why a connection cannot go on.
#[derive(Debug)]
pub enum Broken {
    Tls(rustls::Error),
    /// The first bytes are of something else.
    NotTls,
    /// So much has come, and it makes no record or no message of a handshake.
    TooLong,
    /// No more may be sealed with these keys.
    Exhausted,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::Tls(error) => error.fmt(f),
            Broken::NotTls => f.write_str("what came is not TLS"),
            Broken::TooLong => f.write_str("the handshake is too long"),
            Broken::Exhausted => f.write_str("the keys are used up"),
        }
    }
}

/// The TLS of one connection.
pub struct Tls {
    session: UnbufferedServerConnection,
    /// Received, and not a whole record yet.
    incoming: Vec<u8>,
    /// Sealed and not sent: what TLS itself has to say.
    own: Vec<u8>,
    /// Replies of which a part has been sealed, and how much.
    rest: Vec<u8>,
    sealed: usize,
    /// The first bytes have come.
    greeted: bool,
    /// The handshake is done.
    open: bool,
    /// The peer has said that it will send nothing more.
    ended: bool,
    broken: bool,
    /// When the connection was accepted, milliseconds since the epoch.
    begun_at: i64,
}

impl Tls {
    pub(super) fn new(session: UnbufferedServerConnection, now: i64) -> Tls {
        Tls {
            session,
            incoming: Vec::new(),
            own: Vec::new(),
            rest: Vec::new(),
            sealed: 0,
            greeted: false,
            open: false,
            ended: false,
            broken: false,
            begun_at: now,
        }
    }

    /// Whether replies can be sent.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether the handshake takes too long.
    pub fn is_late(&self, now: i64) -> bool {
        !self.open && now - self.begun_at > HANDSHAKE_MS
    }

    /// Whether something waits to be sent that has been taken out of the connection's replies, or
    /// never was one.
    pub fn has_output(&self) -> bool {
        !self.own.is_empty() || self.sealed < self.rest.len()
    }

    /// The bytes of that.
    pub fn output_len(&self) -> usize {
        self.own.len() + self.rest.len() - self.sealed
    }

    /// Bytes of memory beyond output.
    pub fn memory(&self) -> usize {
        size_of::<Tls>() + self.incoming.capacity()
    }

    /// Takes in what was received and appends what it opens to `plain`.
    fn open(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Result<(), Broken> {
        if self.ended || self.broken {
            return Ok(());
        }
        if !std::mem::replace(&mut self.greeted, true) && bytes.first() != Some(&HANDSHAKE) {
            // Who does not speak TLS would take an alert for an answer.
            self.broken = true;
            return Err(Broken::NotTls);
        }
        let result = match self.incoming.is_empty() {
            true => {
                let (used, result) = self.process(bytes, plain);
                self.incoming.extend_from_slice(&bytes[used..]);
                result
            }
            false => {
                let mut incoming = std::mem::take(&mut self.incoming);
                incoming.extend_from_slice(bytes);
                let (used, result) = self.process(&mut incoming, plain);
                if used < incoming.len() {
                    incoming.drain(..used);
                    self.incoming = incoming;
                }
                result
            }
        };
        let result = match self.incoming.len() > INCOMING_MAX {
            true => result.and(Err(Broken::TooLong)),
            false => result,
        };
        self.broken = result.is_err();
        result
    }

    /// Works off whole records. Answers how many bytes are done with.
    fn process(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> (usize, Result<(), Broken>) {
        let mut used = 0;
        let result = loop {
            let status = self.session.process_tls_records(&mut bytes[used..]);
            let mut discard = status.discard;
            let next = match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    let mut result = Ok(());
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                discard += record.discard;
                                plain.extend_from_slice(record.payload);
                            }
                            Err(error) => result = Err(Broken::Tls(error)),
                        }
                    }
                    result.map(|()| true)
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, &mut self.own);
                    Ok(true)
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(true)
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.ended = true;
                    Ok(true)
                }
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.open = true;
                    Ok(false)
                }
                // The handshake goes on when more has come; early data was not offered.
                Ok(_) => Ok(false),
                Err(error) => Err(Broken::Tls(error)),
            };
            used += discard;
            match next {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => {
                    // An alert, if there is one, is the first thing that the session has to say.
                    let status = self.session.process_tls_records(&mut bytes[used..]);
                    if let Ok(ConnectionState::EncodeTlsData(data)) = status.state {
                        encode(data, &mut self.own);
                    }
                    break Err(error);
                }
            }
        };
        (if self.ended { bytes.len() } else { used }, result)
    }

    /// Appends the next part of `rest`, sealed.
    fn seal(&mut self, to: &mut Vec<u8>) -> Result<(), Broken> {
        let part = &self.rest[self.sealed..self.rest.len().min(self.sealed + PART)];
        let begin = to.len();
        let mut room = part.len() + (part.len() / RECORD + 1) * RECORD_ADDS;
        loop {
            // A record that is not whole stays where the session has seen it.
            let status = self.session.process_tls_records(&mut self.incoming);
            debug_assert_eq!(status.discard, 0, "nothing has come since it was looked at");
            match status.state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    to.resize(begin + room, 0);
                    match traffic.encrypt(part, &mut to[begin..]) {
                        Ok(len) => {
                            to.truncate(begin + len);
                            self.sealed += part.len();
                            return Ok(());
                        }
                        Err(EncryptError::InsufficientSize(needed)) => room = needed.required_size,
                        Err(EncryptError::EncryptExhausted) => {
                            to.truncate(begin);
                            return Err(Broken::Exhausted);
                        }
                    }
                }
                // New keys, say: the peer must have that first.
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    to.truncate(begin);
                    encode(data, to);
                    return Ok(());
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(_) => return Err(Broken::Exhausted),
                Err(error) => return Err(Broken::Tls(error)),
            }
        }
    }

    /// The last bytes for the peer: why it failed, or that nothing more comes.
    fn farewell(&mut self) -> Vec<u8> {
        let mut last = std::mem::take(&mut self.own);
        if self.open && !self.broken {
            let state = self.session.process_tls_records(&mut self.incoming).state;
            if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
                let begin = last.len();
                last.resize(begin + RECORD_ADDS, 0);
                let len = traffic.queue_close_notify(&mut last[begin..]).unwrap_or(0);
                last.truncate(begin + len);
            }
        }
        last
    }
}

/// Appends a message of TLS itself.
fn encode<Data>(mut data: EncodeTlsData<'_, Data>, to: &mut Vec<u8>) {
    let begin = to.len();
    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
        to.resize(begin + needed.required_size, 0);
        let encoded = data.encode(&mut to[begin..]);
        debug_assert!(encoded.is_ok(), "there is as much room as it asked for");
    }
}

impl Worker {
    /// Begins the server's side of a handshake; answers whether there is what it needs.
    pub(super) fn begin_tls(&self, conn: &mut Conn) -> bool {
        match self.shared.tls.begin() {
            Ok(session) => {
                conn.tls = Some(Box::new(Tls::new(session, self.now)));
                conn.session.tls = true;
                true
            }
            Err(reason) => {
                tracing::warn!(reason, "a client of the TLS port cannot be served");
                false
            }
        }
    }

    /// As [`Worker::feed`], for what a client of a TLS listener has sent.
    #[inline(never)] // plain connections pass by
    pub(super) fn feed_sealed(
        &mut self,
        io: &mut dyn Io,
        token: Token,
        conn: &mut Conn,
        bytes: &mut [u8],
    ) {
        let Some(tls) = &mut conn.tls else { return };
        // A turn in the middle of this one has room of its own.
        let mut plain = std::mem::take(&mut self.plain);
        let was_open = tls.open;
        let opened = tls.open(bytes, &mut plain);
        let ended = tls.ended;
        if !plain.is_empty() {
            self.feed(io, token, conn, &mut plain);
        }
        plain.clear();
        if plain.capacity() <= KEPT_PLAIN {
            self.plain = plain;
        }
        conn.ended |= ended;
        if let Err(reason) = opened {
            let (client, addr) = (conn.session.id, conn.session.peer.address());
            match was_open {
                false => tracing::debug!(client, addr, %reason, "a TLS handshake has failed"),
                true => tracing::debug!(client, addr, %reason, "a TLS connection is broken"),
            }
            conn.kill_now = true;
        }
    }

    /// The next buffer to send to a client of a TLS listener, and how many bytes of replies are in it;
    /// nothing if it must wait for the handshake.
    #[inline(never)] // plain connections pass by
    pub(super) fn next_sealed(&mut self, conn: &mut Conn) -> Option<(Vec<u8>, usize)> {
        let tls = conn.tls.as_deref_mut()?;
        if !tls.own.is_empty() {
            return Some((std::mem::take(&mut tls.own), 0));
        }
        if !tls.open || tls.broken {
            return None;
        }
        if tls.sealed == tls.rest.len() {
            let next = conn.next_piece();
            let tls = conn.tls.as_deref_mut()?;
            (tls.rest, tls.sealed) = (next, 0);
        }
        let tls = conn.tls.as_deref_mut()?;
        let (before, mut sealed) = (tls.sealed, self.buffer());
        let result = tls.seal(&mut sealed);
        let len = tls.sealed - before;
        if tls.sealed == tls.rest.len() {
            tls.sealed = 0;
            let done = std::mem::take(&mut tls.rest);
            self.keep_buffer(done);
        }
        if let Err(reason) = result {
            tracing::warn!(client = conn.session.id, %reason, "closing a TLS connection");
            conn.kill_now = true;
        }
        (!sealed.is_empty()).then_some((sealed, len))
    }

    /// Takes leave of a client whose connection is about to be closed, as far as that can be done at once.
    pub(super) fn take_leave(&self, io: &mut dyn Io, token: Token, conn: &mut Conn) {
        if let Some(tls) = &mut conn.tls
            && conn.sending == 0
        {
            let last = tls.farewell();
            if !last.is_empty() {
                io.send_last(token, &last);
            }
        }
    }
}

#[cfg(test)]
mod tests;
