//! Request templates: `SET __key__ __data__` compiled to RESP with holes for the keys.
//!
//! Words are separated by blanks, `"..."` keeps blanks. A word may be
//!
//! | word          | becomes                                                       |
//! |---------------|---------------------------------------------------------------|
//! | `__key__`     | a key drawn from the distribution                             |
//! | `__key:10__`  | ten keys, as in `MGET __key:10__`                             |
//! | `__same__`    | the last key drawn for this request                           |
//! | `__data__`    | the value of `--data-size` bytes                              |
//! | `__pair:10__` | ten times a key and the value, as in `MSET __pair:10__`       |
//! | `;`           | the end of one command; the block is sent and timed as one    |
//!
//! So `MULTI ; INCR __key__ ; EXPIRE __same__ 60 ; EXEC` is one request of four replies.
//! `9:GET __key__` gives the template the weight 9 among several.

use crate::keys::{KeyFormat, write_bulk_header};

enum Piece {
    Literal(Vec<u8>),
    Key,
    Same,
}

pub struct Template {
    /// The text without its weight, for the report.
    pub text: String,
    pub weight: u32,
    /// Commands in the block, so replies to expect.
    pub replies: u32,
    /// Keys to draw for one request.
    pub keys: u32,
    pieces: Vec<Piece>,
}

impl Template {
    pub fn parse(text: &str, data: &[u8]) -> Result<Template, String> {
        let (weight, body) = split_weight(text)?;
        let mut template =
            Template { text: body.into(), weight, replies: 0, keys: 0, pieces: Vec::new() };
        for command in words(body)?.split(|word| *word == Word::End) {
            template.command(command, data).map_err(|what| format!("'{text}': {what}"))?;
        }
        Ok(template)
    }

    /// Appends one request. `first` is its first key, `more` draws the others.
    pub fn write(
        &self,
        format: &KeyFormat,
        first: u64,
        mut more: impl FnMut() -> u64,
        out: &mut Vec<u8>,
    ) {
        let mut key = first;
        let mut fresh = true;
        for piece in &self.pieces {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Key => {
                    if !fresh {
                        key = more();
                    }
                    fresh = false;
                    format.write_bulk(key, out);
                }
                Piece::Same => format.write_bulk(key, out),
            }
        }
    }

    fn command(&mut self, words: &[Word], data: &[u8]) -> Result<(), String> {
        if words.is_empty() {
            return Err("empty command".into());
        }
        let count: usize = words.iter().map(Word::arguments).sum();
        self.literal(format!("*{count}\r\n").as_bytes());
        for word in words {
            match word {
                Word::Text(text) => self.bulk(text.as_bytes()),
                Word::Data => self.bulk(data),
                Word::Keys(n) => (0..*n).for_each(|_| self.key()),
                Word::Pairs(n) => (0..*n).for_each(|_| {
                    self.key();
                    self.bulk(data);
                }),
                Word::Same if self.keys == 0 => return Err("__same__ before any __key__".into()),
                Word::Same => self.pieces.push(Piece::Same),
                Word::End => unreachable!("split at the ends"),
            }
        }
        self.replies += 1;
        Ok(())
    }

    fn key(&mut self) {
        self.keys += 1;
        self.pieces.push(Piece::Key);
    }

    fn bulk(&mut self, bytes: &[u8]) {
        let mut bulk = Vec::with_capacity(bytes.len() + 16);
        write_bulk_header(bytes.len(), &mut bulk);
        bulk.extend_from_slice(bytes);
        bulk.extend_from_slice(b"\r\n");
        self.literal(&bulk);
    }

    fn literal(&mut self, bytes: &[u8]) {
        match self.pieces.last_mut() {
            Some(Piece::Literal(last)) => last.extend_from_slice(bytes),
            _ => self.pieces.push(Piece::Literal(bytes.to_vec())),
        }
    }
}

/// The templates of `--mix GET:SET`; a share of 0 leaves its command out.
pub fn mix(text: &str, data: &[u8]) -> Result<Vec<Template>, String> {
    let shares = text
        .split_once(':')
        .and_then(|(get, set)| Some((get.parse::<u32>().ok()?, set.parse::<u32>().ok()?)));
    let Some((get, set)) = shares.filter(|&(get, set)| get > 0 || set > 0) else {
        return Err(format!("'{text}': expected GET:SET, as in 9:1"));
    };
    [(get, "GET __key__"), (set, "SET __key__ __data__")]
        .into_iter()
        .filter(|(weight, _)| *weight > 0)
        .map(|(weight, body)| Template::parse(&format!("{weight}:{body}"), data))
        .collect()
}

#[derive(PartialEq, Eq, Debug, Clone)]
enum Word {
    Text(String),
    Keys(usize),
    Pairs(usize),
    Same,
    Data,
    End,
}

impl Word {
    fn arguments(&self) -> usize {
        match self {
            Word::Keys(n) => *n,
            Word::Pairs(n) => 2 * *n,
            Word::Text(_) | Word::Same | Word::Data => 1,
            Word::End => 0,
        }
    }

