//! The container image and its composition.

use super::{has, in_repository, option, read, serve};
use crate::clients::run::{installed, run};
use crate::harness::PATIENCE;
use crate::harness::process::corelane_binary;

const DOCKERFILE: &str = "configs/docker/Dockerfile";

/// An instruction of a Dockerfile and what it is given.
struct Step {
    name: String,
    words: String,
}

/// The Dockerfile's stages; comments are left out and continued lines are one.
fn stages() -> Vec<Vec<Step>> {
    let text = read(DOCKERFILE);
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let mut stages: Vec<Vec<Step>> = Vec::new();
    for line in joined.lines().filter(|line| !line.trim().is_empty()) {
        let (name, words) = line.trim().split_once(' ').expect("an instruction and its words");
        if name == "FROM" {
            stages.push(Vec::new());
        }
        let step = Step { name: name.into(), words: words.trim().into() };
        stages.last_mut().expect("FROM comes first").push(step);
    }
    stages
}

/// What an instruction of the image that is run is given, the last time if there are several.
fn given(name: &str) -> String {
    let stages = stages();
    let steps = stages.last().expect("a stage").iter().rev();
    let step = steps.into_iter().find(|step| step.name == name);
    step.unwrap_or_else(|| panic!("no {name}")).words.clone()
}

/// The words of an instruction in its exec form, which needs no shell: the image has none.
fn exec_form(text: &str) -> Vec<String> {
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let inside = inside.unwrap_or_else(|| panic!("{text} would be run by a shell"));
    inside.split(',').map(|word| word.trim().trim_matches('"').to_string()).collect()
}

#[test]
fn what_is_copied_is_there() {
    let stages = stages();
    let mut copied = 0;
    for step in stages.iter().flatten().filter(|step| step.name == "COPY") {
        let from_stage = step.words.contains("--from=");
        let paths = step.words.split_whitespace().filter(|word| !word.starts_with("--"));
        let mut paths: Vec<&str> = paths.collect();
        paths.pop().expect("a destination");
        for path in paths.into_iter().filter(|_| !from_stage) {
            assert!(in_repository(path).exists(), "{path}");
            copied += 1;
        }
    }
    assert!(copied >= 2, "{copied}");
}

#[test]
fn it_is_run_without_rights() {
    let stages = stages();
    assert_eq!(stages.len(), 2, "one builds, one is run");
    let user = given("USER");
    let id: u32 = user.split(':').next().and_then(|id| id.parse().ok()).expect("a number");
    assert!(id > 0, "{user}");
    let volume = given("VOLUME");
    assert_eq!(option(&read("configs/docker/corelane.conf"), "dir"), Some(volume.as_str()));
    // The volume is the user's.
    let mut copies = stages[1].iter().filter(|step| step.name == "COPY");
    let ours = format!("--chown={user} {volume} {volume}");
    assert!(copies.any(|step| step.words.ends_with(&ours)), "{ours}");
    assert!(stages[1].iter().all(|step| step.name != "RUN"), "there is nothing to run it by");
}

#[test]
fn its_command_and_its_health_check_work() {
    let conf = read("configs/docker/corelane.conf");
    assert_eq!(option(&conf, "port"), Some(given("EXPOSE").as_str()));
    let command = exec_form(&given("ENTRYPOINT"));
    let stages = stages();
    let destinations = stages[1].iter().filter(|step| step.name == "COPY");
    let destinations: Vec<&str> =
        destinations.filter_map(|step| step.words.split_whitespace().last()).collect();
    assert!(command.iter().all(|word| destinations.contains(&word.as_str())), "{command:?}");

    let mut server = serve(&conf, &[], &[]);
    assert_eq!(server.client().run("SET k v").text(), "OK");
    assert_eq!(
        server.client().run("CONFIG GET appendonly").field("appendonly").unwrap().text(),
        "yes"
    );
    let health = given("HEALTHCHECK");
    let check = exec_form(health.split_once("CMD ").expect("a command").1);
    assert_eq!(check[0], command[0]);
    let port = server.port.to_string();
    let mut words: Vec<&str> = check[1..].iter().map(String::as_str).collect();
    words.extend(["--port", &port]);
    let binary = corelane_binary().display().to_string();
    run(&binary, &words, b"", PATIENCE).ok();
    assert_eq!(given("STOPSIGNAL"), "SIGTERM");
    assert!(server.end(libc::SIGTERM).success());
    assert_ne!(run(&binary, &words, b"", PATIENCE).code, Some(0), "nobody is there any more");
}

#[test]
fn its_composition_is_valid() {
    // Docker's own plug-in, or the older program of that name.
    let plugin = installed("docker")
        && run("docker", &["compose", "version"], b"", PATIENCE).code == Some(0);
    if !plugin && !has("docker-compose") {
        return;
    }
    let program = if plugin { "docker" } else { "docker-compose" };
    let before: &[&str] = if plugin { &["compose"] } else { &[] };
    let file = in_repository("configs/docker/compose.yaml").display().to_string();
    let words = [before, &["-f", &file, "config"]].concat();
    let text = run(program, &words, b"", PATIENCE).ok();
    let build = format!("dockerfile: {DOCKERFILE}");
    for part in ["/data", "- ping", "read_only: true", "no-new-privileges", &build] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The build's context is the repository.
    let context = text.lines().find_map(|line| line.trim().strip_prefix("context: "));
    let context = std::path::Path::new(context.expect("a context")).canonicalize().unwrap();
    assert!(context.join(DOCKERFILE).exists(), "{}", context.display());
}
