//! Clients whose writes cross shards and who know what must be there after a sudden end.
//!
//! A player waits for each answer, so at any time one thing it has asked for is under way. Whatever it
//! writes is numbered; `acked` is the last number that was answered and `sent` the last one asked for. All parts of
//! one thing carry the same number, so parts that differ tell of half a thing.

use crate::harness::{Client, Cmd, Reply, parse_line};
use corelane::clock::wall_ms;
use std::collections::BTreeSet;
use std::io::ErrorKind;

/// Why a player stops.
#[derive(Debug)]
pub enum Trouble {
    /// The connection is gone.
    Cut,
    /// The server has answered what it must not; the text is for whoever reads the failed test.
    #[allow(dead_code)]
    Wrong(String),
}

type Played = Result<(), Trouble>;
/// What is wrong with what is there.
pub type Checked = Result<(), String>;

/// How far something has come.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    acked: u64,
    sent: u64,
}

impl Count {
    fn ask(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    fn ack(&mut self) {
        self.acked = self.sent;
    }

    /// A number was found: it must be one that can be there, and from now on it counts.
    fn find(&mut self, what: &str, found: u64) -> Checked {
        let Count { acked, sent } = *self;
        if !(acked..=sent).contains(&found) {
            return Err(format!("{what}: {found} is there, {acked} acknowledged, {sent} sent"));
        }
        *self = Count { acked: found, sent: found };
        Ok(())
    }
}

pub const PLAYERS: usize = 4;
const COUNTERS: usize = 8;
/// Lists through which elements wander, of all players together.
const LISTS: usize = 6;
pub const ELEMENTS: usize = 12;
/// Sets through which every player's member wanders.
const SETS: usize = 4;
/// Places of the key that is renamed.
const PLACES: u64 = 5;
const TRIPLES: usize = 2;
/// Keys with a time to live.
const MORTALS: usize = 4;

/// Writes three keys that it does not declare.
const SCRIPT: &str = "for i = 0, 2 do redis.call('SET', 'e' .. ARGV[1] .. ':' .. i, ARGV[2]) end \
    return redis.call('GET', 'e' .. ARGV[1] .. ':1')";

#[derive(Debug, Clone, Default)]
struct Mortal {
    count: Count,
    /// What was sent last: until when it lives.
    until: i64,
    /// As acknowledged.
    before: i64,
}

/// One client and what it knows.
#[derive(Clone)]
pub struct Player {
    id: usize,
    random: fastrand::Rng,
    counters: [Count; COUNTERS],
    triples: [Count; TRIPLES],
    block: Count,
    script: Count,
    place: Count,
    set: Count,
    inter: Count,
    union: Count,
    mortals: [Mortal; MORTALS],
    /// The element that it has taken out of a list and not put back.
    holds: Option<String>,
    /// It has asked for an element, or asked to put its own back, and was not answered.
    asks: bool,
    puts: bool,
    /// What is there may be of any time.
    is_past: bool,
    pub operations: u64,
}

fn shown(reply: &Reply) -> String {
    format!("{reply:?}").chars().take(200).collect()
}

/// What is there as a number; a missing key is 0.
fn number(reply: &Reply) -> Result<u64, String> {
    match reply {
        reply if reply.is_nil() => Ok(0),
        Reply::Bulk(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            text.parse().map_err(|_| format!("'{text}' is there, which is no number"))
        }
        other => Err(format!("no number: {}", shown(other))),
    }
}

fn texts(reply: &Reply) -> BTreeSet<String> {
    reply.items().iter().map(Reply::text).collect()
}

fn cut(error: std::io::Error) -> Trouble {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Trouble::Wrong("no answer comes".into()),
        ErrorKind::InvalidData => Trouble::Wrong(error.to_string()),
        _ => Trouble::Cut,
    }
}

/// Sends commands at once and reads the answers.
fn ask_all(client: &mut Client, commands: &[Cmd]) -> Result<Vec<Reply>, Trouble> {
    let mut bytes = Vec::new();
    commands.iter().for_each(|command| command.encode(&mut bytes));
    client.send_raw(&bytes).map_err(cut)?;
    commands.iter().map(|_| client.recv().map_err(cut)).collect()
}

fn ask(client: &mut Client, line: &str) -> Result<Reply, Trouble> {
    let replies = ask_all(client, &[parse_line(line)])?;
    let reply = replies.into_iter().next().expect("one for each");
    match reply.is_error() {
        true => Err(Trouble::Wrong(format!("{line}: {}", shown(&reply)))),
        false => Ok(reply),
    }
}

