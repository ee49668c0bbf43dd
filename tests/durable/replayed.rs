//! What depends on more than the commands is the same after a replay: settings that were others at the time, and
//! the time itself.

use super::rig::{Dir, Process};
use crate::harness::Reply;
use crate::persist::foreign::run_all;
use std::time::Duration;

const ARGS: &[&str] = &["--appendonly", "yes", "--appendfsync", "no"];

/// Kills the server and gives what the questions are answered before and after the next start.
fn across_a_restart(dir: &Dir, process: Process, questions: &[String]) -> [Vec<Reply>; 2] {
    let ask = |process: &Process| questions.iter().map(|question| process.run(question)).collect();
    let before = ask(&process);
    process.kill();
    let again = Process::corelane(dir, 3, ARGS);
    let after = ask(&again);
    again.kill();
    [before, after]
}

#[test]
fn forms_of_hyperloglogs_are_those_of_their_time() {
    let dir = Dir::new();
    let process = Process::corelane(&dir, 3, ARGS);
    let many = |from: usize, to: usize| {
        (from..to).map(|n| format!("element-{n}")).collect::<Vec<_>>().join(" ")
    };
    for max in [20, 3000, 20_000] {
        process.run(&format!("CONFIG SET hll-sparse-max-bytes {max}"));
        process.run(&format!("PFADD few{max} a b c"));
        process.run(&format!("PFADD some{max} {}", many(0, 60)));
        process.run(&format!("PFADD many{max} {}", many(0, 2500)));
        process.run(&format!("PFMERGE merged{max} few{max} some{max}"));
        process.run(&format!("PFMERGE {{m}}{max} {{m}}1 {{m}}2 some20"));
        process.run(&format!("PFADD {{m}}1 {}", many(max, max + 50)));
        process.run(&format!("PFMERGE {{m}}together{max} {{m}}1"));
        let script = "for n = 1, 40 do redis.call('PFADD', KEYS[1], n) end";
        process.run(&format!("EVAL \"{script}\" 1 script{max}"));
        let unit = format!("PFADD unit{max} a b\nPFADD unit{max} c d e f g h i j");
        run_all(&mut process.client(), &format!("MULTI\n{unit}\nEXEC"));
    }
    let names = ["few", "some", "many", "merged", "{m}", "{m}together", "script", "unit"];
    let keys: Vec<String> = names
        .iter()
        .flat_map(|name| [20, 3000, 20_000].map(|max| format!("{name}{max}")))
        .chain(["{m}1".to_string()])
        .collect();
    let mut questions: Vec<String> =
        keys.iter().map(|key| format!("PFDEBUG ENCODING {key}")).collect();
    questions.extend(keys.iter().map(|key| format!("GET {key}")));
    let [before, after] = across_a_restart(&dir, process, &questions);
    for ((question, before), after) in questions.iter().zip(&before).zip(&after) {
        assert!(before == after, "{question}: {before:?} and {after:?}");
    }
    let forms = |form: &str| before.iter().filter(|reply| reply.text() == form).count();
    assert!(forms("dense") > 5 && forms("sparse") > 5);
}

/// What XINFO STREAM FULL says of the consumers: name, seen, active.
fn consumers(reply: &Reply) -> Vec<(String, i64, i64)> {
    let field = |reply: &Reply, name: &str| {
        let name = Reply::Bulk(name.as_bytes().into());
        let mut fields = reply.items().chunks(2);
        fields.find(|field| field[0] == name).expect("a field")[1].clone()
    };
    let groups = field(reply, "groups");
    let all = field(&groups.items()[0], "consumers");
    let told = |consumer: &Reply| {
        let number = |name| field(consumer, name).int();
        (field(consumer, "name").text(), number("seen-time"), number("active-time"))
    };
    all.items().iter().map(told).collect()
}

#[test]
fn consumers_were_active_when_they_were() {
    let dir = Dir::new();
    let process = Process::corelane(&dir, 2, ARGS);
    let begin = corelane::clock::wall_ms();
    let mut client = process.client();
    let mut run = |line: &str| {
        std::thread::sleep(Duration::from_millis(2));
        let reply = client.run(line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
    };
    (1..=8).for_each(|n| run(&format!("XADD s 1-{n} a {n}")));
    for line in [
        "XGROUP CREATE s g 0",
        "XGROUP CREATECONSUMER s g made",
        "XREADGROUP GROUP g reader COUNT 3 STREAMS s >",
        // Times of delivery are others than those of activity.
        "XREADGROUP GROUP g reader STREAMS s 0",
        "XREADGROUP GROUP g again COUNT 1 STREAMS s >",
        "XREADGROUP GROUP g again STREAMS s 0",
        "XCLAIM s g idler 0 1-1 IDLE 1000",
        "XCLAIM s g early 0 1-2 TIME 1000",
        "XCLAIM s g claimer 0 1-3",
        "XCLAIM s g nothing 0 7-7",
        "XAUTOCLAIM s g auto 0 0 COUNT 1",
        "XREADGROUP GROUP g careless NOACK COUNT 1 STREAMS s >",
        "XREADGROUP GROUP g history STREAMS s 0",
    ] {
        run(line);
    }
    run("EVAL \"redis.call('XCLAIM', 's', 'g', 'scripted', 0, '1-4', 'IDLE', 500)\" 1 s");
    let [before, after] = across_a_restart(&dir, process, &["XINFO STREAM s FULL".to_string()]);
    let (before, after) = (consumers(&before[0]), consumers(&after[0]));
    assert_eq!(before.len(), 11);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&before.0, before.2), (&after.0, after.2), "active");
        let is_likely = |seen: i64| seen == 1000 || (begin - 1000..begin + 60_000).contains(&seen);
        assert!(is_likely(after.1), "{after:?} was seen then, {before:?} before");
    }
}
