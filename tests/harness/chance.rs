//! Commands that choose members of a set at random: what both servers choose need not be equal, but
//! must be of the set, as many, and of the same form. What was removed is evened out afterwards, so
//! that the two sets stay equal.

use super::Reply;
use super::pair::{Both, Difference, difference};
use super::script::Cmd;
use std::collections::BTreeSet;

/// Whether a command's reply is up to chance.
pub fn is_random(cmd: &Cmd) -> bool {
    matches!(cmd.name().as_str(), "SPOP" | "SRANDMEMBER") && cmd.0.len() > 1
}

fn bulks(reply: &Reply) -> Vec<Vec<u8>> {
    let items = match reply {
        Reply::Array(items) | Reply::Set(items) => items,
        one => std::slice::from_ref(one),
    };
    let bulk = |item: &Reply| if let Reply::Bulk(b) = item { Some(b.clone()) } else { None };
    items.iter().filter_map(bulk).collect()
}

/// The replies without what chance decides.
fn shape(reply: &Reply) -> Reply {
    let blank = |items: &[Reply]| items.iter().map(|_| Reply::Bulk(Vec::new())).collect();
    match reply {
        Reply::Bulk(_) => Reply::Bulk(Vec::new()),
        Reply::Array(items) => Reply::Array(blank(items)),
        Reply::Set(items) => Reply::Set(blank(items)),
        other => other.clone(),
    }
}

/// What is wrong with a choice from `before`, after which `after` is there.
fn fault(
    cmd: &Cmd,
    chosen: &[Vec<u8>],
    before: &[Vec<u8>],
    after: &[Vec<u8>],
) -> Option<&'static str> {
    let set = |members: &[Vec<u8>]| members.iter().cloned().collect::<BTreeSet<_>>();
    let (before, after, distinct) = (set(before), set(after), set(chosen));
    let again = cmd.name() == "SRANDMEMBER" && cmd.upper(2).starts_with('-');
    let rest = match cmd.name().as_str() {
        "SPOP" => before.difference(&distinct).cloned().collect(),
        _ => before.clone(),
    };
    match () {
        _ if !distinct.is_subset(&before) => Some("not members of the set"),
        _ if !again && distinct.len() < chosen.len() => Some("a member chosen twice"),
        _ if after != rest => Some("the set holds something else afterwards"),
        _ => None,
    }
}

impl Both<'_> {
    /// Runs SPOP or SRANDMEMBER on both.
    pub(super) fn choose(&mut self, step: usize, cmd: &Cmd) -> Result<Reply, Difference> {
        let members = Cmd(vec![b"SMEMBERS".to_vec(), cmd.0[1].clone()]);
        let before = bulks(&self.corelane.call(&members));
        let redis = self.redis.call(cmd);
        let ours = self.corelane.call(cmd);
        let (expected, found) = (shape(&redis), shape(&ours));
        self.check(step, cmd, expected, &found)?;
        let (theirs, chosen) = (bulks(&redis), bulks(&ours));
        let after = bulks(&self.corelane.call(&members));
        if let Some(why) = fault(cmd, &chosen, &before, &after) {
            return Err(difference(step, &redis, &format!("{ours:?}"), why));
        }
        if cmd.name() == "SPOP" {
            self.even_out(&cmd.0[1], &chosen, &theirs, after.len());
        }
        Ok(redis)
    }

    /// Puts what only we have removed in the place of what only redis-server has removed, one by
    /// one, so that the set keeps its size and with it its encoding.
    fn even_out(&mut self, key: &[u8], ours: &[Vec<u8>], theirs: &[Vec<u8>], len: usize) {
        let only = |these: &[Vec<u8>], those: &[Vec<u8>]| -> Vec<Vec<u8>> {
            these.iter().filter(|member| !those.contains(member)).cloned().collect()
        };
        for (back, gone) in only(ours, theirs).iter().zip(&only(theirs, ours)) {
            let add = Cmd::new([b"SADD", key, back]);
            let remove = Cmd::new([b"SREM", key, gone]);
            // A set without a member would be no key any more.
            let steps = if len == 1 { [add, remove] } else { [remove, add] };
            steps.iter().for_each(|step| assert_eq!(self.corelane.call(step), Reply::Int(1)));
        }
    }
}
