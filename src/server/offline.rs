//! What is done instead of serving: `corelane check` and `corelane export` with files that no server has,
//! `corelane ping`.

use super::ping::ping;
use crate::clock;
use crate::command::{REDIS_VERSION, Registry};
use crate::config::{Config, Names, Tool};
use crate::error::{Fatal, io_text};
use crate::metrics::{PersistStats, ShardStats};
use crate::net::shard_settings;
use crate::persist::check::{Checked, check};
use crate::persist::foreign::{self, Report, ShardTarget, Source, find_aof};
use crate::persist::manifest;
use crate::persist::recover::Tail;
use crate::persist::repair::{Plan, repair};
use crate::persist::save::{About, write_file};
use crate::persist::{Directory, Disk, Loading, recover};
use crate::rdb::file::{MAGIC_LEN, is_rdb};
use crate::rt;
use crate::script::Store;
use crate::shard::{Keyspace, Shard};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Does it and says what there is to say. Answers whether all is well.
pub fn run(tool: &Tool) -> Result<bool, Fatal> {
    let mut out = io::stdout().lock();
    let room = Room::new()?;
    match tool {
        Tool::Check { path, repair, names } => check_all(&room, path, names, *repair, &mut out),
        Tool::Export { file, from, force, names } => {
            export(&room, file, from, names, *force, &mut out)?;
            Ok(true)
        }
        Tool::Ping { host, port, alive, tls } => ping(host, *port, *alive, tls.as_ref(), &mut out),
    }
}

/// What loading needs of a server.
struct Room {
    config: Config,
    registry: Registry,
    scripts: Store,
    stats: PersistStats,
    now: i64,
}

/// All shards hash alike; here it matters to nobody how.
const KEY_SEED: u64 = 1;

impl Room {
    fn new() -> Result<Room, Fatal> {
        let registry =
            Registry::new(&[]).map_err(|problem| Fatal::system("know the commands", problem))?;
        let (config, scripts) = (Config::default(), Store::default());
        Ok(Room {
            config,
            registry,
            scripts,
            stats: PersistStats::default(),
            now: clock::wall_ms(),
        })
    }

    fn shard(&self, index: usize) -> Shard {
        let databases = self.config.databases as usize;
        let stats = Arc::new(ShardStats::new(self.registry.len(), databases));
        Shard::new(index, KEY_SEED, shard_settings(&self.config), stats)
    }

    fn loading<'a>(
        &'a self,
        disk: &'a dyn Disk,
        shard: &'a (dyn Fn(usize) -> Shard + Sync),
    ) -> Loading<'a> {
        Loading {
            disk,
            registry: &self.registry,
            shard,
            scripts: &self.scripts,
            checksum: true,
            shards: 1,
            cut: true,
            now: self.now,
            stats: &self.stats,
            threads: rt::usable_cores().len(),
            trusting: false,
        }
    }

    /// Loads files of Redis.
    fn load(&self, source: &Source) -> Result<(Keyspace, Report), foreign::LoadError> {
        let mut shard = self.shard(0);
        let mut target =
            ShardTarget::new(&self.registry, &mut shard, &self.scripts, true, self.now);
        let settings = foreign::Settings { load_truncated: true };
        let report = foreign::load(source, &mut target, settings, &mut |_| {})?;
        drop(target);
        while shard.keyspace.free_step(FREE_AT_ONCE) {}
        Ok((shard.keyspace, report))
    }
}

/// Elements that are freed between two looks at what is left.
const FREE_AT_ONCE: usize = 1 << 16;

/// Something that holds data.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// A directory with a manifest of ours.
    Ours(PathBuf),
    Foreign(Source),
}

impl Found {
    /// When it was made or changed last, as far as that can be told.
    fn made_at(&self) -> Option<std::time::SystemTime> {
        let path = match self {
            Found::Ours(path) => path.join(manifest::NAME),
            Found::Foreign(Source::Rdb(path)) => path.clone(),
            Found::Foreign(Source::Aof(paths)) => paths.first()?.clone(),
        };
        path.metadata().and_then(|facts| facts.modified()).ok()
    }

    fn path(&self) -> &Path {
        match self {
            Found::Ours(path) | Found::Foreign(Source::Rdb(path)) => path,
            Found::Foreign(Source::Aof(paths)) => paths.first().map_or(Path::new(""), |p| p),
        }
    }
}

