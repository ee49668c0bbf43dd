//! What is known of a script from its earlier runs: which keys it will touch beyond those that it is given,
//! and to which channels it will publish.
//!
//! A script computes such keys, mostly by putting KEYS and ARGV together with words of its own:
//! `KEYS[1] .. ':lock'`, `ARGV[1] .. ':' .. ARGV[2]`. So each key that a run has touched is read as
//! such a sum, a *template*, by taking at each place the longest of the run's arguments (or what one has
//! before its last colon) that stands there, and letters where none does:
//!
//! ```text
//!   KEYS[1] = bull:mail:wait   ARGV[1] = 17      bull:mail:17  =  head of KEYS[1] .. ARGV[1]
//! ```
//!
//! That may be wrong for one run, where an argument stands there by chance. A template that comes again in
//! another run is not, or does no harm: it names a key too many. Those that have stood the
//! test name the keys of the next run.
//!
//! A script is watched in some runs with everything held before it is trusted to be foretold. When it
//! was foretold and needed everything all the same, it is watched again, each time for longer.
//!
//! Deliberately absent: what the keys are for, who holds them, and what depends on data: a key that
//! a script has read elsewhere is met when it is touched.

use smallvec::SmallVec;

/// Runs in which a script is watched first.
const WATCHED_FIRST: u32 = 2;
/// The same after it has needed everything without its having been foretold, each time twice as many.
const WATCHED_AGAIN: u32 = 8;
const WATCHED_MAX: u32 = 4096;
/// Runs that were foretold, for each of which half of that is forgotten.
const TRUSTED_AFTER: u32 = 64;
/// Templates of one script.
const TEMPLATES_MAX: usize = 16;
/// Keys of one run that are read as templates.
const READ_MAX: usize = 16;
/// Of the runs that touch other keys than was said, one in so many is read for new templates.
const READ_EVERY: u32 = 16;
/// What is known is that a template holds: so much when it is new, for each run in which it held, and when it
/// counts.
const NEW: u8 = 2;
const HELD: u8 = 4;
const COUNTS: u8 = 6;
const MAX: u8 = 32;

/// A piece of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Letters(Box<[u8]>),
    Key(u16),
    /// What stands before the last colon of a key, with that.
    Head(u16),
    Argument(u16),
}

/// What a script touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Key,
    Channel,
    ShardChannel,
}

/// A key, or a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    pub sort: Sort,
    pub name: Box<[u8]>,
}

impl Touched {
    pub fn is(&self, sort: Sort, name: &[u8]) -> bool {
        self.sort == sort && *self.name == *name
    }
}

#[derive(Debug, Clone)]
struct Template {
    sort: Sort,
    parts: SmallVec<[Part; 3]>,
    trust: u8,
}

/// What is known of one script.
#[derive(Debug, Default)]
pub struct Learned {
    templates: Vec<Template>,
    /// Runs in a row that were watched and would have been as foretold.
    quiet: u32,
    /// Runs that are to be watched; 0 as long as it has never failed.
    penalty: u32,
    /// Runs that were as foretold, since it failed last.
    good: u32,
    /// Runs that touched other keys than was said.
    other: u32,
}

impl Learned {
    /// The keys beyond those that a run is given, as far as is known; nothing when it must run with everything
    /// held.
    pub fn foretell(&self, keys: &[&[u8]], argv: &[&[u8]]) -> Option<Vec<Touched>> {
        if self.quiet < self.penalty.max(WATCHED_FIRST) {
            return None;
        }
        let known = self.templates.iter().filter(|template| template.trust >= COUNTS);
        let mut told: Vec<Touched> = Vec::new();
        for template in known {
            let Some(name) = template.name(keys, argv) else { continue };
            let given = template.sort == Sort::Key && keys.contains(&&name[..]);
            if !given && !told.iter().any(|other| other.is(template.sort, &name)) {
                told.push(Touched { sort: template.sort, name: name.into() });
            }
        }
        Some(told)
    }

