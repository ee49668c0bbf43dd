//! One thread's source of requests: which template next, on which key, for which shard.
//!
//! With a cluster, a shard's connection must send keys of that shard. Keys drawn for another
//! shard wait in that shard's queue, so that no draw is wasted and a fill misses no key. Queues of
//! endless sources are bounded: what a shard cannot take is dropped, and the load then is what the
//! slowest connections allow, as it is for real clients.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::cluster::SlotMap;
use crate::keys::{Draw, KeyFormat, Rng};
use crate::template::Template;

/// Keys that may wait for one shard.
const WAITING_MAX: usize = 4096;
/// Draws without a key for the shard until it is taken to own none of the keys.
const DRAWS_MAX: u32 = 1 << 16;

/// Where a connection is that gets the templates one after the other.
#[derive(Default)]
pub struct Round {
    next: usize,
    key: u64,
}

impl Round {
    fn step(&mut self, key: u64, templates: usize) -> (usize, u64) {
        let index = self.next;
        self.next = (index + 1) % templates;
        if index == 0 {
            self.key = key;
        }
        (index, self.key)
    }
}

pub struct Source {
    templates: Arc<[Template]>,
    weight_sum: u64,
    format: KeyFormat,
    slots: Option<Arc<SlotMap>>,
    draw: Draw,
    rng: Rng,
    waiting: Vec<VecDeque<u64>>,
    in_turn: bool,
    key_text: Vec<u8>,
}

impl Source {
    pub fn new(
        templates: Arc<[Template]>,
        format: KeyFormat,
        slots: Option<Arc<SlotMap>>,
        draw: Draw,
        rng: Rng,
    ) -> Source {
        let shards = slots.as_ref().map_or(1, |map| map.addresses.len());
        let weight_sum = templates.iter().map(|t| u64::from(t.weight)).sum();
        let waiting = vec![VecDeque::new(); shards];
        Source {
            templates,
            weight_sum,
            format,
            slots,
            draw,
            rng,
            waiting,
            in_turn: false,
            key_text: Vec::new(),
        }
    }

    /// Each connection gets the templates one after the other.
    pub fn in_turn(mut self, in_turn: bool) -> Source {
        self.in_turn = in_turn;
        self
    }

    /// A key that `shard` owns; none when a fill is over or the shard owns no key at all.
    pub fn key_for(&mut self, shard: usize) -> Option<u64> {
        if let Some(key) = self.waiting[shard].pop_front() {
            return Some(key);
        }
        let mut draws = 0;
        while self.draw.ends() || draws < DRAWS_MAX {
            let (key, owner) = self.key()?;
            if owner == shard {
                return Some(key);
            }
            if self.draw.ends() || self.waiting[owner].len() < WAITING_MAX {
                self.waiting[owner].push_back(key);
            }
            draws += 1;
        }
        None
    }

    /// The next key, whoever owns it, and its shard.
    pub fn key(&mut self) -> Option<(u64, usize)> {
        let key = self.draw.next(&mut self.rng)?;
        let Some(slots) = &self.slots else { return Some((key, 0)) };
        self.key_text.clear();
        self.format.write_key(key, &mut self.key_text);
        Some((key, slots.shard_of(&self.key_text)))
    }

    /// Appends a request on `key`, or on the key of the round in which a connection is; returns how
    /// many replies it gets.
    pub fn write(&mut self, key: u64, round: &mut Round, out: &mut Vec<u8>) -> u32 {
        let (index, key) = match self.in_turn {
            true => round.step(key, self.templates.len()),
            false => (self.pick(), key),
        };
        let Source { templates, format, draw, rng, .. } = self;
        let template = &templates[index];
        // The options allow a fill one key per request, so a finite draw never runs dry here.
        template.write(format, key, || draw.next(rng).unwrap_or(key), out);
        template.replies
    }

    fn pick(&mut self) -> usize {
        if self.templates.len() == 1 {
            return 0;
        }
        let mut at = self.rng.below(self.weight_sum);
        let found = self.templates.iter().position(|template| {
            let weight = u64::from(template.weight);
            let here = at < weight;
            at = at.saturating_sub(weight);
            here
        });
        found.expect("the weights sum up to weight_sum")
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::keys::Distribution;

    /// Two shards, told by a server that answers CLUSTER SLOTS once.
    fn two_shards() -> Arc<SlotMap> {
        use std::io::Write;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server
            .write_all(
                b"*2\r\n*3\r\n:0\r\n:8191\r\n*2\r\n$1\r\na\r\n:1\r\n\
                  *3\r\n:8192\r\n:16383\r\n*2\r\n$1\r\na\r\n:2\r\n",
            )
            .unwrap();
        Arc::new(SlotMap::ask(&stream, "a").unwrap())
    }

    fn source(draw: Draw, slots: Option<Arc<SlotMap>>, texts: &[&str]) -> Source {
        let templates: Vec<_> = texts.iter().map(|t| Template::parse(t, b"v").unwrap()).collect();
        Source::new(templates.into(), "key:%d".parse().unwrap(), slots, draw, Rng::new(3))
    }

    #[test]
    fn a_fill_reaches_every_key_at_its_owner() {
        let slots = two_shards();
        let mut source = source(Draw::once(1000, 0, 1), Some(slots.clone()), &["GET __key__"]);
        let mut seen = Vec::new();
        for shard in [1, 0, 1] {
            while let Some(key) = source.key_for(shard) {
                assert_eq!(slots.shard_of(format!("key:{key}").as_bytes()), shard);
                seen.push(key);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_shard_without_keys_gets_none_and_queues_stay_bounded() {
        let slots = two_shards();
        let owner = slots.shard_of(b"key:0");
        let draw = Draw::new(Distribution::Uniform, 1, 0, 1);
        let mut source = source(draw, Some(slots), &["GET __key__"]);
        assert_eq!(source.key_for(1 - owner), None);
        assert_eq!(source.waiting[owner].len(), WAITING_MAX);
        assert_eq!(source.key_for(owner), Some(0));
    }

    #[test]
    fn a_round_has_one_key() {
        let draw = Draw::new(Distribution::Uniform, 10, 0, 1);
        let mut source = source(draw, None, &["GET __key__", "DEL __key__"]).in_turn(true);
        let mut rounds = [Round::default(), Round::default()];
        let mut out = Vec::new();
        for (round, key) in [(0, 1), (1, 2), (0, 3), (1, 4), (0, 5)] {
            source.write(key, &mut rounds[round], &mut out);
        }
        let text = String::from_utf8(out).unwrap();
        let words: Vec<_> = text.split("\r\n").filter(|w| !w.starts_with(['*', '$'])).collect();
        assert_eq!(words.join(" "), "GET key:1 GET key:2 DEL key:1 DEL key:2 GET key:5 ");
    }

    #[test]
    fn templates_are_picked_by_weight() {
        let draw = Draw::new(Distribution::Uniform, 10, 0, 1);
        let mut source = source(draw, None, &["3:PING", "1:MULTI ; EXEC"]);
        let mut out = Vec::new();
        let blocks =
            (0..40_000).filter(|_| source.write(0, &mut Round::default(), &mut out) == 2).count();
        assert!((9_500..10_500).contains(&blocks), "{blocks}");
    }
}