fn cannot_read(path: &Path) -> impl Fn(io::Error) -> Fatal + '_ {
    move |error| Fatal::file("read", path, error)
}

/// What there is at a path: append-only files first.
fn find(path: &Path, names: &Names) -> Result<Vec<Found>, Fatal> {
    let facts = path.metadata().map_err(cannot_read(path))?;
    let mut all = Vec::new();
    if !facts.is_dir() {
        if path.file_name().is_some_and(|name| name == manifest::NAME) {
            all.push(Found::Ours(path.parent().unwrap_or(Path::new(".")).to_path_buf()));
            return Ok(all);
        }
        let mut magic = Vec::new();
        let file = std::fs::File::open(path).map_err(cannot_read(path))?;
        file.take(MAGIC_LEN as u64).read_to_end(&mut magic).map_err(cannot_read(path))?;
        let path = path.to_path_buf();
        all.push(Found::Foreign(match magic.len() == MAGIC_LEN && is_rdb(&magic) {
            true => Source::Rdb(path),
            false => Source::Aof(vec![path]),
        }));
        return Ok(all);
    }
    all.extend(find_log(path)?);
    if !all.is_empty() {
        return Ok(all);
    }
    let log = path.join(&names.appenddirname);
    if log.is_dir() {
        all.extend(find_log(&log)?);
    }
    if all.is_empty() {
        let old = find_aof(path, &names.appenddirname, APPENDFILENAME)?;
        all.extend(old.map(Found::Foreign));
    }
    let parts = path.join(format!("{}.shards", names.dbfilename));
    if parts.join(manifest::NAME).is_file() {
        all.push(Found::Ours(parts));
    }
    let one = path.join(&names.dbfilename);
    if one.is_file() {
        all.push(Found::Foreign(Source::Rdb(one)));
    }
    match all.is_empty() {
        false => Ok(all),
        true => Err(Fatal::system(
            format!("find data in {}", path.display()),
            format!(
                "there is neither {} nor {}, and no manifest",
                names.appenddirname, names.dbfilename
            ),
        )
        .with_way_out("--appenddirname and --dbfilename tell what they are called")),
    }
}

const APPENDFILENAME: &str = "appendonly.aof";

/// A directory that has a manifest, ours or one of Redis.
fn find_log(path: &Path) -> Result<Option<Found>, Fatal> {
    if path.join(manifest::NAME).is_file() {
        return Ok(Some(Found::Ours(path.to_path_buf())));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = path.file_name().map(|name| name.to_string_lossy().into_owned());
    for entry in path.read_dir().map_err(cannot_read(path))? {
        let name = entry.map_err(cannot_read(path))?.file_name().to_string_lossy().into_owned();
        if let Some(prefix) = name.strip_suffix(".manifest") {
            let directory = directory.as_deref().unwrap_or(".");
            let found = find_aof(parent.unwrap_or(Path::new(".")), directory, prefix)?;
            return Ok(found.map(Found::Foreign));
        }
    }
    Ok(None)
}

/// An output that cannot be written to ends the program.
fn told(written: io::Result<()>) -> Result<(), Fatal> {
    written.map_err(|error| Fatal::system("tell what was found", io_text(&error)))
}

fn check_all(
    room: &Room,
    path: &Path,
    names: &Names,
    repair: bool,
    out: &mut dyn Write,
) -> Result<bool, Fatal> {
    let mut well = true;
    let path = std::fs::canonicalize(path).map_err(cannot_read(path))?;
    for found in find(&path, names)? {
        well &= match found {
            Found::Ours(path) => check_ours(room, &path, repair, out)?,
            Found::Foreign(source) => check_foreign(room, &source, out)?,
        };
    }
    Ok(well)
}

fn check_ours(
    room: &Room,
    path: &Path,
    wants_repair: bool,
    out: &mut dyn Write,
) -> Result<bool, Fatal> {
    let disk = Directory::open(path).map_err(cannot_read(path))?;
    let shard = |index| room.shard(index);
    let checked = check(&room.loading(&disk, &shard)).map_err(cannot_read(path))?;
    told(tell(path, &checked, out))?;
    if checked.wrong.is_empty() {
        return Ok(true);
    }
    let Some(plan) = &checked.plan else {
        let text = "this cannot be repaired: take the directory from another copy";
        told(writeln!(out, "{text}"))?;
        return Ok(false);
    };
    told(tell_plan(plan, wants_repair, out).and_then(|()| out.flush()))?;
    if !wants_repair {
        return Ok(false);
    }
    if let Some(pid) = user_of(path) {
        let text = format!("the process {pid} has files of it open");
        let fatal = Fatal::system(format!("repair {}", path.display()), text);
        return Err(fatal.with_way_out("stop the server first"));
    }
    let failed = |error| Fatal::file("repair", path, error);
    let copies = repair(&disk, plan).map_err(failed)?;
    told(writeln!(out, "repaired; what was there before: {}", copies.join(" ")))?;
    Ok(false)
}

/// Another process that has files of a directory open, as far as it can be seen.
fn user_of(path: &Path) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").ok()?;
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut others = pids.filter(|&pid: &u32| pid != std::process::id());
    others.find(|pid| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd"));
        let targets = files.into_iter().flatten().flatten();
        targets.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|t| t.starts_with(path))
    })
}

