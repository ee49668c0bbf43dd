// BullMQ: one queue and its jobs.
'use strict';

const assert = require('node:assert/strict');
const test = require('node:test');
const { DelayedError, UnrecoverableError } = require('bullmq');
const { bench, eventually, sleep } = require('./support.cjs');

const WAIT = 60_000;

test('a job and its result', async (t) => {
  const b = bench(t);
  const [queue, events] = [b.queue(), await b.events()];
  b.worker(async (job) => job.data.a + job.data.b);
  const job = await queue.add('add', { a: 2, b: 3 });
  assert.equal(await job.waitUntilFinished(events, WAIT), 5);
  assert.equal(await job.getState(), 'completed');
  const again = await queue.getJob(job.id);
  assert.equal(again.returnvalue, 5);
  assert.ok(again.finishedOn >= again.processedOn);
});

test('an error and its stack', async (t) => {
  const b = bench(t);
  const [queue, events] = [b.queue(), await b.events()];
  b.worker(async () => {
    throw new Error('broken');
  });
  const job = await queue.add('x', {});
  await assert.rejects(job.waitUntilFinished(events, WAIT), /broken/);
  const failed = await queue.getJob(job.id);
  assert.equal(failed.failedReason, 'broken');
  assert.match(failed.stacktrace[0], /Error: broken/);
});

test('jobs come in order, with lifo in front', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  for (let n = 0; n < 20; n++) await queue.add('n', n);
  await queue.add('n', 'front', { lifo: true });
  const seen = [];
  b.worker(async (job) => seen.push(job.data));
  await eventually(() => seen.length === 21);
  assert.deepEqual(seen, ['front', ...Array(20).keys()]);
});

test('many jobs at once', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  const jobs = await queue.addBulk([...Array(500).keys()].map((n) => ({ name: 'n', data: n })));
  assert.equal(new Set(jobs.map((job) => job.id)).size, 500);
  assert.equal(await queue.getWaitingCount(), 500);
  const seen = [];
  b.worker(async (job) => seen.push(job.data), { concurrency: 20 });
  await eventually(() => seen.length >= 500);
  assert.deepEqual(seen.sort((x, y) => x - y), [...Array(500).keys()]);
});

test('an id of its own is added once', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  await queue.add('x', 1, { jobId: 'mine' });
  await queue.add('x', 2, { jobId: 'mine' });
  assert.equal(await queue.count(), 1);
  assert.equal((await queue.getJob('mine')).data, 1);
});

test('deduplication', async (t) => {
  const b = bench(t);
  const [queue, events] = [b.queue(), await b.events()];
  const repeated = [];
  events.on('deduplicated', (event) => repeated.push(event));
  const first = await queue.add('x', 1, { deduplication: { id: 'same', ttl: 5000 } });
  const second = await queue.add('x', 2, { deduplication: { id: 'same', ttl: 5000 } });
  assert.equal(second.id, first.id);
  assert.equal(await queue.getDeduplicationJobId('same'), first.id);
  await eventually(() => repeated.length === 1);
  assert.equal(await queue.removeDeduplicationKey('same'), 1);
  assert.notEqual((await queue.add('x', 3, { deduplication: { id: 'same' } })).id, first.id);
});

test('delayed, promoted, with another delay', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  const seen = [];
  const begin = Date.now();
  await queue.add('d', 'c', { delay: 900 });
  await queue.add('d', 'b', { delay: 400 });
  const far = await queue.add('d', 'a', { delay: 60_000 });
  const changed = await queue.add('d', 'd', { delay: 60_000 });
  assert.equal(await queue.getDelayedCount(), 4);
  assert.equal(await far.isDelayed(), true);
  await far.promote();
  await changed.changeDelay(1400);
  // Only now: nothing is due before all is told, however slow the machine is.
  b.worker(async (job) => seen.push([job.data, Date.now() - begin]));
  await eventually(() => seen.length === 4);
  assert.deepEqual(seen.map(([data]) => data), ['a', 'b', 'c', 'd']);
  assert.ok(seen[1][1] >= 400 && seen[2][1] >= 900 && seen[3][1] >= 1400, `${seen}`);
});

test('a job delays itself', async (t) => {
  const b = bench(t);
  const [queue, events] = [b.queue(), await b.events()];
  b.worker(async (job, token) => {
    if (job.data.step === 2) return 'done';
    await job.updateData({ step: 2 });
    await job.moveToDelayed(Date.now() + 200, token);
    throw new DelayedError();
  });
  assert.equal(await (await queue.add('x', { step: 1 })).waitUntilFinished(events, WAIT), 'done');
});

