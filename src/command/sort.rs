//! SORT and SORT_RO: the elements of a list, a set or a sorted set in an order of the client's
//! choice.
//!
//! ```text
//!   SORT key BY weight_* LIMIT 10 5 GET # GET name_* GET object_*->field STORE target
//!
//!   load      the elements, copied: what follows may look at any other key
//!   weigh     by themselves, or by what the keys hold that BY names with the element for its star
//!   order     only as far as LIMIT wants it
//!   write     each element, or what GET's patterns name, as the reply or as a list at `target`
//! ```
//!
//! Which keys BY and GET read depends on the elements, so nobody can tell from the request:
//! [`reads_unnamed`] says whether it is one of those.

mod options;
mod pattern;

use super::list::{store_list, write_element};
use super::registry::KeyIndexes;
use super::spec::*;
use crate::data::list::{Limit, List};
use crate::data::packed::Element;
use crate::data::sorted_set::Direction;
use crate::data::{Object, ValueRef};
use crate::error::CmdError;
use crate::resp::Args;
use crate::shard::{Class, Cx, Keys};
use options::Options;
use pattern::{Pattern, score_of};
use std::cmp::Ordering;
use std::ops::Range;

const COMPLEXITY: &str = "O(N+M*log(M)) where N is the number of elements and M that of those \
                          answered; O(N) when nothing is to be sorted.";
const CATEGORIES: &[&str] = &["set", "sortedset", "list", "dangerous"];

/// The keys that BY and GET read.
const PATTERN_KEYS: KeySpec =
    KeySpec { flags: RO_ACCESS, begin: Begin::Unknown, find: Find::Unknown(|_, _| {}) };
const STORE_KEY: KeySpec =
    KeySpec { flags: OW_UPDATE, begin: Begin::Unknown, find: Find::Unknown(stored_at) };

pub const COMMANDS: &[Command] = &[
    shard(
        "sort",
        -2,
        WRITE.with(DENYOOM),
        &[KeySpec::one(1, RO_ACCESS), PATTERN_KEYS, STORE_KEY],
        sort,
    )
    .unnamed_keys(UNNAMED)
    .own_categories(CATEGORIES)
    .doc(
        Group::Generic,
        "1.0.0",
        COMPLEXITY,
        "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] \
         [ALPHA] [STORE destination]",
        "Answers the elements of a list, a set or a sorted set in order, or stores them.",
    ),
    shard("sort_ro", -2, READONLY, &[KeySpec::one(1, RO_ACCESS), PATTERN_KEYS], sort_ro)
        .unnamed_keys(UNNAMED)
        .own_categories(CATEGORIES)
        .doc(
            Group::Generic,
            "7.0.0",
            COMPLEXITY,
            "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] \
             [ALPHA]",
            "Answers the elements of a list, a set or a sorted set in order.",
        ),
];

const NOT_A_SCORE: CmdError =
    CmdError::fixed("ERR One or more scores can't be converted into double");

/// Whether a request of SORT or SORT_RO reads keys that its arguments do not name: it has a BY or a
/// GET with a star in its pattern. Such a request must run with the keys of all shards at hand;
/// without one it touches no more than its key and that of STORE.
pub fn reads_unnamed(args: &Args) -> bool {
    Options::parse(args, true).is_ok_and(|options| {
        let patterns = options.by.iter().chain(&options.get);
        patterns.copied().any(|pattern| Pattern::new(pattern).reads_a_key())
    })
}

const UNNAMED: UnnamedKeys = UnnamedKeys { are_used: reads_unnamed, names: unnamed };

