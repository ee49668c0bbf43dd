//! The lines of a segment that are no commands. Redis skips them: they begin with `#`.
//!
//! ```text
//!   #corelane 1 <shard> <shards> <first> <crc>\r\n         the head: format version, whose effects, of how
//!                                                          many shards, the first round that can follow
//!   #r <round> <bytes> <crc> <ms> <synced> <shards>\r\n    before each round's effects
//!   *3\r\n$3\r\nSET\r\n ...                                 <bytes> of them
//!   #r ...
//! ```
//!
//! `<round>` rises by one from round to round over all segments of all shards; `<bytes>` is the length
//! of the commands that follow; `<crc>` is the CRC-32 (of IEEE 802.3, hexadecimal) of the other words
//! of the line and of the commands, or of what stands before it in the head; `<ms>` is the time of writing in milliseconds since the epoch;
//! `<synced>` is the last round that was known to be on disk in all segments at that time, so whatever
//! is wrong with that one or those before it is no accident of a sudden end;
//! `<shards>` are those that have a part in the round, a hexadecimal number with a bit for each. A round
//! is whole when all of them have theirs.

/// The version of this format.
pub const VERSION: u32 = 1;
/// The longest line that Redis skips, bytes.
pub const LINE_MAX: usize = 1024;

/// Which shards have a part in a round.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Shards(Vec<u64>);

impl Shards {
    pub fn add(&mut self, shard: usize) {
        if self.0.len() <= shard / 64 {
            self.0.resize(shard / 64 + 1, 0);
        }
        self.0[shard / 64] |= 1 << (shard % 64);
    }

    pub fn contains(&self, shard: usize) -> bool {
        self.0.get(shard / 64).is_some_and(|word| word >> (shard % 64) & 1 == 1)
    }

    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.0.len() * 64).filter(|&shard| self.contains(shard))
    }

    fn text(&self) -> String {
        let mut words = self.0.iter().rev().skip_while(|&&word| word == 0);
        let first = words.next().map_or_else(|| "0".to_string(), |word| format!("{word:x}"));
        words.fold(first, |text, word| text + &format!("{word:016x}"))
    }

    fn parse(text: &[u8]) -> Option<Shards> {
        let text = std::str::from_utf8(text).ok().filter(|text| !text.is_empty())?;
        let mut words = Vec::new();
        let mut end = text.len();
        while end > 0 {
            let start = end.saturating_sub(16);
            words.push(u64::from_str_radix(text.get(start..end)?, 16).ok()?);
            end = start;
        }
        Some(Shards(words))
    }
}

/// The line before a round's effects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    pub number: u64,
    pub bytes: u64,
    pub crc: u32,
    /// Milliseconds since the epoch.
    pub at: i64,
    /// This round and all before it were on disk.
    pub synced: u64,
    pub shards: Shards,
}

impl Round {
    /// A line without checksum; see [`Round::seal`].
    pub fn new(number: u64, at: i64, synced: u64, shards: Shards) -> Round {
        Round { number, bytes: 0, crc: 0, at, synced, shards }
    }

    /// The same line for another segment of the round, with these effects.
    pub fn seal(&mut self, effects: &[Vec<u8>]) {
        self.bytes = effects.iter().map(|part| part.len() as u64).sum();
        self.crc = self.checksum(effects.iter().map(Vec::as_slice));
    }

    /// Whether these are the effects that belong to the line.
    pub fn fits(&self, effects: &[u8]) -> bool {
        effects.len() as u64 == self.bytes && self.checksum([effects].into_iter()) == self.crc
    }

    fn checksum<'a>(&self, effects: impl Iterator<Item = &'a [u8]>) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        let Round { number, bytes, at, synced, shards, .. } = self;
        hasher.update(format!("{number} {bytes} {at} {synced} {}", shards.text()).as_bytes());
        effects.for_each(|part| hasher.update(part));
        hasher.finalize()
    }

    pub fn push_to(&self, out: &mut Vec<u8>) {
        let Round { number, bytes, crc, at, synced, shards } = self;
        let shards = shards.text();
        let line = format!("#r {number} {bytes} {crc:08x} {at} {synced} {shards}\r\n");
        debug_assert!(line.len() < LINE_MAX);
        out.extend_from_slice(line.as_bytes());
    }

    /// Reads a line without its end.
    pub fn parse(line: &[u8]) -> Option<Round> {
        let mut words = line.strip_prefix(b"#r ")?.split(|&byte| byte == b' ');
        let mut word = || std::str::from_utf8(words.next()?).ok();
        let round = Round {
            number: word()?.parse().ok()?,
            bytes: word()?.parse().ok()?,
            crc: u32::from_str_radix(word()?, 16).ok()?,
            at: word()?.parse().ok()?,
            synced: word()?.parse().ok()?,
            shards: Shards::parse(word()?.as_bytes())?,
        };
        word().is_none().then_some(round)
    }
}

