// A processor that BullMQ runs in a process of its own.
'use strict';

module.exports = async (job) => {
  await job.updateProgress(50);
  return { pid: process.pid, value: job.data.n * 2 };
};
