//! What Redis has left, read into a shard: an RDB file, an AOF in parts, an AOF in one file.
//!
//! ```text
//!   find_rdb, find_aof ──> Source ── load ──> Target
//!                            │                  entry       of an RDB file, or of the part of an AOF that is one
//!                            │                  function
//!                            │                  command     of an AOF, after it
//!                            └─ files, in their order
//! ```
//!
//! As in Redis: keys whose time is over are left out of an RDB file, but not out of one that is the base of
//! an AOF, since what follows says what has become of them; a key that comes twice is an error; an AOF may be
//! torn at the end of its last file, if `aof-load-truncated` says so, and nowhere else. Commands
//! that count together are run when all of them are there. Nothing is ever written here: a torn tail stays
//! where it is, and is told.
//!
//! What an RDB file has is loaded by several threads into several shards ([`load_spread`]); commands run one after
//! the other, since they may be about keys of several shards.
//!
//! Absent: the time, which directory and files (the caller's), how entries get to other shards.

mod script;
mod shard_target;
mod spread;

pub use shard_target::ShardTarget;
pub use spread::Spread;

use super::aof_reader::{self, AofError, AofReader, Unit};
use super::redis_manifest::{Manifest, ManifestError};
use crate::error::{Fatal, io_text};
use crate::rdb::buffered::Buffered;
use crate::rdb::file::{FileError, Item, MAGIC_LEN, Nothing, Options, Reader, Stored, is_rdb};
use crate::resp::Args;
use crate::shard::{Loaded, SlotTable};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Where loaded data go.
pub trait Target {
    /// How the values of an RDB file are read; `is_base` if commands of an AOF follow it.
    fn options(&mut self, is_base: bool) -> Options;
    /// A file begins: commands start in database 0.
    fn begin_file(&mut self);
    /// A key of an RDB file.
    fn entry(&mut self, stored: Stored, is_base: bool) -> Result<Kept, String>;
    /// A library of functions.
    fn function(&mut self, code: &[u8]) -> Result<(), String>;
    /// A command of an AOF; an error stops the loading.
    fn command(&mut self, args: Args) -> Result<Done, String>;
    /// All is there.
    fn end(&mut self);
}

/// What has become of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Yes,
    /// Its time is over.
    Expired,
}

/// How a command went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    Well,
    /// It has answered an error, which Redis passes over.
    Failed(String),
}

/// What there is to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Rdb(PathBuf),
    /// Files in their order: the base if there is one, and what followed.
    Aof(Vec<PathBuf>),
}

/// How it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// `aof-load-truncated`
    pub load_truncated: bool,
}

/// How far loading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes.
    pub done: u64,
    pub total: u64,
    /// Of RDB files.
    pub keys: u64,
    pub commands: u64,
}

/// What was loaded, and what there is to say of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    pub progress: Progress,
    pub functions: u64,
    /// Keys left out, since their time is over.
    pub expired: u64,
    /// Keys left out, since their values are empty collections.
    pub empty: u64,
    /// Commands that have answered an error, and the first of those.
    pub failed: u64,
    pub first_failure: Option<String>,
    /// Modules whose data beside keys were left out.
    pub modules: Vec<String>,
    /// Some slots were on their way to the writer, which did not have all their keys.
    pub is_importing: bool,
    /// The file whose end is torn, and where the whole part of it ends.
    pub torn: Option<(PathBuf, u64)>,
}

/// Why data cannot be loaded.
#[derive(Debug)]
pub struct LoadError {
    pub path: PathBuf,
    pub problem: Problem,
}

