//! A small blocking client: it sends bytes or commands and reads whole replies.

use super::PATIENCE;
use super::reply::{Parsed, Reply};
use super::script::{Cmd, parse_line};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Where the unread part of `buffer` starts.
    start: usize,
    /// A Lua script that is sent in place of each command, and given its words.
    pub script: Option<&'static str>,
}

/// How a connection ended, as the client saw it.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Ending {
    /// The server closed (FIN or RST).
    Closed,
    /// It was still open when the time was over.
    Open,
}

impl Client {
    pub fn connect(port: u16) -> Client {
        Client::try_connect(port).unwrap_or_else(|e| panic!("connect to port {port}: {e}"))
    }

    pub fn try_connect(port: u16) -> io::Result<Client> {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let stream = TcpStream::connect_timeout(&address.into(), PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream, buffer: Vec::new(), start: 0, script: None })
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub fn send(&mut self, cmd: &Cmd) -> io::Result<()> {
        let mut bytes = Vec::new();
        match self.script {
            None => cmd.encode(&mut bytes),
            Some(script) => {
                let words = [b"EVAL", script.as_bytes(), b"0"].into_iter();
                Cmd::new(words.chain(cmd.0.iter().map(Vec::as_slice))).encode(&mut bytes);
            }
        }
        self.send_raw(&bytes)
    }

    /// The next whole reply. A close is `UnexpectedEof`, bytes that are not RESP `InvalidData`.
    pub fn recv(&mut self) -> io::Result<Reply> {
        loop {
            match Reply::parse(&self.buffer[self.start..]) {
                Parsed::Whole(reply, used) => {
                    self.start += used;
                    if self.start == self.buffer.len() {
                        self.buffer.clear();
                        self.start = 0;
                    }
                    return Ok(reply);
                }
                Parsed::Broken(why) => return Err(io::Error::new(ErrorKind::InvalidData, why)),
                Parsed::Partial => self.fill()?,
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        // A reply is parsed again from its start after each read: reading what is there, at
        // least as much as is buffered, keeps that linear.
        let have = self.buffer.len();
        let room = (64 << 10).max(have);
        self.buffer.resize(have + room, 0);
        let read = loop {
            match self.stream.read(&mut self.buffer[have..]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(have + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Sends a command and waits for its reply; panics when the connection fails.
    pub fn call(&mut self, cmd: &Cmd) -> Reply {
        let reply = self.send(cmd).and_then(|()| self.recv());
        reply.unwrap_or_else(|e| panic!("{:.200}: {e}", format!("{cmd:?}")))
    }

    /// `call` of a redis-cli line.
    pub fn run(&mut self, line: &str) -> Reply {
        self.call(&parse_line(line))
    }

    /// Writes all commands as one stream of bytes while reading the replies in order.
    pub fn pipeline(&mut self, cmds: &[Cmd]) -> io::Result<Vec<Reply>> {
        let mut bytes = Vec::new();
        cmds.iter().for_each(|c| c.encode(&mut bytes));
        self.stream_in(&[&bytes], cmds.len())
    }

    /// Writes the pieces one after the other from a thread of their own, so that neither side
    /// can wait for the other's full socket buffer, and reads `replies` replies.
    pub fn stream_in(&mut self, pieces: &[&[u8]], replies: usize) -> io::Result<Vec<Reply>> {
        let mut writer = self.stream.try_clone()?;
        std::thread::scope(|scope| {
            let sent = scope.spawn(move || {
                for (i, piece) in pieces.iter().enumerate() {
                    if i > 0 && i < 32 {
                        // Long enough for the server to see the piece before as a read of its own.
                        std::thread::sleep(Duration::from_micros(300));
                    }
                    writer.write_all(piece)?;
                }
                Ok::<(), io::Error>(())
            });
            let read: io::Result<Vec<Reply>> = (0..replies).map(|_| self.recv()).collect();
            match read {
                Ok(read) => sent.join().expect("the writer doesn't panic").map(|()| read),
                Err(e) => {
                    let _ = self.stream.shutdown(std::net::Shutdown::Both);
                    Err(e)
                }
            }
        })
    }

    /// Reads what comes until the server closes or `limit` passes without a byte.
    pub fn drain(&mut self, limit: Duration) -> (Vec<u8>, Ending) {
        let mut bytes = self.buffer.split_off(self.start);
        self.buffer.clear();
        self.start = 0;
        self.stream.set_read_timeout(Some(limit)).expect("a timeout above zero");
        let mut chunk = vec![0; 64 << 10];
        let ending = loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => break Ending::Closed,
                Ok(n) => bytes.extend_from_slice(&chunk[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    break Ending::Open;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => break Ending::Closed,
            }
        };
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
        (bytes, ending)
    }
}
