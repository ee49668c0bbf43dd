//! CLIENT TRACKING, CACHING, GETREDIR and TRACKINGINFO: being told when keys change.
//!
//! What a client chose is in its session. Who else must know of it, and whether the client exists to
//! which messages are to go, is found out by `net`.

use super::control::{Control, SessionCx};
use crate::data::number::parse_i64;
use crate::error::CmdError;
use crate::resp::Args;
use crate::session::{Name, Session};

/// What CLIENT TRACKING is to change.
#[derive(Debug, Clone)]
pub struct TrackingRequest {
    /// The client to which messages are to go; it must exist, or that is the error.
    pub redirect: Option<u64>,
    /// How often more to look for it.
    pub tries: u8,
    /// What is to be done, or the error that comes behind that of a client that does not exist.
    pub change: Result<TrackingChange, CmdError>,
}

/// A client that moves from one shard to another while they are asked is found the third time.
const TRIES: u8 = 2;

#[derive(Debug, Clone)]
pub enum TrackingChange {
    On(TrackingOptions),
    Off,
}

/// How keys are tracked from now on.
#[derive(Debug, Clone, Default)]
pub struct TrackingOptions {
    pub broadcast: bool,
    pub opt_in: bool,
    pub opt_out: bool,
    pub no_loop: bool,
    /// More prefixes to follow; none means all keys.
    pub prefixes: Vec<Name>,
}

pub fn tracking(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let mut redirect = None;
    let change = parse(&args, &mut redirect).and_then(|options| match () {
        _ if args.is(2, "on") => check(cx.session, &options).map(|()| TrackingChange::On(options)),
        _ if args.is(2, "off") => Ok(TrackingChange::Off),
        _ => Err(CmdError::SYNTAX),
    });
    match (redirect, change) {
        (None, Err(error)) => Err(error),
        (redirect, change) => {
            Ok(Control::Track(Box::new(TrackingRequest { redirect, tries: TRIES, change })))
        }
    }
}

fn parse(args: &Args, redirect: &mut Option<u64>) -> Result<TrackingOptions, CmdError> {
    const SINGLE: CmdError =
        CmdError::fixed("ERR A client can only redirect to a single other client");
    let mut options = TrackingOptions::default();
    let mut at = 3;
    while at < args.len() {
        let value = args.get(at + 1);
        at += match (args, value) {
            (args, Some(id)) if args.is(at, "redirect") => {
                if redirect.is_some() {
                    return Err(SINGLE);
                }
                // A negative id is no client's, and neither is what it becomes.
                *redirect = Some(parse_i64(id).ok_or(CmdError::NOT_AN_INTEGER)? as u64);
                2
            }
            (args, Some(prefix)) if args.is(at, "prefix") => {
                options.prefixes.push(prefix.into());
                2
            }
            _ => {
                let flag = match () {
                    _ if args.is(at, "bcast") => &mut options.broadcast,
                    _ if args.is(at, "optin") => &mut options.opt_in,
                    _ if args.is(at, "optout") => &mut options.opt_out,
                    _ if args.is(at, "noloop") => &mut options.no_loop,
                    _ => return Err(CmdError::SYNTAX),
                };
                *flag = true;
                1
            }
        };
    }
    Ok(options)
}

