use super::super::testing::Bench;
use super::super::{Libraries, LogLevel, RestorePolicy, Tick};
use super::*;

const RELEASE: &str = "if redis.call(\"get\",KEYS[1]) == ARGV[1] then \
                       return redis.call(\"del\",KEYS[1]) else return 0 end";

#[test]
fn a_script_calls_commands_and_replies() {
    let mut bench = Bench::new();
    assert_eq!(bench.eval_with(RELEASE, &[b"lock"], &[b"token"]), ":1\r\n");
    assert_eq!(bench.eval_with(RELEASE, &[b"lock"], &[b"other"]), ":0\r\n");
    assert_eq!(bench.eval_with(RELEASE, &[b"free"], &[b"token"]), ":0\r\n");
    assert_eq!(bench.host.calls[1], [&b"del"[..], b"lock"]);
    assert_eq!(bench.interpreter.script_count(), 1);
    let sha = Sha::of(RELEASE.as_bytes());
    bench.interpreter.forget_all();
    assert!(!bench.interpreter.knows(&sha));
    let mut buffer = Vec::new();
    let mut out = Encoder::new(&mut buffer, Protocol::Resp2);
    let result = bench.interpreter.run(&sha, &[], &[], &mut bench.host, &mut out);
    let error = result.unwrap_err().error;
    assert_eq!(error.to_string(), "NOSCRIPT No matching script. Please use EVAL.");
}

#[test]
fn values_become_replies() {
    let mut bench = Bench::new();
    for (body, reply) in [
        ("return 3.99", ":3\r\n"),
        ("return -3.99", ":-3\r\n"),
        ("return 1e300", ":-9223372036854775808\r\n"),
        ("return 'a\\0b'", "$3\r\na\0b\r\n"),
        ("return true", ":1\r\n"),
        ("return false", "$-1\r\n"),
        ("return nil", "$-1\r\n"),
        ("return", "$-1\r\n"),
        ("return function() end", "$-1\r\n"),
        ("return {1,2,nil,4}", "*2\r\n:1\r\n:2\r\n"),
        ("return {1,{2,{}},'x'}", "*3\r\n:1\r\n*2\r\n:2\r\n*0\r\n$1\r\nx\r\n"),
        ("return {ok='fine\\r\\nthing'}", "+fine  thing\r\n"),
        ("return {err='MY error'}", "-MY error\r\n"),
        ("return {{err='A b'},{ok='c'}}", "*2\r\n-A b\r\n+c\r\n"),
        ("return {double=3.5}", "$3\r\n3.5\r\n"),
        ("return {big_number='123'}", "$3\r\n123\r\n"),
        ("return {verbatim_string={string='a',format='txt'}}", "$1\r\na\r\n"),
        ("return {map={a=1}}", "*2\r\n$1\r\na\r\n:1\r\n"),
        ("return {set={x=true}}", "*1\r\n$1\r\nx\r\n"),
        ("return {map={[1]={2}}}", "*2\r\n:1\r\n*1\r\n:2\r\n"),
        (
            "return {{map={}}, {set={}}, {map={[1]={set={[2]=true}}}}, 3}",
            "*4\r\n*0\r\n*0\r\n*2\r\n:1\r\n*1\r\n:2\r\n:3\r\n",
        ),
        ("return {verbatim_string={string='a'}}", "*0\r\n"),
        ("return redis.status_reply('ALL')", "+ALL\r\n"),
        ("return redis.error_reply('My Err')", "-My Err\r\n"),
        ("return redis.error_reply('-My Err')", "-My Err\r\n"),
        ("return redis.error_reply('Alone')", "-ERR Alone\r\n"),
        ("return redis.error_reply(1)", "-ERR wrong number or type of arguments\r\n"),
    ] {
        assert_eq!(bench.eval(body), reply, "{body}");
    }
    bench.protocol = Protocol::Resp3;
    for (body, reply) in [
        ("return true", ":1\r\n"),
        ("return false", "_\r\n"),
        ("redis.setresp(3) return true", "#t\r\n"),
        ("redis.setresp(3) return {false,nil}", "*1\r\n#f\r\n"),
        ("return {double=3.5}", ",3.5\r\n"),
        ("return {big_number='12\\n3'}", "(12 3\r\n"),
        ("return {verbatim_string={string='a',format='txt'}}", "=5\r\ntxt:a\r\n"),
        ("return {map={a=1}}", "%1\r\n$1\r\na\r\n:1\r\n"),
        ("return {set={x=true}}", "~1\r\n$1\r\nx\r\n"),
    ] {
        assert_eq!(bench.eval(body), reply, "{body}");
    }
}