fn tell(path: &Path, checked: &Checked, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", path.display())?;
    for file in &checked.files {
        write!(out, "  {:<24} {:>12} bytes", file.name, file.bytes)?;
        match (file.keys, file.rounds) {
            (Some(keys), _) => writeln!(out, ", {keys} keys")?,
            (_, Some(rounds)) => writeln!(out, ", {rounds} rounds")?,
            _ => writeln!(out)?,
        }
    }
    let bytes: u64 = checked.files.iter().map(|file| file.bytes).sum();
    let files = checked.files.len();
    write!(out, "  {files} files, {bytes} bytes, up to round {}", checked.last_round)?;
    match checked.keys {
        Some(keys) => writeln!(out, ": {} commands replayed, {keys} keys", checked.commands)?,
        None => writeln!(out)?,
    }
    checked.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))?;
    for wrong in &checked.wrong {
        match wrong.at {
            Some(at) => writeln!(out, "wrong: {}, at byte {at}: {}", wrong.file, wrong.text)?,
            None => writeln!(out, "wrong: {}: {}", wrong.file, wrong.text)?,
        }
    }
    match (checked.wrong.is_empty(), checked.is_torn_only) {
        (true, _) => writeln!(out, "all is well"),
        (_, true) => writeln!(
            out,
            "the server has ended in the middle of a round; it cuts that off at its next start \
             (aof-load-truncated)"
        ),
        _ => Ok(()),
    }
}

fn tell_plan(plan: &Plan, now: bool, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}:", if now { "the repair" } else { "a repair (--repair) would do this" })?;
    for cut in &plan.cuts {
        match cut.head {
            Some(_) => writeln!(out, "  make {} anew, {} bytes go", cut.name, cut.len)?,
            None => {
                let go = cut.len - cut.keep;
                writeln!(out, "  cut {} at byte {}, {go} bytes go", cut.name, cut.keep)?;
            }
        }
    }
    for (name, len) in &plan.dropped {
        writeln!(out, "  drop {name}, {len} bytes")?;
    }
    write!(out, "  in all {} bytes and {} rounds are dropped", plan.bytes(), plan.rounds.len())?;
    let (first, last) = (plan.rounds.first_key_value(), plan.rounds.last_key_value());
    match first.zip(last) {
        Some(((first, from), (last, to))) => {
            writeln!(out, ": {first} of {} to {last} of {}", utc(*from), utc(*to))
        }
        None => writeln!(out),
    }
}

/// A time in milliseconds since the epoch for people.
fn utc(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Days since the first of March of the year 0, in eras of 400 years; years begin with March.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1000 % 60, rest % 1000);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{milli:03} UTC")
}

fn check_foreign(room: &Room, source: &Source, out: &mut dyn Write) -> Result<bool, Fatal> {
    let (kind, paths) = match source {
        Source::Rdb(path) => ("an RDB file", std::slice::from_ref(path)),
        Source::Aof(paths) => ("append-only files of Redis", paths.as_slice()),
    };
    for path in paths {
        let bytes = path.metadata().map_err(cannot_read(path))?.len();
        told(writeln!(out, "{}: {kind}, {bytes} bytes", path.display()))?;
    }
    let (keyspace, report) = match room.load(source) {
        Ok(loaded) => loaded,
        Err(error) => {
            told(writeln!(out, "wrong: {error}"))?;
            return Ok(false);
        }
    };
    told(tell_foreign(keyspace.into_loaded().keys(), &report, out))?;
    Ok(report.torn.is_none())
}

