// BullMQ: parents that wait for their children, in one queue and over several, and schedules.
'use strict';

const assert = require('node:assert/strict');
const test = require('node:test');
const { WaitingChildrenError } = require('bullmq');
const { bench, eventually, sleep } = require('./support.cjs');

const WAIT = 60_000;

test('a parent with children in other queues', async (t) => {
  const b = bench(t);
  const [parents, children] = [b.name, `${b.name}-children`];
  const queue = b.queue();
  const events = await b.events();
  const flow = b.flow();
  const tree = await flow.add({
    name: 'sum', queueName: parents, data: {},
    children: [...Array(8).keys()].map((n) => ({ name: 'part', queueName: children, data: n })),
  });
  assert.equal(await tree.job.getState(), 'waiting-children');
  assert.equal(await queue.getWaitingChildrenCount(), 1);
  b.worker(async (job) => job.data * 10, { concurrency: 3 }, children);
  b.worker(async (job) => Object.values(await job.getChildrenValues()).reduce((x, y) => x + y, 0));
  assert.equal(await tree.job.waitUntilFinished(events, WAIT), 280);
  const { processed, unprocessed } = await tree.job.getDependencies();
  assert.deepEqual([Object.keys(processed).length, unprocessed.length], [8, 0]);
});

test('a tree of three floors', async (t) => {
  const b = bench(t);
  b.queue();
  const events = await b.events();
  const node = (data, children) => ({ name: 'n', queueName: b.name, data, children });
  const tree = await b.flow().add(node(1, [node(2, [node(3), node(4)]), node(5, [node(6)]), node(7)]));
  const order = [];
  b.worker(async (job) => {
    order.push(job.data);
    return job.data + Object.values(await job.getChildrenValues()).reduce((x, y) => x + y, 0);
  }, { concurrency: 2 });
  assert.equal(await tree.job.waitUntilFinished(events, WAIT), 28);
  assert.equal(order.at(-1), 1);
  assert.ok(order.indexOf(2) > order.indexOf(3) && order.indexOf(5) > order.indexOf(6));
});

test('a child that fails, and what its parent does', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  const events = await b.events();
  const flow = b.flow();
  const work = async (job) => {
    if (job.name === 'bad') throw new Error('child');
    return job.name;
  };
  const child = (options) => [{ name: 'bad', queueName: b.name, opts: options }, { name: 'good', queueName: b.name }];
  const failing = await flow.add({ name: 'parent', queueName: b.name, children: child({ failParentOnFailure: true }) });
  const ignoring = await flow.add({ name: 'parent', queueName: b.name, children: child({ ignoreDependencyOnFailure: true }) });
  const removing = await flow.add({ name: 'parent', queueName: b.name, children: child({ removeDependencyOnFailure: true }) });
  b.worker(work, { concurrency: 3 });
  await assert.rejects(failing.job.waitUntilFinished(events, WAIT), /child/);
  assert.equal(await ignoring.job.waitUntilFinished(events, WAIT), 'parent');
  assert.equal(Object.keys(await ignoring.job.getIgnoredChildrenFailures()).length, 1);
  assert.equal(await removing.job.waitUntilFinished(events, WAIT), 'parent');
  assert.equal(await queue.getWaitingChildrenCount(), 0);
});

test('a job that makes its children while it runs', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  const events = await b.events();
  b.worker(async (job, token) => {
    if (job.name === 'child') return 1;
    if (job.data.made) return Object.keys(await job.getChildrenValues()).length;
    for (let n = 0; n < 4; n++) {
      await queue.add('child', {}, { parent: { id: job.id, queue: job.queueQualifiedName } });
    }
    await job.updateData({ made: true });
    if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
    return 'at once';
  }, { concurrency: 1 });
  const job = await queue.add('parent', {});
  assert.equal(await job.waitUntilFinished(events, WAIT), 4);
});

test('a flow is read and removed', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  const flow = b.flow();
  const trees = await flow.addBulk([...Array(5).keys()].map((n) => ({
    name: `root-${n}`, queueName: b.name,
    children: [...Array(3).keys()].map(() => ({ name: 'leaf', queueName: `${b.name}-leaves` })),
  })));
  const read = await flow.getFlow({ id: trees[0].job.id, queueName: b.name });
  assert.equal(read.children.length, 3);
  await trees[0].job.remove({ removeChildren: true });
  const leaves = b.queue({}, `${b.name}-leaves`);
  assert.deepEqual([await queue.getWaitingChildrenCount(), await leaves.getWaitingCount()], [4, 12]);
});

test('many flows at the same time over several queues', async (t) => {
  const b = bench(t);
  const queues = ['a', 'b', 'c'].map((name) => `${b.name}-${name}`);
  const flow = b.flow();
  let finished = 0;
  for (const name of queues) {
    b.worker(async (job) => {
      const below = Object.values(await job.getChildrenValues());
      if (job.name === 'root') {
        assert.equal(below.reduce((x, y) => x + y, 0), 10);
        finished++;
      }
      return job.data;
    }, { concurrency: 5 }, name);
  }
  for (let n = 0; n < 60; n++) {
    await flow.add({
      name: 'root', queueName: queues[n % 3], data: 0,
      children: [1, 2, 3, 4].map((data) => ({ name: 'leaf', queueName: queues[(n + data) % 3], data })),
    });
  }
  await eventually(() => finished === 60, 60_000);
});

test('a job scheduler', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  const seen = [];
  const begin = Date.now();
  b.worker(async (job) => seen.push([job.name, Date.now()]), { concurrency: 5 });
  await queue.upsertJobScheduler('often', { every: 250 }, { name: 'tick', data: { n: 1 } });
  await queue.upsertJobScheduler('few', { every: 100, limit: 3 }, { name: 'few' });
  await queue.upsertJobScheduler('cron', { pattern: '* * * * * *' }, { name: 'second' });
  assert.equal(await queue.getJobSchedulersCount(), 3);
  const count = (name) => seen.filter(([kind]) => kind === name).length;
  await eventually(() => count('tick') >= 4 && count('second') >= 2);
  assert.equal(count('few'), 3);
  const ticks = seen.filter(([kind]) => kind === 'tick').map(([, time]) => time);
  // The first comes at once, the second within its 250 ms; who is late makes up for it.
  assert.ok(ticks[3] - begin >= 450, `${begin}: ${ticks}`);
  await queue.upsertJobScheduler('often', { every: 60_000 }, { name: 'rarely' });
  assert.equal((await queue.getJobScheduler('often')).every, 60_000);
  assert.equal(await queue.removeJobScheduler('cron'), true);
  assert.equal(await queue.removeJobScheduler('cron'), false);
  await sleep(500);
  const before = count('tick');
  await sleep(600);
  assert.equal(count('tick'), before);
  const left = await queue.getJobSchedulers();
  assert.ok(left.some((one) => one.key === 'often') && !left.some((one) => one.key === 'cron'));
});
