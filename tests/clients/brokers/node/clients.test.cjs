// ioredis and node-redis by themselves: scripts as commands, pipelines, transactions, pub/sub, streams.
'use strict';

const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const test = require('node:test');
const { Redis } = require('ioredis');
const { createClient, defineScript } = require('redis');
const { eventually, port } = require('./support.cjs');

const fresh = () => randomUUID();

function ioredis(t, options = {}) {
  const client = new Redis({ host: '127.0.0.1', port, ...options });
  t.after(() => client.disconnect());
  return client;
}

async function nodeRedis(t, options = {}) {
  const client = createClient({ url: `redis://127.0.0.1:${port}`, ...options });
  client.on('error', () => {});
  await client.connect();
  t.after(() => client.destroy());
  return client;
}

test('ioredis: defineCommand, also after SCRIPT FLUSH and in pipelines', async (t) => {
  const client = ioredis(t);
  client.defineCommand('both', { numberOfKeys: 2, lua: "return {KEYS[1], KEYS[2], ARGV[1], redis.call('INCRBY', KEYS[2], ARGV[1])}" });
  const [a, b] = [fresh(), fresh()];
  assert.deepEqual(await client.both(a, b, 5), [a, b, '5', 5]);
  await client.script('FLUSH');
  assert.deepEqual(await client.both(a, b, 5), [a, b, '5', 10]);
  await client.script('FLUSH');
  const replies = await client.pipeline().set(a, 'x').both(a, b, 1).get(a).exec();
  assert.deepEqual(replies, [[null, 'OK'], [null, [a, b, '1', 11]], [null, 'x']]);
  client.defineCommand('wrong', { numberOfKeys: 1, lua: "return redis.call('INCR', KEYS[1])" });
  await assert.rejects(client.wrong(a), /not an integer/);
  const multi = await client.multi().both(a, b, 1).incr(b).exec();
  assert.deepEqual(multi, [[null, [a, b, '1', 12]], [null, 13]]);
});

test('ioredis: a prefix and keys that are not declared', async (t) => {
  const client = ioredis(t, { keyPrefix: `p-${fresh()}:` });
  client.defineCommand('build', { numberOfKeys: 1, lua: `
    local made = {}
    for i = 1, 20 do redis.call('SET', KEYS[1] .. ':' .. i, i) end
    for i = 1, 20 do made[i] = tonumber(redis.call('GET', KEYS[1] .. ':' .. i)) end
    return made` });
  assert.deepEqual(await client.build('k'), [...Array(20).keys()].map((n) => n + 1));
  assert.equal(await client.get('k:7'), '7');
});

test('ioredis: MULTI, WATCH, errors', async (t) => {
  const [client, other] = [ioredis(t), ioredis(t)];
  const [a, b] = [fresh(), fresh()];
  await client.watch(a);
  await other.set(a, 1);
  assert.equal(await client.multi().set(b, 1).exec(), null);
  const replies = await client.multi().set(a, 'x').incr(a).set(b, 2).exec();
  assert.match(replies[1][0].message, /not an integer/);
  assert.equal(await client.get(b), '2');
});

test('ioredis: pub/sub in order, and the last unsubscribe', async (t) => {
  const [listener, sender] = [ioredis(t), ioredis(t)];
  const [channel, topic] = [fresh(), fresh()];
  const seen = [];
  listener.on('message', (_, text) => seen.push(text));
  listener.on('pmessage', (_pattern, _, text) => seen.push(`p${text}`));
  assert.equal(await listener.subscribe(channel), 1);
  assert.equal(await listener.psubscribe(`${topic}*`), 2);
  for (let n = 0; n < 200; n++) sender.publish(channel, n);
  await sender.publish(`${topic}-1`, 'x');
  await eventually(() => seen.length === 201);
  assert.deepEqual(seen.filter((text) => text !== 'px'), [...Array(200).keys()].map(String));
  assert.equal(await listener.unsubscribe(channel), 1);
  assert.equal(await listener.punsubscribe(`${topic}*`), 0);
  assert.equal(await listener.ping(), 'PONG');
});

