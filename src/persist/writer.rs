//! Rounds: what shards have handed over, appended to their segments.
//!
//! No threads and no clock: whoever drives it says when.

use super::disk::{Appender, Disk};
use super::manifest::{self, Generation, Manifest};
use super::recover::Tail;
use super::scan::read_part;
use crate::journal::frame::{Head, Round, Shards};
use smallvec::SmallVec;
use std::io::{self, BufReader, Read};
use std::ops::Range;
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
    /// So much of it is on disk.
    safe: u64,
    /// Its part of the next round.
    pending: Vec<Vec<u8>>,
    /// Something was appended that was not synced.
    unsynced: bool,
    /// It is being synced up to there by another thread.
    syncing: Option<u64>,
    /// It could not be synced: what is behind `safe` may not reach the disk unless it is written again.
    suspect: bool,
    /// Behind `len` there may be something of a round that could not be written.
    frayed: bool,
}

impl Segment {
    /// A segment that is on disk.
    fn new(file: Arc<dyn Appender>, len: u64) -> Segment {
        Segment {
            file,
            len,
            safe: len,
            pending: Vec::new(),
            unsynced: false,
            syncing: None,
            suspect: false,
            frayed: false,
        }
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

/// Writes the rounds in a part of a segment over themselves, so that a sync has something to do; the
/// inner failure is that they are not there any more.
fn write_again(
    disk: &dyn Disk,
    name: &str,
    file: &dyn Appender,
    part: Range<u64>,
) -> io::Result<Result<(), &'static str>> {
    let Range { start: mut at, end } = part;
    if at >= end {
        return Ok(Ok(()));
    }
    let mut source = disk.read(name)?;
    io::copy(&mut source.by_ref().take(at), &mut io::sink())?;
    let mut source = BufReader::with_capacity(1 << 20, source);
    let (mut line, mut effects) = (Vec::new(), Vec::new());
    while at < end {
        if let Err(problem) = read_part(&mut source, end - at, &mut line, &mut effects)? {
            return Ok(Err(problem));
        }
        file.overwrite(at, &line)?;
        file.overwrite(at + line.len() as u64, &effects)?;
        at += (line.len() + effects.len()) as u64;
    }
    Ok(Ok(()))
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
    /// The manifest in the directory is this one. Else it is when the next snapshots are there: until then
    /// it names what was there before.
    named: bool,
    /// What could not be synced of the present segments cannot be read any more.
    lost: bool,
}

impl Writer {
    /// Goes on with a directory whose data is that of `manifest`, ending with round `last`; its segments end
    /// as `tails` say. Shards other in number begin a generation of their own.
    pub fn open(
        disk: Arc<dyn Disk>,
        manifest: Manifest,
        shards: usize,
        last: u64,
        tails: &[Tail],
    ) -> Result<Writer, Failure> {
        let mut writer =
            Writer { manifest, round: last + 1, synced: last, named: true, ..Writer::new(disk) };
        let last = writer.manifest.segments.last().copied();
        if let Some(generation) = last {
            let names = writer.disk.sync_names();
            names.map_err(|cause| writer.failure("sync the names of", "", cause))?;
            let (older, present) = tails.split_at(tails.len().saturating_sub(generation.shards));
            for tail in older {
                writer.make_safe(tail)?;
            }
            // Also when nothing more is written to them.
            for tail in present {
                let file = writer.make_safe(tail)?;
                writer.segments.push(Segment::new(file, tail.len));
            }
        }
        if last.is_none_or(|generation| generation.shards != shards) {
            writer.begin_generation(shards)?;
        }
        writer.older = writer.size_of_others();
        Ok(writer)
    }

    fn new(disk: Arc<dyn Disk>) -> Writer {
        Writer {
            disk,
            manifest: Manifest::default(),
            segments: Vec::new(),
            round: 1,
            synced: 0,
            older: 0,
            begun: 0,
            named: false,
            lost: false,
        }
    }

    /// What was loaded is to stay: the server that has written it may have ended before it was on disk, or
    /// because it could not be synced.
    fn make_safe(&self, tail: &Tail) -> Result<Arc<dyn Appender>, Failure> {
        let Tail { name, len, safe } = tail;
        let made = self.disk.append_from(name, *len).and_then(|file| {
            let again = write_again(&*self.disk, name, &*file, *safe..*len)?;
            again.map_err(io::Error::other)?;
            file.sync()?;
            Ok(file)
        });
        made.map_err(|cause| self.failure("sync", name, cause))
    }

    /// Begins anew in a directory, with segments that count when there are snapshots before them. What the
    /// directory has stays until then.
    pub fn begin(disk: Arc<dyn Disk>) -> Result<Writer, Failure> {
        let mut writer = Writer::new(disk);
        if writer.present_manifest()?.is_none() {
            // So that segments without snapshots are known for what they are.
            writer.put_manifest(Manifest::default())?;
        }
        Ok(writer)
    }

