//! A client that listens to all keyspace events, and when two of them have heard the same.

use super::{Client, Cmd, Reply, Server};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Channels enough to have one on every shard.
const ENDS: usize = 24;

/// A message: its channel and its text.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub channel: Vec<u8>,
    pub text: Vec<u8>,
}

/// A key of a database.
pub type Place = (Vec<u8>, Vec<u8>);

impl Message {
    /// Whose event it is, and the event with the kind of channel that it came by.
    pub fn event(&self) -> (Place, Vec<u8>) {
        let Message { channel, text } = self;
        let colon = channel.windows(3).position(|w| w == b"__:").expect("a channel of events");
        let (head, tail) = (&channel[..colon], &channel[colon + 3..]);
        let (kind, db) = (&head[..10], head[11..].to_vec());
        let (key, event) =
            if kind == b"__keyspace" { (tail, &text[..]) } else { (&text[..], tail) };
        ((db, key.to_vec()), [kind, b" ", event].concat())
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.channel.escape_ascii(), self.text.escape_ascii())
    }
}

/// Listens to all events of a server.
pub struct Listener {
    client: Client,
    other: Client,
    name: usize,
}

impl Listener {
    pub fn new(server: &Server) -> Listener {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let (mut client, other) = (server.client(), server.client());
        client.run("PSUBSCRIBE __key*__:*");
        Listener { client, other, name: COUNT.fetch_add(1, Ordering::Relaxed) }
    }

    /// What has been raised by the commands that are done.
    pub fn heard(&mut self) -> Vec<Message> {
        // It waits on every shard until all keys are let go, and the messages about them sent.
        self.other.run("DBSIZE");
        let own = self.name.to_string().into_bytes();
        for n in 0..ENDS {
            let channel = format!("__keyend__:{n}");
            let publish = Cmd(vec![b"PUBLISH".to_vec(), channel.into_bytes(), own.clone()]);
            assert!(self.other.call(&publish).int() >= 1, "this one listens");
        }
        let (mut messages, mut ends) = (Vec::new(), 0);
        while ends < ENDS {
            let message = self.next();
            match message.channel.starts_with(b"__keyend__") {
                // There may be other listeners.
                true => ends += usize::from(message.text == own),
                false => messages.push(message),
            }
        }
        messages
    }

    /// The next message.
    pub fn next(&mut self) -> Message {
        let reply = self.client.recv().expect("a message");
        match reply.items() {
            [_, _, Reply::Bulk(channel), Reply::Bulk(text)] => {
                Message { channel: channel.clone(), text: text.clone() }
            }
            other => panic!("not a message of a pattern: {other:?}"),
        }
    }
}

/// The events of each key.
pub fn by_key(messages: &[Message]) -> BTreeMap<Place, Vec<Vec<u8>>> {
    let mut keys: BTreeMap<_, Vec<Vec<u8>>> = BTreeMap::new();
    for (key, event) in messages.iter().map(Message::event) {
        keys.entry(key).or_default().push(event);
    }
    keys
}

/// What differs, in the order of all messages `together`, or of those of each key.
pub fn difference(expected: &[Message], heard: &[Message], together: bool) -> Option<String> {
    if together {
        let at = expected.iter().zip(heard).position(|(expected, heard)| expected != heard);
        return match at {
            Some(at) => Some(format!("{:?} and not {:?}", expected[at], heard[at])),
            None if expected.len() != heard.len() => Some("not as many messages".into()),
            None => None,
        };
    }
    let (theirs, own) = (by_key(expected), by_key(heard));
    let (db, key) = own.keys().chain(theirs.keys()).find(|key| own.get(key) != theirs.get(key))?;
    Some(format!("different events of {} in {}", key.escape_ascii(), db.escape_ascii()))
}
