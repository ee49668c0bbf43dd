//! One load thread: its connections, its share of the requests, its latencies.
//!
//! - **Closed loop**: a connection sends `--pipeline` requests, waits for all their replies and
//!   sends the next ones. The load adapts to the server, so latencies say little once it is full.
//! - **Open loop** (`--rate`): requests fall due at fixed times whatever the server does. One that
//!   is due goes to the next connection with room, or waits for one; its latency counts from the
//!   time it was due. So a pause of the server shows in the latency of all requests that a real
//!   user would have sent during it (no coordinated omission).
//!
//! A phase always ends: by its number of requests or its duration, and by `stall_ns` without any
//! reply. At the end of a phase nothing is in flight.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use crate::clock::now_ns;
use crate::conn::Conn;
use crate::reply::ReplyCounts;
use crate::source::Source;
use crate::system::{Poller, Ready, precise_sleep};

const READ_BUFFER: usize = 64 * 1024;
/// Requests that may be due and unsent; what falls due beyond is counted as unserved.
const BACKLOG_MAX: usize = 4 << 20;
/// Longest sleep, so that a stall is noticed.
const SLEEP_MAX_NS: u64 = 100_000_000;
/// Highest latency told apart, the histogram's top.
const LATENCY_MAX_NS: u64 = 100_000_000_000;

/// What to do until when; times are durations.
#[derive(Clone)]
pub struct Phase {
    pub duration_ns: u64,
    pub requests: u64,
    pub pace: Option<Pace>,
    pub stall_ns: u64,
}

/// The open loop of one thread: a request every `interval_ns`, the first after `offset_ns`.
#[derive(Clone)]
pub struct Pace {
    pub interval_ns: f64,
    pub offset_ns: f64,
}

pub struct Outcome {
    pub requests: u64,
    pub replies: ReplyCounts,
    pub latency: Histogram<u64>,
    /// Due in the open loop but never sent: the server was too slow for too long.
    pub unserved: u64,
    pub first_error: Option<String>,
}

pub struct Worker {
    conns: Vec<Conn>,
    poller: Poller,
    source: Source,
    pipeline: u32,
    shards: usize,
    buffer: Vec<u8>,
}

/// The state of a running phase.
struct Run {
    end_ns: u64,
    stall_ns: u64,
    budget: u64,
    in_flight: u64,
    answered: u64,
    progress_ns: u64,
    latency: Histogram<u64>,
}

impl Worker {
    pub fn new(
        conns: Vec<Conn>,
        source: Source,
        shards: usize,
        pipeline: u32,
    ) -> Result<Worker, String> {
        let poller = Poller::new().map_err(|e| format!("epoll: {e}"))?;
        for (token, conn) in conns.iter().enumerate() {
            poller.watch(conn.fd(), token, false, false).map_err(|e| format!("epoll: {e}"))?;
        }
        Ok(Worker { conns, poller, source, pipeline, shards, buffer: vec![0; READ_BUFFER] })
    }

    pub fn run(&mut self, phase: &Phase) -> Result<Outcome, String> {
        let before = self.replies();
        let now = now_ns();
        let mut run = Run {
            end_ns: now.saturating_add(phase.duration_ns),
            stall_ns: phase.stall_ns,
            budget: phase.requests,
            in_flight: 0,
            answered: 0,
            progress_ns: now,
            latency: Histogram::new_with_max(LATENCY_MAX_NS, 3).map_err(|e| e.to_string())?,
        };
        let unserved = match &phase.pace {
            None => self.closed_loop(&mut run).map(|()| 0)?,
            Some(pace) => self.open_loop(&mut run, pace, now)?,
        };
        let after = self.replies();
        Ok(Outcome {
            requests: run.answered,
            replies: ReplyCounts {
                replies: after.replies - before.replies,
                errors: after.errors - before.errors,
                nulls: after.nulls - before.nulls,
            },
            latency: run.latency,
            unserved,
            first_error: self.conns.iter().find_map(|conn| conn.replies.first_error()),
        })
    }

    fn closed_loop(&mut self, run: &mut Run) -> Result<(), String> {
        for index in 0..self.conns.len() {
            self.refill(index, now_ns(), run)?;
        }
        while run.in_flight > 0 {
            let ready = self.wait(SLEEP_MAX_NS)?;
            for event in 0..ready {
                let index = self.handle(self.poller.ready(event), run)?;
                if self.conns[index].in_flight == 0 {
                    // `handle` has just set this to the present time.
                    self.refill(index, run.progress_ns, run)?;
                }
            }
            run.check_stall(ready)?;
        }
        Ok(())
    }

    /// Sends a connection's next batch, if any is left to send.
    fn refill(&mut self, index: usize, now: u64, run: &mut Run) -> Result<(), String> {
        if now >= run.end_ns {
            return Ok(());
        }
        let conn = &mut self.conns[index];
        for _ in 0..u64::from(self.pipeline).min(run.budget) {
            let Some(key) = self.source.key_for(conn.shard) else { break };
            conn.push(now, key, &mut self.source);
            run.budget -= 1;
            run.in_flight += 1;
        }
        self.flush(index)
    }