#[derive(Debug)]
pub enum Problem {
    Io(io::Error),
    Manifest(ManifestError),
    Rdb(FileError),
    Aof(AofError),
    /// The file is torn, but is not the last.
    TornBefore(AofError),
    /// What ends at this byte cannot be had.
    Refused {
        offset: u64,
        text: String,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.problem {
            Problem::Io(error) => f.write_str(&io_text(error)),
            Problem::Manifest(error) => write!(f, "{error}"),
            Problem::Rdb(error) => write!(f, "{error}"),
            Problem::Aof(error) => write!(f, "{error}"),
            Problem::TornBefore(error) => write!(f, "{error}, and other files follow it"),
            Problem::Refused { offset, text } => write!(f, "before byte {offset}: {text}"),
        }
    }
}

impl std::error::Error for LoadError {}

impl From<LoadError> for Fatal {
    fn from(error: LoadError) -> Fatal {
        let way_out = match &error.problem {
            Problem::Io(_) | Problem::Manifest(_) | Problem::Refused { .. } => None,
            Problem::Rdb(_) => Some("check it with redis-check-rdb, or start from another copy"),
            Problem::Aof(AofError { cause: aof_reader::Cause::Truncated, .. }) => {
                Some("set aof-load-truncated to yes to go on without the last command")
            }
            Problem::Aof(_) | Problem::TornBefore(_) => {
                Some("make a copy of the files, and cut the damage out with redis-check-aof --fix")
            }
        };
        let cause = match error.problem {
            Problem::Io(cause) => cause,
            _ => {
                let text = error.to_string();
                let shown = error.path.display().to_string();
                io::Error::other(text[shown.len() + 2..].to_string())
            }
        };
        let fatal = Fatal::file("load", &error.path, cause);
        match way_out {
            Some(text) => fatal.with_way_out(text),
            None => fatal,
        }
    }
}

fn at(path: &Path, problem: Problem) -> LoadError {
    LoadError { path: path.to_owned(), problem }
}

fn exists(path: &Path) -> Result<bool, LoadError> {
    path.try_exists().map_err(|error| at(path, Problem::Io(error)))
}

/// The RDB file of this name, if it is there.
pub fn find_rdb(dir: &Path, dbfilename: &str) -> Result<Option<Source>, LoadError> {
    let path = dir.join(dbfilename);
    Ok(exists(&path)?.then_some(Source::Rdb(path)))
}

/// The AOF that Redis would load with these options, if there is one: its parts in `appenddirname`, or a
/// file of Redis before 7 in `dir` that was not yet made the base of such parts.
pub fn find_aof(
    dir: &Path,
    appenddirname: &str,
    appendfilename: &str,
) -> Result<Option<Source>, LoadError> {
    let directory = dir.join(appenddirname);
    let path = directory.join(format!("{appendfilename}.manifest"));
    let manifest = match std::fs::read(&path) {
        Ok(text) => Manifest::parse(&text).map_err(|error| at(&path, Problem::Manifest(error)))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Manifest::default(),
        Err(error) => return Err(at(&path, Problem::Io(error))),
    };
    let old = dir.join(appendfilename);
    let is_only_base = manifest.increments.is_empty()
        && manifest.base.as_ref().is_some_and(|base| base.name == Path::new(appendfilename))
        && !exists(&directory.join(appendfilename))?;
    if (manifest.is_empty() || is_only_base) && exists(&old)? {
        return Ok(Some(Source::Aof(vec![old])));
    }
    let parts: Vec<_> = manifest.parts().map(|part| directory.join(&part.name)).collect();
    Ok((!parts.is_empty()).then_some(Source::Aof(parts)))
}

/// Loads all that there is, and tells from time to time how far it has come.
pub fn load(
    source: &Source,
    target: &mut dyn Target,
    settings: Settings,
    tell: &mut dyn FnMut(Progress),
) -> Result<Report, LoadError> {
    let (files, report) = open_all(source)?;
    let mut tale = Tale { report, tell, before: 0, told: 0 };
    load_files(source, files, None, target, settings, &mut tale)?;
    Ok(tale.end())
}