/// The keys that BY and GET mean for the elements that there are.
fn unnamed(keys: &mut Keys, args: &Args) -> Vec<Box<[u8]>> {
    let mut names = Vec::new();
    let Ok(options) = Options::parse(args, true) else { return names };
    let patterns = options.by.iter().chain(&options.get).copied().map(Pattern::new);
    let patterns: Vec<Pattern> = patterns.filter(|pattern| pattern.reads_a_key()).collect();
    let Some(entry) = keys.peek(args.at(1)) else { return names };
    // Of the wrong type: the command says so.
    let Ok(source) = Source::of(entry.value(), 0, false) else { return names };
    source.elements.for_each(|element| {
        element.with_text(|text| {
            names.extend(patterns.iter().filter_map(|pattern| Some(pattern.key(text)?.into())));
        });
    });
    names
}

/// Where the key is that STORE names.
fn stored_at(args: &Args, indexes: &mut KeyIndexes) {
    if let Ok(Options { store: Some(at), .. }) = Options::parse(args, true) {
        indexes.push(at as u32);
    }
}

fn sort(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let options = Options::parse_for(&args, true, cx.reads_all_keys)?;
    sort_by(cx, args, options)
}

fn sort_ro(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let options = Options::parse_for(&args, false, cx.reads_all_keys)?;
    sort_by(cx, args, options)
}

/// What can be sorted, as it is without sorting.
struct Source<'a> {
    len: usize,
    /// From the element wanted on.
    elements: Box<dyn Iterator<Item = Element<'a>> + 'a>,
}

impl<'a> Source<'a> {
    /// The elements in their own order from the `from`-th on, from the end on if `backwards`.
    fn of(value: ValueRef<'a>, from: usize, backwards: bool) -> Result<Source<'a>, CmdError> {
        match value {
            ValueRef::Object(Object::List(list)) => Ok(Source {
                len: list.len(),
                elements: match backwards {
                    true => Box::new(list.iter_back_from(list.len().saturating_sub(from))),
                    false => Box::new(list.iter_from(from)),
                },
            }),
            ValueRef::Object(Object::Set(set)) => {
                Ok(Source { len: set.len(), elements: Box::new(set.iter().skip(from)) })
            }
            ValueRef::Object(Object::SortedSet(set)) => {
                let direction =
                    if backwards { Direction::Descending } else { Direction::Ascending };
                let members = set.range(0..set.len(), direction).skip(from);
                let elements = Box::new(members.map(|(member, _)| Element::Bytes(member)));
                Ok(Source { len: set.len(), elements })
            }
            _ => Err(CmdError::WRONG_TYPE),
        }
    }
}

/// Whether the elements come in an order that means something: not those of a set.
fn has_order(value: &ValueRef) -> bool {
    !matches!(value, ValueRef::Object(Object::Set(_)))
}

/// The elements with what they are sorted by. All texts are in one buffer, in the order in which
/// the elements came.
#[derive(Default)]
struct Rows {
    texts: Vec<u8>,
    weights: Vec<u8>,
    rows: Vec<Row>,
}

struct Row {
    text: Range<usize>,
    score: f64,
    /// What BY has found for ALPHA.
    weight: Option<Range<usize>>,
}

fn add_text(texts: &mut Vec<u8>, element: Element) -> Range<usize> {
    let start = texts.len();
    element.with_text(|text| texts.extend_from_slice(text));
    start..texts.len()
}

impl Rows {
    fn push(&mut self, element: Element) {
        let text = add_text(&mut self.texts, element);
        self.rows.push(Row { text, score: 0.0, weight: None });
    }

    fn text(&self, at: usize) -> &[u8] {
        &self.texts[self.rows[at].text.clone()]
    }

    /// Finds out what each element is sorted by; what BY names and is not there weighs least.
    fn weigh(&mut self, cx: &mut Cx, by: Option<Pattern>, alpha: bool) -> Result<(), CmdError> {
        let Rows { texts, weights, rows } = self;
        let mut name = Vec::new();
        let mut scores = true;
        for row in rows {
            let text = &texts[row.text.clone()];
            let found = match by {
                Some(pattern) => pattern.find(&mut cx.keys, text, &mut name),
                None if alpha => None,
                None => Some(Element::Bytes(text)),
            };
            match found {
                None => {}
                Some(weight) if alpha => row.weight = Some(add_text(weights, weight)),
                Some(weight) => match score_of(weight) {
                    Some(score) => row.score = score,
                    None => scores = false,
                },
            }
        }
        if scores { Ok(()) } else { Err(NOT_A_SCORE) }
    }