fn expect(line: &str, found: &Reply, expected: &Reply) -> Played {
    match found == expected {
        true => Ok(()),
        false => Err(Trouble::Wrong(format!("{line}: {found:?} and not {expected:?}"))),
    }
}

impl Player {
    pub fn new(id: usize, seed: u64) -> Player {
        Player {
            id,
            random: fastrand::Rng::with_seed(seed ^ (id as u64 + 1) << 40),
            counters: Default::default(),
            triples: Default::default(),
            block: Count::default(),
            script: Count::default(),
            place: Count::default(),
            set: Count::default(),
            inter: Count::default(),
            union: Count::default(),
            mortals: Default::default(),
            holds: None,
            asks: false,
            puts: false,
            is_past: false,
            operations: 0,
        }
    }

    /// As if nothing had been acknowledged: for what is of some earlier instant.
    pub fn in_the_past(&self) -> Player {
        let mut player = self.clone();
        let counts = player.counters.iter_mut().chain(&mut player.triples);
        let others = [&mut player.block, &mut player.script, &mut player.place, &mut player.set];
        let combined = [&mut player.inter, &mut player.union];
        counts.chain(others).chain(combined).for_each(|count| count.acked = 0);
        (player.holds, player.asks, player.is_past) = (None, true, true);
        player
    }

    /// Writes what it is about to change.
    pub fn prepare(&self, client: &mut Client) {
        let t = self.id;
        client.run(&format!("SET r{t}:0 only"));
        client.run(&format!("SADD s0 m{t}"));
        client.run(&format!("SADD i{t}:a 0 1 2 3 4 5 6 7 8 9"));
        client.run(&format!("SADD i{t}:b 5 6 7 8 9 10 11 12 13 14"));
    }

    /// Plays until the connection is gone.
    pub fn play(&mut self, port: u16) -> Played {
        let mut client = Client::try_connect(port).map_err(cut)?;
        loop {
            match self.step(&mut client) {
                Ok(()) => self.operations += 1,
                Err(Trouble::Cut) => return Ok(()),
                Err(wrong) => return Err(wrong),
            }
        }
    }

    fn step(&mut self, client: &mut Client) -> Played {
        match self.random.u8(0..20) {
            0 => self.increase(client),
            1 => self.pipeline(client),
            2 | 3 => self.write_triple(client),
            4 | 5 => self.run_block(client),
            6 | 7 => self.run_script(client),
            8 => self.move_element(client),
            9 | 10 => self.take_element(client),
            11 => self.rename(client),
            12 => self.move_member(client),
            13 => self.combine(client),
            14 => self.unite(client),
            16..20 => self.observe(client),
            _ => self.write_mortal(client),
        }
    }

    fn increase(&mut self, client: &mut Client) -> Played {
        let (t, at) = (self.id, self.random.usize(..COUNTERS));
        let n = self.counters[at].ask();
        let line = format!("INCR c{t}:{at}");
        let reply = ask(client, &line)?;
        expect(&line, &reply, &Reply::Int(n as i64))?;
        self.counters[at].ack();
        Ok(())
    }

    /// Sixteen at once.
    fn pipeline(&mut self, client: &mut Client) -> Played {
        let mut asked = Vec::new();
        for _ in 0..16 {
            let at = self.random.usize(..COUNTERS);
            asked.push((at, self.counters[at].ask()));
        }
        let line = |at: usize| format!("INCR c{}:{at}", self.id);
        let mut bytes = Vec::new();
        asked.iter().for_each(|&(at, _)| parse_line(&line(at)).encode(&mut bytes));
        client.send_raw(&bytes).map_err(cut)?;
        for (at, n) in asked {
            let reply = client.recv().map_err(cut)?;
            expect("a pipelined INCR", &reply, &Reply::Int(n as i64))?;
            self.counters[at].acked = n;
        }
        Ok(())
    }

    fn write_triple(&mut self, client: &mut Client) -> Played {
        let (t, at) = (self.id, self.random.usize(..TRIPLES));
        let n = self.triples[at].ask();
        let line = format!("MSET m{t}:{at}:0 {n} m{t}:{at}:1 {n} m{t}:{at}:2 {n}");
        ask(client, &line)?;
        self.triples[at].ack();
        Ok(())
    }

