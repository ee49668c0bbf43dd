//! The checkers against each other, on histories of which it is known how they came about.
//!
//! A history that a model has made is in order, however its operations overlap. When an answer is then
//! changed, what follows from values must never contradict what the plain search finds.

use super::anomaly::Kind;
use super::command::Command;
use super::conversation::Request;
use super::history::{Action, History, NEVER, Operation, Outcome};
use super::model::Model;
use super::parts::{looks, search_parts};
use super::search::search;
use super::workload::{ALL, Keys, Mix, Source, TRACED};
use super::{check_order, infer};
use crate::harness::cases;
use std::sync::Arc;

const CLIENTS: u32 = 3;

/// A client that makes a history: its operations so far, of which those from `next` on are to be done.
#[derive(Default)]
struct Maker {
    operations: Vec<Operation>,
    next: usize,
    plan: Vec<Request>,
    db: u8,
    /// What it watches, or has watched until the last EXEC.
    watch: u32,
    gone: bool,
}

/// A history of `length` operations and more, as a server would have it that is in order. After each
/// `round` of them all is looked at while nothing else is under way.
fn make(seed: u64, mix: Mix, length: usize, round: usize) -> History {
    let mut random = fastrand::Rng::with_seed(seed);
    let keys = Arc::new(Keys::new(4, u32::MAX));
    let mut source = Source { random: random.fork(), mix, keys, token: 1, step: 1 };
    let mut model = Model::new(CLIENTS as usize + 1, 4, 4);
    let mut makers: Vec<Maker> =
        (0..CLIENTS).map(|n| Maker { watch: n, ..Maker::default() }).collect();
    let mut observer = Maker { watch: CLIENTS, ..Maker::default() };
    let done =
        |maker: &Maker| maker.gone || maker.operations.iter().all(|op| op.completed != NEVER);
    for now in (0..).step_by(2) {
        let asked: usize = makers.iter().map(|maker| maker.operations.len()).sum();
        let looks = observer.operations.len();
        if asked >= round.saturating_mul(looks + 1)
            && makers.iter().all(|m| done(m) && m.plan.is_empty())
        {
            look(&mut observer, now, &mut model);
            continue;
        }
        let client = random.u32(..CLIENTS);
        let maker = &mut makers[client as usize];
        let waiting = maker.operations.iter().filter(|op| op.completed == NEVER).count();
        match random.u8(0..60) {
            0 if client == 0 && asked > length / 2 => maker.gone = true,
            20..40 if maker.next < maker.operations.len() => carry_out(maker, &mut model),
            _ if maker.gone => maker.plan.clear(),
            // All finish what they have begun before all is looked at.
            1..20 if maker.plan.is_empty() && asked >= round.saturating_mul(looks + 1) => {}
            1..20 if asked < length && waiting < 3 => ask(maker, client, now, &mut source),
            40.. => {
                let first =
                    maker.operations[..maker.next].iter_mut().find(|op| op.completed == NEVER);
                first.into_iter().for_each(|operation| operation.completed = now);
            }
            _ => {}
        }
        if asked >= length && makers.iter().all(done) {
            break;
        }
    }
    makers.push(observer);
    let mut operations: Vec<Operation> = makers.into_iter().flat_map(|m| m.operations).collect();
    for operation in operations.iter_mut().filter(|op| op.completed == NEVER) {
        if operation.outcome != Outcome::Discarded {
            operation.outcome = Outcome::Unknown;
        }
    }
    History { operations }
}

fn ask(maker: &mut Maker, client: u32, now: u64, source: &mut Source) {
    if maker.plan.is_empty() {
        maker.plan = source.next();
        maker.plan.reverse();
    }
    let (action, outcome) = match maker.plan.pop().expect("filled") {
        Request::Act(action) => (action, Outcome::Unknown),
        Request::Discard(commands) => (Action::Block(commands), Outcome::Discarded),
        Request::Script { commands, .. } => (Action::Block(commands), Outcome::Unknown),
    };
    let (invoked, completed, lanes) = (now, NEVER, u64::MAX);
    maker.operations.push(Operation { client, invoked, completed, action, outcome, lanes });
}

/// Looks at both databases.
fn look(observer: &mut Maker, now: u64, model: &mut Model) {
    let of = |db| [Command::Select(db), Command::MGet(vec![0, 1, 2, 3]), Command::Keys];
    observer.operations.push(Operation {
        client: CLIENTS,
        invoked: now,
        completed: now + 1,
        action: Action::Block([of(1), of(0)].concat()),
        outcome: Outcome::Unknown,
        lanes: u64::MAX,
    });
    carry_out(observer, model);
}

