//! Histories of a real server: many connections, each with a thread of its own, and one clock.
//!
//! The clients want the same few keys. What they ask and when they wait is random and cannot be repeated,
//! since how the threads come and go is not in the tests' hands; what was seen is kept, and that is
//! what a failure shows.
//!
//! They play in rounds. At the end of each, all have their answers, and a connection of its own looks at
//! everything that is there: so the history can be searched part by part (see [`super::parts`]).

use super::anomaly::{Anomaly, Kind, assert_none};
use super::command::{Answer, Command, Key};
use super::conversation::{Conversation, Request};
use super::history::{Action, History, Operation};
use super::workload::{Keys, Mix, Source, TRACED};
use crate::harness::{PATIENCE, Server, now};
use corelane::command::Faults;
use corelane::config::{Invocation, parse};
use corelane::server::run_faulty;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Instant;

/// What is recorded.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub operations: usize,
    /// Operations after which everything is looked at.
    pub round: usize,
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
    lines: AtomicU32,
    /// Where the clients wait for each other before each round.
    begin: Barrier,
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
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
        let talk = Conversation::new(stage.lines.fetch_add(1, Ordering::Relaxed));
        Line { stream, talk, chunk: vec![0; 64 << 10] }
    }

    /// Waits until no more than `pending` operations wait for an answer.
    fn listen(&mut self, stage: &Stage, pending: usize) -> Result<(), Anomaly> {
        while self.talk.pending() > pending {
            let len = match self.stream.read(&mut self.chunk) {
                // Where the whole machine was stopped for a while.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result.expect("an answer in time"),
            };
            assert!(len > 0, "the server has closed a connection");
            self.talk.hear(&self.chunk[..len], stage.time())?;
        }
        Ok(())
    }

    /// Asks one thing and waits for the answer.
    fn ask(&mut self, stage: &Stage, action: Action) -> Result<(), Anomaly> {
        let mut bytes = Vec::new();
        self.talk.ask(Request::Act(action), stage.time(), &mut bytes);
        self.stream.write_all(&bytes).expect("the server reads");
        self.listen(stage, 0)
    }
}

/// One client, on several connections if it loses some.
struct Player {
    source: Source,
    line: Line,
    /// What it is going to ask.
    plan: VecDeque<Request>,
    /// What it has said on connections that it has lost.
    lost: Vec<Conversation>,
}

impl Player {
    fn new(stage: &Stage, number: u32) -> Player {
        let Plan { connections, mix, seed, .. } = stage.plan;
        let random = fastrand::Rng::with_seed(seed ^ u64::from(number) << 32);
        let source =
            Source { random, mix, keys: stage.keys.clone(), token: number, step: connections };
        Player { source, line: Line::open(stage), plan: VecDeque::new(), lost: Vec::new() }
    }

