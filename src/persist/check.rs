//! A data directory looked through from one end to the other, as far as it is right and why no further.
//!
//! ```text
//!   manifest ──> base: checksums, values, whose keys       wrong: nothing follows from it
//!            ──> segments, by generation: heads, rounds     ┐ the first round that is not right is the end:
//!            ──> effects replayed                           ┘ a Plan says what would be cut behind it
//! ```
//!
//! Nothing is written here. What a server would find at its start is found by the same means, but here
//! looking goes on where a server stops.

use super::disk::Disk;
use super::foreign::{Done, Kept, ShardTarget, Target};
use super::manifest::{self, Generation, Manifest};
use super::recover::{self, FREE_AT_ONCE, Loading, at_once, whole_rounds};
use super::repair::{Cut, Plan, plan};
use super::replay::replay;
use super::scan::{self, Part, Scan, Unusable};
use crate::error::{Fatal, io_text};
use crate::journal::frame::Head;
use crate::rdb::file::{Options, Stored};
use crate::resp::Args;
use crate::shard::{Loaded, SlotTable};
use std::io::{self, BufReader, Read};
use std::sync::Mutex;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub file: String,
    /// Byte of the file, where it is known apart from the text.
    pub at: Option<u64>,
    pub text: String,
}

/// A file that the manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    pub name: String,
    pub bytes: u64,
    /// Of a snapshot.
    pub keys: Option<usize>,
    /// Of a segment.
    pub rounds: Option<usize>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Checked {
    pub manifest: Manifest,
    pub files: Vec<FileFacts>,
    /// All keys up to the last round that is right; unknown when the base is damaged.
    pub keys: Option<usize>,
    pub commands: u64,
    /// The last round that is right.
    pub last_round: u64,
    pub wrong: Vec<Wrong>,
    /// What is no fault.
    pub notes: Vec<String>,
    /// Nothing is wrong but that the server has ended in the middle of a round: its next start cuts that off.
    pub is_torn_only: bool,
    /// What would make it right, if something is wrong and that is possible.
    pub plan: Option<Plan>,
}

impl Checked {
    fn add_wrong(&mut self, file: &str, at: Option<u64>, text: impl Into<String>) {
        self.wrong.push(Wrong { file: file.to_string(), at, text: text.into() });
    }
}

/// The segments of one generation, and how far they are right.
pub struct Segments {
    pub generation: Generation,
    pub scans: Vec<Scan>,
    /// The segments that have no head that can be used.
    pub headless: Vec<usize>,
    /// The round before its first.
    pub before: u64,
}

/// Looks through what the manifest names. An error when that cannot even be begun.
pub fn check(loading: &Loading) -> io::Result<Checked> {
    let mut checked = Checked::default();
    let mut text = Vec::new();
    loading.disk.read(manifest::NAME)?.read_to_end(&mut text)?;
    checked.manifest = match Manifest::parse(&text) {
        Ok(manifest) => manifest,
        Err(problem) => {
            checked.add_wrong(manifest::NAME, None, problem);
            return Ok(checked);
        }
    };
    note_others(loading.disk, &mut checked)?;
    let base = check_base(loading, &mut checked);
    let mut all = Vec::new();
    for generation in checked.manifest.segments.clone() {
        all.push(scan_all(loading, generation, &mut checked)?);
    }
    let mut cut = find_cut(&mut all, &mut checked);
    if let Some(mut base) = base {
        loop {
            let started = base.take().map_or_else(|| load_base(loading, &checked.manifest), Ok);
            match replay_all(loading, started, &all, cut, &mut checked) {
                Ok(()) => break,
                Err(earlier) => cut = earlier,
            }
            // It has been filled further than it is right.
            base = None;
        }
        if checked.wrong.iter().any(|wrong| wrong.at.is_some()) || is_cut(&all, cut) {
            checked.plan = Some(plan(loading.disk, &checked.manifest, &all, cut)?);
        }
    }
    checked.last_round = cut.round;
    Ok(checked)
}

/// Files that have no part in the data.
fn note_others(disk: &dyn Disk, checked: &mut Checked) -> io::Result<()> {
    let needed = checked.manifest.files();
    let mut names = disk.list()?;
    names.sort();
    for name in names.iter().filter(|name| **name != manifest::NAME && !needed.contains(name)) {
        let bytes = disk.len(name).unwrap_or(0);
        checked.notes.push(format!("{name} ({bytes} bytes) has no part in the data"));
    }
    Ok(())
}

