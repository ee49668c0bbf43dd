//! The manifest: which files of the directory make up the data, in which order.
//!
//! ```text
//!   corelane-manifest 1
//!   base 4 2             the data begins with base.4.0.rdb and base.4.1.rdb: snapshots of two shards
//!   segments 4 2         then come the effects in segment.4.0.aof and segment.4.1.aof
//!   segments 5 8         then those of eight shards in segment.5.0.aof ... segment.5.7.aof
//!   end
//! ```
//!
//! A line names a generation of files and the number of shards that wrote it. Generations rise. The
//! file is replaced as a whole, so what it names is always a set of files that belong together.

use std::fmt::Write;

pub const NAME: &str = "corelane.manifest";
const FIRST_LINE: &str = "corelane-manifest 1";

/// Files written by the shards of one server run together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    pub number: u64,
    pub shards: usize,
}

impl Generation {
    pub fn base(&self, shard: usize) -> String {
        format!("base.{}.{shard}.rdb", self.number)
    }

    pub fn segment(&self, shard: usize) -> String {
        format!("segment.{}.{shard}.aof", self.number)
    }
}

/// What the data consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The snapshots with which it begins; without them it begins empty.
    pub base: Option<Generation>,
    /// The segments to be replayed, in this order.
    pub segments: Vec<Generation>,
}

impl Manifest {
    pub fn text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        if let Some(base) = self.base {
            let _ = writeln!(text, "base {} {}", base.number, base.shards);
        }
        for segments in &self.segments {
            let _ = writeln!(text, "segments {} {}", segments.number, segments.shards);
        }
        text + "end\n"
    }

    /// Reads the file; else says what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Manifest, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is no text")?;
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err(format!("its first line is not '{FIRST_LINE}'"));
        }
        let mut manifest = Manifest::default();
        for (number, line) in (2..).zip(lines.by_ref()) {
            let wrong = || format!("line {number} is wrong: '{line}'");
            if line == "end" {
                return match lines.next() {
                    None => Ok(manifest),
                    Some(_) => Err("something follows its end".to_string()),
                };
            }
            let words: Vec<&str> = line.split(' ').collect();
            let [kind, generation, shards] = words[..] else { return Err(wrong()) };
            let generation = Generation {
                number: generation.parse().map_err(|_| wrong())?,
                shards: shards.parse().ok().filter(|&n| n > 0).ok_or_else(wrong)?,
            };
            let last = manifest.segments.last();
            match kind {
                "base" if manifest.base.is_none() && last.is_none() => {
                    manifest.base = Some(generation);
                }
                "segments" if last.is_none_or(|last| last.number < generation.number) => {
                    manifest.segments.push(generation);
                }
                _ => return Err(wrong()),
            }
        }
        Err("its end is missing".to_string())
    }

    /// Whether it says nothing of the data: a first rewrite was not finished.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.segments.is_empty()
    }

    /// A number that no generation has had.
    pub fn next_number(&self) -> u64 {
        let all = self.segments.iter().chain(&self.base);
        all.map(|generation| generation.number).max().unwrap_or(0) + 1
    }

    /// The names of all files.
    pub fn files(&self) -> Vec<String> {
        let base = self.base.iter().flat_map(|g| (0..g.shards).map(|shard| g.base(shard)));
        let segments =
            self.segments.iter().flat_map(|g| (0..g.shards).map(|shard| g.segment(shard)));
        base.chain(segments).collect()
    }
}

/// Whether a file of this name is one of those that manifests name.
pub fn is_data_file(name: &str) -> bool {
    number_of(name).is_some()
}

/// The number of the generation to which a file of this name belongs.
pub fn number_of(name: &str) -> Option<u64> {
    let inner = |head, tail| name.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail));
    let mut words = inner("base.", ".rdb").or_else(|| inner("segment.", ".aof"))?.split('.');
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    let (generation, _shard) = (number()?, number()?);
    words.next().is_none().then_some(generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_back() {
        let generation = |number, shards| Generation { number, shards };
        let mut manifest = Manifest::default();
        assert_eq!(Manifest::parse(manifest.text().as_bytes()), Ok(manifest.clone()));
        assert_eq!(manifest.next_number(), 1);
        manifest.base = Some(generation(4, 2));
        manifest.segments = vec![generation(4, 2), generation(5, 3)];
        assert_eq!(
            manifest.text(),
            "corelane-manifest 1\nbase 4 2\nsegments 4 2\nsegments 5 3\nend\n"
        );
        assert_eq!(Manifest::parse(manifest.text().as_bytes()), Ok(manifest.clone()));
        assert_eq!(manifest.next_number(), 6);
        let files = manifest.files();
        assert_eq!(files[..3], ["base.4.0.rdb", "base.4.1.rdb", "segment.4.0.aof"]);
        assert_eq!(files.len(), 7);
        assert!(files.iter().all(|name| is_data_file(name)));
        for other in ["base.4.rdb", "base.4.0.1.rdb", "base.x.0.rdb", "dump.rdb", "segment.1.2.rdb"]
        {
            assert!(!is_data_file(other), "{other}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, problem) in [
            ("", "its first line is not 'corelane-manifest 1'"),
            ("corelane-manifest 2\nend\n", "its first line is not 'corelane-manifest 1'"),
            ("corelane-manifest 1\n", "its end is missing"),
            ("corelane-manifest 1\nend\nend\n", "something follows its end"),
            ("corelane-manifest 1\nsegments 1\nend\n", "line 2 is wrong: 'segments 1'"),
            ("corelane-manifest 1\nsegments 1 0\nend\n", "line 2 is wrong: 'segments 1 0'"),
            (
                "corelane-manifest 1\nsegments 2 1\nsegments 2 1\nend\n",
                "line 3 is wrong: 'segments 2 1'",
            ),
            ("corelane-manifest 1\nsegments 1 1\nbase 1 1\nend\n", "line 3 is wrong: 'base 1 1'"),
        ] {
            assert_eq!(Manifest::parse(text.as_bytes()), Err(problem.to_string()));
        }
    }
}