#[test]
fn replies_become_values() {
    let mut bench = Bench::new();
    for (reply, expression, text) in [
        ("$-1\r\n", "r == false", "true"),
        ("*-1\r\n", "r == false", "true"),
        (":12\r\n", "r + 1", "13"),
        ("$3\r\nabc\r\n", "r", "abc"),
        ("+OK\r\n", "r.ok", "OK"),
        ("-WRONGTYPE no\r\n", "r.err", "WRONGTYPE no"),
        ("-ALONE\r\n", "r.err", "ERR ALONE"),
        ("*3\r\n:1\r\n$1\r\nx\r\n*1\r\n$-1\r\n", "#r .. r[2] .. tostring(r[3][1])", "3xfalse"),
        ("%1\r\n$1\r\na\r\n:5\r\n", "r.map.a", "5"),
        ("~1\r\n$1\r\na\r\n", "tostring(r.set.a)", "true"),
        ("_\r\n", "r == nil", "true"),
        ("#f\r\n", "r == false", "true"),
        (",1.5\r\n", "r.double", "1.5"),
        (",-inf\r\n", "r.double", "-inf"),
        ("(123\r\n", "r.big_number", "123"),
        ("=7\r\ntxt:abc\r\n", "r.verbatim_string.format .. r.verbatim_string.string", "txtabc"),
        ("%1\r\n_\r\n:5\r\n", "next(r.map) == nil", "true"),
    ] {
        let body = format!("local r = redis.pcall('raw', ARGV[1]) return tostring({expression})");
        let got = bench.eval_with(&body, &[], &[reply.as_bytes()]);
        assert_eq!(got, format!("${}\r\n{text}\r\n", text.len()), "{reply}");
    }
    assert_eq!(bench.text("return redis.call('hgetall')[1]"), "field");
    let body = "redis.setresp(3) return redis.call('hgetall').map.field";
    assert_eq!(bench.text(body), "value");
    assert_eq!(bench.eval("return redis.call('protocol')"), ":2\r\n", "each starts with 2");
}

#[test]
fn arguments_of_commands() {
    let mut bench = Bench::new();
    bench.eval("return redis.call('echo', 10)");
    for (value, text) in [
        ("1e9", "1000000000"),
        ("-0", "0"),
        ("1.5", "1.5"),
        ("0.1", "0.1"),
        ("2^53", "9007199254740992"),
        ("1e20", "1e+20"),
        ("3.3e-10", "3.3e-10"),
        ("1/0", "inf"),
        ("'\\0'", "\0"),
    ] {
        let body = format!("return redis.call('echo', {value})");
        assert_eq!(bench.text(&body), text, "{value}");
    }
    let wrong = "ERR Lua redis lib command arguments must be strings or integers";
    assert_eq!(bench.error("redis.call('echo', {})"), wrong);
    assert_eq!(bench.error("redis.call('echo', true)"), wrong);
    assert_eq!(bench.error("redis.call('echo', nil)"), wrong);
    let none = "ERR Please specify at least one argument for this redis lib call";
    assert_eq!(bench.error("redis.call()"), none);
    assert_eq!(bench.error("return redis.pcall()"), none);
    let many = "local t = {'del'} for i = 1, 5000 do t[#t + 1] = i end \
                return redis.call(unpack(t))";
    assert_eq!(bench.eval(many), ":5000\r\n");
}

