//! Looks for an order of all operations in which a model gives the answers that the clients got.
//!
//! ```text
//!   A  ──a1──  ──a2──        Of the operations that are left, one can be next that began before any other
//!   B      ──b1────          was over: a1, b1 or c1, and then a2 or b1. One that gives another answer than
//!   C   ──c1──               it got cannot be next either.
//! ```
//!
//! The search goes down one way until nothing fits, takes the last choice back and tries another. It does
//! not come twice to the same state with the same operations left (Lowe), it takes at once what fits and
//! changes nothing (a read, or a MSETNX that was told 0), since that takes nothing from the others, it keeps to the edges that are known to hold in every order, and
//! it writes over no value that others must still see, for a value of unique tokens comes up only once.

use super::anomaly::{Anomaly, Kind};
use super::command::{Command, key_name};
use super::graph::add_sessions;
use super::history::{Action, History, NEVER, Operation, Outcome};
use super::model::{Expected, Model, ValueId, scatter};
use super::order::Order;
use std::collections::HashSet;

/// Databases that histories may use.
const DATABASES: usize = 4;

/// A choice that can be taken back.
struct Choice {
    /// The operation that was next.
    operation: u32,
    mark: usize,
    /// Others that could have been next instead.
    left: Vec<u32>,
}

struct Search<'h> {
    history: &'h History,
    databases: Vec<u8>,
    clients: Vec<Vec<u32>>,
    /// The operations that have their place.
    placed: Vec<bool>,
    watching: Vec<Watching>,
    /// Each WATCH and each EXEC after one: which of those it is.
    watch_of: Vec<u32>,
    /// Of each client, how many operations have their place before the first that has none.
    front: Vec<usize>,
    /// Answered operations that have no place yet.
    left: usize,
    expected: Vec<Option<Vec<Expected>>>,
    /// How many operations must still come before each, and which come after it.
    before: Vec<u32>,
    after: Vec<Vec<u32>>,
    /// The values that each operation sees and that have guards.
    sees: Vec<Vec<ValueId>>,
    model: Model,
    /// Of the operations that have their place.
    hash: u128,
    met: HashSet<u128, ahash::RandomState>,
    choices: Vec<Choice>,
    /// Of what may be next, takes another one at times.
    random: Option<fastrand::Rng>,
    /// The fewest operations that were left where nothing fitted, and what was next there.
    fewest: usize,
    stuck: String,
}

/// Steps without having come further after which a first search is given up.
const PATIENCE: usize = 1_000_000;

/// Attempts before all is given up; each has twice as much patience as the one before, and at times
/// chooses at random. A search that takes long has most often made a wrong choice early.
const ATTEMPTS: u32 = 5;

/// Searches for an order of all operations and answers one; what is known of it already makes that
/// quicker.
pub fn search(history: &History, order: Option<&Order>) -> Result<Vec<u32>, Anomaly> {
    let mut patience = PATIENCE;
    let mut outcome = attempt(history, order, patience, None);
    for seed in 1..ATTEMPTS {
        if !outcome.as_ref().is_err_and(|anomaly| anomaly.kind == Kind::Undecided) {
            break;
        }
        patience *= 2;
        outcome = attempt(history, order, patience, Some(fastrand::Rng::with_seed(seed.into())));
    }
    outcome
}

fn attempt(
    history: &History,
    order: Option<&Order>,
    patience: usize,
    random: Option<fastrand::Rng>,
) -> Result<Vec<u32>, Anomaly> {
    let mut search = Search::new(history, order);
    search.random = random;
    // The fewest operations that were left so far, and the step at which that was.
    let (mut fewest, mut since) = (usize::MAX, 0);
    let mut steps = 0;
    while search.left > 0 {
        let next = search.candidates();
        if !search.go_on(next, &mut steps) && !search.turn_back(&mut steps) {
            let all = history.operations.len();
            let text =
                format!("of {all} operations, {} have no place.{}", search.fewest, search.stuck);
            return Err(Anomaly::new(Kind::NoOrder, text));
        }
        if search.left < fewest {
            (fewest, since) = (search.left, steps);
        }
        if steps - since > patience {
            let text = format!("given up after {steps} steps.{}", search.stuck);
            return Err(Anomaly::new(Kind::Undecided, text));
        }
    }
    Ok(search.choices.iter().map(|choice| choice.operation).collect())
}

