//! A long history as several short ones, each searched on its own.
//!
//! ```text
//!   A ──a1──  ──a2──│        │ ──a3──
//!   B    ──b1──     │ ─look─ │   ──b2──
//!   C ──c1────   ─c2│- - - - │- - - - - - ?     c2 was never answered
//! ```
//!
//! A *look* is an operation beside which nothing else was under way that was answered, and which tells every
//! key with its value in all databases that the history uses, and changes nothing. In every order that
//! agrees with time, what was over before it comes before it and what began after it comes after. The
//! state between is what it tells, whatever the order on either side. So the history is in order exactly
//! if each part is: from the state that one look tells to the answers of the next one. A wrong choice of
//! the search can then cost no more than its part.
//!
//! Two things could reach across a look. A WATCH whose EXEC follows after it: that is why there is no look
//! then. And operations that were never answered, which may be carried out at any time:
//!
//! - The first part that shows a token of one is the part where it belongs. It cannot be an earlier one,
//!   whose last look would show the token or prove it gone for good, for no token is written twice.
//! - One that nobody has seen may have been carried out in any part from its own on, or never. Each part may
//!   make use of it, in later ones without regard to what its client asked or watched before. That
//!   permits more than can have been, so a part that has no order even so proves that the history has none.
//! - Only if two parts need the same one is nothing proved; then the history is searched as a whole.

use super::anomaly::Anomaly;
use super::command::{Answer, Command, Key, Token};
use super::history::{Action, History, NEVER, Operation, Outcome};
use super::search::search;
use super::{Order, infer};
use std::collections::{BTreeMap, HashMap, HashSet};

type State = BTreeMap<(u8, Key), Vec<Token>>;

/// An operation that tells everything while nothing else is under way.
pub struct Look {
    operation: u32,
    state: State,
}

/// What lies between two looks, with the second one; the first part has none before it.
#[derive(Default)]
struct Part {
    /// Its operations in the order of the history.
    operations: Vec<u32>,
    /// Operations of earlier parts that have been carried out here, if ever.
    late: Vec<u32>,
}

/// Searches for an order of all operations, part by part.
pub fn search_parts(history: &History, order: &Order) -> Result<(), Anomaly> {
    let looks = looks(history);
    if looks.is_empty() {
        return search(history, Some(order)).map(drop);
    }
    let parts = divide(history, &looks);
    let databases = history.databases();
    let mut used = HashSet::new();
    for (n, part) in parts.iter().enumerate() {
        let look = n.checked_sub(1).map(|n| &looks[n]);
        let cut = Cut { history, databases: &databases, look, part };
        let own = cut.search().map_err(|anomaly| cut.tell(anomaly))?;
        let is_pending = |index: &u32| history.operations[*index as usize].completed == NEVER;
        if own.into_iter().filter(is_pending).any(|index| !used.insert(index)) {
            return search(history, Some(order)).map(drop);
        }
    }
    Ok(())
}

/// All looks, by time.
pub fn looks(history: &History) -> Vec<Look> {
    let all = &history.operations;
    let databases = history.databases();
    let used = used_databases(history, &databases);
    let mut answered: Vec<u32> = (0..all.len() as u32).collect();
    answered.retain(|index| all[*index as usize].completed != NEVER);
    answered.sort_unstable_by_key(|index| all[*index as usize].invoked);
    let (watched, unwatched) = watches(history);
    let asked = asked(history);
    let mut looks = Vec::new();
    let mut over = 0;
    for (n, index) in answered.iter().enumerate() {
        let operation = &all[*index as usize];
        let next = answered.get(n + 1).map_or(NEVER, |next| all[*next as usize].invoked);
        let is_alone = (n == 0 || over < operation.invoked) && operation.completed < next;
        over = over.max(operation.completed);
        if !is_alone || operation.invoked == operation.completed {
            continue;
        }
        let begun = watched.partition_point(|time| *time < operation.completed);
        let ended = unwatched.partition_point(|time| *time <= operation.invoked);
        if let Some(state) = told(operation, databases[*index as usize], &used)
            && begun == ended
            && is_made_once(&state, &asked, operation.completed)
        {
            looks.push(Look { operation: *index, state });
        }
    }
    looks
}

/// The databases in which something may be.
fn used_databases(history: &History, first: &[u8]) -> Vec<u8> {
    let named = |command: &Command| match command {
        Command::Select(db) => vec![*db],
        Command::SwapDb(a, b) => vec![*a, *b],
        _ => Vec::new(),
    };
    let mut used = first.to_vec();
    used.extend(history.operations.iter().flat_map(Operation::commands).flat_map(named));
    used.sort_unstable();
    used.dedup();
    used
}

