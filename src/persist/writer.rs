//! Rounds: what shards have handed over, appended to their segments.
//!
//! No threads and no clock: whoever drives it says when.

use super::disk::{Appender, Disk};
use super::manifest::{self, Generation, Manifest};
use crate::journal::frame::{Head, Round, Shards};
use smallvec::SmallVec;
use std::io;
use std::sync::Arc;

/// Effects by the shards whose keys they are about.
pub type Parts = SmallVec<[(usize, Vec<u8>); 1]>;

/// What a shard hands over at one time. It is written as a whole or not at all.
#[derive(Debug)]
pub struct Handed {
    pub by: usize,
    /// Rises by one from one to the next of the same shard.
    pub number: u64,
    pub parts: Parts,
}

impl Handed {
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }
}

/// One shard's segment of the present generation.
struct Segment {
    file: Arc<dyn Appender>,
    len: u64,
    /// Its part of the next round.
    pending: Vec<Vec<u8>>,
    /// Something was appended that was not synced.
    unsynced: bool,
    /// Something is being synced by another thread.
    syncing: bool,
    /// Behind `len` there may be something of a round that could not be written.
    frayed: bool,
}

impl Segment {
    fn new(file: Arc<dyn Appender>, len: u64) -> Segment {
        Segment { file, len, pending: Vec::new(), unsynced: false, syncing: false, frayed: false }
    }

    /// Cuts off what should not be there.
    fn trim(&mut self) -> io::Result<()> {
        if self.frayed {
            self.file.truncate(self.len)?;
            self.frayed = false;
        }
        Ok(())
    }
}

/// An error of the file system with the file's path.
#[derive(Debug)]
pub struct Failure {
    pub doing: &'static str,
    pub path: std::path::PathBuf,
    pub cause: io::Error,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Failure { doing, path, cause } = self;
        write!(f, "cannot {doing} {}: {}", path.display(), crate::error::io_text(cause))
    }
}

/// Appends rounds to segments.
pub struct Writer {
    disk: Arc<dyn Disk>,
    manifest: Manifest,
    segments: Vec<Segment>,
    /// The next round's number.
    round: u64,
    /// The last round that is on disk in all segments.
    synced: u64,
    /// Bytes of the files of earlier generations.
    older: u64,
    /// The last generation that was begun. A manifest that could not be written may be there all the
    /// same after a sudden end, so what it names is not touched again.
    begun: u64,
}

impl Writer {
    /// Goes on with a directory whose data is that of `manifest`, ending with round `last`. The
    /// segments of its last generation have these lengths; shards other in number begin a generation of
    /// their own.
    pub fn open(
        disk: Arc<dyn Disk>,
        manifest: Manifest,
        shards: usize,
        last: u64,
        lens: &[u64],
    ) -> Result<Writer, Failure> {
        let mut writer = Writer {
            disk,
            manifest,
            segments: Vec::new(),
            round: last + 1,
            synced: last,
            older: 0,
            begun: 0,
        };
        let last = writer.manifest.segments.last().copied();
        if let Some(generation) = last {
            writer.keep_names_and_older()?;
            // Also when nothing more is written to them: what was loaded is to stay.
            for (shard, &len) in lens.iter().enumerate() {
                let file = writer.open_synced(&generation.segment(shard), len)?;
                writer.segments.push(Segment::new(file, len));
            }
        }
        if last.is_none_or(|generation| generation.shards != shards) {
            writer.begin_generation(shards)?;
        }
        writer.older = writer.size_of_others();
        Ok(writer)
    }

    fn open_synced(&self, name: &str, len: u64) -> Result<Arc<dyn Appender>, Failure> {
        let file = self.disk.append_from(name, len);
        let file = file.map_err(|cause| self.failure("open", name, cause))?;
        file.sync().map_err(|cause| self.failure("sync", name, cause))?;
        Ok(file)
    }