    /// Counters of several shards; now and then with a question to all shards in their midst.
    fn run_block(&mut self, client: &mut Client) -> Played {
        let t = self.id;
        let n = self.block.ask();
        let mut lines = vec!["MULTI".to_string()];
        lines.extend((0..4).map(|at| format!("INCR x{t}:{at}")));
        if self.random.bool() {
            lines.insert(1 + self.random.usize(1..4), "CLIENT LIST".to_string());
        }
        lines.push("EXEC".to_string());
        let commands: Vec<Cmd> = lines.iter().map(|line| parse_line(line)).collect();
        let replies = ask_all(client, &commands)?;
        let last = replies.last().expect("one for each");
        let Reply::Array(items) = last else {
            return Err(Trouble::Wrong(format!("EXEC: {}", shown(last))));
        };
        for item in items.iter().filter(|item| matches!(item, Reply::Int(_))) {
            expect("INCR in EXEC", item, &Reply::Int(n as i64))?;
        }
        self.block.ack();
        Ok(())
    }

    fn run_script(&mut self, client: &mut Client) -> Played {
        let n = self.script.ask();
        let words = ["EVAL", SCRIPT, "0", &self.id.to_string(), &n.to_string()];
        let replies = ask_all(client, &[Cmd::new(words)])?;
        expect("EVAL", &replies[0], &Reply::Bulk(n.to_string().into_bytes()))?;
        self.script.ack();
        Ok(())
    }

    fn two_lists(&mut self) -> (usize, usize) {
        let from = self.random.usize(..LISTS);
        (from, (from + self.random.usize(1..LISTS)) % LISTS)
    }

    fn move_element(&mut self, client: &mut Client) -> Played {
        let (from, to) = self.two_lists();
        let line = match self.random.bool() {
            true => format!("LMOVE q{from} q{to} LEFT RIGHT"),
            false => format!("BLMOVE q{from} q{to} LEFT RIGHT 0.05"),
        };
        ask(client, &line).map(drop)
    }

    /// Takes an element, or puts back what it has taken.
    fn take_element(&mut self, client: &mut Client) -> Played {
        let (one, other) = self.two_lists();
        match &self.holds {
            Some(element) => {
                let line = format!("RPUSH q{one} {element}");
                self.puts = true;
                ask(client, &line)?;
                (self.holds, self.puts) = (None, false);
            }
            None => {
                self.asks = true;
                let reply = ask(client, &format!("BRPOP q{one} q{other} 0.05"))?;
                self.asks = false;
                if !reply.is_nil() {
                    self.holds = Some(reply.items()[1].text());
                }
            }
        }
        Ok(())
    }

    /// Notes how far another player's counter is: the note must not be there without that.
    fn observe(&mut self, client: &mut Client) -> Played {
        let (whose, at) = (self.random.usize(..PLAYERS), self.random.usize(..COUNTERS));
        let found = ask(client, &format!("GET c{whose}:{at}"))?;
        let n = number(&found).map_err(Trouble::Wrong)?;
        ask(client, &format!("SET o{}:{whose}:{at} {n}", self.id)).map(drop)
    }

    fn rename(&mut self, client: &mut Client) -> Played {
        let t = self.id;
        let to = self.place.ask();
        let line = format!("RENAME r{t}:{} r{t}:{}", (to - 1) % PLACES, to % PLACES);
        ask(client, &line)?;
        self.place.ack();
        Ok(())
    }

    fn move_member(&mut self, client: &mut Client) -> Played {
        let to = self.set.ask();
        let sets = SETS as u64;
        let line = format!("SMOVE s{} s{} m{}", (to - 1) % sets, to % sets, self.id);
        let reply = ask(client, &line)?;
        expect(&line, &reply, &Reply::Int(1))?;
        self.set.ack();
        Ok(())
    }

    /// What a number's turn leaves in a set.
    fn combined(n: u64) -> (&'static str, std::ops::Range<u64>) {
        match n % 3 {
            0 => ("SINTERSTORE", 5..10),
            1 => ("SUNIONSTORE", 0..15),
            _ => ("SDIFFSTORE", 0..5),
        }
    }

    fn combine(&mut self, client: &mut Client) -> Played {
        let t = self.id;
        let (command, members) = Self::combined(self.inter.ask());
        let line = format!("{command} i{t}:d i{t}:a i{t}:b");
        let reply = ask(client, &line)?;
        expect(&line, &reply, &Reply::Int(members.count() as i64))?;
        self.inter.ack();
        Ok(())
    }

    fn unite(&mut self, client: &mut Client) -> Played {
        let t = self.id;
        let n = self.union.ask();
        let line = format!("ZUNIONSTORE z{t} 2 i{t}:a i{t}:b WEIGHTS {n} 1");
        let reply = ask(client, &line)?;
        expect(&line, &reply, &Reply::Int(15))?;
        self.union.ack();
        Ok(())
    }