/// The times at which clients have begun to watch, and those at which they have asked for what ended that;
/// what nothing has ended concerns nothing.
fn watches(history: &History) -> (Vec<u64>, Vec<u64>) {
    let (mut begun, mut ended) = (Vec::new(), Vec::new());
    for operations in history.by_client() {
        let mut since = None;
        for index in operations {
            let operation = &history.operations[index as usize];
            match operation.action {
                Action::Watch(_) => since = since.or(Some(operation.invoked)),
                Action::Block(_) | Action::Unwatch => {
                    if let Some(since) = since.take() {
                        begun.push(since);
                        ended.push(operation.invoked);
                    }
                }
                Action::One(_) => {}
            }
        }
    }
    begun.sort_unstable();
    ended.sort_unstable();
    (begun, ended)
}

/// When each token was asked to be written, if that was not certainly in vain.
fn asked(history: &History) -> HashMap<Token, u64, ahash::RandomState> {
    let carried_out = history.operations.iter().filter(|operation| !operation.is_void());
    let tokens = |operation: &Operation| {
        let tokens = operation.commands().iter().flat_map(Command::tokens);
        tokens.map(|(_, token)| (token, operation.invoked)).collect::<Vec<_>>()
    };
    carried_out.flat_map(tokens).collect()
}

/// Whether each token of a state had been asked for by then and is there once: COPY may have doubled it,
/// and nothing but a COPY could make such a state anew.
fn is_made_once(state: &State, asked: &HashMap<Token, u64, ahash::RandomState>, time: u64) -> bool {
    let mut met = HashSet::new();
    let mut tokens = state.values().flatten();
    tokens.all(|token| asked.get(token).is_some_and(|at| *at < time) && met.insert(*token))
}

/// What an operation tells of some databases, if it changes nothing and tells all.
fn told(operation: &Operation, mut db: u8, databases: &[u8]) -> Option<State> {
    let answers = operation.answers()?;
    let mut values: HashMap<(u8, Key), &[Token]> = HashMap::new();
    let mut keys: BTreeMap<u8, &[Key]> = BTreeMap::new();
    for (command, answer) in operation.commands().iter().zip(answers) {
        match (command, answer) {
            (Command::Select(other), _) => db = *other,
            (Command::Get(key), Answer::Value(value)) => drop(values.insert((db, *key), value)),
            (Command::MGet(asked), Answer::Values(all)) => {
                let found = asked.iter().zip(all).filter_map(|(k, v)| Some((k, v.as_deref()?)));
                values.extend(found.map(|(key, value)| ((db, *key), value)));
            }
            (Command::Keys, Answer::Keys(found)) => drop(keys.insert(db, found)),
            (command, _) if command.is_read() => {}
            _ => return None,
        }
    }
    let mut state = State::new();
    for db in databases {
        for key in *keys.get(db)? {
            state.insert((*db, *key), values.get(&(*db, *key))?.to_vec());
        }
    }
    Some(state)
}

/// The parts of a history, one more than there are looks.
fn divide(history: &History, looks: &[Look]) -> Vec<Part> {
    let all = &history.operations;
    let over = |look: &Look| all[look.operation as usize].completed;
    let part_at = |time: u64| looks.partition_point(|look| over(look) < time);
    let mut parts: Vec<Part> = looks.iter().map(|_| Part::default()).collect();
    parts.push(Part::default());
    let shown = first_shown(history, part_at);
    for (index, operation) in (0..).zip(all) {
        let own = part_at(operation.invoked);
        match shown.get(&index) {
            Some(part) if *part > own => parts[*part].late.push(index),
            _ => parts[own].operations.push(index),
        }
        let may_come_late = operation.completed == NEVER
            && !shown.contains_key(&index)
            && !operation.has_left_all();
        if may_come_late {
            parts[own + 1..].iter_mut().for_each(|part| part.late.push(index));
        }
    }
    parts
}