test('priorities', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  const wanted = [5, 1, 3, 0, 2_000_000, 1, 0];
  for (const [n, priority] of wanted.entries()) await queue.add('p', n, { priority });
  const late = await queue.add('p', 7, { priority: 9 });
  await late.changePriority({ priority: 2 });
  assert.equal(await queue.getPrioritizedCount(), 6);
  assert.deepEqual(await queue.getCountsPerPriority([0, 1, 2]), { 0: 2, 1: 2, 2: 1 });
  const seen = [];
  b.worker(async (job) => seen.push(job.data));
  await eventually(() => seen.length === 8);
  assert.deepEqual(seen, [3, 6, 1, 5, 7, 2, 0, 4]);
});

test('retries with backoff', async (t) => {
  const b = bench(t);
  const [queue, events] = [b.queue(), await b.events()];
  const times = { fixed: [], exponential: [] };
  b.worker(async (job) => {
    times[job.name].push(Date.now());
    if (job.attemptsMade < 3) throw new Error('not yet');
    return job.attemptsMade;
  }, { concurrency: 2 });
  const add = (type, delay) => queue.add(type, {}, { attempts: 5, backoff: { type, delay } });
  const [fixed, growing] = [await add('fixed', 100), await add('exponential', 100)];
  assert.equal(await fixed.waitUntilFinished(events, WAIT), 3);
  assert.equal(await growing.waitUntilFinished(events, WAIT), 3);
  const gaps = (list) => list.slice(1).map((time, n) => time - list[n]);
  assert.ok(gaps(times.fixed).every((gap) => gap >= 99), `${gaps(times.fixed)}`);
  const [first, second, third] = gaps(times.exponential);
  assert.ok(first >= 99 && second >= 199 && third >= 399, `${gaps(times.exponential)}`);
});

test('retries are given up, at once or after the last', async (t) => {
  const b = bench(t);
  const [queue, events] = [b.queue(), await b.events()];
  const ended = [];
  events.on('retries-exhausted', (event) => ended.push(event.jobId));
  b.worker(async (job) => {
    throw job.data === 'never' ? new UnrecoverableError('never') : new Error('no');
  });
  const [tried, given] = [await queue.add('x', 'try', { attempts: 3 }), await queue.add('x', 'never', { attempts: 3 })];
  await assert.rejects(tried.waitUntilFinished(events, WAIT), /no/);
  await assert.rejects(given.waitUntilFinished(events, WAIT), /never/);
  assert.equal((await queue.getJob(tried.id)).attemptsMade, 3);
  assert.equal((await queue.getJob(given.id)).attemptsMade, 1);
  await eventually(() => ended.includes(tried.id));
});

test('failed jobs are retried by hand', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  let works = false;
  b.worker(async () => {
    if (!works) throw new Error('no');
    return 'yes';
  }, { concurrency: 5 });
  const jobs = await queue.addBulk([...Array(30).keys()].map((n) => ({ name: 'n', data: n })));
  await eventually(async () => (await queue.getFailedCount()) === 30);
  works = true;
  await (await queue.getJob(jobs[0].id)).retry();
  await eventually(async () => (await queue.getCompletedCount()) === 1);
  await queue.retryJobs({ count: 7 });
  await eventually(async () => (await queue.getCompletedCount()) === 30);
  assert.equal(await queue.getFailedCount(), 0);
});

test('paused and resumed', async (t) => {
  const b = bench(t);
  const [queue, events] = [b.queue(), await b.events()];
  const told = [];
  for (const kind of ['paused', 'resumed']) events.on(kind, () => told.push(kind));
  const seen = [];
  const worker = b.worker(async (job) => seen.push(job.data));
  await worker.waitUntilReady();
  await queue.pause();
  assert.equal(await queue.isPaused(), true);
  for (let n = 0; n < 5; n++) await queue.add('n', n);
  await queue.add('n', 'first', { priority: 1 });
  await sleep(300);
  assert.deepEqual(seen, []);
  await queue.resume();
  await eventually(() => seen.length === 6);
  assert.deepEqual(seen, [0, 1, 2, 3, 4, 'first']);
  await worker.pause();
  await queue.add('n', 'later');
  await sleep(200);
  assert.equal(seen.length, 6);
  worker.resume();
  await eventually(() => seen.length === 7);
  await eventually(() => told.length === 2);
  assert.deepEqual(told, ['paused', 'resumed']);
});

