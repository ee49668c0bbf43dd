//! Histories of a real server: many connections, each with a thread of its own, and one clock.
//!
//! The clients want the same few keys. What they ask and when they wait is random and cannot be repeated,
//! since how the threads come and go is not in the tests' hands; what was seen is kept, and that is
//! what a failure shows.

use super::anomaly::{Anomaly, assert_none};
use super::command::Command;
use super::conversation::{Conversation, Request};
use super::history::{Action, History};
use super::workload::{Keys, Mix, Source, TRACED};
use crate::harness::{Server, now};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What is recorded.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub operations: usize,
    pub connections: u32,
    pub keys: u32,
    /// Writes after which a key is retired.
    pub writes_max: u32,
    pub mix: Mix,
    pub seed: u64,
}

/// What all clients share.
struct Stage {
    port: u16,
    plan: Plan,
    keys: Arc<Keys>,
    /// Operations that have been asked for.
    asked: AtomicUsize,
    /// Connections that have been made, each of which is a client of the history.
    clients: AtomicU32,
    start: Instant,
}

impl Stage {
    fn time(&self) -> u64 {
        now().duration_since(self.start).as_nanos() as u64
    }
}

/// A connection on which a client talks.
struct Line {
    stream: TcpStream,
    talk: Conversation,
    chunk: Vec<u8>,
}

impl Line {
    fn open(stage: &Stage) -> Line {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, stage.port)).expect("a connection");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout above zero");
        let talk = Conversation::new(stage.clients.fetch_add(1, Ordering::Relaxed));
        Line { stream, talk, chunk: vec![0; 64 << 10] }
    }

    /// Waits until no more than `pending` operations wait for an answer.
    fn listen(&mut self, stage: &Stage, pending: usize) -> Result<(), Anomaly> {
        while self.talk.pending() > pending {
            let len = self.stream.read(&mut self.chunk).expect("an answer within a minute");
            assert!(len > 0, "the server has closed a connection");
            self.talk.hear(&self.chunk[..len], stage.time())?;
        }
        Ok(())
    }
}

/// One client's life, on several connections if it loses some.
fn live(stage: &Stage, number: u32) -> Result<Vec<Conversation>, Anomaly> {
    let Plan { operations, connections, mix, seed, .. } = stage.plan;
    let random = fastrand::Rng::with_seed(seed ^ u64::from(number) << 32);
    let (keys, token) = (stage.keys.clone(), number);
    let mut source = Source { random, mix, keys, token, step: connections };
    let mut all = Vec::new();
    let mut line = Line::open(stage);
    let mut plan: VecDeque<Request> = VecDeque::new();
    let mut bytes = Vec::new();
    loop {
        let depth = [1, 1, 1, 4][source.random.usize(..4)];
        if stage.asked.fetch_add(depth, Ordering::Relaxed) >= operations {
            break;
        }
        for _ in 0..depth {
            if plan.is_empty() {
                plan.extend(source.next());
            }
            let request = plan.pop_front().expect("filled");
            line.talk.ask(request, stage.time(), &mut bytes);
        }
        line.stream.write_all(&bytes).expect("the server reads");
        bytes.clear();
        if source.random.u16(..) < 8 {
            // What it has asked may be done or not.
            plan.clear();
            all.push(std::mem::replace(&mut line, Line::open(stage)).talk);
            continue;
        }
        let pending = source.random.usize(..depth);
        line.listen(stage, pending)?;
    }
    line.listen(stage, 0)?;
    all.push(line.talk);
    Ok(all)
}

/// Lets clients loose on a server and gives the history of what they have seen.
pub fn record(port: u16, shards: usize, plan: Plan) -> Result<History, Anomaly> {
    let stage = Stage {
        port,
        plan,
        keys: Arc::new(Keys::new(plan.keys, plan.writes_max)),
        asked: AtomicUsize::new(0),
        clients: AtomicU32::new(0),
        start: now(),
    };
    let parts: Vec<Result<Vec<Conversation>, Anomaly>> = std::thread::scope(|scope| {
        let stage = &stage;
        let threads = (0..plan.connections).map(|number| scope.spawn(move || live(stage, number)));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).collect()
    });
    let mut talks: Vec<Conversation> =
        parts.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    talks.push(take_stock(&stage)?);
    Ok(History::of(talks, shards))
}

/// Looks at everything that is there in the end.
fn take_stock(stage: &Stage) -> Result<Conversation, Anomaly> {
    let mut line = Line::open(stage);
    let look = vec![Command::MGet(stage.keys.in_use()), Command::DbSize, Command::Keys];
    let mut bytes = Vec::new();
    line.talk.ask(Request::Act(Action::Block(look)), stage.time(), &mut bytes);
    line.stream.write_all(&bytes).expect("the server reads");
    line.listen(stage, 0)?;
    Ok(line.talk)
}

/// Of all that leaves values which tell who wrote what; all keys are looked at or removed rarely.
const MIX: Mix =
    Mix { single: 40, split: 30, joint: 8, whole: 1, blocks: 30, watches: 8, ..TRACED };

pub const PLAN: Plan =
    Plan { operations: 20_000, connections: 16, keys: 24, writes_max: 60, mix: MIX, seed: 0 };

/// Records a server and checks what it has answered; prints how long that took.
pub fn check_port(port: u16, shards: usize, plan: Plan) {
    let start = now();
    let history = record(port, shards, plan).unwrap_or_else(|strange| panic!("{strange}"));
    let recorded = start.elapsed();
    let start = now();
    let found = super::check_order(&history);
    let ordered = start.elapsed();
    assert_none(&found);
    let start = now();
    let found = super::check(&history);
    println!(
        "{shards} shards: {} operations recorded in {recorded:.1?}; cycles {ordered:.1?}, order {:.1?}",
        history.operations.len(),
        start.elapsed()
    );
    assert_none(&found);
}

#[test]
fn a_real_server_is_strictly_serializable() {
    let factor = crate::harness::cases(1) as usize;
    for shards in [1, 2, 4] {
        let server = Server::corelane(shards);
        let operations = PLAN.operations * factor;
        let seed = crate::harness::seed() + shards as u64;
        check_port(server.port, shards, Plan { operations, seed, ..PLAN });
    }
}

#[test]
fn redis_server_is_strictly_serializable() {
    // One thread that does one thing after the other: whoever complains here is wrong.
    check_port(Server::redis().port, 1, PLAN);
}
