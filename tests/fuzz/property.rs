//! What must hold for every input of the request parser: it doesn't panic, its arguments lie inside
//! the buffer, it gets on, and the same requests come out however the bytes are cut on their way.

use corelane::resp::{Limits, Parser, ProtocolError, Span, Step};

/// The requests of a stream, and the error that ended it.
type Parsed = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

const LIMITS: [Limits; 2] = [
    Limits { bulk_len_max: 512 << 20, multibulk_max: 1024 * 1024, authenticated: true },
    Limits { bulk_len_max: 1 << 20, multibulk_max: 1024 * 1024, authenticated: false },
];

/// Feeds `input` in pieces of `step` bytes, as reads of a socket would bring them.
fn parse(input: &[u8], step: usize, limits: &Limits) -> Parsed {
    let mut buffer = Vec::new();
    let mut parser = Parser::default();
    let mut spans: Vec<Span> = Vec::new();
    let mut requests = Vec::new();
    let mut start = 0;
    for piece in input.chunks(step) {
        buffer.extend_from_slice(piece);
        loop {
            match parser.parse(&mut buffer, start, &mut spans, limits) {
                Step::Request { end } => {
                    assert!(
                        end > start && end <= buffer.len(),
                        "{start}..{end} of {}",
                        buffer.len()
                    );
                    let argument = |s: &Span| buffer[start..end][range(s, start)].to_vec();
                    requests.push(spans.iter().map(argument).collect());
                    spans.clear();
                    start = end;
                }
                Step::Incomplete => break,
                Step::Error(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fn range(span: &Span, start: usize) -> std::ops::Range<usize> {
    span.start as usize - start..span.end as usize - start
}

/// Panics unless `input` gives the same requests at once and in pieces of `step` bytes.
pub fn however_it_is_cut(input: &[u8], step: usize) {
    for limits in &LIMITS {
        let whole = parse(input, input.len().max(1), limits);
        let pieces = parse(input, step, limits);
        assert_eq!(whole, pieces, "cut into pieces of {step}");
    }
}