impl<'h> Search<'h> {
    fn new(history: &'h History, order: Option<&Order>) -> Search<'h> {
        let operations = &history.operations;
        let clients = history.by_client();
        let keys = operations.iter().flat_map(Operation::commands).flat_map(Command::keys);
        let watched = operations.iter().flat_map(|operation| match &operation.action {
            Action::Watch(keys) => keys.as_slice(),
            _ => &[],
        });
        let keys = keys.chain(watched.copied()).max().map_or(0, |key| key as usize + 1);
        let (watching, watch_of, watches) = watching(history, &clients);
        let mut model = Model::new(watches, DATABASES, keys);
        let expect = |operation: &Operation| {
            let answers = operation.answers()?.iter();
            Some(answers.map(|answer| Expected::new(answer, &mut model.values)).collect())
        };
        let expected = operations.iter().map(expect).collect();
        let mut before = vec![0; operations.len()];
        let mut after = vec![Vec::new(); operations.len()];
        let mut sessions = Vec::new();
        add_sessions(history, &mut sessions);
        for edge in order.iter().flat_map(|order| &order.edges).chain(&sessions) {
            before[edge.to as usize] += 1;
            after[edge.from as usize].push(edge.to);
        }
        let mut sees = vec![Vec::new(); operations.len()];
        order.into_iter().for_each(|order| order.guard(&mut model, &mut sees));
        let left = operations.iter().filter(|operation| operation.completed != NEVER).count();
        Search {
            history,
            databases: history.databases(),
            placed: vec![false; operations.len()],
            watching,
            watch_of,
            front: vec![0; clients.len()],
            clients,
            left,
            expected,
            before,
            after,
            sees,
            model,
            hash: 0,
            met: HashSet::default(),
            choices: Vec::new(),
            random: None,
            fewest: usize::MAX,
            stuck: String::new(),
        }
    }

    fn operation(&self, index: u32) -> &'h Operation {
        &self.history.operations[index as usize]
    }

    /// The operations that may be next of all, the one that was over first in front.
    fn candidates(&mut self) -> Vec<u32> {
        let fronts = || self.clients.iter().zip(&self.front);
        // A client's answers come in its order: none was over before its first one.
        let first = |(all, front): (&Vec<u32>, &usize)| all.get(*front).copied();
        let over = |index: u32| self.operation(index).completed;
        let bound = fronts().filter_map(first).map(over).min().unwrap_or(NEVER);
        let mut candidates = Vec::new();
        for (all, front) in fronts() {
            for index in &all[*front..] {
                if self.operation(*index).invoked > bound {
                    break;
                }
                if !self.placed[*index as usize] && self.before[*index as usize] == 0 {
                    candidates.push(*index);
                }
            }
        }
        // A WATCH before an EXEC that was carried out may as well be later.
        let late = |index: u32| self.watching[index as usize] == Watching::Late;
        candidates.sort_by_key(|index| (late(*index), over(*index)));
        if let Some(random) = &mut self.random
            && random.u8(0..16) == 0
        {
            random.shuffle(&mut candidates);
        }
        candidates
    }

    /// Takes one of some operations; `false` when none fits.
    fn go_on(&mut self, mut candidates: Vec<u32>, steps: &mut usize) -> bool {
        let all = candidates.clone();
        let harmless = |index: &&u32| self.is_harmless(**index);
        let reads: Vec<u32> = candidates.iter().filter(harmless).copied().collect();
        for operation in reads {
            *steps += 1;
            if let Some(mark) = self.take(operation) {
                self.choices.push(Choice { operation, mark, left: Vec::new() });
                return true;
            }
            // It does not fit here, whatever else is tried here.
            candidates.retain(|other| *other != operation);
        }
        candidates.reverse();
        if !self.take_one(candidates, steps) {
            self.note_stuck(&all);
            return false;
        }
        true
    }

