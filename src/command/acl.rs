//! ACL: who the users are and what they may do.
//!
//! A change is made in one step on the server's users; the reply leaves when every shard works by it.
//! Files are read and written in the shard's turn: a person asks for that once in a while.

use super::control::{Control, SessionCx};
use super::introspect::{CATEGORIES, categories, help};
use super::registry::{CommandId, Unknown};
use super::spec::*;
use crate::acl::{
    Entry, Log, Selector, User, Users, file_text, has_spaces, random_hex, users_of_file,
};
use crate::config::{PubsubDefault, Values, replace_file};
use crate::data::double;
use crate::data::number::parse_i64;
use crate::error::{CmdError, io_text, shown};
use crate::resp::{Args, Encoder};
use std::path::PathBuf;

pub const COMMANDS: &[Command] = &[container("acl", -2, SUBCOMMANDS).doc(
    Group::Server,
    "6.0.0",
    "Depends on subcommand.",
    "",
    "Commands about users and their rights.",
)];

const ANYBODY: Flags = NOSCRIPT.with(LOADING).with(STALE);
const ADMINS: Flags = ANYBODY.with(ADMIN);
const ON_EVERY_NODE: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

const fn row(
    name: &'static str,
    (arity, flags): (i32, Flags),
    run: SessionFn,
    syntax: &'static str,
    summary: &'static str,
) -> Command {
    session(name, arity, flags, run).doc(Group::Server, "6.0.0", "O(N)", syntax, summary)
}

const SUBCOMMANDS: &[Command] = &[
    row(
        "acl|cat",
        (-2, ANYBODY),
        cat,
        "[category]",
        "Lists the categories, or the commands in one.",
    ),
    row(
        "acl|deluser",
        (-3, ADMINS),
        deluser,
        "username [username ...]",
        "Removes users and closes their connections.",
    )
    .tips(ON_EVERY_NODE),
    session("acl|dryrun", -4, ADMINS, dryrun).doc(
        Group::Server,
        "7.0.0",
        "O(1)",
        "username command [arg [arg ...]]",
        "Tells whether a user may run a command, which is not run.",
    ),
    row("acl|genpass", (-2, ANYBODY), genpass, "[bits:integer]", "Makes a password up."),
    row("acl|getuser", (3, ADMINS), getuser, "username", "Tells the rules of a user."),
    row("acl|help", (2, LOADING.with(STALE)), help, "", "Lists the subcommands."),
    row("acl|list", (2, ADMINS), list, "", "Lists the users as in a file."),
    row("acl|load", (2, ADMINS), load, "", "Reads the users from their file again."),
    row(
        "acl|log",
        (-2, ADMINS),
        log,
        "[count:integer | RESET]",
        "Tells what was denied lately, or forgets it.",
    ),
    row("acl|save", (2, ADMINS), save, "", "Writes the users into their file.").tips(ON_EVERY_NODE),
    row(
        "acl|setuser",
        (-3, ADMINS),
        setuser,
        "username [rule [rule ...]]",
        "Makes a user, or changes one.",
    )
    .tips(ON_EVERY_NODE)
    .secrets(|args, indexes| indexes.extend(2..args.len() as u32)),
    row("acl|users", (2, ADMINS), users, "", "Lists the names of the users."),
    row("acl|whoami", (2, ANYBODY), whoami, "", "Tells which user the client is."),
];

fn whoami(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    cx.out.bulk(&cx.session.user().name);
    Ok(Control::Done)
}

fn users(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let users = cx.env.acl.users();
    cx.out.array(users.iter().len());
    users.iter().for_each(|user| cx.out.bulk(&user.name));
    Ok(Control::Done)
}

fn list(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let users = cx.env.acl.users();
    cx.out.array(users.iter().len());
    users.iter().for_each(|user| cx.out.bulk(&user.line()));
    Ok(Control::Done)
}