fn carry_out(maker: &mut Maker, model: &mut Model) {
    let operation = &mut maker.operations[maker.next];
    maker.next += 1;
    let dirty = model.state(maker.watch).dirty;
    match &operation.action {
        Action::Watch(keys) => model.watch(maker.watch, maker.db, keys),
        Action::Unwatch | Action::Block(_) => model.unwatch(maker.watch),
        Action::One(_) => {}
    }
    if operation.outcome == Outcome::Discarded {
        return;
    }
    if dirty && matches!(operation.action, Action::Block(_)) {
        operation.outcome = Outcome::Aborted;
        return;
    }
    let mut answers = Vec::new();
    for command in operation.commands() {
        if let Command::Select(db) = command {
            maker.db = *db;
        }
        let answer = model.run(maker.db, command);
        answers.push(answer.answer(&model.values, matches!(command, Command::MGet(_))));
    }
    operation.outcome = Outcome::Done(answers);
}

/// Gives an operation the answers of another one of the same shape, if there is one.
fn spoil(history: &mut History, random: &mut fastrand::Rng) {
    let answered = |op: &Operation| matches!(op.outcome, Outcome::Done(_)) && op.completed != NEVER;
    for _ in 0..20 {
        let a = random.usize(..history.operations.len());
        let b = random.usize(..history.operations.len());
        let (first, second) = (&history.operations[a], &history.operations[b]);
        let names = |op: &Operation| op.commands().iter().map(Command::name).collect::<Vec<_>>();
        let lens =
            |op: &Operation| op.commands().iter().map(|c| c.keys().len()).collect::<Vec<_>>();
        let alike = names(first) == names(second) && lens(first) == lens(second);
        let differ = first.outcome != second.outcome;
        if alike && differ && answered(first) && answered(second) {
            history.operations[a].outcome = history.operations[b].outcome.clone();
            return;
        }
    }
}

#[test]
fn what_a_model_has_done_is_in_order() {
    for seed in 0..u64::from(cases(1500)) {
        for mix in [ALL, TRACED] {
            let history = make(seed, mix, 40, usize::MAX);
            let (found, order) = infer(&history);
            assert!(found.is_empty(), "seed {seed}: {found:#?}\n{history}");
            if let Err(anomaly) = search(&history, Some(&order)) {
                panic!("seed {seed}: {anomaly}\n{history}");
            }
        }
    }
}

#[test]
fn what_follows_from_values_agrees_with_the_search() {
    let (mut bad, mut told) = (0, 0);
    for seed in 0..u64::from(cases(3000)) {
        for mix in [ALL, TRACED] {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut history = make(seed, mix, 24, usize::MAX);
            spoil(&mut history, &mut random);
            let plain = search(&history, None);
            if plain.as_ref().is_err_and(|anomaly| anomaly.kind == Kind::Undecided) {
                continue;
            }
            let (found, order) = infer(&history);
            bad += u32::from(plain.is_err());
            told += u32::from(!found.is_empty());
            assert!(found.is_empty() || plain.is_err(), "seed {seed}: {found:#?}\n{history}");
            if check_order(&history).is_empty() {
                let led = search(&history, Some(&order));
                assert_eq!(led.is_ok(), plain.is_ok(), "seed {seed}: {led:?} {plain:?}\n{history}");
            }
        }
    }
    println!("{bad} histories are not in order, which follows from values for {told}");
    assert!(told * 3 > bad, "{told} of {bad}: it is rarely seen that a history is not in order");
}

#[test]
fn parts_agree_with_the_whole() {
    let (mut cut, mut bad, mut told) = (0, 0, 0);
    for seed in 0..u64::from(cases(2000)) {
        for mix in [ALL, TRACED] {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut history = make(seed, mix, 32, 10);
            cut += u32::from(!looks(&history).is_empty());
            let parts = search_parts(&history, &infer(&history).1);
            assert!(parts.is_ok(), "seed {seed}: {parts:?}\n{history}");
            spoil(&mut history, &mut random);
            let whole = search(&history, None);
            if whole.as_ref().is_err_and(|anomaly| anomaly.kind == Kind::Undecided) {
                continue;
            }
            let (found, order) = infer(&history);
            bad += u32::from(whole.is_err());
            if !found.is_empty() {
                told += 1;
                continue;
            }
            let parts = search_parts(&history, &order);
            assert!(parts.is_ok() || whole.is_err(), "seed {seed}: {parts:?}\n{history}");
            told += u32::from(parts.is_err());
        }
    }
    println!("{cut} histories are cut; {bad} are not in order, which the parts tell of {told}");
    assert!(bad - told <= bad / 100, "{told} of {bad}: parts permit too much");
}