    /// A run has touched these keys beyond those that it was given. `watched`: everything was held;
    /// `all`: and had to be.
    pub fn saw(
        &mut self,
        (keys, argv): (&[&[u8]], &[&[u8]]),
        touched: &[Touched],
        (watched, all): (bool, bool),
    ) {
        match (watched, all) {
            (true, true) => self.quiet = 0,
            (true, false) => self.quiet += 1,
            (false, _) => {
                self.good += 1;
                if self.good >= TRUSTED_AFTER {
                    self.good = 0;
                    self.penalty /= 2;
                }
            }
        }
        let mut told: SmallVec<[bool; READ_MAX]> = SmallVec::from_elem(false, touched.len());
        let known = |template: &Template| template.trust >= COUNTS;
        self.compare((keys, argv), touched, &mut told, known);
        if told.iter().all(|told| *told) {
            return;
        }
        self.other = self.other.wrapping_add(1);
        if watched || self.other < READ_EVERY || self.other.is_multiple_of(READ_EVERY) {
            let unknown = |template: &Template| template.trust < COUNTS;
            self.compare((keys, argv), touched, &mut told, unknown);
            let new = touched.iter().zip(&told).filter(|(_, told)| !**told).take(READ_MAX);
            let new: Vec<_> = new.map(|(own, _)| Template::read(own, keys, argv)).collect();
            new.into_iter().for_each(|template| self.add(template));
        }
    }

    /// Notes which of some templates have held, and what they have told.
    fn compare(
        &mut self,
        (keys, argv): (&[&[u8]], &[&[u8]]),
        touched: &[Touched],
        told: &mut [bool],
        which: impl Fn(&Template) -> bool,
    ) {
        for template in self.templates.iter_mut().filter(|template| which(template)) {
            let name = template.name(keys, argv);
            let is = |own: &Touched| name.as_ref().is_some_and(|name| own.is(template.sort, name));
            match touched.iter().position(is) {
                Some(at) => {
                    told[at] = true;
                    template.trust = (template.trust + HELD).min(MAX);
                }
                None => template.trust = template.trust.saturating_sub(1),
            }
        }
    }

    /// A run that was foretold has needed everything.
    pub fn failed(&mut self) {
        self.quiet = 0;
        self.good = 0;
        self.penalty = (self.penalty * 2).clamp(WATCHED_AGAIN, WATCHED_MAX);
    }

    fn add(&mut self, new: Template) {
        if self.templates.iter().any(|own| own.sort == new.sort && own.parts == new.parts) {
            return;
        }
        if self.templates.len() == TEMPLATES_MAX {
            let weakest = (0..TEMPLATES_MAX).min_by_key(|&at| self.templates[at].trust);
            match weakest {
                Some(at) if self.templates[at].trust < COUNTS => drop(self.templates.remove(at)),
                _ => return,
            }
        }
        self.templates.push(new);
    }
}

fn head(key: &[u8]) -> &[u8] {
    let colon = key.iter().rposition(|&byte| byte == b':');
    &key[..colon.map_or(0, |at| at + 1)]
}

impl Template {
    /// Reads a name.
    fn read(touched: &Touched, keys: &[&[u8]], argv: &[&[u8]]) -> Template {
        let key = &touched.name;
        let mut parts = SmallVec::new();
        let (mut at, mut letters) = (0, 0);
        while at < key.len() {
            match longest(&key[at..], keys, argv) {
                Some((part, len)) => {
                    if letters < at {
                        parts.push(Part::Letters(key[letters..at].into()));
                    }
                    parts.push(part);
                    at += len;
                    letters = at;
                }
                None => at += 1,
            }
        }
        if letters < at {
            parts.push(Part::Letters(key[letters..at].into()));
        }
        Template { sort: touched.sort, parts, trust: NEW }
    }

    /// The name that it stands for; nothing when an argument is not there.
    fn name(&self, keys: &[&[u8]], argv: &[&[u8]]) -> Option<Vec<u8>> {
        let mut key = Vec::new();
        for part in &self.parts {
            key.extend_from_slice(match part {
                Part::Letters(letters) => letters,
                Part::Key(at) => keys.get(usize::from(*at))?,
                Part::Head(at) => head(keys.get(usize::from(*at))?),
                Part::Argument(at) => argv.get(usize::from(*at))?,
            });
        }
        Some(key)
    }
}