fn cat(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let registry = &cx.env.registry;
    let Some(wanted) = args.get(2) else {
        cx.out.array(CATEGORIES.len());
        CATEGORIES.iter().for_each(|name| cx.out.bulk(name.as_bytes()));
        return Ok(Control::Done);
    };
    if args.len() > 3 {
        return Err(registry.wrong_words(&args));
    }
    let mut known = CATEGORIES.into_iter();
    let Some(category) = known.find(|own| own.as_bytes().eq_ignore_ascii_case(wanted)) else {
        return Err(CmdError::err_of(&[b"Unknown category '", shown(wanted, 128), b"'"]));
    };
    let is_in = |command: &Command| categories(command).any(|own| own == category);
    let commands = registry.words().map(|word| registry.command(CommandId(word.number)));
    let names: Vec<_> = commands.filter(|command| is_in(command)).map(|c| c.name).collect();
    cx.out.array(names.len());
    names.iter().for_each(|name| cx.out.bulk(name.as_bytes()));
    Ok(Control::Done)
}

fn setuser(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let name = args.at(2);
    if has_spaces(name) {
        let text = "ERR Usernames can't contain spaces or null characters";
        return Err(CmdError::fixed(text));
    }
    let all_channels = gives_all_channels(&cx.env.config());
    let rules: Vec<&[u8]> = args.iter().skip(3).collect();
    cx.env.acl.change(|users| {
        let user = users.draft(name, all_channels);
        let user = user.with(&rules, &cx.env.registry, all_channels);
        users.set(user.map_err(|error| CmdError::err_of(&[&error]))?);
        Ok::<_, CmdError>(())
    })?;
    cx.out.ok();
    Ok(Control::UsersChanged)
}

/// What a new user may listen to.
pub fn gives_all_channels(config: &Values) -> bool {
    config.acl_pubsub_default == PubsubDefault::AllChannels
}

fn deluser(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    if args.iter().skip(2).any(|name| name == b"default") {
        return Err(CmdError::fixed("ERR The 'default' user cannot be removed"));
    }
    let remove = |users: &mut Users| {
        Ok::<_, CmdError>(args.iter().skip(2).filter(|name| users.remove(name)).count())
    };
    let removed = cx.env.acl.change(remove)?;
    cx.out.int(removed as i64);
    Ok(Control::UsersChanged)
}

fn getuser(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let users = cx.env.acl.users();
    match users.by_name(args.at(2)) {
        Some(user) => write_user(user, &mut cx.out),
        None => cx.out.null(),
    }
    Ok(Control::Done)
}

fn write_user(user: &User, out: &mut Encoder) {
    let [root, others @ ..] = user.selectors() else { return out.null() };
    out.map(6);
    out.bulk(b"flags");
    let flags = user.flags();
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"passwords");
    out.array(user.passwords().len());
    user.passwords().iter().for_each(|hash| out.bulk(hash.to_string().as_bytes()));
    write_selector(root, out);
    out.bulk(b"selectors");
    out.array(others.len());
    for selector in others {
        out.map(3);
        write_selector(selector, out);
    }
}

fn write_selector(selector: &Selector, out: &mut Encoder) {
    let fields = [
        ("commands", selector.command_rules()),
        ("keys", selector.key_rules()),
        ("channels", selector.channel_rules()),
    ];
    for (name, rules) in fields {
        out.bulk(name.as_bytes());
        out.bulk(&rules);
    }
}

fn dryrun(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let (name, request) = (args.at(2), args.from(3));
    let users = cx.env.acl.users();
    let Some(user) = users.by_name(name) else {
        return Err(CmdError::err_of(&[b"User '", shown(name, usize::MAX), b"' not found"]));
    };
    let registry = &cx.env.registry;
    let found = match registry.find(&request) {
        Ok(id) | Err(Unknown::Words(id)) => Some(id),
        Err(Unknown::MissingSubcommand) => registry.by_name(request.at(0)),
        Err(_) => None,
    };
    let Some(id) = found.map(|id| registry.ruled_by(id)) else {
        let name = shown(request.at(0), usize::MAX);
        return Err(CmdError::err_of(&[b"Command '", name, b"' not found"]));
    };
    let command = registry.command(id);
    if !command.accepts(request.len()) {
        return Err(CmdError::wrong_arity(command.name));
    }
    match registry.permit(user, id, &request) {
        Ok(()) => cx.out.ok(),
        Err(denied) => {
            let object = denied.object(command, &request);
            cx.out.bulk(&denied.long_text(&user.name, command, object));
        }
    }
    Ok(Control::Done)
}