    fn write_mortal(&mut self, client: &mut Client) -> Played {
        let (t, at) = (self.id, self.random.usize(..MORTALS));
        let life = match at % 2 {
            0 => 3_600_000,
            _ => self.random.i64(5..400),
        };
        let mortal = &mut self.mortals[at];
        let n = mortal.count.ask();
        mortal.until = wall_ms() + life;
        ask(client, &format!("SET p{t}:{at} {n} PXAT {}", mortal.until))?;
        mortal.count.ack();
        mortal.before = mortal.until;
        Ok(())
    }

    /// Looks at all that it has written.
    pub fn check(&mut self, client: &mut Client) -> Checked {
        let t = self.id;
        for at in 0..COUNTERS {
            let key = format!("c{t}:{at}");
            self.counters[at].find(&key, number(&client.run(&format!("GET {key}")))?)?;
        }
        for at in 0..TRIPLES {
            find_equal(client, &mut self.triples[at], &format!("m{t}:{at}"), 3)?;
        }
        find_equal(client, &mut self.block, &format!("x{t}"), 4)?;
        find_equal(client, &mut self.script, &format!("e{t}"), 3)?;
        self.check_place(client)?;
        self.check_member(client)?;
        self.check_combined(client)?;
        for at in 0..MORTALS {
            self.check_mortal(client, at)?;
        }
        Ok(())
    }

    fn check_place(&mut self, client: &mut Client) -> Checked {
        let t = self.id;
        let there: Vec<u64> = (0..PLACES)
            .filter(|at| client.run(&format!("EXISTS r{t}:{at}")) == Reply::Int(1))
            .collect();
        let [place] = there[..] else { return Err(format!("r{t} is at {there:?}")) };
        wandered(&mut self.place, &format!("r{t}"), place, PLACES)
    }

    fn check_member(&mut self, client: &mut Client) -> Checked {
        let t = self.id;
        let there: Vec<u64> = (0..SETS as u64)
            .filter(|at| client.run(&format!("SISMEMBER s{at} m{t}")) == Reply::Int(1))
            .collect();
        let [set] = there[..] else { return Err(format!("m{t} is in the sets {there:?}")) };
        wandered(&mut self.set, &format!("m{t}"), set, SETS as u64)
    }

    fn check_combined(&mut self, client: &mut Client) -> Checked {
        let t = self.id;
        let found = texts(&client.run(&format!("SMEMBERS i{t}:d")));
        let is = |n: u64| match n {
            0 => found.is_empty(),
            n => found == Self::combined(n).1.map(|member| member.to_string()).collect(),
        };
        let Count { acked, sent } = self.inter;
        let n = (acked..=sent).find(|&n| is(n));
        let n = n.ok_or_else(|| format!("i{t}:d has {found:?} after {acked} to {sent}"))?;
        self.inter.find("a combined set", n)?;
        let score = number(&client.run(&format!("ZSCORE z{t} 0")))?;
        self.union.find(&format!("z{t}"), score)?;
        let card = client.run(&format!("ZCARD z{t}")).int();
        match card == if score == 0 { 0 } else { 15 } {
            true => Ok(()),
            false => Err(format!("z{t} has {card} members")),
        }
    }

    fn check_mortal(&mut self, client: &mut Client, at: usize) -> Checked {
        let key = format!("p{}:{at}", self.id);
        let mortal = &mut self.mortals[at];
        let asked_at = wall_ms();
        let found = client.run(&format!("GET {key}"));
        if self.is_past {
            let may_be = found.is_nil() || number(&found)? <= mortal.count.sent;
            return may_be.then_some(()).ok_or_else(|| format!("{key} is from the future"));
        }
        let Count { acked, sent } = mortal.count;
        if found.is_nil() {
            // What was acknowledged may have gone with its time, or something sent may have taken its place and gone.
            let over = |until: i64| until <= wall_ms();
            let may_be_gone =
                acked == 0 || over(mortal.before) || (sent > acked && over(mortal.until));
            if !may_be_gone {
                return Err(format!("{key} is gone, {acked} was acknowledged"));
            }
            mortal.count.acked = 0;
            return Ok(());
        }
        let n = number(&found)?;
        let until = if n == sent { mortal.until } else { mortal.before };
        if n != sent && n != acked || until < asked_at {
            return Err(format!(
                "{key} has {n}, {acked} acknowledged, {sent} sent, its time was over at {until}, now {asked_at}"
            ));
        }
        let left = client.run(&format!("PEXPIRETIME {key}")).int();
        if left != until && left != -2 {
            return Err(format!("{key} lives until {left} and not {until}"));
        }
        mortal.count = Count { acked: n, sent: n };
        (mortal.before, mortal.until) = (until, until);
        Ok(())
    }