/// The text of what stops a server.
fn cause(fatal: Fatal) -> String {
    match fatal {
        Fatal::System { cause, .. } => cause,
        Fatal::File { cause, .. } => io_text(&cause),
        other => other.to_string(),
    }
}

fn empty(loading: &Loading, shards: usize) -> Vec<Loaded> {
    (0..shards).map(|shard| (loading.shard)(shard).keyspace.into_loaded()).collect()
}

fn load_base(loading: &Loading, manifest: &Manifest) -> Result<Vec<Loaded>, Fatal> {
    let Some(base) = manifest.base else {
        return Ok(empty(loading, manifest.segments.first().map_or(1, |g| g.shards)));
    };
    at_once(loading.threads, base.shards, |index| load_one(loading, &base.base(index), index))
}

fn load_one(loading: &Loading, name: &str, index: usize) -> Result<Loaded, Fatal> {
    let mut shard = (loading.shard)(index);
    recover::load_snapshot(loading, name, &mut shard)?;
    Ok(shard.keyspace.into_loaded())
}

/// Loads the snapshots with which the data begin; nothing if one of them is damaged.
fn check_base(loading: &Loading, checked: &mut Checked) -> Option<Option<Vec<Loaded>>> {
    let Some(base) = checked.manifest.base else {
        return Some(load_base(loading, &checked.manifest).ok());
    };
    let results = at_once(loading.threads, base.shards, |index| {
        Ok(load_one(loading, &base.base(index), index))
    });
    let (mut all, slots) = (Vec::new(), SlotTable::contiguous(base.shards));
    for (index, result) in results.into_iter().flatten().enumerate() {
        let name = base.base(index);
        let bytes = loading.disk.len(&name).unwrap_or(0);
        let keys = result.as_ref().ok().map(Loaded::keys);
        checked.files.push(FileFacts { name: name.clone(), bytes, keys, rounds: None });
        match result {
            Ok(loaded) => {
                let strangers = loaded.strangers(&slots, index);
                if strangers > 0 {
                    let text = format!("{strangers} keys belong to other shards");
                    checked.add_wrong(&name, None, text);
                }
                all.push(loaded);
            }
            Err(fatal) => checked.add_wrong(&name, None, cause(fatal)),
        }
    }
    (all.len() == base.shards).then_some(Some(all))
}

fn scan_all(
    loading: &Loading,
    generation: Generation,
    checked: &mut Checked,
) -> io::Result<Segments> {
    let scanned = at_once(loading.threads, generation.shards, |shard| {
        Ok(scan::scan(loading.disk, &generation.segment(shard)))
    });
    let scanned = scanned.map_err(|fatal| io::Error::other(cause(fatal)))?;
    let mut segments = Segments { generation, scans: Vec::new(), headless: Vec::new(), before: 0 };
    for (shard, result) in scanned.into_iter().enumerate() {
        let name = generation.segment(shard);
        let problem = match result {
            Ok(scan) if (scan.head.shard, scan.head.shards) == (shard, generation.shards) => {
                segments.scans.push(scan);
                continue;
            }
            Ok(_) => "it belongs to another shard".to_string(),
            Err(Unusable::Foreign(problem)) => problem,
            Err(Unusable::Unreadable(error)) => io_text(&error),
        };
        checked.add_wrong(&name, Some(0), problem);
        segments.headless.push(shard);
        let head = Head { shard, shards: generation.shards, first: 0 };
        segments.scans.push(Scan {
            len: loading.disk.len(&name).unwrap_or(0),
            name,
            head,
            start: 0,
            parts: Vec::new(),
            shards: Vec::new(),
            synced: 0,
            problem: None,
        });
    }
    let facts = segments.scans.iter().map(|scan| FileFacts {
        name: scan.name.clone(),
        bytes: scan.len,
        keys: None,
        rounds: Some(scan.parts.len()),
    });
    checked.files.extend(facts);
    Ok(segments)
}

/// How far the data go: to this round, which is one of this generation or the one before its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// An index of the manifest's generations of segments.
    pub generation: usize,
    pub round: u64,
}

