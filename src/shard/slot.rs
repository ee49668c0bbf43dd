//! Slots: which shard owns a key.

use smallvec::SmallVec;

/// Slots in all, as in Redis Cluster.
pub const SLOTS: usize = 16384;

/// The slot of a key: CRC16 (XMODEM) of its hash tag if it has one, else of all of it.
#[inline]
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) & (SLOTS as u16 - 1)
}

/// `TABLES[n][b]` is the CRC of the byte `b` followed by `n` zero bytes.
const TABLES: [[u16; 256]; 8] = {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[zeros - 1][byte];
            tables[zeros][byte] = (crc << 8) ^ tables[0][(crc >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
};

/// The CRC of the `crc16` crate, eight bytes a step ("slicing", Kounavis and Berry 2005): every
/// command on several shards needs one, and a byte a step took a twentieth of its time.
#[inline]
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let mut eights = bytes.chunks_exact(8);
    for eight in &mut eights {
        let head = [eight[0] ^ (crc >> 8) as u8, eight[1] ^ crc as u8];
        crc = TABLES[7][head[0] as usize]
            ^ TABLES[6][head[1] as usize]
            ^ TABLES[5][eight[2] as usize]
            ^ TABLES[4][eight[3] as usize]
            ^ TABLES[3][eight[4] as usize]
            ^ TABLES[2][eight[5] as usize]
            ^ TABLES[1][eight[6] as usize]
            ^ TABLES[0][eight[7] as usize];
    }
    eights
        .remainder()
        .iter()
        .fold(crc, |crc, byte| (crc << 8) ^ TABLES[0][((crc >> 8) as u8 ^ byte) as usize])
}

/// The part of a key between its first `{` and the next `}`, unless that is empty or missing.
fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&b| b == b'{') else { return key };
    match key[open + 1..].iter().position(|&b| b == b'}') {
        None | Some(0) => key,
        Some(len) => &key[open + 1..open + 1 + len],
    }
}

/// Which shard owns each slot.
///
/// Data, not a formula: slots can move while the server runs, and then every shard gets a new
/// version of this table.
#[derive(Debug, Clone)]
pub struct SlotTable {
    owners: Box<[u16; SLOTS]>,
    /// The last slot and the owner of each range, while there are only a few: they fit into a cache
    /// line or two, the whole table does not fit into the first cache beside anything else.
    ranges: SmallVec<[(u16, u16); RANGES_SCANNED]>,
    shards: usize,
}

/// So many ranges are looked through one by one.
const RANGES_SCANNED: usize = 16;

impl SlotTable {
    /// Contiguous ranges of nearly equal size.
    pub fn contiguous(shards: usize) -> SlotTable {
        let owner = |slot: usize| (slot * shards / SLOTS) as u16;
        let owners = Box::new(std::array::from_fn(owner));
        let mut table = SlotTable { owners, ranges: SmallVec::new(), shards };
        let ranges = table.ranges();
        if ranges.len() <= RANGES_SCANNED {
            table.ranges = ranges.iter().map(|&(_, last, shard)| (last, shard as u16)).collect();
        }
        table
    }

    pub fn shards(&self) -> usize {
        self.shards
    }

    #[inline]
    pub fn owner(&self, slot: u16) -> usize {
        match self.ranges.iter().find(|(last, _)| slot <= *last) {
            Some((_, shard)) => *shard as usize,
            None => self.owners[slot as usize] as usize,
        }
    }

    /// The shard that owns `key`; no slot is computed where there is nothing to choose.
    pub fn owner_of(&self, key: &[u8]) -> usize {
        match self.shards {
            1 => 0,
            _ => self.owner(slot_of(key)),
        }
    }

    /// Ranges of slots with the same owner, in order: first slot, last slot, shard.
    pub fn ranges(&self) -> Vec<(u16, u16, usize)> {
        let mut ranges: Vec<(u16, u16, usize)> = Vec::new();
        for slot in 0..SLOTS as u16 {
            let owner = self.owners[slot as usize] as usize;
            match ranges.last_mut() {
                Some((_, last, shard)) if *shard == owner => *last = slot,
                _ => ranges.push((slot, slot, owner)),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis_cluster() {
        assert_eq!(slot_of(b"123456789"), 0x31c3 & 0x3fff);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(
            slot_of(b"foo{}{bar}"),
            crc16::State::<crc16::XMODEM>::calculate(b"foo{}{bar}") & 0x3fff
        );
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
    }

    #[test]
    fn the_crc_is_that_of_the_crate() {
        let bytes: Vec<u8> = (0..100u8).map(|n| n.wrapping_mul(37) ^ 0x5a).collect();
        for len in 0..bytes.len() {
            let expected = crc16::State::<crc16::XMODEM>::calculate(&bytes[..len]);
            assert_eq!(crc16(&bytes[..len]), expected, "{len} bytes");
        }
    }

    #[test]
    fn ranges_cover_all_slots_evenly() {
        for shards in [1, 2, 3, 7, 64] {
            let ranges = SlotTable::contiguous(shards).ranges();
            assert_eq!(ranges.len(), shards);
            assert_eq!(ranges[0].0, 0);
            assert_eq!(ranges[shards - 1].1, 16383);
            assert!(ranges.iter().all(|(a, b, _)| (b - a + 1) as usize >= SLOTS / shards));
        }
    }
}
