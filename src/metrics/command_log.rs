//! The logs of commands that were slow or large, of all shards together.
//!
//! A shard adds an entry when it has run such a command, and only then takes the lock. An entry gets
//! its id when it is added, so the ids of one log follow each other whatever shards the commands
//! ran on.

use std::collections::VecDeque;

/// What a command is logged for, and with what number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// Microseconds that it ran.
    Slow,
    /// Bytes of the request.
    LargeRequest,
    /// Bytes of the reply.
    LargeReply,
}

impl LogKind {
    pub const ALL: [LogKind; 3] = [LogKind::Slow, LogKind::LargeRequest, LogKind::LargeReply];

    /// As COMMANDLOG's arguments name it.
    pub const fn name(self) -> &'static str {
        match self {
            LogKind::Slow => "slow",
            LogKind::LargeRequest => "large-request",
            LogKind::LargeReply => "large-reply",
        }
    }
}

/// One command that was logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    pub id: u64,
    /// Seconds since the epoch.
    pub at: i64,
    /// What the kind of log says.
    pub value: u64,
    /// Shortened by [`shorten`].
    pub args: Vec<Box<[u8]>>,
    pub address: String,
    pub name: Vec<u8>,
}

/// Arguments of an entry, as many as in Redis, and bytes of each.
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

/// The arguments as an entry keeps them: not too many, none too long.
pub fn shorten<'a>(args: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<Box<[u8]>> {
    let len = args.len();
    let kept = if len > ARGS_MAX { ARGS_MAX - 1 } else { len };
    let short = |arg: &[u8]| match arg.len().checked_sub(ARG_BYTES_MAX) {
        None | Some(0) => arg.into(),
        Some(more) => {
            let note = format!("... ({more} more bytes)");
            [&arg[..ARG_BYTES_MAX], note.as_bytes()].concat().into()
        }
    };
    let mut shortened: Vec<Box<[u8]>> = args.take(kept).map(short).collect();
    if kept < len {
        shortened.push(format!("... ({} more arguments)", len - kept).into_bytes().into());
    }
    shortened
}

/// One log, the newest entry first.
#[derive(Debug, Default)]
struct Log {
    entries: VecDeque<LogEntry>,
    next_id: u64,
}

/// All logs of the server.
#[derive(Debug, Default)]
pub struct CommandLogs {
    logs: [Log; 3],
}

impl CommandLogs {
    /// Adds an entry, which gets the next id; the oldest go until there are no more than `len_max`.
    pub fn add(&mut self, kind: LogKind, mut entry: LogEntry, len_max: usize) {
        let log = &mut self.logs[kind as usize];
        entry.id = log.next_id;
        log.next_id += 1;
        log.entries.push_front(entry);
        log.entries.truncate(len_max);
    }

    pub fn len(&self, kind: LogKind) -> usize {
        self.logs[kind as usize].entries.len()
    }

    /// The newest first.
    pub fn entries(&self, kind: LogKind) -> impl ExactSizeIterator<Item = &LogEntry> {
        self.logs[kind as usize].entries.iter()
    }

    /// Forgets the entries; ids go on.
    pub fn reset(&mut self, kind: LogKind) {
        self.logs[kind as usize].entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: u64) -> LogEntry {
        let (address, name) = (String::new(), Vec::new());
        LogEntry { id: 0, at: 1, value, args: Vec::new(), address, name }
    }

    #[test]
    fn ids_go_on_and_old_entries_go() {
        let mut logs = CommandLogs::default();
        for value in 0..5 {
            logs.add(LogKind::Slow, entry(value), 3);
        }
        logs.add(LogKind::LargeReply, entry(9), 3);
        let ids = |logs: &CommandLogs, kind| logs.entries(kind).map(|e| e.id).collect::<Vec<_>>();
        assert_eq!(ids(&logs, LogKind::Slow), [4, 3, 2]);
        assert_eq!(ids(&logs, LogKind::LargeReply), [0]);
        logs.reset(LogKind::Slow);
        assert_eq!(logs.len(LogKind::Slow), 0);
        logs.add(LogKind::Slow, entry(7), 3);
        assert_eq!(ids(&logs, LogKind::Slow), [5]);
        logs.add(LogKind::Slow, entry(8), 0);
        assert_eq!(logs.len(LogKind::Slow), 0);
    }

    #[test]
    fn arguments_are_shortened() {
        let words: Vec<Vec<u8>> = (0..33).map(|n| n.to_string().into_bytes()).collect();
        let args = shorten(words.iter().map(Vec::as_slice));
        assert_eq!(args.len(), 32);
        assert_eq!(&*args[30], b"30");
        assert_eq!(&*args[31], b"... (2 more arguments)");
        assert_eq!(shorten(words[..32].iter().map(Vec::as_slice)).len(), 32);
        let long = [b'A'; 129];
        let args = shorten([&long[..], &long[..128]].into_iter());
        assert_eq!(&*args[0], [&long[..128], b"... (1 more bytes)"].concat());
        assert_eq!(&*args[1], &long[..128]);
    }
}
