//! Snapshots and rewrites that are under way when a server ends.
//!
//! A [`Disturber`] asks for them all the time. Which point one had come to is told by the files that the end has
//! left, as far as they are others than at the start:
//!
//! ```text
//!   segment.5.*  │ manifest.new │ manifest names  │ base.5.*  │ manifest.new │ manifest names 5 │
//!   are made     │              │ segments 5, too │ are there │              │ as base, and what │
//!                │              │                 │           │              │ was before goes   │
//! ```

use super::players::Trouble;
use crate::harness::Client;
use corelane::persist::manifest::{Manifest, NAME, is_data_file};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What is asked for during one run of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Rewrites,
    /// As soon as the files have grown a little.
    AutomaticRewrites,
    OneFile,
    FilesOfShards,
    Everything,
}

pub const WISHES: [Wish; 6] = [
    Wish::Rewrites,
    Wish::Rewrites,
    Wish::AutomaticRewrites,
    Wish::OneFile,
    Wish::FilesOfShards,
    Wish::Everything,
];

pub struct Disturber {
    wish: Wish,
    random: fastrand::Rng,
}

impl Disturber {
    /// Who has one of these wishes, if there are any.
    pub fn new(wishes: &[Wish], seed: u64) -> Option<Disturber> {
        let mut random = fastrand::Rng::with_seed(seed);
        let wish = *wishes.get(random.usize(..wishes.len().max(1)))?;
        Some(Disturber { wish, random })
    }

    pub fn wish(&self) -> Wish {
        self.wish
    }

    /// Asks until the connection is gone.
    pub fn play(&mut self, port: u16) -> Result<(), Trouble> {
        let Ok(mut client) = Client::try_connect(port) else { return Ok(()) };
        loop {
            let line = self.line();
            let sent = client.send_raw(format!("{line}\r\n").as_bytes());
            let Ok(reply) = sent.and_then(|()| client.recv()) else { return Ok(()) };
            let text = reply.text();
            let is_busy = text.contains("in progress") || text.contains("process is active");
            if reply.is_error() && !is_busy {
                return Err(Trouble::Wrong(format!("{line}: {text}")));
            }
            std::thread::sleep(Duration::from_micros(self.random.u64(200..6_000)));
        }
    }

    fn line(&mut self) -> &'static str {
        let wish = match self.wish {
            Wish::Everything => {
                let all = [Wish::Rewrites, Wish::OneFile, Wish::FilesOfShards];
                all[self.random.usize(..all.len())]
            }
            wish => wish,
        };
        let turn = self.random.bool();
        match wish {
            Wish::Rewrites => "BGREWRITEAOF",
            Wish::AutomaticRewrites if turn => "CONFIG SET auto-aof-rewrite-percentage 1",
            Wish::AutomaticRewrites => "CONFIG SET auto-aof-rewrite-min-size 1000",
            Wish::OneFile if turn => "CONFIG SET snapshot-files one",
            Wish::FilesOfShards if turn => "CONFIG SET snapshot-files shards",
            _ if self.random.u8(0..4) == 0 => "BGSAVE SCHEDULE",
            _ => "BGSAVE",
        }
    }
}

/// How far a rewrite had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    SegmentsMade,
    SwitchingManifest,
    Switched,
    WritingBase,
    RebasingManifest,
    RemovingOld,
}

pub const POINTS: [Point; 6] = [
    Point::SegmentsMade,
    Point::SwitchingManifest,
    Point::Switched,
    Point::WritingBase,
    Point::RebasingManifest,
    Point::RemovingOld,
];

/// The files of a directory, by name: how long they are and when they were written.
type Files = BTreeMap<String, (u64, Option<SystemTime>)>;

fn files(dir: &Path) -> Files {
    let Ok(entries) = std::fs::read_dir(dir) else { return Files::new() };
    let facts = entries.flatten().filter_map(|entry| {
        let facts = entry.metadata().ok()?;
        Some((entry.file_name().into_string().ok()?, (facts.len(), facts.modified().ok())))
    });
    facts.collect()
}

fn manifest(dir: &Path) -> Manifest {
    let text = std::fs::read(dir.join(NAME)).unwrap_or_default();
    Manifest::parse(&text).unwrap_or_default()
}

/// What the directories of a server hold.
pub struct Holding {
    appended: Files,
    manifest: Manifest,
    snapshots: Files,
    parts: Files,
}

const APPENDED: &str = "appendonlydir";
pub const ONE_FILE: &str = "dump.rdb";
pub const PARTS: &str = "dump.rdb.shards";

impl Holding {
    pub fn of(dir: &Path) -> Holding {
        Holding {
            appended: files(&dir.join(APPENDED)),
            manifest: manifest(&dir.join(APPENDED)),
            snapshots: files(dir),
            parts: files(&dir.join(PARTS)),
        }
    }

    /// How far a rewrite is that has begun since.
    pub fn rewrite_since(&self, before: &Holding) -> Option<Point> {
        let is_new = |name: &str| self.appended.get(name) != before.appended.get(name);
        let last = |manifest: &Manifest| manifest.segments.last().map_or(0, |last| last.number);
        let base = self.manifest.base.map_or(0, |base| base.number);
        let number = |name: &str| -> u64 {
            name.split('.').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let named = self.manifest.files();
        let there = self.appended.keys().filter(|name| is_data_file(name));
        let strange: Vec<&String> = there.filter(|name| !named.contains(name)).collect();
        let any = |head: &str, is: &dyn Fn(&str) -> bool| {
            strange.iter().any(|name| name.starts_with(head) && is(name))
        };
        let made = any("segment.", &|name| is_new(name) && number(name) > last(&self.manifest));
        let writing = any("base.", &|name| is_new(name) && number(name) > base);
        let new_manifest = format!("{NAME}.new");
        let names = self.appended.contains_key(&new_manifest) && is_new(&new_manifest);
        let has_switched = last(&self.manifest) > last(&before.manifest);
        match (writing, made, names) {
            (true, _, true) => Some(Point::RebasingManifest),
            (true, _, false) => Some(Point::WritingBase),
            (_, true, true) => Some(Point::SwitchingManifest),
            (_, true, false) => Some(Point::SegmentsMade),
            _ if has_switched && base < last(&self.manifest) => Some(Point::Switched),
            _ if has_switched && any("", &|name| number(name) < base) => Some(Point::RemovingOld),
            _ => None,
        }
    }

    /// Whether a snapshot has begun since and has not ended.
    pub fn is_saving_since(&self, before: &Holding) -> bool {
        let is_new = |now: &Files, then: &Files, name: &String| now.get(name) != then.get(name);
        let is_part = |name: &&String| is_data_file(name) || name.ends_with(".new");
        let one = self.snapshots.keys().filter(is_part);
        let mut one = one.filter(|name| is_new(&self.snapshots, &before.snapshots, name));
        // When one has ended, the manifest is younger than its parts, and names them.
        let written = |name: &str| self.parts.get(name).and_then(|facts| facts.1);
        let parts = self.parts.keys().filter(is_part);
        let mut parts = parts.filter(|name| is_new(&self.parts, &before.parts, name));
        one.next().is_some() || parts.any(|name| written(name) > written(NAME))
    }
}
