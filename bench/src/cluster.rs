//! Cluster slots: a key's slot, and the shards' addresses as CLUSTER SLOTS tells them.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

pub const SLOTS: usize = 16384;

/// Entries bound what a server may announce before it is no longer believed.
const ELEMENTS_MAX: i64 = 1 << 20;
const NESTING_MAX: u32 = 8;

const CRC16_XMODEM: [u16; 256] = crc16_table();

const fn crc16_table() -> [u16; 256] {
    let mut table = [0u16; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes
        .iter()
        .fold(0, |crc, &byte| (crc << 8) ^ CRC16_XMODEM[usize::from((crc >> 8) as u8 ^ byte)])
}

/// The slot of a key: of its first `{...}` if that is not empty, else of all of it.
pub fn slot(key: &[u8]) -> usize {
    let tag = key.iter().position(|&b| b == b'{').and_then(|open| {
        let inside = &key[open + 1..];
        inside.iter().position(|&b| b == b'}').filter(|&len| len > 0).map(|len| &inside[..len])
    });
    usize::from(crc16(tag.unwrap_or(key))) % SLOTS
}

/// Which shard owns a slot, and where the shards listen.
#[derive(Debug)]
pub struct SlotMap {
    owner: Vec<u16>,
    pub addresses: Vec<(String, u16)>,
}

impl SlotMap {
    pub fn shard_of(&self, key: &[u8]) -> usize {
        usize::from(self.owner[slot(key)])
    }

    /// Asks the server behind `stream`; `host` stands in where it names no address of its own.
    pub fn ask(stream: &TcpStream, host: &str) -> Result<SlotMap, String> {
        let mut writer = stream;
        writer.write_all(b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n").map_err(|e| e.to_string())?;
        let reply = read_value(&mut BufReader::new(stream), 0)?;
        SlotMap::from_reply(&reply, host)
    }

    fn from_reply(reply: &Value, host: &str) -> Result<SlotMap, String> {
        let ranges = match reply {
            Value::Array(ranges) => ranges,
            Value::Error(text) => return Err(format!("CLUSTER SLOTS: {text}")),
            _ => return Err("CLUSTER SLOTS: not an array".into()),
        };
        let mut map = SlotMap { owner: vec![u16::MAX; SLOTS], addresses: Vec::new() };
        for range in ranges {
            map.add(range, host).ok_or("CLUSTER SLOTS: a range of an unknown shape")?;
        }
        match map.owner.iter().position(|&shard| shard == u16::MAX) {
            Some(slot) => Err(format!("CLUSTER SLOTS: nobody owns slot {slot}")),
            None => Ok(map),
        }
    }

    fn add(&mut self, range: &Value, host: &str) -> Option<()> {
        let Value::Array(range) = range else { return None };
        let [Value::Int(start), Value::Int(end), Value::Array(node), ..] = range.as_slice() else {
            return None;
        };
        let ip = match node.first()? {
            Value::Bulk(ip) if !ip.is_empty() && ip != "?" => ip.clone(),
            Value::Bulk(_) | Value::Null => host.into(),
            _ => return None,
        };
        let Value::Int(port) = node.get(1)? else { return None };
        let address = (ip, u16::try_from(*port).ok()?);
        let known = self.addresses.iter().position(|a| *a == address);
        let shard = known.unwrap_or_else(|| {
            self.addresses.push(address);
            self.addresses.len() - 1
        });
        let slots = usize::try_from(*start).ok()?..=usize::try_from(*end).ok()?;
        self.owner.get_mut(slots)?.fill(u16::try_from(shard).ok()?);
        Some(())
    }
}

/// A decoded reply, for the few that are read before the load begins.
#[derive(Debug, PartialEq)]
pub enum Value {
    Text(String),
    Error(String),
    Int(i64),
    Bulk(String),
    Null,
    Array(Vec<Value>),
}

/// Reads one reply, blocking.
pub fn read_value(reader: &mut impl BufRead, depth: u32) -> Result<Value, String> {
    if depth > NESTING_MAX {
        return Err("reply nested too deeply".into());
    }
    let mut line = String::new();
    reader.read_line(&mut line).map_err(|e| format!("read: {e}"))?;
    let line = line.strip_suffix("\r\n").ok_or("connection closed while connecting")?;
    let (kind, rest) = line.split_at_checked(1).ok_or("empty reply line")?;
    let count = || match rest.parse::<i64>() {
        Ok(n) if (-1..=ELEMENTS_MAX).contains(&n) => Ok(n),
        _ => Err(format!("reply length '{rest}'")),
    };
    Ok(match kind {
        "+" | "," | "#" | "(" => Value::Text(rest.into()),
        "-" => Value::Error(rest.into()),
        ":" => Value::Int(rest.parse().map_err(|_| format!("reply number '{rest}'"))?),
        "_" => Value::Null,
        "$" | "=" => match count()? {
            -1 => Value::Null,
            len => {
                let mut bulk = vec![0; len as usize + 2];
                reader.read_exact(&mut bulk).map_err(|e| format!("read: {e}"))?;
                bulk.truncate(len as usize);
                Value::Bulk(String::from_utf8_lossy(&bulk).into_owned())
            }
        },
        "*" | "~" | "%" => {
            let elements = count()?.max(0) * if kind == "%" { 2 } else { 1 };
            Value::Array(
                (0..elements).map(|_| read_value(reader, depth + 1)).collect::<Result<_, _>>()?,
            )
        }
        _ => return Err(format!("unexpected reply '{line}'")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(reply: &str) -> Result<SlotMap, String> {
        SlotMap::from_reply(&read_value(&mut reply.as_bytes(), 0)?, "here")
    }

    #[test]
    fn slots_match_the_published_ones() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"bar"), 5061);
        assert_eq!(slot(b""), 0);
    }

    #[test]
    fn only_the_first_non_empty_tag_counts() {
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_eq!(slot(b"foo{{bar}}"), slot(b"{bar"));
        assert_eq!(slot(b"foo{}{bar}"), usize::from(crc16(b"foo{}{bar}")) % SLOTS);
        assert_eq!(slot(b"foo{bar"), usize::from(crc16(b"foo{bar")) % SLOTS);
    }

    #[test]
    fn slot_ranges_become_shards() {
        let map = map("*3\r\n\
             *3\r\n:0\r\n:9999\r\n*4\r\n$9\r\n127.0.0.1\r\n:7001\r\n$1\r\na\r\n*0\r\n\
             *3\r\n:10000\r\n:12999\r\n*3\r\n$-1\r\n:7002\r\n$1\r\nb\r\n\
             *3\r\n:13000\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:7001\r\n")
        .unwrap();
        assert_eq!(map.addresses, [("127.0.0.1".to_string(), 7001), ("here".to_string(), 7002)]);
        assert_eq!(map.shard_of(b"foo"), 1);
        assert_eq!(map.shard_of(b"bar"), 0);
        assert_eq!(map.owner[13000], 0);
    }

    #[test]
    fn incomplete_or_wrong_maps_are_refused() {
        let uncovered = "*1\r\n*3\r\n:0\r\n:100\r\n*2\r\n$1\r\na\r\n:1\r\n";
        assert!(map(uncovered).unwrap_err().contains("nobody owns slot 101"));
        assert!(map("-ERR This instance has cluster support disabled\r\n").is_err());
        assert!(map("*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n").is_err());
        assert!(map("*1\r\n:5\r\n").is_err());
        assert!(map("$5\r\nab").is_err());
        assert!(map(&"*1\r\n".repeat(20)).is_err());
    }
}