/// As [`load`], into several shards, and what an RDB file has by several threads. Keys are with the shards that own
/// their slots.
pub fn load_spread(
    source: &Source,
    spread: &Spread,
    settings: Settings,
    tell: &mut dyn FnMut(Progress),
) -> Result<(Report, Vec<Loaded>), LoadError> {
    let (files, report) = open_all(source)?;
    let mut tale = Tale { report, tell, before: 0, told: 0 };
    let (mut loaded, mut begun) = (Vec::new(), None);
    let is_base = matches!(source, Source::Aof(_));
    if let Some(first) = files.first() {
        let file = first.file.try_clone().map_err(|error| at(&first.path, Problem::Io(error)))?;
        let mut stream = Buffered::new(file);
        if !is_base || stream.want(MAGIC_LEN) && is_rdb(stream.ahead()) {
            let read = spread.rdb(stream, is_base, &mut tale);
            let (mut rest, keys) = read.map_err(|problem| at(&first.path, problem))?;
            loaded = keys;
            let has_more = is_base && rest.want(1);
            begun = Some(rest);
            if !has_more && files[1..].iter().all(|file| file.len == 0) {
                tale.tell_of(tale.report.progress.total);
                return Ok((tale.end(), loaded));
            }
        } else {
            begun = Some(stream);
        }
    }
    // Commands may be about keys of several shards.
    let mut shard = (spread.shard)(0);
    if let Some(keys) = Loaded::distribute(loaded, &SlotTable::contiguous(1)).pop() {
        shard.keyspace.adopt(keys);
    }
    let mut target = spread.target(&mut shard);
    load_files(source, files, begun, &mut target, settings, &mut tale)?;
    drop(target);
    while shard.keyspace.free_step(FREE_AT_ONCE) {}
    let slots = SlotTable::contiguous(spread.shards);
    Ok((tale.end(), Loaded::distribute(vec![shard.keyspace.into_loaded()], &slots)))
}

/// Elements that are freed between two looks at what is left.
const FREE_AT_ONCE: usize = 1 << 16;

/// A file that is open.
struct Opened {
    path: PathBuf,
    file: File,
    len: u64,
}

fn open_all(source: &Source) -> Result<(Vec<Opened>, Report), LoadError> {
    let paths = match source {
        Source::Rdb(path) => std::slice::from_ref(path),
        Source::Aof(paths) => paths,
    };
    let mut files = Vec::new();
    let mut report = Report::default();
    for path in paths {
        let open = || {
            let file = File::open(path)?;
            let len = file.metadata()?.len();
            Ok((file, len))
        };
        let (file, len) = open().map_err(|error| at(path, Problem::Io(error)))?;
        report.progress.total += len;
        files.push(Opened { path: path.clone(), file, len });
    }
    Ok((files, report))
}

/// Loads files one after the other; of the first one what is behind the RDB file at its beginning, if that was
/// `begun`.
fn load_files(
    source: &Source,
    files: Vec<Opened>,
    mut begun: Option<Buffered<File>>,
    target: &mut dyn Target,
    settings: Settings,
    tale: &mut Tale,
) -> Result<(), LoadError> {
    let mut loader = Loader { target, tale };
    let count = files.len();
    for (index, Opened { path, file, len }) in files.into_iter().enumerate() {
        let path = &path;
        loader.target.begin_file();
        let loaded = match (source, begun.take()) {
            (Source::Rdb(_), _) => loader.rdb(Buffered::new(file), false).map(|_| ()),
            (Source::Aof(_), _) if len == 0 => Ok(()),
            (Source::Aof(_), Some(stream)) => loader.commands(stream),
            (Source::Aof(_), None) => loader.aof(Buffered::new(file)),
        };
        match loaded {
            Ok(()) => {}
            Err(Problem::Aof(error)) if matches!(error.cause, aof_reader::Cause::Truncated) => {
                if index + 1 < count {
                    return Err(at(path, Problem::TornBefore(error)));
                }
                if !settings.load_truncated {
                    return Err(at(path, Problem::Aof(error)));
                }
                loader.tale.report.torn = Some((path.clone(), error.whole));
            }
            Err(problem) => return Err(at(path, problem)),
        }
        loader.tale.before += len;
        loader.tale.tell_of(0);
    }
    loader.target.end();
    Ok(())
}