/// Finds the last round of those that are whole, as all before them are.
fn find_cut(all: &mut [Segments], checked: &mut Checked) -> End {
    let mut end = End { generation: 0, round: 0 };
    for at in 0..all.len() {
        let segments = &mut all[at];
        let first = segments.scans.iter().map(|scan| scan.head.first).max().unwrap_or(0);
        if at > 0 && first > end.round + 1 {
            let text = format!(
                "its first round is {first}, but the segments before it end with round {}",
                end.round
            );
            checked.add_wrong(&segments.generation.segment(0), Some(0), text);
            return end;
        }
        segments.before = end.round.max(first.saturating_sub(1));
        let whole = whole_rounds(&segments.scans, segments.before);
        end = End { generation: at, round: whole };
        let segments = &all[at];
        let is_whole = segments.headless.is_empty()
            && segments.scans.iter().all(|scan| scan.end_of(whole) == scan.len);
        let synced = all[at..].iter().flat_map(|s| &s.scans).map(|scan| scan.synced).max();
        let was_synced = synced.unwrap_or(0) > whole && at + 1 == all.len();
        if is_whole && !was_synced {
            continue;
        }
        let is_last = at + 1 == all.len();
        checked.is_torn_only = checked.wrong.is_empty() && is_last && !was_synced;
        tell_incomplete(segments, whole, checked);
        if !checked.is_torn_only {
            checked.notes.push(format!(
                "what is wrong behind round {whole} is no accident of a sudden end: more than that was on disk"
            ));
        }
        return end;
    }
    end
}

/// Says why the round behind the last whole one is not whole.
fn tell_incomplete(segments: &Segments, whole: u64, checked: &mut Checked) {
    let before = checked.wrong.len();
    for scan in &segments.scans {
        if let Some(problem) = scan.problem {
            checked.add_wrong(&scan.name, Some(scan.end()), problem);
        }
    }
    let next = whole + 1;
    let part = |scan: &Scan| -> Option<Part> {
        scan.parts.iter().find(|part| part.round > whole).copied().filter(|part| part.round == next)
    };
    let Some((has, shards)) = segments
        .scans
        .iter()
        .find_map(|scan| Some((scan, &scan.shards[part(scan)?.shards as usize])))
    else {
        if checked.wrong.len() == before {
            let later = segments.scans.iter().find(|scan| scan.end_of(whole) < scan.len);
            let scan = later.unwrap_or(&segments.scans[0]);
            let text = format!("round {next} is in no segment, and others follow it");
            checked.add_wrong(&scan.name, Some(scan.end_of(whole)), text);
        }
        return;
    };
    for shard in shards.iter() {
        let Some(scan) = segments.scans.get(shard) else { continue };
        if part(scan).is_none() && !(scan.problem.is_some() && scan.end() == scan.end_of(whole)) {
            let text = format!("round {next} has no part here, as {} says it has", has.name);
            checked.add_wrong(&scan.name, Some(scan.end_of(whole)), text);
        }
    }
}

/// Whether something lies behind the end.
fn is_cut(all: &[Segments], end: End) -> bool {
    all.iter().enumerate().any(|(at, segments)| {
        at > end.generation
            || !segments.headless.is_empty()
            || segments.scans.iter().any(|scan| scan.end_of(end.round) < scan.len)
    }) && (all.len() > end.generation)
}

/// What replaying one segment has come to.
struct Replayed {
    loaded: Loaded,
    commands: u64,
    failed: u64,
    first_failure: Option<String>,
    /// A round that is not what a server writes: its number, where, and why.
    stopped: Option<(u64, u64, String)>,
}

/// Replays all rounds up to the end. An earlier end if one of them cannot be.
fn replay_all(
    loading: &Loading,
    base: Result<Vec<Loaded>, Fatal>,
    all: &[Segments],
    end: End,
    checked: &mut Checked,
) -> Result<(), End> {
    let Ok(mut loaded) = base else { return Ok(()) };
    (checked.commands, checked.keys) = (0, None);
    let (mut failed, mut first_failure) = (0, None);
    for (at, segments) in all.iter().enumerate().take(end.generation + 1) {
        let shards = segments.generation.shards;
        if loaded.len() != shards {
            loaded = Loaded::distribute(loaded, &SlotTable::contiguous(shards));
        }
        let given: Vec<_> = loaded.into_iter().map(|loaded| Mutex::new(Some(loaded))).collect();
        let replayed = at_once(loading.threads, shards, |index| {
            let loaded = given[index].lock().ok().and_then(|mut loaded| loaded.take());
            replay_segment(loading, loaded, &segments.scans[index], index, end.round)
        });
        let replayed = match replayed {
            Ok(replayed) => replayed,
            Err(fatal) => {
                checked.add_wrong(&segments.generation.segment(0), None, cause(fatal));
                return Ok(());
            }
        };
        let stopped = replayed.iter().zip(&segments.scans);
        let stopped = stopped.filter_map(|(done, scan)| Some((done.stopped.as_ref()?, scan)));
        if let Some(((round, offset, text), scan)) = stopped.min_by_key(|((round, ..), _)| *round) {
            checked.add_wrong(&scan.name, Some(*offset), text.clone());
            checked.is_torn_only = false;
            return Err(End { generation: at, round: round - 1 });
        }
        loaded = Vec::new();
        for done in replayed {
            checked.commands += done.commands;
            failed += done.failed;
            first_failure = first_failure.or(done.first_failure);
            loaded.push(done.loaded);
        }
    }
    let slots = SlotTable::contiguous(loaded.len());
    let strangers: usize =
        loaded.iter().enumerate().map(|(shard, keys)| keys.strangers(&slots, shard)).sum();
    if strangers > 0 {
        let text = format!("{strangers} keys come to be with shards to which they do not belong");
        checked.add_wrong(manifest::NAME, None, text);
    }
    if let Some(first) = first_failure {
        checked.notes.push(format!("{failed} commands answer an error, the first: {first}"));
    }
    checked.keys = Some(loaded.iter().map(Loaded::keys).sum());
    Ok(())
}