    /// What was loaded and is written to no more is to stay: the server that has written it may have
    /// ended before it was on disk.
    fn keep_names_and_older(&self) -> Result<(), Failure> {
        let names = self.disk.sync_names();
        names.map_err(|cause| self.failure("sync the names of", "", cause))?;
        let Some((_, older)) = self.manifest.segments.split_last() else { return Ok(()) };
        for name in older.iter().flat_map(|g| (0..g.shards).map(|shard| g.segment(shard))) {
            let len = self.disk.len(&name);
            let len = len.map_err(|cause| self.failure("look at", &name, cause))?;
            self.open_synced(&name, len)?;
        }
        Ok(())
    }

    /// Has new segments for all shards from here on; gives their generation. What was written before
    /// is on disk then.
    pub fn begin_generation(&mut self, shards: usize) -> Result<Generation, Failure> {
        self.sync()?;
        self.begun = self.manifest.next_number().max(self.begun + 1);
        let generation = Generation { number: self.begun, shards };
        let mut segments = Vec::new();
        for shard in 0..shards {
            let name = generation.segment(shard);
            let head = Head { shard, shards, first: self.round }.line();
            let made = self.disk.create(&name).and_then(|file| {
                file.append(&[&head])?;
                file.sync()?;
                Ok(file)
            });
            let file = made.map_err(|cause| self.failure("make", &name, cause))?;
            segments.push(Segment::new(file, head.len() as u64));
        }
        // A manifest must not name what may be gone after a sudden end.
        let names = self.disk.sync_names();
        names.map_err(|cause| self.failure("sync the names of", "", cause))?;
        let mut manifest = self.manifest.clone();
        manifest.segments.push(generation);
        self.put_manifest(manifest)?;
        // Before the first round nothing was handed over.
        self.segments = segments;
        self.older = self.size_of_others();
        Ok(generation)
    }

    /// The data begins with these snapshots from now on; files that are not needed any more go.
    pub fn rebase(&mut self, base: Generation) -> Result<(), Failure> {
        let mut manifest = self.manifest.clone();
        manifest.segments.retain(|segments| segments.number >= base.number);
        manifest.base = Some(base);
        self.put_manifest(manifest)?;
        self.remove_others();
        self.older = self.size_of_others();
        Ok(())
    }

    fn put_manifest(&mut self, manifest: Manifest) -> Result<(), Failure> {
        let put = self.disk.replace(manifest::NAME, manifest.text().as_bytes());
        put.map_err(|cause| self.failure("write", manifest::NAME, cause))?;
        self.manifest = manifest;
        Ok(())
    }

    /// Removes data files that the manifest does not name. Failing to is a waste of space only.
    fn remove_others(&self) {
        let needed = self.manifest.files();
        for name in self.disk.list().unwrap_or_default() {
            if manifest::is_data_file(&name) && !needed.contains(&name) {
                let _ = self.disk.remove(&name);
            }
        }
    }

