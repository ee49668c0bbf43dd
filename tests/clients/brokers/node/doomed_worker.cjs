// A worker whose first job never ends: it is killed.
'use strict';

const fs = require('node:fs');
const { Worker } = require('bullmq');
const { connection, sleep } = require('./support.cjs');

const [, , name, log] = process.argv;
new Worker(name, async (job) => {
  fs.appendFileSync(log, `${job.id}\n`);
  await sleep(60_000);
}, { connection, lockDuration: 1000, stalledInterval: 300 });