/// Whether the options fit each other and what the client tracks already.
fn check(session: &Session, new: &TrackingOptions) -> Result<(), CmdError> {
    let old = session.tracking.as_deref();
    let error = match () {
        _ if !new.broadcast && !new.prefixes.is_empty() => {
            "ERR PREFIX option requires BCAST mode to be enabled"
        }
        _ if old.is_some_and(|old| old.broadcast != new.broadcast) => {
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and \
             then re-enabling it with a different mode."
        }
        _ if new.broadcast && (new.opt_in || new.opt_out) => {
            "ERR OPTIN and OPTOUT are not compatible with BCAST"
        }
        _ if new.opt_in && new.opt_out => "ERR You can't specify both OPTIN mode and OPTOUT mode",
        _ if old.is_some_and(|old| new.opt_in && old.opt_out || new.opt_out && old.opt_in) => {
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and \
             then re-enabling it with a different mode."
        }
        _ => "",
    };
    if !error.is_empty() {
        return Err(CmdError::fixed(error));
    }
    for (at, prefix) in new.prefixes.iter().enumerate() {
        let existing = old.into_iter().flat_map(|old| &old.prefixes);
        if let Some(other) = existing.into_iter().find(|other| overlap(prefix, other)) {
            return Err(overlapping(prefix, b"an existing", other));
        }
        if let Some(other) = new.prefixes[at + 1..].iter().find(|other| overlap(prefix, other)) {
            return Err(overlapping(prefix, b"another provided", other));
        }
    }
    Ok(())
}

/// Whether some keys begin with both prefixes.
fn overlap(a: &[u8], b: &[u8]) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

fn overlapping(prefix: &[u8], which: &[u8], other: &[u8]) -> CmdError {
    CmdError::err_of(&[
        b"Prefix '",
        prefix,
        b"' overlaps with ",
        which,
        b" prefix '",
        other,
        b"'. Prefixes for a single client must not overlap.",
    ])
}

pub fn caching(cx: &mut SessionCx, args: Args) -> Result<Control, CmdError> {
    let Some(tracking) = &mut cx.session.tracking else {
        return Err(CmdError::fixed(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN \
             or OPTOUT mode enabled",
        ));
    };
    match () {
        _ if args.is(2, "yes") && !tracking.opt_in => Err(CmdError::fixed(
            "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
        )),
        _ if args.is(2, "no") && !tracking.opt_out => Err(CmdError::fixed(
            "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
        )),
        _ if args.is(2, "yes") || args.is(2, "no") => {
            tracking.caching = true;
            cx.out.ok();
            Ok(Control::Done)
        }
        _ => Err(CmdError::SYNTAX),
    }
}

pub fn getredir(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    cx.out.int(cx.session.redirected_to());
    Ok(Control::Done)
}