#[test]
fn errors_tell_where_they_come_from() {
    let mut bench = Bench::new();
    let place = |body: &str, line: u32| {
        format!(" script: {}, on @user_script:{line}.\r\n", Sha::of(body.as_bytes()))
    };
    for (body, text, line) in [
        ("redis.call('foo')", "ERR Unknown Redis command called from script", 1),
        ("\nreturn redis.call('foo')", "ERR Unknown Redis command called from script", 2),
        ("error('x')", "ERR user_script:1: x", 1),
        ("error('x', 0)", "ERR x", 1),
        ("error({err='MY own'})", "MY own", 1),
        ("error()", "ERR nil", 1),
        (
            "local a = nil; return a.b",
            "ERR user_script:1: attempt to index local 'a' (a nil value)",
            1,
        ),
        ("#!lua\nerror('x')", "ERR user_script:2: x", 2),
        ("error(redis.error_reply('A b'))", "A b", 1),
    ] {
        assert_eq!(bench.eval(body), format!("-{text}{}", place(body, line)), "{body}");
    }
    assert_eq!(bench.error("error({})"), "ERR unknown error");
    assert_eq!(
        bench.eval("return foo bar"),
        "-ERR Error compiling script (new function): user_script:1: '<eof>' expected near 'bar'\r\n"
    );
    assert_eq!(
        bench.eval("\u{1b}Lua"),
        "-ERR Error compiling script (new function): user_script:1: \
         unexpected symbol near 'char(27)'\r\n"
    );
}

#[test]
fn errors_that_are_caught() {
    let mut bench = Bench::new();
    let unknown = "ERR Unknown Redis command called from script";
    assert_eq!(bench.text("return redis.pcall('foo').err"), unknown);
    let body = "local ok, e = pcall(redis.call, 'foo') return type(e) .. ' ' .. e";
    assert_eq!(bench.text(body), format!("string {unknown}"));
    let body = "return tostring(redis.pcall('foo').ignore_error_stats_update)";
    assert_eq!(bench.text(body), "true");
    assert_eq!(bench.text("return select(2, pcall(error, {err='q'}))"), "q");
    assert_eq!(bench.text("return select(2, pcall(error, {x='q'})).x"), "q");
    let body = "return select(2, xpcall(function() error('a', 0) end, \
                function(e) return e .. 'b' end))";
    assert_eq!(bench.text(body), "ab");
    // A command's error has been counted, a script's own has not.
    let outcome = |bench: &mut Bench, body: &str| {
        let sha = Sha::of(body.as_bytes());
        bench.interpreter.load(&sha, body.as_bytes()).unwrap();
        let mut buffer = Vec::new();
        let mut out = Encoder::new(&mut buffer, Protocol::Resp2);
        bench.interpreter.run(&sha, &[], &[], &mut bench.host, &mut out)
    };
    let result = outcome(&mut bench, "return redis.pcall('foo')");
    assert_eq!(result, Ok(Outcome::ErrorReply { counted: true }));
    let result = outcome(&mut bench, "return {err='A b'}");
    assert_eq!(result, Ok(Outcome::ErrorReply { counted: false }));
    assert!(outcome(&mut bench, "redis.call('foo')").is_err_and(|failure| failure.counted));
    assert!(outcome(&mut bench, "error('x')").is_err_and(|failure| !failure.counted));
}