fn tell_foreign(keys: usize, report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let Report { progress, functions, expired, failed, first_failure, modules, torn, .. } = report;
    let commands = progress.commands;
    writeln!(
        out,
        "  {keys} keys, {commands} commands replayed, {functions} libraries of functions"
    )?;
    if *expired > 0 {
        writeln!(out, "note: {expired} keys have expired")?;
    }
    if let Some(first) = first_failure {
        writeln!(out, "note: {failed} commands answer an error, the first: {first}")?;
    }
    if !modules.is_empty() {
        writeln!(out, "note: modules keep data beside keys: {}", modules.join(" "))?;
    }
    match torn {
        None => writeln!(out, "all is well"),
        Some((path, at)) => {
            writeln!(out, "wrong: {}: it is torn behind byte {at}", path.display())
        }
    }
}

fn export(
    room: &Room,
    file: &Path,
    from: &Path,
    names: &Names,
    force: bool,
    out: &mut dyn Write,
) -> Result<(), Fatal> {
    let from = std::fs::canonicalize(from).map_err(cannot_read(from))?;
    let all = find(&from, names)?;
    let is_log = |found: &Found| match found {
        Found::Ours(path) => !path.to_string_lossy().ends_with(".shards"),
        Found::Foreign(source) => matches!(source, Source::Aof(_)),
    };
    let log = all.iter().find(|found| is_log(found));
    let Some(found) = log.or_else(|| all.iter().max_by_key(|found| found.made_at())) else {
        return Err(Fatal::system("export", "there are no data"));
    };
    if file.exists() && !force {
        let fatal = Fatal::system(format!("write {}", file.display()), "the file is there already");
        return Err(fatal.with_way_out("choose another name, or replace it: --force"));
    }
    told(writeln!(out, "reading {}", found.path().display()))?;
    let mut keyspace = match found {
        Found::Ours(path) => load_ours(room, path, out)?,
        Found::Foreign(source) => {
            let (keyspace, report) = room.load(source)?;
            if let Some((path, at)) = report.torn {
                let path = path.display();
                told(writeln!(out, "note: {path} is torn behind byte {at}; that is left out"))?;
            }
            keyspace
        }
    };
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or_else(|| {
        Fatal::system(format!("write {}", file.display()), "it is no name of a file")
    })?;
    let parent = file.parent().filter(|path| !path.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let cannot_write = |error| Fatal::file("write", file, error);
    parent.metadata().map_err(cannot_write)?;
    let disk = Directory::open(parent).map_err(cannot_write)?;
    let about = About {
        redis_version: REDIS_VERSION,
        made_at: room.now / 1000,
        used_memory: crate::rt::heap::state().allocated,
        functions: room.scripts.libraries().iter().map(|library| library.code.clone()).collect(),
        sync_steps: false,
    };
    let bytes = write_file(&disk, &name, about, &mut keyspace).map_err(cannot_write)?;
    let keys = keyspace.into_loaded().keys();
    told(writeln!(out, "wrote {}: {bytes} bytes, {keys} keys", disk.path(&name).display()))
}

fn load_ours(room: &Room, path: &Path, out: &mut dyn Write) -> Result<Keyspace, Fatal> {
    let disk = Directory::open(path).map_err(cannot_read(path))?;
    let shard = |index| room.shard(index);
    let recovered = recover(&room.loading(&disk, &shard))?;
    let Some(recovered) = recovered else {
        return Err(Fatal::system(format!("read {}", path.display()), "it has no manifest"));
    };
    if let Some(last) = recovered.manifest.segments.last() {
        let ends = recovered.tails.iter().rev().take(last.shards).rev();
        for Tail { name, len, .. } in ends {
            let left = disk.len(name).unwrap_or(*len).saturating_sub(*len);
            if left > 0 {
                let text = "were not finished when the server ended, and are left out";
                told(writeln!(out, "note: the last {left} bytes of {name} {text}"))?;
            }
        }
    }
    let mut keyspace = room.shard(0).keyspace;
    recovered.loaded.into_iter().for_each(|loaded| keyspace.adopt(loaded));
    Ok(keyspace)
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_for_people() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00.000 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00.000 UTC"),
            (1_709_251_199_999, "2024-02-29 23:59:59.999 UTC"),
            (1_735_689_600_001, "2025-01-01 00:00:00.001 UTC"),
            (-1, "1969-12-31 23:59:59.999 UTC"),
        ] {
            assert_eq!(utc(ms), text);
        }
    }
}