/// Bytes between two tales of how far it is.
const TELL_STEP: u64 = 4 << 20;

/// What there is to say of the loading, from time to time and in the end.
struct Tale<'a> {
    report: Report,
    tell: &'a mut dyn FnMut(Progress),
    /// Bytes of the files that are done.
    before: u64,
    told: u64,
}

impl Tale<'_> {
    /// So many bytes of this file are done.
    fn tell_of(&mut self, done: u64) {
        let done = self.before + done;
        self.report.progress.done = done;
        if done >= self.told + TELL_STEP {
            self.told = done;
            (self.tell)(self.report.progress);
        }
    }

    fn end(self) -> Report {
        (self.tell)(self.report.progress);
        self.report
    }
}

struct Loader<'a, 't> {
    target: &'a mut dyn Target,
    tale: &'a mut Tale<'t>,
}

impl Loader<'_, '_> {
    /// An RDB file, and the stream behind its end.
    fn rdb(&mut self, stream: Buffered<File>, is_base: bool) -> Result<Buffered<File>, Problem> {
        let mut reader = Reader::new(stream, self.target.options(is_base)).map_err(Problem::Rdb)?;
        loop {
            let taken = match reader.next() {
                Ok(Some(item)) => self.item(item, is_base),
                Ok(None) => return Ok(reader.into_source()),
                Err(error) => return Err(Problem::Rdb(error)),
            };
            let offset = reader.position();
            taken.map_err(|text| Problem::Refused { offset, text })?;
            self.tale.tell_of(offset);
        }
    }

    fn item(&mut self, item: Item, is_base: bool) -> Result<(), String> {
        let report = &mut self.tale.report;
        match item {
            Item::Entry(stored) => match self.target.entry(stored, is_base)? {
                Kept::Yes => report.progress.keys += 1,
                Kept::Expired => report.expired += 1,
            },
            Item::Function { code } => {
                self.target.function(code)?;
                report.functions += 1;
            }
            Item::Nothing { why: Nothing::Empty, .. } => report.empty += 1,
            Item::Nothing { why: Nothing::Expired, .. } => report.expired += 1,
            Item::ModuleAux { module } => report.modules.push(module),
            Item::SlotImport => report.is_importing = true,
            Item::Aux { .. } | Item::Resize { .. } | Item::SlotInfo { .. } => {}
        }
        Ok(())
    }

    fn aof(&mut self, mut stream: Buffered<File>) -> Result<(), Problem> {
        // A shorter file is no RDB file.
        if stream.want(MAGIC_LEN) && is_rdb(stream.ahead()) {
            stream = self.rdb(stream, true)?;
        }
        self.commands(stream)
    }

    /// What is behind the RDB file, if there is one.
    fn commands(&mut self, stream: Buffered<File>) -> Result<(), Problem> {
        let mut reader = AofReader::new(stream);
        loop {
            let run = match reader.next().map_err(Problem::Aof)? {
                None => return Ok(()),
                Some(Unit::Annotation(_)) => Ok(()),
                Some(Unit::Command(args)) => self.command(args),
                Some(Unit::Transaction(kept)) => {
                    kept.iter().try_for_each(|kept| self.command(kept.args()))
                }
            };
            let offset = reader.position();
            run.map_err(|text| Problem::Refused { offset, text })?;
            self.tale.tell_of(offset);
        }
    }

    fn command(&mut self, args: Args) -> Result<(), String> {
        let report = &mut self.tale.report;
        report.progress.commands += 1;
        if let Done::Failed(text) = self.target.command(args)? {
            report.failed += 1;
            report.first_failure.get_or_insert(text);
        }
        Ok(())
    }
}
