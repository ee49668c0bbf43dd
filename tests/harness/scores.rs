//! Commands that answer scores: the older oracle writes doubles with 17 digits and not with as few
//! as read back the same, and which members ZRANDMEMBER answers is up to chance.

use super::Reply;
use super::compare::OracleAge;
use super::pair::{Both, Difference, difference};
use super::script::Cmd;
use std::collections::BTreeMap;

/// Whether the replies of a command may have doubles in them.
pub fn has_scores(cmd: &Cmd) -> bool {
    let name = cmd.name();
    ["Z", "BZ", "GEO"].iter().any(|family| name.starts_with(family))
}

/// Whether two replies are equal but for how they write doubles.
pub fn same_numbers(a: &Reply, b: &Reply) -> bool {
    match (a, b) {
        (Reply::Array(a), Reply::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_numbers(a, b))
        }
        (Reply::Bulk(x), Reply::Bulk(y)) => a == b || same_text(x, y),
        (Reply::Double(x), Reply::Double(y)) => same_text(x.as_bytes(), y.as_bytes()),
        _ => a == b,
    }
}

fn same_text(a: &[u8], b: &[u8]) -> bool {
    match (number(a), number(b)) {
        (Some(x), Some(y)) => x == y || same_decimals(a, b, x - y),
        _ => a == b,
    }
}

/// Distances have four decimals; before 7.2 they were rounded from the exact value.
fn same_decimals(a: &[u8], b: &[u8], apart: f64) -> bool {
    let four = |text: &[u8]| text.len() > 5 && text[text.len() - 5] == b'.';
    four(a) && four(b) && apart.abs() < 0.000_11
}

fn number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A member with the text of its score, if it was asked for.
type Scored = (Vec<u8>, Option<Vec<u8>>);

type Elements = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Members with the texts of their scores, in whatever form they were answered; the members as
/// often as they were answered.
fn elements(reply: &Reply, scored: bool) -> Option<Vec<Scored>> {
    let text = |reply: &Reply| match reply {
        Reply::Bulk(text) => Some(text.clone()),
        Reply::Double(text) => Some(text.clone().into_bytes()),
        _ => None,
    };
    match reply {
        Reply::Bulk(member) => Some(vec![(member.clone(), None)]),
        Reply::Array(items) => match items.first() {
            Some(Reply::Array(_)) => items
                .iter()
                .map(|pair| Some((text(&pair.items()[0])?, text(&pair.items()[1]))))
                .collect(),
            _ if scored => {
                items.chunks(2).map(|pair| Some((text(&pair[0])?, text(pair.get(1)?)))).collect()
            }
            _ => items.iter().map(|member| Some((text(member)?, None))).collect(),
        },
        _ => None,
    }
}