#[test]
fn other_functions_of_redis() {
    let mut bench = Bench::new();
    assert_eq!(bench.text("return redis.sha1hex('')"), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    assert_eq!(bench.text("return redis.sha1hex(12)"), Sha::of(b"12").to_string());
    assert_eq!(bench.error("redis.sha1hex()"), "ERR wrong number of arguments");
    bench.eval("redis.log(redis.LOG_WARNING, 'a', 1, true, 'b')");
    assert_eq!(bench.host.logged, [(LogLevel::Warning, b"a 1 b".to_vec())]);
    assert_eq!(bench.error("redis.log(1)"), "ERR redis.log() requires two arguments or more.");
    assert_eq!(bench.error("redis.log(9, '')"), "ERR Invalid debug level.");
    let text = "ERR First argument must be a number (log level).";
    assert_eq!(bench.error("redis.log('x', '')"), text);
    bench.eval("redis.set_repl(redis.REPL_ALL)");
    assert_eq!(bench.host.repl, Some(3));
    let text = "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
    assert_eq!(bench.error("redis.set_repl(4)"), text);
    let text = "ERR redis.set_repl() requires one argument.";
    assert_eq!(bench.error("redis.set_repl()"), text);
    assert_eq!(bench.eval("return redis.acl_check_cmd('get', 'x')"), ":1\r\n");
    assert_eq!(bench.eval("return redis.acl_check_cmd('set', 'x')"), "$-1\r\n");
    let text = "ERR Invalid command passed to redis.acl_check_cmd()";
    assert_eq!(bench.error("redis.acl_check_cmd('foo')"), text);
    assert_eq!(bench.error("redis.setresp(4)"), "ERR RESP version must be 2 or 3.");
    assert_eq!(bench.error("redis.setresp()"), "ERR redis.setresp() requires one argument.");
    assert_eq!(bench.eval("return redis.replicate_commands()"), ":1\r\n");
    assert_eq!(bench.eval("return {redis.breakpoint(), redis.debug('x')}"), "*1\r\n$-1\r\n");
    assert_eq!(bench.text("return redis.REDIS_VERSION .. redis.REDIS_VERSION_NUM"), "7.2.4459268");
    assert_eq!(bench.eval("return server.call('ping')"), "+PONG\r\n");
}

#[test]
fn a_script_that_is_given_up_does_nothing_more() {
    let mut bench = Bench::new();
    for body in [
        "redis.call('end') redis.call('echo', 'x')",
        "redis.pcall('end') redis.call('echo', 'x')",
        "pcall(redis.call, 'end') redis.call('echo', 'x')",
        "while true do pcall(redis.pcall, 'end') end",
        "xpcall(function() redis.call('end') end, function() redis.call('echo', 'x') end)",
        "pcall(string.gsub, 'a', 'a', function() redis.call('end') end) return redis.call('echo', 'x')",
    ] {
        bench.host.ended = false;
        let error = bench.error(body);
        assert!(error.starts_with("ERR The script was given up"), "{body}: {error}");
        let called: Vec<_> = bench.host.calls.iter().flatten().collect();
        assert!(called.is_empty(), "{body}: {called:?}");
    }
    bench.host.ended = false;
    let draw = "return tostring(math.random(1000000))";
    let mark = bench.interpreter.mark();
    let first = bench.eval(draw);
    assert_ne!(first, bench.eval(draw));
    bench.interpreter.rewind(mark);
    assert_eq!(first, bench.eval(draw));
}

#[test]
fn a_script_can_be_killed_and_cannot_help_it() {
    let mut bench = Bench::new();
    bench.host.killed_at = 2;
    for body in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function() end) end",
        "while true do coroutine.wrap(function() while true do end end)() end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "local f = load(function() while true do end end) while true do end",
        "while true do redis.call('ping') end",
        "while true do redis.pcall('foo') end",
    ] {
        bench.host.ticks = 0;
        assert_eq!(bench.error(body), "ERR Script killed by user with SCRIPT KILL...", "{body}");
        assert!(bench.host.ticks < 6, "{body} took {} ticks", bench.host.ticks);
    }
    assert_eq!(bench.eval("for i = 1, 1000 do end return 1"), ":1\r\n", "the next one runs");
    bench.host.ticks = 0;
    bench.host.killed_at = u32::MAX;
    bench.eval("for i = 1, 1000000 do end");
    assert!((9..=31).contains(&bench.host.ticks), "{} ticks", bench.host.ticks);
    assert_eq!(bench.host.tick(), Tick::GoOn);
}