    /// Bytes of all files but the segments that are being written.
    fn size_of_others(&self) -> u64 {
        let present = self.manifest.segments.last();
        let is_present =
            |name: &str| present.is_some_and(|g| (0..g.shards).any(|s| g.segment(s) == name));
        let files = self.manifest.files();
        let others = files.iter().filter(|name| !is_present(name));
        others.map(|name| self.disk.len(name).unwrap_or(0)).sum()
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Bytes of all files together.
    pub fn size(&self) -> u64 {
        self.older + self.segments.iter().map(|segment| segment.len).sum::<u64>()
    }

    /// Puts what was handed over into the next round.
    pub fn collect(&mut self, handed: Handed) {
        for (shard, bytes) in handed.parts {
            self.segments[shard].pending.push(bytes);
        }
    }

    /// The number of the last round that was written.
    pub fn last_round(&self) -> u64 {
        self.round - 1
    }

    /// Appends the next round to its segments, if there is something in it, and makes sure that it is on
    /// disk if it is to be `synced`. After an error nothing of it counts, and it can be tried again.
    pub fn write_round(&mut self, now: i64, synced: bool) -> Result<(), Failure> {
        let lens = self.append_round(now)?;
        if lens.is_empty() {
            return Ok(());
        }
        if synced {
            self.sync()?;
        }
        for (shard, len) in lens {
            let segment = &mut self.segments[shard];
            segment.len = len;
            segment.frayed = false;
            segment.pending.clear();
        }
        self.round += 1;
        if synced {
            self.synced = self.last_round();
        }
        Ok(())
    }

    /// Appends what is pending; gives how long the segments are with it.
    fn append_round(&mut self, now: i64) -> Result<SmallVec<[(usize, u64); 16]>, Failure> {
        let mut shards = Shards::default();
        let mut lens: SmallVec<[(usize, u64); 16]> = SmallVec::new();
        for (shard, segment) in self.segments.iter().enumerate() {
            if !segment.pending.is_empty() {
                shards.add(shard);
                lens.push((shard, segment.len));
            }
        }
        let mut round = Round::new(self.round, now, self.synced, shards);
        for (shard, len) in &mut lens {
            let segment = &mut self.segments[*shard];
            round.seal(&segment.pending);
            let mut line = Vec::with_capacity(64);
            round.push_to(&mut line);
            *len += line.len() as u64 + round.bytes;
            let trimmed = segment.trim();
            (segment.frayed, segment.unsynced) = (true, true);
            let appended = trimmed.and_then(|()| {
                let mut pieces: SmallVec<[&[u8]; 8]> = SmallVec::new();
                pieces.push(&line);
                pieces.extend(segment.pending.iter().map(Vec::as_slice));
                segment.file.append(&pieces)
            });
            let shard = *shard;
            appended.map_err(|cause| self.segment_failure("append to", shard, cause))?;
        }
        Ok(lens)
    }

    /// Makes sure that all that was written is on disk.
    pub fn sync(&mut self) -> Result<(), Failure> {
        for shard in 0..self.segments.len() {
            // The other thread may not be done yet, and may fail.
            if self.segments[shard].unsynced || self.segments[shard].syncing {
                let synced = self.segments[shard].file.sync();
                synced.map_err(|cause| self.segment_failure("sync", shard, cause))?;
                self.segments[shard].unsynced = false;
                self.segments[shard].syncing = false;
            }
        }
        self.synced = self.last_round();
        Ok(())
    }

    /// Cuts off what could not be written, if it is never to be tried again.
    pub fn give_up_round(&mut self) -> Result<(), Failure> {
        for shard in 0..self.segments.len() {
            self.segments[shard].pending.clear();
            let trimmed = self.segments[shard].trim();
            trimmed.map_err(|cause| self.segment_failure("cut", shard, cause))?;
        }
        Ok(())
    }

    /// The files that have to be synced for what was written until now, for another thread to do so;
    /// and the last round.
    pub fn to_sync(&mut self) -> (Vec<Arc<dyn Appender>>, u64) {
        let unsynced = self.segments.iter_mut().filter(|segment| segment.unsynced);
        let files = unsynced.map(|segment| {
            (segment.unsynced, segment.syncing) = (false, true);
            segment.file.clone()
        });
        (files.collect(), self.round - 1)
    }

    /// The other thread has done so, or has failed to: then all is to be synced again.
    pub fn synced(&mut self, round: u64, done: bool) {
        if done {
            self.synced = self.synced.max(round);
        }
        for segment in &mut self.segments {
            segment.unsynced |= !done;
            segment.syncing = false;
        }
    }

    fn segment_failure(&self, doing: &'static str, shard: usize, cause: io::Error) -> Failure {
        let name = self.manifest.segments.last().map(|generation| generation.segment(shard));
        self.failure(doing, &name.unwrap_or_default(), cause)
    }

    fn failure(&self, doing: &'static str, name: &str, cause: io::Error) -> Failure {
        Failure { doing, path: self.disk.path(name), cause }
    }
}