impl Both<'_> {
    /// Runs ZSCAN from its beginning to its end, or ZRANDMEMBER, and compares what can be equal.
    pub(super) fn scored(&mut self, step: usize, cmd: &Cmd) -> Option<Result<Reply, Difference>> {
        match cmd.name().as_str() {
            "ZSCAN" if cmd.0.get(2).is_some_and(|cursor| cursor == b"0") => {
                Some(self.whole_zscan(step, cmd))
            }
            "ZRANDMEMBER" if cmd.0.len() > 1 => Some(self.random_members(step, cmd)),
            "ZRANK" | "ZREVRANK" if cmd.0.len() > 3 && self.pair.age == OracleAge::Older => {
                Some(self.rank_with_score(step, cmd))
            }
            _ => None,
        }
    }

    fn whole_zscan(&mut self, step: usize, cmd: &Cmd) -> Result<Reply, Difference> {
        let mut pages = [Elements::new(), Elements::new()];
        let mut first = Vec::new();
        for (client, all) in [&mut self.redis, &mut self.corelane].into_iter().zip(&mut pages) {
            let mut cmd = cmd.clone();
            loop {
                let reply = client.call(&cmd);
                first.push(reply.clone());
                let Reply::Array(parts) = &reply else { break };
                let [Reply::Bulk(cursor), page @ Reply::Array(_)] = &parts[..] else { break };
                all.extend(elements(page, true).unwrap_or_default());
                if cursor == b"0" {
                    break;
                }
                cmd.0[2] = cursor.clone();
            }
        }
        let (redis, ours) = (first[0].clone(), first[first.len() - 1].clone());
        if redis.is_error() || ours.is_error() {
            return self.check(step, cmd, redis, &ours);
        }
        let [theirs, found] = &pages;
        let older = self.pair.age == OracleAge::Older;
        let equal = theirs.len() == found.len()
            && theirs.iter().zip(found).all(|((m, a), (n, b))| {
                let text = |text: &Option<Vec<u8>>| text.clone().unwrap_or_default();
                m == n && (a == b || (older && same_text(&text(a), &text(b))))
            });
        match equal {
            true => Ok(redis),
            false => {
                let shown = format!("{found:?} and not {theirs:?}");
                Err(difference(step, &redis, &shown, "not the same members and scores"))
            }
        }
    }

    /// WITHSCORE came with 7.2: the older oracle is asked for rank and score one by one.
    fn rank_with_score(&mut self, step: usize, cmd: &Cmd) -> Result<Reply, Difference> {
        let ours = self.corelane.call(cmd);
        let expected = match (cmd.0.len(), cmd.upper(3).as_str()) {
            (5.., _) => self.redis.call(cmd),
            (_, "WITHSCORE") => {
                let rank = self.redis.call(&Cmd(cmd.0[..3].to_vec()));
                let score = Cmd(vec![b"ZSCORE".to_vec(), cmd.0[1].clone(), cmd.0[2].clone()]);
                match rank {
                    Reply::Int(_) => Reply::Array(vec![rank, self.redis.call(&score)]),
                    Reply::NilBulk => Reply::NilArray,
                    other => other,
                }
            }
            _ => Reply::Error(b"ERR syntax error".to_vec()),
        };
        match same_numbers(&expected, &ours) {
            true => Ok(expected),
            false => Err(difference(step, &expected, &format!("{ours:?}"), "the replies differ")),
        }
    }

    fn random_members(&mut self, step: usize, cmd: &Cmd) -> Result<Reply, Difference> {
        let redis = self.redis.call(cmd);
        let ours = self.corelane.call(cmd);
        let scored = cmd.0.len() > 3;
        let (Some(theirs), Some(chosen)) = (elements(&redis, scored), elements(&ours, scored))
        else {
            return self.check(step, cmd, redis, &ours);
        };
        let words = [b"ZRANGE", &cmd.0[1][..], b"0", b"-1", b"WITHSCORES"];
        let all = self.corelane.call(&Cmd::new(words));
        let all: Elements = elements(&all, true).unwrap_or_default().into_iter().collect();
        let known = |(member, score): &(Vec<u8>, Option<Vec<u8>>)| {
            all.get(member).is_some_and(|own| score.is_none() || own == score)
        };
        let distinct: Elements = chosen.iter().cloned().collect();
        let again = cmd.upper(2).starts_with('-');
        let flat = |reply: &Reply| matches!(reply, Reply::Array(v) if !matches!(v.first(), Some(Reply::Array(_))));
        let why = match () {
            _ if theirs.len() != chosen.len() => "not as many members",
            _ if flat(&redis) != flat(&ours) => "another form",
            _ if !chosen.iter().all(known) => "not members of the set, or not their scores",
            _ if !again && distinct.len() < chosen.len() => "a member chosen twice",
            _ => return Ok(redis),
        };
        Err(difference(step, &redis, &format!("{ours:?}"), why))
    }
}

#[test]
fn numbers_are_equal_however_they_are_written() {
    let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    assert!(same_numbers(&bulk("0.10000000000000001"), &bulk("0.1")));
    assert!(same_numbers(&Reply::Double("-0".into()), &Reply::Double("0".into())));
    assert!(same_numbers(&bulk("166274.1516"), &bulk("166274.1517")));
    assert!(!same_numbers(&bulk("166274.1516"), &bulk("166274.1518")));
    assert!(!same_numbers(&bulk("0.1"), &bulk("0.2")));
    assert!(!same_numbers(&bulk("a"), &bulk("b")));
    assert!(!same_numbers(&bulk("1"), &Reply::Int(1)));
    let pair = |a: &str, b: &str| Reply::Array(vec![bulk(a), bulk(b)]);
    assert!(same_numbers(&pair("m", "1e5"), &pair("m", "100000")));
    assert!(!same_numbers(&pair("m", "1"), &pair("n", "1")));
}