/// The longest argument with which a text begins, and its length.
fn longest(text: &[u8], keys: &[&[u8]], argv: &[&[u8]]) -> Option<(Part, usize)> {
    let mut best: Option<(Part, usize)> = None;
    let mut offer = |part: Part, piece: &[u8]| {
        let longer = best.as_ref().is_none_or(|(_, len)| piece.len() > *len);
        if !piece.is_empty() && longer && text.starts_with(piece) {
            best = Some((part, piece.len()));
        }
    };
    let number = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
    keys.iter().enumerate().for_each(|(at, key)| offer(Part::Key(number(at)), key));
    keys.iter().enumerate().for_each(|(at, key)| offer(Part::Head(number(at)), head(key)));
    argv.iter().enumerate().for_each(|(at, word)| offer(Part::Argument(number(at)), word));
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&[u8]> {
        text.split_whitespace().map(str::as_bytes).collect()
    }

    /// Names of keys, and of channels behind a `!`.
    fn touched(text: &str) -> Vec<Touched> {
        let one = |word: &[u8]| match word.strip_prefix(b"!") {
            Some(name) => Touched { sort: Sort::Channel, name: name.into() },
            None => Touched { sort: Sort::Key, name: word.into() },
        };
        words(text).into_iter().map(one).collect()
    }

    /// A run with these KEYS and ARGV that touches these keys besides.
    fn run(learned: &mut Learned, keys: &str, argv: &str, names: &str, flags: (bool, bool)) {
        learned.saw((&words(keys), &words(argv)), &touched(names), flags);
    }

    fn foretold(learned: &Learned, keys: &str, argv: &str) -> Option<String> {
        let told = learned.foretell(&words(keys), &words(argv))?;
        let one = |told: &Touched| {
            let name = String::from_utf8_lossy(&told.name);
            if told.sort == Sort::Key { name.into_owned() } else { format!("!{name}") }
        };
        Some(told.iter().map(one).collect::<Vec<_>>().join(" "))
    }

    const WATCHED: (bool, bool) = (true, false);

    #[test]
    fn sums_of_arguments_are_learned_from_two_runs() {
        let mut learned = Learned::default();
        run(&mut learned, "q:wait lock", "7 a", "q:7 lock:a:7 const", WATCHED);
        assert_eq!(foretold(&learned, "q:wait lock", "7 a"), None);
        run(&mut learned, "r:wait lok", "81 b", "r:81 lok:b:81 const", WATCHED);
        let told = foretold(&learned, "z:z:wait k", "5 c");
        assert_eq!(told.as_deref(), Some("z:z:5 k:c:5 const"));
        // The same key under two names, or one that is given, is named once.
        assert_eq!(foretold(&learned, "a: const", "b b").as_deref(), Some("a:b const:b:b"));
        assert_eq!(foretold(&learned, "only", "").as_deref(), Some("const"));
    }

    #[test]
    fn a_channel_is_no_key() {
        let mut learned = Learned::default();
        run(&mut learned, "q:a", "1", "!q:a q:1 !q:1", WATCHED);
        run(&mut learned, "q:b", "2", "!q:b q:2 !q:2", WATCHED);
        assert_eq!(foretold(&learned, "q:c", "3").as_deref(), Some("!q:c q:3 !q:3"));
    }

    #[test]
    fn what_depends_on_data_is_not_foretold_and_does_not_crowd_out() {
        let mut learned = Learned::default();
        for n in 0..200 {
            let flags = (n < 2, false);
            run(&mut learned, "q:id", "x", &format!("q:{} q:x", n + 1000), flags);
        }
        assert_eq!(foretold(&learned, "p:id", "y").as_deref(), Some("p:y"));
        assert!(learned.templates.len() <= TEMPLATES_MAX);
    }

    #[test]
    fn what_does_not_come_again_is_forgotten() {
        let mut learned = Learned::default();
        (0..3).for_each(|_| run(&mut learned, "a", "b", "a:x", WATCHED));
        assert_eq!(foretold(&learned, "a", "b").as_deref(), Some("a:x"));
        (0..40).for_each(|_| run(&mut learned, "a", "b", "", (false, false)));
        assert_eq!(foretold(&learned, "a", "b").as_deref(), Some(""));
    }

    #[test]
    fn who_fails_is_watched_for_ever_longer() {
        let mut learned = Learned::default();
        let watched = |learned: &mut Learned| {
            let mut runs = 0;
            while learned.foretell(&[], &[]).is_none() {
                learned.saw((&[], &[]), &[], WATCHED);
                runs += 1;
            }
            runs
        };
        assert_eq!(watched(&mut learned), WATCHED_FIRST);
        let mut all = Vec::new();
        for _ in 0..3 {
            learned.failed();
            all.push(watched(&mut learned));
        }
        assert_eq!(all, [8, 16, 32]);
        learned.saw((&[], &[]), &[], (true, true));
        assert_eq!(watched(&mut learned), 32, "it needed everything");
        (0..TRUSTED_AFTER).for_each(|_| learned.saw((&[], &[]), &[], (false, false)));
        learned.failed();
        assert_eq!(watched(&mut learned), 32);
    }
}