fn genpass(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let bits = match (args.len(), args.get(2)) {
        (2, _) => 256,
        (3, Some(word)) => parse_i64(word).ok_or(CmdError::NOT_AN_INTEGER)?,
        _ => return Err(cx.env.registry.wrong_words(&args)),
    };
    if !(1..=4096).contains(&bits) {
        return Err(CmdError::fixed(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive \
             number up to 4096",
        ));
    }
    let password = random_hex((bits as usize).div_ceil(4)).map_err(CmdError::err)?;
    cx.out.bulk(password.as_bytes());
    Ok(Control::Done)
}

fn log(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let count = match (args.len(), args.get(2)) {
        (2, _) => 10,
        (3, _) if args.is(2, "RESET") => {
            cx.env.acl.log().clear();
            cx.out.ok();
            return Ok(Control::Done);
        }
        (3, Some(word)) => parse_i64(word).ok_or(CmdError::NOT_AN_INTEGER)?.max(0) as usize,
        _ => return Err(cx.env.registry.wrong_words(&args)),
    };
    write_log(&cx.env.acl.log(), count, cx.now, &mut cx.out);
    Ok(Control::Done)
}

fn write_log(log: &Log, count: usize, now: i64, out: &mut Encoder) {
    out.array(count.min(log.entries().len()));
    log.entries().take(count).for_each(|entry| write_entry(entry, now, out));
}

fn write_entry(entry: &Entry, now: i64, out: &mut Encoder) {
    out.map(10);
    let number = |out: &mut Encoder, name: &str, value: i64| {
        out.bulk(name.as_bytes());
        out.int(value);
    };
    let text = |out: &mut Encoder, name: &str, value: &[u8]| {
        out.bulk(name.as_bytes());
        out.bulk(value);
    };
    number(out, "count", entry.count as i64);
    text(out, "reason", entry.reason.name().as_bytes());
    text(out, "context", entry.context.name().as_bytes());
    text(out, "object", &entry.object);
    text(out, "username", &entry.user);
    out.bulk(b"age-seconds");
    out.double(&double::shortest((now - entry.updated_at) as f64 / 1000.0));
    text(out, "client-info", entry.client.as_bytes());
    number(out, "entry-id", entry.id as i64);
    number(out, "timestamp-created", entry.created_at);
    number(out, "timestamp-last-updated", entry.updated_at);
}

/// The file of the users.
fn file(cx: &SessionCx) -> Result<PathBuf, CmdError> {
    cx.env.config().aclfile.clone().ok_or(CmdError::fixed(
        "ERR This Redis instance is not configured to use an ACL file. You may want to specify users \
         via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis \
         configuration file set) in order to store users in the Redis configuration.",
    ))
}

fn load(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let path = file(cx)?;
    let shown = path.display().to_string();
    let text = std::fs::read(&path).map_err(|error| {
        let reason = io_text(&error);
        CmdError::err(format_args!("Error loading ACLs, opening file '{shown}': {reason}"))
    })?;
    let all_channels = gives_all_channels(&cx.env.config());
    cx.env.acl.change(|users| {
        let loaded = users_of_file(users, &shown, &text, &cx.env.registry, all_channels);
        *users = loaded.map_err(|errors| CmdError::err_of(&[&errors]))?;
        Ok::<_, CmdError>(())
    })?;
    cx.out.ok();
    Ok(Control::UsersChanged)
}

fn save(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let path = file(cx)?;
    replace_file(&path, &file_text(&cx.env.acl.users())).map_err(|error| {
        tracing::warn!(path = %path.display(), %error, "the users could not be saved");
        CmdError::fixed(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more \
             information",
        )
    })?;
    cx.out.ok();
    Ok(Control::Done)
}