    /// The keys that it may have written.
    fn keys(&self) -> Vec<String> {
        let t = self.id;
        let numbered = |name: String, count: usize| (0..count).map(move |n| format!("{name}:{n}"));
        let mut keys: Vec<String> = numbered(format!("c{t}"), COUNTERS).collect();
        (0..TRIPLES).for_each(|at| keys.extend(numbered(format!("m{t}:{at}"), 3)));
        keys.extend(numbered(format!("x{t}"), 4));
        keys.extend(numbered(format!("e{t}"), 3));
        keys.extend(numbered(format!("r{t}"), PLACES as usize));
        keys.extend(numbered(format!("p{t}"), MORTALS));
        keys.extend(["a", "b", "d"].map(|name| format!("i{t}:{name}")));
        (0..PLAYERS).for_each(|whose| keys.extend(numbered(format!("o{t}:{whose}"), COUNTERS)));
        keys.push(format!("z{t}"));
        keys
    }
}

/// Something wanders from place to place in a circle.
fn wandered(count: &mut Count, what: &str, place: u64, places: u64) -> Checked {
    let found = (count.acked..=count.sent).find(|n| n % places == place);
    let found = found.ok_or_else(|| format!("{what} is at {place} after {count:?}"))?;
    count.find(what, found)
}

/// Keys that are written together.
fn find_equal(client: &mut Client, count: &mut Count, name: &str, keys: usize) -> Checked {
    let found: Result<Vec<u64>, String> =
        (0..keys).map(|at| number(&client.run(&format!("GET {name}:{at}")))).collect();
    let found = found?;
    if found.iter().any(|&n| n != found[0]) {
        return Err(format!("half of something: {name}:* are {found:?}, {count:?}"));
    }
    count.find(name, found[0])
}

/// What was seen of counters and written down is there with them. To be called when all have been checked.
pub fn check_observed(client: &mut Client, players: &[Player]) -> Checked {
    for (whose, at) in (0..PLAYERS).flat_map(|whose| (0..COUNTERS).map(move |at| (whose, at))) {
        let there = players[whose].counters[at].acked;
        for player in players {
            let key = format!("o{}:{whose}:{at}", player.id);
            let seen = number(&client.run(&format!("GET {key}")))?;
            if seen > there {
                return Err(format!("{key} has seen {seen} where {there} is there"));
            }
        }
    }
    Ok(())
}

/// Puts the elements into the lists.
pub fn prepare_lists(client: &mut Client) {
    for element in 0..ELEMENTS {
        client.run(&format!("RPUSH q{} el{element}", element % LISTS));
    }
}

/// Looks for each element: it is in one list, or with a player. Those that are missing are put back.
pub fn check_lists(client: &mut Client, players: &mut [Player]) -> Checked {
    let mut there = Vec::new();
    for list in 0..LISTS {
        there.extend(client.run(&format!("LRANGE q{list} 0 -1")).items().iter().map(Reply::text));
    }
    let distinct: BTreeSet<&String> = there.iter().collect();
    if distinct.len() < there.len() {
        return Err(format!("an element is there twice: {there:?}"));
    }
    let mut missing: BTreeSet<String> = (0..ELEMENTS).map(|n| format!("el{n}")).collect();
    if let Some(strange) = there.iter().find(|element| !missing.remove(*element)) {
        return Err(format!("nobody has pushed {strange}"));
    }
    let lost: Vec<String> = missing.iter().cloned().collect();
    for player in players.iter_mut() {
        let Some(element) = player.holds.take() else { continue };
        if !lost.contains(&element) && !player.puts {
            return Err(format!("{element} is there, which was taken out"));
        }
        // Two may have it: one was putting it back when another took it.
        missing.remove(&element);
    }
    let asking = players.iter().filter(|player| player.asks).count();
    if missing.len() > asking {
        return Err(format!("{missing:?} are lost, {asking} had asked for one"));
    }
    players.iter_mut().for_each(|player| (player.asks, player.puts) = (false, false));
    lost.iter().for_each(|element| drop(client.run(&format!("RPUSH q0 {element}"))));
    Ok(())
}

/// Whether there are keys that nobody has written.
pub fn check_keys(client: &mut Client, players: &[Player]) -> Checked {
    let mut known: BTreeSet<String> = players.iter().flat_map(Player::keys).collect();
    known.extend((0..LISTS).map(|n| format!("q{n}")));
    known.extend((0..SETS).map(|n| format!("s{n}")));
    let found = texts(&client.run("KEYS *"));
    let strange: Vec<&String> = found.difference(&known).collect();
    match strange.is_empty() {
        true => Ok(()),
        false => Err(format!("nobody has written {strange:?}")),
    }
}
