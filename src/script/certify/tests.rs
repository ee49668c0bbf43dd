use super::*;

fn rule(name: &[u8]) -> KeyRule {
    let range = |first, last, step| KeyRule::Range { first, last, step };
    match &name.to_ascii_lowercase()[..] {
        b"ping" | b"time" | b"publish" => KeyRule::None,
        b"del" | b"exists" | b"unlink" | b"mget" | b"sunion" => range(1, -1, 1),
        b"mset" => range(1, -1, 2),
        b"blpop" => range(1, -2, 1),
        b"rename" | b"rpoplpush" | b"lmove" | b"smove" => range(1, 2, 1),
        b"bitop" | b"object" => range(2, -1, 1),
        b"keys" | b"scan" | b"sort" | b"eval" | b"zunionstore" => KeyRule::Unsure,
        _ => range(1, 1, 1),
    }
}

fn is_sure(body: &str) -> bool {
    uses_only_declared_keys(body.as_bytes(), &rule)
}

#[track_caller]
fn sure(body: &str) {
    assert!(is_sure(body), "{body}");
}

#[track_caller]
fn unsure(body: &str) {
    assert!(!is_sure(body), "{body}");
}

#[test]
fn keys_of_commands() {
    for body in [
        "return 1",
        "return redis.call('ping')",
        "return redis.call('GET', KEYS[1])",
        "return server.pcall(\"get\", KEYS[#KEYS])",
        "return redis.call([[get]], KEYS[tonumber(ARGV[1]) + 1])",
        "return redis.call('del', KEYS[1], KEYS[2])",
        "return redis.call('del', unpack(KEYS))",
        "return redis.call('del', KEYS[1], unpack(KEYS, 2))",
        "return redis.call('mset', KEYS[1], ARGV[1], KEYS[2], 'x')",
        "return redis.call('sadd', KEYS[1], unpack(ARGV))",
        "return redis.call('rename', KEYS[1], KEYS[2])",
        "return redis.call('blpop', KEYS[1], 0)",
        "return redis.call('bitop', 'and', KEYS[1], KEYS[2])",
        "local k = KEYS[1] return redis.call('get', k)",
        "local a, b = KEYS[1], KEYS[2] return redis.call('rename', a, b)",
        "local a, b = unpack(KEYS) return redis.call('rename', a, b)",
        "local a = KEYS[1] local b = a return redis.call('get', b)",
        "local k = (KEYS[1]) return redis.call('get', (k))",
        "for _, k in ipairs(KEYS) do redis.call('del', k) end",
        "for i = 1, #KEYS do redis.call('del', KEYS[i]) end",
        "local f = function(x) return redis.call('get', KEYS[x]) end return f(1)",
        "local function f() return redis.call('get', KEYS[1]) end return pcall(f)",
        "if redis.call('get', KEYS[1]) then redis.call('del', KEYS[1]) elseif ARGV[1] then return \
         {err = 'x'} else return redis.error_reply('ERR') end",
        "redis.log(redis.LOG_NOTICE, 'x') redis.setresp(3) return redis.sha1hex('x')",
        "repeat local x = redis.call('lpop', KEYS[1]) until not x",
        "local t = {a = 1, ['b'] = 2; 3} t.a = KEYS[1] t[1], t.a = 2, 3 return #t",
        "#!lua flags=no-writes\nreturn redis.call('get', KEYS[1])",
        "-- redis.call('keys', '*')\nreturn 'redis.call(KEYS)'",
        "return redis.call('get', KEYS[1]):upper() .. ('x'):rep(2)",
    ] {
        sure(body);
    }
}