    /// Plays until the clients together have asked for as many operations as `end` and it has asked for
    /// all that belongs together.
    fn play(&mut self, stage: &Stage, end: usize) -> Result<(), Anomaly> {
        stage.begin.wait();
        let mut bytes = Vec::new();
        while self.plan(stage, end) {
            let depth = [1, 1, 1, 4][self.source.random.usize(..4)];
            for _ in 0..depth {
                if self.plan(stage, end) {
                    let request = self.plan.pop_front().expect("filled");
                    self.line.talk.ask(request, stage.time(), &mut bytes);
                    stage.asked.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.line.stream.write_all(&bytes).expect("the server reads");
            bytes.clear();
            if self.source.random.u16(..) < 8 {
                // What it has asked may be done or not.
                self.plan.clear();
                self.lost.push(std::mem::replace(&mut self.line, Line::open(stage)).talk);
                continue;
            }
            let pending = self.source.random.usize(..depth);
            self.line.listen(stage, pending)?;
        }
        self.line.listen(stage, 0)
    }

    /// Plans what to ask next; `false` when the round is over.
    fn plan(&mut self, stage: &Stage, end: usize) -> bool {
        if self.plan.is_empty() && stage.asked.load(Ordering::Relaxed) < end {
            self.plan.extend(self.source.next());
        }
        !self.plan.is_empty()
    }
}

/// Lets clients loose on a server and gives the history of what they have seen.
pub fn record(port: u16, shards: usize, plan: Plan) -> Result<History, Anomaly> {
    let stage = Stage {
        port,
        plan,
        keys: Arc::new(Keys::new(plan.keys, plan.writes_max)),
        asked: AtomicUsize::new(0),
        lines: AtomicU32::new(0),
        begin: Barrier::new(plan.connections as usize),
        start: now(),
    };
    let stage = &stage;
    let mut players: Vec<Player> =
        (0..plan.connections).map(|number| Player::new(stage, number)).collect();
    let mut observer = Line::open(stage);
    while stage.asked.load(Ordering::Relaxed) < plan.operations {
        let end = stage.asked.load(Ordering::Relaxed) + plan.round;
        let played: Vec<Result<(), Anomaly>> = std::thread::scope(|scope| {
            let threads = players.iter_mut().map(|p| scope.spawn(move || p.play(stage, end)));
            let threads: Vec<_> = threads.collect();
            threads.into_iter().map(|t| t.join().expect("a client does not panic")).collect()
        });
        played.into_iter().collect::<Result<(), Anomaly>>()?;
        take_stock(stage, &mut observer)?;
    }
    let talks = players.into_iter().flat_map(|player| {
        let Player { line, mut lost, .. } = player;
        lost.push(line.talk);
        lost
    });
    Ok(History::of(talks.chain([observer.talk]), shards))
}

/// Removes the keys that have been retired and looks at everything else that is there.
fn take_stock(stage: &Stage, observer: &mut Line) -> Result<(), Anomaly> {
    let in_use = stage.keys.in_use();
    observer.ask(stage, Action::One(Command::Keys))?;
    let found = observer.talk.operations.last().and_then(Operation::answers);
    let Some([Answer::Keys(found)]) = found else { unreachable!("KEYS was answered") };
    let retired: Vec<Key> = found.iter().copied().filter(|key| !in_use.contains(key)).collect();
    if !retired.is_empty() {
        observer.ask(stage, Action::One(Command::Del(retired)))?;
    }
    let look = vec![Command::MGet(in_use), Command::DbSize, Command::Keys];
    observer.ask(stage, Action::Block(look))
}

/// Of all that leaves values which tell who wrote what; all keys are looked at or removed rarely.
const MIX: Mix =
    Mix { single: 40, split: 30, joint: 8, whole: 1, blocks: 30, watches: 8, ..TRACED };

pub const PLAN: Plan = Plan {
    operations: 20_000,
    round: 80,
    connections: 16,
    keys: 24,
    writes_max: 60,
    mix: MIX,
    seed: 0,
};

/// Records a server and checks what it has answered; prints how long that took. Answers whether that
/// could be decided.
pub fn check_port(port: u16, shards: usize, plan: Plan) -> bool {
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
    if let [Anomaly { kind: Kind::Undecided, text, .. }] = &found[..] {
        println!("undecided: {text}");
        return false;
    }
    assert_none(&found);
    true
}

#[test]
fn a_real_server_is_strictly_serializable() {
    let (mut all, mut undecided) = (0, 0);
    for shards in [4, 2, 1] {
        for n in 0..u64::from(crate::harness::cases(1)) {
            let server = Server::corelane(shards);
            let seed = (crate::harness::seed() + n) << 8 | shards as u64;
            all += 1;
            undecided += u32::from(!check_port(server.port, shards, Plan { seed, ..PLAN }));
        }
    }
    // Several flushes at once can make a search too long; about one history in a hundred.
    assert!(undecided <= 1 + all / 20, "{undecided} of {all} histories are undecided");
}

/// The server of the next test, in a process of its own.
#[test]
#[ignore = "a server, which the test of faults starts"]
fn faulty_server() {
    let Ok(options) = std::env::var("CORELANE_HOSTED") else { return };
    let Ok(Invocation::Run { config, .. }) = parse(options.split('\n').map(Into::into)) else {
        panic!("a configuration")
    };
    let faults = Faults { ignore_intents: true, ..Faults::default() };
    run_faulty(*config, |_| (), faults).expect("it serves until it is killed");
}

#[test]
fn a_real_server_without_intents_is_found_out() {
    let server = Server::hosted("serial::record::faulty_server", &["--shards", "2"]);
    let history = record(server.port, 2, PLAN).unwrap_or_else(|strange| panic!("{strange}"));
    let found = super::check(&history);
    assert!(!found.is_empty(), "what ignores what is promised is found out");
    assert!(found.iter().any(|anomaly| anomaly.kind != Kind::Undecided), "{found:?}");
}

#[test]
fn redis_server_is_strictly_serializable() {
    // One thread that does one thing after the other: whoever complains here is wrong.
    check_port(Server::redis().port, 1, PLAN);
}