    /// What the directory has.
    fn present_manifest(&self) -> Result<Option<Manifest>, Failure> {
        let read = || -> io::Result<Option<Manifest>> {
            let mut text = Vec::new();
            match self.disk.read(manifest::NAME) {
                Ok(mut file) => file.read_to_end(&mut text)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            Manifest::parse(&text).map(Some).map_err(io::Error::other)
        };
        read().map_err(|cause| self.failure("read", manifest::NAME, cause))
    }

    /// A number that no file has.
    fn unused_number(&self) -> Result<u64, Failure> {
        let present = self.present_manifest()?.map_or(1, |manifest| manifest.next_number());
        let names = self.disk.list().map_err(|cause| self.failure("list", "", cause))?;
        let numbers = names.iter().filter_map(|name| manifest::number_of(name));
        Ok(numbers.map(|number| number + 1).max().unwrap_or(1).max(present))
    }

    /// Has new segments for all shards from here on; gives their generation. What was written before
    /// is on disk then.
    pub fn begin_generation(&mut self, shards: usize) -> Result<Generation, Failure> {
        match self.sync() {
            // All of it will be in the snapshots.
            Err(_) if self.lost => self.named = false,
            synced if self.named => synced?,
            _ => {}
        }
        if !self.named {
            // Of an earlier try.
            self.segments.clear();
            self.begun = self.begun.max(self.unused_number()?.saturating_sub(1));
        }
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
        match self.named {
            true => {
                let mut manifest = self.manifest.clone();
                manifest.segments.push(generation);
                self.put_manifest(manifest)?;
            }
            false => self.manifest = Manifest { base: None, segments: vec![generation] },
        }
        // Before the first round nothing was handed over.
        self.segments = segments;
        self.lost = false;
        self.older = self.size_of_others();
        Ok(generation)
    }

    /// The data begins with these snapshots from now on; files that are not needed any more go.
    pub fn rebase(&mut self, base: Generation) -> Result<(), Failure> {
        let mut manifest = self.manifest.clone();
        manifest.segments.retain(|segments| segments.number >= base.number);
        manifest.base = Some(base);
        if !self.named {
            // From now on it is as if it had been there all the time.
            self.sync()?;
        }
        self.put_manifest(manifest)?;
        self.named = true;
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

    /// Whether what is written is found after a restart.
    pub fn is_named(&self) -> bool {
        self.named
    }

    /// Puts what was handed over into the next round. Before there are segments it goes: it will be in the
    /// snapshots.
    pub fn collect(&mut self, handed: Handed) {
        if self.segments.is_empty() {
            return;
        }
        for (shard, bytes) in handed.parts {
            self.segments[shard].pending.push(bytes);
        }
    }

    /// The number of the last round that was written.
    pub fn last_round(&self) -> u64 {
        self.round - 1
    }

    /// Appends the next round to its segments, if there is something in it, and makes sure that it is on
    /// disk if it is to be `synced`; in between it calls `appended`. After an error nothing of it counts, and
    /// it can be tried again.
    pub fn write_round(
        &mut self,
        now: i64,
        synced: bool,
        appended: impl FnOnce(),
    ) -> Result<(), Failure> {
        let lens = self.append_round(now)?;
        if lens.is_empty() {
            return Ok(());
        }
        appended();
        if synced {
            self.sync()?;
        }
        for (shard, len) in lens {
            let segment = &mut self.segments[shard];
            (segment.len, segment.frayed) = (len, false);
            segment.pending.clear();
            if synced {
                (segment.safe, segment.unsynced) = (len, false);
            }
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
            let segment = &self.segments[shard];
            if segment.unsynced || segment.syncing.is_some() || segment.suspect {
                self.sync_segment(shard)?;
            }
        }
        self.synced = self.last_round();
        Ok(())
    }

    fn sync_segment(&mut self, shard: usize) -> Result<(), Failure> {
        if self.segments[shard].suspect {
            self.restore(shard)?;
        }
        let segment = &mut self.segments[shard];
        if let Err(cause) = segment.file.sync() {
            (segment.suspect, segment.unsynced) = (true, true);
            return Err(self.segment_failure("sync", shard, cause));
        }
        // What the other thread has not told of may be lost all the same.
        if segment.syncing.is_none() {
            segment.safe = segment.len;
        }
        // A round that is being written counts only when it is on disk everywhere.
        (segment.suspect, segment.unsynced) = (false, segment.frayed);
        Ok(())
    }

    /// Writes what a sync may have lost over itself. The system still has it, most likely: checksums tell.
    fn restore(&mut self, shard: usize) -> Result<(), Failure> {
        let Some(generation) = self.manifest.segments.last() else { return Ok(()) };
        let name = generation.segment(shard);
        let Segment { file, safe, len, .. } = &self.segments[shard];
        match write_again(&*self.disk, &name, &**file, *safe..*len) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(problem)) => {
                self.lost = true;
                let cause = io::Error::other(format!("what was not synced is lost: {problem}"));
                Err(self.segment_failure("write again", shard, cause))
            }
            Err(cause) => Err(self.segment_failure("write again", shard, cause)),
        }
    }

    /// Whether a sync has failed, and what it may have lost is not on disk since.
    pub fn is_suspect(&self) -> bool {
        self.segments.iter().any(|segment| segment.suspect)
    }

    /// Whether it cannot be brought there: the data have to be written anew.
    pub fn is_lost(&self) -> bool {
        self.lost
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
            (segment.unsynced, segment.syncing) = (false, Some(segment.len));
            segment.file.clone()
        });
        (files.collect(), self.round - 1)
    }

    /// The other thread has done so, or has failed to: then what it was to sync has to be written again.
    pub fn synced(&mut self, round: u64, done: bool) {
        if done {
            self.synced = self.synced.max(round);
        }
        for segment in &mut self.segments {
            match (segment.syncing.take(), done) {
                (Some(len), true) => segment.safe = segment.safe.max(len),
                (Some(_), false) => (segment.suspect, segment.unsynced) = (true, true),
                (None, _) => {}
            }
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
