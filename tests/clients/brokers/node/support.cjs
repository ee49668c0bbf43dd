// The server of the tests (BROKER_PORT), queues with names of their own, waits that end.
'use strict';

const { randomUUID } = require('node:crypto');
const { Redis } = require('ioredis');
const { Queue, QueueEvents, Worker, FlowProducer } = require('bullmq');

const port = Number(process.env.BROKER_PORT);
const connection = { host: '127.0.0.1', port, maxRetriesPerRequest: null };

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function eventually(what, timeout = 60_000) {
  const deadline = Date.now() + timeout;
  for (;;) {
    const value = await what();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not true within ${timeout} ms: ${what}`);
    await sleep(20);
  }
}

// Makes queues, workers and so on for one test, and closes them when it ends.
function bench(t) {
  const made = [];
  t.after(async () => {
    for (const one of made.reverse()) await one.close();
  });
  const keep = (one) => {
    one.on?.('error', (error) => console.error('error event:', error.message));
    made.push(one);
    return one;
  };
  const name = `q-${randomUUID()}`;
  return {
    name,
    keep,
    queue: (options = {}, as = name) => keep(new Queue(as, { connection, ...options })),
    worker: (work, options = {}, as = name) => keep(new Worker(as, work, { connection, drainDelay: 1, ...options })),
    events: async (as = name) => {
      // From the start of the stream: what happens before the first XREAD is told as well.
      const events = keep(new QueueEvents(as, { connection, lastEventId: '0' }));
      await events.waitUntilReady();
      return events;
    },
    client: () => {
      const client = new Redis(connection);
      t.after(() => client.disconnect());
      return client;
    },
    flow: () => keep(new FlowProducer({ connection })),
  };
}

module.exports = { port, connection, sleep, eventually, bench };