/// The first line of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub shard: usize,
    pub shards: usize,
    /// The first round of this generation of segments.
    pub first: u64,
}

impl Head {
    pub fn line(&self) -> Vec<u8> {
        let Head { shard, shards, first } = self;
        let text = format!("#corelane {VERSION} {shard} {shards} {first}");
        format!("{text} {:08x}\r\n", crc32fast::hash(text.as_bytes())).into_bytes()
    }

    /// Reads a line without its end; what is wrong with it.
    pub fn parse(line: &[u8]) -> Result<Head, String> {
        let text = std::str::from_utf8(line).map_err(|_| "its first line is no text")?;
        let words: Vec<&str> = text.split(' ').collect();
        let ["#corelane", version, shard, shards, first, _] = words[..] else {
            return Err("its first line is not that of a segment".to_string());
        };
        if version != VERSION.to_string() {
            return Err(format!("it has version {version}, and this server reads {VERSION}"));
        }
        let head = match (shard.parse(), shards.parse(), first.parse()) {
            (Ok(shard), Ok(shards), Ok(first)) if shard < shards => Head { shard, shards, first },
            _ => return Err("its first line names no shard".to_string()),
        };
        match head.line().strip_suffix(b"\r\n") == Some(line) {
            true => Ok(head),
            false => Err("the checksum of its first line is wrong".to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(of: &[usize]) -> Shards {
        let mut shards = Shards::default();
        of.iter().for_each(|&shard| shards.add(shard));
        shards
    }

    #[test]
    fn a_round_is_read_back() {
        for of in [&[0][..], &[0, 1], &[3], &[5, 64], &[63, 64, 1023]] {
            let mut round = Round::new(42, 1_700_000_000_000, 40, shards(of));
            round.seal(&[b"*1\r\n$4\r\n".to_vec(), b"PING\r\n".to_vec()]);
            let mut line = Vec::new();
            round.push_to(&mut line);
            assert!(line.len() < LINE_MAX);
            let read = Round::parse(line.strip_suffix(b"\r\n").unwrap()).unwrap();
            assert_eq!(read, round);
            assert_eq!(read.shards.iter().collect::<Vec<_>>(), of);
            assert!(read.fits(b"*1\r\n$4\r\nPING\r\n") && !read.fits(b"*1\r\n$4\r\nPINg\r\n"));
        }
    }

    #[test]
    fn a_changed_word_is_found_by_the_checksum() {
        let mut round = Round::new(42, 7, 41, shards(&[0, 1]));
        round.seal(&[b"effects".to_vec()]);
        for changed in [
            Round { number: 43, ..round.clone() },
            Round { at: 8, ..round.clone() },
            Round { synced: 42, ..round.clone() },
            Round { shards: shards(&[0]), ..round.clone() },
        ] {
            assert!(!changed.fits(b"effects"));
        }
    }

    #[test]
    fn what_is_no_round_is_none() {
        for line in
            ["", "#r", "#r 1 2 3 4 5", "#r 1 2 3 4 5 6 7", "#r x 2 3 4 5 6", "#r 1 2 3 4 5 "]
        {
            assert_eq!(Round::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_head_says_whose_the_segment_is() {
        let head = Head { shard: 3, shards: 4, first: 17 };
        let line = head.line();
        assert_eq!(line, b"#corelane 1 3 4 17 8d99cee9\r\n");
        assert_eq!(Head::parse(line.strip_suffix(b"\r\n").unwrap()), Ok(head));
        for wrong in ["", "*3", "#corelane 2 0 1 1 0", "#corelane 1 4 4 1 0", "#corelane 1 0 1"] {
            assert!(Head::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
