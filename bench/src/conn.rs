//! One connection: requests out, replies counted, latency by request.
//!
//! Requests in flight are kept as runs of equal send times, so a pipelined batch of plain commands
//! costs one entry, not one per request.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};

use hdrhistogram::Histogram;

use crate::reply::ReplyCounter;
use crate::source::{Round, Source};

/// Requests with the same send time. A request of several replies has a run of its own.
struct Run {
    sent_ns: u64,
    replies_due: u64,
    several: bool,
}

pub struct Conn {
    stream: TcpStream,
    pub shard: usize,
    out: Vec<u8>,
    out_at: usize,
    /// The socket was full; the poller tells when it is not.
    pub blocked: bool,
    runs: VecDeque<Run>,
    pub in_flight: u32,
    round: Round,
    pub replies: ReplyCounter,
}

impl Conn {
    pub fn new(stream: TcpStream, shard: usize) -> io::Result<Conn> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Conn {
            stream,
            shard,
            out: Vec::new(),
            out_at: 0,
            blocked: false,
            runs: VecDeque::new(),
            in_flight: 0,
            round: Round::default(),
            replies: ReplyCounter::default(),
        })
    }

    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Adds a request on `key`, timed from `sent_ns`.
    pub fn push(&mut self, sent_ns: u64, key: u64, source: &mut Source) {
        let replies = source.write(key, &mut self.round, &mut self.out);
        self.in_flight += 1;
        match self.runs.back_mut() {
            Some(run) if replies == 1 && !run.several && run.sent_ns == sent_ns => {
                run.replies_due += 1;
            }
            _ => self.runs.push_back(Run {
                sent_ns,
                replies_due: u64::from(replies),
                several: replies > 1,
            }),
        }
    }

    /// Writes what the socket takes; sets `blocked` when it takes no more.
    pub fn flush(&mut self) -> Result<(), String> {
        self.blocked = false;
        while self.out_at < self.out.len() {
            match (&self.stream).write(&self.out[self.out_at..]) {
                Ok(n) => self.out_at += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(());
                }
                Err(e) => return Err(format!("write: {e}")),
            }
        }
        self.out.clear();
        self.out_at = 0;
        Ok(())
    }

    /// Reads once; returns how many replies came.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<u64, String> {
        let len = loop {
            match (&self.stream).read(buffer) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(n) => break n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(0),
                Err(e) => return Err(format!("read: {e}")),
            }
        };
        self.replies.feed(&buffer[..len])
    }

    /// Takes `replies` off the requests in flight; returns how many requests are answered.
    pub fn settle(
        &mut self,
        mut replies: u64,
        now_ns: u64,
        latency: &mut Histogram<u64>,
    ) -> Result<u64, String> {
        let mut answered = 0;
        while replies > 0 {
            let run = self.runs.front_mut().ok_or("a reply to no request")?;
            let taken = replies.min(run.replies_due);
            replies -= taken;
            run.replies_due -= taken;
            let over = run.replies_due == 0;
            let requests = if run.several { u64::from(over) } else { taken };
            if requests > 0 {
                latency.saturating_record_n(now_ns.saturating_sub(run.sent_ns).max(1), requests);
                answered += requests;
            }
            if over {
                self.runs.pop_front();
            }
        }
        self.in_flight -= answered as u32;
        Ok(answered)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use super::*;
    use crate::keys::{Distribution, Draw, Rng};
    use crate::template::Template;

    fn conn() -> (Conn, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        (Conn::new(stream, 0).unwrap(), peer)
    }

    fn source(text: &str) -> Source {
        let templates: Arc<[Template]> = Arc::new([Template::parse(text, b"v").unwrap()]);
        let draw = Draw::new(Distribution::Uniform, 1, 0, 1);
        Source::new(templates, "k%d".parse().unwrap(), None, draw, Rng::new(1))
    }

    #[test]
    fn plain_commands_of_a_batch_share_a_run() {
        let (mut conn, _peer) = conn();
        let mut source = source("GET __key__");
        for _ in 0..16 {
            conn.push(100, 0, &mut source);
        }
        conn.push(200, 0, &mut source);
        assert_eq!((conn.runs.len(), conn.in_flight), (2, 17));
        let mut latency = Histogram::new(3).unwrap();
        assert_eq!(conn.settle(10, 150, &mut latency), Ok(10));
        assert_eq!(conn.settle(7, 300, &mut latency), Ok(7));
        assert_eq!((conn.runs.len(), conn.in_flight), (0, 0));
        assert_eq!(latency.count_at(50), 10);
        assert_eq!((latency.count_at(100), latency.count_at(200)), (1, 6));
        assert!(conn.settle(1, 300, &mut latency).is_err());
    }

    #[test]
    fn a_block_is_timed_by_its_last_reply() {
        let (mut conn, _peer) = conn();
        let mut source = source("MULTI ; GET __key__ ; EXEC");
        conn.push(100, 0, &mut source);
        conn.push(100, 0, &mut source);
        let mut latency = Histogram::new(3).unwrap();
        assert_eq!(conn.settle(2, 150, &mut latency), Ok(0));
        assert_eq!(conn.settle(3, 200, &mut latency), Ok(1));
        assert_eq!(conn.settle(1, 300, &mut latency), Ok(1));
        assert_eq!((latency.count_at(100), latency.count_at(200)), (1, 1));
    }

    #[test]
    fn bytes_go_out_and_replies_come_in() {
        let (mut conn, mut peer) = conn();
        conn.push(1, 0, &mut source("GET __key__"));
        conn.flush().unwrap();
        let mut request = [0; 64];
        let len = peer.read(&mut request).unwrap();
        assert_eq!(&request[..len], b"*2\r\n$3\r\nGET\r\n$2\r\nk0\r\n");
        peer.write_all(b"$1\r\nv\r\n").unwrap();
        let mut buffer = [0; 64];
        let replies = loop {
            match conn.receive(&mut buffer).unwrap() {
                0 => std::thread::yield_now(),
                replies => break replies,
            }
        };
        assert_eq!(replies, 1);
        drop(peer);
        let closed = loop {
            match conn.receive(&mut buffer) {
                Ok(_) => std::thread::yield_now(),
                Err(e) => break e,
            }
        };
        assert!(closed.contains("closed"), "{closed}");
    }
}
