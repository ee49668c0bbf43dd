// BullMQ's relay: messages by topics over streams, leases and scripts.
'use strict';

const assert = require('node:assert/strict');
const test = require('node:test');
const { Relay } = require('bullmq');
const { bench, connection, eventually } = require('./support.cjs');

test('topics, patterns and what is retained', async (t) => {
  const b = bench(t);
  const node = async (name) => {
    const relay = b.keep(new Relay({ connection, namespace: b.name, name }));
    await relay.waitUntilReady();
    return relay;
  };
  const [one, two, sender] = [await node('one'), await node('two'), await node('sender')];
  const seen = { one: [], two: [] };
  await one.subscribe('orders.*', ({ topic, data }) => void seen.one.push([topic, data]));
  const subscription = await two.subscribe('orders.new', ({ data }) => void seen.two.push(data));
  for (let n = 0; n < 50; n++) await sender.publish('orders.new', n);
  await sender.publish('orders.old', 'x');
  await eventually(() => seen.one.length === 51 && seen.two.length === 50);
  assert.deepEqual(seen.two, [...Array(50).keys()]);
  assert.deepEqual(seen.one.slice(0, 50), [...Array(50).keys()].map((n) => ['orders.new', n]));
  await subscription.unsubscribe();
  await sender.publish('orders.new', 'last', { retain: 10_000 });
  await eventually(() => seen.one.length === 52);
  assert.equal(seen.two.length, 50);
  const late = await node('late');
  const kept = [];
  await late.subscribe('orders.new', ({ data, retained }) => void kept.push([data, retained]));
  await eventually(() => kept.length === 1);
  assert.deepEqual(kept, [['last', true]]);
  assert.equal((await sender.getNodes()).length, 4);
});