    /// Takes the last of some that fits and leads to where the search has not been.
    fn take_one(&mut self, mut left: Vec<u32>, steps: &mut usize) -> bool {
        while let Some(operation) = left.pop() {
            *steps += 1;
            if let Some(mark) = self.take(operation) {
                if self.met.insert(self.hash ^ self.model.hash) {
                    self.choices.push(Choice { operation, mark, left });
                    return true;
                }
                self.take_back(operation, mark);
            }
        }
        false
    }

    /// Takes choices back until there is another one; `false` when there is none left.
    fn turn_back(&mut self, steps: &mut usize) -> bool {
        while let Some(choice) = self.choices.pop() {
            self.take_back(choice.operation, choice.mark);
            if self.take_one(choice.left, steps) {
                return true;
            }
        }
        false
    }

    /// Gives an operation its place, if its answers fit; answers how to go back.
    fn take(&mut self, index: u32) -> Option<usize> {
        let mark = self.model.mark();
        self.sees[index as usize].iter().for_each(|v| self.model.guards[*v as usize].waiting -= 1);
        (self.model.current, self.model.trespassed) = (index, false);
        if !self.run(index) || self.model.trespassed {
            self.sees[index as usize]
                .iter()
                .for_each(|v| self.model.guards[*v as usize].waiting += 1);
            self.model.go_back(mark);
            return None;
        }
        self.hash ^= scatter(1 << 63 | u64::from(index));
        self.placed[index as usize] = true;
        self.after[index as usize].iter().for_each(|other| self.before[*other as usize] -= 1);
        let operation = self.operation(index);
        self.left -= usize::from(operation.completed != NEVER);
        let (all, front) = self.line(operation.client);
        let placed = |at: usize| all.get(at).is_some_and(|index| self.placed[*index as usize]);
        let front = (front..).find(|at| !placed(*at)).expect("a line has an end");
        self.front[operation.client as usize] = front;
        Some(mark)
    }

    fn line(&self, client: u32) -> (&[u32], usize) {
        (&self.clients[client as usize], self.front[client as usize])
    }

    fn take_back(&mut self, index: u32, mark: usize) {
        self.sees[index as usize].iter().for_each(|v| self.model.guards[*v as usize].waiting += 1);
        self.hash ^= scatter(1 << 63 | u64::from(index));
        self.placed[index as usize] = false;
        self.after[index as usize].iter().for_each(|other| self.before[*other as usize] += 1);
        let operation = self.operation(index);
        self.left += usize::from(operation.completed != NEVER);
        let (all, front) = self.line(operation.client);
        // Within the few that can be ahead of the front.
        if let Some(at) = all[..front].iter().rposition(|other| *other == index) {
            self.front[operation.client as usize] = at;
        }
        self.model.go_back(mark);
    }

    /// Carries an operation out; `false` when its answers would be others.
    fn run(&mut self, index: u32) -> bool {
        let operation = self.operation(index);
        let watch = self.watch_of[index as usize];
        let mut db = self.databases[index as usize];
        let dirty = self.model.state(watch).dirty;
        match &operation.action {
            Action::Watch(_) if self.watching[index as usize] == Watching::Idle => {}
            Action::Watch(keys) => self.model.watch(watch, db, keys),
            Action::Unwatch => self.model.unwatch(watch),
            Action::One(_) => {}
            Action::Block(_) => {
                self.model.unwatch(watch);
                match operation.outcome {
                    Outcome::Done(_) if dirty => return false,
                    Outcome::Aborted => return dirty,
                    Outcome::Discarded => return true,
                    Outcome::Unknown if dirty => return true,
                    _ => {}
                }
            }
        }
        let expected = self.expected[index as usize].as_deref();
        for (n, command) in operation.commands().iter().enumerate() {
            if let Command::Select(other) = command {
                db = *other;
            }
            let answer = self.model.run(db, command);
            if expected.is_some_and(|expected| expected[n] != answer) {
                return false;
            }
        }
        true
    }