    fn open_loop(&mut self, run: &mut Run, pace: &Pace, start: u64) -> Result<u64, String> {
        precise_sleep().map_err(|e| format!("timer slack: {e}"))?;
        let mut queue = DueQueue::new(&self.conns, self.shards);
        let mut scheduled = 0;
        let mut unserved = 0;
        loop {
            let now = now_ns();
            let mut next_due;
            loop {
                next_due = start + (pace.offset_ns + scheduled as f64 * pace.interval_ns) as u64;
                if next_due > now || next_due >= run.end_ns || run.budget == 0 {
                    break;
                }
                scheduled += 1;
                run.budget -= 1;
                match self.source.key() {
                    Some((key, shard)) if queue.len < BACKLOG_MAX => {
                        queue.push(shard, next_due, key)
                    }
                    Some(_) => unserved += 1,
                    None => run.budget = 0,
                }
            }
            self.send_due(&mut queue, run)?;
            let over = next_due >= run.end_ns || run.budget == 0;
            if over && queue.len == 0 && run.in_flight == 0 {
                return Ok(unserved);
            }
            if over && now > run.end_ns.saturating_add(run.stall_ns) {
                unserved += queue.clear();
            }
            let sleep = if over { SLEEP_MAX_NS } else { next_due.saturating_sub(now_ns()) };
            let ready = self.wait(sleep.min(SLEEP_MAX_NS))?;
            for event in 0..ready {
                let index = self.handle(self.poller.ready(event), run)?;
                queue.offer(index, &self.conns[index], self.pipeline);
            }
            run.check_stall(ready)?;
        }
    }

    /// Hands due requests to connections with room, then writes each connection once.
    fn send_due(&mut self, queue: &mut DueQueue, run: &mut Run) -> Result<(), String> {
        for shard in 0..self.shards {
            while let Some((index, due, key)) = queue.pop(shard) {
                let conn = &mut self.conns[index];
                if conn.in_flight == 0 && run.in_flight == 0 {
                    // The clock of a stall starts with the first request after silence.
                    run.progress_ns = now_ns();
                }
                conn.push(due, key, &mut self.source);
                run.in_flight += 1;
                queue.touched.push(index);
                queue.offer(index, conn, self.pipeline);
            }
        }
        while let Some(index) = queue.touched.pop() {
            if !self.conns[index].blocked {
                self.flush(index)?;
            }
        }
        Ok(())
    }

    /// Serves one event; returns its connection's index.
    fn handle(&mut self, ready: Ready, run: &mut Run) -> Result<usize, String> {
        let index = ready.token;
        if ready.writable {
            self.flush(index)?;
        }
        let conn = &mut self.conns[index];
        let replies = conn.receive(&mut self.buffer)?;
        run.progress_ns = now_ns();
        let answered = conn.settle(replies, run.progress_ns, &mut run.latency)?;
        run.answered += answered;
        run.in_flight -= answered;
        Ok(index)
    }

    fn flush(&mut self, index: usize) -> Result<(), String> {
        let conn = &mut self.conns[index];
        let watched = conn.blocked;
        conn.flush()?;
        if conn.blocked != watched {
            self.poller
                .watch(conn.fd(), index, conn.blocked, true)
                .map_err(|e| format!("epoll: {e}"))?;
        }
        Ok(())
    }

    fn wait(&mut self, timeout_ns: u64) -> Result<usize, String> {
        self.poller.wait(timeout_ns).map_err(|e| format!("epoll: {e}"))
    }

    fn replies(&self) -> ReplyCounts {
        self.conns.iter().fold(ReplyCounts::default(), |mut sum, conn| {
            let counts = conn.replies.counts();
            sum.replies += counts.replies;
            sum.errors += counts.errors;
            sum.nulls += counts.nulls;
            sum
        })
    }
}

impl Run {
    fn check_stall(&self, events: usize) -> Result<(), String> {
        let silent = now_ns_if(events == 0).saturating_sub(self.progress_ns);
        if self.in_flight > 0 && silent > self.stall_ns {
            let seconds = self.stall_ns / 1_000_000_000;
            return Err(format!("no reply for {seconds} s, {} in flight", self.in_flight));
        }
        Ok(())
    }
}

/// The time, read only when it is needed.
fn now_ns_if(needed: bool) -> u64 {
    if needed { now_ns() } else { 0 }
}

/// Requests that are due, by shard, and the connections that have room for one.
struct DueQueue {
    due: Vec<VecDeque<(u64, u64)>>,
    len: usize,
    free: Vec<VecDeque<usize>>,
    is_free: Vec<bool>,
    touched: Vec<usize>,
}

impl DueQueue {
    fn new(conns: &[Conn], shards: usize) -> DueQueue {
        let mut free = vec![VecDeque::new(); shards];
        for (index, conn) in conns.iter().enumerate() {
            free[conn.shard].push_back(index);
        }
        DueQueue {
            due: vec![VecDeque::new(); shards],
            len: 0,
            free,
            is_free: vec![true; conns.len()],
            touched: Vec::new(),
        }
    }

    fn push(&mut self, shard: usize, due_ns: u64, key: u64) {
        self.due[shard].push_back((due_ns, key));
        self.len += 1;
    }

    /// The oldest request of a shard and the connection that waited longest for one.
    fn pop(&mut self, shard: usize) -> Option<(usize, u64, u64)> {
        let index = *self.free[shard].front()?;
        let (due_ns, key) = self.due[shard].pop_front()?;
        self.free[shard].pop_front();
        self.is_free[index] = false;
        self.len -= 1;
        Some((index, due_ns, key))
    }

    /// Takes note of a connection that may have room again.
    fn offer(&mut self, index: usize, conn: &Conn, pipeline: u32) {
        if conn.in_flight < pipeline && !self.is_free[index] {
            self.is_free[index] = true;
            self.free[conn.shard].push_back(index);
        }
    }

    /// Gives up all that is due; returns how much that was.
    fn clear(&mut self) -> u64 {
        self.due.iter_mut().for_each(VecDeque::clear);
        std::mem::take(&mut self.len) as u64
    }
}