pub fn trackinginfo(cx: &mut SessionCx, _: Args) -> Result<Control, CmdError> {
    let (session, out) = (&*cx.session, &mut cx.out);
    let mut flags = vec![if session.tracking.is_some() { "on" } else { "off" }];
    let tracking = session.tracking.as_deref();
    if let Some(tracking) = tracking {
        let all = [
            (tracking.broadcast, "bcast"),
            (tracking.opt_in, "optin"),
            (tracking.opt_in && tracking.caching, "caching-yes"),
            (tracking.opt_out, "optout"),
            (tracking.opt_out && tracking.caching, "caching-no"),
            (tracking.no_loop, "noloop"),
            (tracking.broken, "broken_redirect"),
        ];
        flags.extend(all.iter().filter(|(on, _)| *on).map(|(_, name)| name));
    }
    out.map(3);
    out.bulk(b"flags");
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"redirect");
    out.int(session.redirected_to());
    out.bulk(b"prefixes");
    out.array(tracking.map_or(0, |tracking| tracking.prefixes.len()));
    let prefixes = tracking.into_iter().flat_map(|tracking| &tracking.prefixes);
    prefixes.for_each(|prefix| out.bulk(prefix));
    Ok(Control::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::SessionBench;
    use crate::session::Tracking;

    /// The change that CLIENT TRACKING leaves to be made, or its error.
    fn change(bench: &mut SessionBench, words: &str) -> Result<TrackingRequest, String> {
        let reply = bench.run(&format!("client tracking {words}"));
        match &bench.control {
            Control::Track(request) => Ok((**request).clone()),
            _ => Err(reply.trim_end().to_string()),
        }
    }

    #[test]
    fn options_are_read_in_order() {
        let mut bench = SessionBench::new();
        let request = change(&mut bench, "ON bcast prefix a PREFIX b: NoLoop redirect 12").unwrap();
        assert_eq!(request.redirect, Some(12));
        let Ok(TrackingChange::On(options)) = request.change else { panic!("not on") };
        assert!(options.broadcast && options.no_loop && !options.opt_in && !options.opt_out);
        assert_eq!(options.prefixes, [Name::from(&b"a"[..]), Name::from(&b"b:"[..])]);
        for (words, error) in [
            ("maybe", "-ERR syntax error"),
            ("on redirect", "-ERR syntax error"),
            ("on redirect x", "-ERR value is not an integer or out of range"),
            ("on prefix", "-ERR syntax error"),
            ("on prefix a", "-ERR PREFIX option requires BCAST mode to be enabled"),
            ("on bcast optin", "-ERR OPTIN and OPTOUT are not compatible with BCAST"),
            ("on optin optout", "-ERR You can't specify both OPTIN mode and OPTOUT mode"),
            (
                "on bcast prefix FOOBAR prefix FOO",
                "-ERR Prefix 'FOOBAR' overlaps with another provided prefix 'FOO'. Prefixes for a \
                 single client must not overlap.",
            ),
        ] {
            assert_eq!(change(&mut bench, words).unwrap_err(), error, "{words}");
        }
        // Whether the client exists comes before what follows it.
        let request = change(&mut bench, "on redirect 12 redirect 13").unwrap();
        assert!(request.change.is_err_and(|e| e.as_bytes().ends_with(b"a single other client")));
        assert!(change(&mut bench, "off").unwrap().redirect.is_none());
    }

    #[test]
    fn a_mode_is_not_switched_on_the_way() {
        let mut bench = SessionBench::new();
        let set = |bench: &mut SessionBench, tracking| {
            bench.session.tracking = Some(Box::new(tracking));
        };
        set(&mut bench, Tracking { opt_in: true, ..Tracking::default() });
        assert!(change(&mut bench, "on bcast").unwrap_err().contains("switch BCAST mode on/off"));
        assert!(change(&mut bench, "on optout").unwrap_err().contains("switch OPTIN/OPTOUT mode"));
        assert!(change(&mut bench, "on").is_ok());
        let prefixes = [Name::from(&b"FOO"[..])].into();
        set(&mut bench, Tracking { broadcast: true, prefixes, ..Tracking::default() });
        let error = change(&mut bench, "on bcast prefix FO").unwrap_err();
        assert!(error.starts_with("-ERR Prefix 'FO' overlaps with an existing prefix 'FOO'."));
        assert!(change(&mut bench, "on bcast prefix BAR").is_ok());
    }

    #[test]
    fn caching_needs_a_mode() {
        let mut bench = SessionBench::new();
        assert!(bench.run("client caching yes").contains("can be called only when"));
        bench.session.tracking = Some(Box::new(Tracking { opt_in: true, ..Tracking::default() }));
        assert!(!bench.session.tracks_reads());
        assert!(bench.run("client caching no").contains("CACHING NO is only valid"));
        assert_eq!(bench.run("client caching maybe"), "-ERR syntax error\r\n");
        assert_eq!(bench.run("client caching YES"), "+OK\r\n");
        assert!(bench.session.tracks_reads());
        assert_eq!(
            bench.run("client trackinginfo"),
            "*6\r\n$5\r\nflags\r\n*3\r\n$2\r\non\r\n$5\r\noptin\r\n$11\r\ncaching-yes\r\n\
             $8\r\nredirect\r\n:0\r\n$8\r\nprefixes\r\n*0\r\n"
        );
        bench.session.tracking = Some(Box::new(Tracking { opt_out: true, ..Tracking::default() }));
        assert!(bench.session.tracks_reads());
        assert_eq!(bench.run("client caching no"), "+OK\r\n");
        assert!(!bench.session.tracks_reads());
        assert_eq!(bench.run("client getredir"), ":0\r\n");
        bench.session.tracking = None;
        assert_eq!(bench.run("client getredir"), ":-1\r\n");
    }
}
