//! The files of one snapshot: one for each shard, or all of them put together.
//!
//! No threads: whoever drives it says what comes next. An error leaves files that nothing names.

use super::disk::{Appender, Disk};
use super::manifest::Generation;
use crate::rdb::output::Output;
use crate::rdb::writer::{Facts, Tally, magic, put_end, put_facts, put_function};
use crate::rdb::{VERSION, VERSION_VALKEY};
use std::io::{self, Read};
use std::sync::Arc;

/// What the files say of the server.
pub struct About {
    pub redis_version: &'static str,
    /// Seconds since the epoch.
    pub made_at: i64,
    pub used_memory: u64,
    /// The texts of the libraries of functions.
    pub functions: Vec<Vec<u8>>,
    /// What is written is synced every few megabytes.
    pub sync_steps: bool,
}

/// Bytes between two syncs.
const SYNC_STEP: u64 = 4 << 20;

/// One file, that of a shard or of all.
pub(super) struct ShardFile {
    name: String,
    file: Arc<dyn Appender>,
    tally: Tally,
    /// Bytes before the first entry.
    head: u64,
    /// Bytes since the last sync, if there are to be any before the end.
    unsynced: Option<u64>,
    /// Of the format, when all entries are there.
    pub(super) version: Option<u16>,
}

impl ShardFile {
    pub(super) fn begin(
        disk: &dyn Disk,
        name: String,
        about: &About,
        is_first: bool,
        is_base: bool,
    ) -> io::Result<ShardFile> {
        let file = disk.create(&name)?;
        let mut out = Output::default();
        put_facts(
            &mut out,
            &Facts {
                redis_version: about.redis_version,
                made_at: about.made_at,
                used_memory: about.used_memory,
                is_aof_base: is_base,
            },
        );
        for code in about.functions.iter().filter(|_| is_first) {
            put_function(&mut out, code);
        }
        let mut tally = Tally::default();
        tally.add(&out.bytes);
        file.append(&[&magic(VERSION), &out.bytes])?;
        let head = tally.file_len();
        let unsynced = about.sync_steps.then_some(0);
        Ok(ShardFile { name, file, tally, head, unsynced, version: None })
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tally.add(bytes);
        self.file.append(&[bytes])?;
        let Some(unsynced) = &mut self.unsynced else { return Ok(()) };
        *unsynced += bytes.len() as u64;
        if *unsynced < SYNC_STEP {
            return Ok(());
        }
        *unsynced = 0;
        self.file.sync()
    }

    /// Writes what follows the last entry; then all is on disk.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let version = self.version.unwrap_or(VERSION);
        let mut out = Output::default();
        put_end(&mut out);
        self.tally.add(&out.bytes);
        out.bytes.extend_from_slice(&self.tally.checksum(version).to_le_bytes());
        self.file.append(&[&out.bytes])?;
        if version == VERSION_VALKEY {
            // It was not known at the beginning.
            self.file.overwrite(0, &magic(version))?;
        }
        self.file.sync()
    }
}

/// The files of all shards.
#[derive(Default)]
pub struct ShardFiles {
    files: Vec<ShardFile>,
}

impl ShardFiles {
    /// Makes the files of this generation, without entries.
    pub fn begin(
        &mut self,
        disk: &dyn Disk,
        generation: Generation,
        about: &About,
        is_base: bool,
    ) -> io::Result<()> {
        for shard in 0..generation.shards {
            let name = generation.base(shard);
            self.files.push(ShardFile::begin(disk, name, about, shard == 0, is_base)?);
        }
        Ok(())
    }

    pub fn append(&mut self, shard: usize, bytes: &[u8]) -> io::Result<()> {
        self.files[shard].append(bytes)
    }

    /// All entries of a shard are there, which need this version of the format.
    pub fn is_filled(&mut self, shard: usize, version: u16) {
        self.files[shard].version = Some(version);
    }

    pub fn are_filled(&self) -> bool {
        self.files.iter().all(|file| file.version.is_some())
    }

    /// Ends the files; then they are on disk. Gives how long they are together.
    pub fn end(&mut self, disk: &dyn Disk) -> io::Result<u64> {
        for file in &mut self.files {
            file.end()?;
        }
        disk.sync_names()?;
        Ok(self.files.iter().map(|file| file.tally.file_len() + 8).sum())
    }

    /// Puts all shards' entries into one file.
    pub fn join(&self, disk: &dyn Disk, name: &str) -> io::Result<()> {
        let new = format!("{name}.new");
        let file = disk.create(&new)?;
        let versions = self.files.iter().filter_map(|file| file.version);
        let version = versions.max().unwrap_or(VERSION);
        file.append(&[&magic(version)])?;
        let mut tally = Tally::default();
        for (at, part) in self.files.iter().enumerate() {
            // The facts and functions are those of the first.
            let from = if at == 0 { magic(VERSION).len() as u64 } else { part.head };
            // Its end and checksum follow the entries.
            let to = part.tally.file_len() - 1;
            let mut source = disk.read(&part.name)?;
            io::copy(&mut source.by_ref().take(from), &mut io::sink())?;
            let mut source = source.take(to - from);
            let mut piece = vec![0; 1 << 20];
            loop {
                let read = source.read(&mut piece)?;
                if read == 0 {
                    break;
                }
                tally.add(&piece[..read]);
                file.append(&[&piece[..read]])?;
            }
        }
        let mut whole =
            ShardFile { name: new, file, tally, head: 0, unsynced: None, version: Some(version) };
        whole.end()?;
        disk.rename(&whole.name, name)?;
        disk.sync_names()?;
        self.files.iter().for_each(|part| drop(disk.remove(&part.name)));
        Ok(())
    }

    /// Takes away what was written in vain.
    pub fn remove(&self, disk: &dyn Disk) {
        self.files.iter().for_each(|file| drop(disk.remove(&file.name)));
    }
}