#[test]
fn keys_from_elsewhere() {
    for body in [
        "return redis.call('get', ARGV[1])",
        "return redis.call('get', 'key')",
        "return redis.call('get', KEYS[1] .. 'x')",
        "return redis.call('get', KEYS[1] or 'x')",
        "return redis.call(ARGV[1], KEYS[1])",
        "return redis.call('keys', '*')",
        "return redis.call('sort', KEYS[1])",
        "return redis.call('get')",
        "return redis.call('rename', KEYS[1])",
        "return redis.call('rename', KEYS[1], ARGV[1])",
        "return redis.call('rename', KEYS[1], unpack(ARGV))",
        "return redis.call('rename', unpack(ARGV), KEYS[1])",
        "return redis.call('del', KEYS[1], unpack(ARGV))",
        "return redis.call('del', KEYS[1], f())",
        "return redis.call('mset', KEYS[1], KEYS[2], ARGV[1], 'x')",
        "return redis.call('blpop', KEYS[1], ARGV[1], 0)",
        "return redis.call(unpack(ARGV))",
        "return redis.call('get', ...)",
        "return redis.call{'get', KEYS[1]}",
        "return redis['call']('get', KEYS[1])",
        "return redis:call('get', KEYS[1])",
        "local call = redis.call return call('get', KEYS[1])",
        "local r = redis return r.call('get', KEYS[1])",
        "return pcall(redis.call, 'get', 'x')",
        "local x = ARGV[1] return redis.call('get', x)",
        "local k = KEYS[1] k = 'x' return redis.call('get', k)",
        "local k = KEYS[1] for i = 1, 2 do redis.call('get', k) k = 'x' end",
        "local k = KEYS[1] local f = function() k = 'x' end f() return redis.call('get', k)",
        "local k = KEYS[1] function k() end return redis.call('get', k)",
        "local k = KEYS[1] local a, b = k, 1 k, b = 'x', 2 return redis.call('get', a)",
        "local k = KEYS[1] do local k = 'x' redis.call('get', k) end",
        "for k in ipairs(KEYS) do redis.call('get', k) end",
        "for _, k in ipairs(ARGV) do redis.call('get', k) end",
        "local function f(k) return redis.call('get', k) end return f(KEYS[1])",
    ] {
        unsure(body);
    }
}

#[test]
fn ways_around() {
    for body in [
        "KEYS[1] = 'x' return redis.call('get', KEYS[1])",
        "local a a, KEYS[1] = 1, 'x' return redis.call('get', KEYS[1])",
        "KEYS[1], KEYS[2] = KEYS[2], KEYS[1]",
        "local k = KEYS k[1] = 'x' return redis.call('get', KEYS[1])",
        "table.insert(KEYS, 'x')",
        "return KEYS",
        "local KEYS = {'x'} return redis.call('get', KEYS[1])",
        "local function f(KEYS) return redis.call('get', KEYS[1]) end",
        "for KEYS in pairs({}) do end",
        "local redis = {call = function() end} return redis.call('get', KEYS[1])",
        "_G.KEYS[1] = 'x'",
        "getfenv(1).redis.call('get', 'x')",
        "setfenv(1, {})",
        "return loadstring('return redis.call(\"get\", \"x\")')()",
        "return load(function() end)",
        "rawset(KEYS, 1, 'x')",
        "local ipairs = function() return next, {'x'} end for _, k in ipairs(KEYS) do redis.call('get', k) end",
        "local unpack = function() return 'x' end return redis.call('get', unpack(KEYS))",
        "local pairs = f return 1, redis",
        "function redis.call() end",
        "function KEYS() end",
        "return #KEYS.x",
        "return redis.foo('x')",
        "return {redis = redis}",
        "return redis.call('get', KEYS[1]",
        "x = = 1",
        "return 'unfinished",
        "end",
    ] {
        unsure(body);
    }
    unsure(&format!("return {}1{}", "(".repeat(10_000), ")".repeat(10_000)));
    unsure(&"do ".repeat(10_000));
    sure("return #KEYS + #ARGV, {redis = 1, KEYS = 2}, ARGV.redis, ARGV.KEYS");
}

/// Scripts as libraries send them.
#[test]
fn scripts_of_libraries() {
    for body in [REDIS_PY_RELEASE, REDIS_PY_EXTEND, REDIS_PY_REACQUIRE, REDLOCK_EXTEND] {
        sure(body);
    }
    for body in [FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET, RQ_ENQUEUE_UNIQUE, DRAMATIQ_RATE] {
        sure(body);
    }
    for body in [SIDEKIQ_ZPOPBYSCORE, CELERY_SINGLETON] {
        sure(body);
    }
    for body in [BULLMQ_ADD, DELETE_BY_PATTERN, DRAMATIQ_DISPATCH, SIDEKIQ_UNIQUE] {
        unsure(body);
    }
}

const REDIS_PY_RELEASE: &str = "
    local token = redis.call('get', KEYS[1])
    if not token or token ~= ARGV[1] then
        return 0
    end
    redis.call('del', KEYS[1])
    return 1
";

const REDIS_PY_EXTEND: &str = "
    local token = redis.call('get', KEYS[1])
    if not token or token ~= ARGV[1] then
        return 0
    end
    local expiration = redis.call('pttl', KEYS[1])
    if not expiration then
        expiration = 0
    end
    if expiration < 0 then
        return 0
    end
    local newttl = ARGV[2]
    if ARGV[3] == \"0\" then
        newttl = ARGV[2] + expiration
    end
    redis.call('pexpire', KEYS[1], newttl)
    return 1
