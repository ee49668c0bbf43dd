use super::super::testing::Bench;

const MODIFY: &str = "Attempt to modify a readonly table";

#[test]
fn globals_are_few_and_fixed() {
    let mut bench = Bench::new();
    let body = "local t = {} for name in pairs(_G) do t[#t + 1] = name end table.sort(t) \
                return table.concat(t, ' ')";
    assert_eq!(
        bench.text(body),
        "ARGV KEYS _G _VERSION assert bit cjson cmsgpack collectgarbage coroutine error gcinfo \
         getfenv getmetatable ipairs load loadstring math next os pairs pcall rawequal rawget rawset \
         redis select server setfenv setmetatable string struct table tonumber tostring type unpack \
         xpcall"
    );
    for (body, name) in [
        ("return foo", "foo"),
        ("print('x')", "print"),
        ("return dofile('x')", "dofile"),
        ("return require('x')", "require"),
        ("return io", "io"),
        ("return debug", "debug"),
        ("return package", "package"),
        ("return newproxy()", "newproxy"),
        ("return _G.foo", "foo"),
        ("return _G[12]", "12"),
    ] {
        let text = format!(
            "ERR user_script:1: Script attempted to access nonexistent global variable '{name}'"
        );
        assert_eq!(bench.error(body), text, "{body}");
    }
    assert_eq!(
        bench.eval("return {rawget(_G, 'foo') == nil, rawget(_G, 'redis') == redis}"),
        "*2\r\n:1\r\n:1\r\n"
    );
    assert_eq!(
        bench.text("local t = {} for k in pairs(os) do t[#t + 1] = k end return t[1] .. #t"),
        "clock1"
    );
    assert_eq!(bench.text("return type(os.clock())"), "number");
}

#[test]
fn what_is_not_the_scripts_cannot_be_changed() {
    let mut bench = Bench::new();
    for body in [
        "x = 1",
        "_G.x = 1",
        "_G = {}",
        "redis = 1",
        "KEYS = {}",
        "ARGV = nil",
        "redis.call = nil",
        "redis.x = 1",
        "server.call = 1",
        "string.x = 1",
        "string.format = nil",
        "math.random = 1",
        "table.insert = 1",
        "coroutine.create = 1",
        "os.clock = nil",
        "function f() end",
        "getmetatable(_G).__index = nil",
        "getmetatable('').__index = nil",
        "getmetatable('').__index.upper = nil",
        "getmetatable('').x = 1",
        "getfenv(0).x = 1",
        "getfenv(1).x = 1",
        "getfenv(redis.call).x = 1",
        "setfenv(1, {setmetatable=setmetatable, x=1}) return setmetatable",
    ] {
        if body.ends_with("return setmetatable") {
            assert_eq!(bench.eval(body), "$-1\r\n");
            continue;
        }
        assert_eq!(bench.error(body), format!("ERR user_script:1: {MODIFY}"), "{body}");
    }
    for body in [
        "rawset(_G, 'x', 1)",
        "rawset(redis, 'call', 1)",
        "rawset(getmetatable(_G), '__index', 1)",
        "rawset(getmetatable(''), '__index', 1)",
        "setmetatable(_G, {})",
        "setmetatable(redis, nil)",
        "setmetatable(getmetatable(_G), {})",
        "table.insert(redis, 1)",
    ] {
        assert_eq!(bench.error(body), format!("ERR {MODIFY}"), "{body}");
    }
    let text = "ERR user_script:1: 'setfenv' cannot change environment of given object";
    assert_eq!(bench.error("setfenv(0, {})"), text);
    assert_eq!(bench.error("setfenv('0', {})"), text);
    assert_eq!(
        bench.eval("return {type(redis.call), #string.upper('a')}"),
        "*2\r\n$8\r\nfunction\r\n:1\r\n"
    );
}

/// What a script gets from iteration must not be the tables behind the shields.
#[test]
fn nothing_gives_the_tables_behind_the_shields() {
    let mut bench = Bench::new();
    for body in [
        "local f, t, k = pairs(redis) t.call = 1",
        "for _, v in pairs(_G) do if type(v) == 'table' and v ~= KEYS and v ~= ARGV then v.x = 1 end end",
        "local v = select(2, next(getmetatable(_G))) getmetatable(_G)[1] = v",
        "table.foreach(_G, function(k, v) if k == '_G' then v.x = 1 end end)",
    ] {
        assert_eq!(bench.error(body), format!("ERR user_script:1: {MODIFY}"), "{body}");
    }
    assert_eq!(bench.eval("return getmetatable(redis)"), "$-1\r\n");
    assert_eq!(bench.text("return type(getmetatable(_G).__index)"), "function");
    assert_eq!(bench.eval("return getmetatable('').__index == string"), ":1\r\n");
    assert_eq!(bench.eval("return next(redis) ~= nil"), ":1\r\n");
    assert_eq!(bench.text("return ('x'):rep(2)"), "xx");
}