    /// Whether nothing is lost by taking it as soon as it fits.
    fn is_harmless(&self, index: u32) -> bool {
        let operation = self.operation(index);
        match self.watching[index as usize] {
            Watching::Idle | Watching::Early => true,
            Watching::Late | Watching::Unknown => false,
            Watching::Not if operation.action == Action::Unwatch || operation.is_void() => true,
            Watching::Not => operation.has_left_all(),
        }
    }

    /// Remembers where the search got furthest.
    fn note_stuck(&mut self, candidates: &[u32]) {
        if self.left >= self.fewest {
            return;
        }
        self.fewest = self.left;
        let mut text = String::from(" Next could be");
        let mut keys = Vec::new();
        for index in candidates {
            let operation = self.operation(*index);
            text.push_str(&format!("\n  {operation}"));
            keys.extend(operation.commands().iter().flat_map(Command::keys));
        }
        keys.sort_unstable();
        keys.dedup();
        text.push_str("\n but there is");
        for key in keys {
            text.push_str(&format!("\n  {} = {}", key_name(key), self.model.show(0, key)));
        }
        self.stuck = text;
    }
}

/// What a WATCH is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watching {
    /// It is none.
    Not,
    /// Nothing follows that depends on it.
    Idle,
    /// An EXEC found a change: the earlier it is, the more it sees change.
    Early,
    /// An EXEC was carried out: the later it is, the less it sees change.
    Late,
    /// The EXEC was not answered.
    Unknown,
}

/// What each WATCH is for; by operation, which number it has; and how many numbers there are.
fn watching(history: &History, clients: &[Vec<u32>]) -> (Vec<Watching>, Vec<u32>, usize) {
    let mut all = vec![Watching::Not; history.operations.len()];
    let mut numbers = vec![0; history.operations.len()];
    // What is watched for nothing has number 0.
    let mut number = 0;
    for operations in clients {
        let mut next = Watching::Idle;
        for index in operations.iter().rev() {
            let operation = &history.operations[*index as usize];
            next = match (&operation.action, &operation.outcome) {
                (Action::Watch(_), _) => {
                    all[*index as usize] = next;
                    next
                }
                (Action::One(_), _) => continue,
                (Action::Unwatch, _) | (_, Outcome::Discarded) => Watching::Idle,
                (_, Outcome::Aborted) => Watching::Early,
                (_, Outcome::Done(_)) => Watching::Late,
                (_, Outcome::Unknown) => Watching::Unknown,
            };
            if !matches!(operation.action, Action::Watch(_)) {
                number += 1;
            }
            numbers[*index as usize] = number;
        }
        number += 1;
    }
    (all, numbers, number as usize + 1)
}

/// Searches for longer than tests can, in a history that a failure has shown and that stands in the
/// file which CORELANE_HISTORY names.
#[test]
#[ignore = "needs a file, and as much time as it gets"]
fn a_history_in_a_file() {
    let path = std::env::var("CORELANE_HISTORY").expect("CORELANE_HISTORY names a file");
    let text = std::fs::read_to_string(path).expect("a file of operations");
    let history = History::parse(&text);
    let (anomalies, order) = super::infer(&history);
    super::anomaly::assert_none(&anomalies);
    for seed in crate::harness::seed().. {
        let random = (seed > 0).then(|| fastrand::Rng::with_seed(seed));
        match attempt(&history, Some(&order), PATIENCE, random) {
            Err(anomaly) if anomaly.kind == Kind::Undecided => {
                eprintln!("seed {seed}: {}", anomaly.text.lines().next().unwrap_or_default());
            }
            Err(anomaly) => panic!("seed {seed}: {anomaly:?}"),
            Ok(order) => {
                order.iter().for_each(|at| println!("{}", history.operations[*at as usize]));
                return;
            }
        }
    }
}
