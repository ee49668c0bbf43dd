//! What was denied lately, newest first; the same again soon after is counted with the first.

use std::collections::VecDeque;

/// Only so many entries are looked at to find one like a new one.
const LOOKED_AT: usize = 10;
/// What is alike within this time is one entry, milliseconds.
const ALIKE_MS: i64 = 60_000;

/// What was not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Command,
    Key,
    Channel,
    /// A name and password that do not belong together.
    Auth,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
            Reason::Auth => "auth",
        }
    }
}

/// Where it was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    TopLevel,
    Multi,
    Script,
}

impl Context {
    pub fn name(self) -> &'static str {
        match self {
            Context::TopLevel => "toplevel",
            Context::Multi => "multi",
            Context::Script => "lua",
        }
    }
}

/// Something that was denied, once or several times.
#[derive(Debug, Clone)]
pub struct Entry {
    pub id: u64,
    pub count: u64,
    pub reason: Reason,
    pub context: Context,
    /// The command, key or channel.
    pub object: Vec<u8>,
    pub user: Vec<u8>,
    /// The last client, as CLIENT LIST shows it.
    pub client: String,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    pub updated_at: i64,
}

impl Entry {
    /// The first of its kind.
    pub fn new(
        (reason, context): (Reason, Context),
        object: &[u8],
        user: &[u8],
        client: String,
        now: i64,
    ) -> Entry {
        Entry {
            id: 0,
            count: 1,
            reason,
            context,
            object: object.to_vec(),
            user: user.to_vec(),
            client,
            created_at: now,
            updated_at: now,
        }
    }

    fn is_like(&self, other: &Entry) -> bool {
        (self.reason, self.context) == (other.reason, other.context)
            && (self.updated_at - other.updated_at).abs() <= ALIKE_MS
            && self.object == other.object
            && self.user == other.user
    }
}

/// The entries of ACL LOG.
#[derive(Debug, Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl Log {
    /// Adds an entry, of which `max` may be kept.
    pub fn add(&mut self, mut new: Entry, max: usize) {
        let looked_at = self.entries.iter().take(LOOKED_AT);
        if let Some(at) = looked_at.into_iter().position(|own| own.is_like(&new))
            && let Some(mut own) = self.entries.remove(at)
        {
            own.count += 1;
            (own.client, own.updated_at) = (new.client, new.updated_at);
            return self.entries.push_front(own);
        }
        new.id = self.next_id;
        self.next_id += 1;
        self.entries.push_front(new);
        self.entries.truncate(max);
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Newest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(object: &str, now: i64) -> Entry {
        let kind = (Reason::Key, Context::TopLevel);
        Entry::new(kind, object.as_bytes(), b"ann", format!("at {now}"), now)
    }

    fn seen(log: &Log) -> Vec<(u64, String, u64)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        log.entries().map(|own| (own.id, text(&own.object), own.count)).collect()
    }

    #[test]
    fn the_same_soon_after_is_one_entry() {
        let mut log = Log::default();
        log.add(entry("a", 1000), 128);
        log.add(entry("b", 2000), 128);
        log.add(entry("a", 61_000), 128);
        assert_eq!(seen(&log), [(0, "a".into(), 2), (1, "b".into(), 1)]);
        let first = log.entries().next().unwrap();
        assert_eq!((first.created_at, first.updated_at), (1000, 61_000));
        assert_eq!(first.client, "at 61000");
        log.add(entry("a", 121_001), 128);
        assert_eq!(log.entries().len(), 3);
        log.add(Entry { context: Context::Multi, ..entry("a", 121_001) }, 128);
        log.add(Entry { user: b"bob".to_vec(), ..entry("a", 121_001) }, 128);
        log.add(Entry { reason: Reason::Auth, ..entry("a", 121_001) }, 128);
        assert_eq!(log.entries().len(), 6);
        log.clear();
        assert_eq!(log.entries().len(), 0);
    }

    #[test]
    fn no_more_are_kept_or_looked_at_than_must_be() {
        let mut log = Log::default();
        (0..20).for_each(|n| log.add(entry(&n.to_string(), 0), 12));
        assert_eq!(log.entries().len(), 12);
        log.add(entry("9", 0), 12); // the eleventh
        assert_eq!(seen(&log)[0], (20, "9".into(), 1));
        log.add(entry("20", 0), 0);
        assert_eq!(log.entries().len(), 0);
    }
}