#[test]
fn tables_of_the_script_are_its_own() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.eval_with("KEYS[1] = 'x' KEYS.a = 2 return KEYS", &[b"a"], &[]),
        "*1\r\n$1\r\nx\r\n"
    );
    let body = "local t = setmetatable({}, {__index = function(_, k) return k .. '!' end, __call = \
                function(_, x) return x end}) return t.a .. t('b')";
    assert_eq!(bench.text(body), "a!b");
    assert_eq!(bench.text("return getmetatable(setmetatable({}, {__metatable = 'mine'}))"), "mine");
    let body = "return select(2, pcall(setmetatable, setmetatable({}, {__metatable = 1}), {}))";
    assert_eq!(bench.text(body), "cannot change a protected metatable");
    assert_eq!(bench.text("local t = {} table.insert(t, 1, 'x') return table.concat(t)"), "x");
    let text = "ERR user_script:1: bad argument #1 to 'insert' (table expected, got nil)";
    assert_eq!(bench.error("table.insert(nil, 1)"), text);
    let text = "ERR user_script:1: bad argument #1 to 'pairs' (table expected, got number)";
    assert_eq!(bench.error("pairs(1)"), text);
    assert_eq!(
        bench.error("for k in next, 1 do end"),
        "ERR user_script:1: bad argument #1 to '(for generator)' (table expected, got number)"
    );
}

#[test]
fn code_is_loaded_as_text_only() {
    let mut bench = Bench::new();
    assert_eq!(bench.eval("return loadstring('return 1 + 1')()"), ":2\r\n");
    let body =
        "local n = 0 return load(function() n = n + 1 return ({'return ', 2, '+1', nil})[n] end)()";
    assert_eq!(bench.eval(body), ":3\r\n");
    let body = "return select(2, loadstring('\\27Lua', '=x'))";
    assert_eq!(bench.text(body), "x:1: unexpected symbol near 'char(27)'");
    let body = "local s = string.dump(function() return 1 end) return {loadstring(s) == nil, load(function() \
                local x = s s = nil return x end) == nil}";
    assert_eq!(bench.eval(body), "*2\r\n:1\r\n:1\r\n");
    let body = "return select(2, loadstring('x x'))";
    assert_eq!(bench.text(body), "[string \"x x\"]:1: '=' expected near 'x'");
    assert_eq!(
        bench.text("return select(2, load(function() return {} end))"),
        "reader function must return a string"
    );
    assert_eq!(bench.text("return select(2, load(function() error('q', 0) end))"), "q");
    let text = "ERR [string \"x = 1\"]:1: Attempt to modify a readonly table";
    assert_eq!(bench.error("loadstring('x = 1')()"), text);
}

#[test]
fn the_collector_is_not_the_scripts() {
    let mut bench = Bench::new();
    assert_eq!(bench.eval("return collectgarbage('stop')"), ":0\r\n");
    assert_eq!(bench.eval("return collectgarbage('setpause', 1e9)"), ":200\r\n");
    assert_eq!(
        bench.eval("return collectgarbage() + (collectgarbage('count') > 10 and 1 or 0)"),
        ":1\r\n"
    );
    let text = "ERR user_script:1: bad argument #1 to 'collectgarbage' (invalid option 'x')";
    assert_eq!(bench.error("collectgarbage('x')"), text);
}

#[test]
fn random_numbers_are_those_of_redis() {
    let mut bench = Bench::new();
    let body =
        "math.randomseed(0) return {math.random(100), math.random(100), tostring(math.random())}";
    let first = bench.eval(body);
    assert_eq!(first, bench.eval(body), "{first}");
    assert_ne!(
        bench.text("return tostring(math.random())"),
        bench.text("return tostring(math.random())")
    );
    let text = "ERR user_script:1: bad argument #1 to 'random' (interval is empty)";
    assert_eq!(bench.error("math.random(0)"), text);
    let text = "ERR user_script:1: bad argument #2 to 'random' (interval is empty)";
    assert_eq!(bench.error("math.random(2, 1)"), text);
    let text = "ERR user_script:1: wrong number of arguments";
    assert_eq!(bench.error("math.random(1, 2, 3)"), text);
}
