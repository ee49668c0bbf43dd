//! Cutting a damaged data directory to the last point at which all fits together.
//!
//! First it is planned, so that it can be told; then it is done:
//!
//! ```text
//!   what is cut is copied to *.before-repair, and that is on disk
//!   later generations: the manifest names them no more, their files are renamed
//!   segments are cut; one without a head gets a new one
//! ```
//!
//! When it ends suddenly in between, it can be begun again: each step leaves less to be cut.

use super::check::{End, Segments, cut_of};
use super::disk::Disk;
use super::manifest::{self, Manifest};
use crate::journal::frame::{Head, LINE_MAX, Round};
use std::collections::BTreeMap;
use std::io::{self, Read};

/// A segment to be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub name: String,
    /// How long it is then.
    pub keep: u64,
    pub len: u64,
    /// It is written anew, with this head and nothing else.
    pub head: Option<Head>,
}

/// What is to be done, and what is lost by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub cuts: Vec<Cut>,
    /// Whole files that the manifest names no more, with their lengths.
    pub dropped: Vec<(String, u64)>,
    /// The manifest when files are dropped.
    pub manifest: Option<Manifest>,
    /// Rounds of which something is dropped that can still be seen: their times of writing, milliseconds
    /// since the epoch.
    pub rounds: BTreeMap<u64, i64>,
}

impl Plan {
    /// Bytes that are dropped.
    pub fn bytes(&self) -> u64 {
        let cut = self.cuts.iter().map(|cut| cut.len - cut.keep);
        cut.chain(self.dropped.iter().map(|(_, len)| *len)).sum()
    }
}

/// Plans to cut everything behind `end`.
pub(super) fn plan(
    disk: &dyn Disk,
    manifest: &Manifest,
    all: &[Segments],
    end: End,
) -> io::Result<Plan> {
    let mut plan =
        Plan { cuts: Vec::new(), dropped: Vec::new(), manifest: None, rounds: BTreeMap::new() };
    for (at, segments) in all.iter().enumerate().skip(end.generation) {
        for (shard, scan) in segments.scans.iter().enumerate() {
            let from = match at == end.generation {
                true => scan.end_of(end.round),
                false => scan.start,
            };
            for round in rounds_behind(disk, &scan.name, from)? {
                if round.number > end.round {
                    plan.rounds.insert(round.number, round.at);
                }
            }
            match at == end.generation {
                true => plan.cuts.extend(cut_of(segments, shard, end)),
                false => plan.dropped.push((scan.name.clone(), scan.len)),
            }
        }
    }
    // Before the end there is nothing to be cut but a head that is missing where no round was.
    for segments in &all[..end.generation.min(all.len())] {
        let cuts = segments.headless.iter().filter_map(|&shard| cut_of(segments, shard, end));
        plan.cuts.extend(cuts);
    }
    if !plan.dropped.is_empty() {
        let mut manifest = manifest.clone();
        manifest.segments.truncate(end.generation + 1);
        plan.manifest = Some(manifest);
    }
    Ok(plan)
}

/// The rounds of which something can be found from a place on where something may be wrong.
fn rounds_behind(disk: &dyn Disk, name: &str, from: u64) -> io::Result<Vec<Round>> {
    let mut file = match disk.read(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    io::copy(&mut file.by_ref().take(from), &mut io::sink())?;
    let mut rest = Vec::new();
    file.read_to_end(&mut rest)?;
    let (mut rounds, mut at) = (Vec::new(), 0);
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        let line = here.iter().take(LINE_MAX).position(|&byte| byte == b'\r');
        let round = line.and_then(|len| Some((Round::parse(&here[..len])?, len + 2)));
        if let Some((round, start)) = round {
            let end = start.checked_add(round.bytes as usize);
            let fits = end.and_then(|end| here.get(start..end)).is_some_and(|e| round.fits(e));
            // Where a round is expected it is one, whatever is wrong with it.
            if fits || at == 0 {
                let next = if fits { start + round.bytes as usize } else { start };
                rounds.push(round);
                at += next;
                continue;
            }
        }
        at += here.iter().position(|&byte| byte == b'\n').map_or(here.len(), |end| end + 1);
    }
    Ok(rounds)
}

/// Carries out a plan. Gives the copies that it has made.
pub fn repair(disk: &dyn Disk, plan: &Plan) -> io::Result<Vec<String>> {
    let mut copies = Vec::new();
    let names = disk.list()?;
    for cut in plan.cuts.iter().filter(|cut| names.contains(&cut.name)) {
        let copy = free_name(&names, &cut.name);
        copy_file(disk, &cut.name, &copy)?;
        copies.push(copy);
    }
    disk.sync_names()?;
    if let Some(manifest) = &plan.manifest {
        disk.replace(manifest::NAME, manifest.text().as_bytes())?;
    }
    for (name, _) in plan.dropped.iter().filter(|(name, _)| names.contains(name)) {
        let copy = free_name(&names, name);
        disk.rename(name, &copy)?;
        copies.push(copy);
    }
    for cut in &plan.cuts {
        let file = match cut.head {
            None => disk.append_from(&cut.name, cut.keep)?,
            Some(head) => {
                let file = disk.create(&cut.name)?;
                file.append(&[&head.line()])?;
                file
            }
        };
        file.sync()?;
    }
    disk.sync_names()?;
    Ok(copies)
}

/// A name for a copy that no file has.
fn free_name(names: &[String], name: &str) -> String {
    let first = format!("{name}.before-repair");
    let numbered = (2..).map(|number: u64| format!("{first}.{number}"));
    let mut all = std::iter::once(first.clone()).chain(numbered);
    all.find(|name| !names.contains(name)).unwrap_or_else(|| first.clone())
}

fn copy_file(disk: &dyn Disk, from: &str, to: &str) -> io::Result<()> {
    let mut source = disk.read(from)?;
    let file = disk.create(to)?;
    let mut piece = vec![0; 1 << 20];
    loop {
        let read = source.read(&mut piece)?;
        if read == 0 {
            return file.sync();
        }
        file.append(&[&piece[..read]])?;
    }
}