test('ioredis: blocking commands and streams', async (t) => {
  const [client, other] = [ioredis(t), ioredis(t)];
  const [list, zset, stream] = [fresh(), fresh(), fresh()];
  const popped = client.blpop(list, fresh(), 10);
  await other.rpush(list, 'x');
  assert.deepEqual(await popped, [list, 'x']);
  const least = client.bzpopmin(zset, 10);
  await other.zadd(zset, 1.5, 'm');
  assert.deepEqual(await least, [zset, 'm', '1.5']);
  const read = client.xread('BLOCK', 10_000, 'STREAMS', stream, '$');
  await eventually(async () => /cmd=xread/.test(await other.client('LIST')));
  const id = await other.xadd(stream, '*', 'f', 'v');
  assert.deepEqual(await read, [[stream, [[id, ['f', 'v']]]]]);
});

test('ioredis: scanStream and autopipelining', async (t) => {
  const client = ioredis(t, { enableAutoPipelining: true });
  const prefix = fresh();
  await Promise.all([...Array(500).keys()].map((n) => client.set(`${prefix}-${n}`, n)));
  const keys = new Set();
  for await (const part of client.scanStream({ match: `${prefix}-*`, count: 50 })) part.forEach((key) => keys.add(key));
  assert.equal(keys.size, 500);
});

for (const RESP of [2, 3]) {
  test(`node-redis RESP${RESP}: scripts and functions as methods`, async (t) => {
    const add = defineScript({
      SCRIPT: "return redis.call('INCRBY', KEYS[1], ARGV[1])",
      NUMBER_OF_KEYS: 1,
      FIRST_KEY_INDEX: 1,
      parseCommand(parser, key, by) {
        parser.pushKey(key);
        parser.push(`${by}`);
      },
      transformReply: (reply) => reply,
    });
    const client = await nodeRedis(t, { RESP, scripts: { add } });
    const key = fresh();
    assert.equal(await client.add(key, 5), 5);
    await client.scriptFlush();
    assert.equal(await client.add(key, 5), 10);
    assert.deepEqual(await client.multi().add(key, 1).get(key).exec(), [11, '11']);
    assert.equal(await client.eval("return #ARGV + #KEYS", { keys: ['a', 'b'], arguments: ['c'] }), 3);
    const library = `l${fresh().replaceAll('-', '')}`;
    await client.functionLoad(`#!lua name=${library}\nredis.register_function('${library}f', function(keys, args) return redis.call('GET', keys[1]) end)`);
    assert.equal(await client.fCall(`${library}f`, { keys: [key], arguments: [] }), '11');
    assert.equal((await client.functionList({ LIBRARYNAME: library })).length, 1);
    await client.functionDelete(library);
  });

  test(`node-redis RESP${RESP}: types, transactions, pub/sub`, async (t) => {
    const client = await nodeRedis(t, { RESP });
    const [a, b] = [fresh(), fresh()];
    await client.hSet(a, { x: 1, y: 'two' });
    assert.deepEqual({ ...(await client.hGetAll(a)) }, { x: '1', y: 'two' });
    await client.zAdd(b, [{ score: 1, value: 'm' }, { score: 2.5, value: 'n' }]);
    assert.deepEqual(await client.zRangeWithScores(b, 0, -1), [{ value: 'm', score: 1 }, { value: 'n', score: 2.5 }]);
    assert.deepEqual(await client.multi().hLen(a).zScore(b, 'n').exec(), [2, 2.5]);
    const listener = client.duplicate();
    listener.on('error', () => {});
    await listener.connect();
    t.after(() => listener.destroy());
    const seen = [];
    const channel = fresh();
    await listener.subscribe(channel, (text) => seen.push(text));
    for (let n = 0; n < 100; n++) await client.publish(channel, `${n}`);
    await eventually(() => seen.length === 100);
    assert.deepEqual(seen, [...Array(100).keys()].map(String));
    await listener.unsubscribe(channel);
    assert.equal(String(await listener.ping()), 'PONG');
  });
}
