//! What a segment holds, and how far it can be used.

use super::disk::Disk;
use crate::journal::frame::{Head, LINE_MAX, Round, Shards};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};

/// One round's part in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub round: u64,
    /// Who has a part in the round: an index of [`Scan::shards`].
    pub shards: u32,
    /// Where it ends in the file.
    pub end: u64,
}

/// What was found in a segment.
#[derive(Debug)]
pub struct Scan {
    pub name: String,
    pub head: Head,
    /// Where the first round's line is or would be.
    pub start: u64,
    pub parts: Vec<Part>,
    pub shards: Vec<Shards>,
    /// The last round of which this segment knows that it is on disk everywhere.
    pub synced: u64,
    pub len: u64,
    /// Why what follows the parts is none.
    pub problem: Option<&'static str>,
}

/// Why a segment cannot be used at all.
#[derive(Debug)]
pub enum Unusable {
    Unreadable(io::Error),
    Foreign(String),
}

impl Scan {
    /// Where the last part ends.
    pub fn end(&self) -> u64 {
        self.parts.last().map_or(self.start, |part| part.end)
    }

    /// Where the parts up to and with a round end.
    pub fn end_of(&self, round: u64) -> u64 {
        let at = self.parts.partition_point(|part| part.round <= round);
        at.checked_sub(1).map_or(self.start, |at| self.parts[at].end)
    }
}

/// Reads a segment from one end to the other.
pub fn scan(disk: &dyn Disk, name: &str) -> Result<Scan, Unusable> {
    let len = disk.len(name).map_err(Unusable::Unreadable)?;
    let file = disk.read(name).map_err(Unusable::Unreadable)?;
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut line = Vec::new();
    let read = read_line(&mut file, &mut line).map_err(Unusable::Unreadable)?;
    let Some(text) = read else {
        return Err(Unusable::Foreign("it has no first line".to_string()));
    };
    let head = Head::parse(text).map_err(Unusable::Foreign)?;
    let start = line.len() as u64;
    let mut scan = Scan {
        name: name.to_string(),
        head,
        start,
        parts: Vec::new(),
        shards: Vec::new(),
        synced: 0,
        len,
        problem: None,
    };
    let mut known = HashMap::new();
    let mut at = start;
    let mut effects = Vec::new();
    while at < len {
        match read_part(&mut file, len - at, &mut line, &mut effects) {
            Ok(Ok(round)) => {
                let last = scan.parts.last().map_or(head.first.saturating_sub(1), |p| p.round);
                if round.number <= last {
                    scan.problem = Some("a round comes twice");
                    break;
                }
                at += line.len() as u64 + round.bytes;
                scan.synced = scan.synced.max(round.synced);
                let next = known.len() as u32;
                let shards = *known.entry(round.shards.clone()).or_insert(next);
                if shards == next {
                    scan.shards.push(round.shards);
                }
                scan.parts.push(Part { round: round.number, shards, end: at });
            }
            Ok(Err(problem)) => {
                scan.problem = Some(problem);
                break;
            }
            Err(error) => return Err(Unusable::Unreadable(error)),
        }
    }
    if scan.problem.is_some() {
        let synced = synced_behind(disk, name, scan.end()).map_err(Unusable::Unreadable)?;
        scan.synced = scan.synced.max(synced);
    }
    Ok(scan)
}

/// Reads a line up to its end; `None` when it is none.
fn read_line<'l>(file: &mut impl BufRead, line: &'l mut Vec<u8>) -> io::Result<Option<&'l [u8]>> {
    line.clear();
    file.by_ref().take(LINE_MAX as u64).read_until(b'\n', line)?;
    Ok(line.strip_suffix(b"\r\n"))
}

/// Reads a round's line and its effects; else what is wrong with them.
pub fn read_part(
    file: &mut impl BufRead,
    left: u64,
    line: &mut Vec<u8>,
    effects: &mut Vec<u8>,
) -> io::Result<Result<Round, &'static str>> {
    let text = read_line(file, line)?;
    let Some(round) = text.and_then(Round::parse) else {
        return Ok(Err("there is no line of a round"));
    };
    if round.bytes > left - line.len() as u64 {
        return Ok(Err("it ends in the middle of a round"));
    }
    effects.clear();
    file.by_ref().take(round.bytes).read_to_end(effects)?;
    Ok(if round.fits(effects) { Ok(round) } else { Err("a round's checksum is wrong") })
}

/// What rounds say that can still be found behind a place where something is wrong.
fn synced_behind(disk: &dyn Disk, name: &str, from: u64) -> io::Result<u64> {
    let mut file = disk.read(name)?;
    io::copy(&mut file.by_ref().take(from), &mut io::sink())?;
    let mut rest = Vec::new();
    file.read_to_end(&mut rest)?;
    let mut synced = 0;
    // The first line is the one that was found wrong.
    for at in (1..rest.len()).filter(|&at| rest[at - 1] == b'\n' && rest[at..].starts_with(b"#r "))
    {
        let Some(len) = rest[at..].iter().take(LINE_MAX).position(|&byte| byte == b'\r') else {
            continue;
        };
        if let Some(round) = Round::parse(&rest[at..at + len])
            && let Some(effects) = rest.get(at + len + 2..)
            && let Some(effects) = effects.get(..round.bytes as usize)
            && round.fits(effects)
        {
            synced = synced.max(round.synced);
        }
    }
    Ok(synced)
}