fn replay_segment(
    loading: &Loading,
    loaded: Option<Loaded>,
    scan: &Scan,
    index: usize,
    last: u64,
) -> Result<Replayed, Fatal> {
    let mut shard = (loading.shard)(index);
    if let Some(loaded) = loaded {
        shard.keyspace.adopt(loaded);
    }
    let mut target = recover::target(loading, &mut shard);
    let mut counting = Counting { target: &mut target, commands: 0, failed: 0, first: None };
    let read = replay_rounds(loading.disk, &mut counting, scan, last);
    let Counting { commands, failed, first: first_failure, .. } = counting;
    let stopped = read.map_err(|e| Fatal::file("read", &loading.disk.path(&scan.name), e))?;
    target.end();
    drop(target);
    while shard.keyspace.free_step(FREE_AT_ONCE) {}
    let loaded = shard.keyspace.into_loaded();
    Ok(Replayed { loaded, commands, failed, first_failure, stopped })
}

fn replay_rounds(
    disk: &dyn Disk,
    target: &mut Counting,
    scan: &Scan,
    last: u64,
) -> io::Result<Option<(u64, u64, String)>> {
    let len = scan.end_of(last);
    if len <= scan.start {
        return Ok(None);
    }
    let mut file = disk.read(&scan.name)?;
    io::copy(&mut file.by_ref().take(scan.start), &mut io::sink())?;
    let mut file = BufReader::with_capacity(1 << 20, file);
    let (mut line, mut effects, mut at) = (Vec::new(), Vec::new(), scan.start);
    while at < len {
        let round = scan::read_part(&mut file, len - at, &mut line, &mut effects)?;
        let round = round.map_err(io::Error::other)?;
        let begin = at + line.len() as u64;
        if let Err((offset, problem)) = replay(target, &mut effects) {
            return Ok(Some((round.number, begin + offset as u64, problem)));
        }
        at = begin + round.bytes;
    }
    Ok(None)
}

/// Counts what it passes on.
struct Counting<'a, 'b> {
    target: &'a mut ShardTarget<'b>,
    commands: u64,
    failed: u64,
    first: Option<String>,
}

impl Target for Counting<'_, '_> {
    fn options(&mut self, is_base: bool) -> Options {
        self.target.options(is_base)
    }

    fn begin_file(&mut self) {
        self.target.begin_file();
    }

    fn entry(&mut self, stored: Stored, is_base: bool) -> Result<Kept, String> {
        self.target.entry(stored, is_base)
    }

    fn function(&mut self, code: &[u8]) -> Result<(), String> {
        self.target.function(code)
    }

    fn command(&mut self, args: Args) -> Result<Done, String> {
        self.commands += 1;
        let done = self.target.command(args)?;
        if let Done::Failed(text) = &done {
            self.failed += 1;
            self.first.get_or_insert_with(|| text.clone());
        }
        Ok(done)
    }

    fn end(&mut self) {
        self.target.end();
    }
}

/// How a segment is to be cut.
pub(super) fn cut_of(segments: &Segments, shard: usize, end: End) -> Option<Cut> {
    let scan = &segments.scans[shard];
    if segments.headless.contains(&shard) {
        let first = segments.before + 1;
        let head = Head { shard, shards: segments.generation.shards, first };
        return Some(Cut { name: scan.name.clone(), keep: 0, len: scan.len, head: Some(head) });
    }
    let keep = scan.end_of(end.round);
    (keep < scan.len).then(|| Cut { name: scan.name.clone(), keep, len: scan.len, head: None })
}