test('counts, lists and states', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  await queue.addBulk([...Array(6).keys()].map((n) => ({ name: 'w', data: n })));
  await queue.add('d', {}, { delay: 60_000 });
  await queue.add('p', {}, { priority: 4 });
  const counts = await queue.getJobCounts();
  const { waiting, delayed, prioritized, active, completed, failed } = counts;
  assert.deepEqual([waiting, delayed, prioritized, active, completed, failed], [6, 1, 1, 0, 0, 0]);
  assert.equal(await queue.getJobCountByTypes('waiting', 'delayed'), 7);
  assert.deepEqual((await queue.getWaiting(1, 3)).map((job) => job.data), [1, 2, 3]);
  assert.equal((await queue.getJobs(['waiting', 'delayed', 'prioritized'])).length, 8);
  const [job] = await queue.getDelayed();
  assert.equal(await job.getState(), 'delayed');
  assert.equal(await queue.getJobState('absent'), 'unknown');
  assert.match(await queue.exportPrometheusMetrics(), /bullmq_job_count\{queue="q-[^}]*state="delayed"\} 1/);
});

test('removed, drained, cleaned, obliterated', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  const job = await queue.add('x', {});
  await job.remove();
  assert.equal(await queue.getJob(job.id), undefined);
  await queue.addBulk([...Array(10).keys()].map((n) => ({ name: 'n', data: n })));
  await queue.add('d', {}, { delay: 60_000 });
  await queue.drain();
  assert.deepEqual([await queue.count(), await queue.getDelayedCount()], [1, 1]);
  await queue.drain(true);
  assert.equal(await queue.count(), 0);

  const worker = b.worker(async (job) => {
    if (job.data % 2) throw new Error('odd');
  }, { concurrency: 10 });
  await queue.addBulk([...Array(40).keys()].map((n) => ({ name: 'n', data: n })));
  await eventually(async () => (await queue.getCompletedCount()) + (await queue.getFailedCount()) === 40);
  await worker.close();
  assert.equal((await queue.clean(0, 5, 'completed')).length, 5);
  assert.equal((await queue.clean(60_000, 0, 'completed')).length, 0);
  assert.equal((await queue.clean(0, 0, 'completed')).length, 15);
  assert.equal((await queue.clean(0, 0, 'failed')).length, 20);
  await queue.add('n', 1);
  await queue.obliterate({ force: true });
  assert.deepEqual(await b.client().keys(`bull:${b.name}:*`), []);
});

test('what is kept of finished jobs', async (t) => {
  const b = bench(t);
  const queue = b.queue({ defaultJobOptions: { removeOnComplete: 3, removeOnFail: true } });
  let done = 0;
  b.worker(async (job) => {
    done++;
    if (job.data === 'bad') throw new Error('x');
  });
  for (let n = 0; n < 8; n++) await queue.add('n', n);
  await queue.add('n', 'bad');
  await eventually(async () => done === 9 && (await queue.getActiveCount()) === 0);
  assert.deepEqual([await queue.getCompletedCount(), await queue.getFailedCount()], [3, 0]);
});

test('progress, logs and data', async (t) => {
  const b = bench(t);
  const [queue, events] = [b.queue(), await b.events()];
  const steps = [];
  events.on('progress', ({ data }) => steps.push(data));
  b.worker(async (job) => {
    for (const step of [10, 60]) await job.updateProgress(step);
    for (let n = 0; n < 5; n++) await job.log(`line ${n}`);
    await job.updateData({ changed: true });
  });
  const job = await queue.add('x', {}, { keepLogs: 3 });
  await job.waitUntilFinished(events, WAIT);
  await eventually(() => steps.length === 2);
  assert.deepEqual(steps, [10, 60]);
  assert.deepEqual(await queue.getJobLogs(job.id), { logs: ['line 2', 'line 3', 'line 4'], count: 3 });
  assert.deepEqual((await queue.getJob(job.id)).data, { changed: true });
});

test('events tell a job\'s life in order', async (t) => {
  const b = bench(t);
  const [queue, events] = [b.queue(), await b.events()];
  const seen = [];
  for (const kind of ['added', 'waiting', 'delayed', 'active', 'completed', 'drained', 'removed']) {
    events.on(kind, ({ jobId }) => seen.push(kind === 'drained' ? kind : `${kind}:${jobId}`));
  }
  b.worker(async () => {});
  await queue.add('x', {}, { jobId: 'one' });
  await eventually(() => seen.includes('completed:one'));
  assert.deepEqual(seen.filter((line) => line.endsWith('one')), ['added:one', 'waiting:one', 'active:one', 'completed:one']);
  await queue.add('x', {}, { jobId: 'two', delay: 200 });
  await eventually(() => seen.includes('completed:two'));
  assert.deepEqual(seen.filter((line) => line.endsWith('two')), ['added:two', 'delayed:two', 'waiting:two', 'active:two', 'completed:two']);
  await queue.remove('one');
  await eventually(() => seen.includes('removed:one'));
  assert.ok((await queue.trimEvents(0)) > 0);
});