    fn bare(text: &str) -> Result<Word, String> {
        let Some(inner) = text.strip_prefix("__").and_then(|t| t.strip_suffix("__")) else {
            if ["__key", "__data", "__pair", "__same"].iter().any(|hole| text.contains(hole)) {
                return Err(format!("'{text}': a placeholder must be a word of its own"));
            }
            return Ok(if text == ";" { Word::End } else { Word::Text(text.into()) });
        };
        let (name, count) = inner.split_once(':').unwrap_or((inner, "1"));
        let count = count.parse().ok().filter(|n| (1..=10_000).contains(n));
        match (name, count) {
            ("key", Some(n)) => Ok(Word::Keys(n)),
            ("pair", Some(n)) => Ok(Word::Pairs(n)),
            ("same", _) if name == inner => Ok(Word::Same),
            ("data", _) if name == inner => Ok(Word::Data),
            _ => Err(format!("unknown placeholder '{text}'")),
        }
    }
}

fn split_weight(text: &str) -> Result<(u32, &str), String> {
    match text.split_once(':') {
        Some((weight, body))
            if !weight.is_empty() && weight.bytes().all(|b| b.is_ascii_digit()) =>
        {
            match weight.parse() {
                Ok(weight) if weight > 0 => Ok((weight, body)),
                _ => Err(format!("'{text}': the weight must be above 0")),
            }
        }
        _ => Ok((1, text)),
    }
}

fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, tail) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (inside, tail) =
                    quoted.split_once('"').ok_or_else(|| format!("'{text}': open quote"))?;
                (Word::Text(inside.into()), tail)
            }
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (Word::bare(&rest[..end])?, &rest[end..])
            }
        };
        words.push(word);
        rest = tail.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> String {
        let template = Template::parse(text, b"vv").unwrap();
        let format: KeyFormat = "k%d".parse().unwrap();
        let mut next = 1;
        let mut out = Vec::new();
        let more = || {
            next += 1;
            next
        };
        template.write(&format, 1, more, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn keys_and_data_are_filled_in() {
        assert_eq!(
            expand("SET __key__ __data__ EX 10"),
            "*5\r\n$3\r\nSET\r\n$2\r\nk1\r\n$2\r\nvv\r\n$2\r\nEX\r\n$2\r\n10\r\n"
        );
        assert_eq!(expand("PING"), "*1\r\n$4\r\nPING\r\n");
        assert_eq!(expand("ECHO \"a b\""), "*2\r\n$4\r\nECHO\r\n$3\r\na b\r\n");
        assert_eq!(expand("ECHO \"\""), "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n");
    }

    #[test]
    fn repeated_placeholders_draw_anew() {
        assert_eq!(
            expand("MGET __key:3__"),
            "*4\r\n$4\r\nMGET\r\n$2\r\nk1\r\n$2\r\nk2\r\n$2\r\nk3\r\n"
        );
        assert_eq!(
            expand("MSET __pair:2__"),
            "*5\r\n$4\r\nMSET\r\n$2\r\nk1\r\n$2\r\nvv\r\n$2\r\nk2\r\n$2\r\nvv\r\n"
        );
    }

    #[test]
    fn blocks_are_one_request_of_several_replies() {
        let block = "MULTI ; INCR __key__ ; EXPIRE __same__ 60 ; GET __key__ ; EXEC";
        let template = Template::parse(block, b"").unwrap();
        assert_eq!((template.replies, template.keys), (5, 2));
        assert_eq!(
            expand(block),
            "*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$2\r\nk1\r\n\
             *3\r\n$6\r\nEXPIRE\r\n$2\r\nk1\r\n$2\r\n60\r\n*2\r\n$3\r\nGET\r\n$2\r\nk2\r\n\
             *1\r\n$4\r\nEXEC\r\n"
        );
    }

    #[test]
    fn weights_come_first() {
        let template = Template::parse("9:GET __key__", b"").unwrap();
        assert_eq!((template.weight, template.text.as_str()), (9, "GET __key__"));
        let template = Template::parse("GET a:b", b"").unwrap();
        assert_eq!((template.weight, template.text.as_str()), (1, "GET a:b"));
        assert!(Template::parse("0:GET a", b"").is_err());
    }

    #[test]
    fn mixes_leave_out_a_zero_share() {
        let shape = |text| -> Vec<(u32, String)> {
            mix(text, b"v").unwrap().into_iter().map(|t| (t.weight, t.text)).collect()
        };
        assert_eq!(shape("1:0"), [(1, "GET __key__".into())]);
        assert_eq!(
            shape("9:1"),
            [(9, "GET __key__".into()), (1, "SET __key__ __data__".to_string())]
        );
        for wrong in ["0:0", "1", "a:b", "1:-1"] {
            assert!(mix(wrong, b"v").is_err(), "{wrong}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for wrong in [
            "",
            "GET __kee__",
            "GET x__key__",
            "MGET __key:0__",
            "GET __same__",
            "MULTI ; ; EXEC",
            "ECHO \"open",
            "GET __data:2__",
        ] {
            assert!(Template::parse(wrong, b"").is_err(), "{wrong}");
        }
    }
}
