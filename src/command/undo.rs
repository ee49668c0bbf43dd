//! Putting back what was taken for a client that has gone before it could be told.

use crate::resp::Args;

/// The bulk strings and numbers of an encoded reply, in order, whatever arrays they are in.
fn leaves(mut reply: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut leaves = Vec::new();
    while !reply.is_empty() {
        let end = reply.iter().position(|&b| b == b'\n')?;
        let (line, rest) = (&reply[1..end.checked_sub(1)?], &reply[end + 1..]);
        match reply[0] {
            b'*' => reply = rest,
            b':' | b',' => {
                leaves.push(line.to_vec());
                reply = rest;
            }
            b'$' => {
                let len: usize = std::str::from_utf8(line).ok()?.parse().ok()?;
                leaves.push(rest.get(..len)?.to_vec());
                reply = rest.get(len + 2..)?;
            }
            _ => return None, // an error or a null has taken nothing
        }
    }
    Some(leaves)
}

fn push(command: &str, reply: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut leaves = leaves(reply)?;
    let key = leaves.first()?.clone();
    let elements = leaves.split_off(1);
    let words = [command.as_bytes().to_vec(), key];
    Some(words.into_iter().chain(elements.into_iter().rev()).collect())
}

/// What BLPOP has taken.
pub fn push_front(_: &Args, reply: &[u8]) -> Option<Vec<Vec<u8>>> {
    push("LPUSH", reply)
}

/// What BRPOP has taken.
pub fn push_back(_: &Args, reply: &[u8]) -> Option<Vec<Vec<u8>>> {
    push("RPUSH", reply)
}

/// What BLMPOP has taken: the end is named behind the keys.
pub fn push_where(args: &Args, reply: &[u8]) -> Option<Vec<Vec<u8>>> {
    let keys: usize = std::str::from_utf8(args.get(2)?).ok()?.parse().ok()?;
    push(if args.is(3 + keys, "LEFT") { "LPUSH" } else { "RPUSH" }, reply)
}

/// What BZPOPMIN, BZPOPMAX or BZMPOP has taken: a key, then members with their scores.
pub fn add_scores(_: &Args, reply: &[u8]) -> Option<Vec<Vec<u8>>> {
    let leaves = leaves(reply)?;
    let (key, pairs) = leaves.split_first()?;
    let mut words = vec![b"ZADD".to_vec(), key.clone()];
    for pair in pairs.chunks_exact(2) {
        words.extend([pair[1].clone(), pair[0].clone()]);
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::with_args;

    fn text(words: Option<Vec<Vec<u8>>>) -> String {
        String::from_utf8(words.unwrap_or_default().join(&b' ')).unwrap()
    }

    #[test]
    fn what_was_taken_goes_back_in_its_order() {
        let pop = b"*2\r\n$1\r\nk\r\n$3\r\na\r\n\r\n".as_slice();
        with_args(&[b"BLPOP", b"k", b"0"], |args| {
            assert_eq!(text(push_front(&args, pop)), "LPUSH k a\r\n");
            assert_eq!(text(push_back(&args, pop)), "RPUSH k a\r\n");
            assert_eq!(push_front(&args, b"*-1\r\n").map(|words| words.len()), None);
            assert_eq!(push_front(&args, b"-WRONGTYPE x\r\n"), None);
        });
        let many = b"*2\r\n$1\r\nk\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n".as_slice();
        with_args(&[b"BLMPOP", b"0", b"2", b"j", b"k", b"left", b"COUNT", b"2"], |args| {
            assert_eq!(text(push_where(&args, many)), "LPUSH k b a");
        });
        with_args(&[b"BLMPOP", b"0", b"1", b"k", b"RIGHT"], |args| {
            assert_eq!(text(push_where(&args, many)), "RPUSH k b a");
        });
        let scores = b"*3\r\n$1\r\nz\r\n$1\r\nm\r\n,1.5\r\n".as_slice();
        with_args(&[b"BZPOPMIN", b"z", b"0"], |args| {
            assert_eq!(text(add_scores(&args, scores)), "ZADD z 1.5 m");
        });
    }
}
