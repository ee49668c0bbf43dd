// BullMQ: workers, their limits, and jobs of workers that are lost.
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { fork } = require('node:child_process');
const test = require('node:test');
const { Worker } = require('bullmq');
const { bench, connection, eventually, port, sleep } = require('./support.cjs');

const WAIT = 60_000;

test('concurrency', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  let [running, most, done] = [0, 0, 0];
  b.worker(async () => {
    most = Math.max(most, ++running);
    await sleep(30);
    running--;
    done++;
  }, { concurrency: 4 });
  await queue.addBulk([...Array(40).keys()].map((n) => ({ name: 'n', data: n })));
  await eventually(() => done === 40);
  assert.equal(most, 4);
});

test('concurrency of all workers', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  await queue.setGlobalConcurrency(2);
  let [running, most, done] = [0, 0, 0];
  const work = async () => {
    most = Math.max(most, ++running);
    await sleep(20);
    running--;
    done++;
  };
  for (let n = 0; n < 3; n++) b.worker(work, { concurrency: 3 });
  await queue.addBulk([...Array(30).keys()].map((n) => ({ name: 'n', data: n })));
  await eventually(() => done === 30);
  assert.equal(most, 2);
  assert.equal(await queue.getGlobalConcurrency(), 2);
});

test('a rate limiter', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  const times = [];
  b.worker(async () => times.push(Date.now()), { limiter: { max: 4, duration: 500 }, concurrency: 10 });
  await queue.addBulk([...Array(12).keys()].map((n) => ({ name: 'n', data: n })));
  await eventually(() => times.length === 12);
  // Three windows of four: the last begins two windows after the first.
  assert.ok(times[8] - times[0] >= 950, `${times.map((time) => time - times[0])}`);
});

test('a worker that is told to wait by its own job', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  const times = [];
  const worker = b.worker(async (job) => {
    times.push(Date.now());
    if (times.length === 1) {
      await queue.rateLimit(600);
      throw Worker.RateLimitError();
    }
    return job.attemptsMade;
  }, { limiter: { max: 100, duration: 1000 } });
  await worker.waitUntilReady();
  await queue.add('x', {});
  await eventually(() => times.length === 2);
  assert.ok(times[1] - times[0] >= 590, `${times[1] - times[0]}`);
  await eventually(async () => (await queue.getCompletedCount()) === 1);
});

test('jobs of a worker that is killed are stalled and come again', async (t) => {
  const b = bench(t);
  const [queue, events] = [b.queue(), await b.events()];
  const log = path.join(os.tmpdir(), `${b.name}.log`);
  fs.writeFileSync(log, '');
  t.after(() => fs.unlinkSync(log));
  const lines = () => fs.readFileSync(log, 'utf8').split('\n').filter(Boolean);
  const stalled = [];
  events.on('stalled', ({ jobId }) => stalled.push(jobId));
  const doomed = fork(path.join(__dirname, 'doomed_worker.cjs'), [b.name, log], { env: { ...process.env, BROKER_PORT: `${port}` } });
  t.after(() => doomed.kill('SIGKILL'));
  const job = await queue.add('x', {});
  await eventually(() => lines().length === 1);
  doomed.kill('SIGKILL');
  b.worker(async () => 'saved', { stalledInterval: 300, lockDuration: 1000 });
  assert.equal(await job.waitUntilFinished(events, WAIT), 'saved');
  assert.deepEqual(stalled, [job.id]);
});

test('a lock is renewed while a job runs', async (t) => {
  const b = bench(t);
  const [queue, events] = [b.queue(), await b.events()];
  let runs = 0;
  const work = async () => {
    runs++;
    await sleep(4500);
    return 'once';
  };
  for (let n = 0; n < 2; n++) b.worker(work, { lockDuration: 2000, stalledInterval: 500 });
  const job = await queue.add('x', {});
  assert.equal(await job.waitUntilFinished(events, WAIT), 'once');
  assert.equal(runs, 1);
});

test('jobs that are taken and finished by hand', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  const worker = b.keep(new Worker(b.name, null, { connection, drainDelay: 1 }));
  for (let n = 0; n < 3; n++) await queue.add('x', n);
  const first = await worker.getNextJob('token-1');
  assert.equal(first.data, 0);
  assert.equal(await first.isActive(), true);
  await assert.rejects(first.moveToCompleted('x', 'another-token'), /lock/i);
  await first.moveToCompleted('done', 'token-1', false);
  const second = await worker.getNextJob('token-2');
  await second.moveToFailed(new Error('by hand'), 'token-2', false);
  const third = await worker.getNextJob('token-3');
  assert.equal(await third.extendLock('token-3', 10_000), 1);
  await third.moveToWait('token-3');
  assert.deepEqual([await queue.getCompletedCount(), await queue.getFailedCount(), await queue.getWaitingCount()], [1, 1, 1]);
});

test('a sandboxed processor', async (t) => {
  const b = bench(t);
  const [queue, events] = [b.queue(), await b.events()];
  b.worker(path.join(__dirname, 'sandboxed.cjs'));
  const job = await queue.add('x', { n: 20 });
  const { pid, value } = await job.waitUntilFinished(events, WAIT);
  assert.notEqual(pid, process.pid);
  assert.equal(value, 40);
});

test('workers and metrics are listed', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  const worker = b.worker(async () => {}, { name: 'named', metrics: { maxDataPoints: 60 } });
  await worker.waitUntilReady();
  await eventually(async () => (await queue.getWorkers()).some((one) => one.rawname.endsWith(':w:named')));
  for (let n = 0; n < 5; n++) await queue.add('x', n);
  await eventually(async () => (await queue.getMetrics('completed')).meta.count === 5);
});

test('connections that are cut come back', async (t) => {
  const b = bench(t);
  const queue = b.queue();
  let done = 0;
  const worker = b.worker(async () => done++);
  await worker.waitUntilReady();
  await queue.add('x', 1);
  await eventually(() => done === 1);
  await b.client().client('KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  for (let n = 0; n < 20; n++) await queue.add('x', n);
  await eventually(() => done === 21, 30_000);
});

test('two thousand jobs by four workers, each once', async (t) => {
  const b = bench(t);
  const queue = b.queue({ defaultJobOptions: { removeOnComplete: true } });
  const seen = [];
  for (let n = 0; n < 4; n++) b.worker(async (job) => seen.push(job.data), { concurrency: 10 });
  for (let block = 0; block < 10; block++) {
    await queue.addBulk([...Array(200).keys()].map((n) => ({ name: 'n', data: block * 200 + n })));
  }
  await eventually(() => seen.length >= 2000, 60_000);
  await eventually(async () => Object.values(await queue.getJobCounts()).every((count) => count === 0));
  assert.deepEqual(seen.sort((x, y) => x - y), [...Array(2000).keys()]);
});