    /// Brings the rows of `wanted` into their places. Equal ones stay in the order they came in.
    fn order(&mut self, wanted: Range<usize>, options: &Options, by_weight: bool) {
        if wanted.is_empty() {
            return;
        }
        let Rows { texts, weights, rows } = self;
        let text = |row: &Row| &texts[row.text.clone()];
        let weight = |row: &Row| row.weight.clone().map(|weight| &weights[weight]);
        // Without STORE, as by `strcoll` in the C locale: up to a NUL.
        let whole = options.store.is_some();
        let collate = |a: &[u8], b: &[u8]| match whole {
            true => a.cmp(b),
            false => up_to_nul(a).cmp(up_to_nul(b)),
        };
        let compare = |a: &Row, b: &Row| {
            let order = match (options.alpha, by_weight) {
                (false, _) => {
                    let scores = a.score.partial_cmp(&b.score).unwrap_or(Ordering::Equal);
                    scores.then_with(|| text(a).cmp(text(b)))
                }
                (true, false) => collate(text(a), text(b)),
                (true, true) => match (weight(a), weight(b)) {
                    (Some(a), Some(b)) => collate(a, b),
                    (a, b) => a.is_some().cmp(&b.is_some()),
                },
            };
            let order = if options.desc { order.reverse() } else { order };
            order.then(a.text.start.cmp(&b.text.start)).then(a.text.end.cmp(&b.text.end))
        };
        let mut rows = &mut rows[..];
        if wanted.end < rows.len() {
            rows.select_nth_unstable_by(wanted.end, compare);
            rows = &mut rows[..wanted.end];
        }
        if wanted.start > 0 {
            rows.select_nth_unstable_by(wanted.start, compare);
            rows = &mut rows[wanted.start..];
        }
        rows.sort_unstable_by(compare);
    }
}

fn up_to_nul(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn sort_by(cx: &mut Cx, args: Args, mut options: Options) -> Result<(), CmdError> {
    let mut rows = Rows::default();
    let mut wanted = 0..0;
    let mut by = options.by.map(Pattern::new);
    let mut sorts = by.is_none_or(Pattern::has_star);
    if let Some(entry) = cx.keys.get(args.at(1)) {
        let value = entry.value();
        let has_order = has_order(&value);
        if !sorts && !has_order && (options.store.is_some() || cx.in_script) {
            // What is stored, or what a script sees, must not depend on the order in which a set
            // happens to be.
            (sorts, by, options.alpha) = (true, None, true);
        }
        let len = Source::of(entry.value(), 0, false)?.len;
        wanted = options.wanted(len);
        if !sorts && has_order {
            let source = Source::of(value, wanted.start, options.desc)?;
            source.elements.take(wanted.len()).for_each(|element| rows.push(element));
            wanted = 0..rows.rows.len();
        } else {
            Source::of(value, 0, false)?.elements.for_each(|element| rows.push(element));
        }
    }
    if sorts {
        rows.weigh(cx, by, options.alpha)?;
        rows.order(wanted.clone(), &options, by.is_some());
    }
    match options.store {
        None => answer(cx, &rows, wanted, &options.get),
        Some(at) => return store(cx, &rows, wanted, &options.get, args.at(at)),
    }
    Ok(())
}

fn answer(cx: &mut Cx, rows: &Rows, wanted: Range<usize>, get: &[&[u8]]) {
    let mut name = Vec::new();
    cx.out.array(wanted.len() * get.len().max(1));
    for at in wanted {
        if get.is_empty() {
            cx.out.bulk(rows.text(at));
        }
        for pattern in get {
            match Pattern::new(pattern).find(&mut cx.keys, rows.text(at), &mut name) {
                Some(element) => write_element(&mut cx.out, element),
                None => cx.out.null(),
            }
        }
    }
}

/// Stores the elements, or what GET has found and empty texts where it has found nothing.
fn store(
    cx: &mut Cx,
    rows: &Rows,
    wanted: Range<usize>,
    get: &[&[u8]],
    target: &[u8],
) -> Result<(), CmdError> {
    let mut found = Rows::default();
    let mut name = Vec::new();
    for at in wanted.clone() {
        for pattern in get {
            let element = Pattern::new(pattern).find(&mut cx.keys, rows.text(at), &mut name);
            let element = element.unwrap_or(Element::Bytes(b""));
            if element.text_len() > List::ELEMENT_MAX {
                return Err(CmdError::STRING_TOO_LONG);
            }
            found.push(element);
        }
    }
    let limit = Limit::new(cx.settings.encodings.list_max_listpack_size);
    let (rows, wanted) = match get.is_empty() {
        true => (rows, wanted),
        false => (&found, 0..found.rows.len()),
    };
    let (count, stored) = (wanted.len(), wanted.clone());
    if count > 0 {
        let list = List::of(wanted.map(|at| Element::new(rows.text(at))), limit);
        store_list(cx, target, list);
        cx.keys.notify(Class::List, "sortstore", target);
        cx.keys.changed(count as u64);
        if cx.keys.is_recorded() {
            // Not the command: it reads keys, and fields, that may have expired when it is run.
            cx.keys.effect(target, &[b"DEL", target]);
            let elements: Vec<&[u8]> = stored.map(|at| rows.text(at)).collect();
            cx.keys.effect_of_many(target, &[b"RPUSH", target], &elements);
        }
    } else if cx.keys.replace_by_nothing(target) {
        cx.keys.effect(target, &[b"DEL", target]);
        cx.keys.changed(1);
    }
    cx.out.int(count as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::{Bench, with_args};

    /// The elements of an array reply as words.
    fn words(reply: String) -> String {
        let words = reply.lines().filter(|line| !line.starts_with(['*', '$']) || *line == "$-1");
        words.collect::<Vec<_>>().join(" ")
    }

    fn bench(elements: &str) -> Bench {
        let mut bench = Bench::new();
        bench.run(&format!("RPUSH l {elements}"));
        bench
    }

    #[test]
    fn numbers_and_texts_have_their_orders() {
        let mut bench = bench("10 9 2 30 -1 2");
        assert_eq!(words(bench.run("SORT l")), "-1 2 2 9 10 30");
        assert_eq!(words(bench.run("SORT_RO l DESC")), "30 10 9 2 2 -1");
        assert_eq!(words(bench.run("SORT l ALPHA")), "-1 10 2 2 30 9");
        assert_eq!(words(bench.run("SORT l DESC ALPHA ASC")), "-1 10 2 2 30 9");
        assert_eq!(words(bench.run("SORT l LIMIT 1 3")), "2 2 9");
        assert_eq!(words(bench.run("SORT l DESC LIMIT 4 100")), "2 -1");
        assert_eq!(bench.run("SORT l LIMIT 6 1"), "*0\r\n");
        assert_eq!(bench.run("SORT none"), "*0\r\n");
        bench.run("RPUSH l x");
        let error = "-ERR One or more scores can't be converted into double\r\n";
        assert_eq!(bench.run("SORT l LIMIT 0 1"), error);
        assert_eq!(bench.run("SORT l STORE t"), error);
        assert_eq!(bench.run("EXISTS t"), ":0\r\n");
        bench.run("SET s 1");
        assert!(bench.run("SORT s").starts_with("-WRONGTYPE"));
        assert_eq!(bench.run("SORT s FOO"), "-ERR syntax error\r\n");
        assert_eq!(bench.run("SORT_RO l STORE t"), "-ERR syntax error\r\n");
    }

    #[test]
    fn weights_are_read_from_other_keys() {
        let mut bench = bench("a b c d");
        for command in ["SET w_a 3", "SET w_b 1", "SET w_c 2", "SET n_a anna", "SET n_c carl"] {
            bench.run(command);
        }
        assert_eq!(words(bench.run("SORT l BY w_*")), "d b c a");
        assert_eq!(words(bench.run("SORT l BY w_* DESC LIMIT 0 2")), "a c");
        assert_eq!(words(bench.run("SORT l BY w_* GET # GET n_*")), "d $-1 b $-1 c carl a anna");
        assert_eq!(words(bench.run("SORT l BY n_* ALPHA")), "b d a c");
        assert_eq!(words(bench.run("SORT l BY n_* ALPHA DESC")), "c a b d");
        assert_eq!(words(bench.run("SORT l BY l_* ALPHA GET nostar")), "$-1 $-1 $-1 $-1");
        bench.run("SET w_d x");
        assert!(bench.run("SORT l BY w_*").starts_with("-ERR One or more scores"));
        // What holds another type weighs as much as nothing.
        bench.run("DEL w_d");
        bench.run("RPUSH w_d 5");
        assert_eq!(words(bench.run("SORT l BY w_*")), "d b c a");
        assert_eq!(words(bench.run("SORT l BY w_*->f ALPHA GET w_*->f")), "$-1 $-1 $-1 $-1");
    }

    #[test]
    fn without_sorting_a_list_keeps_its_order() {
        let mut bench = bench("c a d b");
        assert_eq!(words(bench.run("SORT l BY nosort")), "c a d b");
        assert_eq!(words(bench.run("SORT l BY nosort DESC LIMIT 1 2")), "d a");
        assert_eq!(words(bench.run("SORT l BY nosort LIMIT 3 9 GET #")), "b");
        assert_eq!(bench.run("SORT l BY nosort LIMIT 9 9"), "*0\r\n");
    }

    #[test]
    fn the_result_can_be_stored() {
        let mut bench = bench("3 1 2");
        bench.run("SET t x");
        bench.run("EXPIRE t 100");
        assert_eq!(bench.run("SORT l STORE t"), ":3\r\n");
        assert_eq!(words(bench.run("LRANGE t 0 -1")), "1 2 3");
        assert_eq!(bench.run("TTL t"), ":-1\r\n");
        bench.run("SET v_1 one");
        assert_eq!(bench.run("SORT l GET v_* GET # STORE l"), ":6\r\n");
        assert_eq!(bench.run("LINDEX l 0"), "$3\r\none\r\n");
        assert_eq!(bench.run("LINDEX l 2"), "$0\r\n\r\n");
        assert_eq!(bench.run("SORT none STORE t"), ":0\r\n");
        assert_eq!(bench.run("EXISTS t"), ":0\r\n");
    }

    #[test]
    fn a_request_tells_whether_it_reads_keys_that_it_does_not_name() {
        let reads = |words: &str| {
            let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
            with_args(&words, |args| reads_unnamed(&args))
        };
        for words in ["SORT l BY w_*", "SORT l GET # GET v_*", "SORT_RO l GET h->*", "SORT l BY *"]
        {
            assert!(reads(words), "{words}");
        }
        for words in ["SORT l", "SORT l BY nosort GET # STORE x*", "SORT l GET h->f", "SORT l BY"] {
            assert!(!reads(words), "{words}");
        }
        let keys = |words: &str| {
            let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
            with_args(&words, |args| COMMANDS[0].key_indexes(&args).unwrap().to_vec())
        };
        assert_eq!(keys("SORT l BY store STORE t"), [1, 5]);
        assert_eq!(keys("SORT l STORE a STORE b"), [1, 5]);
        assert_eq!(keys("SORT l BY STORE"), [1]);
    }
}