#[test]
fn deep_replies_reach_the_limit() {
    let mut bench = Bench::new();
    let reply = bench.eval("local a = {} local b = {a} a[1] = b return a");
    let (arrays, error) = reply.split_at(reply.len() - "-ERR reached lua stack limit\r\n".len());
    assert_eq!(error, "-ERR reached lua stack limit\r\n");
    assert!(arrays.replace("*1\r\n", "").is_empty());
    assert!((7900..8000).contains(&(arrays.len() / 4)), "{} levels", arrays.len() / 4);
}

#[test]
fn memory_stays_bounded() {
    let mut bench = Bench::new();
    let body = "local t = {} for i = 1, 1000 do t[i] = 'x' .. i .. ARGV[1] end return #t";
    bench.eval_with(body, &[], &[b"0"]);
    for n in 0..500 {
        bench.eval_with(body, &[], &[n.to_string().as_bytes()]);
    }
    let used = bench.interpreter.memory();
    assert!((10_000..2_000_000).contains(&used), "{used} bytes");
}

const LIBRARY: &str = "#!lua name=lib
local count = 0
local function first(keys, args)
  return {#keys, keys[1], args[1]}
end
redis.register_function('first', first)
redis.register_function{function_name='Second', description='two', flags={'no-writes', 'ALLOW-STALE'},
  callback=function(keys, args) count = count + 1 return redis.call('echo', tostring(count)) end}
redis.register_function('fails', function() error('x') end)
";

fn call(bench: &mut Bench, libraries: &Libraries, name: &str) -> String {
    let mut buffer = Vec::new();
    let mut out = Encoder::new(&mut buffer, bench.protocol);
    let (keys, argv): (&[&[u8]], &[&[u8]]) = (&[b"k"], &[b"v"]);
    let host = &mut bench.host;
    match bench.interpreter.call(libraries, name.as_bytes(), keys, argv, host, &mut out) {
        Ok(_) => String::from_utf8(buffer).unwrap(),
        Err(failure) => failure.error.to_string(),
    }
}

fn load(bench: &mut Bench, libraries: &mut Libraries, code: &str) -> Result<String, String> {
    let host = &mut bench.host;
    let loaded = libraries.load(code.as_bytes(), false, &mut bench.interpreter, host);
    match loaded {
        Ok(library) => Ok(String::from_utf8(library.name.clone()).unwrap()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn functions_are_loaded_and_called() {
    let mut bench = Bench::new();
    let mut libraries = Libraries::default();
    assert_eq!(call(&mut bench, &libraries, "first"), "ERR Function not found");
    assert_eq!(load(&mut bench, &mut libraries, LIBRARY).as_deref(), Ok("lib"));
    assert_eq!(call(&mut bench, &libraries, "FIRST"), "*3\r\n:1\r\n$1\r\nk\r\n$1\r\nv\r\n");
    assert_eq!(call(&mut bench, &libraries, "second"), "$1\r\n1\r\n");
    assert_eq!(call(&mut bench, &libraries, "Second"), "$1\r\n2\r\n");
    assert_eq!(
        call(&mut bench, &libraries, "fails"),
        "ERR user_function:9: x script: fails, on @user_function:9."
    );
    let flags = libraries.function(b"SECOND").unwrap().flags;
    assert!(flags.no_writes && flags.allow_stale && !flags.allow_oom);
    // Another thread's interpreter.
    let mut other = Bench::new();
    assert_eq!(call(&mut other, &libraries, "second"), "$1\r\n1\r\n");
    assert_eq!(bench.eval("return KEYS[1]"), "$-1\r\n", "scripts have their own globals");
    libraries.delete(b"lib").unwrap();
    assert_eq!(call(&mut bench, &libraries, "second"), "ERR Function not found");
    assert_eq!(libraries.delete(b"lib").unwrap_err().to_string(), "ERR Library not found");
}

#[test]
fn functions_have_other_globals() {
    let mut bench = Bench::new();
    let mut libraries = Libraries::default();
    let run = |bench: &mut Bench, libraries: &mut Libraries, body: &str| {
        libraries.flush();
        let code =
            format!("#!lua name=x\nredis.register_function('f', function(keys, args) {body} end)");
        load(bench, libraries, &code).map(|_| call(bench, libraries, "f"))
    };
    let mut ran = |body: &str| run(&mut bench, &mut libraries, body).unwrap();
    assert!(ran("return KEYS[1]").contains("nonexistent global variable 'KEYS'"));
    assert!(ran("x = 1").contains("Attempt to modify a readonly table"));
    assert!(ran("_G.x = 1").contains("Attempt to modify a readonly table"));
    assert!(ran("return redis.register_function('g', print)").contains("'print'"));
    let text = "attempt to call field 'register_function' (a nil value)";
    assert!(ran("redis.register_function('g', next)").contains(text));
    assert_eq!(ran("return math.floor(string.len('abc') + 0.5)"), ":3\r\n");
    assert!(
        ran("return loadstring('return keys')()").contains("nonexistent global variable 'keys'")
    );
    assert_eq!(ran("return rawget(_G, 'KEYS') == nil and _G == getfenv(0)"), ":1\r\n");
}

#[test]
fn what_is_wrong_with_a_library() {
    let mut bench = Bench::new();
    let mut libraries = Libraries::default();
    let mut error = |code: &str| load(&mut bench, &mut libraries, code).unwrap_err();
    for (code, text) in [
        ("return 1", "Missing library metadata"),
        ("#!lua name=x", "Invalid library metadata"),
        ("#!lua\n", "Library name was not given"),
        ("#!lua name=a name=b\n", "Invalid metadata value, name argument was given multiple times"),
        ("#!lua foo=a name=b\n", "Invalid metadata value given: foo=a"),
        ("#!js name=b\n", "Engine 'js' not found"),
        ("#!lua name=b-c\n", NAME),
        ("#!lua name=x\nreturn 1", "No functions registered"),
        (
            "#!lua name=x\nbad code",
            "Error compiling function: user_function:2: '=' expected near 'code'",
        ),
        (
            "#!lua name=x\nlocal a = 1 + {}",
            "Error registering functions: ERR user_function:2: attempt to perform arithmetic on a table value",
        ),
        (
            "#!lua name=x\nredis.call('ping')",
            "Error registering functions: ERR user_function:2: Script attempted to access nonexistent \
             global variable 'call'",
        ),
        (
            "#!lua name=x\nlocal x = math.floor(1)",
            "Error registering functions: ERR user_function:2: Script attempted to access nonexistent \
             global variable 'math'",
        ),
        (
            "#!lua name=x\nwhile true do end",
            "Error registering functions: ERR FUNCTION LOAD timeout",
        ),
    ] {
        assert_eq!(error(code), format!("ERR {text}"), "{code}");
    }
    for (arguments, text) in [
        ("", "wrong number of arguments to redis.register_function"),
        ("'a', 1", "second argument to redis.register_function must be a function"),
        ("{}, redis.log", "first argument to redis.register_function must be a string"),
        ("'a b', redis.log", NAME),
        ("{function_name='a'}", "redis.register_function must get a callback argument"),
        ("{callback=redis.log}", "redis.register_function must get a function name argument"),
        ("{x=1}", "unknown argument given to redis.register_function"),
        ("{flags={'x'}}", "unknown flag given"),
        (
            "'a', redis.log) redis.register_function('a', redis.log",
            "Function already exists in the library",
        ),
    ] {
        let code = format!("#!lua name=x\nredis.register_function({arguments})");
        assert_eq!(error(&code), format!("ERR Error registering functions: ERR {text}"), "{code}");
    }
}

const NAME: &str = "Library names can only contain letters, numbers, or underscores(_) and must be \
                    at least one character long";

#[test]
fn libraries_are_dumped_and_restored() {
    let mut bench = Bench::new();
    let mut libraries = Libraries::default();
    load(&mut bench, &mut libraries, LIBRARY).unwrap();
    let other = "#!lua name=other\nredis.register_function('third', redis.log)";
    load(&mut bench, &mut libraries, other).unwrap();
    let again = load(&mut bench, &mut libraries, LIBRARY).unwrap_err();
    assert_eq!(again, "ERR Library 'lib' already exists");
    let clash = "#!lua name=more\nredis.register_function('THIRD', redis.log)";
    let clash = load(&mut bench, &mut libraries, clash).unwrap_err();
    assert_eq!(clash, "ERR Function THIRD already exists");
    let payload = libraries.dump();
    let mut restore = |libraries: &mut Libraries, payload: &[u8], policy| {
        let host = &mut bench.host;
        let result = libraries.restore(payload, policy, &mut bench.interpreter, host);
        result.map_err(|error| error.to_string())
    };
    let mut copy = Libraries::default();
    restore(&mut copy, &payload, RestorePolicy::Append).unwrap();
    assert!(copy.iter().eq(libraries.iter()));
    let there = restore(&mut copy, &payload, RestorePolicy::Append);
    assert_eq!(there, Err("ERR Library lib already exists".to_string()));
    restore(&mut copy, &payload, RestorePolicy::Replace).unwrap();
    restore(&mut copy, &payload, RestorePolicy::Flush).unwrap();
    assert_eq!((copy.library_count(), copy.function_count()), (2, 4));
    let wrong = restore(&mut copy, &payload[1..], RestorePolicy::Flush);
    assert_eq!(wrong, Err("ERR DUMP payload version or checksum are wrong".to_string()));
    assert_eq!(call(&mut bench, &copy, "second"), "$1\r\n1\r\n");
    let mut buffer = Vec::new();
    copy.list(Some(b"LI*"), false, &mut Encoder::new(&mut buffer, Protocol::Resp2));
    let text = String::from_utf8(buffer).unwrap();
    assert!(text.starts_with("*1\r\n*6\r\n$12\r\nlibrary_name\r\n$3\r\nlib\r\n$6\r\nengine\r\n"));
    assert!(text.contains("$3\r\ntwo\r\n$5\r\nflags\r\n*2\r\n+no-writes\r\n+allow-stale\r\n"));
}

/// Nanoseconds of a lock's release, printed; `cargo test --release --lib script:: -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn cost() {
    struct Lock;
    impl Host for Lock {
        fn call(&mut self, args: &[&[u8]], _: Protocol, out: &mut Vec<u8>) -> Tick {
            out.extend_from_slice(if args[0] == b"get" { b"$5\r\ntoken\r\n" } else { b":1\r\n" });
            Tick::GoOn
        }
        fn tick(&mut self) -> Tick {
            Tick::GoOn
        }
        fn log(&mut self, _: LogLevel, _: &[u8]) {}
        fn may_call(&mut self, _: &[&[u8]]) -> Option<bool> {
            None
        }
        fn set_repl(&mut self, _: u8) {}
    }
    const RUNS: u32 = 300_000;
    let mut interpreter = Interpreter::new().unwrap();
    let sha = Sha::of(RELEASE.as_bytes());
    interpreter.load(&sha, RELEASE.as_bytes()).unwrap();
    let mut buffer = Vec::new();
    for _ in 0..3 {
        let start = clock::monotonic();
        for _ in 0..RUNS {
            buffer.clear();
            let mut out = Encoder::new(&mut buffer, Protocol::Resp2);
            interpreter.run(&sha, &[b"lock:1"], &[b"token"], &mut Lock, &mut out).unwrap();
        }
        println!("{} ns", start.elapsed().as_nanos() / u128::from(RUNS));
        assert_eq!(buffer, b":1\r\n");
    }
}