/// The first part in which an answer shows something of each operation that was never answered.
fn first_shown(history: &History, part_at: impl Fn(u64) -> usize) -> HashMap<u32, usize> {
    let mut writers: HashMap<Token, u32, ahash::RandomState> = HashMap::default();
    for (index, operation) in (0..).zip(&history.operations) {
        if operation.completed == NEVER && !operation.is_void() {
            let tokens = operation.commands().iter().flat_map(Command::tokens);
            writers.extend(tokens.map(|(_, token)| (token, index)));
        }
    }
    let mut shown = HashMap::new();
    if writers.is_empty() {
        return shown;
    }
    for operation in &history.operations {
        for token in operation.answers().into_iter().flatten().flat_map(Answer::tokens) {
            if let Some(writer) = writers.get(token) {
                let part = part_at(operation.invoked);
                let first = shown.entry(*writer).or_insert(part);
                *first = part.min(*first);
            }
        }
    }
    shown
}

/// A part with what it takes to make a history of it.
struct Cut<'h> {
    history: &'h History,
    /// The database in which each operation of the history begins.
    databases: &'h [u8],
    /// The look before it.
    look: Option<&'h Look>,
    part: &'h Part,
}

impl Cut<'_> {
    /// Searches for an order; answers the operations that have been carried out in it.
    fn search(&self) -> Result<Vec<u32>, Anomaly> {
        // What nobody has seen is seldom needed, and makes many more orders possible.
        let needed = self.order_of(&[]);
        match self.part.late.as_slice() {
            [] => needed,
            late => needed.or_else(|_| self.order_of(late)),
        }
    }

    fn order_of(&self, late: &[u32]) -> Result<Vec<u32>, Anomaly> {
        let (history, origin) = self.assemble(late);
        let (anomalies, order) = infer(&history);
        if let Some(anomaly) = anomalies.into_iter().next() {
            return Err(anomaly);
        }
        let found = search(&history, Some(&order))?;
        Ok(found.into_iter().filter_map(|index| origin[index as usize]).collect())
    }

    /// The part as a history that begins with nothing; and which operation of the whole each one is.
    fn assemble(&self, late: &[u32]) -> (History, Vec<Option<u32>>) {
        let mut operations = Vec::new();
        let mut origin = Vec::new();
        let mut clients: HashMap<u32, u32> = HashMap::new();
        // What is made up takes the place of the look.
        let times = self.look.map(|look| {
            let look = &self.history.operations[look.operation as usize];
            (look.invoked, look.completed)
        });
        let (from, to) = times.unwrap_or((0, 0));
        let make = |client, action, answers| Operation {
            client,
            invoked: from,
            completed: to,
            action,
            outcome: Outcome::Done(answers),
            lanes: u64::MAX,
        };
        if let Some(look) = self.look.filter(|look| !look.state.is_empty()) {
            let (commands, answers) = writing(&look.state);
            operations.push(make(0, Action::Block(commands), answers));
            origin.push(None);
        }
        let mut next_client = 1;
        let own = self.part.operations.iter().map(|index| (*index, false));
        for (index, is_late) in own.chain(late.iter().map(|index| (*index, true))) {
            let mut operation = self.history.operations[index as usize].clone();
            let known = if is_late { None } else { clients.get(&operation.client).copied() };
            let client = known.unwrap_or_else(|| {
                let client = next_client;
                next_client += 1;
                if !is_late {
                    clients.insert(operation.client, client);
                }
                let db = self.databases[index as usize];
                if db != 0 {
                    let select = Action::One(Command::Select(db));
                    operations.push(make(client, select, vec![Answer::Ok]));
                    origin.push(None);
                }
                client
            });
            operation.client = client;
            if is_late {
                operation.invoked = to;
            }
            operations.push(operation);
            origin.push(Some(index));
        }
        (History { operations }, origin)
    }

    fn tell(&self, anomaly: Anomaly) -> Anomaly {
        let from = match self.look {
            Some(look) => self.history.operations[look.operation as usize].completed,
            None => 0,
        };
        let count = self.part.operations.len();
        let (text, (part, _)) = (anomaly.text, self.assemble(&self.part.late));
        let text = format!("in the part of {count} operations from {from} on: {text}\n{part}");
        Anomaly::new(anomaly.kind, text)
    }
}

/// Commands that make a state out of nothing, with their answers.
fn writing(state: &State) -> (Vec<Command>, Vec<Answer>) {
    let (mut commands, mut answers) = (Vec::new(), Vec::new());
    let mut db = 0;
    for ((own, key), value) in state {
        if *own != db {
            db = *own;
            commands.push(Command::Select(db));
            answers.push(Answer::Ok);
        }
        for (n, token) in value.iter().enumerate() {
            commands.push(Command::Append(*key, *token));
            answers.push(Answer::Int(n as i64 + 1));
        }
    }
    (commands, answers)
}