";

const REDIS_PY_REACQUIRE: &str = "
    local token = redis.call('get', KEYS[1])
    if not token or token ~= ARGV[1] then
        return 0
    end
    redis.call('pexpire', KEYS[1], ARGV[2])
    return 1
";

const REDLOCK_EXTEND: &str = "
  local keys = #KEYS
  local count = 0
  for i, key in ipairs(KEYS) do
    if redis.call('get', key) == ARGV[1] then
      redis.call('pexpire', key, ARGV[2])
      count = count + 1
    end
  end
  return count == keys and 1 or 0
";

const FIXED_WINDOW: &str = "
local current = redis.call('INCR', KEYS[1])
if tonumber(current) == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return {current, redis.call('TTL', KEYS[1])}
";

const SLIDING_WINDOW: &str = "
local key = KEYS[1]
local now, window, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
local count = redis.call('ZCARD', key)
if count < limit then
  redis.call('ZADD', key, now, now .. ':' .. count)
  redis.call('PEXPIRE', key, window)
  return {1, limit - count - 1}
end
local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
return {0, oldest[2]}
";

const TOKEN_BUCKET: &str = "
local tokens_key = KEYS[1]
local timestamp_key = KEYS[2]
local rate = tonumber(ARGV[1])
local capacity = tonumber(ARGV[2])
local now = redis.call('TIME')[1]
local requested = tonumber(ARGV[4])
local fill_time = capacity / rate
local ttl = math.floor(fill_time * 2)
local last_tokens = tonumber(redis.call('get', tokens_key))
if last_tokens == nil then last_tokens = capacity end
local last_refreshed = tonumber(redis.call('get', timestamp_key))
if last_refreshed == nil then last_refreshed = 0 end
local delta = math.max(0, now - last_refreshed)
local filled_tokens = math.min(capacity, last_tokens + (delta * rate))
local allowed = filled_tokens >= requested
local new_tokens = filled_tokens
if allowed then new_tokens = filled_tokens - requested end
if ttl > 0 then
  redis.call('setex', tokens_key, ttl, new_tokens)
  redis.call('setex', timestamp_key, ttl, now)
end
return { allowed and 1 or 0, new_tokens }
";

const RQ_ENQUEUE_UNIQUE: &str = "
if redis.call('exists', KEYS[1]) == 0 then
    redis.call('hset', KEYS[1], unpack(ARGV))
    redis.call('rpush', KEYS[2], KEYS[1])
    return 1
end
return 0
";

const DRAMATIQ_RATE: &str = "
local value = redis.call('GET', KEYS[1])
if not value then
    value = 0
    redis.call('SET', KEYS[1], value, 'PX', ARGV[2])
end
if tonumber(value) + 1 > tonumber(ARGV[1]) then return 0 end
return redis.call('INCRBY', KEYS[1], 1)
";

const SIDEKIQ_ZPOPBYSCORE: &str = "
local key, now = KEYS[1], ARGV[1]
local jobs = redis.call(\"zrange\", key, \"-inf\", now, \"byscore\", \"limit\", 0, 1)
if jobs[1] then
  redis.call(\"zrem\", key, jobs[1])
  return jobs[1]
end
";

const CELERY_SINGLETON: &str = "
local taken = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2])
if taken then return ARGV[1] end
return redis.call('GET', KEYS[1])
";

const BULLMQ_ADD: &str = "
local rcall = redis.call
local args = cmsgpack.unpack(ARGV[1])
local jobId = rcall(\"INCR\", KEYS[4])
local jobIdKey = args[1] .. jobId
rcall(\"HMSET\", jobIdKey, \"name\", args[3], \"data\", ARGV[2])
rcall(\"LPUSH\", KEYS[1], jobId)
return jobId .. \"\"
";

const DELETE_BY_PATTERN: &str = "
local keys = redis.call('keys', ARGV[1])
for i = 1, #keys, 5000 do
    redis.call('del', unpack(keys, i, math.min(i + 4999, #keys)))
end
return keys
";

const DRAMATIQ_DISPATCH: &str = "
local command = ARGV[1]
local namespace = KEYS[1]
local acks = namespace .. \":__acks__.\" .. ARGV[2]
redis.call(\"sadd\", acks, ARGV[3])
return redis.call(\"lpop\", namespace .. \":\" .. ARGV[2])
";

const SIDEKIQ_UNIQUE: &str = "
local function toboolean(val) return val == 'true' end
local locked = KEYS[1]
local function drop(key) redis.call('UNLINK', key) end
drop(locked)
return toboolean('true')
";
